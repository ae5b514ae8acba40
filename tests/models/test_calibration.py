"""Temperature and vector scaling against scikit-learn and known truth; what is stored; verdicts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from src.errors import CheckpointError
from src.evaluation.analyses.calibration import calibration_report
from src.evaluation.metrics.reliability import CALIBRATION_METRICS, errors_if_perfect
from src.models.calibration import LARGEST_SCALE, PEOPLE_FOR_VECTOR, Calibration, fit_calibration
from src.predictions import Predictions, per_person, take_rows


class Logits(ClassifierMixin, BaseEstimator):
    """A "model" whose features are its logits."""

    def fit(self, x: Any, y: Any) -> Logits:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x: Any) -> Any:
        return x if x.shape[1] > 2 else x @ [-0.5, 0.5]  # which is read as the logits (-x, x)

    def predict(self, x: Any) -> Any:
        return x.argmax(axis=1)


def honest(n: int, k: int = 3, seed: int = 0, factor: float = 1.0) -> Predictions:
    """People whose classes are drawn from softmax(logits); then logits times `factor`."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, k))
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((n, 1)) > share.cumsum(axis=1)).sum(axis=1)
    return Predictions(labels, factor * logits, np.array([f"S{i:04d}" for i in range(n)]))


def unequal(n_people: int, seed: int = 0, factor: float = 2.0) -> Predictions:
    """Persons with 1, 2, 3, 1, 2, 3 ... noisy rows each, in random order."""
    rows, rng = honest(n_people, 3, seed, factor), np.random.default_rng(seed)
    index = rng.permutation(np.repeat(np.arange(n_people), np.resize([1, 2, 3], n_people)))
    many = take_rows(rows, index)
    noise = rng.normal(size=many.logits.shape)
    return Predictions(many.labels, many.logits + noise, many.subjects)


def sklearn_scale(rows: Predictions, weights: np.ndarray | None = None) -> float:
    """One over the temperature, from scikit-learn."""
    model = FrozenEstimator(Logits().fit(rows.logits, rows.labels))
    fitted = CalibratedClassifierCV(model, method="temperature")
    fitted.fit(rows.logits, rows.labels, sample_weight=weights)
    return float(fitted.calibrated_classifiers_[0].calibrators[0].beta_)


def vector_objective(rows: Predictions, centre: float) -> Any:
    """The penalised log-loss of vector scaling, written out with scikit-learn's log-loss."""
    weights = 1 / np.bincount(rows.people)[rows.people]

    def objective(values: np.ndarray) -> float:
        k = rows.num_classes
        logits = rows.logits * values[:k] + values[k:]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        ridge = ((values[:k] / centre - 1) ** 2).sum() + (values[k:] ** 2).sum()
        loss = log_loss(rows.labels, p, labels=range(k), sample_weight=weights)
        return float(loss + 0.1 * ridge / rows.n_people)

    return objective


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_agrees_with_scikit_learn(k: int, factor: float) -> None:
    rows = honest(53, k, seed=k, factor=factor)
    found = fit_calibration(rows)
    assert found.method == "temperature"
    assert (found.n_people, found.reason, set(found.shift)) == (53, "", {0.0})
    assert found.scale == pytest.approx([sklearn_scale(rows)] * k, rel=1e-4)
    assert found.temperature == pytest.approx(1 / found.scale[0])


