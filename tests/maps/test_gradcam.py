"""Grad-CAM against captum and by hand; ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``, unequal axes."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torch.nn import functional

from src.errors import ConfigError, ImageError, UnknownNameError
from src.maps.gradcam import GradCAM, get_target_layer
from src.models.classifier import Classifier
from src.models.create import build_classifier
from src.models.registry import MODEL_REGISTRY

NAMES = [
    *("resnet18", "efficientnet_lite0", "densenet121", "vit_conv"),
    *("simple", "resnet", "resnet_small", "sfcn"),
]


def build(name: str) -> Classifier:
    torch.manual_seed(0)
    weights = "imagenet" if name == "efficientnet_lite0" else "none"
    classifier = build_classifier(MODEL_REGISTRY.get(name), 4, weights=weights)
    nn.init.normal_(classifier.head.weight)
    return classifier.eval()


def images(classifier: Classifier, count: int = 2) -> torch.Tensor:
    shape = (64, 96) if classifier.dim == "2d" else (32, 48, 40)
    coarse = torch.rand((count, 1, *(n // 8 for n in shape)), generator=torch.manual_seed(1))
    return functional.interpolate(coarse, size=shape)


class Tiny(nn.Module):
    """A network small enough to explain by hand: logit k is the mean of ``weight[k] * x``."""

    def __init__(self, weights: tuple[float, ...] = (1.0, -1.0)) -> None:
        super().__init__()
        self.map = nn.Conv2d(1, len(weights), 1, bias=False)
        self.pool = nn.Flatten(2)
        self.relu = nn.Identity()
        with torch.no_grad():
            self.map.weight.copy_(torch.tensor(weights).reshape(-1, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.relu(self.map(x))).mean(2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_maps_equal_captum(name: str) -> None:
    classifier = build(name)
    layer, x, target = get_target_layer(classifier), images(classifier), [3, 1]
    expected = LayerGradCam(classifier, layer).attribute(
        x, torch.tensor(target), relu_attributions=True
    )
    cam = GradCAM(classifier, layer)
    raw = cam.raw_cams(x, target)
    assert expected.max() > 1e-3
    assert torch.allclose(raw, expected[:, 0], atol=1e-5, rtol=1e-5)
    mode = "bilinear" if classifier.dim == "2d" else "trilinear"
    fine = functional.interpolate(expected, size=x.shape[2:], mode=mode)[:, 0].detach().numpy()
    for found, wanted in zip(cam.generate_cams(x, target), fine, strict=True):
        assert found == pytest.approx(wanted / max(wanted.max(), 1e-9), abs=1e-5)


def test_map_by_hand_is_the_image_for_one_class_and_empty_for_the_other() -> None:
    tiny, x = Tiny(), torch.rand(1, 1, 3, 5) + 0.1
    cam = GradCAM(tiny, tiny.map)
    assert cam.generate_cam(x[0], 0) == pytest.approx((x / x.max())[0, 0].numpy(), abs=1e-6)
    assert cam.generate_cam(x, 1).max() == 0  # its channel is -x: no place speaks for class 1


def test_bright_spot_in_a_volume_is_found_where_it_is() -> None:
    pool = nn.AvgPool3d(4)
    network = nn.Sequential(pool, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 2))
    nn.init.ones_(network[3].weight)
    x = torch.zeros(1, 1, 16, 20, 24)
    x[0, 0, 4:8, 12:16, 8:12] = 1
    cam = GradCAM(network, pool).generate_cams(x, 0)[0]
    assert cam.shape == (16, 20, 24)
    assert [axis.mean() for axis in np.nonzero(cam > 0.99 * cam.max())] == [5.5, 13.5, 9.5]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "simple"])
def test_one_item_equals_its_batch_and_none_means_predicted(name: str) -> None:
    classifier = build(name)
    x, cam = images(classifier), GradCAM(classifier, get_target_layer(classifier))
    predicted = classifier(x).argmax(1)
    batch = cam.generate_cams(x)
    assert batch.shape == (2, *x.shape[2:])
    assert batch.dtype == np.float32
    assert batch.min() >= 0
    assert batch.reshape(2, -1).max(1) == pytest.approx([1, 1])
    assert batch == pytest.approx(cam.generate_cams(x, predicted), abs=1e-6)
    for item, one in zip(x, batch, strict=True):
        assert cam.generate_cam(item) == pytest.approx(one, abs=1e-4)
        assert cam.generate_cam(item[None]) == pytest.approx(one, abs=1e-4)


@pytest.mark.parametrize("context", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("frozen", [False, True])
def test_caller_context_and_freezing_do_not_matter(context: type, frozen: bool) -> None:
    classifier = build("simple")
    layer, x = get_target_layer(classifier), images(classifier)
    expected = GradCAM(classifier, layer).generate_cams(x, 1)
    classifier.requires_grad_(not frozen)
    with context():
        before = torch.is_grad_enabled()
        found = GradCAM(classifier, layer).generate_cams(x.clone(), 1)
        assert torch.is_grad_enabled() == before
    assert np.array_equal(found, expected)


def test_model_is_left_as_it_was() -> None:
    classifier = build("resnet18").train()
    classifier.features.layer1.eval()
    classifier.features.conv1.requires_grad_(False)
    modes = [module.training for module in classifier.modules()]
    grads = [parameter.requires_grad for parameter in classifier.parameters()]
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    layer = get_target_layer(classifier)
    with GradCAM(classifier, layer) as cam:
        cam.generate_cams(images(classifier))
    assert modes == [module.training for module in classifier.modules()]
    assert grads == [parameter.requires_grad for parameter in classifier.parameters()]
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert all(torch.equal(value, state[k]) for k, value in classifier.state_dict().items())
    assert not layer._forward_hooks


def test_model_is_left_as_it_was_after_an_error() -> None:
    classifier = build("simple").train()
    layer = get_target_layer(classifier)
    with pytest.raises(ConfigError):
        GradCAM(classifier, layer).generate_cams(torch.zeros(1, 3, 32, 32, 32))
    assert all(module.training for module in classifier.modules())
    assert not layer._forward_hooks
    assert torch.is_grad_enabled()


def test_in_place_layer_after_the_map_does_not_change_it() -> None:
    tiny, x = Tiny(), torch.rand(1, 1, 3, 5)
    tiny.relu = nn.Threshold(threshold=0.5, value=-9.0, inplace=True)
    share = (x > 0.5).float().mean() / x[0, 0].numel()
    raw = GradCAM(tiny, tiny.map).raw_cams(x, 0)
    assert torch.allclose(raw[0], x[0, 0] * share)  # the gradient sees the layer, the map does not


@pytest.mark.slow
def test_bytes_are_explained_like_fractions() -> None:
    classifier = build("simple")
    cam = GradCAM(classifier, get_target_layer(classifier))
    grey = (images(classifier) * 255).to(torch.uint8)
    assert cam.generate_cams(grey, 0) == pytest.approx(
        cam.generate_cams(grey.float() / 255, 0), abs=1e-3
    )


@pytest.mark.parametrize("target", [4, -1, [0, 4], [0], torch.tensor([1, 9])])
def test_target_class_out_of_range_is_refused(target: object) -> None:
    classifier = build("simple")
    cam = GradCAM(classifier, get_target_layer(classifier))
    with pytest.raises(ConfigError, match="target class"):
        cam.generate_cams(images(classifier), target)


def test_layer_of_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="not part of the model"):
        GradCAM(Tiny(), nn.Conv2d(1, 2, 1))


@pytest.mark.parametrize("layer", ["head", "pool"])
def test_layer_without_a_map_is_refused(layer: str) -> None:
    classifier = build("simple")
    with pytest.raises(ConfigError, match="no map"):
        GradCAM(classifier, classifier.get_submodule(layer)).generate_cams(images(classifier))


def test_layer_that_takes_no_part_is_refused() -> None:
    tiny = Tiny()
    tiny.spare = nn.Conv2d(1, 1, 1)
    with pytest.raises(ConfigError, match="took no part"):
        GradCAM(tiny, tiny.spare).generate_cams(torch.rand(1, 1, 3, 5))


def test_several_items_are_no_single_one() -> None:
    with pytest.raises(ConfigError, match="generate_cams"):
        GradCAM(tiny := Tiny(), tiny.map).generate_cam(torch.rand(2, 1, 3, 5))


def test_nan_is_not_drawn_as_an_empty_map() -> None:
    tiny = Tiny()
    with pytest.raises(ImageError, match="not finite"):
        GradCAM(tiny, tiny.map).generate_cams(torch.full((1, 1, 3, 5), torch.nan), 0)


def test_target_layer_comes_from_the_registry() -> None:
    classifier = build("simple")
    assert get_target_layer(classifier) is classifier.features.unit5
    assert get_target_layer(classifier, "simple") is classifier.features.unit5


def test_target_layer_of_another_backbone_is_refused() -> None:
    with pytest.raises(ConfigError, match="backbone is simple, not resnet"):
        get_target_layer(build("simple"), "resnet")
    with pytest.raises(UnknownNameError, match="did you mean 'simple'"):
        get_target_layer(build("simple"), "simpel")
    tiny = Tiny()
    assert get_target_layer(tiny) in list(tiny.modules())
