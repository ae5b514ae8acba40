"""Every method against captum or by hand; ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``, unequal axes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion
from test_gradcam import Tiny, build, images
from torch import nn

from src.config import MAP_METHODS, MAP_TARGETS
from src.errors import ConfigError, ImageError, UnknownNameError
from src.maps import methods
from src.maps.attribution import DEMENTED, METHODS, Attribution, target_scores
from src.maps.methods import fuse, gradcam_pp, hirescam, integrated_gradients, layercam, occlusion
from src.models.classifier import Classifier
from src.models.registry import MODEL_REGISTRY

NAMES = ["resnet18", "densenet121", "simple", "resnet_small"]
ON_ANY = [name for name in METHODS if name != "rollout"]


def exact(name: str) -> Classifier:
    """The network in double precision, for maps that are computed in batches of other sizes.

    The gradient of a network of ReLUs jumps where a unit changes its sign. Convolutions round
    otherwise for another size of batch, and for another processor: in single precision one unit of
    a million then changes sides, and a map of integrated gradients by a thousandth.
    """
    return build(name).double()


def half(classifier: Classifier) -> torch.Tensor:
    """Images of half the size along each axis, for methods that look at them many times."""
    every = slice(None, None, 2)
    x = images(classifier)
    return x[(..., *[every] * (x.ndim - 2))].contiguous()


def take_steps(monkeypatch, count: int) -> None:
    """Let integrated gradients look at this many points of the way."""
    few = replace(methods.INPUT_METHODS["ig"], explain=partial(integrated_gradients, steps=count))
    monkeypatch.setitem(methods.INPUT_METHODS, "ig", few)


def activation_and_gradient(classifier, name, x, target):
    """A layer's output and the gradient of one logit each, taken without the code under test."""
    seen = []
    layer = classifier.get_submodule(name)
    handle = layer.register_forward_hook(lambda m, i, o: seen.append(o) or o.clone())
    logits = classifier(x.requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, torch.tensor(target)[:, None]).sum(), seen)
    return seen[0].detach(), gradient


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["layercam", "hirescam"])
def test_maps_weighed_by_place_equal_captum(name: str, method: str) -> None:
    """captum's Grad-CAM without its mean: activation times gradient is its layer attribution."""
    classifier = build(name)
    layer = MODEL_REGISTRY.get(name).cam_layer
    x, target = images(classifier), [3, 1]
    activation, gradient = activation_and_gradient(classifier, layer, x.clone(), target)
    gradient = gradient.relu() if method == "layercam" else gradient
    expected = (activation * gradient).sum(1, keepdim=True).relu()
    mode = "bilinear" if classifier.dim == "2d" else "trilinear"
    fine = LayerAttribution.interpolate(expected, x.shape[2:], mode)[:, 0].numpy()
    found = Attribution(classifier, method, layer).raw_maps(x, target)
    assert fine.max() > 1e-3
    assert found == pytest.approx(fine, abs=1e-5, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_gradcam_equals_captum_at_an_inner_layer(name: str) -> None:
    classifier = build(name)
    layer = {"resnet18": "features.layer2", "densenet121": "features.denseblock2"}.get(
        name, "features.unit3" if name == "simple" else "features.layer2"
    )
    x, target = images(classifier), [0, 2]
    oracle = LayerGradCam(classifier, classifier.get_submodule(layer))
    expected = oracle.attribute(x, torch.tensor(target), relu_attributions=True)
    mode = "bilinear" if classifier.dim == "2d" else "trilinear"
    fine = LayerAttribution.interpolate(expected, x.shape[2:], mode)[:, 0].detach().numpy()
    found = Attribution(classifier, "gradcam", layer).raw_maps(x, target)
    assert found == pytest.approx(fine, abs=1e-5, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("resnet18", 6), ("simple", 32)])  # 32 are usual
def test_integrated_gradients_equal_captum(name: str, steps: int, monkeypatch) -> None:
    if steps != 32:
        take_steps(monkeypatch, steps)
    classifier = exact(name)
    x, target = half(classifier), [3, 1]
    oracle = IntegratedGradients(classifier)
    expected = oracle.attribute(x.double(), target=torch.tensor(target), n_steps=steps)[:, 0]
    found = Attribution(classifier, "ig").raw_maps(x, target)
    assert expected.max() > 1e-3
    assert found == pytest.approx(expected.relu().detach().numpy(), abs=1e-6, rel=1e-5)


