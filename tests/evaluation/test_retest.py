"""Repeatability against published examples, and sessions out of image rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from src.evaluation.analyses import retest
from src.evaluation.analyses.retest import icc_2_1, retest_report, sessions_of
from src.evaluation.metrics.intervals import wilson
from src.predictions import Predictions

NAMES = ("NonDemented", "VeryMildDemented", "MildDemented")
#: Shrout & Fleiss (1979), table 2: six targets, four judges.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
).astype(float)
#: Bland & Altman (1986): peak flow (L/min) of 17 people; a large meter twice, a small one once.
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
AGAIN = [490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421]
SMALL = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def _sessions(n: int = 12, slices: int = 3, seed: int = 0, noise: float = 0.3):
    """Slice rows of n people with two sessions, and of three more with one, in mixed order."""
    rng = np.random.default_rng(seed)
    lines, logits = [], []
    for i in range(n + 3):
        own = rng.normal(size=3) * 2
        for session in ("MR1", "MR2")[: 2 if i < n else 1]:
            for number in range(slices):
                lines.append((f"P{i:02d}", session, number))
                logits.append(own + noise * rng.normal(size=3))
    order = rng.permutation(len(lines))
    rows = pd.DataFrame(lines, columns=["subject", "session", "slice"]).iloc[order]
    labels = np.zeros(len(lines), dtype=int)
    return rows, Predictions(labels, np.array(logits)[order], rows["subject"].to_numpy())


def _test_retest(scores: np.ndarray, said: np.ndarray | None = None):
    said = np.zeros(scores.shape, int) if said is None else said
    return retest.test_retest(scores[:, 0], scores[:, 1], said[:, 0], said[:, 1])


def test_icc_of_the_published_example() -> None:
    """.29 in Shrout & Fleiss, table 4; 0.019 to 0.761 in R's psych and in pingouin 0.7.0."""
    found = icc_2_1(SHROUT_FLEISS)
    assert found["value"] == pytest.approx(0.2898, abs=5e-5)
    assert found["low"] == pytest.approx(0.0188, abs=5e-5)
    assert found["high"] == pytest.approx(0.7611, abs=5e-5)


@pytest.mark.parametrize(
    ("n", "k", "expected"),
    [(20, 2, (0.67982763, 0.16, 0.88)), (7, 3, (0.72123080, 0.32, 0.94))],
)
def test_icc_agrees_with_pingouin(n: int, k: int, expected: tuple[float, ...]) -> None:
    """Expected: ICC(A,1) of pingouin 0.7.0, which rounds the ends to two digits."""
    rng = np.random.default_rng(0)
    for size, sessions in ((20, 2), (7, 3)):  # in turn from one stream
        ratings = rng.normal(size=(size, 1)) * 1.5 + rng.normal(size=(size, sessions))
        ratings += np.arange(sessions) * 0.4
        if size == n:
            break
    found = icc_2_1(ratings)
    assert ratings.shape == (n, k)
    assert found["value"] == pytest.approx(expected[0], abs=1e-8)
    assert (round(found["low"], 2), round(found["high"], 2)) == expected[1:]


def test_icc_is_a_ratio_of_variances() -> None:
    """People, sessions and the rest with variances 4, 1 and 2: 4 / 7."""
    rng = np.random.default_rng(1)
    n, k = 2000, 400
    ratings = 2 * rng.normal(size=(n, 1)) + rng.normal(size=(1, k))
    ratings += np.sqrt(2) * rng.normal(size=(n, k))
    assert icc_2_1(ratings)["value"] == pytest.approx(4 / 7, abs=0.02)


def test_the_interval_of_the_icc_covers_the_truth() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        ratings = 2 * rng.normal(size=(15, 1)) + rng.normal(size=(1, 3)) + rng.normal(size=(15, 3))
        found = icc_2_1(ratings)
        hits += found["low"] <= 4 / 6 <= found["high"]
    assert 180 <= hits <= 198  # 190 expected


def test_a_shift_lowers_absolute_agreement() -> None:
    people = np.arange(8.0)[:, None]
    shifted = icc_2_1(np.hstack([people, people + 3]))
    assert shifted["value"] == pytest.approx(6 / (6 + 4.5))  # variance 6 of people, 4.5 of sessions
    assert shifted["low"] is None
    assert icc_2_1(np.hstack([people, people])) == {"value": 1.0, "low": None, "high": None}


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3])
def test_equal_scores_have_no_icc(value: float) -> None:
    assert icc_2_1(np.full((9, 2), value))["value"] is None
    found = _test_retest(np.full((9, 2), value))
    assert found == {"available": False, "reason": "everyone has the same score in both sessions"}


def test_a_small_variance_around_a_large_mean_counts() -> None:
    small = icc_2_1(1e4 + 1e-3 * SHROUT_FLEISS)
    assert small["value"] == pytest.approx(icc_2_1(SHROUT_FLEISS)["value"], abs=1e-5)


def test_one_session_has_no_icc() -> None:
    with pytest.raises(ValueError, match="two of each"):
        icc_2_1(np.ones((5, 1)))


def test_two_published_meters_have_the_published_limits() -> None:
    """Bland & Altman: mean difference -2.1, SD 38.8 L/min (large minus small)."""
    found = _test_retest(np.array([SMALL, LARGE], dtype=float).T)
    assert found["bias"] == pytest.approx(-2.1, abs=0.05)
    low, high = found["limits"]
    assert (high - low) / (2 * 1.959964) == pytest.approx(38.8, abs=0.05)
    assert (low + high) / 2 == pytest.approx(found["bias"])
    half = 2.1199 * 38.765 / np.sqrt(17)  # t of 16 degrees of freedom
    assert found["bias_interval"]["high"] == pytest.approx(found["bias"] + half, abs=0.01)
    assert found["bias_interval"]["low"] == pytest.approx(found["bias"] - half, abs=0.01)
    assert found["pairs"][0] == [512.0, 494.0]
    assert found["n_people"] == 17


