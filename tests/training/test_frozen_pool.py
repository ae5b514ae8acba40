"""On frozen features: attention finds the slices that tell, where their mean does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from src.models.classifier import OrdinalHead
from src.models.pooling import GatedAttention, slice_weights
from src.training import frozen_head
from src.training.frozen_head import fit_people
from src.training.frozen_people import People
from src.training.frozen_pool import levelled

SLICES, TELL = 10, slice(3, 6)


def bags(count: int, seed: int, width: int = 12) -> People:
    """Return people whose class shows in three of ten slices, which place and features give away.

    Elsewhere the same feature varies as much, and tells nothing.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    rows = rng.normal(size=(count, SLICES, width))
    rows[:, :, 0] *= 3
    rows[:, TELL, 0] = rng.normal(size=(count, 3)) + 2.0 * labels[:, None]
    rows[:, :, 1] += 3 * np.cos(np.linspace(0, np.pi, SLICES))
    person = np.repeat(np.arange(count), SLICES)
    place = np.tile(np.linspace(0, 1, SLICES), count)
    names = np.array([f"P{i}" for i in range(count)])
    images = rows.reshape(-1, width).astype(np.float32)
    return People(images, person, labels, names, labels.copy(), "mean", person, place)


def auc_of(people: People, head, pool: str, weights=None) -> float:
    view = replace(people, pool=pool, weights=weights)
    said = view.mean_logits(head.double(), np.arange(len(people.labels)))
    return float(roc_auc_score(people.labels, said[:, 1] - said[:, 0]))


def fitted(people: People, pool: str):
    head = OrdinalHead(people.images.shape[1], 2)
    fit = fit_people(head, replace(people, pool=pool), 2, loss="ordinal", cap=10, seed=0)
    return head, fit


@pytest.mark.slow
def test_attention_finds_the_slices_that_tell_and_beats_the_mean():
    people, others = bags(100, 0), bags(100, 1)
    head, _ = fitted(people, "mean")
    mean = auc_of(others, head, "mean")
    head, fit = fitted(people, "attention")
    attention = GatedAttention(people.images.shape[1])
    attention.load_state_dict(fit.attention)
    with torch.no_grad():
        scores = attention(torch.from_numpy(others.images), torch.from_numpy(others.places))
    weights = slice_weights(
        "attention", np.zeros((len(scores), 2)), others.scans, others.person, scores.numpy()
    )
    tells = np.tile(np.arange(SLICES), 100)
    tells = (tells >= TELL.start) & (tells < TELL.stop)
    found = [
        roc_auc_score(tells[others.person == i], weights[others.person == i]) for i in range(100)
    ]
    assert np.mean(found) > 0.9
    assert auc_of(others, head, "attention", weights) > mean + 0.1
    # People left out say what new people do: nobody's label helped to weigh the own slices.
    said = fit.validation.logits
    left_out = roc_auc_score(people.labels, said[:, 1] - said[:, 0])
    assert left_out == pytest.approx(auc_of(others, head, "attention", weights), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["max", "attention"])
def test_nothing_is_found_where_nothing_is(pool):
    people = bags(40, 2)
    people = replace(people, labels=np.random.default_rng(0).permutation(people.labels))
    _, fit = fitted(replace(people, stages=people.labels), pool)
    assert (fit.validation.predicted == people.labels).mean() < 0.75


@pytest.mark.slow
def test_a_fit_repeats(monkeypatch):
    monkeypatch.setattr(frozen_head, "PENALTIES", (0.1,))
    people = bags(12, 3, width=6)
    (first, one), (again, two) = fitted(people, "attention"), fitted(people, "attention")
    assert all(torch.equal(one.attention[name], two.attention[name]) for name in one.attention)
    assert torch.equal(first.state_dict()["first"], again.state_dict()["first"])


def test_max_answers_by_the_most_demented_slice_of_each_person():
    people = bags(12, 4, width=6)
    head, _ = fitted(people, "max")
    head = head.double()
    said = replace(people, pool="max").mean_logits(head, np.array([5, 2]))
    for row, number in zip(said, (5, 2), strict=True):
        with torch.no_grad():
            own = head(torch.from_numpy(people.images[people.person == number]).double()).numpy()
        np.testing.assert_allclose(row, own[(own[:, 1] - own[:, 0]).argmax()])


@pytest.mark.parametrize("kind", ["linear", "ordinal"])
def test_the_threshold_of_max_is_where_people_of_both_sides_fit(kind):
    people = replace(bags(14, 5, width=6), pool="max")
    torch.manual_seed(0)
    head = (OrdinalHead(6, 3) if kind == "ordinal" else nn.Linear(6, 3)).double()
    chosen, weights = np.arange(3, 14), np.array([1.0, 2.5, 2.5])
    before = people.mean_logits(head, chosen)
    levelled(head, people, chosen, people.labels, weights)
    said = people.mean_logits(head, chosen)
    assert not np.allclose(before, said)
    p = np.exp(said) / np.exp(said).sum(axis=1, keepdims=True)
    labels = people.labels[chosen]
    # At the best shift, what is expected of the classes is what they are.
    assert weights[labels] @ (1 - p[:, 0] - labels) == pytest.approx(0, abs=1e-3)
    plain = nn.Linear(6, 3).double()
    state = plain.bias.clone()
    levelled(plain, replace(people, pool="mean"), chosen, people.labels, weights)
    assert torch.equal(plain.bias, state)
