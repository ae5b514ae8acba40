"""What every backbone must do, over the registry; ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``."""

from __future__ import annotations

import logging

import pytest
import torch

from src.config.training import IN_MNI
from src.errors import ConfigError, UnknownNameError
from src.models import backbones_2d as model  # noqa: F401  importing them registers the backbones
from src.models import backbones_3d as model_3d  # noqa: F401  importing them registers the backbones
from src.models.classifier import Classifier
from src.models.create import build_classifier
from src.models.registry import MODEL_REGISTRY, register_model

#: Those of MNI space need a data set that is laid there: test_qiu.py.
NAMES = [name for name in MODEL_REGISTRY if name not in IN_MNI]
SHAPES = {"2d": (64, 96), "3d": (32, 40, 48)}
MILLIONS = {
    "resnet18": (11.0, 11.3),
    "resnet50": (23.4, 23.6),
    "densenet121": (6.8, 7.1),
    "efficientnet_b0": (3.9, 4.1),
    "efficientnet_lite0": (3.3, 3.5),
    "vit_b_16": (85.4, 85.5),
    "vit_conv": (1.3, 1.5),
    "simple": (1.5, 2.5),
    "resnet": (8.0, 12.0),
    "resnet_small": (2.5, 4.0),
    "sfcn": (2.8, 3.2),
    "resnet18_3d": (33.1, 33.3),
    "resnet50_3d": (46.1, 46.3),
}


def build(name: str, num_classes: int = 4, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return build_classifier(MODEL_REGISTRY.get(name), num_classes, weights="none")


def images(classifier: Classifier, count: int = 1) -> torch.Tensor:
    shape = (count, 1, *SHAPES[classifier.dim])
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_registry_holds_the_documented_backbones() -> None:
    assert set(NAMES) == set(MILLIONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_image_of_unequal_axes_trains(name: str) -> None:
    classifier = build(name, num_classes=3).train()
    logits = classifier(images(classifier))
    logits.sum().backward()
    assert logits.shape == (1, 3)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in classifier.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_parameter_count_is_the_documented_one(name: str) -> None:
    low, high = MILLIONS[name]
    assert low < sum(p.numel() for p in build(name).parameters()) / 1e6 < high


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_same_seed_builds_same_model_and_state_dict_restores_it(name: str) -> None:
    first, same, other = build(name).eval(), build(name).eval(), build(name, seed=1).eval()
    for key, value in first.state_dict().items():
        assert torch.equal(value, same.state_dict()[key]), key
    x = images(first)
    with torch.no_grad():
        assert not torch.equal(first(x), other(x))
        other.load_state_dict(first.state_dict())
        assert torch.equal(first(x), other(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_cam_layer_gives_the_map_that_is_pooled(name: str) -> None:
    classifier, maps = build(name).eval(), []
    layer = classifier.get_submodule(MODEL_REGISTRY.get(name).cam_layer)
    layer.register_forward_hook(lambda module, inputs, output: maps.append(output.clone()))
    with torch.no_grad():
        embedding = classifier.embed(images(classifier, 2))
    assert maps[0].ndim == (4 if classifier.dim == "2d" else 5)
    flat = maps[0].flatten(2)
    pooled = flat.mean(2) if classifier.dim == "2d" else torch.cat([flat.mean(2), flat.amax(2)], 1)
    assert torch.allclose(pooled, embedding, atol=1e-6)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "simple"])
def test_batch_gives_what_its_items_give(name: str) -> None:
    classifier = build(name).eval()
    x = images(classifier, 3)
    with torch.no_grad():
        alone = torch.cat([classifier(item[None]) for item in x])
        assert torch.allclose(classifier(x), alone, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "simple"])
def test_bytes_and_fractions_and_half_floats_mean_the_same(name: str) -> None:
    classifier = build(name).eval()
    grey = (images(classifier) * 255).to(torch.uint8)
    unit = grey.float() / 255
    with torch.no_grad():
        expected = classifier.normalise(unit)
        assert torch.allclose(classifier.normalise(grey), expected, atol=1e-5)
        assert torch.allclose(classifier.normalise(unit.half()), expected, atol=1e-2)
        assert classifier(unit.half()).dtype == torch.float32


def test_training_starts_from_nearly_equal_probabilities() -> None:
    classifier = build("simple").eval()
    with torch.no_grad():
        p = classifier(images(classifier)).softmax(1)
    assert torch.allclose(p, torch.full_like(p, 0.25), atol=0.1)


def test_frozen_features_keep_weights_and_statistics() -> None:
    classifier = build("resnet18")
    classifier.freeze_backbone()
    classifier.train()
    before = {name: value.clone() for name, value in classifier.features.state_dict().items()}
    classifier(images(classifier, 2)).sum().backward()
    assert classifier.dropout.training
    assert classifier.head.weight.grad is not None
    assert not any(p.requires_grad for p in classifier.features.parameters())
    assert all(torch.equal(v, before[k]) for k, v in classifier.features.state_dict().items())


@pytest.mark.parametrize(
    ("name", "shape", "found"),
    [
        ("resnet18", (1, 3, 64, 96), "(B, 1, H, W), got (1, 3, 64, 96)"),
        ("resnet18", (1, 1, 32, 40, 48), "got (1, 1, 32, 40, 48)"),
        ("simple", (1, 1, 64, 96), "(B, 1, X, Y, Z), got (1, 1, 64, 96)"),
    ],
)
def test_wrong_axes_name_expected_and_found(name: str, shape: tuple[int, ...], found: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(name)(torch.zeros(shape))
    assert found in str(error.value)


def test_whole_numbers_beyond_bytes_are_refused() -> None:
    with pytest.raises(ConfigError, match="int64"):
        build("simple")(torch.zeros(1, 1, 32, 32, 32, dtype=torch.int64))


def test_unknown_backbone_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        MODEL_REGISTRY.get("resnet_18")


def test_one_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 classes or more, not 1"):
        build("simple", num_classes=1)


def test_a_name_is_registered_once() -> None:
    register = register_model("simple", "3d", input_size=1, mean=0, std=1, cam_layer="features")
    with pytest.raises(KeyError, match="twice"):
        register(lambda: (torch.nn.Identity(), 1))


def test_imagenet_weights_of_a_3d_backbone_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are none of simple"):
        build_classifier(MODEL_REGISTRY.get("simple"), 4, weights="imagenet")


def test_building_logs_one_line_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="src.models.create"):
        build_classifier(MODEL_REGISTRY.get("simple"), 4)
    (line,) = caplog.messages
    assert line.startswith("backbone: simple, 3d, 2.0 M parameters; weights: none")
    assert "there are no ImageNet weights" in line
