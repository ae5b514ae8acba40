"""Calibration metrics against statsmodels, scikit-learn and MAPIE, and on data of known truth."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from mapie.metrics.calibration import expected_calibration_error
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.calibration import calibration_curve as sklearn_curve

from src.evaluation.metrics import reliability
from src.evaluation.metrics.intervals import estimate_and_resample, interval, wilson
from src.evaluation.metrics.reliability import (
    CALIBRATION_METRICS,
    _log_odds,
    _overlaps,
    calibration_curve,
    ece,
    ece_demented,
    error_interval,
    errors_if_perfect,
    intercept,
    slope,
)
from src.predictions import Predictions, Weighted, as_binary, unweighted


def honest(n: int, k: int = 3, seed: int = 0, factor: float = 1.0) -> Predictions:
    """People whose classes are drawn from softmax(logits); then logits times `factor`."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, k))
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((n, 1)) > share.cumsum(axis=1)).sum(axis=1)
    return Predictions(labels, factor * logits, np.array([f"S{i:04d}" for i in range(n)]))


def two_class(odds: list[float], labels: list[int]) -> Predictions:
    """One row per person with these log-odds of class 1."""
    logits = np.stack([np.zeros(len(odds)), np.array(odds)], axis=1)
    return Predictions(np.array(labels), logits, np.arange(len(odds)))


def repeated(rows: Predictions, per: int, noise: float = 0.0) -> Predictions:
    """`per` rows of every person, shuffled, each with its own noise."""
    rng = np.random.default_rng(5)
    index = rng.permutation(np.repeat(np.arange(len(rows.labels)), per))
    logits = rows.logits[index] + noise * rng.normal(size=(len(index), rows.num_classes))
    return Predictions(rows.labels[index], logits, rows.subjects[index])


def _weights(n: int, b: int = 6) -> np.ndarray:
    return np.random.default_rng(2).multinomial(n, np.full(n, 1 / n), size=b).astype(float)


