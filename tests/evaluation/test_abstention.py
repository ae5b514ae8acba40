"""Abstention against plain loops over rows, permutations against scikit-learn and exact counts."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from sklearn import metrics as oracle
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import permutation_test_score

from src.evaluation.analyses.abstention import COVERAGES, abstention
from src.evaluation.analyses.permutation import permutation_test
from src.evaluation.metrics.intervals import resample_people, wilson
from src.evaluation.metrics.scores import METRICS
from src.predictions import Predictions, take_rows


def _people(n: int = 60, k: int = 3, per: int = 1, signal: float = 1.5, seed: int = 0):
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.permutation(np.resize(np.arange(k), n)), per)
    logits = rng.normal(size=(n * per, k)) + signal * np.eye(k)[label]
    rows = Predictions(label, logits, np.repeat([f"S{i:03d}" for i in range(n)], per))
    extra = np.arange(0, n * per, 7) if per > 1 else []  # people differ in their number of rows
    order = rng.permutation(np.r_[np.arange(n * per), extra].astype(int))
    return take_rows(rows, order)  # rows of a person do not stand together


def _most_confident(rows: Predictions, share: float) -> Predictions:
    order = np.argsort(-rows.probabilities.max(axis=1), kind="stable")
    return take_rows(rows, order[: int(np.ceil(round(share * len(order), 6)))])


def _accuracy(rows: Predictions) -> float:
    return oracle.accuracy_score(rows.labels, rows.predicted)


def _area(rows: Predictions) -> float:
    order = np.argsort(-rows.probabilities.max(axis=1), kind="stable")
    right = (rows.labels == rows.predicted)[order]
    return float(np.mean([right[: i + 1].mean() for i in range(len(right))]))


@pytest.mark.parametrize(("n", "per"), [(57, 1), (30, 3)])
def test_each_coverage_equals_scikit_learn_on_the_rows_kept(n: int, per: int) -> None:
    rows = _people(n, per=per)
    found = abstention(rows, 20)
    assert [point["coverage"] for point in found["curve"]] == list(COVERAGES)
    for point in found["curve"]:
        kept = _most_confident(rows, point["coverage"])
        assert point["accuracy"]["value"] == pytest.approx(_accuracy(kept))
        balanced = oracle.balanced_accuracy_score(kept.labels, kept.predicted)
        assert point["balanced_accuracy"]["value"] == pytest.approx(balanced)
        assert point["n_people"] == kept.n_people
    assert found["area"]["value"] == pytest.approx(_area(rows))


def test_a_share_of_ten_people_is_a_whole_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [p["n_people"] for p in abstention(_people(10), 20)["curve"]] == [10, 9, 8, 7, 6, 5]
    monkeypatch.setattr("src.evaluation.analyses.abstention.COVERAGES", (1.0, 0.55))
    found = abstention(_people(100), 20)  # .55 x 100 is a little over 55 in floating point
    assert [point["n_people"] for point in found["curve"]] == [100, 55]


@pytest.mark.parametrize("per", [1, 3])
def test_intervals_equal_a_plain_loop_over_people(per: int) -> None:
    rows, n, b = _people(30, per=per), 30, 60
    loop: dict[str, list[float]] = {"area": [], "gain": [], "balanced": [], "accuracy": []}
    for counts in np.concatenate(list(resample_people(n, b, 7, b))):
        drawn = take_rows(
            rows, np.repeat(np.arange(len(rows.labels)), counts[rows.people].astype(int))
        )
        half = _most_confident(drawn, 0.5)
        loop["area"].append(_area(drawn))
        loop["gain"].append(_accuracy(half) - _accuracy(drawn))
        loop["accuracy"].append(_accuracy(half))
        if len(np.unique(half.labels)) == 3:
            balanced = oracle.balanced_accuracy_score(half.labels, half.predicted)
            loop["balanced"].append(balanced)
    found = abstention(rows, b, 7)
    half_point = found["curve"][-1]
    entries = {**found, "balanced": half_point["balanced_accuracy"]}
    if per > 1:
        entries["accuracy"] = half_point["accuracy"]
    for name in loop.keys() & entries.keys():
        expected = np.percentile(loop[name], [2.5, 97.5])
        found_ends = [entries[name]["low"], entries[name]["high"]]
        np.testing.assert_allclose(found_ends, expected, atol=1e-12, err_msg=name)


def test_accuracy_of_people_has_wilsons_interval() -> None:
    rows = _people(50)
    for point in abstention(rows, 20)["curve"]:
        kept = _most_confident(rows, point["coverage"])
        right = int((kept.labels == kept.predicted).sum())
        ends = (point["accuracy"]["low"], point["accuracy"]["high"])
        assert ends == pytest.approx(wilson(right, len(kept.labels)))


def test_no_error_in_several_rows_is_as_many_right_people() -> None:
    rows = take_rows(_known(True), np.repeat(np.arange(80), 3))
    point = abstention(rows, 20)["curve"][-1]
    assert point["n_people"] == 40
    assert (point["accuracy"]["value"], point["accuracy"]["low"]) == (1.0, wilson(40, 40)[0])


def test_equal_confidence_counts_in_part_whatever_the_order() -> None:
    """Half of 12: the 4 sure ones, and 2 of 8 equal ones of which 5 are right."""
    labels = np.array([0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1])
    logits = np.array([[9.0, 0.0]] * 4 + [[1.0, 0.0]] * 8)
    rows = Predictions(labels, logits, np.arange(12))
    expected = (3 + 2 * 5 / 8) / 6
    for order in (np.arange(12), np.arange(12)[::-1], np.r_[6:12, 0:6]):
        found = abstention(take_rows(rows, order), 20)
        assert found["curve"][-1]["accuracy"]["value"] == pytest.approx(expected)
        assert found["curve"][-1]["n_people"] == 6


def test_the_area_of_equal_confidence_is_the_mean_over_their_orders() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 0, 0, 1, 0, 0, 1, 0, 0])
    logits = np.stack([np.repeat([3.0, 2.0, 1.0], [2, 5, 3]), np.zeros(10)], axis=1)
    right = labels == 0
    areas = []
    for middle in itertools.permutations(range(2, 7)):
        for last in itertools.permutations(range(7, 10)):
            for first in ((0, 1), (1, 0)):
                order = [*first, *middle, *last]
                areas.append(np.mean(right[order].cumsum() / np.arange(1, 11)))
    rows = take_rows(Predictions(labels, logits, np.arange(10)), rng.permutation(10))
    assert abstention(rows, 20)["area"]["value"] == pytest.approx(np.mean(areas))


def test_confidence_tells_apart_what_rounds_to_one() -> None:
    """The wrong answers have log-odds of 40 and the right ones of 50: all round to p = 1."""
    labels = np.array([0] * 10 + [1] * 10)
    logits = np.where(labels == 0, 50.0, 40.0)[:, None] * np.array([1.0, 0.0])
    found = abstention(Predictions(labels, logits, np.arange(20)), 50)
    assert found["curve"][-1]["accuracy"]["value"] == 1.0


def _known(sure_are_right: bool) -> Predictions:
    """Of 80 people the sure half is always right, or always wrong, and the others are a toss."""
    labels = np.resize([0, 1], 80)
    said = labels.copy()
    said[:40] = said[:40] if sure_are_right else 1 - said[:40]
    said[40::4] = 1 - said[40::4]
    sure = np.where(np.arange(80) < 40, 5.0, 1.0) + np.linspace(0, 0.1, 80)
    return Predictions(labels, sure[:, None] * np.eye(2)[said], np.arange(80))


def test_the_sentence_follows_the_gain() -> None:
    raised, lowered = abstention(_known(True), 200), abstention(_known(False), 200)
    assert raised["gain"]["low"] > 0
    assert raised["sentence"].endswith("abstaining raises it.")
    assert "Accuracy is 1.000 on the more confident half" in raised["sentence"]
    assert lowered["gain"]["high"] < 0
    assert "abstaining lowers it" in lowered["sentence"]
    for seed, sign in ((1, 1), (4, -1)):  # guesses, whose gain is above zero and below it by chance
        noise = abstention(_people(60, signal=0.0, seed=seed), 200)
        assert sign * noise["gain"]["value"] > 0.05
        assert noise["sentence"].endswith("abstaining is not shown to raise it.")


def test_a_class_without_answers_has_no_balanced_accuracy() -> None:
    labels = np.array([0] * 20 + [1] * 20)
    logits = np.eye(2)[labels] * np.linspace(9, 1, 40)[:, None]
    found = abstention(Predictions(labels, logits, np.arange(40)), 50)
    assert found["curve"][-1]["balanced_accuracy"]["value"] is None
    assert found["curve"][0]["balanced_accuracy"]["value"] == 1.0
    assert [p["few_people"] for p in found["curve"]] == [False, False, False, True, True, True]
    json.dumps(found, allow_nan=False)


def test_under_ten_people_have_no_curve_however_many_rows() -> None:
    found = abstention(_people(9, per=5), 20)
    assert found == {"available": False, "reason": "9 people are scored; 10 are needed"}


def test_p_is_exact_for_two_right_orders() -> None:
    """Six people ranked perfectly: 1 of the 20 ways to deal out three labels does as well."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    logits = np.stack([np.zeros(6), np.arange(6.0)], axis=1)
    rows = Predictions(labels, logits, np.arange(6))
    found = permutation_test(rows, {"auc": METRICS["macro_auc"]}, 4000, 1)
    assert found["observed"] == {"auc": 1.0}
    assert found["p"]["auc"] == pytest.approx(1 / 20, abs=0.012)
    assert found["p"]["auc"] == (1 + sum(v >= 1 for v in found["null"]["auc"])) / 4001


