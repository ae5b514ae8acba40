"""Memory of training: activations computed again, and a sentence when it did not suffice.

What a training step keeps for its way back, the activations, is most of its memory in 3D. Fewer
images at once, and bfloat16, take half of it each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..errors import ConfigError, MriError
from ..models.classifier import Classifier

#: How torch's allocators and libraries say, in a RuntimeError, that memory is out.
_SAID = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|out of memory"
    r"|(CUDNN|CUBLAS)_STATUS_ALLOC_FAILED|std::bad_alloc",
    re.IGNORECASE,
)
_BYTES = re.compile(r"allocate (?P<size>[\d.]+) ?(?P<unit>bytes|[KMGTP]iB)", re.IGNORECASE)
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "pib": 2**50}


def recompute_activations(model: Classifier) -> None:
    """Let a 3D model's units forget their activations and compute them again on the way back.

    Each unit keeps its input alone. Losses, gradients, random numbers and running statistics are
    those of a model that keeps them all; a step takes about a third longer. Names of weights do
    not change, and without gradients nothing is computed twice.

    The peak falls by less than a tenth: it is reached in the first unit, whose maps are the largest
    and are all needed at once on the way back.

    Args:
        model: Changed in place.

    Raises:
        ConfigError: It is not a 3D model, or its backbone is frozen.
    """
    if model.dim != "3d" or model.frozen:
        kind = "with a frozen backbone" if model.frozen else f"in {model.dim}"
        raise ConfigError(
            f"--activation_checkpointing has no use {kind}",
            hint="leave it out; --accumulate 2 computes a batch in two halves",
        )
    for unit in _units(model.features):
        unit.forward = partial(_forgetful, unit, unit.forward)


def _units(features: nn.Module) -> Iterator[nn.Module]:
    """Yield the smallest parts that begin and end with one map: stems and blocks, in order."""
    for child in features.children():
        parts = list(child.children())
        stage = isinstance(child, nn.Sequential) and all(list(part.children()) for part in parts)
        yield from _units(child) if stage else (child,)


def _forgetful(unit: nn.Module, forward: Any, x: Tensor) -> Tensor:
    if not (unit.training and torch.is_grad_enabled()):
        out: Tensor = forward(x)
        return out
    again = partial(_passes, unit)
    out = checkpoint(forward, x, use_reentrant=False, context_fn=again)
    return out


def _passes(unit: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds the first pass and the second."""
    return nullcontext(), _statistics_kept(unit)


@contextmanager
def _statistics_kept(unit: nn.Module) -> Iterator[None]:
    """Let batch norms update copies of their running statistics, which saw the batch before."""
    norms = [module for module in unit.modules() if isinstance(module, _BatchNorm)]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, value in buffers.items():
            norm.register_buffer(name, value.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, value in buffers.items():
                norm.register_buffer(name, value)


@contextmanager
def out_of_memory(
    batch_size: int,
    *,
    dim: str = "2d",
    accumulate: int = 1,
    recomputed: bool = False,
    half: bool = False,
    training: bool = True,
) -> Iterator[None]:
    """Turn "out of memory", on a GPU or a processor, into a sentence with the flag to try.

    Linux may end a process whose memory is out instead, which no program can turn into a sentence.

    Args:
        batch_size: Images of a step.
        dim: ``"2d"`` or ``"3d"``.
        accumulate: Parts that a batch is computed in.
        recomputed: Whether `recompute_activations` is in use.
        half: Whether it computes in bfloat16.
        training: Whether gradients were needed.

    Raises:
        MriError: The block ran out of memory. Any other error passes.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        at_once = -(-batch_size // accumulate) if training else batch_size
        raise MriError(
            _what(error, at_once, dim, training),
            hint=_way_out(batch_size, at_once, dim, accumulate, recomputed, half)
            if training
            else _way_out_without_gradients(batch_size, dim),
        ) from None


def _is_out_of_memory(error: BaseException) -> bool:
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or _SAID.search(str(error)) is not None


def _what(error: BaseException, at_once: int, dim: str, training: bool) -> str:
    """Return what did not fit, and the piece that was asked for when that is known."""
    image = "slice" if dim == "2d" else "volume"
    did = "training on" if training else "running the network on"
    piece = _BYTES.search(str(error))
    asked = ""
    if piece:
        size = float(piece["size"]) * _UNITS[piece["unit"].lower()]
        asked = f": {size / 2**20:.0f} MiB more could not be had"
    return f"out of memory, {did} {at_once} {image}{'s' * (at_once > 1)} at once{asked}"


def _way_out(
    batch_size: int, at_once: int, dim: str, accumulate: int, recomputed: bool, half: bool
) -> str:
    if at_once > 1:
        parts = min(2 * accumulate, batch_size)
        same = f"--accumulate {parts} computes the same batch in {parts} parts"
        return f"{same}, or --batch_size {batch_size // 2}"
    ways = [] if half else ["--precision bf16 takes half of it"]
    if dim == "3d" and not recomputed:
        ways.append("--activation_checkpointing takes a little less, and more time")
    return ", or ".join([*ways, _smaller_images(dim)])


def _way_out_without_gradients(batch_size: int, dim: str) -> str:
    if batch_size > 1:
        return f"--batch_size {batch_size // 2}, or end other programs that use the memory"
    return f"end other programs that use the memory, or {_smaller_images(dim)}"


def _smaller_images(dim: str) -> str:
    flag = "--image_size" if dim == "2d" else "--volume_size"
    return f"preprocess with a smaller {flag}"