def test_of_two_classes_the_scale_is_statsmodels_slope_through_the_origin() -> None:
    rows = honest(70, 2, factor=2.5)
    odds = rows.logits[:, 1] - rows.logits[:, 0]
    expected = sm.Logit(rows.labels, odds).fit(disp=0).params[0]
    assert fit_calibration(rows).scale[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.filterwarnings("ignore:Since FrozenEstimator does not appear to accept sample_weight")
def test_rows_of_one_person_count_as_one_person() -> None:
    rows = unequal(60)
    weights = 1 / np.bincount(rows.people)[rows.people]
    found = fit_calibration(rows)
    assert found.scale[0] == pytest.approx(sklearn_scale(rows, weights), rel=1e-4)
    assert found.scale[0] != pytest.approx(sklearn_scale(rows), rel=1e-3)
    assert found.n_people == 60


def test_a_temperature_undoes_what_was_done() -> None:
    rows = honest(20_000, 3, factor=3.0)
    found = fit_calibration(rows)
    assert found.temperature == pytest.approx(3.0, rel=0.05)
    assert (found.apply(rows).predicted == rows.predicted).all()


def test_vector_scaling_undoes_what_was_done() -> None:
    rows = honest(20_000, 3)
    scale, shift = np.array([2.0, 0.5, 1.5]), np.array([0.6, -0.5, -0.1])
    done = Predictions(rows.labels, rows.logits * scale + shift, rows.subjects)
    found = fit_calibration(done, "vector")
    assert found.method == "vector"
    assert found.temperature is None
    assert np.array(found.scale) * scale == pytest.approx([1, 1, 1], rel=0.1)
    undone = found.apply(done).logits - rows.logits
    assert undone.mean(axis=0).std() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: honest(150, 3, factor=3.0), lambda: unequal(150)])
def test_vector_scaling_has_the_least_penalised_loss(make: Any) -> None:
    """Against a search with numerical gradients of the objective written out."""
    rows = make()
    found, centre = fit_calibration(rows, "vector"), fit_calibration(rows).scale[0]
    objective = vector_objective(rows, centre)
    start = np.repeat([centre, 0.0], 3)
    best = minimize(objective, start, method="BFGS", options={"gtol": 1e-7})
    assert [*found.scale, *found.shift] == pytest.approx(best.x.tolist(), abs=1e-4)
    assert sum(found.shift) == pytest.approx(0, abs=1e-5)


def test_of_two_classes_vector_scaling_is_logistic_regression() -> None:
    rows = honest(8000, 2, factor=2.0)
    skewed = Predictions(rows.labels, rows.logits * [1.0, 0.7] + [0.4, 0.0], rows.subjects)
    found = fit_calibration(skewed, "vector")
    oracle = LogisticRegression(C=np.inf, tol=1e-8).fit(skewed.logits, skewed.labels)
    expected = oracle.coef_[0] * [-1, 1]
    assert found.scale == pytest.approx(expected, rel=0.01)
    assert found.shift[1] - found.shift[0] == pytest.approx(oracle.intercept_[0], abs=0.01)


@pytest.mark.parametrize("size", [0.2, 5.0])
def test_vector_scaling_does_not_depend_on_the_size_of_logits(size: float) -> None:
    rows = unequal(150)
    large = Predictions(rows.labels, size * rows.logits, rows.subjects)
    a, b = fit_calibration(rows, "vector"), fit_calibration(large, "vector")
    assert [size * scale for scale in b.scale] == pytest.approx(a.scale, rel=1e-4)
    assert b.shift == pytest.approx(a.shift, abs=1e-4)


def test_scales_stay_between_their_limits_and_can_be_stored() -> None:
    rows = unequal(150)
    large = Predictions(rows.labels, 8 * rows.logits, rows.subjects)
    found = fit_calibration(large, "vector")
    assert min(found.scale) == pytest.approx(1 / LARGEST_SCALE)
    assert max(found.scale) > 1.1 / LARGEST_SCALE
    assert Calibration.from_dict(found.to_dict(), 3) == found


def test_data_that_a_shift_tells_apart_stays_finite() -> None:
    labels = np.repeat([0, 1], 30)
    odds = np.where(labels == 1, 3.0, 1.0)  # all are called demented
    rows = Predictions(labels, np.stack([0 * odds, odds], axis=1), np.arange(60))
    found = fit_calibration(rows, "vector")
    assert found.method == "vector"
    assert max(map(abs, [*found.scale, *found.shift])) < 20
    assert (found.apply(rows).predicted == labels).all()


HALF = np.resize([0, 1], 30)


@pytest.mark.parametrize("method", ["temperature", "vector"])
@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (honest(9, 3), "9 validation people; under 10"),
        (take_rows(unequal(9), np.arange(18)), "9 validation people; under 10"),
        (Predictions(np.zeros(30), np.eye(3)[HALF], np.arange(30)), "all of one class"),
        (
            Predictions(HALF, np.eye(3)[HALF], np.arange(30)),
            "every validation person is recognised",
        ),
    ],
)
def test_people_who_cannot_tell_a_scale_change_nothing(
    rows: Predictions, reason: str, method: Any
) -> None:
    found = fit_calibration(rows, method)
    assert found == Calibration.none(3, found.reason)
    assert reason in found.reason
    assert (found.apply(rows).logits == rows.logits).all()
    assert found.temperature == 1.0


