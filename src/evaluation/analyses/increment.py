"""Does the image add anything to age, sex and two head measures? CDR 0 against > 0.

Two logistic regressions of the same people: on the table's columns, and on these and the image's
score, which is a person's log-odds of "demented" from models that never saw that person. Three
answers: the difference in AUC, in Brier score, and a likelihood ratio test.

The image's score may only count in favour of dementia: where a fit gives it a negative weight, the
best fit without one is the table's, and that is used. Out-of-fold scores lean against their own
labels, since every person left out shifts what the others teach, and a model free to turn them
round would call that knowledge.

Out-of-fold scores of one cross-validation share training people, so they are less independent than
scores of new people, and any gain is a little optimistic. In the likelihood ratio each pair of
people counts twice: one's label made the other's score, and the other way round. For scores that
add up over training people (a kernel machine's) that doubles the variance of what noise does, so
the statistic is halved. On scores of noise (60 to 200 people, five folds) p then falls under .05 in
0 to 2 % of trials (2.5 % would be exact, since the sign is given); unhalved in 2 to 8 %, and with a
free sign in 11 to 18 %. The interval of the difference in AUC held 0 in 92 to 98 % of such trials
and lay above it in under 1 %.

Rows are people; log-odds are natural logarithms.

Sources: likelihood ratio of nested models: Wilks (1938), doi:10.1214/aoms/1177732360. Why the gain
of a nested model is judged out of fold: Demler et al. (2012), doi:10.1002/sim.5328.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.preprocessing import StandardScaler
from statsmodels.discrete.discrete_model import Logit
from statsmodels.tools.sm_exceptions import (
    ConvergenceWarning,
    HessianInversionWarning,
    PerfectSeparationWarning,
)

from ...errors import counted
from ...predictions import FEW_PEOPLE, Array, Integers, Predictions, as_binary, per_person
from ..metrics.intervals import Interval, Metric, estimate_and_resample, interval
from ..metrics.scores import brier
from .rivals import missing_reason

COLUMNS = ("age", "sex", "nwbv", "etiv")
#: Head measures that come from a segmentation and are not always known.
_OPTIONAL = ("nwbv", "etiv")
_MIN_PEOPLE = 30
_FOLDS, _REPEATS = 5, 5
_PAIR_COUNTS = 2  # times, in the statistic of out-of-fold scores
_NAMES = {"nwbv": "nWBV", "etiv": "eTIV", "mmse": "MMSE"}
_MEASURES: dict[str, Metric] = {"auc": lambda sample: sample.auc[:, 1], "brier": brier}


def increment(
    covariates: pd.DataFrame,
    predictions: Predictions,
    columns: Sequence[str] = COLUMNS,
    n_bootstrap: int = 2000,
    seed: int = 0,
    *,
    out_of_fold: bool = True,
) -> dict[str, Any]:
    """Compare the table with the table and the image.

    Both models are fitted in stratified 5-fold cross-validation, repeated five times, and a
    person's log-odds are averaged over the repeats; intervals resample people, with the same draws
    for both models. Without nWBV or eTIV the comparison is with the columns that remain.

    Args:
        covariates: Numbers, indexed by subject; people who lack one are left out.
        predictions: Out-of-sample rows, one or more of each person.
        columns: What the table's model sees.
        n_bootstrap: Resamples of people.
        seed: Same seed, same folds, same intervals.
        out_of_fold: Whether the scores come from a cross-validation of these people, and not from
            one model that saw none of them.

    Returns:
        ``available``; if not, the ``reason``; else ``columns`` used, ``n_people``, ``left_out``,
        ``auc_`` and ``brier_`` with ``table``, ``both`` and ``difference`` (both - table; Brier is
        0 to 2 as everywhere here), ``likelihood_ratio`` and a ``sentence``.
    """
    people = per_person(as_binary(predictions))
    names = [str(name) for name in people.subjects]
    chosen = _known(covariates, columns, names)
    reason = missing_reason(covariates, chosen, names) if chosen else "no column is known"
    if reason:
        return {"available": False, "reason": reason}
    table = covariates.reindex(names)[chosen].to_numpy(dtype=np.float64)
    complete = np.isfinite(table).all(axis=1)
    x, y = table[complete], people.labels[complete]
    if reason := _too_few(y):
        return {"available": False, "reason": reason}
    log_odds = (people.logits[:, 1] - people.logits[:, 0])[complete]
    differences = _compare(x, log_odds, y, n_bootstrap, seed)
    return {
        "available": True,
        "columns": chosen,
        "n_people": len(y),
        "left_out": int((~complete).sum()),
        **differences,
        "likelihood_ratio": likelihood_ratio(x, log_odds, y, out_of_fold=out_of_fold),
        "sentence": _sentence(chosen, differences["auc_difference"], len(y)),
    }


def likelihood_ratio(
    x: Array, log_odds: Array, y: Integers, *, out_of_fold: bool = True
) -> dict[str, Any]:
    """Test whether the image's score improves the fit to all people; unpenalised models.

    Args:
        x: (n, columns) the table.
        log_odds: (n,) the image's score.
        y: (n,) 0 or 1.
        out_of_fold: Whether to halve the statistic, as scores of one cross-validation require.

    Returns:
        ``chi2`` (0 where the score's weight is negative), ``df`` and ``p``, in which the sign that
        is given beforehand is not counted in the image's favour; None with a ``reason``
        where a model tells the groups apart without an error, which leaves it without a fit.
    """
    try:
        without, _ = _maximum(_varying(x), y)
        both, weight = _maximum(np.column_stack([_varying(x), _varying(log_odds[:, None])]), y)
    except (np.linalg.LinAlgError, Warning):
        reason = "a model separates the groups, or its columns determine each other"
        return {"chi2": None, "df": 1, "p": None, "reason": reason}
    statistic = max(2 * (both - without), 0.0) if weight > 0 else 0.0
    statistic /= _PAIR_COUNTS if out_of_fold else 1
    return {"chi2": statistic, "df": 1, "p": float(chi2.sf(statistic, 1))}


def _known(covariates: pd.DataFrame, columns: Sequence[str], people: Sequence[str]) -> list[str]:
    """Return the columns without the optional ones that are not known."""
    return [
        name
        for name in columns
        if name not in _OPTIONAL or missing_reason(covariates, [name], people) is None
    ]


def _too_few(y: Integers) -> str | None:
    """Return why nothing can be said of so few people."""
    demented = int(y.sum())
    if len(y) < _MIN_PEOPLE:
        return f"{counted(len(y), 'person')} with known columns; under {_MIN_PEOPLE}: not estimable"
    if min(demented, len(y) - demented) < FEW_PEOPLE:
        return f"{demented} of {len(y)} people are demented; under {FEW_PEOPLE} in a group"
    return None


def _compare(
    x: Array, log_odds: Array, y: Integers, n_bootstrap: int, seed: int
) -> dict[str, Interval]:
    """Return the intervals of both models and of their difference."""
    found = {}
    for name, said in zip(("table", "both"), _cross_validated(x, log_odds, y, seed), strict=True):
        rows = Predictions(y, np.stack([np.zeros(len(y)), said], axis=1), np.arange(len(y)))
        found[name] = estimate_and_resample(rows, [_MEASURES], n_bootstrap, seed)
    intervals = {}
    for measure in _MEASURES:
        table, both = found["table"][measure], found["both"][measure]
        intervals[f"{measure}_table"] = interval(*table)
        intervals[f"{measure}_both"] = interval(*both)
        # The same seed drew the same people for both.
        intervals[f"{measure}_difference"] = interval(both[0] - table[0], both[1] - table[1])
    return intervals


def _cross_validated(x: Array, log_odds: Array, y: Integers, seed: int) -> tuple[Array, Array]:
    """Return (n,) log-odds of the table's model and of both together, for people left out."""
    table, both = np.zeros(len(y)), np.zeros(len(y))
    together = np.column_stack([x, log_odds])
    folds = RepeatedStratifiedKFold(n_splits=_FOLDS, n_repeats=_REPEATS, random_state=seed)
    for train, test in folds.split(x, y):
        said, _ = _fit_predict(x[train], y[train], x[test])
        more, weight = _fit_predict(together[train], y[train], together[test])
        table[test] += said / _REPEATS
        both[test] += (more if weight > 0 else said) / _REPEATS
    return table, both


def _fit_predict(x: Array, y: Integers, x_test: Array) -> tuple[Array, float]:
    """Return log-odds of the test people, and the weight of the last column.

    A weak penalty keeps a model finite that separates its training people.
    """
    scale = StandardScaler().fit(x)
    model = LogisticRegression(C=1.0).fit(scale.transform(x), y)
    return np.asarray(model.decision_function(scale.transform(x_test))), float(model.coef_[0, -1])


def _maximum(x: Array, y: Integers) -> tuple[float, float]:
    """Return the log-likelihood of the best logistic model and the weight of its last column."""
    design = np.column_stack([np.ones(len(y)), x])
    with warnings.catch_warnings():
        for kind in (ConvergenceWarning, HessianInversionWarning, PerfectSeparationWarning):
            warnings.simplefilter("error", kind)
        fit = Logit(y, design).fit(disp=0, maxiter=100)
    return float(fit.llf), float(fit.params[-1])


def _varying(x: Array) -> Array:
    """Return the columns that vary, standardised; the others say what the intercept says."""
    varying = x[:, np.ptp(x, axis=0) > 0]
    return np.asarray((varying - varying.mean(axis=0)) / varying.std(axis=0))


def _sentence(columns: Sequence[str], difference: Interval, n_people: int) -> str:
    beside = ", ".join(_NAMES.get(name, name) for name in columns)
    if difference["low"] is None:
        return (
            f"Beside {beside} the image adds {two_decimals(difference['value'])} AUC (no interval)."
        )
    value, low, high = (two_decimals(difference[key]) for key in ("value", "low", "high"))
    amount = f"{value} AUC ({low} to {high})"
    if difference["low"] > 0:
        return f"Beside {beside} the image adds {amount} in {n_people} people."
    return f"Beside {beside} the image adds nothing that {n_people} people could show: {amount}."


def two_decimals(value: float) -> str:
    """Return two decimals without the leading zero: ``.05``."""
    return f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1)
