"""On what company an answer rests: who is nearest, by which measure, and what is kept of whom."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from src.errors import CheckpointError
from src.training.company import Company, cosines, decade
from src.training.likeness import NEIGHBOUR, Reference, kth_distance

RNG = np.random.default_rng(3)
LABELS, DECADES = [2, 0, 1, 0, 2, 1, 0, 1], [70, None, 60, 90, 0, 80, 70, 50]


def people(n, width=7):
    rows = RNG.normal(size=(n, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def company(rows):
    return Company.of(rows, list(zip(LABELS, DECADES, strict=True)))


def test_a_near_copy_is_the_first_neighbour_with_its_own_class_and_age():
    rows = people(8)
    copy = rows[2] + 0.01 * people(1)[0]
    asked = np.stack([-rows[5], copy / np.linalg.norm(copy)])
    known = company(rows)
    numbers, alike = known.nearest(asked, 3)
    assert numbers.shape == alike.shape == (2, 3)
    assert numbers[1, 0] == 2
    assert (known.labels[2], known.decades[2]) == (1, 60)
    assert alike[1, 0] > 0.999 > alike[1, 1]
    assert 5 not in numbers[0]
    by_hand = np.sort(rows @ asked.T, axis=0)[:-4:-1].T
    np.testing.assert_allclose(alike, by_hand, atol=1e-6)


def test_likeness_and_distance_are_one_measure():
    rows, asked = people(8), people(4)
    fifth = company(rows).nearest(asked, NEIGHBOUR)[1][:, -1]
    np.testing.assert_allclose(fifth, 1 - kth_distance(asked, rows) ** 2 / 2, atol=1e-9)


def test_there_are_no_more_neighbours_than_people():
    assert company(people(8)).nearest(people(2), 30)[0].shape == (2, 8)


def test_typical_is_the_median_of_all_pairs():
    rows = people(8)
    pairs = [float(rows[i] @ rows[j]) for i in range(8) for j in range(i)]
    assert company(rows).typical() == pytest.approx(np.median(pairs), abs=1e-6)


@pytest.mark.parametrize(
    ("age", "kept"),
    [(69.9, 60), (70, 70), (8, 0), (90, 90), (104, 90), (math.nan, None), (None, None)],
)
def test_ages_are_kept_by_decade(age, kept):
    assert decade(age) == kept


def reference():
    """Return a reference of 8 training people and 4 validation people behind them."""
    rows, far = people(12), np.linspace(0.1, 0.4, 9)
    return Reference(rows, np.zeros((8, 28, 28), np.float32), far, far, company=company(rows[:8]))


def test_a_checkpoint_gives_back_training_people_only():
    known = reference()
    back = Reference.from_dict(known.to_dict(), 7, 3).company
    assert back.labels.tolist() == LABELS
    assert [None if math.isnan(age) else age for age in back.decades] == DECADES
    np.testing.assert_allclose(np.linalg.norm(back.rows, axis=1), 1, atol=1e-6)  # stored in half
    np.testing.assert_allclose(np.diag(cosines(back.rows, known.features[:8])), 1, atol=1e-6)


def test_an_older_checkpoint_has_no_company():
    stored = reference().to_dict()
    del stored["company"]
    assert Reference.from_dict(stored, 7, 3).company is None


@pytest.mark.parametrize(
    "change",
    [
        {"labels": LABELS[:-1]},
        {"labels": [*LABELS[:-1], 3]},
        {"labels": [*LABELS[:-1], -1]},
        {"labels": [*LABELS[:-1], True]},
        {"labels": torch.tensor(LABELS)},
        {"labels": [0] * 13, "decades": [60] * 13},
        {"labels": [], "decades": []},
        {"decades": [*DECADES[:-1], 61]},
        {"decades": [*DECADES[:-1], 100]},
        {"decades": [*DECADES[:-1], "60"]},
        {"decades": [*DECADES[:-1], math.nan]},
    ],
)
def test_what_is_stored_of_people_is_not_trusted(change):
    stored = reference().to_dict()
    for told in (stored["company"] | change, [], "x"):
        with pytest.raises(CheckpointError, match="damaged"):
            Reference.from_dict(stored | {"company": told}, 7, 3)