def test_no_calibration_is_fitted_when_none_is_asked_for() -> None:
    found = fit_calibration(honest(50, 3, factor=3.0), "none")
    assert (found.method, found.scale, found.n_people) == ("none", (1.0, 1.0, 1.0), 0)
    assert found.reason


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="none, temperature, vector"):
        fit_calibration(honest(50), "isotonic")


@pytest.mark.parametrize(("few", "method"), [(19, "temperature"), (20, "vector")])
def test_vector_scaling_needs_people_of_every_class(few: int, method: str) -> None:
    assert PEOPLE_FOR_VECTOR == 20
    rows = honest(400, 3, seed=2, factor=2.0)
    third = np.flatnonzero(rows.labels == 2)[few:]
    rows = take_rows(rows, np.setdiff1d(np.arange(400), third))
    twice = take_rows(rows, np.repeat(np.arange(len(rows.labels)), 2))  # rows are not people
    for people in (rows, twice):
        found = fit_calibration(people, "vector")
        assert found.method == method
        assert ("needs 20" in found.reason and "has 19" in found.reason) == (few == 19)


def test_logits_that_say_nothing_end_at_the_limit_and_say_so() -> None:
    rows = honest(200, 2)
    wrong_way = Predictions(rows.labels, -rows.logits, rows.subjects)
    found = fit_calibration(wrong_way)
    assert found.temperature == pytest.approx(LARGEST_SCALE, rel=0.01)
    assert "limit" in found.reason
    flat = fit_calibration(Predictions(rows.labels, 1e-4 * rows.logits, rows.subjects))
    assert flat.scale[0] == pytest.approx(LARGEST_SCALE, rel=0.01)
    assert "limit" in flat.reason
    Calibration.from_dict(flat.to_dict(), 2)


def test_calibration_before_or_after_the_mean_over_rows_is_the_same() -> None:
    rows = unequal(40)
    scaled = Calibration("vector", (0.5, 2.0, 1.0), (0.1, -0.3, 0.2), 40, "")
    first, last = per_person(scaled.apply(rows)), scaled.apply(per_person(rows))
    np.testing.assert_allclose(first.logits, last.logits)
    expected = rows.logits[0] * [0.5, 2.0, 1.0] + [0.1, -0.3, 0.2]
    np.testing.assert_allclose(scaled.apply(rows).logits[0], expected)


def test_calibration_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="3 scales for 2 classes"):
        Calibration.none(3, "").apply(honest(10, 2))


@pytest.mark.parametrize("method", ["none", "temperature", "vector"])
def test_a_stored_calibration_comes_back(method: Any) -> None:
    found = fit_calibration(honest(200, 3, factor=2.0), method)
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert Calibration.from_dict(content, 3) == found


SOUND: dict[str, Any] = Calibration("temperature", (0.5, 0.5), (0.0, 0.0), 40, "").to_dict()


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "temperature",
        {},
        {key: value for key, value in SOUND.items() if key != "reason"},
        {**SOUND, "extra": 1},
        {**SOUND, "method": "isotonic", "scale": [1.0, 1.0]},
        {**SOUND, "method": ["temperature"]},
        {**SOUND, "scale": [0.5]},
        {**SOUND, "scale": [0.5, 0.5, 0.5]},
        {**SOUND, "scale": 0.5},
        {**SOUND, "scale": None},
        {**SOUND, "scale": "ab"},
        {**SOUND, "scale": [0.5, "0.5"]},
        {**SOUND, "scale": [0.5, None]},
        {**SOUND, "scale": [True, True]},
        {**SOUND, "scale": [float("nan")] * 2},
        {**SOUND, "scale": [float("inf")] * 2},
        {**SOUND, "scale": [10**400] * 2},
        {**SOUND, "scale": [0.0, 0.0]},
        {**SOUND, "scale": [-0.5, -0.5]},
        {**SOUND, "scale": [21.0, 21.0]},
        {**SOUND, "scale": [0.5, 0.6]},  # two temperatures
        {**SOUND, "shift": [0.0, 0.1]},  # a temperature shifts nothing
        {**SOUND, "shift": [0.0, float("nan")]},
        {**SOUND, "method": "vector", "shift": [0.0, 1e300]},
        {**SOUND, "method": "none"},  # which scales by 1
        {**SOUND, "n_people": -1},
        {**SOUND, "n_people": 4.0},
        {**SOUND, "n_people": True},
        {**SOUND, "n_people": "40"},
        {**SOUND, "reason": None},
    ],
)
def test_a_damaged_calibration_is_refused_by_name(content: Any) -> None:
    with pytest.raises(CheckpointError, match="stored calibration is damaged") as caught:
        Calibration.from_dict(content, 2)
    assert caught.value.hint


