"""Answering only where a model is sure: what abstaining from the other people brings.

Axes: B resamples, n rows, P people, G groups of rows of equal confidence, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import counted
from ...predictions import (
    FEW_PEOPLE,
    Array,
    Integers,
    Predictions,
    Weighted,
    unweighted,
)
from ..metrics.intervals import Interval, Metric, estimate_and_resample, interval, wilson
from ..metrics.scores import METRICS

#: Shares of the rows that are answered.
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
ROUNDING = 1e-9


def abstention(predictions: Predictions, n_bootstrap: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Score the most confident shares of the rows: what abstaining from the others would bring.

    Confidence is the largest probability of a row. Of rows that are equally confident where the
    answers end, each counts in part, as if the choice among them were random. Each resample chooses
    its most confident share anew, but with one row per person, or no error, accuracy has Wilson's
    interval, which takes the share as given. Balanced accuracy is undefined where a class has no
    answer left.

    The area is the mean accuracy over the coverages 1/n, 2/n, ... 1: one minus the area under the
    risk-coverage curve.

    Source: Geifman, Uziel & El-Yaniv (2019), arXiv:1805.08206.

    Args:
        predictions: Calibrated, one row per person or several; coverage is a share of the rows.
        n_bootstrap: Resamples of people.
        seed: Same seed, same intervals.

    Returns:
        ``curve`` (one entry per coverage, with the people who keep an answer; ``few_people``: under
        ten of a class do), ``area``, ``gain`` (accuracy at half coverage minus at full, paired) and
        a ``sentence``.
    """
    if predictions.n_people < FEW_PEOPLE:
        scored = counted(predictions.n_people, "person is", "people are")
        reason = f"{scored} scored; {FEW_PEOPLE} are needed"
        return {"available": False, "reason": reason}
    order = _ByConfidence(predictions)
    metrics: dict[str, Metric] = {"area": order.area, "gain": order.gain}
    for share in COVERAGES:
        metrics[f"accuracy {share}"] = order.at(share, METRICS["accuracy"])
        metrics[f"balanced {share}"] = order.at(share, METRICS["balanced_accuracy"])
    values = estimate_and_resample(predictions, [metrics], n_bootstrap, seed)
    found = {name: interval(*values[name]) for name in metrics}
    return {
        "available": True,
        "curve": [_point(order, share, found) for share in COVERAGES],
        "area": found["area"],
        "gain": found["gain"],
        "sentence": _sentence(found),
    }


class _ByConfidence:
    """Rows from the most to the least confident, equal ones together."""

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions
        top = np.eye(predictions.num_classes, dtype=bool)[predictions.predicted]
        others = np.where(top, -np.inf, predictions.logits)
        # Log-odds have the order of the probabilities, without ties where these round to 1.
        odds = predictions.logits[top] - np.logaddexp.reduce(others, axis=1)
        _, group = np.unique(-odds.round(9), return_inverse=True)
        self.group: Integers = group  # (n,) from 0, the most confident, to G-1
        self.order = group.argsort(kind="stable")
        self.starts = np.flatnonzero(np.diff(group[self.order], prepend=-1))
        self.right = (predictions.labels == predictions.predicted).astype(np.float64)

    def kept(self, weights: Array, share: float) -> Array:
        """Return (B, n) weights of which the most confident `share` is left, in whole rows."""
        size = self._by_group(weights)
        wanted = np.ceil(share * weights.sum(axis=1, keepdims=True) - ROUNDING)
        left = np.clip(wanted - (size.cumsum(axis=1) - size), 0, size)
        part = np.divide(left, size, out=np.zeros_like(size), where=size > 0)
        kept: Array = weights * part[:, self.group]
        return kept

    def at(self, share: float, metric: Metric) -> Metric:
        """Return `metric` of the most confident `share`."""
        return lambda sample: metric(Weighted(sample.predictions, self.kept(sample.weights, share)))

    def gain(self, sample: Weighted) -> Array:
        """(B,) accuracy of the more confident half, minus that of all."""
        accuracy = METRICS["accuracy"]
        return self.at(COVERAGES[-1], accuracy)(sample) - accuracy(sample)

    def area(self, sample: Weighted) -> Array:
        """(B,) mean over i of the accuracy of the i most confident rows; weights are counts.

        Within a group of w rows, a share h of them right, after c rows of which r are right, the
        sum of (r + m h) / (c + m) over m = 1 to w is w h + (r - c h) (H(c + w) - H(c)), with H the
        harmonic numbers.
        """
        size = self._by_group(sample.weights)
        right = self._by_group(sample.weights * self.right)
        end = size.cumsum(axis=1)
        share = np.divide(right, size, out=np.zeros_like(size), where=size > 0)
        harmonic = np.cumsum(np.append(0.0, 1 / np.arange(1, end[:, -1].max() + 1)))
        span = harmonic[end.astype(int)] - harmonic[(end - size).astype(int)]
        before = right.cumsum(axis=1) - right
        total = (right + (before - (end - size) * share) * span).sum(axis=1)
        area: Array = total / end[:, -1]
        return area

    def _by_group(self, values: Array) -> Array:
        """(B, n) -> (B, G) sums."""
        sums: Array = np.add.reduceat(values[:, self.order], self.starts, axis=1)
        return sums


def _point(order: _ByConfidence, share: float, found: Mapping[str, Interval]) -> dict[str, Any]:
    rows = order.predictions
    kept = order.kept(unweighted(rows).weights, share)[0]
    answered = kept > 0
    # Equally confident people at the end are answered in part: they are more than the answers.
    n_people = min(len(np.unique(rows.people[answered])), round(kept.sum()))
    people_of = [
        len(np.unique(rows.people[answered & (rows.labels == c)])) for c in np.unique(rows.labels)
    ]
    accuracy = found[f"accuracy {share}"]
    if rows.by_person or accuracy["value"] in (0, 1):  # resampling would show no doubt of 0 and 1
        low, high = wilson(accuracy["value"] * n_people, n_people)
        accuracy = {"value": accuracy["value"], "low": low, "high": high}
    return {
        "coverage": share,
        "n_people": n_people,
        "few_people": min(people_of) < FEW_PEOPLE,
        "accuracy": accuracy,
        "balanced_accuracy": found[f"balanced {share}"],
    }


def _sentence(found: Mapping[str, Interval]) -> str:
    half, full = found[f"accuracy {COVERAGES[-1]}"]["value"], found["accuracy 1.0"]["value"]
    gain = found["gain"]
    facts = (
        f"Accuracy is {half:.3f} on the more confident half and {full:.3f} on all, a difference "
        f"of {gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
    )
    if gain["low"] > 0:
        return f"{facts}: abstaining raises it."
    if gain["high"] < 0:
        return f"{facts}: abstaining lowers it, the confident answers are the worse ones."
    return f"{facts}: abstaining is not shown to raise it."
