"""What the processes of a training job share: batches, answers, and the end when one is lost.

Every batch is cut into as many shares as there are processes; a share may be empty. Batch
normalisation sees the batch of all of them, so that N compute what one would.

Arrays: ``(B, C, ...)``, B this process's share of the batch; statistics ``(C,)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, distributed, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from ..errors import MriError
from ..runtime import job_address, place_in_job

T = TypeVar("T")
ASKING = timedelta(seconds=5)  # time for the store of a job to answer


def spread(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Return what to call while training: the model itself, or one that averages gradients.

    Args:
        model: On its device; stays what is saved and evaluated.
        accelerator: Knows the other processes.
    """
    if accelerator.num_processes == 1:
        return model
    join_batch_norms(model, accelerator.device)
    # Running statistics are equal by themselves: they come from the whole batch.
    return DistributedDataParallel(model, forward_sync_buffers=False, gradient_as_bucket_view=True)


@contextmanager
def main_first(accelerator: Accelerator) -> Iterator[None]:
    """Let process 0 make files, then the first process of other machines, then the others.

    A cache on a disk that machines share is made once, one on their own disks once on each.
    """
    with accelerator.main_process_first(), accelerator.local_main_process_first():
        yield


def share_of(total: int, index: int, count: int) -> slice:
    """Return the rows of process `index` of `count` in a batch of `total`, as `array_split`."""
    size, rest = divmod(total, count)
    start = index * size + min(index, rest)
    return slice(start, start + size + (index < rest))


def in_order(shares: list[T], accelerator: Accelerator) -> list[T]:
    """Return the shares of all processes, batch by batch.

    Args:
        shares: This process's share of every batch.
        accelerator: Knows the other processes.
    """
    count, batches = accelerator.num_processes, len(shares)
    everyone = gather_object(shares) if count > 1 else shares  # process by process
    return [everyone[of * batches + batch] for batch in range(batches) for of in range(count)]


def from_main(value: T, accelerator: Accelerator) -> T:
    """Return what process 0 holds: machines may differ in the last bit, decisions must not."""
    held = [value]
    if accelerator.num_processes > 1:
        broadcast_object_list(held)
    return held[0]


@contextmanager
def others_needed(kept: Callable[[], int]) -> Iterator[None]:
    """Say in one sentence that another process of the job ended.

    Args:
        kept: Returns how many whole epochs are in the folder of the run.

    Raises:
        MriError: A message from or to another process failed.
    """
    try:
        yield
    except RuntimeError as error:
        # gloo's errors have no class of their own.
        lost = isinstance(error, distributed.DistError) or "gloo" in str(error)
        if not lost or place_in_job().count == 1:
            raise
        raise MriError(
            f"another process of this job ended, which ends the job; {what_is_kept(kept())}",
            hint="see above or in the system's log why it ended (memory?), and repeat the command",
        ) from None


def what_is_kept(epochs: int) -> str:
    """Say what a stopped training leaves."""
    if not epochs:
        return "no whole epoch is kept"
    return f"{epochs} whole epoch{'s are' if epochs > 1 else ' is'} kept, --resume continues"


def speaks_first() -> bool:
    """Return whether this process is the first of its job to ask: it says why the job ends.

    When one process ends, torchrun ends the others; each would say so. The question is asked of
    the store that torchrun keeps; if that is gone too, everyone speaks.
    """
    if place_in_job().count == 1:
        return True
    host, port = job_address()
    try:
        store = TCPStore(host, port, is_master=False, timeout=ASKING)
        return int(store.add("spoken", 1)) == 1
    except distributed.DistError:
        return True


def join_batch_norms(model: nn.Module, device: torch.device) -> None:
    """Make every batch normalisation of a model that of the whole batch, in place.

    Parameters, running statistics and their names stay as they are.

    Args:
        model: With no batch normalisation at its root.
        device: Where it runs: torch's own `SyncBatchNorm` refuses a CPU.
    """
    if device.type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = WholeBatchNorm


class WholeBatchNorm(_BatchNorm):
    """`SyncBatchNorm` for a CPU: the mean first, then the variance around it, which is exact."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalised; while training, by the statistics of all processes."""
        if not self.training:
            return super().forward(x)
        axes, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        count = exact.new_tensor([x.numel() // x.shape[1]])
        total = _sum(torch.cat([exact.sum(axes), count]))
        mean, count = total[:-1] / total[-1], total[-1]
        centred = exact - mean.view(shape)
        variance = _sum(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach(), count.detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        out = centred * scale.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics towards the batch's, as torch does: unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any number of axes: the module stands in for all three kinds."""


class _Sum(torch.autograd.Function):
    """Sum over processes, whose gradient is the sum over processes too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _all_reduced(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _all_reduced(gradient)


def _all_reduced(values: Tensor) -> Tensor:
    values = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(values)
    return values


def _sum(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total
