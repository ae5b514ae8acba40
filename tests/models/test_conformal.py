"""Prediction sets against MAPIE and a plain loop, and their promise on exchangeable people."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from src.errors import CheckpointError
from src.evaluation.analyses.prediction_sets import score_sets
from src.evaluation.metrics.intervals import resample_people, wilson
from src.models.conformal import (
    LEVELS,
    Conformal,
    estimable,
    fit_conformal,
    people_needed,
    prediction_sets,
)
from src.predictions import Predictions, take_rows

NAMES = ("NonDemented", "VeryMildDemented", "MildOrWorse")


class Probabilities(ClassifierMixin, BaseEstimator):
    """A "model" whose features are its probabilities."""

    def fit(self, x: Any, y: Any = None) -> Probabilities:
        self.classes_ = np.arange(x.shape[1])
        self.fitted_ = True
        return self

    def predict_proba(self, x: Any) -> Any:
        return x

    def predict(self, x: Any) -> Any:
        return x.argmax(axis=1)


def people(counts: tuple[int, ...], seed: int = 0, per: int = 1, pull: float = 1.2) -> Predictions:
    """`counts` people of each class with noisy logits, `per` rows each, in random order."""
    rng = np.random.default_rng([seed, len(counts)])
    label = np.repeat(np.arange(len(counts)), counts)
    labels = np.repeat(label, per)
    logits = rng.normal(size=(len(labels), len(counts))) + pull * np.eye(len(counts))[labels]
    subjects = np.repeat([f"S{i:04d}" for i in range(len(label))], per)
    order = rng.permutation(len(labels))
    return Predictions(labels[order], logits[order], subjects[order])


def sets_of(conformal: Conformal, rows: Predictions) -> tuple[dict, dict]:
    return (
        {level: prediction_sets(conformal, rows, level) for level in LEVELS},
        {level: estimable(conformal, level) for level in LEVELS},
    )


@pytest.mark.filterwarnings("ignore:WARNING. your conformalization dataset has less labels")
@pytest.mark.parametrize("k", [2, 3, 4])
def test_sets_agree_with_mapie_class_by_class(k: int) -> None:
    """MAPIE's split-conformal "lac" sets, conformalised on one class at a time."""
    validation = people((60, 41, 29, 25)[:k], seed=1)
    test = people((50, 40, 30, 20)[:k], seed=2)
    conformal = fit_conformal(validation)
    model = Probabilities().fit(validation.probabilities)
    found = np.stack([prediction_sets(conformal, test, level) for level in LEVELS], axis=2)
    for c in range(k):
        own = validation.labels == c
        oracle = SplitConformalClassifier(
            model, confidence_level=list(LEVELS), conformity_score="lac", prefit=True
        )
        oracle.conformalize(validation.probabilities[own], validation.labels[own])
        expected = oracle.predict_set(test.probabilities)[1][:, c]
        np.testing.assert_array_equal(found[:, c], expected)
    assert 0.1 < found.mean() < 0.95


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [4, 9, 19, 20, 39, 59, 199])
def test_the_threshold_is_the_published_order_statistic(level: float, n: int) -> None:
    """The ceil((n + 1) level)-th smallest score, counted in exact fractions."""
    scores = tuple(np.sort(np.random.default_rng(n).random(n)).tolist())
    rank = math.ceil((n + 1) * Fraction(str(level)))
    conformal = Conformal((scores, ()))
    p = np.linspace(1e-3, 1 - 1e-3, 501)
    rows = Predictions(
        np.zeros(501, int), np.stack([np.log(p), np.log(1 - p)], axis=1), np.arange(501)
    )
    found = prediction_sets(conformal, rows, level)
    expected = [rank > n or 1 - value <= sorted(scores)[rank - 1] for value in p]
    assert found[:, 0].tolist() == expected
    assert found[:, 1].all()
    assert estimable(conformal, level) == [rank <= n, False]


def test_a_person_as_surprising_as_the_threshold_is_held() -> None:
    validation = people((9, 9), seed=4)
    held = prediction_sets(fit_conformal(validation), validation, 0.8)
    for c in (0, 1):  # 8 of 9 have at most the eighth smallest score
        assert held[validation.labels == c, c].sum() == 8


@pytest.mark.parametrize(("level", "n"), [(0.8, 4), (0.9, 9), (0.95, 19), (0.5, 1), (0.99, 99)])
def test_people_needed_are_just_enough(level: float, n: int) -> None:
    assert people_needed(level) == n
    scores = tuple([0.5] * n)
    assert estimable(Conformal((scores, scores[1:])), level) == [True, False]


