"""The image's gain against scikit-learn and a plain maximum of the likelihood."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2, kstest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from src.evaluation.analyses.increment import COLUMNS, increment, likelihood_ratio, two_decimals
from src.evaluation.metrics.intervals import resample_people
from src.predictions import Predictions, as_binary


def _people(n: int = 120, table: float = 1.0, image: float = 1.5, seed: int = 0):
    """Covariates that know `table` about who is demented, and a score that knows `image` more."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.resize([0, 1, 0, 1, 1], n))
    covariates = pd.DataFrame(
        {
            "age": 75 + 8 * (0.5 * table * y + rng.normal(size=n)),
            "sex": rng.integers(0, 2, n).astype(float),
            "nwbv": 0.75 - 0.04 * (table * y + rng.normal(size=n)),
            "etiv": rng.normal(1500, 150, n),
        },
        index=[f"S{i:03d}" for i in range(n)],
    )
    return covariates, _rows(y, image * y + rng.normal(size=n), covariates.index)


def _rows(y, log_odds, subjects) -> Predictions:
    level = np.linspace(-2, 2, len(y))  # of both logits, which means nothing
    logits = np.stack([level, level + np.asarray(log_odds)], axis=1)
    return Predictions(np.asarray(y), logits, np.asarray(subjects, dtype=str))


def _score(rows: Predictions) -> np.ndarray:
    return rows.logits[:, 1] - rows.logits[:, 0]


def _arrays(covariates: pd.DataFrame, rows: Predictions):
    table = covariates.loc[rows.subjects].to_numpy(dtype=float)
    return table, _score(rows), rows.labels


def _out_of_fold(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Mean log-odds over five repeats, from scikit-learn's own pipeline."""
    total = np.zeros(len(y))
    for train, test in RepeatedStratifiedKFold(n_repeats=5, random_state=seed).split(x, y):
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[train], y[train])
        total[test] += model.decision_function(x[test])
    return total / 5


def _brier(log_odds: np.ndarray, y: np.ndarray) -> float:
    return float(2 * np.mean((1 / (1 + np.exp(-log_odds)) - y) ** 2))


@pytest.mark.slow
def test_both_models_agree_with_scikit_learn() -> None:
    covariates, rows = _people()
    table, score, y = _arrays(covariates, rows)
    found = increment(covariates, rows, n_bootstrap=50, seed=3)
    without = _out_of_fold(table, y, 3)
    both = _out_of_fold(np.column_stack([table, score]), y, 3)
    assert found["auc_table"]["value"] == pytest.approx(roc_auc_score(y, without))
    assert found["auc_both"]["value"] == pytest.approx(roc_auc_score(y, both))
    assert found["brier_table"]["value"] == pytest.approx(_brier(without, y))
    assert found["brier_both"]["value"] == pytest.approx(_brier(both, y))
    for name in ("auc", "brier"):
        difference = found[f"{name}_both"]["value"] - found[f"{name}_table"]["value"]
        assert found[f"{name}_difference"]["value"] == pytest.approx(difference)


@pytest.mark.slow
def test_the_difference_is_resampled_in_pairs_of_people() -> None:
    covariates, rows = _people(60)
    table, score, y = _arrays(covariates, rows)
    without = _out_of_fold(table, y, 0)
    both = _out_of_fold(np.column_stack([table, score]), y, 0)
    differences = []
    for counts in np.concatenate(list(resample_people(60, 40, 0, 40))):
        drawn = np.repeat(np.arange(60), counts.astype(int))
        pair = [roc_auc_score(y[drawn], said[drawn]) for said in (both, without)]
        differences.append(pair[0] - pair[1])
    found = increment(covariates, rows, n_bootstrap=40, seed=0)["auc_difference"]
    expected = np.percentile(differences, [2.5, 97.5])
    np.testing.assert_allclose([found["low"], found["high"]], expected)


def _log_likelihood(x: np.ndarray, y: np.ndarray) -> float:
    design = np.column_stack([np.ones(len(y)), (x - x.mean(axis=0)) / x.std(axis=0)])
    sign = 2 * y - 1

    def loss(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign * (design @ weights)).sum())

    return -minimize(loss, np.zeros(design.shape[1]), method="BFGS", options={"gtol": 1e-8}).fun


@pytest.mark.slow
@pytest.mark.parametrize("out_of_fold", [True, False])
def test_the_likelihood_ratio_agrees_with_a_plain_maximum(out_of_fold: bool) -> None:
    covariates, rows = _people(image=0.5)
    table, score, y = _arrays(covariates, rows)
    both = _log_likelihood(np.column_stack([table, score]), y)
    statistic = 2 * (both - _log_likelihood(table, y)) / (2 if out_of_fold else 1)
    found = increment(covariates, rows, n_bootstrap=20, out_of_fold=out_of_fold)
    assert found["likelihood_ratio"]["chi2"] == pytest.approx(statistic, abs=1e-4)
    assert found["likelihood_ratio"]["p"] == pytest.approx(chi2.sf(statistic, 1), rel=1e-3)
    assert found["likelihood_ratio"]["df"] == 1


