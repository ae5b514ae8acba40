"""Can a probability be taken at its word? Judged on people who taught it nothing.

Axes: n rows (people, or one row of a person per repeat), K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models.calibration import Calibration
from ...predictions import FEW_PEOPLE, Predictions
from ..metrics.intervals import Interval, estimate_and_resample, interval
from ..metrics.reliability import (
    CALIBRATION_METRICS,
    calibration_curve,
    error_interval,
    errors_if_perfect,
)

_MOST_UNDEFINED = 0.025  # share of resamples without a slope above which its interval has no end


def calibration_report(
    before: Predictions,
    after: Predictions,
    calibration: Calibration,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge probabilities before and after `calibration`, with 95 % intervals over people.

    Returns:
        ``applied``; ``before`` and ``after``, each with an interval per `CALIBRATION_METRICS`,
        ``ece_if_perfect`` (the mean `ece` of `errors_if_perfect`) and the ``curve``;
        ``few_people``, true where under 10 are demented or are not; and a plain ``sentence``.
    """
    if any(not np.array_equal(getattr(before, x), getattr(after, x)) for x in ("labels", "people")):
        raise ValueError("before and after are not the same rows")
    n_people, demented = after.n_people, after.labels > 0
    if n_people < FEW_PEOPLE:
        reason = f"under {FEW_PEOPLE} people, calibration cannot be told"
        return {"available": False, "reason": reason, "n_people": n_people}
    fewest = min(len(np.unique(after.people[group])) for group in (demented, ~demented))
    judged = {
        name: _judge(rows, n_bootstrap, seed)
        for name, rows in (("before", before), ("after", after))
    }
    return {
        "available": True,
        "applied": calibration.to_dict(),
        **judged,
        "few_people": fewest < FEW_PEOPLE,
        "sentence": _verdict(judged["after"]["slope"], n_people, fewest < FEW_PEOPLE)
        + _shift(judged["after"]["intercept"], fewest < FEW_PEOPLE),
    }


def _judge(rows: Predictions, n_bootstrap: int, seed: int) -> dict[str, Any]:
    values = estimate_and_resample(rows, [CALIBRATION_METRICS], n_bootstrap, seed)
    found: dict[str, Any] = {name: interval(*values[name]) for name in CALIBRATION_METRICS}
    if np.isnan(values["slope"][1]).mean() > _MOST_UNDEFINED:
        # Where classes do not overlap the slope has no upper limit: the others are too low.
        found["slope"].update(low=None, high=None)
    if_perfect = errors_if_perfect(rows, seed)
    for name, errors in if_perfect.items():
        found[name] = error_interval(*values[name], errors)
    found["ece_if_perfect"] = float(if_perfect["ece"].mean())
    return {**found, "curve": calibration_curve(rows)}


def _verdict(slope: Interval, n_people: int, few_people: bool) -> str:
    why = ""
    if few_people:
        why = f"under {FEW_PEOPLE} people are demented, or under {FEW_PEOPLE} are not"
    elif slope["low"] is None:
        why = "those of people with and without dementia hardly overlap, or are all the same"
    if why:
        return f"Whether the probabilities are over- or under-confident cannot be told: {why}."
    measured = f"slope {slope['value']:.2f}, {slope['low']:.2f} to {slope['high']:.2f}"
    if slope["value"] <= 0 and slope["high"] < 1:
        return (
            "The probabilities tell nothing: people with a higher one are not demented more often "
            f"({measured}; 1 is right)."
        )
    if slope["high"] < 1:
        return (
            f"The probabilities are over-confident: nearer to 0 and 1 than they should be "
            f"({measured}; 1 is right)."
        )
    if slope["low"] > 1:
        return (
            f"The probabilities are under-confident: further from 0 and 1 than they should be "
            f"({measured}; 1 is right)."
        )
    return (
        f"These {n_people} people show neither over- nor under-confidence "
        f"({measured}; 1 is right), which is no proof that there is none."
    )


def _shift(intercept: Interval, few_people: bool) -> str:
    """Return a sentence on probabilities that are too high or too low on average; else nothing."""
    low, high = intercept["low"], intercept["high"]
    if few_people or low is None or low <= 0 <= high:
        return ""
    word = "high" if high < 0 else "low"
    return (
        f" On average p(demented) is too {word} (intercept {intercept['value']:.2f}, {low:.2f} to "
        f"{high:.2f}; 0 is right); class weights can do that, and a temperature cannot undo it."
    )