def _odds(rows: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds of classes 1 and up, written out."""
    p = rows.probabilities
    return np.log(p[:, 1:].sum(axis=1) / p[:, 0]), (rows.labels > 0).astype(int)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_slope_agrees_with_statsmodels(k: int) -> None:
    rows = honest(61, k, factor=1.7)
    odds, demented = _odds(rows)
    expected = sm.Logit(demented, sm.add_constant(odds)).fit(disp=0).params[1]
    assert slope(unweighted(rows))[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_intercept_agrees_with_statsmodels(k: int) -> None:
    rows = honest(61, k, factor=1.7)
    odds, demented = _odds(rows)
    model = sm.GLM(demented, np.ones((61, 1)), family=sm.families.Binomial(), offset=odds)
    assert intercept(unweighted(rows))[0] == pytest.approx(model.fit(tol=1e-12).params[0], abs=1e-8)


def test_resampled_slopes_and_intercepts_agree_with_statsmodels() -> None:
    rows, weights = honest(47, 3, seed=3), _weights(47)
    odds, demented = _odds(rows)
    sample, family = Weighted(rows, weights), sm.families.Binomial()
    design, one = sm.add_constant(odds), np.ones((47, 1))
    for b, w in enumerate(weights):
        cox = sm.GLM(demented, design, family=family, freq_weights=w).fit(tol=1e-12)
        large = sm.GLM(demented, one, family=family, freq_weights=w, offset=odds).fit(tol=1e-12)
        assert slope(sample)[b] == pytest.approx(cox.params[1], abs=1e-6)
        assert intercept(sample)[b] == pytest.approx(large.params[0], abs=1e-8)


APART = pytest.mark.parametrize(
    ("odds", "labels"),
    [
        ([-2, -1, 1, 2], [0, 0, 1, 1]),  # told apart
        ([-2, -1, 1, 2], [1, 1, 0, 0]),  # told apart, the wrong way
        ([-2, 1, 1, 2], [0, 0, 1, 1]),  # a tie at the border: no finite slope either
        ([0.3, 0.3, 0.3, 0.3], [0, 1, 0, 1]),  # nothing to tell them apart by
        ([0.3, 0.3 + 1e-14, 0.3, 0.3 + 2e-14], [0, 1, 1, 0]),  # the same up to rounding
        ([-2, -1, 1, 2], [1, 1, 1, 1]),
        ([-2, -1, 1, 2], [0, 0, 0, 0]),
    ],
)


@APART
def test_no_slope_where_logistic_regression_has_no_finite_answer(odds: list, labels: list) -> None:
    assert np.isnan(slope(unweighted(two_class(odds, labels)))[0])


@APART
def test_classes_that_do_not_overlap_are_known_without_a_search(odds: list, labels: list) -> None:
    x, y = _log_odds(two_class(odds, labels))
    assert not _overlaps(np.ones((1, 4)), x, y)[0]


def test_a_slope_that_barely_exists_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(4)
    odds = [*(-3 + 0.5 * rng.normal(size=20)), 0.01, *(3 + 0.5 * rng.normal(size=20)), -0.01]
    labels = [0] * 21 + [1] * 21
    expected = sm.Logit(labels, sm.add_constant(odds)).fit(disp=0, maxiter=200, tol=1e-12).params[1]
    assert slope(unweighted(two_class(odds, labels)))[0] == pytest.approx(expected, rel=1e-6)


def test_only_resamples_without_overlap_lack_a_slope() -> None:
    rows = two_class([-2, -1, 0.5, 1, 2, 3], [0, 1, 0, 1, 1, 0])
    weights = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 0], [0, 3, 0, 3, 0, 0]], dtype=float)
    assert _overlaps(weights, *_log_odds(rows)).tolist() == [True, False, False]
    found = slope(Weighted(rows, weights))
    assert np.isfinite(found).tolist() == [True, False, False]
    assert found[0] == pytest.approx(slope(unweighted(rows))[0])
    large = intercept(Weighted(rows, weights))
    assert np.isnan(large).tolist() == [False, False, True]


def test_no_search_is_begun_where_it_would_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    search = reliability._newton
    monkeypatch.setattr(
        reliability, "_newton", lambda *given: asked.append(len(given[0])) or search(*given)
    )
    weights = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [2, 1, 1, 1]], dtype=float)
    slope(Weighted(two_class([-2, -1, 1, 2], [0, 1, 0, 1]), weights))
    assert asked == [2]


@pytest.mark.parametrize("size", [1e-6, 30.0, 900.0])
def test_fits_do_not_run_away_with_logits_of_any_size(size: float) -> None:
    rows = honest(40, 2, seed=8)
    odds, demented = _odds(rows)
    large = Predictions(rows.labels, size * rows.logits, rows.subjects)
    expected = slope(unweighted(rows))[0] / size
    if size > 1e-3:  # log-odds are compared to 9 decimals
        assert slope(unweighted(large))[0] == pytest.approx(expected, rel=1e-6)
    root = brentq(lambda a: (expit(size * odds + a) - demented).sum(), -4000, 4000, xtol=1e-10)
    assert intercept(unweighted(large))[0] == pytest.approx(root, abs=1e-6)


def test_the_slope_of_huge_logits_has_as_many_right_digits() -> None:
    odds, labels = np.array([-3, -2, -1, 1, 2, 3.0]), [0, 0, 1, 0, 1, 1]  # the intercept is 0
    expected = 1e-9 * slope(unweighted(two_class(odds.tolist(), labels)))[0]
    found = slope(unweighted(two_class((1e9 * odds).tolist(), labels)))[0]
    assert found == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.0), (2.0, 0.5), (0.5, 2.0)])
def test_the_slope_is_one_over_the_factor_of_the_log_odds(factor: float, expected: float) -> None:
    rows = as_binary(honest(30_000, 3, seed=1))
    rows = Predictions(rows.labels, factor * rows.logits, rows.subjects)
    assert slope(unweighted(rows))[0] == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.7])
def test_the_intercept_is_what_was_taken_off_the_log_odds(shift: float) -> None:
    rows = as_binary(honest(30_000, 3, seed=1))
    moved = Predictions(rows.labels, rows.logits - [0, shift], rows.subjects)
    assert intercept(unweighted(moved))[0] == pytest.approx(shift, abs=0.05)


@pytest.mark.parametrize(("name", "truth"), [("slope", 1.0), ("intercept", 0.0)])
def test_a_95_percent_interval_covers_the_truth_of_a_calibrated_model(
    name: str, truth: float
) -> None:
    hits = 0
    for seed in range(60):
        metric = {name: CALIBRATION_METRICS[name]}
        rows = honest(90, 3, seed)
        found = interval(*estimate_and_resample(rows, [metric], 200, seed)[name])
        hits += found["low"] <= truth <= found["high"]
    assert 52 <= hits <= 60  # 57 expected; fewer than 52 has a probability under 2 %


def test_ece_of_a_hand_worked_example() -> None:
    """20 people, 2 bins of 10: 0.6 with 7 right, 0.9 with 8 right: (0.1 + 0.1) / 2."""
    p = np.repeat([0.6, 0.9], 10)
    right = np.array([1] * 7 + [0] * 3 + [1] * 8 + [0] * 2)
    rows = two_class(np.log(p / (1 - p)).tolist(), right.tolist())
    assert ece(unweighted(rows))[0] == pytest.approx(0.1)
    assert ece_demented(unweighted(rows))[0] == pytest.approx(0.1)


def test_ece_is_of_the_predicted_class_and_ece_demented_is_not() -> None:
    """10 people of p(demented) = 0.2, 4 of them demented: 0.8 sure, 0.6 right; 0.2 against 0.4."""
    rows = two_class([float(np.log(0.25))] * 10, [1] * 4 + [0] * 6)
    assert ece(unweighted(rows))[0] == pytest.approx(0.2)
    assert ece_demented(unweighted(rows))[0] == pytest.approx(0.2)
    labels = np.array([1] * 5 + [0] * 5)  # as often right as it says, but dementia is at 0.7
    three = Predictions(labels, np.log([[0.3, 0.5, 0.2]] * 10), np.arange(10))
    assert ece(unweighted(three))[0] == pytest.approx(0.0)
    assert ece_demented(unweighted(three))[0] == pytest.approx(0.2)


@pytest.mark.parametrize(("n", "bins"), [(30, 3), (60, 6), (110, 10)])
def test_ece_agrees_with_mapie_in_bins_of_equal_size(n: int, bins: int) -> None:
    rows = honest(n, 3, seed=n)
    confidence = rows.probabilities.max(axis=1)
    order = confidence.argsort()  # MAPIE cuts its equal bins in the order of the rows
    right = (rows.predicted == rows.labels).astype(int)[order]
    expected = expected_calibration_error(
        right, confidence[order], num_bins=bins, split_strategy="array split"
    )
    assert ece(unweighted(rows))[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [12, 47, 60, 235])
@pytest.mark.parametrize("coarse", [False, True])
def test_the_curve_agrees_with_scikit_learn(n: int, coarse: bool) -> None:
    rows = honest(n, 3, seed=n)
    if coarse:  # ties, which share a bin
        rows = Predictions(rows.labels, rows.logits.round(), rows.subjects)
    p = as_binary(rows).probabilities[:, 1].round(12)
    observed, predicted = sklearn_curve(
        rows.labels > 0, p, n_bins=max(1, min(10, n // 10)), strategy="quantile"
    )
    curve = calibration_curve(rows)
    assert [point["observed"] for point in curve] == pytest.approx(observed.tolist())
    assert [point["predicted"] for point in curve] == pytest.approx(predicted.tolist())
    assert sum(point["n_people"] for point in curve) == n
    sizes = [point["n_people"] for point in curve]
    assert coarse or (min(sizes) >= 10 and max(sizes) - min(sizes) <= 1)
    for point in curve:
        low, high = wilson(point["observed"] * point["n_people"], point["n_people"])
        assert (point["low"], point["high"]) == pytest.approx((low, high))


def test_the_curve_counts_people_not_rows() -> None:
    rows = honest(50, 3)
    once, many = calibration_curve(rows), calibration_curve(repeated(rows, 4))
    assert [point["n_people"] for point in many] == [10] * 5
    for a, b in zip(once, many, strict=True):
        assert a == pytest.approx(b)


@pytest.mark.parametrize("name", ["ece", "ece_demented"])
def test_weights_change_what_is_in_a_bin_and_not_the_bins(name: str) -> None:
    rows, weights = honest(45, 3, seed=6), _weights(45)
    two = as_binary(rows)
    p, event = {
        "ece": (rows.probabilities.max(axis=1), rows.predicted == rows.labels),
        "ece_demented": (two.probabilities[:, 1], rows.labels > 0),
    }[name]
    bins = np.array_split(p.argsort(), 4)  # 45 people: four bins, the first with one more
    for b, w in enumerate(weights):
        loop = (
            sum(abs((w[own] * event[own]).sum() - (w[own] * p[own]).sum()) for own in bins)
            / w.sum()
        )
        found = CALIBRATION_METRICS[name](Weighted(rows, weights))[b]
        assert found == pytest.approx(loop, abs=1e-12)


@pytest.mark.parametrize("name", ["brier", "log_loss", "slope", "intercept"])
def test_a_weight_equals_repeated_rows(name: str) -> None:
    rows, weights = honest(45, 3, seed=6), _weights(45)
    for b, w in enumerate(weights):
        index = np.repeat(np.arange(45), w.astype(int))
        many = Predictions(rows.labels[index], rows.logits[index], rows.subjects[index])
        found = CALIBRATION_METRICS[name](Weighted(rows, weights))[b]
        assert found == pytest.approx(CALIBRATION_METRICS[name](unweighted(many))[0], abs=1e-7)


@pytest.mark.parametrize("name", list(CALIBRATION_METRICS))
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    rows = honest(64, 3)
    rows = Predictions(rows.labels, rows.logits.round(), rows.subjects)  # with ties
    order = np.random.default_rng(1).permutation(64)
    other = Predictions(rows.labels[order], rows.logits[order], rows.subjects[order])
    metric = CALIBRATION_METRICS[name]
    assert metric(unweighted(other))[0] == pytest.approx(metric(unweighted(rows))[0], abs=1e-8)


@pytest.mark.parametrize(("n", "name"), [(45, "ece"), (200, "ece"), (200, "ece_demented")])
def test_the_error_of_a_perfect_model_is_foreseen(n: int, name: str) -> None:
    """Over 80 samples of calibrated people: what is measured and what is foreseen, on average."""
    metric = CALIBRATION_METRICS[name]
    samples = [honest(n, 3, seed) for seed in range(80)]
    measured = [metric(unweighted(rows))[0] for rows in samples]
    foreseen = [errors_if_perfect(rows)[name].mean() for rows in samples]
    assert np.mean(foreseen) > 0.03
    assert np.mean(measured) == pytest.approx(np.mean(foreseen), rel=0.1)


def test_drawn_errors_equal_a_plain_loop() -> None:
    rows = honest(60, 3, seed=2)
    numbers = np.random.default_rng(9).random((200, 60))
    found = errors_if_perfect(rows, 9)
    two = as_binary(rows).probabilities[:, 1]
    for name, p in (("ece", rows.probabilities.max(axis=1)), ("ece_demented", two)):
        bins = np.array_split(p.argsort(), 6)
        loop = [
            sum(abs((u[own] < p[own]).sum() - p[own].sum()) for own in bins) / 60 for u in numbers
        ]
        assert found[name].tolist() == pytest.approx(loop)


def test_rows_of_one_person_err_together_when_drawn() -> None:
    rows = honest(60, 3)
    once, many = errors_if_perfect(rows, 3), errors_if_perfect(repeated(rows, 5), 3)
    assert many["ece"].mean() == pytest.approx(once["ece"].mean(), rel=0.1)
    assert many["ece"].mean() > 1.5 * errors_if_perfect(honest(300, 3), 3)["ece"].mean()


def test_the_same_seed_draws_the_same_errors() -> None:
    a, b, c = (errors_if_perfect(honest(40, 3), seed)["ece"] for seed in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 1.5, 2.5])
def test_error_intervals_cover_what_many_people_show(factor: float) -> None:
    """The percentiles of the resamples alone would hold it 0, 20 and 53 times of 60."""
    truth = ece(unweighted(honest(100_000, 3, 99, factor)))[0] if factor > 1 else 0.0
    hits = 0
    for seed in range(60):
        rows = honest(100, 3, seed, factor)
        values = estimate_and_resample(rows, [{"ece": ece}], 200, seed)["ece"]
        found = error_interval(*values, errors_if_perfect(rows, seed)["ece"])
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        hits += found["low"] <= truth <= found["high"]
    assert hits >= 49  # 53 of 60 at the stated 89 %; 48 or fewer has a probability under 3 %


def test_an_error_interval_is_the_mirrored_one_above_what_a_perfect_model_shows() -> None:
    resampled = np.linspace(0.1, 0.3, 1001)
    found = error_interval(np.array(0.18), resampled, np.full(200, 0.05))
    assert found == pytest.approx({"value": 0.18, "low": 0.065, "high": 0.255})
    assert error_interval(np.array(0.18), resampled, np.full(200, 0.2))["low"] == 0.0
    outside = error_interval(np.array(0.08), resampled, np.full(200, 0.01))
    assert outside == pytest.approx({"value": 0.08, "low": 0.0, "high": 0.08})
    assert error_interval(np.array(0.08), np.empty(0), np.full(200, 0.01))["low"] is None
