"""Weight files: downloads that fail, foreign state dicts, our own checkpoints."""

from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path

import pytest
import torch

from src.errors import CheckpointError
from src.models import backbones_2d as model  # noqa: F401  the first two register the backbones
from src.models import backbones_3d as model_3d  # noqa: F401  the first two register the backbones
from src.models import weights
from src.models.classifier import Classifier
from src.models.create import build_classifier
from src.models.registry import MODEL_REGISTRY
from src.models.torchvision_import import models


def build(name: str, source: object = "none", num_classes: int = 4, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return build_classifier(MODEL_REGISTRY.get(name), num_classes, weights=str(source))


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def settle(network: torch.nn.Module, x: torch.Tensor) -> None:
    """Give an untrained network running statistics, without which deep maps vanish."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(x)
    network.eval()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def test_failed_download_says_what_to_do_and_leaves_nothing(cache: Path) -> None:
    start = time.monotonic()
    with pytest.raises(CheckpointError) as error:
        weights.fetch("http://127.0.0.1:9/models/resnet18-f37072fd.pth")
    assert time.monotonic() - start < 10
    message = str(error.value)
    assert "http://127.0.0.1:9/models/resnet18-f37072fd.pth" in message
    assert str(cache / "resnet18-f37072fd.pth") in message
    assert "--weights none" in message
    assert "--backbone efficientnet_lite0" in message
    assert list(cache.iterdir()) == []


def test_silent_server_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, never answers
        url = f"http://127.0.0.1:{server.getsockname()[1]}/net-00000000.pth"
        with pytest.raises(CheckpointError, match="timed out"):
            weights.fetch(url)
    assert socket.getdefaulttimeout() is None


@pytest.mark.slow
def test_imagenet_without_network_is_an_error_not_random_weights(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    for name in ("resnet18", "resnet50", "densenet121", "efficientnet_b0", "vit_b_16"):
        with pytest.raises(CheckpointError, match=rf"weights {name}.*network is unreachable"):
            build(name, "imagenet")


def test_download_is_checked_against_its_hash(cache: Path, tmp_path: Path) -> None:
    source = tmp_path / "net-00000000.pth"
    source.write_bytes(b"tampered")
    with pytest.raises(CheckpointError, match="invalid hash"):
        weights.fetch(source.as_uri())
    assert list(cache.iterdir()) == []


def test_download_is_kept_and_checked_when_found_again(cache: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    source = tmp_path / f"net-{digest}.pth"
    source.write_bytes(b"weights")
    kept = weights.fetch(source.as_uri())
    source.unlink()
    assert weights.fetch(source.as_uri()) == kept == cache / source.name
    kept.write_bytes(b"weigh")
    with pytest.raises(CheckpointError, match="damaged"):
        weights.fetch(source.as_uri())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_b0"])
def test_torchvision_state_dict_on_three_equal_channels_gives_the_same(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    published = getattr(models, name)(weights=None)
    x = torch.rand(2, 1, 64, 96)
    tripled = ((x - 0.449) / 0.226).expand(-1, 3, -1, -1)
    settle(published, tripled)
    path = saved(published.state_dict(), tmp_path / "published.pth")
    ours = build(name, path).eval()
    body = torch.nn.Sequential(*list(published.children())[:-1])
    with torch.no_grad():
        expected = body(tripled)
        expected = expected.relu().mean((2, 3)) if name == "densenet121" else expected.flatten(1)
        assert expected.std() > 1e-3
        assert (ours.embed(x) - expected).abs().max() < 1e-4 * max(1.0, expected.abs().max())


def test_densenet_file_with_the_old_names_loads(tmp_path: Path) -> None:
    state = build("densenet121", seed=3).features.state_dict()
    old = {
        "features."
        + name.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): value
        for name, value in state.items()
    }
    loaded = build("densenet121", saved(old, tmp_path / "old.pth")).features.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_checkpoint_of_ours_comes_back_whole(tmp_path: Path) -> None:
    first = build("simple", seed=1)
    path = saved({"model": first.state_dict(), "epoch": 3}, tmp_path / "best.pth")
    again = build("simple", path)
    assert all(torch.equal(v, first.state_dict()[k]) for k, v in again.state_dict().items())


def test_checkpoint_of_other_classes_gives_features_and_a_fresh_head(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = build("simple", seed=1)
    path = saved({"model": first.state_dict()}, tmp_path / "best.pth")
    with caplog.at_level("INFO", logger="src.models.create"):
        other = build("simple", path, num_classes=2)
    assert torch.equal(next(other.features.parameters()), next(first.features.parameters()))
    assert other.head.weight.shape[0] == 2
    assert "fresh head: its own is of other classes" in caplog.text


def test_weights_of_another_backbone_are_counted(tmp_path: Path) -> None:
    path = saved(build("resnet18").state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError) as error:
        build("resnet50", path)
    message = str(error.value)
    assert "of another network" in message
    assert "198 missing (features.layer1.0.conv3.weight" in message
    assert "of another shape" in message


def test_unexpected_tensors_are_counted(tmp_path: Path) -> None:
    state = build("simple").state_dict() | {"features.extra": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"1 unexpected \(features.extra\)"):
        build("simple", saved(state, tmp_path / "odd.pth"))


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"model": {}}])
def test_file_without_weights_is_refused(content: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no weights"):
        build("simple", saved(content, tmp_path / "empty.pth"))


def test_mistyped_weights_name_the_choices() -> None:
    with pytest.raises(CheckpointError, match="'imagenett' is neither imagenet, none nor a file"):
        build("resnet18", "imagenett")


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(build("simple").state_dict(), tmp_path / "cut.pth")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="truncated"):
        build("simple", path)
