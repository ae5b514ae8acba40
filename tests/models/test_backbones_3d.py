"""Backbones for volumes ``(B, 1, X, Y, Z)``: sizes, normalisation, and that they learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.grad import conv3d_weight

from src.models import backbones_3d as model_3d  # noqa: F401  importing it registers the backbones
from src.models.classifier import Classifier
from src.models.create import build_classifier
from src.models.registry import MODEL_REGISTRY

STRIDE = {"simple": 8, "resnet": 16, "resnet_small": 16, "sfcn": 32}


def build(name: str, num_classes: int = 2) -> Classifier:
    torch.manual_seed(0)
    return build_classifier(MODEL_REGISTRY.get(name), num_classes, weights="none")


def balls(count: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy bright balls with a dark centre, which is larger in class 1."""
    draw = torch.Generator().manual_seed(seed)
    axis = torch.arange(size) - size / 2 + 0.5
    radius = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2).sqrt() / size
    labels = torch.arange(count) % 2
    edge = 0.13 + 0.08 * labels + 0.01 * torch.randn(count, generator=draw)
    clean = 0.7 * (radius < 0.42) * (1 - 0.6 * (radius < edge[:, None, None, None]))
    noise = 0.1 * torch.randn(clean.shape, generator=draw)
    return (clean + noise).clamp(0, 1)[:, None], labels


@pytest.mark.slow
@pytest.mark.parametrize("name", STRIDE)
@pytest.mark.parametrize("shape", [(40, 40, 40), (56, 64, 24), (16, 33, 47)])
def test_map_is_the_volume_divided_by_the_stride(name: str, shape: tuple[int, ...]) -> None:
    classifier = build(name).eval()
    with torch.no_grad():
        found = classifier.features(torch.rand(1, 1, *shape)).shape[2:]
    assert tuple(found) == tuple(-(-size // STRIDE[name]) for size in shape)


@pytest.mark.parametrize(
    ("shape", "expected"), [((32, 32, 32), (2, 2, 2)), ((24, 33, 60), (1, 2, 2))]
)
def test_sfcn_keeps_two_places_of_a_small_volume(shape, expected) -> None:
    classifier = build("sfcn").eval()
    with torch.no_grad():
        found = classifier.features(torch.rand(1, 1, *shape))
    assert tuple(found.shape) == (1, 64, *expected)


@pytest.mark.parametrize("name", STRIDE)
def test_smallest_volume_trains_alone(name: str) -> None:
    classifier = build(name).train()
    loss = functional.cross_entropy(classifier(torch.rand(1, 1, 32, 24, 32)), torch.tensor([1]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in classifier.parameters())


@pytest.mark.parametrize("name", STRIDE)
def test_a_scan_does_not_depend_on_its_batch(name: str) -> None:
    classifier = build(name).eval()
    x = torch.rand(3, 1, 32, 40, 48)
    with torch.no_grad():
        together = classifier.embed(x)
        alone = torch.cat([classifier.embed(item[None]) for item in x])
    assert torch.allclose(together, alone, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch", "steps"),
    [("simple", 4, 80), ("simple", 1, 160), ("resnet_small", 4, 60), ("sfcn", 4, 80)],
)
def test_size_of_a_dark_centre_is_learnt(name: str, batch: int, steps: int) -> None:
    x, y = balls(40, 32, seed=1)
    x_test, y_test = balls(20, 32, seed=2)
    classifier = build(name).train()
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=1e-3 if batch == 4 else 5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=optimiser.param_groups[0]["lr"], total_steps=steps, pct_start=0.1
    )
    order = torch.cat([torch.randperm(40) for _ in range(steps * batch // 40)]).split(batch)
    for rows in order:
        optimiser.zero_grad()
        functional.cross_entropy(classifier(x[rows]), y[rows]).backward()
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        right = (classifier.eval()(x_test).argmax(1) == y_test).float().mean()
    assert right >= 0.85


@pytest.mark.parametrize("name", STRIDE)
def test_bf16_gradients_of_weights_are_right_in_maps_of_every_size(name: str) -> None:
    classifier, seen = build(name).train(), {}

    def note(module: nn.Module, given: tuple[torch.Tensor], out: torch.Tensor) -> None:
        out.register_hook(lambda gradient: seen.update({module: (given[0].detach(), gradient)}))

    convolutions = [one for one in classifier.modules() if isinstance(one, nn.Conv3d)]
    for one in convolutions:
        one.register_forward_hook(note)
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(torch.rand(3, 1, 32, 38, 24))
    functional.cross_entropy(logits.float(), torch.tensor([1, 0, 1])).backward()
    for one in convolutions:
        x, gradient = (tensor.float().contiguous() for tensor in seen[one])
        shape, stride, padding = one.weight.shape, one.stride, one.padding
        expected = conv3d_weight(x, shape, gradient, stride=stride, padding=padding)
        assert (one.weight.grad - expected).norm() < 0.02 * expected.norm()