def test_a_stored_calibration_of_other_classes_is_refused() -> None:
    assert Calibration.from_dict(SOUND, 2).temperature == 2.0
    with pytest.raises(CheckpointError, match="not one of 4 classes"):
        Calibration.from_dict(SOUND, 4)


def _report(n: int = 300, factor: float = 3.0, **more: Any) -> dict[str, Any]:
    before = honest(n, 3, seed=1, factor=factor)
    calibration = fit_calibration(honest(2000, 3, seed=2, factor=factor))
    report = calibration_report(before, calibration.apply(before), calibration, 200, **more)
    json.dumps(report, allow_nan=False)
    return report


def test_a_report_has_the_agreed_shape() -> None:
    report = _report()
    assert report.keys() == {"available", "applied", "before", "after", "few_people", "sentence"}
    for side in ("before", "after"):
        assert report[side].keys() == {*CALIBRATION_METRICS, "ece_if_perfect", "curve"}
        assert all(report[side][name].keys() == {"value", "low", "high"}
                   for name in CALIBRATION_METRICS)  # fmt: skip
        rows = honest(300, 3, seed=1, factor=3.0)
        rows = rows if side == "before" else Calibration.from_dict(report["applied"], 3).apply(rows)
        expected = errors_if_perfect(rows, 0)["ece"].mean()
        assert report[side]["ece_if_perfect"] == pytest.approx(expected, abs=1e-12)
        assert sum(point["n_people"] for point in report[side]["curve"]) == 300
    assert report["available"]
    assert not report["few_people"]
    assert report["applied"]["method"] == "temperature"


def test_a_temperature_from_others_makes_over_confident_people_calibrated() -> None:
    report = _report()
    before, after = report["before"], report["after"]
    assert before["slope"]["high"] < 0.6 < after["slope"]["low"] < 1 < after["slope"]["high"]
    for name in ("ece", "ece_demented", "brier", "log_loss"):
        assert after[name]["value"] < before[name]["value"]
    assert before["ece"]["low"] > 0 == after["ece"]["low"]
    assert after["ece"]["value"] == pytest.approx(after["ece_if_perfect"], abs=0.03)
    assert before["log_loss"]["value"] == pytest.approx(
        log_loss(honest(300, 3, 1).labels, honest(300, 3, 1, 3.0).probabilities)
    )


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        (3.0, "are over-confident"),
        (0.3, "are under-confident"),
        (1.1, "neither"),  # a slope below 1, and one above, whose intervals hold 1
        (0.8, "neither"),
    ],
)
def test_the_verdict_follows_the_slope(factor: float, says: str) -> None:
    rows = honest(300, 3, seed=1, factor=factor)
    report = calibration_report(rows, rows, Calibration.none(3, "not asked for"), 200)
    assert says in report["sentence"]
    assert (report["after"]["slope"]["value"] > 1) == (factor < 1)
    assert report["sentence"].split(" On average")[0].count(". ") == 0


@pytest.mark.parametrize(("shift", "says"), [(1.0, "too high"), (-1.0, "too low"), (0.0, "")])
def test_probabilities_that_are_off_on_average_are_said_to_be(shift: float, says: str) -> None:
    rows = honest(300, 2, seed=1)
    moved = Predictions(rows.labels, rows.logits + np.array([0, shift]), rows.subjects)
    report = calibration_report(moved, moved, Calibration.none(2, ""), 200)
    assert says in report["sentence"]
    assert ("On average" in report["sentence"]) == bool(says)


