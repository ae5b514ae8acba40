"""Whom maps are made of: each session of the test people, what was said of it, and its map.

Arrays: images ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` float in [0, 1], the n slices or the volume
of one session; maps ``(n, H, W)`` or ``(1, X, Y, Z)`` on their grid; K classes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..attribution import DEMENTED, Attribution, target_scores
from ..augment import to_unit
from ..dataset import MriDataset
from ..errors import ConfigError
from ..inference import inference_batch, predict
from ..manifest import PEOPLE_UNKNOWN
from ..maps.space import (
    Frame,
    PlacedVolume,
    ScanRecord,
    place_slices,
    place_volume,
    read_scan_record,
)
from ..predictions import per_person
from ..preprocessing.slices import PLANES
from ..trained import Trained


@dataclass(frozen=True, eq=False)
class Case:
    """One session of one person, and what the model said of the person.

    Attributes:
        subject: Person.
        session: Session.
        rows: Numbers of its images in the data set, bottom to top.
        slices: Slice number of each in 2D; empty in 3D.
        truth: True class.
        predicted: Most probable class of the person, over all their sessions.
        probabilities: (K,) calibrated, of the person.
        target: What is explained: a class, or `DEMENTED`.
        scores: (n,) how much each image speaks for the target.
        record: Where the images lie.
    """

    subject: str
    session: str
    rows: tuple[int, ...]
    slices: tuple[int, ...]
    truth: int
    predicted: int
    probabilities: NDArray[np.float64]
    target: int | str
    scores: NDArray[np.float64]
    record: ScanRecord

    @property
    def name(self) -> str:
        """``<subject>_<session>``, safe as a file name."""
        return self.record.name

    @property
    def correct(self) -> bool:
        """Whether the person is predicted right."""
        return self.truth == self.predicted

    @property
    def probability(self) -> float:
        """Calibrated probability of what is explained, 0 to 1."""
        if isinstance(self.target, str):
            return float(self.probabilities[1:].sum())
        return float(self.probabilities[self.target])


def find_cases(trained: Trained, device: torch.device, target: str) -> list[Case]:
    """Score every image of the test people, and settle what is explained of each person.

    Args:
        trained: Model, on `device`, and test people.
        device: Where to compute.
        target: ``"predicted"``, ``"true"``, ``"demented"`` or the name of a class.

    Returns:
        One case per session, by true class and name.

    Raises:
        ConfigError: The checkpoint has no class of that name.
    """
    data, classes = trained.data, trained.data.scheme.classes
    if target not in ("predicted", "true", DEMENTED, *classes):
        raise ConfigError(
            f"--target {target}: this checkpoint has no such class",
            hint=f"one of: {', '.join(('predicted', 'true', DEMENTED, *classes))}",
        )
    images = predict(trained.model, data, device)
    people = trained.model.calibrated(per_person(images))
    number = {subject: i for i, subject in enumerate(people.subjects)}
    cases = []
    for (subject, session), rows in data.rows.reset_index(drop=True).groupby(
        ["subject", "session"], dropna=False, sort=False
    ):
        at = number[subject]
        truth, predicted = int(people.labels[at]), int(people.predicted[at])
        named: dict[str, int | str] = {"predicted": predicted, "true": truth, DEMENTED: DEMENTED}
        wanted = named[target] if target in named else classes.index(target)
        order = rows.sort_values("slice").index.to_numpy()
        scores = _scores(images.logits[order], wanted)
        if PEOPLE_UNKNOWN in data.manifest.stamps:  # such slices have no height: they make no stack
            order, scores = order[[scores.argmax()]], scores[[scores.argmax()]]
        cases.append(
            Case(
                subject=str(subject),
                session=str(session),
                rows=tuple(order.tolist()),
                slices=_slice_numbers(data, order),
                truth=truth,
                predicted=predicted,
                probabilities=people.probabilities[at],
                target=wanted,
                scores=scores,
                record=_record(data, order, str(subject), str(session)),
            )
        )
    return sorted(cases, key=lambda case: (case.truth, case.name))


def _scores(logits: NDArray[np.float64], wanted: int | str) -> NDArray[np.float64]:
    """Return how much each image speaks for what is explained, (n,)."""
    each = wanted if isinstance(wanted, str) else [wanted] * len(logits)
    scores: NDArray[np.float64] = target_scores(torch.from_numpy(logits), each).numpy()
    return scores


def images_of(data: MriDataset, case: Case) -> Tensor:
    """Return the images of a case, ``(n, 1, ...)`` float32 in [0, 1]."""
    return to_unit(data.read_rows(case.rows))


def map_of(attribution: Attribution, images: Tensor, case: Case) -> NDArray[np.float32]:
    """Return the maps of a case's images, >= 0, comparable in strength; batch by batch."""
    device = next(attribution.model.parameters()).device
    size = inference_batch("2d" if images.ndim == 4 else "3d", device)
    return np.concatenate(
        [attribution.raw_maps(part, case.target) for part in torch.split(images, size)]
    )


