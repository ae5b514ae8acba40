"""Sets instead of points: the classes that a person may be of, right as often as they claim.

Split-conformal prediction, class by class ("Mondrian"): a class is in the set unless its
probability is lower than nearly all that validation people of this class got. Of new people of
*each* class, at least the level (say 90 %) then have their class in their set, on average over
validation samples and whatever the model; it holds where people are alike, no more. Whether it
held is judged in `evaluation.analyses.prediction_sets`.

Axes: n rows (people, or one row of a person per repeat), K classes.

Sources: Vovk (2012), arXiv:1209.2673 (conditional on the class); Sadinle, Lei and Wasserman (2019),
doi:10.1080/01621459.2017.1395341 (least ambiguous sets, by class).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError
from ..predictions import Predictions

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
