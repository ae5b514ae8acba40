"""What the checks ask of an attribution, and its maps in batches that fit into memory.

Arrays: images ``(P, 1, H, W)`` or volumes ``(P, 1, X, Y, Z)`` float in [0, 1], P people; maps
``(P, H, W)`` or ``(P, X, Y, Z)``, >= 0; logits ``(n, K)``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...models.classifier import Classifier
from ...models.engine import Pass
from ...training.logits import inference_batch
from ..attribution import Target, computing

#: What is explained, settled once for all people: one class index each, or a named score.
Settled = list[int] | str
Maps = NDArray[np.float32]
#: Methods that need tens or hundreds of passes for one map.
EXPENSIVE = ("ig", "occlusion")


class Explainer(Protocol):
    """An `Attribution`, or anything that makes maps of a model as one does."""

    model: nn.Module
    method: str

    def raw_maps(self, x: Tensor, target: Target = None) -> Maps:
        """Return the maps of a batch."""

    def resolution(self, shape: Sequence[int]) -> tuple[float, ...]:
        """Return the edges of one cell of the map's own grid, in places of the image."""


E = TypeVar("E", bound=Explainer)


def batch_size(model: nn.Module, x: Tensor) -> int:
    """Return how many images to run at once on the model's device."""
    return inference_batch("2d" if x.ndim == 4 else "3d", device_of(model))


def parts_of(model: nn.Module, x: Tensor, least: int = 1) -> Iterator[Tensor]:
    """Yield `x` in batches, of `least` images or more where there are as many."""
    size = max(batch_size(model, x), least)
    for start in range(0, len(x), size):
        yield x[start : start + size]


def device_of(model: nn.Module) -> torch.device:
    """Return where the model is."""
    return next(model.parameters()).device


def logits_of(model: nn.Module, x: Tensor, run: Pass | None = None) -> Tensor:
    """Return the logits ``(n, K)`` on the CPU, in batches; the model is left as it was.

    Args:
        model: What is asked.
        x: Images.
        run: A pass of the model's weights, where many more images come; None asks `model` itself.
    """
    ask = model if run is None else run.logits
    with computing(model, x[:0]):
        parts = [ask(part.to(device_of(model))) for part in parts_of(model, x)]
        return torch.cat([part.double().cpu() for part in parts])


def pass_of(model: nn.Module, images: int) -> Pass | None:
    """Return a pass over `images` images in all; None of a network that is none of ours."""
    return Pass(model, images) if isinstance(model, Classifier) else None


def settle_target(model: nn.Module, x: Tensor, target: Target) -> Settled:
    """Return what is explained of each person, so that a changed model cannot change it.

    None is the class that the model predicts now.
    """
    if isinstance(target, str):
        return target
    if target is None:
        predicted: list[int] = logits_of(model, x).argmax(dim=1).tolist()
        return predicted
    if isinstance(target, int):
        return [target] * len(x)
    return [int(index) for index in target]


def maps_of(explainer: Explainer, x: Tensor, target: Settled) -> Maps:
    """Return the maps ``(P, ...)`` of all people, in batches."""
    size, parts = batch_size(explainer.model, x), []
    for start in range(0, len(x), size):
        wanted = target if isinstance(target, str) else target[start : start + size]
        parts.append(explainer.raw_maps(x[start : start + size], wanted))
    return np.concatenate(parts)


def with_model(explainer: E, model: nn.Module) -> E:
    """Return the same method and layers for another model of the same architecture."""
    other = copy.copy(explainer)
    other.model = model
    return other