@pytest.mark.slow
def test_p_agrees_with_scikit_learn() -> None:
    """A constant stands in for the model: both ask how often labels do as well by chance."""
    rng = np.random.default_rng(5)
    truth = np.resize([0, 1], 50)
    said = np.where(rng.random(50) < 0.62, truth, 1 - truth)

    class Fixed(DummyClassifier):
        def fit(self, X, y):
            self.classes_ = np.array([0, 1])
            return self

        def predict(self, X):
            return X[:, 0].astype(int)

    _, _, expected = permutation_test_score(
        Fixed(), said[:, None], truth, cv=[(np.arange(50), np.arange(50))], n_permutations=600
    )
    rows = Predictions(truth, np.eye(2)[said], np.arange(50))
    found = permutation_test(rows, {"accuracy": METRICS["accuracy"]}, 1500)["p"]["accuracy"]
    assert found == pytest.approx(expected, abs=0.04)
    assert 0.01 < found < 0.5


def test_a_good_model_has_the_smallest_p_whichever_way_is_good() -> None:
    found = permutation_test(_people(60, signal=3.0), METRICS, 99)
    assert set(found["p"]) == set(METRICS)
    assert {name: p for name, p in found["p"].items() if p != 0.01} == {}
    assert found["kind"] == "labels of scored people shuffled"
    assert found["n"] == 99
    assert {round(value, 4) for value in found["null"]["brier"]} == set(found["null"]["brier"])
    assert len(set(found["null"]["brier"])) > 90
    assert all(len(values) == 99 for values in found["null"].values())
    json.dumps(found, allow_nan=False)


