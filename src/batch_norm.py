"""Batch normalisation over the batch of all processes, so that N compute what one would.

Arrays: ``(B, C, ...)``, B this process's share of the batch, which may be empty; statistics
``(C,)``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


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
