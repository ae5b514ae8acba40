"""Backbones for volumes, trained from scratch, with batch normalisation.

Normalising each scan by itself (instance or group norm) takes away much of what the head reads,
the mean of a channel over the scan: on phantoms such networks learnt late or not at all. Batches
of four are enough for batch norm here, since every place of a map counts towards its statistics.

Arrays: volumes ``(B, 1, X, Y, Z)``, every axis at least 24 voxels; maps ``(B, F, x, y, z)``,
each axis an eighth (`simple`), a sixteenth (`resnet`, `resnet_small`) or a 32nd (`sfcn`) of the
volume's, rounded up.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from .registry import register_model

# Grey values of a brain-masked volume in [0, 1], mean and spread over the whole box.
MEAN, STD = 0.25, 0.3

_register = partial(register_model, dim="3d", input_size=128, mean=MEAN, std=STD)
_FINE = ("features.layer2",)


class Convolution(nn.Conv3d):
    """3 x 3 x 3 convolution without bias that a CPU computes in float32 where a map is tiny.

    With an edge of two or less, oneDNN 3.12 leaves weights' bfloat16 gradients partly unwritten:
    they are whatever was in memory, up to infinity.
    """

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels, 3, stride=stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map, in the precision of its surroundings unless that would be wrong."""
        if x.device.type == "cpu" and min(x.shape[2:]) <= 2 and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


def _unit(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """Convolution, normalisation, ReLU."""
    return nn.Sequential(
        Convolution(channels_in, channels, stride),
        nn.BatchNorm3d(channels),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, doi:10.1109/CVPR.2016.90)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = _unit(channels_in, channels, stride)
        self.second = Convolution(channels, channels)
        self.norm = nn.BatchNorm3d(channels)
        same = stride == 1 and channels_in == channels
        self.shortcut = nn.Identity() if same else _shortcut(channels_in, channels, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the rectified sum of shortcut and convolutions."""
        out: Tensor = self.relu(self.norm(self.second(self.first(x))) + self.shortcut(x))
        return out


def _shortcut(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv3d(channels_in, channels, 1, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(channels))


def initialise(features: nn.Module) -> nn.Module:
    """Give every convolution Kaiming weights.

    The residual branches do not start at zero, as they may in larger networks: on 40 volumes that
    took several times as many epochs to learn, or did not learn.
    """
    for module in features.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return features


def _residual(widths: tuple[int, ...], blocks: tuple[int, ...]) -> nn.Sequential:
    """Stem and stages, halved in each but the last: its maps stay fine enough to look at."""
    features = nn.Sequential()
    features.add_module("stem", _unit(1, widths[0], stride=2))
    channels = widths[0]
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
        stride = 1 if stage == len(widths) else 2
        stack = [ResidualBlock(channels, width, stride)]
        stack += [ResidualBlock(width, width, 1) for _ in range(count - 1)]
        features.add_module(f"layer{stage}", nn.Sequential(*stack))
        channels = width
    return features


@_register(
    "simple",
    cam_layer="features.unit5",
    fine_layers=("features.unit2", "features.unit5"),
)
def simple() -> tuple[nn.Module, int]:
    """Simple3DCNN: five convolutions of 24 to 256 channels, the first three halving."""
    widths = (1, 24, 48, 96, 192, 256)
    features = nn.Sequential()
    for unit, (channels_in, channels) in enumerate(pairwise(widths), start=1):
        features.add_module(f"unit{unit}", _unit(channels_in, channels, 2 if unit <= 3 else 1))
    return initialise(features), widths[-1]


@_register("resnet", cam_layer="features.layer4", fine_layers=_FINE)
def resnet() -> tuple[nn.Module, int]:
    """ResNet3D: 17 convolutions in four stages of 32 to 256 channels."""
    return initialise(_residual((32, 64, 128, 256), (2, 2, 3, 2))), 256


@_register("resnet_small", cam_layer="features.layer4", fine_layers=_FINE)
def resnet_small() -> tuple[nn.Module, int]:
    """ResNet3D-Small: five blocks in four stages of 32 to 192 channels."""
    return initialise(_residual((32, 64, 128, 192), (1, 1, 2, 1))), 192


class HalvingPool(nn.MaxPool3d):
    """Maximum of 2 x 2 x 2 places, odd edges rounded up; a map of two places an edge stays.

    A map of one place would be all that batch norm sees of a scan, and of one scan nothing: it
    takes its own mean away.
    """

    def __init__(self) -> None:
        super().__init__(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of half the edges, ``(B, F, x / 2, y / 2, z / 2)``."""
        pooled: Tensor = x if max(x.shape[2:]) <= 2 else super().forward(x)
        return pooled


@_register("sfcn", cam_layer="features.unit6", fine_layers=("features.unit3", "features.unit6"))
def sfcn() -> tuple[nn.Module, int]:
    """SFCN: five convolutions of 32 to 256 channels, each pooled, and one of single places.

    As published up to its last map; pooling and head are this project's. Of volumes of less than
    64 voxels an edge the last map keeps two places an edge.

    Source: Peng et al. (2021), doi:10.1016/j.media.2020.101871.
    """
    widths = (1, 32, 64, 128, 256, 256)
    features = nn.Sequential()
    for unit, (channels_in, channels) in enumerate(pairwise(widths), start=1):
        layers = Convolution(channels_in, channels), nn.BatchNorm3d(channels), HalvingPool()
        features.add_module(f"unit{unit}", nn.Sequential(*layers, nn.ReLU(inplace=True)))
    single = nn.Conv3d(widths[-1], 64, 1, bias=False)
    last = nn.Sequential(single, nn.BatchNorm3d(64), nn.ReLU(inplace=True))
    features.add_module("unit6", last)
    return initialise(features), 64