def test_a_bad_model_has_a_large_p_whichever_way_is_good() -> None:
    found = permutation_test(_people(60, signal=-3.0), METRICS, 99)
    assert min(found["p"].values()) > 0.9


def test_rows_of_a_person_move_together() -> None:
    """Shuffled over rows, 20 copies of a person would make chance look rare."""
    once = _people(24, k=2, signal=0.6, seed=3)
    many = take_rows(once, np.repeat(np.arange(24), 20))
    a, b = (permutation_test(rows, METRICS, 300, 2) for rows in (once, many))
    assert a["p"] == b["p"]
    for name in METRICS:
        np.testing.assert_allclose(a["null"][name], b["null"][name], atol=1.1e-4)
    assert a["p"]["macro_auc"] > 0.02


def test_labels_are_dealt_out_in_the_same_numbers() -> None:
    """The metric counts: every shuffle keeps 10, 10 and 10 people of 3 rows."""
    rows = _people(30)
    rows = take_rows(rows, np.repeat(np.arange(30), 3))
    counts: list[list[int]] = []

    def count(sample):
        counts.append(np.bincount(sample.predictions.labels).tolist())
        people = sample.predictions.people
        assert all(len(np.unique(sample.predictions.labels[people == i])) == 1 for i in range(30))
        return np.array([(sample.predictions.labels == rows.labels).mean()])

    found = permutation_test(rows, {"same": count}, 20)
    assert counts == [[30, 30, 30]] * 21
    assert found["observed"]["same"] == 1.0
    assert max(found["null"]["same"]) < 1.0
    assert len(set(found["null"]["same"])) > 3


def test_what_is_undefined_has_no_p() -> None:
    rows = Predictions(
        np.zeros(12, int), np.random.default_rng(0).normal(size=(12, 2)), np.arange(12)
    )
    found = permutation_test(rows, {"macro_auc": METRICS["macro_auc"]}, 5)
    assert found["p"] == {"macro_auc": None}
    assert found["null"] == {"macro_auc": [None] * 5}
    assert found["observed"] == {"macro_auc": None}


def test_an_undefined_shuffle_counts_against_the_model() -> None:
    calls = itertools.count()
    found = permutation_test(
        _people(), {"sometimes": lambda sample: np.array([np.nan if next(calls) == 2 else 1.0])}, 9
    )
    assert found["p"]["sometimes"] == 1.0
    falling = itertools.count()
    found = permutation_test(
        _people(),
        {
            "falls": lambda sample: np.array(
                [[1.0, np.nan][i == 2] if (i := next(falling)) < 3 else 0]
            )
        },
        9,
    )
    assert found["p"]["falls"] == pytest.approx(3 / 10)  # itself, one equal, one undefined


def test_the_same_seed_gives_the_same_result() -> None:
    rows = _people()
    assert abstention(rows, 50, 3) == abstention(rows, 50, 3) != abstention(rows, 50, 4)
    runs = [permutation_test(rows, {"a": METRICS["brier"]}, 20, seed) for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]
