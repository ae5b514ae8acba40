"""Are a model's answers better than chance? The same answers, scored against shuffled labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...predictions import Array, Predictions, per_person, unweighted
from ...report.titles import LESS_IS_BETTER
from ..metrics.intervals import Metric
from .abstention import ROUNDING


def permutation_test(
    predictions: Predictions, metrics: Mapping[str, Metric], n: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compare metrics with what they are when labels are dealt out to the people at random.

    All rows of a person take the label of one other person, so rows stay together. The model is not
    trained again: this asks whether its answers go with the labels of the people it is scored on.

    Source: Phipson & Smyth (2010), doi:10.2202/1544-6115.1585, for the p value.

    Args:
        predictions: One row per person, or several; a person counts with the first row's label.
        metrics: Name -> (B,) metric. Small is good for those in `LESS_IS_BETTER`, else large.
        n: Shuffles; the smallest possible p is 1 / (1 + n).
        seed: Same seed, same shuffles.

    Returns:
        ``kind``, ``n``, ``observed``, ``null`` (n values each, 4 digits) and ``p``, by metric. What
        is undefined is None, and an undefined shuffle counts against the model.
    """
    labels = per_person(predictions).labels
    actual = replace(predictions, labels=labels[predictions.people])
    observed = {name: _value(actual, metric) for name, metric in metrics.items()}
    null: dict[str, list[float]] = {name: [] for name in metrics}
    rng = np.random.default_rng(seed)
    for _ in range(n):
        shuffled = replace(predictions, labels=rng.permutation(labels)[predictions.people])
        for name, metric in metrics.items():
            null[name].append(_value(shuffled, metric))
    return {
        "kind": "labels of scored people shuffled",
        "n": n,
        "observed": {name: _or_none(value) for name, value in observed.items()},
        "null": {name: [_or_none(round(v, 4)) for v in values] for name, values in null.items()},
        "p": {name: _p_value(name, observed[name], np.array(null[name])) for name in metrics},
    }


def _value(predictions: Predictions, metric: Metric) -> float:
    return float(metric(unweighted(predictions))[0])


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _p_value(name: str, observed: float, null: Array) -> float | None:
    """Return the share of shuffles, the truth counted as one, that are at least as good."""
    if not np.isfinite(observed):
        return None
    sign = -1.0 if name in LESS_IS_BETTER else 1.0
    worse = sign * null < sign * observed - ROUNDING  # False for an undefined shuffle
    return float((1 + (~worse).sum()) / (1 + len(null)))
