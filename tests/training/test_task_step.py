"""One step of several tasks: unknown answers count for nothing, parts give the whole's update."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn import functional

from src.config import TrainConfig
from src.models.classifier import Classifier
from src.models.create import backbone_entry
from src.models.device import make_accelerator
from src.training.epoch import Step
from src.training.optimisation import make_optimizer
from src.training.state import TrainState
from src.training.task_ridge import fit_linear
from src.training.task_step import AllHeads, TaskStep

WEIGHTS = torch.tensor([0.5, 1.0, 3.0])
NAN = float("nan")
#: Class, years, 0 F or 1 M; the last two people are not rated.
ANSWERS = torch.tensor(
    [[0, 60, 1], [2, NAN, 0], [1, 80, NAN], [0, 71, 1], [2, 66, NAN], [-1, 30, 0], [-1, 22, NAN]]
)


class Net(Classifier):
    """Features of a pixel each; no batch norm, so a gradient is a sum over images."""

    def __init__(self):
        super().__init__(backbone_entry("simple"), 3, dropout=0.0)
        self.features, self.pool = torch.nn.Identity(), torch.nn.Flatten()
        self.width = 12
        self.head = torch.nn.Linear(12, 3)
        heads = self.add_tasks(("age", "sex"))
        heads.centre_on(ANSWERS[:, 1:])
        for parameter in heads.heads.parameters():
            torch.nn.init.normal_(parameter)
        with torch.no_grad():
            heads.log_variances.copy_(torch.tensor([0.1, -0.3, 0.4]))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().train()


def images():
    return torch.rand(len(ANSWERS), 1, 2, 3, 2, generator=torch.Generator().manual_seed(1))


def step_of(net, weights=None, kind=TaskStep, lr=1e-2, **settings):
    config = TrainConfig(lr=lr, warmup_epochs=0)
    net.task_heads.log_variances.requires_grad_(weights is None)
    state = TrainState(net, *make_optimizer(net, "scratch", config, epochs=2, steps=10))
    accelerator = make_accelerator(torch.device("cpu"), "no")
    given = (state, accelerator, "ce", WEIGHTS)
    if kind is Step:
        return Step(*given, **settings)
    return TaskStep(net.task_heads, weights, *given, net=AllHeads(net), grad_clip=1e9, **settings)


def losses_by_hand(net):
    """Return the three losses of the batch, from the formulas alone."""
    embedding, heads = net.embed(images()), net.task_heads
    said = heads(embedding)
    stage = functional.cross_entropy(net.classify(embedding)[:5], ANSWERS[:5, 0].long(), WEIGHTS)
    aged, sexed = ANSWERS[:, 1].isfinite(), ANSWERS[:, 2].isfinite()
    off = said[aged, 0] - (ANSWERS[aged, 1] - heads.centre[0]) / heads.scale[0]
    sex = functional.binary_cross_entropy_with_logits(said[sexed, 1], ANSWERS[sexed, 2])
    return torch.stack([stage, (off**2).mean() / 2, sex])


def by_hand(net, learnt):
    """Return their sum, weighed."""
    losses, s = losses_by_hand(net), net.task_heads.log_variances
    if learnt:
        return (torch.exp(-s) * losses).sum() + s.sum() / 2
    return losses[0] + 0.5 * losses[1] + 2 * losses[2]


def gradients(net):
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


@pytest.mark.parametrize("weights", [None, {"age": 0.5, "sex": 2.0}])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_the_loss_and_its_gradient_are_those_of_the_formulas(net, weights, parts):
    oracle = deepcopy(net)
    oracle.task_heads.log_variances.requires_grad_(weights is None)
    expected = by_hand(oracle, weights is None)
    expected.backward()
    found = step_of(net, weights, parts=parts)(images(), ANSWERS)
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(gradients(net), gradients(oracle), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("weights", [None, {"age": 0.5, "sex": 2.0}])
def test_without_the_stage_its_loss_and_its_weight_count_nothing(net, weights):
    s, losses = net.task_heads.log_variances, losses_by_hand(net)[1:]
    expected = 0.5 * losses[0] + 2 * losses[1]
    if weights is None:
        expected = (torch.exp(-s[1:]) * losses).sum() + s[1:].sum() / 2
    found = step_of(net, weights, learns_stage=False)(images(), ANSWERS)
    torch.testing.assert_close(found, expected.detach())
    assert not net.head.weight.grad.any()
    assert weights is not None or s.grad[0] == 0


def test_people_without_a_rating_never_teach_the_stage(net):
    without = deepcopy(net)
    weights = {"age": 1.0, "sex": 1.0}
    step_of(net, weights)(images(), ANSWERS)
    step_of(without, weights)(images()[:5], ANSWERS[:5])
    torch.testing.assert_close(net.head.weight, without.head.weight)
    age = [one.task_heads.heads["age"].weight for one in (net, without)]
    assert not torch.allclose(*age)


def test_a_batch_of_people_without_a_rating_alone_is_learnt_from(net):
    head = net.head.weight.detach().clone()
    before = net.task_heads.heads["age"].weight.detach().clone()
    loss = step_of(net, {"age": 1.0, "sex": 1.0}, lr=1e-3)(images()[5:], ANSWERS[5:])
    assert torch.isfinite(loss)
    assert not torch.equal(net.task_heads.heads["age"].weight, before)
    torch.testing.assert_close(net.head.weight, head, atol=1e-4, rtol=0)  # weight decay alone


def test_a_step_of_the_stage_alone_is_untouched(net):
    rated = ANSWERS[:5, 0].long()
    expected = functional.cross_entropy(net(images()[:5]), rated, WEIGHTS)
    found = step_of(net, kind=Step)(images()[:5], rated)
    torch.testing.assert_close(found, expected.detach())


EVERYONE = np.ones(80, dtype=bool)


def people(n=80, width=7):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, width)) * [1, 2, 3, 1, 1, 5, 1] + 4
    return features, features @ [2.0, -1, 0, 0, 0, 0, 1] + 60, rng


def test_a_ridge_finds_what_is_linear_and_is_validated_by_people_left_out():
    features, truth, rng = people()
    targets = truth + rng.normal(0, 0.5, len(truth))
    fit = fit_linear(features, targets, EVERYONE, seed=0)
    np.testing.assert_allclose(fit.weight, [2, -1, 0, 0, 0, 0, 1], atol=0.15)
    own = features @ fit.weight + fit.bias
    assert np.abs(own - truth).mean() < 0.3
    noise = fit_linear(features, rng.normal(70, 8, len(truth)), EVERYONE, seed=0)
    assert noise.penalty > fit.penalty
    # Of noise, people left out are not told apart: a fit that had seen them would.
    assert np.std(noise.left_out) < 4


def test_sex_is_told_by_log_odds():
    features, truth, _ = people()
    male = (truth > np.median(truth)).astype(float)
    fit = fit_linear(features, male, EVERYONE, seed=0, logistic=True)
    assert ((fit.left_out > 0) == (male > 0)).mean() > 0.85
    assert ((features @ fit.weight + fit.bias > 0) == (male > 0)).mean() > 0.9


def test_the_penalty_is_chosen_by_those_who_are_scored():
    features, truth, rng = people()
    judges = np.arange(len(truth)) < 40
    targets = np.where(judges, rng.normal(70, 8, len(truth)), truth)  # only the others can be told
    chosen = [fit_linear(features, targets, by, seed=0).penalty for by in (judges, ~judges)]
    assert chosen[0] > chosen[1]