def test_integrated_gradients_sum_to_the_score() -> None:
    """Completeness: for a smooth score the map sums to score(image) - score(empty)."""
    x = torch.rand(2, 1, 4, 7)
    found = integrated_gradients(lambda at, _: at.flatten(1).pow(3).sum(1), x, steps=8)
    assert torch.allclose(found.flatten(1).sum(1), x.flatten(1).pow(3).sum(1), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "window", "stride"),
    [("resnet18", (16, 24), (8, 12)), ("simple", (8, 12, 10), (8, 12, 10))],
)
def test_occlusion_equals_captum(
    name: str, window: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    classifier = build(name)
    x, target = images(classifier), torch.tensor([3, 1])
    expected = Occlusion(classifier).attribute(
        x, (1, *window), (1, *stride), target=target, perturbations_per_eval=8
    )[:, 0]
    with torch.no_grad():
        found = occlusion(
            lambda at, items: classifier(at).gather(1, target[items][:, None])[:, 0],
            x, window, stride,
        )  # fmt: skip
    assert expected.abs().max() > 1e-3
    assert torch.allclose(found, expected.float(), atol=1e-5)


def test_occlusion_covers_edges_that_windows_do_not_divide() -> None:
    """Logit = sum of pixels: emptying a window of k pixels takes k, its mean over windows too."""
    x = torch.ones(2, 1, 5, 8)
    x[1] = 0  # nothing to empty
    found = occlusion(lambda at, _: at.flatten(1).sum(1), x, (2, 3), (2, 3))
    assert found[0, 0, 0] == 6
    assert found[0, 4, 7] == 2  # a row of one, two columns
    assert found[1].abs().max() == 0


def test_gradcam_pp_by_hand() -> None:
    """One channel of 1 x 2 places: alpha = g^2 / (2 g^2 + (a1 + a2) g^3), weight = sum alpha g+."""
    activation = torch.tensor([[[[1.0, 3.0]]]])
    gradient = torch.tensor([[[[0.5, -1.0]]]])
    alpha = 0.25 / (0.5 + 4 * 0.125)
    expected = alpha * 0.5 * activation[:, 0]
    assert torch.allclose(gradcam_pp(activation, gradient), expected)
    assert gradcam_pp(activation, torch.zeros_like(gradient)).max() == 0


def test_layercam_leaves_out_places_that_speak_against() -> None:
    activation = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    gradient = torch.tensor([[[[1.0, -1.0]], [[-0.1, 1.0]]]])
    assert layercam(activation, gradient).tolist() == [[[1.0, 4.0]]]
    assert hirescam(activation, gradient)[0, 0].tolist() == pytest.approx([0.7, 2.0])


def test_hirescam_of_a_linear_network_sums_to_the_logit() -> None:
    tiny, x = Tiny((2.0, -1.0)), torch.rand(2, 1, 3, 5)
    maps = Attribution(tiny, "hirescam", "map").raw_maps(x, 0)
    assert maps.reshape(2, -1).sum(1) == pytest.approx(tiny(x)[:, 0].detach().numpy(), rel=1e-5)


def test_fusion_is_the_geometric_mean_on_the_finest_grid() -> None:
    fine = torch.rand(2, 4, 6) + 0.1
    coarse = torch.full((2, 2, 3), 4.0)
    assert torch.allclose(fuse([coarse, fine]), (fine * 4).sqrt())
    assert torch.equal(fuse([fine]), fine)
    coarse[:] = 0
    assert fuse([coarse, fine]).max() == 0


def test_several_layers_cost_one_pass_and_fuse_their_maps() -> None:
    classifier = build("simple")
    x, names = images(classifier), ["features.unit3", "features.unit5"]
    passes = []
    handle = classifier.features.unit1.register_forward_hook(lambda *_: passes.append(1))
    found = Attribution(classifier, "hirescam", "+".join(names)).raw_maps(x, 1)
    handle.remove()
    each = [Attribution(classifier, "hirescam", name).raw_maps(x, 1) for name in names]
    assert len(passes) == 1
    assert np.corrcoef(found.ravel(), np.sqrt(each[0] * each[1]).ravel())[0, 1] > 0.8
    assert found.max() > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"), [*product(["resnet18", "simple"], ON_ANY), ("vit_conv", "rollout")]
)
def test_model_caller_and_batch_do_not_matter(method: str, name: str, monkeypatch) -> None:
    monkeypatch.setattr(methods, "_WINDOWS", 2)  # few passes
    take_steps(monkeypatch, 4)
    classifier = exact(name).train()
    classifier.features.requires_grad_(False)
    modes = [module.training for module in classifier.modules()]
    grads = [parameter.requires_grad for parameter in classifier.parameters()]
    state = {key: value.clone() for key, value in classifier.state_dict().items()}
    x, attribution = half(classifier), Attribution(classifier, method)
    found = attribution.raw_maps(x, [3, 1])
    assert found.shape == (2, *x.shape[2:])
    assert found.dtype == np.float32
    assert found.min() >= 0
    with torch.inference_mode():
        alone = attribution.raw_maps(x[1:].clone(), [1])
        assert not torch.is_grad_enabled()
    assert alone[0] == pytest.approx(found[1], abs=1e-6 * float(found.max()))  # float32 maps
    assert modes == [module.training for module in classifier.modules()]
    assert grads == [parameter.requires_grad for parameter in classifier.parameters()]
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert all(torch.equal(value, state[k]) for k, value in classifier.state_dict().items())
    assert not any(module._forward_hooks for module in classifier.modules())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hirescam", "ig"])