@pytest.mark.parametrize("counts", [(19, 19, 19), (45, 23, 20), (12, 9, 7)])
def test_every_class_is_covered_as_promised(counts: tuple[int, ...]) -> None:
    """Mean coverage over 300 validation samples: from the level to 1/(n + 1) above it."""
    test = people((400, 400, 400), seed=77)
    covered = {level: np.zeros((300, 3)) for level in LEVELS}
    for seed in range(300):
        conformal = fit_conformal(people(counts, seed=1000 + seed))
        for level in LEVELS:
            held = prediction_sets(conformal, test, level)
            right = held[np.arange(1200), test.labels]
            covered[level][seed] = [right[test.labels == c].mean() for c in range(3)]
    for level in LEVELS:
        mean = covered[level].mean(axis=0)
        assert (mean >= level - 0.02).all(), (level, mean)
        for c, n in enumerate(counts):
            if n < people_needed(level):
                assert mean[c] == 1.0
            else:
                assert mean[c] <= level + 1 / (n + 1) + 0.02, (level, c, mean)


def test_rare_classes_are_covered_where_common_thresholds_fail() -> None:
    """A model that hardly believes in the third class: it still is in the sets of its people."""

    def doubtful(counts: tuple[int, ...], seed: int) -> Predictions:
        rows = people(counts, seed)
        return Predictions(rows.labels, rows.logits - [0, 0, 3.0], rows.subjects)

    held, rows = [], doubtful((300, 300, 300), 5)
    for seed in range(40):
        held.append(prediction_sets(fit_conformal(doubtful((99, 99, 29), 100 + seed)), rows, 0.9))
    third = rows.labels == 2
    assert np.mean([sets[third, 2].mean() for sets in held]) == pytest.approx(0.9, abs=0.03)
    assert (rows.predicted[third] == 2).mean() < 0.3


def test_higher_levels_hold_more() -> None:
    validation, test = people((60, 50, 40), seed=1), people((50, 50, 50), seed=2)
    sets, _ = sets_of(fit_conformal(validation), test)
    assert (sets[0.80] <= sets[0.90]).all()
    assert (sets[0.90] <= sets[0.95]).all()
    assert sets[0.80].sum() < sets[0.90].sum() < sets[0.95].sum()


def test_a_persons_score_is_of_the_mean_probability() -> None:
    p = np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5], [0.2, 0.8]])
    rows = Predictions(np.array([0, 1, 0, 1]), np.log(p), np.array(["a", "b", "a", "c"]))
    scores = fit_conformal(rows).scores
    assert scores[0] == pytest.approx((0.3,))  # 1 - (0.9 + 0.5) / 2
    assert scores[1] == pytest.approx((0.2, 0.3))


def test_scores_are_sorted_people_of_their_class() -> None:
    rows = people((7, 5, 3), per=4)
    scores = fit_conformal(rows).scores
    assert [len(own) for own in scores] == [7, 5, 3]
    for c, own in enumerate(scores):
        assert list(own) == sorted(own)
        names = np.unique(rows.subjects[rows.labels == c])
        loop = [1 - rows.probabilities[rows.subjects == name, c].mean() for name in names]
        assert own == pytest.approx(tuple(sorted(loop)))


@pytest.mark.parametrize("level", [0.0, 1.0, 1.2, -0.1])
def test_a_level_that_is_no_share_is_refused(level: float) -> None:
    rows = people((9, 9))
    with pytest.raises(ValueError, match="not between 0 and 1"):
        prediction_sets(fit_conformal(rows), rows, level)


def test_scores_of_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="scores of 2 classes for predictions of 3"):
        prediction_sets(fit_conformal(people((9, 9))), people((9, 9, 9)), 0.9)


