"""Scores of maps against sklearn, scipy and by hand; grids of unequal axes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score

from src.errors import ImageError
from src.evaluation.metrics.intervals import wilson_interval
from src.maps.truth import MapScore, Wanted, score_slices, summarise, summarise_slices

SHAPE = (11, 14, 9)
SHARP = (0.0, 0.0, 0.0)


@pytest.fixture
def brain() -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    return sum((axis / 0.9) ** 2 for axis in axes) < 1


@pytest.fixture
def change(brain) -> np.ndarray:
    """Two blobs of unequal size, and nothing in much of the brain."""
    points = np.zeros(SHAPE, np.float32)
    points[3, 5, 4], points[8, 10, 3] = 1.0, 0.4
    blobs = ndimage.gaussian_filter(points, 1.0, truncate=2)
    return np.where(brain, blobs, 0).astype(np.float32)


def score_map(values, change, brain, resolution) -> MapScore:
    return Wanted(change, brain, resolution).score(values)


def smooth(change, resolution, brain) -> np.ndarray:
    return Wanted(change, brain, resolution).smoothed


def line(values, change, brain=None, width=0.0) -> MapScore:
    """Score maps of one row of voxels, small enough for the head."""
    grids = [np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (values, change)]
    inside = np.ones(len(values), bool) if brain is None else np.asarray(brain, bool)
    return score_map(*grids, inside.reshape(-1, 1, 1), (width, 0.0, 0.0))


# By hand


def test_ratio_and_target_by_hand():
    # Of 10, 6 are more than half: one voxel of five is the target; it has 2 of the map's 8.
    score = line([2, 1, 4, 1, 0], [6, 3, 1, 0, 0])
    assert score.target_share == pytest.approx(1 / 5)
    assert score.max_ratio == pytest.approx(5)
    assert score.energy_ratio == pytest.approx((2 / 8) / (1 / 5))
    assert not score.pointing
    assert score.auc == pytest.approx(3 / 4)  # 2 stands above 1, 1 and 0, but not above 4


def test_exactly_half_is_enough_and_less_is_not():
    assert line([1, 0, 0, 0], [5, 3, 2, 0]).target_share == pytest.approx(1 / 4)
    assert line([1, 0, 0, 0], [4.9, 3.1, 2, 0]).target_share == pytest.approx(2 / 4)


def test_only_the_brain_counts():
    inside = [1, 1, 0, 1, 1, 0]
    score = line([2, 1, 9, 3, 0, 9], [6, 2, 9, 1, 1, 9], inside)
    assert score == line([2, 1, 3, 0], [6, 2, 1, 1])
    assert score.energy_ratio == pytest.approx((2 / 6) / (1 / 4))


def test_pointing_looks_at_the_highest_voxel():
    assert line([0, 5, 1, 1], [1, 8, 0, 1]).pointing
    assert not line([5, 4, 1, 1], [1, 8, 0, 1]).pointing


@pytest.mark.parametrize(
    ("values", "hit"), [([3, 3, 3, 0], True), ([3, 0, 3, 0], False), ([3, 0, 3, 3], False)]
)
def test_several_highest_voxels_point_by_their_majority(values, hit):
    score = line(values, [4, 4, 1, 1])
    assert score.target_share == 2 / 4  # the first two
    assert score.pointing == hit


def test_smoothing_has_the_width_that_is_asked_for():
    change = np.zeros((31, 33, 35), np.float32)
    change[15, 16, 17] = 1
    everywhere = np.ones(change.shape, bool)
    blob = smooth(change, (4.0, 6.0, 0.0), everywhere).reshape(change.shape)
    assert blob.sum() == pytest.approx(1, abs=1e-4)
    top = blob[15, 16, 17]
    assert blob[13, 16, 17] / top == pytest.approx(0.5, rel=1e-3)  # half a width away: half
    assert blob[15, 19, 17] / top == pytest.approx(0.5, rel=1e-3)
    assert blob[15, 16, 18] == 0


def test_smoothing_reaches_in_from_beyond_the_field_of_view_and_needs_no_box(change, brain):
    field = brain.copy()
    field[:, :, :5] = False  # as if slices began there
    wanted = ndimage.gaussian_filter(
        change, np.array([3, 4, 2]) / 2.3548200450309493, cval=0, mode="constant"
    )[field]
    assert smooth(change, (3, 4, 2), field) == pytest.approx(wanted, abs=1e-7)
    cut = np.where(field, change, 0).astype(np.float32)
    assert not np.allclose(smooth(cut, (3, 4, 2), field), wanted, atol=1e-3)


# Against sklearn and scipy


@pytest.mark.parametrize("kind", ["smooth", "mostly zeros", "few values", "constant"])
def test_auc_and_rank_correlation_equal_the_libraries(kind, change, brain):
    rng = np.random.default_rng(4)
    noise = ndimage.gaussian_filter(rng.random(SHAPE), 1) + 2 * change
    values = {
        "smooth": noise,
        "mostly zeros": np.maximum(noise - np.quantile(noise, 0.9), 0),
        "few values": np.floor(noise * 8),
        "constant": np.full(SHAPE, 3.0),
    }[kind].astype(np.float32)
    width = (2.0, 3.0, 1.0)
    score, wanted = score_map(values, change, brain, width), smooth(change, width, brain)
    order = np.sort(wanted)[::-1]
    least = order[np.flatnonzero(np.cumsum(order) >= order.sum() / 2)[0]]
    target = wanted >= least  # no two voxels of the target's edge are equal here
    assert score.target_share == pytest.approx(target.mean())
    assert score.auc == pytest.approx(roc_auc_score(target, values[brain]))
    inside = values[brain].astype(float)
    assert score.energy_ratio == pytest.approx(
        inside[target].sum() / inside.sum() / target.mean(), rel=1e-5
    )
    if kind == "constant":
        assert score.rank_correlation is None
    else:
        assert score.rank_correlation == pytest.approx(stats.spearmanr(inside, wanted).statistic)


# What a score means


def test_map_equal_to_the_change_is_as_good_as_can_be(change, brain):
    smoothed = np.zeros(SHAPE, np.float32)
    smoothed[brain] = smooth(change, (3, 3, 3), brain)
    score = score_map(smoothed, change, brain, (3, 3, 3))
    assert score.pointing
    assert score.rank_correlation == pytest.approx(1)
    assert score.auc == 1
    assert score.energy_ratio == pytest.approx(score.max_ratio / 2, rel=0.1)


def test_map_within_the_target_has_the_highest_ratio(change, brain):
    values = np.where(change == change.max(), 2, 0).astype(np.float32)
    score = score_map(values, change, brain, SHARP)
    assert score.energy_ratio == pytest.approx(score.max_ratio)
    assert score.max_ratio == pytest.approx(1 / score.target_share)


def test_constant_map_is_worth_nothing(change, brain):
    score = score_map(np.full(SHAPE, 0.3, np.float32), change, brain, (2, 2, 2))
    assert score.energy_ratio == pytest.approx(1)
    assert score.auc == 0.5
    assert score.rank_correlation is None
    assert not score.pointing


def test_inverted_map_is_worse_than_nothing(change, brain):
    inverted = change.max() - change.astype(np.float64)  # float32 would make ties
    score = score_map(inverted, change, brain, SHARP)
    assert score.auc < 0.1
    assert score.energy_ratio < 0.9
    assert score.rank_correlation == pytest.approx(-1)
    assert not score.pointing


def test_empty_map_is_a_result(change, brain):
    score = score_map(np.zeros(SHAPE, np.float32), change, brain, (2, 2, 2))
    found = (score.pointing, score.energy_ratio, score.rank_correlation, score.auc)
    assert found == (False, 0.0, None, 0.5)
    assert not line([0], [1]).pointing  # although the target is everywhere


def test_unit_of_the_map_and_what_lies_outside_do_not_matter(change, brain):
    values = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    score = score_map(values, change, brain, (2, 2, 2))
    outside = np.where(brain, values * 64, np.float32(np.nan))
    assert score_map(outside, change, brain, (2, 2, 2)) == score


def test_target_that_is_all_there_is_has_no_auc():
    score = line([1, 2], [0.0, 1.0], [0, 1])
    assert score.auc is None
    assert score.rank_correlation is None
    assert score.energy_ratio == score.max_ratio == 1


def test_score_is_ready_for_json(change, brain):
    for value in asdict(score_map(change, change, brain, (2, 2, 2))).values():
        assert type(value) in (bool, float)


# What is refused


def test_field_of_view_without_change_is_refused(change, brain):
    with pytest.raises(ImageError, match="no change of the image"):
        score_map(change, np.zeros(SHAPE, np.float32), brain, (2, 2, 2))
    with pytest.raises(ImageError, match="covers no voxel"):
        score_map(change, change, np.zeros(SHAPE, bool), (2, 2, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_map_with_impossible_values_is_refused(bad, change, brain):
    values = change.copy()
    values[5, 7, 4] = bad
    with pytest.raises(ImageError, match="negative values or"):
        score_map(values, change, brain, SHARP)


@pytest.mark.parametrize("width", [(1.0, 1.0), (1.0, 1.0, -1.0), (1.0, 1.0, math.nan)])
def test_impossible_resolution_is_refused(width, change, brain):
    with pytest.raises(ValueError, match="resolution"):
        score_map(change, change, brain, width)


def test_other_shapes_are_refused(change, brain):
    with pytest.raises(ValueError, match="map"):
        score_map(change[1:], change, brain, SHARP)


# Over people


def scored(ratio: float, hit: bool = True, rank: float | None = 0.5) -> MapScore:
    return MapScore(hit, ratio, 10.0, 0.1, rank, 0.8)


def test_mean_over_people_by_hand_and_sessions_count_once():
    scores = [scored(4), scored(8), scored(1, hit=False), scored(3)]
    found = summarise(scores, ["b", "b", "a", "c"], 200, seed=0)
    assert found["energy_ratio"]["value"] == pytest.approx((6 + 1 + 3) / 3)
    assert found["n_people"] == 3
    assert found["n_maps"] == 4
    assert found["pointing"] == pytest.approx(wilson_interval(2, 3))


def test_person_who_is_hit_in_one_of_two_sessions_is_half_a_hit():
    found = summarise([scored(1), scored(1, hit=False)], ["a", "a"], 50, seed=0)
    assert found["pointing"]["value"] == 0.5
    assert found["energy_ratio"] == {"value": 1.0, "low": None, "high": None}  # one person


def test_interval_is_that_of_resampled_people():
    ratios = np.random.default_rng(2).gamma(2, 2, 60)
    found = summarise([scored(r) for r in ratios], [f"p{i}" for i in range(60)], 4000, seed=1)
    expected = stats.bootstrap(
        (ratios,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert found["energy_ratio"]["low"] == pytest.approx(expected.low, rel=0.03)
    assert found["energy_ratio"]["high"] == pytest.approx(expected.high, rel=0.03)
    twice = summarise(
        [scored(r) for r in np.repeat(ratios, 2)], [f"p{i // 2}" for i in range(120)], 4000, seed=1
    )
    assert twice["energy_ratio"] == pytest.approx(found["energy_ratio"])  # not narrower


def test_missing_rank_correlation_is_counted_and_not_averaged():
    scores = [scored(4, rank=0.6), scored(0, hit=False, rank=None), scored(0, rank=0.2)]
    found = summarise(scores, ["a", "b", "c"], 200, seed=0)
    assert found["rank_correlation"]["value"] == pytest.approx(0.4)
    assert found["n_without_rank_correlation"] == 1
    assert found["energy_ratio"]["value"] == pytest.approx(4 / 3)
    interval = found["rank_correlation"]  # of means, each over those drawn who have a value
    assert (interval["low"], interval["high"]) == pytest.approx((0.2, 0.6))
    none = summarise([scored(0, rank=None)] * 3, ["a", "b", "c"], 50, seed=0)
    assert none["rank_correlation"] == {"value": None, "low": None, "high": None}


def test_session_without_rank_correlation_leaves_that_of_the_other():
    scores = [scored(0, rank=None), scored(4, rank=0.6), scored(2, rank=0.2)]
    found = summarise(scores, ["a", "a", "b"], 200, seed=0)
    assert found["rank_correlation"]["value"] == pytest.approx((0.6 + 0.2) / 2)
    assert found["n_without_rank_correlation"] == 0


def test_missing_auc_is_none_in_the_summary():
    found = summarise([replace(scored(1), auc=None)] * 2, ["a", "b"], 50, seed=0)
    assert found["auc"]["value"] is None


def test_summary_is_ready_for_json_and_repeats_by_its_seed():
    scores, people = [scored(r, rank=None) for r in (1.0, 2.0, 4.0)], ["a", "b", "c"]
    found = summarise(scores, people, 100, seed=7)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert summarise(scores, people, 100, seed=7) == found
    assert summarise(scores, people, 100, seed=8) != found


def test_without_any_score_the_reason_is_told():
    found = summarise([], [], 100, seed=0)
    assert not found["available"]
    assert found["reason"]
    with pytest.raises(ValueError, match="1 scores of 2"):
        summarise([scored(1)], ["a", "b"], 10, seed=0)


def test_slices_that_hold_half_of_the_most_should_weigh_more() -> None:
    change = np.array([0.0, 0.4, 0.5, 1.0, 0.6, 0.1, 0.0])
    weights = np.array([0.05, 0.3, 0.1, 0.2, 0.2, 0.05, 0.1])
    found = score_slices(weights, change)
    holds = change >= 0.5
    assert found.auc == pytest.approx(roc_auc_score(holds, weights))
    assert found.auc_middle == pytest.approx(roc_auc_score(holds, [0, 1, 2, 3, 2, 1, 0]))
    assert score_slices(change, change).auc == 1
    for nothing in (np.zeros(7), np.ones(7)):
        assert score_slices(weights, nothing).auc is None


def test_slices_are_told_over_people() -> None:
    change = np.array([0.0, 1.0, 1.0, 0.0])
    good, bad = (score_slices(weights, change) for weights in (change, 1 - change))
    nothing = score_slices(change, np.zeros(4))
    told = summarise_slices([good, bad, good, nothing], ["a", "a", "b", "c"], 200, 0)
    assert (told["n_people"], told["auc"]["value"]) == (2, 0.75)  # (0.5 + 1) / 2
    assert "0.75" in told["sentence"]
    assert "2 people" in told["sentence"]
    assert not summarise_slices([nothing], ["c"], 200, 0)["available"]