def test_mixed_precision_around_the_call_changes_nothing(method: str) -> None:
    classifier = build("simple")
    x, attribution = half(classifier), Attribution(classifier, method)
    expected = attribution.raw_maps(x, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(attribution.raw_maps(x, 1), expected)
        assert torch.is_autocast_enabled("cpu")


def test_demented_is_the_log_odds_of_any_stage_after_the_first() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64)
    p = logits.softmax(1)
    expected = (p[:, 1:].sum(1) / p[:, 0]).log()
    assert torch.allclose(target_scores(logits, "demented"), expected)
    two = torch.randn(3, 2)
    assert torch.allclose(target_scores(two, "demented"), two[:, 1] - two[:, 0])


def test_demented_target_is_explained() -> None:
    tiny, x = Tiny((1.0, -1.0)), torch.rand(1, 1, 3, 5) + 0.1
    maps = Attribution(tiny, "hirescam", "map").maps(x, "demented")
    assert maps.max() == 0  # the second class falls with x everywhere
    tiny = Tiny((-1.0, 1.0))
    maps = Attribution(tiny, "hirescam", "map").maps(x, "demented")
    assert maps[0] == pytest.approx((x / x.max())[0, 0].numpy(), abs=1e-6)


def test_maps_are_divided_by_their_own_maximum_and_raw_ones_are_not() -> None:
    classifier = build("simple")
    x, attribution = images(classifier), Attribution(classifier)
    x[1] *= 0.5
    raw, maps = attribution.raw_maps(x, 1), attribution.maps(x, 1)
    assert maps.reshape(2, -1).max(1) == pytest.approx([1, 1])
    assert maps[0] * raw[0].max() == pytest.approx(raw[0], rel=1e-5)
    assert raw[0].max() != pytest.approx(raw[1].max(), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "layers", "expected"),
    [
        ("simple", "hirescam", "AUTO", (4, 4, 4)),
        ("simple", "gradcam", "AUTO", (8, 8, 8)),
        ("simple", "hirescam", "features.unit1+features.unit5", (2, 2, 2)),
        ("resnet_small", "gradcam", "AUTO", (16, 16, 16)),
        ("resnet_small", "layercam", "AUTO", (8, 8, 8)),
        ("resnet18", "gradcam", "AUTO", (32, 32)),
        ("resnet18", "ig", "AUTO", (1, 1)),
        ("resnet18", "occlusion", "AUTO", (8, 12)),
    ],
)
def test_resolution_is_the_edge_of_a_cell(name, method, layers, expected) -> None:
    shape = (64, 96) if len(expected) == 2 else (32, 48, 64)
    assert Attribution(build(name), method, layers).resolution(shape) == expected


def test_wrong_names_are_refused_with_the_nearest() -> None:
    classifier = build("simple")
    with pytest.raises(UnknownNameError, match="did you mean 'gradcam'"):
        Attribution(classifier, "grad-cam")
    with pytest.raises(UnknownNameError, match=r"did you mean 'features\.unit5'"):
        Attribution(classifier, "hirescam", "features.unit55")
    with pytest.raises(ConfigError, match="explains the image itself"):
        Attribution(classifier, "ig", "features.unit5")
    with pytest.raises(ConfigError, match="name a layer"):
        Attribution(Tiny(), "gradcam")
    with pytest.raises(ConfigError, match="no class index"):
        Attribution(classifier).raw_maps(images(classifier), "sick")


def test_layer_used_twice_is_refused() -> None:
    network = Tiny((1.0,))
    with pytest.raises(ConfigError, match="more than once"):
        Attribution(nn.Sequential(network.map, network.map), "gradcam", "0").raw_maps(
            torch.rand(1, 1, 3, 5), 0
        )


@pytest.mark.parametrize("method", ["hirescam", "ig", "occlusion"])
def test_nan_is_refused(method: str, monkeypatch) -> None:
    monkeypatch.setattr(methods, "_WINDOWS", 2)
    classifier = build("simple")
    with pytest.raises(ImageError, match="not finite"):
        Attribution(classifier, method).raw_maps(torch.full((1, 1, 24, 25, 26), torch.nan), 0)


def test_the_command_line_offers_the_methods_and_targets_that_there_are():
    assert MAP_METHODS == METHODS
    assert DEMENTED in MAP_TARGETS