def test_stored_scores_come_back_and_make_the_same_sets() -> None:
    validation, test = people((40, 30, 0), seed=1), people((20, 20, 20), seed=2)
    conformal = fit_conformal(validation)
    back = Conformal.from_dict(json.loads(json.dumps(conformal.to_dict(), allow_nan=False)), 3)
    assert back == conformal
    assert back.scores[2] == ()
    np.testing.assert_array_equal(
        prediction_sets(back, test, 0.9), prediction_sets(conformal, test, 0.9)
    )


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "scores",
        {},
        {"scores": None},
        {"scores": "ab"},
        {"scores": {"0": [], "1": []}},
        {"scores": [[0.1]]},
        {"scores": [[0.1], [0.2], [0.3]]},
        {"scores": [[0.1], 0.2]},
        {"scores": [[0.1], None]},
        {"scores": [[0.1], "0.2"]},
        {"scores": [[0.1], ["0.2"]]},
        {"scores": [[0.1], [True]]},
        {"scores": [[0.1], [float("nan")]]},
        {"scores": [[0.1], [0.1, float("inf")]]},
        {"scores": [[-0.1], [0.2]]},
        {"scores": [[0.1], [1.1]]},
        {"scores": [[0.3, 0.2], [0.2]]},
        {"scores": [[0.1], [0.2]], "extra": 1},
    ],
)
def test_damaged_scores_are_refused_by_name(content: Any) -> None:
    with pytest.raises(CheckpointError, match="stored conformal scores are damaged") as caught:
        Conformal.from_dict(content, 2)
    assert caught.value.hint


def _scored(per: int = 1, seed: int = 3) -> tuple[Predictions, dict, dict[str, Any]]:
    conformal = fit_conformal(people((40, 25, 15), seed=1, pull=3.0))
    rows = people((30, 20, 12), seed=seed, per=per, pull=3.0)
    sets, enough = sets_of(conformal, rows)
    result = score_sets(sets, enough, rows, NAMES, 200, 0)
    json.dumps(result, allow_nan=False)
    return rows, sets, result


@pytest.mark.parametrize("per", [1, 3])
def test_scores_of_sets_are_counted_as_by_hand(per: int) -> None:
    rows, sets, result = _scored(per)
    assert result["available"]
    assert list(result["levels"]) == ["0.80", "0.90", "0.95"]
    for level, found in zip(LEVELS, result["levels"].values(), strict=True):
        chosen = [set(np.flatnonzero(row)) for row in sets[level]]
        right = [truth in own for truth, own in zip(rows.labels, chosen, strict=True)]
        assert found["coverage"]["value"] == pytest.approx(np.mean(right))
        assert found["mean_size"]["value"] == pytest.approx(np.mean([len(own) for own in chosen]))
        singletons = np.mean([len(own) == 1 for own in chosen])
        assert found["singletons"]["value"] == pytest.approx(singletons)
        assert found["empty"] == sum(not own for own in chosen)
        for c, name in enumerate(NAMES):
            entry = found["per_class"][name]
            assert entry["n_people"] == (30, 20, 12)[c]
            if entry["available"]:
                share = np.mean([hit for hit, y in zip(right, rows.labels, strict=True) if y == c])
                assert entry["coverage"]["value"] == pytest.approx(share)
                assert entry["coverage"]["low"] < share <= entry["coverage"]["high"]
    assert result["levels"]["0.80"]["empty"] > 0


def test_shares_of_people_have_wilsons_interval() -> None:
    rows, sets, result = _scored()
    held, found = sets[0.90], result["levels"]["0.90"]
    right = held[np.arange(62), rows.labels]
    for share, interval in (
        (right, found["coverage"]),
        (held.sum(axis=1) == 1, found["singletons"]),
        (right[rows.labels == 1], found["per_class"]["VeryMildDemented"]["coverage"]),
    ):
        assert (interval["low"], interval["high"]) == wilson(int(share.sum()), len(share))


@pytest.mark.parametrize("per", [1, 3])
def test_other_intervals_equal_a_plain_loop_over_people(per: int) -> None:
    rows, sets, result = _scored(per)
    held, found = sets[0.90], result["levels"]["0.90"]
    right = held[np.arange(len(held)), rows.labels]
    loop: dict[str, list[float]] = {"size": [], "coverage": [], "mild": []}
    for counts in np.concatenate(list(resample_people(62, 200, 0, 200))):
        drawn = [np.tile(np.flatnonzero(rows.people == i), int(c)) for i, c in enumerate(counts)]
        index = np.concatenate(drawn).astype(int)
        loop["size"].append(held[index].sum(axis=1).mean())
        loop["coverage"].append(right[index].mean())
        loop["mild"].append(right[index][rows.labels[index] == 1].mean())
    compared = {"size": found["mean_size"]}
    if per > 1:
        compared["coverage"] = found["coverage"]
        compared["mild"] = found["per_class"]["VeryMildDemented"]["coverage"]
    for name, interval in compared.items():
        ends = np.percentile(loop[name], [2.5, 97.5])
        assert (interval["low"], interval["high"]) == pytest.approx(tuple(ends))


