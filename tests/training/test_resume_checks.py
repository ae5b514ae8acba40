"""What ``--resume`` takes from last.pth: every part fits what is to be trained, or a sentence."""

import copy

import pytest
import torch
from torch import nn

from src.config import TrainConfig
from src.errors import CheckpointError
from src.models.checkpoint import load_tensors, save_tensors
from src.training.optimisation import make_optimizer
from src.training.state import LAST, SERIES, TrainState

IDENTITY = {"backbone": "tiny"}


def state():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    return TrainState(net, *make_optimizer(net, "scratch", TrainConfig(), 4, 2))


def learn(one):
    for _ in range(2):
        one.optimizer.zero_grad()
        one.net(torch.ones(4, 5)).square().sum().backward()
        one.optimizer.step()
        one.scheduler.step()


@pytest.fixture(scope="module")
def last(tmp_path_factory):
    """Return what a training of two epochs left; read only."""
    folder = tmp_path_factory.mktemp("stopped")
    one = state()
    for epoch in (1, 2):
        learn(one)
        row = dict.fromkeys(SERIES, 0.5) | {"epoch": epoch}
        one.record(row)
    one.save(folder, IDENTITY)
    return load_tensors(folder / LAST)


def resume(content, folder):
    save_tensors(folder / LAST, content)
    one = state()
    one.resume(folder, IDENTITY)
    return one


def test_a_whole_one_is_taken_and_trains_on(last, tmp_path):
    one = resume(last, tmp_path)
    assert one.epoch == 2
    assert torch.equal(one.net.state_dict()["0.weight"], last["net"]["0.weight"])
    assert one.scheduler.last_epoch == 4
    learn(one)


def put(*path):
    """Return a damage: what stands at a path becomes the last argument."""
    *path, value = path

    def damage(content):
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value(inner[path[-1]]) if callable(value) else value

    return damage


def without(*path):
    def damage(content):
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]

    return damage


def nan(tensor):
    return torch.full_like(tensor, float("nan"))


MOMENT = ("optimizer", "state", 0, "exp_avg")
GROUP = ("optimizer", "param_groups", 0)
DAMAGES = {
    "no net": without("net"),
    "no optimizer": without("optimizer"),
    "no history": without("history"),
    "no best": without("best"),
    "no scheduler": without("scheduler"),
    "identity": put("identity", 5),
    "net a list": put("net", []),
    "net empty": put("net", {}),
    "a weight missing": without("net", "0.weight"),
    "a weight more": put("net", lambda n: n | {"x": n["0.bias"]}),
    "a weight a number": put("net", "0.weight", 5),
    "a weight's shape": put("net", "0.weight", torch.zeros(3, 4)),
    "a weight's type": put("net", "0.weight", lambda t: t.double()),
    "a weight not finite": put("net", "0.weight", nan),
    "best not finite": put("best", "0.weight", nan),
    "best missing": put("best", None),
    "best another": put("best", lambda b: {"x": b["0.weight"]}),
    "optimizer a list": put("optimizer", []),
    "optimizer empty": put("optimizer", {}),
    "moments short": put(*MOMENT, torch.zeros(1)),
    "moments empty": put(*MOMENT, torch.zeros(0)),
    "moments transposed": put(*MOMENT, lambda t: t.T),
    "moments double": put(*MOMENT, lambda t: t.double()),
    "moments not finite": put(*MOMENT, nan),
    "moments a number": put(*MOMENT, 0.0),
    "moments missing": without(*MOMENT),
    "squares below 0": put("optimizer", "state", 0, "exp_avg_sq", lambda t: -t - 1),
    "step a number": put("optimizer", "state", 0, "step", 3),
    "step of a shape": put("optimizer", "state", 0, "step", torch.zeros(3)),
    "step below 0": put("optimizer", "state", 0, "step", torch.tensor(-1.0)),
    "a weight's moments missing": without("optimizer", "state", 1),
    "moments of a weight that is none": put("optimizer", "state", lambda s: {**s, 99: s[0]}),
    "state a list": put("optimizer", "state", []),
    "a group missing": without(*GROUP),
    "groups a number": put("optimizer", "param_groups", 5),
    "a group of other weights": put(*GROUP, "params", [0]),
    "a group without betas": without(*GROUP, "betas"),
    "decay of another run": put(*GROUP, "weight_decay", 99.0),
    "not fused": put(*GROUP, "fused", "yes"),
    "lr a text": put(*GROUP, "lr", "fast"),
    "lr not finite": put(*GROUP, "lr", float("inf")),
    "lr another": put(*GROUP, "lr", 0.25),
    "scheduler a list": put("scheduler", []),
    "scheduler at no step": put("scheduler", "last_epoch", -4),
    "scheduler's step a text": put("scheduler", "last_epoch", "4"),
    "scheduler's rates": put("scheduler", "base_lrs", [1.0, 1.0]),
    "scheduler's functions": put("scheduler", "lr_lambdas", [{}, {}]),
    "scheduler's method": put("scheduler", lambda s: s | {"get_lr": 5}),
    "history a list": put("history", []),
    "history's column missing": without("history", "val_loss"),
    "history too short": put("history", "val_loss", [0.5]),
    "history not finite": put("history", "val_loss", [0.5, float("nan")]),
    "history of texts": put("history", "val_loss", ["a", "b"]),
    "epochs twice": put("history", "epoch", [1, 1]),
    "epochs a number": put("history", "epoch", 2),
    "epochs none": put("history", "epoch", []),
    "best epoch later": put("history", "best_epoch", 7),
    "best epoch a text": put("history", "best_epoch", "1"),
    "best epoch none": put("history", "best_epoch", 0),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_part_is_one_sentence_before_anything_is_taken(last, tmp_path, what):
    content = copy.deepcopy(last)
    DAMAGES[what](content)
    save_tensors(tmp_path / LAST, content)
    one = state()
    before = copy.deepcopy(one.net.state_dict())
    with pytest.raises(CheckpointError, match=r"last\.pth is damaged: ") as error:
        one.resume(tmp_path, IDENTITY)
    assert "\n" not in error.value.message
    assert "--resume" in error.value.hint
    assert one.epoch == 0
    assert not one.optimizer.state
    assert all(torch.equal(before[name], value) for name, value in one.net.state_dict().items())
