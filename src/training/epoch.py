"""One epoch: batches in parts over the training people, then the validation people.

Each process takes its share of a batch.

Arrays: images ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``, uint8 or float16 from the data, float in
[0, 1] in a step; labels ``(B,)``; logits ``(B, K)``. B is this process's share of a batch, and may
be zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..config import TrainConfig
from ..data.augment import AUGMENTATIONS, augment, to_unit
from ..data.dataset import BagBatches, EvenBatches, MriDataset, make_loader
from ..errors import ConfigError
from ..models.classifier import Classifier
from ..models.device import seed_everything
from ..models.pooling import Bags
from ..predictions import Predictions, per_person
from ..runtime import progress
from .logits import as_predictions
from .memory import out_of_memory
from .optimisation import class_weights, make_loss
from .processes import in_order, share_of
from .state import TrainState


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

    def __call__(
        self, images: Tensor, labels: Tensor, size: int | None = None, bags: Bags | None = None
    ) -> Tensor:
        """Learn from a batch; return its mean loss over all processes, a scalar on the device.

        The scalar is not read here: reading makes the processor wait for a GPU.

        Args:
            images: This process's share of the batch.
            labels: Its classes; of a `TaskStep` its answers.
            size: Images in the batch of all processes; None for one process.
            bags: Slices whose answers become one before the loss; these come in one part.
        """
        if bags is not None:
            labels = labels[bags.first()]
        weight = self._sum(self.amount(labels))
        weight = weight.clamp(min=torch.finfo(weight.dtype).tiny)
        total = torch.zeros((), device=images.device)
        self.state.optimizer.zero_grad(set_to_none=True)
        largest = -(-(len(labels) if size is None else size) // self.accelerator.num_processes)
        *before, last = _parts(len(labels), self.parts, largest) if bags is None else [slice(None)]
        with self.accelerator.no_sync(self.net):
            for part in before:
                total += self._part(images[part], labels[part], weight)
        total += self._part(images[last], labels[last], weight, bags)
        self.accelerator.clip_grad_norm_(self.state.net.parameters(), self.grad_clip)
        self.state.optimizer.step()
        self.state.scheduler.step()
        return self._sum(total)

    def amount(self, labels: Tensor) -> Tensor:
        """Return what the loss of a batch is divided by, of this share: its class weights."""
        return self.weights[labels].sum()

    def loss(self, outputs: Tensor, labels: Tensor, amount: Tensor) -> Tensor:
        """Return the share that images have in the loss of a batch of so large an `amount`."""
        return self.loss_of(outputs, labels) / amount

    def _part(
        self, images: Tensor, labels: Tensor, weight: Tensor, bags: Bags | None = None
    ) -> Tensor:
        """Add a part's gradients; return its share of the batch's loss."""
        with self.accelerator.autocast():
            outputs = self.net(images) if bags is None else self.net(images, bags)
        loss = self.loss(outputs.float(), labels, weight)
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


class Passes:
    """Opens the loaders of a training, and runs the network over them.

    Args:
        accelerator: Device, precision and other processes.
        config: Seed, augmentation, loss.
        loss: ``ce``, ``focal`` or ``ordinal``.
        train: Training people.
        val: Validation people.
        batch_size: Images in a batch, of all processes together.
        workers: Processes that read ahead.
        pool: How a person's slices become one answer.

    Attributes:
        make_step: Makes the step of an epoch, from what `Step` takes.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        config: TrainConfig,
        loss: str,
        train: MriDataset,
        val: MriDataset,
        *,
        batch_size: int,
        workers: int,
        pool: str = "mean",
    ) -> None:
        self.accelerator, self.config, self.loss_name = accelerator, config, loss
        self.device = accelerator.device
        self.train_data, self.val_data = train, val
        self.batch_size, self.workers, self.pool = batch_size, workers, pool
        self.loader = self._open(train, config.seed)
        self.make_step: Callable[..., Step] = Step

    def __len__(self) -> int:
        return len(self.loader)

    def _open(self, data: MriDataset, seed: int | None) -> DataLoader[Any]:
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        bags = self.pool != "mean" and seed is not None
        return make_loader(
            data, self.batch_size, seed=seed, workers=self.workers, share=share, bags=bags
        )

    def learn(self, net: nn.Module, state: TrainState, epochs: int) -> float:
        """Take one pass over the training people; return the mean loss of an image.

        Args:
            net: What is called: from `spread`.
            state: What is changed.
            epochs: Of the whole run.
        """
        epoch, process = state.epoch + 1, self.accelerator.process_index
        # All draws of an epoch come from (seed, epoch): a resumed run repeats them exactly.
        generator = seed_everything(self.config.seed, epoch)
        if process:  # the generator is the same everywhere, dropout is not
            seed_everything(self.config.seed, epoch, process)
        if isinstance(self.loader.batch_sampler, EvenBatches):
            self.loader.batch_sampler.epoch = epoch
        step = self._step(net, state)
        net.train()
        total = torch.zeros((), device=self.device)
        images = progress(self.loader, desc=f"epoch {epoch}/{epochs}")
        with self._memory(state), compiling(self.config.compile):
            batches = zip(images, self._sizes(), self._bags(), strict=True)
            for (inputs, labels), size, bags in batches:
                inputs = self._vary(inputs.to(self.device, non_blocking=True), generator, size)
                labels = labels.to(self.device, non_blocking=True)
                total += step(inputs, labels, size, bags) * size
        mean = total.item() / len(self.train_data)
        if not math.isfinite(mean):  # the one time an epoch that a GPU is waited for
            raise ConfigError(
                f"the loss is not finite in epoch {epoch}", hint="lower --lr, or --precision fp32"
            )
        return mean

    def _memory(self, state: TrainState) -> AbstractContextManager[None]:
        return out_of_memory(
            self.batch_size,
            dim=str(state.net.dim),
            accumulate=self.config.accumulate,
            recomputed=self.config.activation_checkpointing,
            half=self.accelerator.mixed_precision == "bf16",
        )

    def _step(self, net: nn.Module, state: TrainState) -> Step:
        weights = class_weights(self.train_data.class_counts(), self.config.class_weight_cap)
        return self.make_step(
            *(state, self.accelerator, self.loss_name),
            torch.tensor(weights, dtype=torch.float32, device=self.device),
            parts=self.config.accumulate,
            grad_clip=self.config.grad_clip,
            net=net,
        )

    def _sizes(self) -> list[int]:
        """Return the number of images in each batch of training, over all processes."""
        if isinstance(self.loader.batch_sampler, BagBatches):
            return [len(rows) for rows in self.loader.batch_sampler]
        return [len(part) for part in np.array_split(range(len(self.train_data)), len(self))]

    def _bags(self) -> Iterator[Bags | None]:
        """Yield which slices of each batch of training belong together; None: none do."""
        batches = self.loader.batch_sampler
        if not isinstance(batches, BagBatches):
            yield from [None] * len(self)
            return
        for bags in batches.bags():
            place = self.train_data.places[np.concatenate(bags)].to(self.device)
            yield Bags(tuple(map(len, bags)), place)

    def _vary(self, inputs: Tensor, generator: torch.Generator, size: int) -> Tensor:
        if self.config.augment == "none":
            return to_unit(inputs)
        own = share_of(size, self.accelerator.process_index, self.accelerator.num_processes)
        return augment(
            *(inputs, generator, AUGMENTATIONS[self.config.augment]),
            mirrors=self.train_data.mirrors,
            share=(own.start, own.stop, size),
        )

    @torch.no_grad()
    def validate(self, model: Classifier) -> Predictions:
        """Return the logits of each validation person, to every process."""
        model.eval()
        shares, loader = [], self._open(self.val_data, None)
        assert loader.batch_sampler is not None
        for (inputs, _), rows in zip(loader, loader.batch_sampler, strict=True):
            images = to_unit(inputs.to(self.device, non_blocking=True))  # float32, as in evaluation
            if model.attention is None:
                logits = model(images)
            else:
                features = model.embed(images)
                place = self.val_data.places[rows]
                logits = model.with_scores(model.classify(features), features, place)
            shares.append(logits.cpu())
        answers = in_order(shares, self.accelerator)
        return per_person(as_predictions(self.val_data, answers, model.pooling))


@contextmanager
def compiling(asked: bool) -> Iterator[None]:
    """Say in one sentence that ``torch.compile`` failed: it starts at the first batch.

    Raises:
        ConfigError: No C++ compiler, or a network that the compiler does not take.
    """
    if not asked:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # slow to import

    try:
        yield
    except TorchDynamoException as error:
        raise ConfigError(
            f"--compile failed: {str(error).splitlines()[0]}",
            hint="leave --compile out; on a CPU it needs a C++ compiler, such as g++",
        ) from error
