"""Comparisons against loops over pairs, scikit-learn, statsmodels and published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import make_moons
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC
from statsmodels.stats.contingency_tables import mcnemar as oracle_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from src.evaluation.metrics.intervals import resample_people
from src.evaluation.metrics.scores import METRICS
from src.evaluation.metrics.significance import (
    MOST_PEOPLE,
    corrected_interval,
    delong,
    delong_interval,
    holm,
    mcnemar,
    nadeau_bengio,
    paired_bootstrap,
    people_needed,
)
from src.predictions import Predictions, Weighted, take_rows, unweighted

pytestmark = pytest.mark.filterwarnings("error")


def _scores(n_positive: int = 17, n_negative: int = 29, seed: int = 0, digits: int = 1):
    """Labels and two correlated scores, with ties where `digits` is small."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [n_positive, n_negative]))
    common = rng.normal(size=len(labels)) + labels
    a = common + rng.normal(size=len(labels))
    return labels, a.round(digits), (common + 2 * rng.normal(size=len(labels))).round(digits)


def _placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The structural components of DeLong et al. (1988), eq. 4, by all pairs of people."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    psi = np.array([[(x > y) + (x == y) / 2 for y in negative] for x in positive], dtype=float)
    return psi.mean(axis=1), psi.mean(axis=0)


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_delong_agrees_with_a_loop_over_all_pairs(digits: int) -> None:
    labels, a, b = _scores(digits=digits)
    found = delong(labels, a, b)
    (a10, a01), (b10, b01) = _placements(labels, a), _placements(labels, b)
    covariance = np.cov(a10, b10) / len(a10) + np.cov(a01, b01) / len(a01)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    z = (a10.mean() - b10.mean()) / error
    assert found["z"] == pytest.approx(z)
    assert found["p"] == pytest.approx(2 * norm.sf(abs(z)))
    difference = a10.mean() - b10.mean()
    ends = [difference - 1.959964 * error, difference + 1.959964 * error]
    assert [found["difference"][end] for end in ("low", "high")] == pytest.approx(ends, rel=1e-6)
    for name, score, variance in (("auc_a", a, covariance[0, 0]), ("auc_b", b, covariance[1, 1])):
        auc = roc_auc_score(labels, score)
        assert found[name]["value"] == pytest.approx(auc)
        assert found[name]["low"] == pytest.approx(auc - 1.959964 * np.sqrt(variance), rel=1e-6)
        assert found[name] == delong_interval(labels, score)


def test_delong_interval_gives_the_published_one() -> None:
    """WFNS grade and outcome of 113 people: AUC 0.8237 (0.7485-0.8988), as pROC prints it.

    Source: Turck et al. (2010), doi:10.1007/s00134-009-1641-y; Robin et al. (2011),
    doi:10.1186/1471-2105-12-77.
    """
    good, poor = (37, 20, 3, 8, 4), (2, 12, 1, 8, 18)
    grade = np.repeat(np.tile(np.arange(1, 6), 2), [*good, *poor])
    found = delong_interval(np.repeat([0, 1], [sum(good), sum(poor)]), grade)
    ends = [found[end] for end in ("value", "low", "high")]
    assert ends == pytest.approx([0.8236789, 0.7485, 0.8988], abs=5e-5)


def test_delong_is_signed_and_ignores_the_scale() -> None:
    labels, a, b = _scores(digits=3)
    one, other = delong(labels, a, b), delong(labels, b, np.exp(3 * a))
    assert one["z"] == pytest.approx(-other["z"])
    assert one["difference"]["low"] == pytest.approx(-other["difference"]["high"])
    assert one["p"] == pytest.approx(other["p"])


def test_equal_scores_are_not_told_apart() -> None:
    labels, a, _ = _scores()
    found = delong(labels, a, 2 * a + 1)
    assert found["difference"] == {"value": 0.0, "low": None, "high": None}
    assert (found["z"], found["p"]) == (None, 1.0)