def test_rows_of_one_person_narrow_nothing_when_repeated() -> None:
    rows, sets, _ = _scored()
    often = np.repeat(np.arange(62), 8)
    enough = {level: [True] * 3 for level in LEVELS}
    many = score_sets(
        {level: held[often] for level, held in sets.items()},
        enough, take_rows(rows, often), NAMES, 2000, 0,
    )["levels"]["0.90"]  # fmt: skip
    once = score_sets(sets, enough, rows, NAMES, 2000, 0)["levels"]["0.90"]
    assert many["mean_size"] == pytest.approx(once["mean_size"])
    for end in ("low", "high"):  # the bootstrap's against Wilson's
        assert many["coverage"][end] == pytest.approx(once["coverage"][end], abs=0.04)


def test_full_coverage_in_several_rows_of_few_people_is_no_certainty() -> None:
    rows = people((15, 12, 10), per=6)
    sets = {0.9: np.ones((len(rows.labels), 3), dtype=bool)}
    found = score_sets(sets, {0.9: [True] * 3}, rows, NAMES, 100, 0)["levels"]["0.90"]
    coverage = found["per_class"]["MildOrWorse"]["coverage"]
    assert (coverage["value"], coverage["low"]) == (1.0, wilson(10, 10)[0])
    assert found["coverage"]["low"] == wilson(37, 37)[0]
    assert found["singletons"] == pytest.approx(
        {"value": 0.0, "low": 0.0, "high": wilson(0, 37)[1]}
    )


def test_a_class_with_too_few_validation_people_says_how_many_are_needed() -> None:
    levels = _scored()[2]["levels"]
    assert levels["0.90"]["per_class"]["MildOrWorse"]["available"]
    few = levels["0.95"]["per_class"]["MildOrWorse"]
    assert few["available"] is False
    assert few["reason"].startswith("19 validation people of the class are needed at 95 %")
    assert few["n_people"] == 12
    assert "coverage" not in few


def test_a_class_with_few_scored_people_has_no_coverage() -> None:
    rows = people((30, 20, 9), seed=3)
    sets, enough = sets_of(fit_conformal(people((40, 40, 40), seed=1)), rows)
    found = score_sets(sets, enough, rows, NAMES, 100, 0)["levels"]["0.80"]["per_class"]
    assert found["MildOrWorse"]["available"] is False
    assert "under 10 people" in found["MildOrWorse"]["reason"]
    assert (found["MildOrWorse"]["n_people"], found["MildOrWorse"]["few_people"]) == (9, True)
    assert found["VeryMildDemented"]["available"]
    rows = take_rows(rows, np.flatnonzero(rows.labels != 2))
    sets, enough = sets_of(fit_conformal(people((40, 40, 40), seed=1)), rows)
    absent = score_sets(sets, enough, rows, NAMES, 100, 0)["levels"]["0.80"]["per_class"]
    assert absent["MildOrWorse"]["n_people"] == 0
    json.dumps(absent, allow_nan=False)


def test_nothing_is_scored_where_nothing_can_be_told() -> None:
    rows = people((4, 3, 2))
    sets, enough = sets_of(fit_conformal(people((40, 40, 40))), rows)
    found = score_sets(sets, enough, rows, NAMES, 100, 0)
    assert (found["available"], found["n_people"]) == (False, 9)
    rows = people((20, 20, 20))
    sets, enough = sets_of(fit_conformal(people((3, 3, 3))), rows)
    assert all(held.all() for held in sets.values())
    found = score_sets(sets, enough, rows, NAMES, 100, 0)
    assert found["available"] is False
    assert "4 or more are needed at 80 %" in found["reason"]


def test_sets_that_do_not_fit_the_rows_are_refused() -> None:
    rows = people((20, 20, 20))
    sets, enough = sets_of(fit_conformal(rows), rows)
    with pytest.raises(ValueError, match=r"sets are not \(60, 2\)"):
        score_sets(sets, enough, rows, NAMES[:2])
    with pytest.raises(ValueError, match="at every level"):
        score_sets(sets, {0.9: [True] * 3}, rows, NAMES)


def test_the_same_seed_gives_the_same_intervals() -> None:
    rows, sets, _ = _scored()
    enough = {level: [True] * 3 for level in LEVELS}
    a, b, c = (score_sets(sets, enough, rows, NAMES, 100, seed) for seed in (1, 1, 2))
    assert a == b != c
