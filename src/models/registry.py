"""What a backbone declares of itself: how it is built, what it takes, and which layers maps use.

Axes: feature maps ``(B, F, ...)``, F channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from torch import nn

from ..registry import Registry
from .weights import Rename, Tensors

Dim = Literal["2d", "3d"]
Build = Callable[[], tuple[nn.Module, int]]
B = TypeVar("B", bound=Build)


@dataclass(frozen=True)
class ModelEntry:
    """A registered backbone and what it expects.

    Attributes:
        name: Name on the command line.
        dim: ``"2d"`` or ``"3d"``.
        build: Returns the features, whose output is the last spatial map, and its channels.
        input_size: Edge it was made for, in pixels or voxels; other sizes work.
        mean: Of grey values in [0, 1].
        std: Of grey values in [0, 1].
        cam_layer: Dotted name, in a `Classifier`, of the layer that Grad-CAM explains.
        fine_layers: Layers whose maps are fused where a method weighs every place by itself;
            empty takes `cam_layer`.
        imagenet_file: Returns the local file of its ImageNet weights, fetched on first use.
        rename: Reads a state dict of the published network.
        pool: Makes an embedding of the last map, where that is not what the dimension's do.
        per_channel: Features that `pool` makes of a channel.
        build_like: Builds, as `build`, what some weights are of, where its size follows them.
    """

    name: str
    dim: Dim
    build: Build
    input_size: int
    mean: float
    std: float
    cam_layer: str
    fine_layers: tuple[str, ...] = ()
    imagenet_file: Callable[[], Path] | None = None
    rename: Rename | None = None
    pool: Callable[[], nn.Module] | None = None
    per_channel: int = 1
    build_like: Callable[[Tensors], tuple[nn.Module, int]] | None = None

    def like(self, tensors: Tensors) -> ModelEntry:
        """Return the entry of the size that these weights are of."""
        make = self.build_like
        return self if make is None else replace(self, build=lambda: make(tensors))


MODEL_REGISTRY: Registry[ModelEntry] = Registry("backbone")


def register_model(
    name: str,
    dim: Dim,
    *,
    input_size: int,
    mean: float,
    std: float,
    cam_layer: str,
    fine_layers: tuple[str, ...] = (),
    imagenet_file: Callable[[], Path] | None = None,
    rename: Rename | None = None,
    pool: Callable[[], nn.Module] | None = None,
    per_channel: int = 1,
    build_like: Callable[[Tensors], tuple[nn.Module, int]] | None = None,
) -> Callable[[B], B]:
    """Return a decorator that registers a function ``() -> (features, channels)`` as a backbone.

    Args: as the attributes of `ModelEntry`.
    """

    def register(build: B) -> B:
        MODEL_REGISTRY.add(
            name,
            ModelEntry(
                *(name, dim, build, input_size, mean, std, cam_layer, fine_layers),
                *(imagenet_file, rename, pool, per_channel, build_like),
            ),
        )
        return build

    return register
