"""Scores against scikit-learn and scipy, and the bootstrap against a plain loop over people."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as oracle

from src.evaluation.metrics.intervals import resample_people, wilson
from src.evaluation.metrics.scores import METRICS, PER_CLASS, format_table, score
from src.predictions import FEW_PEOPLE, Predictions, Weighted, per_person, unweighted
from src.report.titles import TITLES

NAMES = ("NonDemented", "VeryMildDemented", "MildDemented", "ModerateDemented")


def _predictions(k: int, n_people: int = 40, per: int = 3, seed: int = 0, coarse: bool = False):
    """Noisy logits of people with `per` rows each; `coarse` rounds them, which makes ties."""
    rng = np.random.default_rng(seed)
    label = np.resize(np.arange(k), n_people)
    rng.shuffle(label)
    labels = np.repeat(label, per)
    logits = rng.normal(size=(len(labels), k)) + 0.8 * np.eye(k)[labels]
    subjects = np.repeat([f"S{i:03d}" for i in range(n_people)], per)
    order = rng.permutation(len(labels))  # rows of a person need not stand together
    return Predictions(
        labels[order], (logits.round() if coarse else logits)[order], subjects[order]
    )


def _oracle(rows: Predictions, k: int) -> dict[str, float]:
    """Every metric of METRICS from scikit-learn, on rows that hold every class."""
    truth, said, p = rows.labels, rows.predicted, rows.probabilities
    one_hot = np.eye(k)[truth]
    auc = [oracle.roc_auc_score(one_hot[:, c], p[:, c].round(12)) for c in range(k)]
    return {
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, said),
        "macro_auc": float(np.mean(auc)),
        "auc_demented": oracle.roc_auc_score(truth > 0, (1 - p[:, 0]).round(12)),
        "quadratic_kappa": oracle.cohen_kappa_score(truth, said, weights="quadratic"),
        "macro_f1": oracle.f1_score(truth, said, average="macro", zero_division=0),
        "accuracy": oracle.accuracy_score(truth, said),
        "within_one": float(np.mean(np.abs(truth - said) <= 1)),
        "mae_stages": oracle.mean_absolute_error(truth, said),
        "brier": float(np.mean(((p - one_hot) ** 2).sum(axis=1))),
        "log_loss": oracle.log_loss(truth, p, labels=range(k)),
    }


def _take(rows: Predictions, index: np.ndarray) -> Predictions:
    return Predictions(rows.labels[index], rows.logits[index], rows.subjects[index])


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("coarse", [False, True])
def test_every_metric_agrees_with_scikit_learn(k: int, coarse: bool) -> None:
    rows = _predictions(k, coarse=coarse)
    expected = _oracle(rows, k)
    assert set(expected) == set(METRICS)
    for name, metric in METRICS.items():
        assert metric(unweighted(rows))[0] == pytest.approx(expected[name], abs=1e-12), name


@pytest.mark.parametrize("k", [2, 3, 4])
def test_every_class_agrees_with_scikit_learn(k: int) -> None:
    rows = _predictions(k, coarse=True)
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(rows.labels, rows.predicted)
    p = rows.probabilities.round(12)
    auc = [oracle.roc_auc_score(rows.labels == c, p[:, c]) for c in range(k)]
    expected = {"recall": recall, "precision": precision, "f1": f1, "auc": auc}
    for name, metric in PER_CLASS.items():
        np.testing.assert_allclose(metric(unweighted(rows))[0], expected[name], err_msg=name)


def test_two_classes_have_one_auc() -> None:
    auc = unweighted(_predictions(2)).auc[0]
    assert auc[0] == auc[1]


def test_auc_ranks_people_whose_probabilities_round_to_one() -> None:
    logits = np.array([[0.0, 50.0], [0.0, 60.0], [0.0, 70.0], [0.0, 80.0]])
    rows = Predictions(np.array([0, 0, 1, 1]), logits, np.arange(4))
    assert unweighted(rows).auc[0, 1] == 1.0


@pytest.mark.parametrize("name", [*METRICS, *PER_CLASS])
def test_a_weight_equals_repeated_rows(name: str) -> None:
    rows = _predictions(3, coarse=True)
    weights = np.random.default_rng(1).integers(0, 4, size=(5, len(rows.labels)))
    metric = {**METRICS, **PER_CLASS}[name]
    together = metric(Weighted(rows, weights.astype(float)))
    for b, weight in enumerate(weights):
        repeated = _take(rows, np.repeat(np.arange(len(weight)), weight))
        np.testing.assert_allclose(together[b], metric(unweighted(repeated))[0], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("per", [1, 3])
def test_intervals_equal_a_plain_loop_over_people(per: int) -> None:
    rows, n, b = _predictions(3, n_people=30, per=per), 30, 60
    drawn = np.concatenate(list(resample_people(n, b, 7, b)))
    loop: dict[str, list[float]] = {name: [] for name in METRICS}
    for counts in drawn:
        index = np.concatenate(
            [np.tile(np.flatnonzero(rows.people == i), int(c)) for i, c in enumerate(counts)]
        ).astype(int)
        for name, value in _oracle(_take(rows, index), 3).items():
            loop[name].append(value)
    found = score(rows, NAMES[:3], [1, 1, 1], b, 7)["metrics"]
    for name in METRICS if per > 1 else set(METRICS) - {"accuracy", "within_one"}:
        expected = np.percentile(loop[name], [2.5, 97.5])
        np.testing.assert_allclose([found[name]["low"], found[name]["high"]], expected, atol=1e-9)


def test_a_resample_draws_as_many_people_as_there_are() -> None:
    blocks = list(resample_people(17, 50, 0, 20))
    assert [block.shape for block in blocks] == [(20, 17), (20, 17), (10, 17)]
    assert (np.concatenate(blocks).sum(axis=1) == 17).all()


def test_rows_of_one_person_widen_nothing_when_repeated() -> None:
    once, rows = _predictions(3, per=1), _predictions(3, per=1)
    many = _take(rows, np.repeat(np.arange(len(rows.labels)), 20))
    name = "balanced_accuracy"
    a, b = (score(p, NAMES[:3], [1, 1, 1], 300, 0)["metrics"][name] for p in (once, many))
    assert b == pytest.approx(a)


def test_a_95_percent_interval_covers_the_truth() -> None:
    """The balanced accuracy of these logits in a large sample, against 60 small ones."""
    truth = METRICS["balanced_accuracy"](unweighted(_predictions(3, 30_000, 1, 99)))[0]
    hits = 0
    for seed in range(60):
        found = score(_predictions(3, 90, 1, seed), NAMES[:3], [1, 1, 1], 300, seed)
        interval = found["metrics"]["balanced_accuracy"]
        hits += interval["low"] <= truth <= interval["high"]
    assert 52 <= hits <= 60  # 57 expected; fewer than 52 has a probability under 2 %


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 4), (32, 47), (0, 30), (30, 30)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_accuracy_and_recall_of_people_have_wilsons_interval() -> None:
    rows = per_person(_predictions(3, n_people=45))
    found = score(rows, NAMES[:3], [1, 1, 1], 100, 0)
    right = int((rows.labels == rows.predicted).sum())
    accuracy = found["metrics"]["accuracy"]
    assert (accuracy["low"], accuracy["high"]) == wilson(right, 45)
    recall = found["per_class"]["MildDemented"]["recall"]
    assert (recall["low"], recall["high"]) == wilson(found["confusion"][2][2], 15)


def test_a_person_counts_with_the_mean_logit_and_the_first_label() -> None:
    rows = Predictions(
        labels=np.array([1, 0, 2]),
        logits=np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 4.0, 6.0]]),
        subjects=np.array(["b", "a", "b"]),
    )
    people = per_person(rows)
    assert people.subjects.tolist() == ["b", "a"]
    assert people.labels.tolist() == [1, 0]
    assert people.logits.tolist() == [[0.0, 3.0, 3.0], [1.0, 0.0, 0.0]]


def test_a_class_with_few_people_is_counted_but_not_estimated() -> None:
    labels = np.array([0] * 20 + [1] * 18 + [2] * 2)
    rows = Predictions(labels, 3 * np.eye(3)[labels], np.arange(40))
    found = score(rows, NAMES[:3], [20, 18, 2], 100, 0)["per_class"]
    few = found["MildDemented"]
    assert few["few_people"]
    assert few["note"] == "2 of 2 people; under 10: not estimable"
    assert [few[name]["value"] for name in ("precision", "f1", "auc")] == [None] * 3
    assert few["recall"]["low"] < 0.4  # Wilson; the bootstrap would say 1 to 1
    assert not found["NonDemented"]["few_people"]
    assert found["NonDemented"]["auc"]["value"] == 1.0


def test_auc_against_few_others_is_not_estimated() -> None:
    labels = np.array([0] * 30 + [1] * (FEW_PEOPLE - 1))
    rows = Predictions(labels, np.eye(2)[labels], np.arange(len(labels)))
    found = score(rows, ("NonDemented", "Demented"), [1, 1], 100, 0)["per_class"]["NonDemented"]
    assert found["auc"]["value"] is None
    assert found["recall"]["value"] == 1.0


def test_slices_of_few_people_have_no_interval_at_all() -> None:
    rows = _predictions(2, n_people=8, per=30)
    found = score(rows, ("NonDemented", "Demented"), [1, 1], 100, 0)["per_class"]["Demented"]
    assert found["recall"] == {"value": None, "low": None, "high": None}
    assert "of 120 images of 4 people" in found["note"]


def test_an_absent_class_is_undefined_and_averages_leave_it_out() -> None:
    full = _predictions(4, n_people=60)
    rows = _take(full, np.flatnonzero(full.labels != 3))
    found = score(rows, NAMES, [3, 2, 1, 1], 100, 0)
    absent = found["per_class"]["ModerateDemented"]
    assert absent["note"] == "no people in test"
    assert absent["n_people"] == absent["n_rows"] == 0
    assert all(absent[name]["value"] is None for name in PER_CLASS)
    recall = oracle.recall_score(rows.labels, rows.predicted, labels=range(3), average="macro")
    assert found["metrics"]["balanced_accuracy"]["value"] == pytest.approx(recall)
    json.dumps(found, allow_nan=False)


def test_a_resample_that_misses_a_class_is_left_out() -> None:
    """Else the average of the other classes would widen the interval: here to above 1/3."""
    labels = np.array([0] * 20 + [1] * 20 + [2])
    rows = Predictions(labels, np.tile([1.0, 0, 0], (41, 1)), np.arange(41))
    found = score(rows, NAMES[:3], [1, 0, 0], 300, 0)["metrics"]["balanced_accuracy"]
    assert [found[end] for end in ("value", "low", "high")] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("per", [1, 5])
def test_one_person_has_no_interval_from_resampling(per: int) -> None:
    rows = _predictions(3, n_people=1, per=per)
    found = score(rows, NAMES[:3], [1, 1, 1], 100, 0)
    assert found["metrics"]["log_loss"]["low"] is None
    assert found["metrics"]["macro_auc"]["value"] is None
    json.dumps(found, allow_nan=False)
    assert "1 person" in format_table(found, NAMES[:3])


def test_the_majority_comes_from_training_and_is_scored_on_the_test_people() -> None:
    labels = np.array([0] * 12 + [1] * 20 + [2] * 16)
    rows = Predictions(labels, np.eye(3)[labels], np.arange(48))
    majority = score(rows, NAMES[:3], [5, 9, 70], 100, 0)["majority"]
    assert majority["class"] == "MildDemented"
    assert majority["accuracy"]["value"] == pytest.approx(16 / 48)
    assert (majority["accuracy"]["low"], majority["accuracy"]["high"]) == wilson(16, 48)
    assert majority["balanced_accuracy"]["value"] == pytest.approx(1 / 3)


def test_the_same_seed_gives_the_same_result() -> None:
    rows = _predictions(3)
    results = [score(rows, NAMES[:3], [1, 1, 1], 200, seed)["metrics"] for seed in (3, 3, 4)]
    assert results[0] == results[1] != results[2]


def test_an_added_metric_is_scored_and_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "error_rate", lambda sample: 1 - METRICS["accuracy"](sample))
    found = score(_predictions(3), NAMES[:3], [1, 1, 1], 100, 0)
    entry = found["metrics"]["error_rate"]
    assert entry["low"] < entry["value"] < entry["high"]
    assert "error_rate" in format_table(found, NAMES[:3])


def test_every_metric_has_one_title() -> None:
    assert set(TITLES) == set(METRICS)
    assert len(set(TITLES.values())) == len(TITLES)


def test_the_table_says_counts_intervals_and_what_cannot_be_estimated() -> None:
    labels = np.array([0] * 20 + [1] * 18 + [2] * 4)
    logits = 3 * np.eye(3)[labels]
    logits[-1] = [3, 0, 0]
    found = score(Predictions(labels, logits, np.arange(42)), NAMES[:3], [20, 18, 2], 100, 0)
    table = format_table(found, NAMES[:3])
    assert table.startswith("scored on 42 people, with 95 % intervals\n")
    assert "recall 3/4 (30-95 %), 4 people, too few: AUC not estimable" in table
    assert "always NonDemented" in table
    columns = {line.index("(") for line in table.splitlines()[1:10]}
    assert len(columns) == 1  # aligned


def test_within_one_stage_is_not_printed_for_two_classes() -> None:
    found = score(_predictions(2), ("NonDemented", "Demented"), [1, 1], 100, 0)
    assert "within_one" not in format_table(found, ("NonDemented", "Demented"))


def test_trainer_scores_agree_with_scikit_learn() -> None:
    rows = _predictions(4)
    found = rows.balanced_accuracy
    assert found == pytest.approx(oracle.balanced_accuracy_score(rows.labels, rows.predicted))
    expected = oracle.log_loss(rows.labels, rows.probabilities, labels=range(4))
    assert rows.log_loss == pytest.approx(expected)


def test_log_loss_of_huge_logits_is_finite() -> None:
    assert Predictions([0], [[0.0, 2000.0]], ["a"]).log_loss == 2000.0


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        ([0, 2], [[0, 0], [0, 0]], "not in 0 to 1"),
        ([0, -1], [[0, 0], [0, 0]], "not in 0 to 1"),
        ([0, 1], [[0, np.nan], [0, 0]], "not finite in 1 of 2 rows"),
        ([0], [[0, 0], [0, 0]], "with n > 0"),
        ([], np.zeros((0, 2)), "with n > 0"),
    ],
)
def test_impossible_predictions_are_refused(labels: list, logits: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Predictions(np.array(labels), np.array(logits), np.arange(len(labels)))


def test_counts_of_another_scheme_are_refused() -> None:
    with pytest.raises(ValueError, match="3 classes and 4 counts for 3 logits"):
        score(_predictions(3), NAMES[:3], [1, 1, 1, 1], 100, 0)


@pytest.mark.slow
def test_many_rows_are_resampled_in_little_memory() -> None:
    """6,400 slices of 200 people: the weights of all resamples at once would be 50 MB each."""
    import tracemalloc

    rows = _predictions(4, n_people=200, per=32)
    tracemalloc.start()
    score(rows, NAMES, [1, 1, 1, 1], 1000, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
