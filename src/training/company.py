"""On what company an answer rests: the training people whose images a model finds most alike.

How alike two people are is the cosine of their features: each is the mean over a person's images,
of length 1 (`likeness.person_row`). It is 1 - d^2 / 2 of the distance d that `likeness` counts.

No name is kept. A training person is a class, and an age in whole decades.

Axes: n people asked about, T training people, F features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..report.own_results import OLDEST

Float = NDArray[np.float32]
Array = NDArray[np.float64]
_DECADES = (None, *range(0, OLDEST + 1, 10))


@dataclass(frozen=True, eq=False)
class Company:
    """Training people who can be somebody's neighbours.

    Attributes:
        rows: ``(T, F)`` mean features, of length 1.
        labels: ``(T,)`` class of each.
        decades: ``(T,)`` age in years, down to the decade; NaN where it is not known.
    """

    rows: Float
    labels: NDArray[np.int64]
    decades: Array

    @classmethod
    def of(cls, rows: Float, people: Sequence[tuple[int, int | None]]) -> Company:
        """Return the company of people with these features, classes and decades."""
        labels = np.array([label for label, _ in people], dtype=np.int64)
        known = [math.nan if age is None else age for _, age in people]
        return cls(rows, labels, np.array(known, dtype=np.float64))

    def nearest(self, rows: Float, most: int) -> tuple[NDArray[np.int64], Array]:
        """Return whom people are most like.

        Args:
            rows: ``(n, F)``, of length 1.
            most: How many neighbours of each.

        Returns:
            Numbers of training people ``(n, k)``, most alike first, and the cosines ``(n, k)``;
            k is `most`, or T where that is less.
        """
        alike = cosines(rows, self.rows)
        order = np.argsort(-alike, axis=1, kind="stable")[:, :most]
        return order, np.take_along_axis(alike, order, axis=1)

    def typical(self) -> float:
        """Return the median cosine of two training people."""
        pairs = np.triu_indices(len(self.rows), 1)
        return float(np.median(cosines(self.rows, self.rows)[pairs]))

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads beside the features, and no name."""
        ages = [None if math.isnan(age) else int(age) for age in self.decades]
        return {"labels": self.labels.tolist(), "decades": ages}

    @classmethod
    def from_dict(cls, content: Any, rows: Float, classes: int | None = None) -> Company:
        """Read what `to_dict` wrote; a file is not trusted.

        Args:
            content: What was stored.
            rows: ``(P, F)`` of all people that were stored, the training people first.
            classes: How many there are; None if that is not known.

        Raises:
            ValueError: It is of more people, or of classes or ages that cannot be.
        """
        labels, ages = content["labels"], content["decades"]
        if not (type(labels) is type(ages) is list and 1 < len(labels) == len(ages) <= len(rows)):
            raise ValueError("classes and ages of other people than the features")
        least, below = min(labels), math.inf if classes is None else classes
        if not (all(type(label) is int for label in labels) and 0 <= least <= max(labels) < below):
            raise ValueError("a class that cannot be")
        if not all(type(age) in (int, type(None)) and age in _DECADES for age in ages):
            raise ValueError("an age that is no decade")
        rows = rows[: len(labels)]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)  # half precision, when stored
        people = list(zip(labels, ages, strict=True))
        return cls.of(rows / np.maximum(lengths, 1e-12), people)


def cosines(rows: Float, among: Float) -> Array:
    """Return how alike each row is to each of `among`, -1 to 1: ``(n, T)`` of rows of length 1."""
    return np.clip(rows.astype(np.float64) @ among.T.astype(np.float64), -1, 1)


def decade(age: Any) -> int | None:
    """Return an age in years down to its decade, 90 from 90 years on; None where it is missing."""
    years = math.nan if age is None else float(age)
    return None if math.isnan(years) else min(int(years // 10) * 10, OLDEST)