def test_an_image_that_knows_more_adds_and_says_so() -> None:
    covariates, rows = _people(n=200)
    found = increment(covariates, rows, n_bootstrap=200)
    assert found["available"]
    assert found["columns"] == list(COLUMNS)
    assert found["n_people"] == 200
    assert found["left_out"] == 0
    assert found["auc_difference"]["low"] > 0
    assert found["brier_difference"]["high"] < 0
    assert found["likelihood_ratio"]["p"] < 0.001
    low, high = (f"{found['auc_difference'][end]:.2f}"[1:] for end in ("low", "high"))
    assert found["sentence"].startswith("Beside age, sex, nWBV, eTIV the image adds .")
    assert found["sentence"].endswith(f" AUC ({low} to {high}) in 200 people.")
    json.dumps(found, allow_nan=False)


def test_an_image_that_repeats_the_table_adds_nothing() -> None:
    covariates, rows = _people(n=150)
    told = _rows(rows.labels, -20 * covariates["nwbv"] + 15, covariates.index)
    found = increment(covariates, told, n_bootstrap=200)
    assert abs(found["auc_difference"]["value"]) < 0.01
    assert "adds nothing that 150 people could show: " in found["sentence"]


def test_a_score_that_is_wrong_way_round_is_not_turned_to_account() -> None:
    covariates, rows = _people()
    turned = _rows(rows.labels, -_score(rows), rows.subjects)
    found = increment(covariates, turned, n_bootstrap=50)
    assert found["auc_both"] == found["auc_table"]
    assert found["auc_difference"] == {"value": 0, "low": 0, "high": 0}
    assert found["likelihood_ratio"] == {"chi2": 0, "df": 1, "p": 1}
    assert found["sentence"].endswith(": .00 AUC (.00 to .00).")


def test_scores_of_noise_add_nothing() -> None:
    """Independent scores: half of the p are 1 and the others uniform, so 2.5 % lie under .05."""
    rng = np.random.default_rng(0)
    p = []
    for seed in range(100):
        covariates, rows = _people(80, seed=seed)
        table, _, y = _arrays(covariates, rows)
        p.append(likelihood_ratio(table, rng.normal(size=80), y, out_of_fold=False)["p"])
    p = np.array(p)
    assert 0.38 < np.mean(p == 1) < 0.62
    assert kstest(p[p < 1], "uniform").pvalue > 0.01
    assert np.mean(p < 0.05) < 0.07


