"""3D ResNets in the published layout, so that weights learnt elsewhere can be read.

The names are those of MONAI and MedicalNet (``conv1``, ``bn1``, ``layer1`` ... ``layer4``), and so
is what is computed: a convolution of 7 x 7 x 7 and a pooling, each halving, and four stages, of
which all but the first halve.

Arrays: volumes ``(B, 1, X, Y, Z)``; maps ``(B, F, x, y, z)``, each axis a 32nd of the volume's,
rounded up. Up to 32 voxels an edge that is one place, which batch norm cannot train one scan on.

Sources: Hara et al. (2018), arXiv:1711.09577. MedicalNet: Chen et al. (2019), arXiv:1904.00625.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from .backbones_3d import MEAN, STD, Convolution, initialise
from .registry import register_model
from .weights import Tensors

_SHORTCUT = re.compile(r"layer\d\.0\.downsample\.")
_HEADS = ("fc.", "conv_seg.")  # of a classifier; of MedicalNet's segmentation


class PublishedBlock(nn.Module):
    """Two or three convolutions beside a shortcut, under the published names.

    Args:
        channels_in: Of the map before it.
        width: Channels of its first convolution.
        stride: Of its 3 x 3 x 3 convolution that halves, if any.
        bottleneck: One convolution of 3 x 3 x 3 between two of single places, four times as wide
            at the end; else two of 3 x 3 x 3.
    """

    def __init__(self, channels_in: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        single = partial(nn.Conv3d, kernel_size=1, bias=False)
        channels = 4 * width if bottleneck else width
        self.conv1 = single(channels_in, width) if bottleneck else _3x3(channels_in, width, stride)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = _3x3(width, width, stride if bottleneck else 1)
        self.bn2 = nn.BatchNorm3d(width)
        if bottleneck:
            self.conv3, self.bn3 = single(width, channels), nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential()
        if stride != 1 or channels_in != channels:
            layers = single(channels_in, channels, stride=stride), nn.BatchNorm3d(channels)
            self.downsample = nn.Sequential(*layers)
        self.bottleneck = bottleneck

    def forward(self, x: Tensor) -> Tensor:
        """Return the rectified sum of shortcut and convolutions."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            out = self.bn3(self.conv3(self.relu(out)))
        summed: Tensor = self.relu(out + self.downsample(x))
        return summed


def _3x3(channels_in: int, channels: int, stride: int) -> nn.Conv3d:
    return Convolution(channels_in, channels, stride)


def _published(blocks: tuple[int, ...], bottleneck: bool) -> tuple[nn.Module, int]:
    features = OrderedDict[str, nn.Module](
        conv1=nn.Conv3d(1, 64, 7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm3d(64),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool3d(3, stride=2, padding=1),
    )
    channels = 64
    for stage, count in enumerate(blocks, start=1):
        width, stack = 32 * 2**stage, []
        for number in range(count):
            stride = 2 if stage > 1 and number == 0 else 1
            stack.append(PublishedBlock(channels, width, stride, bottleneck))
            channels = 4 * width if bottleneck else width
        features[f"layer{stage}"] = nn.Sequential(*stack)
    return initialise(nn.Sequential(features)), channels


def published_names(tensors: Tensors, features: nn.Module) -> dict[str, Tensor]:
    """Read a state dict of MONAI's or MedicalNet's 3D ResNet, without its head.

    - ``module.``, which data parallelism puts before every name, is taken off.
    - A bias of a shortcut's convolution (MONAI's default) goes into the mean that the batch norm
      after it subtracts: the same network.
    - Shortcuts of type A have no weights: places are left out, channels filled with zeros. They
      become convolutions of ones and zeros with an idle batch norm: the same map. While it trains
      further, the batch norm normalises and the convolution learns, as in type B.
    """
    found = {name.removeprefix("module."): value for name, value in tensors.items()}
    found = {name: value for name, value in found.items() if not name.startswith(_HEADS)}
    for name in [one for one in found if one.endswith("downsample.0.bias")]:
        mean = name.replace("downsample.0.bias", "downsample.1.running_mean")
        bias = found.pop(name)
        if mean in found and found[mean].shape == bias.shape:
            found[mean] = found[mean] - bias
    if not any(map(_SHORTCUT.match, found)):
        found |= _shortcuts_without_weights(features)
    return found


def _shortcuts_without_weights(features: nn.Module) -> dict[str, Tensor]:
    made: dict[str, Tensor] = {}
    for name, module in features.named_modules():
        if name.endswith("downsample.0") and isinstance(module, nn.Conv3d):
            kernel = torch.zeros_like(module.weight)
            same = range(module.in_channels)
            kernel[same, same] = 1
            made[f"{name}.weight"] = kernel
        elif name.endswith("downsample.1") and isinstance(module, nn.BatchNorm3d):
            idle = nn.BatchNorm3d(module.num_features).state_dict()
            idle["running_var"] = idle["running_var"] - module.eps  # it is added again
            made |= {f"{name}.{part}": value for part, value in idle.items()}
    return made


_register = partial(
    register_model,
    dim="3d",
    input_size=128,
    mean=MEAN,
    std=STD,
    cam_layer="features.layer4",
    fine_layers=("features.layer2",),
    rename=published_names,
)


@_register("resnet18_3d")
def resnet18_3d() -> tuple[nn.Module, int]:
    """ResNet-18 for volumes, 33 million parameters."""
    return _published((2, 2, 2, 2), bottleneck=False)


@_register("resnet50_3d")
def resnet50_3d() -> tuple[nn.Module, int]:
    """ResNet-50 for volumes, 46 million parameters."""
    return _published((3, 4, 6, 3), bottleneck=True)
