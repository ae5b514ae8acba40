"""What acting on the probability of dementia gains, against acting on everyone or on no one.

Net benefit counts true positives, and takes off each false positive at the odds of the threshold:
someone who acts from 20 % on holds a case missed to be as bad as four people treated for nothing.

Source: Vickers & Elkin (2006), doi:10.1177/0272989X06295361.

Axes: B resamples, n rows, T thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import counted
from ...predictions import FEW_PEOPLE, Array, Predictions, Weighted, as_binary, per_person
from ..metrics.intervals import Metric, estimate_and_resample, interval

#: .05 to .60 in steps of .0125.
THRESHOLDS: tuple[float, ...] = tuple(float(t) for t in np.linspace(0.05, 0.6, 45).round(4))


def decision_curve(
    predictions: Predictions,
    thresholds: Sequence[float] = THRESHOLDS,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the net benefit of acting where the probability of dementia reaches a threshold.

    The useful range is where the model beats the better of its two rivals: there the lower end of
    the paired difference is above 0. The band holds for one threshold at a time, so a single useful
    threshold between others that are not is no range.

    Args:
        predictions: Calibrated, one row per person or several; all classes above 0 are demented.
        thresholds: (T,) ascending, each between 0 and 1.
        n_bootstrap: Resamples of people.
        seed: Same seed, same intervals.

    Returns:
        ``thresholds``; the net benefit (true positives per row, so at most the prevalence) of the
        ``model``, with its 95 % band from ``low`` to ``high``, of treating ``all`` and of treating
        ``none``; ``useful`` ([from, to] or None) and a ``sentence``.

    Raises:
        ValueError: `thresholds` are not ascending numbers between 0 and 1.
    """
    at = np.asarray(thresholds, dtype=np.float64)
    if not at.size or at[0] <= 0 or at[-1] >= 1 or (np.diff(at) <= 0).any():
        raise ValueError("thresholds are not ascending numbers between 0 and 1")
    demented = int((per_person(predictions).labels > 0).sum())
    healthy = predictions.n_people - demented
    if min(demented, healthy) < FEW_PEOPLE:
        both = f"{counted(demented, 'demented person')} and {counted(healthy, 'other')}"
        reason = f"{both}; {FEW_PEOPLE} of each are needed"
        return {"available": False, "reason": reason}
    values = estimate_and_resample(predictions, [net_benefits(predictions, at)], n_bootstrap, seed)
    band = _intervals(*values["model"])
    useful = _widest(
        [gain["low"] is not None and gain["low"] > 0 for gain in _intervals(*values["gain"])], at
    )
    return {
        "available": True,
        "thresholds": at.tolist(),
        "model": [entry["value"] for entry in band],
        "low": [entry["low"] for entry in band],
        "high": [entry["high"] for entry in band],
        "all": values["all"][0].tolist(),
        "none": [0.0] * len(at),
        "useful": useful,
        "sentence": _sentence(useful),
    }


def net_benefits(predictions: Predictions, thresholds: Array) -> dict[str, Metric]:
    """Return (B, T) metrics: of the ``model``, of treating ``all``, and the model's ``gain``.

    The gain is over the better of treating all and treating none, in the same resample.
    """
    binary = as_binary(predictions)
    # Rounded, so that a probability that should equal a threshold reaches it.
    acts = binary.probabilities[:, 1:].round(9) >= thresholds.round(9)
    odds = thresholds / (1 - thresholds)
    worth = np.where(binary.labels[:, None] == 1, 1.0, -odds)  # (n, T) of acting on a row
    gained = np.where(acts, worth, 0.0)

    def mean(sample: Weighted, values: Array) -> Array:
        total: Array = sample.weights @ values / sample.weights.sum(axis=1, keepdims=True)
        return total

    def gain(sample: Weighted) -> Array:
        return mean(sample, gained) - np.maximum(mean(sample, worth), 0)

    return {
        "model": lambda sample: mean(sample, gained),
        "all": lambda sample: mean(sample, worth),
        "gain": gain,
    }


def _intervals(values: Array, resampled: Array) -> list[dict[str, Any]]:
    return [interval(value, resampled[:, t]) for t, value in enumerate(values)]


def _widest(better: list[bool], thresholds: Array) -> list[float] | None:
    """Return the ends of the widest run of two or more neighbouring thresholds that are better."""
    edges = np.flatnonzero(np.diff([False, *better, False]))
    runs = [(thresholds[start], thresholds[end - 1]) for start, end in edges.reshape(-1, 2)]
    low, high = max(runs, key=lambda run: run[1] - run[0], default=(0.0, 0.0))
    return [float(low), float(high)] if high > low else None


def _sentence(useful: list[float] | None) -> str:
    if useful is None:
        return (
            "At no range of thresholds is the model shown to beat both acting on all and on none."
        )
    low, high = (f"{100 * end:g}" for end in useful)
    return (
        f"Acting on the model's probability is better than acting on all and than acting on none "
        f"at thresholds from {low} to {high} %."
    )
