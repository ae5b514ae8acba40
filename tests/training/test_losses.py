"""The ordinal head and the losses, against statsmodels, torch and hand-worked values."""

import numpy as np
import pytest
import torch
from statsmodels.miscmodels.ordinal_model import OrderedModel
from torch import nn
from torch.nn import functional

from src.models.classifier import OrdinalHead
from src.training.optimisation import make_loss


def test_an_ordinal_head_starts_at_equal_probabilities_and_ordered_thresholds():
    head = OrdinalHead(7, 4)
    nn.init.zeros_(head.score.weight)
    torch.testing.assert_close(head(torch.randn(3, 7)).exp(), torch.full((3, 4), 0.25))
    with torch.no_grad():
        head.gaps.copy_(torch.tensor([-5.0, 3.0]))
    assert (head.thresholds().diff() > 0).all()


def test_log_probabilities_are_those_of_the_cumulative_link():
    torch.manual_seed(0)
    head, rows = OrdinalHead(5, 4).double(), torch.randn(11, 5).double()
    nn.init.normal_(head.score.weight)
    below = torch.sigmoid(head.thresholds() - head.score(rows))
    edges = torch.cat([torch.zeros(11, 1), below, torch.ones(11, 1)], dim=1)
    torch.testing.assert_close(head(rows).exp(), edges.diff(dim=1))


def test_far_scores_stay_finite_with_their_gradients():
    head = OrdinalHead(1, 4)
    nn.init.ones_(head.score.weight)
    rows = torch.tensor([[-90.0], [0.0], [90.0]], requires_grad=True)
    said = head(rows)
    assert torch.isfinite(said).all()
    said.sum().backward()
    assert torch.isfinite(rows.grad).all()
    assert said.argmax(dim=1).tolist()[::2] == [0, 3]


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_likelihood_and_its_maximum_are_those_of_statsmodels(k):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(150, 2))
    y = np.digitize(x @ [1.5, -0.7] + rng.logistic(size=150), np.linspace(-1, 1, k - 1))
    expected = OrderedModel(y, x, distr="logit").fit(method="bfgs", disp=False)
    head = OrdinalHead(2, k).double()
    loss, rows, truth = make_loss("ordinal", torch.ones(k).double()), torch.tensor(x), y
    solver = torch.optim.LBFGS(head.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def objective():
        solver.zero_grad()
        value = loss(head(rows), torch.tensor(truth))
        value.backward()
        return value

    solver.step(objective)
    assert objective().item() * 150 == pytest.approx(-expected.llf, rel=1e-5)
    np.testing.assert_allclose(head.score.weight.detach()[0], expected.params[:2], rtol=2e-3)


def test_focal_turns_down_what_is_right():
    logits = torch.tensor([[4.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    labels, weights = torch.tensor([0, 2]), torch.tensor([1.0, 1.0, 3.0])
    entropy = functional.cross_entropy(logits, labels, reduction="none")
    p = torch.exp(-entropy)
    expected = ((1 - p) ** 2 * entropy * weights[labels]).sum() / 4
    torch.testing.assert_close(make_loss("focal", weights)(logits, labels), expected)
    assert make_loss("focal", weights)(logits[:1], labels[:1]) < 0.01 * entropy[0]


def test_cross_entropy_and_ordinal_weigh_classes_alike():
    logits = torch.log_softmax(torch.randn(6, 3), dim=1)
    labels, weights = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0.2, 1.0, 3.0])
    expected = functional.cross_entropy(logits, labels, weight=weights)
    for kind in ("ce", "ordinal"):
        torch.testing.assert_close(make_loss(kind, weights)(logits, labels), expected)
