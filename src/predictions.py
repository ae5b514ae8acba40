"""What a model said about rows, and the same seen through row weights.

A point estimate and its bootstrap are one computation: every row has a weight, 1 for the estimate,
the number of times its person was drawn for a resample.

Axes: B resamples, n rows (slices or people), P people, K classes (mildest first, one stage apart).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
#: A group of fewer people is flagged wherever it is shown: its score is a count, no estimate.
FEW_PEOPLE = 10


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about rows, and what is true.

    Attributes:
        labels: (n,) true class, 0 to K-1.
        logits: (n, K) scores before softmax.
        subjects: (n,) person of each row.
        weights: (n,) what each row counts in its person's answer, >= 0; None: all the same.

    Raises:
        ValueError: Lengths differ, there is no row, a label is no class, or a logit or weight is
            none.
    """

    labels: Integers
    logits: Array
    subjects: npt.NDArray[Any]
    weights: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))
        object.__setattr__(self, "logits", np.asarray(self.logits, dtype=np.float64))
        object.__setattr__(self, "subjects", np.asarray(self.subjects))
        n = len(self.labels)
        if self.logits.ndim != 2 or not n or not len(self.logits) == len(self.subjects) == n:
            raise ValueError(
                f"labels {self.labels.shape}, logits {self.logits.shape} and subjects "
                f"{self.subjects.shape} are not (n,), (n, K) and (n,) with n > 0"
            )
        if self.labels.min() < 0 or self.labels.max() >= self.logits.shape[1]:
            raise ValueError(f"a label is not in 0 to {self.logits.shape[1] - 1}")
        bad = int((~np.isfinite(self.logits)).any(axis=1).sum())
        if bad:
            raise ValueError(f"logits are not finite in {bad} of {n} rows")
        if self.weights is not None:
            object.__setattr__(self, "weights", np.asarray(self.weights, dtype=np.float64))
            sound = (self.weights >= 0) & (self.weights < np.inf)
            if self.weights.shape != (n,) or not sound.all():
                raise ValueError(f"weights are not a number of 0 or more for each of {n} rows")

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.logits.shape[1])

    @cached_property
    def predicted(self) -> Integers:
        """(n,) most probable class."""
        best: Integers = self.logits.argmax(axis=1)
        return best

    @cached_property
    def log_probabilities(self) -> Array:
        """(n, K) logarithm of the softmax."""
        return self.logits - _log_sum_exp(self.logits)[:, None]

    @property
    def probabilities(self) -> Array:
        """(n, K) softmax; rows sum to 1."""
        return np.exp(self.log_probabilities)

    @property
    def accuracy(self) -> float:
        """Share of rows that are predicted right, 0 to 1."""
        return float(np.mean(self.predicted == self.labels))

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur, 0 to 1; every row counts once."""
        confusion = unweighted(self).confusion
        recall = ratio(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))
        return float(recall[0, np.unique(self.labels)].mean())

    @property
    def log_loss(self) -> float:
        """Mean of -log(probability of the true class), in nats; every row counts once."""
        own = np.take_along_axis(self.log_probabilities, self.labels[:, None], axis=1)
        return float(unweighted(self).mean(-own[:, 0])[0])

    @cached_property
    def people(self) -> Integers:
        """(n,) number of each row's person, 0 to P-1, in order of first appearance."""
        _, first, number = np.unique(self.subjects, return_index=True, return_inverse=True)
        numbers: Integers = first.argsort().argsort()[number]
        return numbers

    @cached_property
    def n_people(self) -> int:
        """P."""
        return int(self.people.max()) + 1

    @property
    def by_person(self) -> bool:
        """Whether every person has one row."""
        return self.n_people == len(self.labels)

    @cached_property
    def rankings(self) -> list[tuple[Integers, Integers, Integers]]:
        """Per class: rows from least to most likely, and where the ties of each begin and end.

        Ranked by log-odds against the other classes: the order of the probabilities, without the
        ties that appear where these round to 0 or 1.
        """
        rankings = []
        for k in range(self.num_classes):
            odds = self.logits[:, k] - _log_sum_exp(np.delete(self.logits, k, axis=1))
            odds = odds.round(9)  # equal odds that differ by rounding errors are ties
            order = odds.argsort(kind="stable")
            ranked = odds[order]
            begin = np.searchsorted(ranked, ranked, side="left")
            rankings.append((order, begin, np.searchsorted(ranked, ranked, side="right")))
        return rankings