def test_one_published_meter_has_the_published_repeatability() -> None:
    """Bland & Altman: coefficient of repeatability 43.2 L/min, twice the rounded 21.6."""
    found = _test_retest(np.array([LARGE, AGAIN], dtype=float).T)
    assert 2 * np.sqrt(2) * found["within_sd"] == pytest.approx(43.2, abs=0.1)


def test_the_bias_is_second_minus_first() -> None:
    scores = np.random.default_rng(0).normal(size=(9, 2))
    scores[:, 1] += 10
    assert _test_retest(scores)["bias"] > 8


def test_classes_agree_as_scikit_learn_and_wilson_say() -> None:
    said = np.random.default_rng(3).integers(0, 3, size=(40, 2))
    said[:20, 1] = said[:20, 0]
    found = _test_retest(np.random.default_rng(4).normal(size=(40, 2)), said)
    same = int((said[:, 0] == said[:, 1]).sum())
    assert found["agreement"]["value"] == pytest.approx(same / 40)
    assert (found["agreement"]["low"], found["agreement"]["high"]) == wilson(same, 40)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(said[:, 0], said[:, 1]))
    assert 0.2 < found["kappa"] < 0.9


def test_one_class_for_all_has_no_kappa() -> None:
    found = _test_retest(np.random.default_rng(4).normal(size=(12, 2)))
    assert found["kappa"] is None
    assert found["agreement"]["value"] == 1.0


@pytest.mark.parametrize(("n", "few"), [(5, True), (9, True), (10, False)])
def test_few_people_are_flagged(n: int, few: bool) -> None:
    found = _test_retest(np.random.default_rng(0).normal(size=(n, 2)))
    assert found["available"]
    assert found["few_people"] is few


def test_four_people_are_not_enough() -> None:
    found = _test_retest(np.random.default_rng(0).normal(size=(4, 2)))
    assert found == {"available": False, "reason": "4 people have two sessions; 5 are needed"}


def test_nobody_with_two_sessions_is_said() -> None:
    rows, predictions = _sessions(n=0)
    found = retest_report(rows, predictions, NAMES)
    assert found == {"available": False, "reason": "0 people have two sessions; 5 are needed"}


def test_a_session_is_the_mean_logit_of_its_slices() -> None:
    rows, predictions = _sessions(n=6, slices=4)
    found = sessions_of(rows, predictions)
    assert list(found.index) == [f"P{i:02d}" for i in range(6)]
    for subject, line in found.iterrows():
        for which, session in (("first", "MR1"), ("second", "MR2")):
            own = ((rows["subject"] == subject) & (rows["session"] == session)).to_numpy()
            mean = predictions.logits[own].mean(axis=0)
            odds = np.log(np.exp(mean[1:]).sum()) - mean[0]
            assert line[which] == pytest.approx(odds)
            assert line[f"class_{which}"] == mean.argmax()
            assert line[f"session_{which}"] == session


def test_of_three_sessions_the_first_two_count_whatever_their_order() -> None:
    rows = pd.DataFrame({"subject": ["a", "b", "a", "a"], "session": ["MR3", "MR1", "MR2", "MR1"]})
    logits = np.array([[0, 3.0], [0, 9.0], [0, 2.0], [0, 1.0]])
    predictions = Predictions(np.zeros(4, int), logits, rows["subject"].to_numpy())
    found = sessions_of(rows, predictions)
    assert list(found.index) == ["a"]
    assert found.loc["a", ["first", "second"]].tolist() == [1.0, 2.0]


def test_a_row_without_a_session_is_of_no_session() -> None:
    rows, predictions = _sessions(n=12)
    some = (rows["subject"] == "P03") & (rows["session"] == "MR2")
    found = sessions_of(rows.assign(session=rows["session"].mask(some)), predictions)
    everyone = sessions_of(rows, predictions)
    pd.testing.assert_frame_equal(found, everyone.drop("P03"))
    nothing = retest_report(rows.assign(session=None), predictions, NAMES)
    assert nothing["reason"] == "0 people have two sessions; 5 are needed"


def test_a_steady_model_repeats_and_a_random_one_does_not() -> None:
    steady = retest_report(*_sessions(n=30, noise=0.1), NAMES)
    random = retest_report(*_sessions(n=30, noise=20.0), NAMES)
    assert steady["icc"]["low"] > 0.9
    assert random["icc"]["value"] < 0.5
    assert steady["within_sd"] < random["within_sd"]
    assert steady["classes"][0][0] in NAMES
    json.dumps(steady, allow_nan=False)


def test_labels_play_no_part() -> None:
    rows, predictions = _sessions()
    other = Predictions(predictions.labels + 2, predictions.logits, predictions.subjects)
    assert retest_report(rows, predictions, NAMES) == retest_report(rows, other, NAMES)


def test_rows_of_other_people_are_refused() -> None:
    rows, predictions = _sessions()
    with pytest.raises(ValueError, match="same people in the same order"):
        sessions_of(rows.iloc[::-1], predictions)
    with pytest.raises(ValueError, match="same people in the same order"):
        sessions_of(rows.iloc[1:], predictions)
    with pytest.raises(ValueError, match="2 classes for 3 logits"):
        retest_report(rows, predictions, NAMES[:2])


def test_scores_and_classes_of_different_people_are_refused() -> None:
    with pytest.raises(ValueError, match="6 scores, 6 and 5 classes"):
        retest.test_retest(np.ones(6), np.zeros(6), np.zeros(6, int), np.zeros(5, int))
