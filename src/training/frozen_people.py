"""People and the features that a frozen backbone gives of their images.

Arrays: ``(n, F)`` features of n images of P people; K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn

from ..models.pooling import slice_weights
from .features import Floats


@dataclass(frozen=True, eq=False)
class People:
    """People and the features of their images.

    Attributes:
        images: ``(n, F)`` features.
        person: ``(n,)`` number of each image's person, 0 to P - 1.
        labels: ``(P,)`` classes.
        subjects: ``(P,)`` names.
        stages: ``(P,)`` 0 to 2: CDR 0, 0.5, and 1 or more.
        pool: How the images of a person become one answer; anything but the mean needs `scans`,
            and attention `places`.
        scans: ``(n,)`` number of each image's scan, from 0.
        places: ``(n,)`` where each slice lies in its scan, 0 to 1.
        weights: ``(n,)`` what each image counts; None: all the same.
    """

    images: Floats
    person: NDArray[np.int64]
    labels: NDArray[np.int64]
    subjects: NDArray[Any]
    stages: NDArray[np.int64]
    pool: str = "mean"
    scans: NDArray[np.int64] | None = None
    places: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """``(P, F)`` mean features of each person, weighted where images are."""
        return self._mean_of(self.images, self.person, len(self.labels), self.weights)

    @torch.no_grad()
    def mean_logits(self, head: nn.Module, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the pooled logits ``(len(chosen), K)`` of some people over their images."""
        order = np.full(len(self.labels), -1)
        order[chosen] = np.arange(len(chosen))
        rows = np.flatnonzero(order[self.person] >= 0)
        logits = head(torch.from_numpy(self.images[rows]).double()).numpy()
        weights = None if self.weights is None else self.weights[rows]
        if self.pool == "max":
            assert self.scans is not None
            scans = np.unique(self.scans[rows], return_inverse=True)[1]
            weights = slice_weights("max", logits, scans, order[self.person[rows]])
        return self._mean_of(logits, order[self.person[rows]], len(chosen), weights)

    @staticmethod
    def _mean_of(
        values: NDArray[Any],
        group: NDArray[np.int64],
        count: int,
        weights: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        if weights is not None:
            table = csr_array((weights, (group, np.arange(len(group)))), (count, len(group)))
            return np.asarray((table @ values) / np.asarray(table.sum(axis=1))[:, None])
        sums = np.zeros((count, values.shape[1]))
        np.add.at(sums, group, values)
        return sums / np.bincount(group, minlength=count)[:, None]