def test_scores_of_noise_made_out_of_fold_add_nothing() -> None:
    """Each score is taught by the labels of the others, as a network's is."""
    rng = np.random.default_rng(1)
    statistics, n = [], 80
    for seed in range(120):
        covariates, rows = _people(n, seed=seed)
        table, _, y = _arrays(covariates, rows)
        noise, part = rng.normal(size=(n, 60)), rng.permutation(n) % 5
        taught = (noise @ noise.T) * (part[:, None] != part)
        score = taught @ (y - y.mean())
        statistics.append(likelihood_ratio(table, score, y)["chi2"])
    p = chi2.sf(statistics, 1)
    assert np.mean(p < 0.05) < 0.05
    positive = p[np.array(statistics) > 0]
    assert kstest(positive, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_a_person_counts_once_with_the_mean_log_odds() -> None:
    covariates, rows = _people(60)
    wobble = np.random.default_rng(0).normal(size=60)
    score = _score(rows)
    twice = _rows(
        np.tile(rows.labels, 2),
        np.concatenate([score - wobble, score + wobble]),
        np.tile(rows.subjects, 2),
    )
    once, found = (increment(covariates, p, n_bootstrap=30) for p in (rows, twice))
    assert found["n_people"] == 60
    for name in ("auc_both", "brier_difference"):
        assert found[name] == pytest.approx(once[name])


@pytest.mark.slow
def test_stages_become_cdr_0_against_the_others() -> None:
    covariates, binary = _people(60)
    rng = np.random.default_rng(0)
    stage = np.where(binary.labels > 0, rng.integers(1, 4, 60), 0)
    logits = rng.normal(size=(60, 4)) + np.eye(4)[stage]
    rows = Predictions(stage, logits, binary.subjects)
    found = increment(covariates, rows, n_bootstrap=30)
    assert found == increment(covariates, as_binary(rows), n_bootstrap=30)
    assert found["auc_both"]["value"] > found["auc_table"]["value"]


@pytest.mark.slow
def test_the_order_of_rows_does_not_matter_to_whom_they_belong() -> None:
    covariates, rows = _people(60)
    shuffled = covariates.sample(frac=1, random_state=0)
    assert increment(shuffled, rows, n_bootstrap=20) == increment(covariates, rows, n_bootstrap=20)


@pytest.mark.slow
@pytest.mark.parametrize("unknown", [["nwbv"], ["nwbv", "etiv"]])
def test_without_head_measures_the_rest_is_compared(unknown: list[str]) -> None:
    covariates, rows = _people(60)
    left = [name for name in COLUMNS if name not in unknown]
    for table in (covariates.assign(**dict.fromkeys(unknown, np.nan)), covariates[left]):
        found = increment(table, rows, n_bootstrap=20)
        assert found["columns"] == left
        assert found["sentence"].startswith(f"Beside {left[0]}, {left[1]}")
        assert found["auc_table"] == increment(covariates, rows, left, 20)["auc_table"]


@pytest.mark.slow
def test_people_who_lack_a_value_are_left_out() -> None:
    covariates, rows = _people(60)
    covariates.iloc[[3, 7, 11], 0] = np.nan
    found = increment(covariates, rows, n_bootstrap=20)
    assert (found["n_people"], found["left_out"]) == (57, 3)
    keep = covariates["age"].notna().to_numpy()
    rest = _rows(rows.labels[keep], _score(rows)[keep], rows.subjects[keep])
    assert found["auc_both"] == increment(covariates, rest, n_bootstrap=20)["auc_both"]


def test_unknown_ages_make_it_unavailable() -> None:
    covariates, rows = _people(60)
    found = increment(covariates.assign(age=np.nan), rows)
    assert found == {"available": False, "reason": "the manifest has no ages"}
    covariates.iloc[:7, 0] = np.nan
    assert increment(covariates, rows)["reason"] == "ages are missing for 7 of 60 people"
    unknown = covariates.assign(nwbv=np.nan)
    assert increment(unknown, rows, ["nwbv"])["reason"] == "no column is known"


@pytest.mark.parametrize(
    ("n", "demented", "reason"),
    [
        (29, 12, "29 people with known columns; under 30: not estimable"),
        (40, 9, "9 of 40 people are demented; under 10 in a group"),
        (40, 31, "31 of 40 people are demented; under 10 in a group"),
        (30, 10, None),
    ],
)
def test_few_people_make_it_unavailable(n: int, demented: int, reason: str | None) -> None:
    covariates, _ = _people(n)
    y = (np.arange(n) < demented).astype(int)
    score = y + np.random.default_rng(0).normal(size=n)
    found = increment(covariates, _rows(y, score, covariates.index), n_bootstrap=20)
    assert found.get("reason") == reason
    assert found["available"] is (reason is None)


def test_groups_that_an_image_separates_have_no_likelihood_ratio() -> None:
    covariates, rows = _people(60)
    perfect = _rows(rows.labels, 10.0 * rows.labels, rows.subjects)
    found = increment(covariates, perfect, n_bootstrap=20)
    assert found["auc_both"]["value"] == 1
    ratio = found["likelihood_ratio"]
    assert (ratio["chi2"], ratio["p"]) == (None, None)
    assert "separates" in ratio["reason"]
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
def test_constant_columns_and_a_constant_score_are_no_trouble() -> None:
    covariates, rows = _people(60)
    found = increment(covariates.assign(sex=1.0), rows, n_bootstrap=20)
    assert found["likelihood_ratio"]["p"] < 0.05
    constant = _rows(rows.labels, np.zeros(60), rows.subjects)
    found = increment(covariates, constant, n_bootstrap=20)
    assert found["likelihood_ratio"] == {"chi2": 0, "df": 1, "p": 1}
    assert found["auc_difference"]["value"] == 0


@pytest.mark.slow
def test_columns_that_determine_each_other_have_no_likelihood_ratio() -> None:
    covariates, rows = _people(60)
    covariates["etiv"] = 2 * covariates["nwbv"]
    found = increment(covariates, rows, n_bootstrap=20)
    assert found["available"]
    assert set(found["likelihood_ratio"]) >= {"chi2", "df", "p"}
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "text"), [(0.054, ".05"), (-0.054, "-.05"), (-0.001, ".00"), (1.0, "1.00")]
)
def test_a_share_is_written_without_its_leading_zero(value: float, text: str) -> None:
    assert two_decimals(value) == text


@pytest.mark.slow
def test_without_resamples_there_is_no_interval() -> None:
    covariates, rows = _people(60)
    assert increment(covariates, rows, n_bootstrap=0)["sentence"].endswith(" AUC (no interval).")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result() -> None:
    covariates, rows = _people(60)
    results = [increment(covariates, rows, n_bootstrap=20, seed=seed) for seed in (1, 1, 2)]
    assert results[0] == results[1] != results[2]
