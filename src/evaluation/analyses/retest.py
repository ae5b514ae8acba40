"""Two sessions of the same people: how much a model's answer changes when the person does not.

The score is the log-odds of demented. Labels play no part, so sessions need no rating.

Axes: P people, k sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from ...errors import counted
from ...predictions import (
    FEW_PEOPLE,
    Array,
    Integers,
    Predictions,
    as_binary,
    per_person,
    take_rows,
)
from ..metrics.intervals import Interval, interval, wilson_interval

#: Fewer people than this say nothing about repeatability.
MIN_PEOPLE = 5
_Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution
_ROUNDING = 1e-12  # a difference this far below the values is a rounding error


def retest_report(
    rows: pd.DataFrame, predictions: Predictions, classes: Sequence[str]
) -> dict[str, Any]:
    """Compare the first two sessions of every person who has them.

    Args:
        rows: n lines with ``subject`` and ``session``; several lines of a session are its slices.
        predictions: Of the same n lines, in the same order. Labels are not read.
        classes: K names, mildest first.

    Returns:
        The result of `test_retest`, with ``classes``: the two class names of each pair.

    Raises:
        ValueError: Lines, people or classes of the arguments do not match.
    """
    if len(classes) != predictions.num_classes:
        raise ValueError(f"{len(classes)} classes for {predictions.num_classes} logits")
    pairs = sessions_of(rows, predictions)
    said = [pairs["class_first"].to_numpy(), pairs["class_second"].to_numpy()]
    found = test_retest(pairs["first"].to_numpy(), pairs["second"].to_numpy(), said[0], said[1])
    if found["available"]:
        found["classes"] = [[classes[int(a)], classes[int(b)]] for a, b in zip(*said, strict=True)]
    return found


def sessions_of(rows: pd.DataFrame, predictions: Predictions) -> pd.DataFrame:
    """Return one line per person who has two sessions or more, from the mean logits of each.

    Sessions are taken in the order of their names, as a manifest does. A line without a session
    is left out: it may be of any day.

    Args:
        rows: n lines with ``subject`` and ``session``.
        predictions: Of the same n lines, in the same order.

    Returns:
        Indexed by subject: ``first`` and ``second`` (log-odds of demented), ``class_first`` and
        ``class_second`` (most probable class), ``session_first`` and ``session_second``.

    Raises:
        ValueError: `rows` are not the lines of `predictions`.
    """
    subjects = rows["subject"].to_numpy()
    if len(subjects) != len(predictions.labels) or (subjects != predictions.subjects).any():
        raise ValueError("rows and predictions are not of the same people in the same order")
    known = rows["session"].notna().to_numpy()
    if not known.any():
        return pd.DataFrame(columns=["first", "second", "class_first", "class_second"])
    rows, predictions = rows[known], take_rows(predictions, known)
    key = rows.groupby(["subject", "session"]).ngroup().to_numpy()
    means = per_person(replace(predictions, subjects=key))  # one row per session
    scores = as_binary(means).logits
    table = rows[["subject", "session"]].iloc[np.unique(key, return_index=True)[1]]
    order = np.argsort(means.subjects)
    table = table.assign(
        score=(scores[:, 1] - scores[:, 0])[order], **{"class": means.predicted[order]}
    )
    table = table.set_index("subject")
    number = table.groupby(level=0).cumcount()
    first, second = (
        table[number == 0].add_suffix("_first"),
        table[number == 1].add_suffix("_second"),
    )
    return first.join(second, how="inner").rename(
        columns={"score_first": "first", "score_second": "second"}
    )


def test_retest(
    first: Array, second: Array, class_first: Integers, class_second: Integers
) -> dict[str, Any]:
    """Say how well two sessions of the same people agree.

    The within-person SD is that of one session around the person's mean, a shift between the
    sessions included. Half of the limits' width is 1.96 SD of the differences.

    Sources: Bland & Altman (1986), doi:10.1016/S0140-6736(86)90837-8, for bias and limits; (1996),
    doi:10.1136/bmj.313.7059.744, for the within-person SD; Cohen (1960),
    doi:10.1177/001316446002000104, for kappa.

    Args:
        first: (P,) score in the first session.
        second: (P,) score of the same people in the second.
        class_first: (P,) class said in the first session.
        class_second: (P,) class said in the second.

    Returns:
        ``available``, ``n_people``, ``few_people``, ``icc`` (interval), ``within_sd``, ``bias``
        (second minus first), ``bias_interval``, ``limits``, ``agreement`` (interval: the share of
        people given one class twice), ``kappa`` (None where chance alone agrees) and ``pairs``.

    Raises:
        ValueError: The arguments differ in length.
    """
    scores = np.stack([first, second], axis=1).astype(np.float64)
    n = len(scores)
    if not len(class_first) == len(class_second) == n:
        raise ValueError(f"{n} scores, {len(class_first)} and {len(class_second)} classes")
    if n < MIN_PEOPLE:
        return _unavailable(
            f"{counted(n, 'person has', 'people have')} two sessions; {MIN_PEOPLE} are needed"
        )
    if np.ptp(scores) <= _ROUNDING * np.abs(scores).max():
        return _unavailable("everyone has the same score in both sessions")
    change = scores[:, 1] - scores[:, 0]
    bias, sd = float(change.mean()), float(change.std(ddof=1))
    margin = float(stats.t.ppf(0.975, n - 1)) * sd / np.sqrt(n)
    same = int((np.asarray(class_first) == np.asarray(class_second)).sum())
    return {
        "available": True,
        "n_people": n,
        "few_people": n < FEW_PEOPLE,
        "icc": icc_2_1(scores),
        "within_sd": float(np.sqrt((change**2).mean() / 2)),
        "bias": bias,
        "bias_interval": {"value": bias, "low": float(bias - margin), "high": float(bias + margin)},
        "limits": [bias - _Z95 * sd, bias + _Z95 * sd],
        "agreement": wilson_interval(same, n),
        "kappa": _kappa(class_first, class_second),
        "pairs": scores.tolist(),
    }


def icc_2_1(ratings: Array) -> Interval:
    """Return ICC(2,1): two-way random, absolute agreement, single measure, with its 95 % interval.

    Sources: Shrout & Fleiss (1979), doi:10.1037/0033-2909.86.2.420; the interval also McGraw & Wong
    (1996), doi:10.1037/1082-989X.1.1.30, case 2A.

    Args:
        ratings: (P, k) with P and k at least 2.

    Returns:
        The value is None where nobody differs from anybody; the ends are None where sessions differ
        by a constant, or not at all, since the interval's F ratios have no denominator then.

    Raises:
        ValueError: There are under two people or sessions.
    """
    n, k = ratings.shape
    if min(n, k) < 2:
        raise ValueError(f"{n} people with {k} sessions: two of each are needed")
    people, sessions, rest = _mean_squares(ratings)
    variance = people + (k - 1) * rest + k * (sessions - rest) / n
    if variance <= 0:
        return interval(np.nan, np.empty(0))
    icc = (people - rest) / variance
    if rest == 0:
        return interval(icc, np.empty(0))
    a, b = k * icc * sessions / rest, n * (1 + (k - 1) * icc) - k * icc
    df = (n - 1) * (k - 1) * (a + b) ** 2 / ((n - 1) * a**2 + b**2)
    below, above = stats.f.ppf(0.975, n - 1, df), stats.f.ppf(0.975, df, n - 1)
    both = k * sessions + (k * n - k - n) * rest
    low = n * (people - below * rest) / (below * both + n * people)
    high = n * (above * people - rest) / (both + n * above * people)
    return {"value": float(icc), "low": float(low), "high": float(high)}


def _mean_squares(ratings: Array) -> tuple[float, float, float]:
    """Return the mean squares of people, of sessions and of the rest."""
    n, k = ratings.shape
    centred = ratings - ratings.mean()
    by_person = centred.mean(axis=1, keepdims=True)
    by_session = centred.mean(axis=0, keepdims=True)
    squares = [k * (by_person**2).sum(), n * (by_session**2).sum()]
    squares.append(((centred - by_person - by_session) ** 2).sum())
    tiny = _ROUNDING**2 * (ratings**2).sum()  # what is left of equal numbers after rounding
    people, sessions, rest = (float(square) if square > tiny else 0.0 for square in squares)
    return people / (n - 1), sessions / (k - 1), rest / ((n - 1) * (k - 1))


def _kappa(first: Integers, second: Integers) -> float | None:
    if len(np.union1d(first, second)) < 2:
        return None  # one class only: chance agrees too
    return float(cohen_kappa_score(first, second))


def _unavailable(reason: str) -> dict[str, Any]:
    return {"available": False, "reason": reason}
