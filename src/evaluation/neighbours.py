"""The training people whom scored people are most like in the model's eye, as a table.

Axes: n scored people, F features.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.dataset import MriDataset
from ..models.classifier import Classifier
from ..report.own_results import N_NEIGHBOURS, neighbour_columns
from ..training.company import Company
from ..training.likeness import Reference, person_row
from .answers import Neighbours

Float = NDArray[np.float32]
_NO_CHECKPOINT = "the model is of no checkpoint, which would hold how its training people look"
_NOT_KEPT = "the checkpoint does not hold the classes of its training people; train again"
_FEW = (
    "the checkpoint does not hold how its training people look: its training was stopped, or had "
    "too few people"
)
_ALL_ALIKE = "the model's features hardly differ from training person to training person"
#: Half precision, in which a checkpoint keeps features, tells no more of a cosine apart.
_ROUNDED = 1e-6


class PeopleSeen:
    """Sums features over the images of each person, while a model runs over them.

    Args:
        data: The scored images, in the order in which they will come.
        width: F.
    """

    def __init__(self, data: MriDataset, width: int) -> None:
        self.names, self._person = np.unique(data.subjects.astype(str), return_inverse=True)
        self._sums = np.zeros((len(self.names), width), np.float64)
        self._seen = 0

    def add(self, features: Float) -> None:
        """Take the features ``(B, F)`` of the next images."""
        people = self._person[self._seen : self._seen + len(features)]
        np.add.at(self._sums, people, features)
        self._seen += len(features)

    def rows(self) -> Float:
        """Return the mean features of each person, of length 1: ``(n, F)``."""
        return np.stack([person_row(one[None]) for one in self._sums.astype(np.float32)])


def company_of(model: Classifier) -> Company | str:
    """Return the training people of a model's checkpoint, or why there are none.

    Args:
        model: As its checkpoint left it.

    Raises:
        CheckpointError: What the checkpoint holds of them is damaged.
    """
    if model.origin is None:
        return _NO_CHECKPOINT
    stored = model.origin.content.get("reference")
    if stored is None:
        return _FEW
    company = Reference.from_dict(stored, model.width, model.num_classes).company
    if company is None:
        return _NOT_KEPT
    return _ALL_ALIKE if company.typical() > 1 - _ROUNDED else company


def neighbours(company: Company | str, seen: PeopleSeen, classes: tuple[str, ...]) -> Neighbours:
    """Return the neighbours of scored people.

    Args:
        company: Training people, or why there are none.
        seen: Scored people.
        classes: Names of the classes.

    Returns:
        A row per person: class, decade of age where any is known, and likeness of each neighbour.
    """
    if isinstance(company, str):
        return Neighbours({"available": False, "reason": company})
    numbers, alike = company.nearest(seen.rows(), N_NEIGHBOURS)
    columns: dict[str, Any] = {}
    aged = not np.isnan(company.decades).all()
    for place in range(numbers.shape[1]):
        who, name = numbers[:, place], neighbour_columns(place + 1)
        columns[name.label] = [classes[k] for k in company.labels[who]]
        if aged:
            columns[name.decade] = pd.array(
                [None if math.isnan(age) else int(age) for age in company.decades[who]], "Int64"
            )
        columns[name.likeness] = alike[:, place]
    counts = np.bincount(company.labels, minlength=len(classes)).tolist()
    section = {
        "available": True,
        "k": int(numbers.shape[1]),
        "n_people": len(company.labels),
        "people": dict(zip(classes, counts, strict=True)),
        "typical": company.typical(),
    }
    return Neighbours(section, pd.DataFrame(columns, index=pd.Index(seen.names, name="subject")))
