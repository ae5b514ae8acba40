"""Whom new scans are compared with: training people as a model sees them, and changed people.

Axes: P people, F features, n images of one person.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.augment import to_unit
from ..data.dataset import MriDataset
from ..data.sessions import make_session, rows_by_session
from ..models.classifier import Classifier
from ..models.engine import Pass
from ..runtime import progress
from .arrival import Arrival
from .changes import CHANGES
from .company import Company, decade
from .features import dataset_features
from .likeness import (
    NEIGHBOUR,
    Changed,
    Reference,
    coarse_image,
    correlation,
    embed_images,
    kth_distance,
    person_row,
)
from .look import Look, fit_look

Float = NDArray[np.float32]
Array = NDArray[np.float64]
_PEOPLE = 300  # of each side: what is kept and computed stays small
_SENT = 60  # people who are sent the way of new scans
_CHANGED = 20  # validation people who are changed, in every way
_LOOKED_AT = 60  # training people whose look is measured


def compare_people(
    model: Classifier,
    train: MriDataset,
    val: MriDataset,
    device: torch.device,
    arrival: Arrival | None,
) -> tuple[Look | None, Reference | None]:
    """Describe the training people of a trained model.

    A network that was trained by epochs has learnt its training people by heart, so validation
    people tell what is usual. A frozen one has learnt nobody: there everyone is compared with all
    others.

    Args:
        model: Trained, on `device`.
        train: Training people.
        val: Validation people.
        device: Where the model is.
        arrival: The way of new scans; None where people's own images are what new ones become.

    Returns:
        How their images look, None of fewer than two people; and what new scans are compared with,
        None where there are fewer than `NEIGHBOUR` + 2 people.
    """
    eye = _Eye(model, device, arrival, len(train) + len(val))
    known, others = (eye.people(part) for part in (train, val))
    if len(known) < 2:
        return None, None
    eye.look = fit_look([one.images() for one in _evenly(known, _LOOKED_AT)])
    among = [*known, *others] if model.frozen else known
    people = among if model.frozen else others
    if len(among) < NEIGHBOUR + 2 or not people:
        return eye.look, None
    seen = _Crowd(among)
    arriving = people if arrival is None else _evenly(people, _SENT)
    pairs = [seen.compare(one, *eye.sees(one)) for one in progress(
        arriving, total=len(arriving), desc="as new scans")]  # fmt: skip
    distances, similarities = (np.sort(np.array(values)) for values in zip(*pairs, strict=True))
    look = eye.look.coming_as(eye.measured) if len(eye.measured) > 1 else eye.look
    changed = eye.changed(_evenly(others, _CHANGED), seen)
    features = np.stack([one.row for one in among])
    reference = Reference(
        *(features, seen.mean, distances, similarities, arrival is not None, changed),
        company=Company.of(features[: len(known)], [(one.label, one.decade) for one in known]),
    )
    return look, reference


@dataclass(eq=False)
class _Person:
    """One person of a data set; images are read when they are wanted.

    Attributes:
        data: The data set.
        rows: Numbers of all images.
        first: Subject, session and rows of the first session.
        row: ``(F,)`` normalised mean features.
        coarse: Coarse image.
    """

    data: MriDataset
    first: tuple[str, str, NDArray[np.int64]]
    rows: list[int] = field(default_factory=list)
    row: Float = field(default_factory=lambda: np.zeros(0, np.float32))
    coarse: Float = field(default_factory=lambda: np.zeros(0, np.float32))

    def images(self) -> Tensor:
        """Return ``(n, 1, ...)`` in [0, 1]."""
        return to_unit(self.data.read_rows(self.rows))

    @property
    def label(self) -> int:
        return int(self.data.labels[self.rows[0]])

    @property
    def decade(self) -> int | None:
        age = self.data.rows["age"].iloc[self.rows[0]]
        return None if pd.isna(age) else decade(float(age))


class _Crowd:
    """The people that others are compared with."""

    def __init__(self, people: list[_Person]) -> None:
        self._place = {id(one): i for i, one in enumerate(people)}
        self._rows = np.stack([one.row for one in people])
        self._total = np.sum([one.coarse for one in people], axis=0)

    @property
    def mean(self) -> Float:
        """The mean coarse image."""
        return np.asarray(self._total / len(self._rows), dtype=np.float32)

    def compare(self, person: _Person, row: Float, coarse: Float) -> tuple[float, float]:
        """Return distance and similarity of what is seen of a person; nobody meets himself."""
        place = self._place.get(id(person))
        rows, total, count = self._rows, self._total, len(self._rows)
        if place is not None:
            rows, total, count = np.delete(rows, place, 0), total - person.coarse, count - 1
        return float(kth_distance(row[None], rows)[0]), correlation(coarse, total / count)


class _Eye:
    """A model that looks at people: as they are, as new scans, and changed."""

    def __init__(
        self, model: Classifier, device: torch.device, arrival: Arrival | None, images: int
    ) -> None:
        self.model, self.device, self.arrival = model.eval(), device, arrival
        self._pass = Pass(model, images)
        self.look: Look | None = None
        self.measured: list[Array] = []  # of people who came as new scans
        self._random = np.random.default_rng(0)

    def people(self, data: MriDataset) -> list[_Person]:
        """Return up to 300 people of a data set, seen as they are."""
        names = np.unique(data.subjects.astype(str))
        if len(names) > _PEOPLE:
            names = np.sort(np.random.default_rng(0).choice(names, _PEOPLE, replace=False))
            table = data.manifest.table
            data = data.with_manifest(
                data.manifest.where(table["subject"].isin(names.tolist())), data.split
            )
        found: dict[str, _Person] = {}
        for subject, session, order in rows_by_session(data):
            person = found.setdefault(subject, _Person(data, (subject, session, order)))
            person.rows.extend(order.tolist())
        cached = dataset_features(self.model, data, self.device) if self.model.frozen else None
        for person in found.values():
            shown = person.images()
            own = self._embed(shown) if cached is None else cached[person.rows]
            person.row, person.coarse = person_row(own), coarse_image(shown)
        return list(found.values())

    def sees(self, person: _Person) -> tuple[Float, Float]:
        """Return ``(F,)`` and the coarse image of a person who comes as a new scan."""
        if self.arrival is None:
            return person.row, person.coarse
        images = self._arrived(self._first(person), person, keep=True)
        return person_row(self._embed(images)), coarse_image(images)

    def changed(self, people: list[_Person], seen: _Crowd) -> dict[str, Changed]:
        """Return what each known change does to people."""
        if not people:
            return {}
        # Imported here: it takes half a second, and most stages only read what was found.
        from sklearn.metrics import balanced_accuracy_score

        labels = [one.label for one in people]
        plain = [self._stage(self._embed(self._first(one))) for one in people]
        found = {}
        for name in progress(CHANGES, total=len(CHANGES), desc="changed people"):
            pairs, stages = [], []
            for person in people:
                images = CHANGES[name].applied(self._first(person))
                came = self._arrived(images, person)
                features = self._embed(came)
                pairs.append(seen.compare(person, person_row(features), coarse_image(came)))
                stages.append(self._stage(features))
            before, after = (
                float(balanced_accuracy_score(labels, told)) for told in (plain, stages)
            )
            same = int(np.sum(np.array(plain) == np.array(stages)))
            far, alike = (np.sort(np.array(values)) for values in zip(*pairs, strict=True))
            found[name] = Changed(far, alike, same, (before, after), 1 / len(set(labels)))
        return found

    def _first(self, person: _Person) -> Tensor:
        """Return the images of a person's first session."""
        return to_unit(person.data.read_rows(person.first[2]))

    def _arrived(self, images: Tensor, person: _Person, *, keep: bool = False) -> Tensor:
        """Return images as they are after the way of new scans, if that is another way."""
        if self.arrival is None or self.look is None:
            return images
        session = make_session(person.data, *person.first)
        sent = self.arrival.images(images, session, self._random)
        if keep:
            as_it_comes = images if self.arrival.loses_detail(session) else sent
            self.measured.append(self.look.measured(as_it_comes))
        return self.look.brought(sent)

    def _embed(self, images: Tensor) -> Float:
        return embed_images(self._pass, images, self.device)

    @torch.no_grad()
    def _stage(self, features: Float) -> int:
        """Return the class of a person by the mean logit over images."""
        logits = self.model.classify(torch.from_numpy(features).to(self.device)).float()
        return int(logits.mean(dim=0).argmax())


def _evenly(people: list[_Person], most: int) -> list[_Person]:
    """Return up to `most` people, evenly chosen."""
    places = np.linspace(0, len(people) - 1, min(len(people), most)).round().astype(int)
    return [people[place] for place in places]