def test_perfect_separation_has_no_interval() -> None:
    labels, a, _ = _scores()
    perfect = delong(labels, labels, labels - 0.5)
    assert perfect["auc_a"] == {"value": 1.0, "low": None, "high": None}
    assert perfect["p"] == 1.0
    reversed_ = delong(labels, labels, -labels)
    assert reversed_["difference"]["value"] == 1.0
    assert reversed_["p"] is None  # no variance, and yet a difference
    against = delong(labels, labels, a)
    assert (
        against["difference"]["low"]
        < against["difference"]["value"]
        == 1 - roc_auc_score(labels, a)
    )


def test_an_auc_interval_ends_at_one() -> None:
    labels = np.repeat([0, 1], 12)
    score = np.arange(24.0)
    score[0] = 13.5
    assert delong_interval(labels, score)["high"] == 1.0


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0]])
def test_one_class_has_no_auc(labels: list[int]) -> None:
    found = delong(labels, [1, 2, 3], [3, 2, 1])
    nothing = {"value": None, "low": None, "high": None}
    assert found == {
        "auc_a": nothing, "auc_b": nothing, "difference": nothing, "z": None, "p": None
    }  # fmt: skip


def test_one_person_of_a_class_has_no_interval() -> None:
    found = delong([1, 0, 0, 0], [3, 1, 2, 4], [1, 2, 3, 4])
    assert found["auc_a"]["value"] == pytest.approx(2 / 3)
    assert found["difference"]["low"] is None
    assert found["p"] is None


@pytest.mark.parametrize(("only_a", "only_b"), [(9, 2), (1, 0), (30, 31), (0, 14), (0, 0)])
def test_mcnemar_agrees_with_statsmodels(only_a: int, only_b: int) -> None:
    a = np.repeat([True, True, False, False], [11, only_a, only_b, 7])
    b = np.repeat([True, False, True, False], [11, only_a, only_b, 7])
    found = mcnemar(a, b)
    expected = oracle_mcnemar([[11, only_a], [only_b, 7]], exact=True)
    p = pytest.approx(min(expected.pvalue, 1.0))
    assert found == {"only_a": only_a, "only_b": only_b, "p": p}


def test_holm_agrees_with_statsmodels_and_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    p_values = list(np.random.default_rng(0).uniform(0, 0.2, 9))
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_holm_counts_only_known_p_values() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
    assert holm([]) == []
    assert holm([None]) == [None]
    assert holm([0.6, 0.7]) == [1.0, 1.0]


@pytest.mark.slow
def test_the_corrected_t_gives_the_published_one() -> None:
    """10 x 10 folds of two support-vector machines, as scikit-learn's own example prints them.

    Source: scikit-learn, "Statistical comparison of models using grid search": t = 0.750, and a
    one-sided p of 0.227.
    """
    points, labels = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (
        cross_val_score(
            SVC(random_state=0, kernel=kernel), points, labels, cv=folds, scoring="roc_auc"
        )
        for kernel in ("rbf", "linear")
    )
    found = nadeau_bengio(rbf - linear, 90, 10)
    assert found["t"] == pytest.approx(0.750, abs=5e-4)
    assert found["p"] / 2 == pytest.approx(0.227, abs=5e-4)


def test_the_corrected_t_by_hand() -> None:
    """Mean 3, variance 2.5, (1/5 + 1/4) x 2.5 = 1.125; t of 4 degrees of freedom: 2.776445."""
    values, error = np.array([1.0, 2, 3, 4, 5]) / 100, np.sqrt(1.125) / 100
    found = nadeau_bengio(values, 40, 10)
    assert found["mean"] == pytest.approx(0.03)
    assert found["t"] == pytest.approx(0.03 / error)
    # The distribution function of 4 degrees of freedom is 1/2 + 3/8 u (1 - u^2/12).
    u = 2 * np.sqrt(2 / 3)
    assert found["p"] == pytest.approx(1 - 3 / 4 * u * (1 - u**2 / 12))
    assert found["low"] == pytest.approx(0.03 - 2.776445 * error, abs=1e-7)
    assert found["high"] == pytest.approx(0.03 + 2.776445 * error, abs=1e-7)
    interval = corrected_interval(values, 40, 10)
    assert interval == {"value": found["mean"], "low": found["low"], "high": found["high"]}