def test_probabilities_that_point_the_wrong_way_are_said_to_tell_nothing() -> None:
    rows = honest(300, 3, seed=1, factor=-1.0)
    report = calibration_report(rows, rows, Calibration.none(3, ""), 200)
    assert report["after"]["slope"]["high"] < 0
    assert "tell nothing" in report["sentence"]


def test_the_verdict_is_about_the_probabilities_after_calibration() -> None:
    rows = honest(300, 3, seed=1)
    worse = Predictions(rows.labels, 4 * rows.logits, rows.subjects)
    report = calibration_report(rows, worse, Calibration.none(3, ""), 100)
    assert "are over-confident" in report["sentence"]
    assert report["before"]["slope"]["value"] > 2 * report["after"]["slope"]["value"]


def test_few_people_get_no_verdict() -> None:
    labels = np.array([0] * 40 + [1] * 9)
    rows = Predictions(labels, np.random.default_rng(0).normal(size=(49, 2)) * 9, np.arange(49))
    report = calibration_report(rows, rows, Calibration.none(2, ""), 100)
    assert report["few_people"]
    assert "cannot be told: under 10 people are demented" in report["sentence"]
    healthy = take_rows(rows, np.arange(40))
    report = calibration_report(healthy, healthy, Calibration.none(2, ""), 100)
    assert report["few_people"]
    assert report["after"]["slope"] == {"value": None, "low": None, "high": None}
    json.dumps(report, allow_nan=False)


def test_nine_people_get_no_report() -> None:
    rows = unequal(9)
    report = calibration_report(rows, rows, Calibration.none(3, ""), 100)
    assert (report["available"], report["n_people"]) == (False, 9)
    assert report["reason"]


@pytest.mark.parametrize(("overlapping", "defined"), [(0, False), (2, True)])
def test_classes_that_hardly_overlap_leave_the_slope_open(overlapping: int, defined: bool) -> None:
    """With two people on the wrong side, over 10 % of the resamples draw neither of them."""
    labels = np.repeat([0, 1], 20)
    odds = np.where(labels == 1, 2.0, -2.0) + np.linspace(-0.5, 0.5, 40)
    odds[: overlapping // 2] = 1.8
    odds[40 - overlapping // 2 :] = -1.8
    rows = Predictions(labels, np.stack([0 * odds, odds], axis=1), np.arange(40))
    report = calibration_report(rows, rows, Calibration.none(2, ""), 300)
    slope = report["after"]["slope"]
    assert (slope["value"] is not None) == defined
    assert (slope["low"], slope["high"]) == (None, None)
    assert "hardly overlap" in report["sentence"]


def test_several_rows_of_a_person_do_not_narrow_an_interval() -> None:
    rows = honest(80, 3, factor=2.0)
    many = take_rows(rows, np.repeat(np.arange(80), 6))
    none = Calibration.none(3, "")
    once, often = (calibration_report(p, p, none, 200)["after"] for p in (rows, many))
    for name in CALIBRATION_METRICS:
        for end in ("value", "low", "high"):
            assert often[name][end] == pytest.approx(once[name][end], abs=1e-6)


def test_the_same_seed_gives_the_same_report() -> None:
    a, b, c = (_report(60, seed=seed) for seed in (3, 3, 4))
    assert a == b
    assert a["after"]["slope"]["low"] != c["after"]["slope"]["low"]
    assert a["after"]["ece_if_perfect"] != c["after"]["ece_if_perfect"]


def test_before_and_after_must_be_the_same_rows() -> None:
    rows = honest(40, 3)
    other = take_rows(rows, np.arange(40)[::-1])
    with pytest.raises(ValueError, match="not the same rows"):
        calibration_report(rows, other, Calibration.none(3, ""))
    names = Predictions(rows.labels, rows.logits, np.resize(rows.subjects[:20], 40))
    with pytest.raises(ValueError, match="not the same rows"):
        calibration_report(rows, names, Calibration.none(3, ""))