def placed(arrays: NDArray[np.float32], case: Case) -> PlacedVolume:
    """Place a case's images or maps in its scan: the volume, or the slices stacked."""
    if not case.slices:
        return place_volume(arrays[0], case.record)
    return place_slices(arrays, case.slices, case.record)


def cell_of(attribution: Attribution, images: Tensor, case: Case) -> tuple[float, ...]:
    """Return how fine the placed map is along X, Y and Z, in its voxels.

    Across slices that is the distance between those explained.
    """
    edges = attribution.resolution(images.shape[2:])
    if not case.slices:
        return edges
    cut, rows, columns = PLANES[plane_of(case.record)]
    gap = float(np.diff(sorted(case.slices)).mean()) if len(case.slices) > 1 else 1.0
    by_axis = {cut: gap, rows: edges[0], columns: edges[1]}
    return tuple(by_axis[axis] for axis in range(3))


def plane_of(record: ScanRecord) -> str:
    """Return the plane in which a scan's slices were cut; 8-bit slices are axial."""
    matrix = next(iter(record.matrices.values()))
    along = int(np.abs(record.frame.to_ras @ matrix)[:3, 2].argmax())
    return next(plane for plane, (cut, _, _) in PLANES.items() if cut == along)


def _slice_numbers(data: MriDataset, order: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the slice number of each row, counted where the table has none; empty in 3D."""
    if data.settings.get("dim", "2d") == "3d" or len(data.image_shape) == 3:
        return ()
    numbers = data.rows["slice"].iloc[order]
    if numbers.isna().any():
        return tuple(range(len(order)))
    return tuple(int(number) for number in numbers)


def _record(data: MriDataset, order: NDArray[np.int64], subject: str, session: str) -> ScanRecord:
    """Return where the images lie; those that nothing was preprocessed of lie by themselves.

    Such pictures are taken as axial slices with the front of the head in row 0, 1 mm apart.
    """
    if data.settings:
        return read_scan_record(data.manifest.root, subject, session)
    name = _file_name(f"{subject}_{session}")
    paths = [str(path) for path in data.rows["path"].iloc[order]]
    shape = data.image_shape
    if len(shape) == 3:
        frame = Frame((shape[0], shape[1], shape[2]), np.eye(4), np.eye(4))
        return ScanRecord(name, frame, shape, {paths[0]: np.eye(4)}, {paths[0]: None})
    numbers = _slice_numbers(data, order)
    to_ras = np.array([[0, 1, 0, 0], [-1, 0, 0, shape[0] - 1], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    frame = Frame((shape[0], shape[1], max(numbers) - min(numbers) + 1), to_ras, to_ras)
    matrix = np.eye(4)
    matrix[2, 3] = -min(numbers)
    matrices = dict.fromkeys(paths, matrix)
    return ScanRecord(name, frame, shape, matrices, dict(zip(paths, numbers, strict=True)))


def _file_name(name: str) -> str:
    """Return `name` with everything replaced that a file name cannot hold everywhere."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name)[:120].lstrip(".") or "_"