@pytest.mark.parametrize(
    ("differences", "mean", "p"),
    [([0.0] * 5, 0.0, 1.0), ([0.1] * 7, 0.1, None), ([0.1], 0.1, None), ([0.0], 0.0, None)],
)
def test_folds_without_spread_have_no_interval(differences: list, mean: float, p: float) -> None:
    found = nadeau_bengio(differences, 40, 10)
    assert found["mean"] == pytest.approx(mean)
    assert (found["low"], found["high"], found["t"], found["p"]) == (None, None, None, p)


def test_no_folds_have_no_mean() -> None:
    nothing = {"value": None, "low": None, "high": None}
    assert corrected_interval([], 40, 10) == nothing
    assert nadeau_bengio([], 40, 10)["mean"] is None


def _rows(
    n_people: int = 23, per: int = 1, seed: int = 0, skill: float = 0.8, shuffled: bool = True
) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.resize([0, 1, 0, 2, 1], n_people), per)
    logits = rng.normal(size=(len(labels), 3)) + skill * np.eye(3)[labels]
    subjects = np.repeat([f"S{i:03d}" for i in range(n_people)], per)
    rows = Predictions(labels, logits, subjects)
    return take_rows(rows, rng.permutation(len(labels))) if shuffled else rows


@pytest.mark.parametrize(("per_a", "per_b"), [(1, 1), (3, 2)])
def test_the_paired_bootstrap_equals_a_plain_loop_over_people(per_a: int, per_b: int) -> None:
    a, b = _rows(61, per_a, seed=1, skill=1.4), _rows(61, per_b, seed=2)
    n_bootstrap = 80
    names = ("balanced_accuracy", "macro_auc", "brier")
    metrics = {name: METRICS[name] for name in names}
    loop: dict[str, list[float]] = {name: [] for name in names}
    people = sorted(set(a.subjects.tolist()))
    for counts in np.concatenate(list(resample_people(61, n_bootstrap, 5, n_bootstrap))):
        drawn = [np.repeat(person, int(n)) for person, n in zip(people, counts, strict=True)]
        index = [
            np.concatenate(
                [np.flatnonzero(rows.subjects == person) for person in np.concatenate(drawn)]
            )
            for rows in (a, b)
        ]
        for name in names:
            first, second = (
                METRICS[name](_alone(rows, i)) for rows, i in zip((a, b), index, strict=True)
            )
            loop[name].append(float(first[0] - second[0]))
    found = paired_bootstrap(a, b, metrics, n_bootstrap, 5)
    for name in names:
        ends = np.percentile(loop[name], [2.5, 97.5])
        assert [found[name]["low"], found[name]["high"]] == pytest.approx(list(ends), abs=1e-9)
        below, above = (np.array(loop[name]) <= 0).sum(), (np.array(loop[name]) >= 0).sum()
        assert found[name]["p"] == pytest.approx(min(1, 2 * (1 + min(below, above)) / 81))
        estimate = METRICS[name](_alone(a, slice(None))) - METRICS[name](_alone(b, slice(None)))
        assert found[name]["value"] == pytest.approx(float(estimate[0]))


def _alone(rows: Predictions, index: np.ndarray | slice) -> Weighted:
    return unweighted(take_rows(rows, index))


def test_the_paired_bootstrap_pairs_people_by_name_not_by_row() -> None:
    """One model under two orders of its rows, and with every row tripled, differs from nothing."""
    rows = _rows()
    tripled = take_rows(rows, np.repeat(np.random.default_rng(3).permutation(23), 3))
    metrics = {name: METRICS[name] for name in ("balanced_accuracy", "macro_auc", "brier")}
    for found in paired_bootstrap(tripled, rows, metrics, 50, 0).values():
        assert [found[end] for end in ("value", "low", "high")] == pytest.approx([0, 0, 0])
        assert found["p"] == 1.0


