"""Do prediction sets hold the truth as often as they promise, in every class?

Axes: n rows (people, or one row of a person per repeat), K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...models.conformal import Sets, people_needed
from ...predictions import FEW_PEOPLE, Array, Predictions, ratio
from ..metrics.intervals import Interval, Metric, estimate_and_resample, interval, wilson_interval


def score_sets(
    sets: Mapping[float, Sets],
    estimable: Mapping[float, Sequence[bool]],
    predictions: Predictions,
    classes: Sequence[str],
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score prediction sets of each level, with 95 % intervals over people.

    Args:
        sets: Level -> (n, K), as `prediction_sets` returns.
        estimable: Level -> (K,), as `estimable` returns; a class that could not be estimated on
            some of the rows counts as not estimable.
        predictions: The n rows, one per person or several.
        classes: K names, mildest first.
        n_bootstrap: Resamples of people.
        seed: Same seed, same intervals.

    Returns:
        ``levels``: ``"0.90"`` -> ``coverage`` (share of sets that hold the truth), ``mean_size`` in
        classes, ``singletons`` (share of sets of one class), ``empty`` (number of empty sets) and
        ``per_class`` coverage.
    """
    shape = (len(predictions.labels), len(classes))
    if sets.keys() != estimable.keys() or any(held.shape != shape for held in sets.values()):
        raise ValueError(f"sets are not {shape} at every level of {sorted(estimable)}")
    n_people = predictions.n_people
    if n_people < FEW_PEOPLE:
        reason = f"under {FEW_PEOPLE} people, the coverage of sets cannot be told"
        return {"available": False, "reason": reason, "n_people": n_people}
    if not any(any(of_level) for of_level in estimable.values()):
        reason = (
            f"every class has too few validation people: {people_needed(min(sets))} or more are "
            f"needed at {100 * min(sets):g} %"
        )
        return {"available": False, "reason": reason, "n_people": n_people}
    levels = {}
    for level in sorted(sets):
        values = estimate_and_resample(
            predictions, [_measures(sets[level], predictions)], n_bootstrap, seed
        )
        per_class = {
            name: _score_class(k, level, predictions, estimable[level][k], values)
            for k, name in enumerate(classes)
        }
        levels[f"{level:.2f}"] = {
            "coverage": _share(*values["coverage"], predictions, n_people),
            "mean_size": interval(*values["mean_size"]),
            "per_class": per_class,
            "empty": int((~sets[level].any(axis=1)).sum()),
            "singletons": _share(*values["singletons"], predictions, n_people),
        }
    return {"available": True, "levels": levels}


def _measures(held: Sets, rows: Predictions) -> dict[str, Metric]:
    """Return what is measured of one level's sets; ``per_class`` is (B, K)."""
    right = held[np.arange(len(held)), rows.labels].astype(np.float64)
    size = held.sum(axis=1).astype(np.float64)
    truth = np.eye(rows.num_classes)[rows.labels]
    return {
        "coverage": lambda sample: sample.mean(right),
        "mean_size": lambda sample: sample.mean(size),
        "singletons": lambda sample: sample.mean((size == 1).astype(np.float64)),
        "per_class": lambda sample: ratio(
            sample.weights @ (truth * right[:, None]), sample.weights @ truth
        ),
    }


def _score_class(
    k: int,
    level: float,
    rows: Predictions,
    enough: bool,
    values: Mapping[str, tuple[Array, Array]],
) -> dict[str, Any]:
    """Return one class's coverage, or why there is none."""
    n_people = len(np.unique(rows.people[rows.labels == k]))
    reason = ""
    if not enough:
        reason = (
            f"{people_needed(level)} validation people of the class are needed at "
            f"{100 * level:g} %: it is in every set"
        )
    elif n_people < FEW_PEOPLE:
        reason = f"under {FEW_PEOPLE} people of the class were scored"
    if reason:
        few = n_people < FEW_PEOPLE
        return {"available": False, "reason": reason, "n_people": n_people, "few_people": few}
    point, resampled = values["per_class"]
    coverage = _share(point[k], resampled[:, k], rows, n_people)
    return {"available": True, "n_people": n_people, "coverage": coverage}


def _share(point: Any, resampled: Array, rows: Predictions, n_people: int) -> Interval:
    """Return a share with its interval: Wilson's where rows are people, else the bootstrap's.

    Resamples of 0 or 1 do not vary, whatever the number of people, so there it is Wilson's too.
    """
    if rows.by_person or point in (0, 1):
        return wilson_interval(round(float(point) * n_people), n_people)
    return interval(point, resampled)
