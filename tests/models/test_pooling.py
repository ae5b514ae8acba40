"""What slices weigh: shares of a person's answer, in training and in answers alike."""

import numpy as np
import pytest
import torch

from src.errors import ConfigError, UnknownNameError
from src.evaluation.out_of_fold import joined, packed, unpacked
from src.models.calibration import Calibration
from src.models.create import create_model
from src.models.pooling import Bags, GatedAttention, pooled, slice_places, slice_weights
from src.models.stored_parts import _check_pool
from src.predictions import Predictions, as_binary, per_person, take_rows

# Two people; the first has two scans, the rows of which are mixed with those of the second.
SCANS = np.array([0, 2, 0, 1, 2, 1, 0, 2])
PEOPLE = np.array([0, 1, 0, 0, 1, 0, 0, 1])


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(SCANS), 3)), rng.normal(size=len(SCANS))


@pytest.mark.parametrize("pool", ["max", "attention"])
def test_weights_are_shares_of_a_person_and_scans_weigh_the_same(pool):
    logits, scores = rows()
    weights = slice_weights(pool, logits, SCANS, PEOPLE, scores)
    assert np.bincount(PEOPLE, weights) == pytest.approx([1, 1])
    assert np.bincount(SCANS, weights) == pytest.approx([0.5, 0.5, 1])


def test_attention_is_the_softmax_and_max_the_most_demented_slice():
    logits, scores = rows()
    of_scan = np.flatnonzero(SCANS == 2)
    weights = slice_weights("attention", logits, SCANS, PEOPLE, scores)
    raised = np.exp(scores[of_scan])
    np.testing.assert_allclose(weights[of_scan], raised / raised.sum())
    largest = slice_weights("max", logits, SCANS, PEOPLE)
    p = np.exp(logits[of_scan])
    p = p / p.sum(axis=1, keepdims=True)
    assert largest[of_scan].tolist() == (1 - p[:, 0] == (1 - p[:, 0]).max()).astype(float).tolist()


def test_the_mean_has_no_weights_and_stays_what_it_was():
    logits, _ = rows()
    assert slice_weights("mean", logits, SCANS, PEOPLE) is None
    said = Predictions(PEOPLE, logits, PEOPLE)
    np.testing.assert_array_equal(per_person(said).logits[1], logits[PEOPLE == 1].sum(axis=0) / 3)


def test_a_persons_logits_are_the_weighted_sum_whatever_was_done_to_the_rows():
    logits, scores = rows()
    weights = slice_weights("attention", logits, SCANS, PEOPLE, scores)
    said = Predictions(PEOPLE, logits, PEOPLE, weights)
    rows_of = [np.flatnonzero(person == PEOPLE) for person in (0, 1)]
    expected = [weights[own] @ logits[own] for own in rows_of]
    np.testing.assert_allclose(per_person(said).logits, expected)
    order = np.array([5, 0, 7, 1, 2, 4, 3, 6])
    moved = per_person(take_rows(said, order))
    np.testing.assert_allclose(moved.logits, [expected[0], expected[1]])
    there = unpacked(packed(said), 3)
    np.testing.assert_allclose(per_person(there).logits, expected, atol=1e-5)
    np.testing.assert_allclose(as_binary(said).weights, weights)
    half = Calibration("temperature", (0.5,) * 3, (0.0, 1.0, 0.0), 9, "")
    np.testing.assert_allclose(
        per_person(half.apply(said)).logits, half.apply(per_person(said)).logits
    )
    twice = joined([take_rows(said, own) for own in rows_of])
    np.testing.assert_allclose(per_person(twice).logits, expected)
    others = Predictions(PEOPLE, logits, PEOPLE + 2)  # of a fold whose slices weigh the same
    mixed = joined([said, others])
    np.testing.assert_allclose(mixed.weights[: len(PEOPLE)], weights)
    means = [logits[own].mean(axis=0) for own in rows_of]
    np.testing.assert_allclose(per_person(mixed).logits, [*expected, *means])


@pytest.mark.parametrize("weights", [[-1.0, *[1] * 7], [np.nan, *[1] * 7], [1.0]])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        Predictions(PEOPLE, rows()[0], PEOPLE, np.array(weights))


def test_a_person_of_whom_no_row_counts_is_refused():
    said = Predictions(PEOPLE, rows()[0], PEOPLE, np.where(PEOPLE == 1, 0.0, 1.0))
    with pytest.raises(ValueError, match="no row of 1 counts"):
        per_person(said)


def test_places_run_over_each_scan():
    numbers = [10, 7, 30, 4, 5, 4, 20, None]
    places = slice_places(SCANS, numbers)
    assert places[SCANS == 0].tolist() == [0, 1, 0.5]
    assert places[SCANS == 1].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(places[SCANS == 2], [0, 0.5, 1])  # rows 1, 4, 7: a number is missing


@pytest.mark.parametrize("pool", ["max", "attention"])
def test_bags_of_training_are_pooled_as_answers_are(pool):
    logits, scores = rows()
    order = np.argsort(SCANS, kind="stable")
    bags = Bags((3, 2, 3), torch.zeros(8))
    given = torch.tensor(scores[order]) if pool == "attention" else None
    found = pooled(torch.tensor(logits[order]), given, bags)
    weights = slice_weights(pool, logits, SCANS, SCANS, scores)
    said = per_person(Predictions(SCANS, logits, SCANS, weights))
    np.testing.assert_allclose(found, said.logits[np.argsort(said.subjects)])
    assert bags.first() == [0, 3, 5]


def test_attention_begins_as_the_mean_and_hears_features_and_place():
    torch.manual_seed(0)
    attention = GatedAttention(5)
    embedding, place = torch.randn(6, 5), torch.linspace(0, 1, 6)
    assert attention(embedding, place).abs().max() == 0
    torch.nn.init.ones_(attention.score.weight)
    before = attention(embedding, place)
    assert not torch.allclose(before, attention(embedding, place.flip(0)))
    assert not torch.allclose(before, attention(embedding.flip(0), place))


def test_a_pool_changes_nothing_else_that_is_drawn():
    kinds = {"backbone": "resnet18", "num_classes": 2, "pretrained": False, "seed": 3}
    plain, other = (create_model("2d", **kinds, pool=pool) for pool in ("mean", "attention"))
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in plain.state_dict().items())
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(plain.eval()(images), other.eval()(images))


def test_volumes_and_unknown_pools_are_refused():
    with pytest.raises(ConfigError, match="a volume is one image"):
        create_model("3d", "simple", 2, pool="attention")
    with pytest.raises(UnknownNameError, match="pool"):
        create_model("2d", "resnet18", 2, pretrained=False, pool="median")


@pytest.mark.parametrize(
    ("pool", "dim", "says"),
    [("median", "2d", "none of"), (3, "2d", "none of"), ("max", "3d", "vol")],
)
def test_a_damaged_pool_is_refused(pool, dim, says):
    with pytest.raises(ValueError, match=says):
        _check_pool(pool, dim)
