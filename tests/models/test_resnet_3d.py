"""3D ResNets against MONAI's, whose state dicts they read; volumes ``(B, 1, X, Y, Z)``."""

from __future__ import annotations

import logging

import pytest
import torch
from monai.networks import nets
from torch import nn

from src.errors import CheckpointError
from src.models.classifier import Classifier
from src.models.create import create_model


def published(name: str, channels: int = 1, **settings) -> nn.Module:
    """A network of MONAI's with three classes, and running statistics that are not idle."""
    torch.manual_seed(1)
    network = getattr(nets, name)(
        spatial_dims=3, n_input_channels=channels, num_classes=3, conv1_t_stride=2, **settings
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.Conv3d) and module.bias is not None:
            nn.init.normal_(module.bias)
    return network.eval()


def loaded(path, name: str, state) -> Classifier:
    torch.save(state, path)
    return create_model("3d", name, 3, weights=path).eval()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet18", {}),
        ("resnet18", {"bias_downsample": False}),
        ("resnet18", {"shortcut_type": "A"}),
        ("resnet18", {"channels": 3}),
        pytest.param("resnet50", {"bias_downsample": False}, marks=pytest.mark.slow),
    ],
)
def test_logits_equal_those_of_monai(tmp_path, name: str, settings) -> None:
    network = published(name, **settings)
    channels = settings.get("channels", 1)
    model = loaded(tmp_path / "net.pth", f"{name}_3d", network.state_dict())
    x = torch.rand(2, 1, 36, 33, 40)
    with torch.no_grad():
        expected = network(((x - 0.25) / 0.3).expand(-1, channels, -1, -1, -1))
        features = model.features(model.normalise(x)).flatten(2).mean(2)
        found = network.fc(features)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_medicalnets_file_and_a_head_that_is_left_out_is_named(tmp_path, caplog) -> None:
    state = published("resnet18", shortcut_type="A").state_dict()
    body = {f"module.{name}": v for name, v in state.items() if not name.startswith("fc.")}
    body["module.conv_seg.0.weight"] = torch.zeros(4, 2)
    with caplog.at_level(logging.INFO):
        model = loaded(tmp_path / "net.pth", "resnet18_3d", {"state_dict": body, "epoch": 3})
    assert "left out: module.conv_seg.0.weight" in caplog.text
    first = model.features.get_submodule("layer1.0.conv1")
    assert torch.equal(first.weight, state["layer1.0.conv1.weight"])


def test_what_does_not_fit_is_named(tmp_path) -> None:
    state = published("resnet18").state_dict()
    state["layer9.weight"] = state.pop("bn1.weight")
    with pytest.raises(CheckpointError) as caught:
        loaded(tmp_path / "net.pth", "resnet18_3d", state)
    assert "1 missing (bn1.weight)" in str(caught.value)
    assert "1 unexpected (layer9.weight)" in str(caught.value)


def test_a_checkpoint_of_ours_comes_back(tmp_path) -> None:
    first = create_model("3d", "resnet18_3d", 3, seed=5)
    again = loaded(tmp_path / "own.pth", "resnet18_3d", {"model": first.state_dict()})
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in again.state_dict().items())
