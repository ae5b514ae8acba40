"""Net benefit by hand, against a plain loop and against its definition."""

from __future__ import annotations

import json

import numpy as np
import pytest

from src.evaluation.analyses.decision_curve import THRESHOLDS, decision_curve, net_benefits
from src.evaluation.metrics.intervals import resample_people
from src.predictions import Predictions, take_rows, unweighted


def _of(probability: list[float], labels: list[int]) -> Predictions:
    p = np.array(probability)
    logits = np.stack([np.zeros(len(p)), np.log(p / (1 - p))], axis=1)
    return Predictions(np.array(labels), logits, np.arange(len(p)))


def _people(n: int = 90, k: int = 3, per: int = 1, signal: float = 1.5, seed: int = 0):
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.permutation(np.resize(np.arange(k), n)), per)
    logits = rng.normal(size=(n * per, k)) + signal * np.eye(k)[label]
    rows = Predictions(label, logits, np.repeat([f"S{i:03d}" for i in range(n)], per))
    extra = np.arange(0, n * per, 7) if per > 1 else []  # people differ in their number of rows
    return take_rows(rows, np.r_[np.arange(n * per), extra].astype(int))


def _loop(rows: Predictions, t: float) -> tuple[float, float]:
    """Net benefit of the model and of treating all, one row after the other."""
    model = everyone = 0.0
    for label, p in zip(rows.labels, rows.probabilities, strict=True):
        worth = 1.0 if label > 0 else -t / (1 - t)
        everyone += worth
        model += worth if 1 - p[0] >= t else 0.0
    return model / len(rows.labels), everyone / len(rows.labels)


def test_five_people_by_hand() -> None:
    """At 25 %, where a false positive costs 1/3, four are treated: two of them rightly."""
    rows = _of([0.1, 0.3, 0.3, 0.6, 0.8], [0, 0, 1, 0, 1])
    found = {n: m(unweighted(rows))[0] for n, m in net_benefits(rows, np.array([0.25])).items()}
    assert found["model"] == pytest.approx([2 / 5 - 2 / 5 / 3])
    assert found["all"] == pytest.approx([2 / 5 - 3 / 5 / 3])
    assert found["gain"] == pytest.approx([1 / 15])


def test_above_the_prevalence_the_rival_is_to_treat_none() -> None:
    """At 2/3 a false positive costs 2: treating all loses, and the gain is the model's own."""
    rows = _of([0.1, 0.3, 0.3, 0.6, 0.8], [0, 0, 1, 0, 1])
    found = {n: m(unweighted(rows))[0] for n, m in net_benefits(rows, np.array([2 / 3])).items()}
    assert found["all"] == pytest.approx([2 / 5 - 2 * 3 / 5])
    assert found["gain"] == pytest.approx([1 / 5])
    assert found["model"] == pytest.approx([1 / 5])


def test_a_probability_equal_to_the_threshold_is_acted_on() -> None:
    """Log-odds bring some of these probabilities back a little smaller than they were."""
    rows, n = _of(list(THRESHOLDS), [1] * len(THRESHOLDS)), len(THRESHOLDS)
    found = net_benefits(rows, np.array(THRESHOLDS))["model"](unweighted(rows))[0]
    np.testing.assert_allclose(found * n, np.arange(n, 0, -1))


@pytest.mark.parametrize("per", [1, 3])
def test_curve_and_band_equal_a_plain_loop(per: int) -> None:
    rows, at, b = _people(n=45, per=per), (0.1, 0.35, 0.6), 40
    found = decision_curve(rows, at, b, 7)
    np.testing.assert_allclose(found["model"], [_loop(rows, t)[0] for t in at])
    np.testing.assert_allclose(found["all"], [_loop(rows, t)[1] for t in at])
    resampled = []
    for counts in np.concatenate(list(resample_people(45, b, 7, b))):
        index = np.repeat(np.arange(len(rows.labels)), counts[rows.people].astype(int))
        resampled.append([_loop(take_rows(rows, index), t)[0] for t in at])
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(found["low"], low, atol=1e-12)
    np.testing.assert_allclose(found["high"], high, atol=1e-12)