def per_person(predictions: Predictions) -> Predictions:
    """Return one row per person: the mean logit over the person's rows, weighted where they are.

    A person whose sessions were rated differently counts with the label of the first row, which in
    a manifest's order is the first session.
    """
    people, weights = predictions.people, predictions.weights
    logits = np.zeros((predictions.n_people, predictions.num_classes))
    rows = predictions.logits if weights is None else predictions.logits * weights[:, None]
    np.add.at(logits, people, rows)
    total = np.bincount(people, weights)
    if not total.all():
        raise ValueError(f"no row of {predictions.subjects[people == total.argmin()][0]} counts")
    first = np.unique(people, return_index=True)[1]
    return Predictions(
        labels=predictions.labels[first],
        logits=logits / total[:, None],
        subjects=predictions.subjects[first],
    )


def as_binary(predictions: Predictions) -> Predictions:
    """Return the same rows as CDR 0 (class 0) against > 0 (class 1), with the same probabilities.

    The second logit minus the first is the log-odds of "demented".
    """
    logits = predictions.logits
    rest = _log_sum_exp(logits[:, 1:])
    return Predictions(
        labels=(predictions.labels > 0).astype(np.int64),
        logits=np.stack([logits[:, 0], rest], axis=1),
        subjects=predictions.subjects,
        weights=predictions.weights,
    )


def take_rows(predictions: Predictions, keep: npt.NDArray[Any]) -> Predictions:
    """Return the rows that `keep`, a mask or row numbers, names, in that order."""
    weights = predictions.weights
    return Predictions(
        *(predictions.labels[keep], predictions.logits[keep], predictions.subjects[keep]),
        weights=None if weights is None else weights[keep],
    )


class Weighted:
    """Predictions seen through B sets of row weights: what every metric is a function of.

    Args:
        predictions: n rows.
        weights: (B, n) how often each row counts.
    """

    def __init__(self, predictions: Predictions, weights: Array) -> None:
        self.predictions = predictions
        self.weights = weights

    @cached_property
    def confusion(self) -> Array:
        """(B, K, K) weight of the rows of each true class (axis 1) and predicted class (axis 2)."""
        k = self.predictions.num_classes
        cell = self.predictions.labels * k + self.predictions.predicted
        counts: Array = self.weights @ np.eye(k * k)[cell]
        return counts.reshape(-1, k, k)

    @cached_property
    def auc(self) -> Array:
        """(B, K) area under the ROC curve of each class against the rest; ties count half."""
        return np.stack([self._auc(k) for k in range(self.predictions.num_classes)], axis=1)

    def mean(self, values: Array) -> Array:
        """Return the (B,) weighted mean of one value per row."""
        return ratio(self.weights @ values, self.weights.sum(axis=1))

    def _auc(self, k: int) -> Array:
        order, begin, end = self.predictions.rankings[k]
        is_class = self.predictions.labels[order] == k
        weights = self.weights[:, order]
        below = np.zeros((len(weights), len(order) + 1))
        np.cumsum(np.where(is_class, 0.0, weights), axis=1, out=below[:, 1:])
        own = weights[:, is_class]
        beaten = below[:, begin[is_class]] + below[:, end[is_class]]  # twice: ties count half
        pairs = own.sum(axis=1) * below[:, -1]
        return ratio(np.einsum("bi,bi->b", own, beaten) / 2, pairs)


def unweighted(predictions: Predictions) -> Weighted:
    """Return the view in which every row counts once (B = 1)."""
    return Weighted(predictions, np.ones((1, len(predictions.labels))))


def ratio(above: Array, below: Array) -> Array:
    """Divide; NaN where nothing stands below."""
    quotient: Array = np.full(np.shape(above), np.nan)
    return np.divide(above, below, out=quotient, where=below > 0)


def _log_sum_exp(logits: Array) -> Array:
    largest = logits.max(axis=1, keepdims=True)
    total: Array = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0]
    return total
