"""One step: parts of a batch, shares of processes, weights of classes; volumes of unequal axes."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional

from src.config import TrainConfig
from src.data.augment import augment
from src.models.create import create_model
from src.models.device import make_accelerator
from src.training.epoch import Step, _parts
from src.training.logits import place
from src.training.optimisation import make_optimizer
from src.training.state import TrainState

CPU = torch.device("cpu")
WEIGHTS = torch.tensor([0.5, 1.0, 3.0])
LABELS = torch.tensor([0, 2, 1, 0, 2, 1, 0])


def plain_net() -> nn.Module:
    """Return a network without batch norm, whose gradient is a sum over images."""
    torch.manual_seed(0)
    layers = nn.Conv3d(1, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, 3))


def volumes(count: int = len(LABELS), shape=(9, 11, 8)) -> torch.Tensor:
    return torch.rand(count, 1, *shape, generator=torch.Generator().manual_seed(1))


def state_of(net: nn.Module, lr: float = 1e-2) -> TrainState:
    config = TrainConfig(lr=lr, warmup_epochs=0)
    return TrainState(net, *make_optimizer(net, "scratch", config, epochs=2, steps=10))


def step_of(bare: nn.Module, accelerator=None, **settings) -> Step:
    accelerator = accelerator or make_accelerator(CPU, "no")
    state = state_of(bare, settings.pop("lr", 1e-2))
    return Step(state, accelerator, settings.pop("loss", "ce"), WEIGHTS, **settings)


def gradients(net: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters()])


@pytest.mark.parametrize("loss", ["ce", "focal"])
@pytest.mark.parametrize("parts", [2, 3, 7, 50])
def test_parts_of_a_batch_give_the_update_of_the_whole(parts, loss):
    whole, divided = plain_net(), plain_net()
    expected = step_of(whole, loss=loss)(volumes(), LABELS)
    found = step_of(divided, loss=loss, parts=parts)(volumes(), LABELS)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(gradients(divided), gradients(whole), atol=1e-6, rtol=0)


def test_several_steps_in_parts_stay_beside_the_whole():
    nets, losses = [plain_net(), plain_net()], []
    for net, parts in zip(nets, (1, 3), strict=True):
        step = step_of(net, parts=parts)
        losses.append(torch.stack([step(volumes(), LABELS) for _ in range(8)]))
    assert losses[0][-1] < losses[0][0]
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=0)


def test_the_loss_and_its_gradient_are_those_of_weighted_cross_entropy():
    net, oracle = plain_net(), plain_net()
    expected = functional.cross_entropy(oracle(volumes()), LABELS, WEIGHTS)
    expected.backward()
    found = step_of(net, parts=2, grad_clip=1e9)(volumes(), LABELS)
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(gradients(net), gradients(oracle), atol=1e-6, rtol=1e-5)


def test_the_gradient_of_the_whole_batch_is_clipped_not_of_its_parts():
    net, oracle = plain_net(), plain_net()
    (1e-3 * functional.cross_entropy(oracle(volumes()), LABELS, WEIGHTS)).backward()
    limit = 1e3 * gradients(oracle).norm() / 2
    step_of(net, parts=3, grad_clip=float(limit))(volumes(), LABELS)
    torch.testing.assert_close(gradients(net), 500 * gradients(oracle), atol=1e-5, rtol=1e-3)


def test_a_batch_of_classes_without_weight_moves_nothing_and_stays_finite():
    net = plain_net()
    step = Step(state_of(net), make_accelerator(CPU, "no"), "ce", torch.tensor([0.0, 1.0, 1.0]))
    assert step(volumes(2), torch.tensor([0, 0])) == 0
    assert gradients(net).abs().max() == 0


def test_gradients_of_the_last_batch_are_forgotten_and_the_rate_falls():
    net = plain_net()
    step = step_of(net, grad_clip=1e9)
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    step(volumes(), LABELS)
    assert gradients(net).abs().max() < 10
    assert step.state.scheduler.last_epoch == 1


def test_batch_norm_sees_a_part_at_a_time():
    nets = [nn.Sequential(nn.BatchNorm3d(1, momentum=1.0), plain_net()) for _ in range(2)]
    for net, parts in zip(nets, (1, 2), strict=True):
        step_of(net.train(), parts=parts)(volumes(4), LABELS[:4])
    whole, divided = (net[0].running_mean for net in nets)
    torch.testing.assert_close(whole[0], volumes(4).mean())
    torch.testing.assert_close(divided[0], volumes(4)[2:].mean())
    assert nets[1][0].num_batches_tracked == 2


@pytest.mark.parametrize(("length", "parts"), [(7, 3), (5, 5), (3, 8), (1, 2), (32, 1)])
def test_parts_differ_by_one_and_cover_the_batch(length, parts):
    found = [range(length)[part] for part in _parts(length, parts)]
    assert [row for one in found for row in one] == list(range(length))
    assert len(found) == min(parts, length)
    assert max(map(len, found)) - min(map(len, found)) <= 1


class ManyProcesses:
    """Stands for an accelerator with processes beside this one, whose weights sum to `others`."""

    def __init__(self, processes: int, others: float) -> None:
        self.num_processes, self.others = processes, others
        self.synchronised: list[bool] = []
        self.reduced: list[torch.Tensor] = []
        self.syncs = True

    def reduce(self, value, reduction):
        assert reduction == "sum"
        self.reduced.append(value)
        return value + (self.others if len(self.reduced) == 1 else 0)

    @contextmanager
    def no_sync(self, net):
        self.syncs = False
        yield
        self.syncs = True

    def autocast(self):
        return nullcontext()

    def backward(self, loss):
        self.synchronised.append(self.syncs)
        loss.backward()

    def clip_grad_norm_(self, parameters, largest):
        pass


def test_processes_share_the_weight_and_meet_once_a_batch():
    net, oracle = plain_net(), plain_net()
    total = WEIGHTS[LABELS].sum() + 6.0
    loss = functional.cross_entropy(oracle(volumes()), LABELS, WEIGHTS, reduction="sum") / total
    (3 * loss).backward()  # the mean over three processes then is their sum
    others = ManyProcesses(processes=3, others=6.0)
    found = step_of(net, others, parts=3)(volumes(), LABELS)
    torch.testing.assert_close(gradients(net), gradients(oracle), atol=1e-6, rtol=1e-5)
    assert others.synchronised == [False, False, True]
    torch.testing.assert_close(others.reduced[0], WEIGHTS[LABELS].sum())
    torch.testing.assert_close(others.reduced[1], loss.detach())  # this process's share
    torch.testing.assert_close(found, loss.detach())


def test_a_wrapped_network_is_run_and_the_bare_one_is_clipped():
    net = plain_net()
    seen = []

    class Wrap(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = net

        def forward(self, x):
            seen.append(len(x))
            return self.module(x)

    step_of(net, parts=2, net=Wrap())(volumes(), LABELS)
    assert seen == [3, 4]


def curve(dim: str, *, way=lambda model: model, precision="no", parts=1, steps=4) -> torch.Tensor:
    """Return the losses of a few steps on augmented noise, from the same start."""
    torch.manual_seed(0)
    model = way(create_model(dim, "resnet18" if dim == "2d" else "simple", 3, weights="none"))
    # A small rate: from noise, AdamW's first steps blow a last digit up to a thousandth.
    step = step_of(model.train(), make_accelerator(CPU, precision), parts=parts, lr=1e-5)
    draws = torch.Generator().manual_seed(5)
    images = volumes(6, (33, 40) if dim == "2d" else (24, 28, 33))
    return torch.stack([step(augment(images, draws), LABELS[:6]) for _ in range(steps)])


def test_networks_are_placed_with_channels_last():
    for dim, name, layout in (
        ("2d", "resnet18", torch.channels_last),
        ("3d", "simple", torch.channels_last_3d),
    ):
        model = place(create_model(dim, name, 3, weights="none"), CPU)
        kernels = [one for one in model.features.parameters() if one.ndim > 3 and one.shape[1] > 1]
        assert all(one.is_contiguous(memory_format=layout) for one in kernels)
        assert not any(one.is_contiguous() for one in kernels if one[0, 0].numel() > 1)


@pytest.mark.slow
@pytest.mark.parametrize("dim", ["2d", "3d"])
def test_channels_last_does_not_change_the_losses(dim):
    placed = curve(dim, way=lambda model: place(model, CPU))
    torch.testing.assert_close(placed, curve(dim), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("dim", ["2d", "3d"])
def test_bf16_stays_near_the_losses_of_fp32(dim):
    half = curve(dim, way=lambda model: place(model, CPU), precision="bf16")
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, curve(dim), atol=0.02, rtol=0)


@pytest.mark.slow
def test_one_thread_or_two_give_the_same_losses():
    one = curve("3d")
    torch.set_num_threads(2)
    try:
        two = curve("3d")
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_a_copied_state_takes_the_same_step():
    net = plain_net()
    other = deepcopy(net)
    assert step_of(net)(volumes(), LABELS) == step_of(other)(volumes(), LABELS)
    for first, second in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