def test_treating_all_follows_from_the_prevalence() -> None:
    found = decision_curve(_people(n=75), n_bootstrap=20)
    t, prevalence = np.array(THRESHOLDS), 50 / 75
    np.testing.assert_allclose(found["all"], prevalence - (1 - prevalence) * t / (1 - t))
    assert found["none"] == [0.0] * len(t)


def test_a_sure_and_right_model_has_the_prevalence_at_every_threshold() -> None:
    labels = np.resize([0, 1, 2], 60)
    rows = Predictions(labels, 40 * np.eye(3)[labels], np.arange(60))
    found = decision_curve(rows, n_bootstrap=50)
    np.testing.assert_allclose(found["model"], 2 / 3)
    assert found["useful"] == [THRESHOLDS[0], THRESHOLDS[-1]]
    assert "from 5 to 60 %" in found["sentence"]


def test_the_useful_range_is_where_the_paired_gain_is_above_zero() -> None:
    """Where the band is above 0 but not above treating all, the model is of no use."""
    rows, b = _people(n=150, signal=1.0), 200
    found = decision_curve(rows, n_bootstrap=b, seed=3)
    at = np.array(THRESHOLDS)
    gains = []
    for counts in np.concatenate(list(resample_people(150, b, 3, b))):
        drawn = take_rows(rows, np.repeat(np.arange(150), counts.astype(int)))
        pairs = np.array([_loop(drawn, t) for t in at])
        gains.append(pairs[:, 0] - np.maximum(pairs[:, 1], 0))
    good = np.percentile(gains, 2.5, axis=0) > 0
    low, high = found["useful"]
    inside = (at >= low) & (at <= high)
    assert good[inside].all()
    assert inside.sum() > 1
    assert not inside.all()
    assert np.array(found["low"])[0] > 0  # below the range
    assert low > at[0]


def test_of_two_useful_ranges_the_wider_is_named() -> None:
    from src.evaluation.analyses.decision_curve import _widest

    at = np.array([0.1, 0.2, 0.25, 0.3, 0.5, 0.6])
    assert _widest([True, True, False, True, True, True], at) == [0.3, 0.6]
    assert _widest([False, True, True, True, False, True], at) == [0.2, 0.3]
    assert _widest([False, True, False, True, False, True], at) is None


def test_noise_is_of_no_use() -> None:
    found = decision_curve(_people(signal=0.0), n_bootstrap=200)
    assert found["useful"] is None
    assert "not" not in found["sentence"].split()[0]
    assert "no range" in found["sentence"]


def test_repeated_rows_of_a_person_change_nothing() -> None:
    once = _people(n=40)
    many = take_rows(once, np.repeat(np.arange(40), 6))
    a, b = (decision_curve(rows, n_bootstrap=60) for rows in (once, many))
    np.testing.assert_allclose(a["low"], b["low"])
    np.testing.assert_allclose(a["model"], b["model"])


@pytest.mark.parametrize("n_demented", [9, 31])
def test_few_people_of_either_side_have_no_curve(n_demented: int) -> None:
    rows = _of([0.5] * 40, [1] * n_demented + [0] * (40 - n_demented))
    found = decision_curve(rows, n_bootstrap=20)
    assert not found["available"]
    assert f"{n_demented} demented people and {40 - n_demented} others" in found["reason"]


def test_ten_rows_of_one_person_are_not_ten_people() -> None:
    rows = take_rows(_of([0.5] * 31, [1] + [0] * 30), np.r_[np.zeros(20, int), np.arange(1, 31)])
    assert not decision_curve(rows, n_bootstrap=20)["available"]


@pytest.mark.parametrize("at", [(), (0.0, 0.5), (0.5, 1.0), (0.5, 0.4), (0.2, 0.2)])
def test_impossible_thresholds_are_refused(at: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        decision_curve(_people(), at)


def test_the_result_is_json() -> None:
    json.dumps(decision_curve(_people(), n_bootstrap=20), allow_nan=False)