def test_a_rounding_error_is_no_difference() -> None:
    def metric(sample: Weighted) -> np.ndarray:
        return np.full(len(sample.weights), 0.3 if sample.predictions.by_person else 0.1 + 0.2)

    a, b = _rows(per=2), _rows()
    assert paired_bootstrap(a, b, {"metric": metric}, 50, 0)["metric"]["p"] == 1.0


def test_pairing_narrows_the_interval() -> None:
    a = _rows(60, seed=1)
    near = Predictions(a.labels, a.logits + 0.1 * _rows(60, seed=4).logits, a.subjects)
    metric = {"brier": METRICS["brier"]}
    widths = []
    for b in (near, _rows(60, seed=9)):
        found = paired_bootstrap(a, b, metric, 400, 0)["brier"]
        widths.append(found["high"] - found["low"])
    assert widths[0] < 0.5 * widths[1]


def test_the_bootstrap_p_is_never_zero() -> None:
    labels = np.resize([0, 1], 40)
    names = np.array([f"S{i}" for i in range(40)])
    right, wrong = (Predictions(labels, np.eye(2)[said], names) for said in (labels, 1 - labels))
    found = paired_bootstrap(right, wrong, {"accuracy": METRICS["accuracy"]}, 199, 0)["accuracy"]
    assert found == {"value": 1.0, "low": 1.0, "high": 1.0, "p": pytest.approx(2 / 200)}


def test_resamples_that_miss_a_class_are_left_out() -> None:
    labels = np.array([0] * 12 + [1])
    names = np.array([f"S{i:02d}" for i in range(13)])
    a, b = (
        Predictions(labels, np.random.default_rng(s).normal(size=(13, 2)), names) for s in (0, 1)
    )
    found = paired_bootstrap(a, b, {"auc": METRICS["macro_auc"]}, 200, 0)["auc"]
    missed = sum((counts[:, 12] == 0).sum() for counts in resample_people(13, 200, 0, 200))
    share = found["p"] * (1 + 200 - missed) / 2
    assert 0 < missed < 200
    assert share == pytest.approx(round(share))


def test_an_undefined_metric_has_no_p() -> None:
    rows = Predictions(np.zeros(12, int), np.eye(2)[[0, 1] * 6], np.arange(12).astype(str))
    found = paired_bootstrap(rows, rows, {"auc": METRICS["macro_auc"]}, 50, 0)["auc"]
    assert found == {"value": None, "low": None, "high": None, "p": None}


def test_other_people_are_refused() -> None:
    a = _rows()
    others = Predictions(a.labels, a.logits, np.char.add(a.subjects, "x"))
    with pytest.raises(ValueError, match="not of the same people"):
        paired_bootstrap(a, others, {"brier": METRICS["brier"]}, 10, 0)


def test_the_same_seed_draws_the_same_people() -> None:
    a, b, metric = _rows(seed=1), _rows(seed=2), {"brier": METRICS["brier"]}
    results = [paired_bootstrap(a, b, metric, 60, seed) for seed in (3, 3, 4)]
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize(("power", "alpha"), [(0.8, 0.05), (0.9, 0.01)])
def test_people_needed_agree_with_statsmodels(power: float, alpha: float) -> None:
    """A mean difference of .03 with a standard error of .02 on 100 people: one sample, so ratio 0.

    The other tail, which statsmodels counts in, is negligible here.
    """
    effect = 0.03 / (0.02 * np.sqrt(100))
    expected = NormalIndPower().solve_power(effect, power=power, alpha=alpha, ratio=0)
    for sign in (1, -1):
        assert people_needed(sign * 0.03, 0.02, 100, power, alpha) == int(np.ceil(expected))


@pytest.mark.parametrize(
    ("difference", "error"),
    [(0.0, 0.02), (None, 0.02), (0.03, None), (0.03, 0.0), (1e-6, 0.02), (5e-324, 1e300)],
)
def test_nothing_to_plan_for(difference: float | None, error: float | None) -> None:
    assert people_needed(difference, error, 100) is None
    assert MOST_PEOPLE == 10_000_000
