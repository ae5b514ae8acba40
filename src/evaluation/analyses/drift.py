"""A model on people of another study: how far scores and probabilities have moved."""

from __future__ import annotations

from typing import Any

from ...predictions import Predictions
from ..answers import Answers
from ..metrics.intervals import Metric, estimate_and_resample, interval
from ..metrics.reliability import CALIBRATION_METRICS
from ..metrics.scores import METRICS

_SCORES = ("balanced_accuracy", "macro_auc", "brier", "log_loss")
_PROBABILITIES = ("slope", "intercept")


def drift(
    validation: Predictions, trained_on: str, answers: Answers, n_bootstrap: int = 2000
) -> dict[str, Any]:
    """Compare the validation people of the training study with the people here.

    Validation people chose the epoch and the temperature, so their scores are mildly optimistic; a
    part of every fall is theirs. The two groups of people are resampled independently.

    Args:
        validation: Raw logits of the training study's validation people, one row per person.
        trained_on: Name of the training study's data set.
        answers: What the model said of the people here.
        n_bootstrap: Resamples of people behind every interval.

    Returns:
        ``trained_on``, ``n_validation``, ``drift`` (metric -> ``validation``, ``here`` and
        ``difference``, intervals) and a ``sentence``.
    """
    before = answers.calibration.apply(validation)
    measures: dict[str, Metric] = {name: METRICS[name] for name in _SCORES}
    measures |= {name: CALIBRATION_METRICS[name] for name in _PROBABILITIES}
    found = moved(before, answers.calibrated, measures, n_bootstrap)
    return {
        "trained_on": trained_on,
        "n_validation": before.n_people,
        "drift": found,
        "sentence": _sentence(found["macro_auc"], found["slope"], before.n_people, answers),
    }


def moved(
    before: Predictions, here: Predictions, measures: dict[str, Metric], n_bootstrap: int
) -> dict[str, Any]:
    """Compare scores of two groups of people, which are resampled independently.

    Returns:
        Metric -> ``validation``, ``here`` and ``difference``, intervals.
    """
    there = estimate_and_resample(before, [measures], n_bootstrap, 0)
    now = estimate_and_resample(here, [measures], n_bootstrap, 1)
    found = {}
    for name in measures:
        size = min(len(there[name][1]), len(now[name][1]))
        difference = now[name][1][:size] - there[name][1][:size]
        found[name] = {
            "validation": interval(*there[name]),
            "here": interval(*now[name]),
            "difference": interval(now[name][0] - there[name][0], difference),
        }
    return found


def _sentence(auc: dict[str, Any], slope: dict[str, Any], n: int, answers: Answers) -> str:
    change, here = auc["difference"], slope["here"]
    people = answers.calibrated.n_people
    if change["low"] is None:
        told = "the drift of the AUC cannot be estimated"
    elif change["low"] <= 0 <= change["high"]:
        told = f"no drift of the macro AUC that {n} and {people} people could show"
    else:
        word = "falls" if change["value"] < 0 else "rises"
        told = f"the macro AUC {word} by {abs(change['value']):.3f}"
    if here["low"] is not None and not here["low"] <= 1 <= here["high"]:
        word = "over-confident" if here["value"] < 1 else "under-confident"
        told += f"; probabilities are {word} here (slope {here['value']:.2f})"
    return told
