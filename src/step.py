"""One step of training: a batch in parts, forward, backward, update.

Arrays: images ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)`` float in [0, 1], labels ``(B,)``. B is this
process's share of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from .losses import make_loss
from .train_state import TrainState


class Step:
    """Takes batches, moves the weights.

    The loss of a batch is its weighted sum over images divided by the batch's summed class
    weights, over all parts and processes: neither changes what is minimised. Batch normalisation
    alone sees a part at a time.

    Over several processes, each with a share of the batch, gradients meet once a batch: on the way
    back of its last part. A share may be empty; it is computed in as many parts as the others'.

    Args:
        state: Network, optimiser and schedule.
        accelerator: Precision, gradients and other processes.
        loss: ``ce``, ``focal`` or ``ordinal``.
        class_weights: ``(K,)``, on the device.
        parts: Parts of a batch.
        grad_clip: Largest norm of the gradient.
        net: What is run: the network, wrapped where processes share gradients; None takes
            `state`'s, as it is.
    """

    def __init__(
        self,
        state: TrainState,
        accelerator: Accelerator,
        loss: str,
        class_weights: Tensor,
        *,
        parts: int = 1,
        grad_clip: float = 1.0,
        net: nn.Module | None = None,
    ) -> None:
        self.state, self.accelerator, self.weights = state, accelerator, class_weights
        self.loss_of = make_loss(loss, class_weights, reduction="sum")
        self.parts, self.grad_clip = parts, grad_clip
        self.net = state.net if net is None else net

    def __call__(self, images: Tensor, labels: Tensor, size: int | None = None) -> Tensor:
        """Learn from a batch; return its mean loss over all processes, a scalar on the device.

        The scalar is not read here: reading makes the processor wait for a GPU.

        Args:
            images: This process's share of the batch.
            labels: Its classes.
            size: Images in the batch of all processes; None for one process.
        """
        weight = self._sum(self.weights[labels].sum())
        weight = weight.clamp(min=torch.finfo(weight.dtype).tiny)
        total = torch.zeros((), device=images.device)
        self.state.optimizer.zero_grad(set_to_none=True)
        largest = -(-(len(labels) if size is None else size) // self.accelerator.num_processes)
        *before, last = _parts(len(labels), self.parts, largest)
        with self.accelerator.no_sync(self.net):
            for part in before:
                total += self._part(images[part], labels[part], weight)
        total += self._part(images[last], labels[last], weight)
        self.accelerator.clip_grad_norm_(self.state.net.parameters(), self.grad_clip)
        self.state.optimizer.step()
        self.state.scheduler.step()
        return self._sum(total)

    def _part(self, images: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        """Add a part's gradients; return its share of the batch's loss."""
        with self.accelerator.autocast():
            logits = self.net(images)
        loss = self.loss_of(logits.float(), labels) / weight
        # Processes that share gradients take their mean, where the batch's gradient is their sum.
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()

    def _sum(self, value: Tensor) -> Tensor:
        summed: Tensor = self.accelerator.reduce(value, reduction="sum")
        return summed


def _parts(length: int, parts: int, largest: int | None = None) -> Iterator[slice]:
    """Yield slices of a batch that differ in size by one at most: as many in every process."""
    count = min(parts, length if largest is None else largest)
    edges = [length * number // count for number in range(count + 1)]
    yield from (slice(*pair) for pair in pairwise(edges))
