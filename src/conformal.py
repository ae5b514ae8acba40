"""Sets instead of points: the classes that a person may be of, right as often as they claim.

Split-conformal prediction, class by class ("Mondrian"): a class is in the set unless its
probability is lower than nearly all that validation people of this class got. Of new people of
*each* class, at least the level (say 90 %) then have their class in their set, on average over
validation samples and whatever the model; it holds where people are alike, no more.

Axes: n rows (people, or one row of a person per repeat), K classes.

Sources: Vovk (2012), arXiv:1209.2673 (conditional on the class); Sadinle, Lei and Wasserman (2019),
doi:10.1080/01621459.2017.1395341 (least ambiguous sets, by class).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import CheckpointError
from .intervals import Interval, Metric, estimate_and_resample, interval, wilson_interval
from .predictions import FEW_PEOPLE, Array, Predictions, ratio

Sets = npt.NDArray[np.bool_]
LEVELS = (0.80, 0.90, 0.95)
_TOLERANCE = 1e-9  # a probability, or a count, that differs by rounding errors is the same


@dataclass(frozen=True)
class Conformal:
    """How surprising validation people were: what prediction sets are made from.

    Attributes:
        scores: Per class, ascending: 1 - p(true class) of every validation person of that class.
    """

    scores: tuple[tuple[float, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads, in plain values; no person is named."""
        return {"scores": [list(scores) for scores in self.scores]}

    @classmethod
    def from_dict(cls, content: Any, num_classes: int) -> Conformal:
        """Read what `to_dict` wrote for a model of `num_classes`; a file is not trusted.

        Raises:
            CheckpointError: The scores are missing, of another number of classes, not sorted or
                not between 0 and 1.
        """
        scores = content.get("scores") if isinstance(content, dict) and len(content) == 1 else None
        sound = isinstance(scores, list | tuple) and len(scores) == num_classes
        if not sound or not all(map(_are_scores, scores or ())):
            raise CheckpointError(
                f"the stored conformal scores are damaged or not those of {num_classes} classes",
                hint="train again, or copy the checkpoint again",
            )
        return cls(tuple(tuple(map(float, own)) for own in scores or ()))


def fit_conformal(validation: Predictions) -> Conformal:
    """Keep the score of every validation person, from calibrated probabilities.

    A person with several rows counts once: with the mean probability over them, and the label of
    the first. A temperature fitted on the same people costs coverage too little to be measured (a
    few tenths of a point with 50 people), vector scaling about a point.
    """
    people = validation.people
    p = np.zeros((validation.n_people, validation.num_classes))
    np.add.at(p, people, validation.probabilities)
    labels = validation.labels[np.unique(people, return_index=True)[1]]
    own = p[np.arange(len(p)), labels] / np.bincount(people)
    scores = np.clip(1 - own, 0.0, 1.0)
    classes = range(validation.num_classes)
    return Conformal(tuple(tuple(np.sort(scores[labels == k]).tolist()) for k in classes))


def people_needed(level: float) -> int:
    """Return how many validation people of a class its sets need: 4, 9, 19 at 80, 90, 95 %."""
    return math.ceil(level / (1 - level) - _TOLERANCE)


def estimable(conformal: Conformal, level: float) -> list[bool]:
    """Return, per class, whether there are enough validation people for `level`."""
    return [_rank(len(scores), level) <= len(scores) for scores in conformal.scores]


def prediction_sets(conformal: Conformal, predictions: Predictions, level: float) -> Sets:
    """Return (n, K) whether each class is in the set of each row.

    The threshold of a class is the ``ceil((n_k + 1) * level)``-th smallest of its n_k scores. A
    class with too few validation people for that is in every set, so that nothing is promised
    that cannot be kept. A set may be empty: the person is unlike those of every class.

    Args:
        conformal: Fitted on validation people.
        predictions: Calibrated as these were.
        level: Share of each class's people whose set shall hold it, between 0 and 1.
    """
    k = predictions.num_classes
    if len(conformal.scores) != k:
        raise ValueError(f"scores of {len(conformal.scores)} classes for predictions of {k}")
    limits = [_threshold(scores, level) for scores in conformal.scores]
    held: Sets = 1 - predictions.probabilities <= np.array(limits) + _TOLERANCE
    return held


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


def _rank(n: int, level: float) -> int:
    """Return which of n scores, counted from 1, is the threshold; above n where there is none."""
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")
    return math.ceil((n + 1) * level - _TOLERANCE)


def _threshold(scores: Sequence[float], level: float) -> float:
    rank = _rank(len(scores), level)
    return scores[rank - 1] if rank <= len(scores) else math.inf


def _are_scores(values: Any) -> bool:
    return (
        isinstance(values, list | tuple)
        and all(type(value) in (int, float) and 0 <= value <= 1 for value in values)
        and list(values) == sorted(values)
    )
