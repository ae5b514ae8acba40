"""Sessions of a data set: which images show one, where they lie in its scan, and their mean.

Arrays: images ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` float in [0, 1], the n slices or the volume
of one session; maps ``(n, H, W)`` or ``(1, X, Y, Z)`` on their grid; ``I J K`` voxels of the stored
scan.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ImageError
from ..preprocessing.slices import PLANES
from ..preprocessing.space.grid import (
    Frame,
    PlacedVolume,
    ScanRecord,
    place_slices,
    place_volume,
    read_scan_record,
    to_scan_grid,
)
from ..runtime import progress
from .augment import to_unit
from .dataset import MriDataset

#: Brightness up to which a voxel is air: one more interpolation draws the edge of a volume out.
_AIR = 0.03
_THINNEST, _NARROWEST = 25.0, 100.0  # mm of the field of view that can be placed


@dataclass(frozen=True, eq=False)
class Session:
    """One session of one person.

    Attributes:
        subject: Person.
        session: Session.
        rows: Numbers of its images in the data set, bottom to top.
        slices: Slice number of each in 2D; empty in 3D.
        record: Where the images lie.
    """

    subject: str
    session: str
    rows: tuple[int, ...]
    slices: tuple[int, ...]
    record: ScanRecord

    @property
    def name(self) -> str:
        """``<subject>_<session>``, safe as a file name."""
        return self.record.name


def rows_by_session(data: MriDataset) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    """Yield subject, session and row numbers, bottom to top, in order of first appearance."""
    for (subject, session), rows in data.rows.reset_index(drop=True).groupby(
        ["subject", "session"], dropna=False, sort=False
    ):
        yield str(subject), str(session), rows.sort_values("slice").index.to_numpy()


def make_session(data: MriDataset, subject: str, session: str, order: NDArray[np.int64]) -> Session:
    """Return the session that these rows show.

    Raises:
        DataNotFoundError: Preprocessing left no record of it.
        ManifestError: The record is damaged.
    """
    return Session(
        subject=subject,
        session=session,
        rows=tuple(order.tolist()),
        slices=_slice_numbers(data, order),
        record=_record(data, order, subject, session),
    )


def images_of(data: MriDataset, session: Session) -> Tensor:
    """Return the images of a session, ``(n, 1, ...)`` float32 in [0, 1]."""
    return to_unit(data.read_rows(session.rows))


def placed(arrays: NDArray[np.float32], session: Session) -> PlacedVolume:
    """Place a session's images or maps in its scan: the volume, or the slices stacked."""
    if not session.slices:
        return place_volume(arrays[0], session.record)
    return place_slices(arrays, session.slices, session.record)


def plane_of(record: ScanRecord) -> str:
    """Return the plane in which a scan's slices were cut; 8-bit slices are axial."""
    matrix = next(iter(record.matrices.values()))
    along = int(np.abs(record.frame.to_ras @ matrix)[:3, 2].argmax())
    return next(plane for plane, (cut, _, _) in PLANES.items() if cut == along)


@dataclass(frozen=True, eq=False)
class MeanImage:
    """The mean of some sessions on the grid that their scans share.

    Attributes:
        data: ``(I, J, K)`` mean of the scaled brains, 0 where nothing was imaged.
        covered: ``(I, J, K)`` whether at least half of the sessions show the place.
        brain: ``(I, J, K)`` the share of the sessions that show brain there, 0 to 1.
        frame: The grid.
    """

    data: NDArray[np.float64]
    covered: NDArray[np.bool_]
    brain: NDArray[np.float64]
    frame: Frame


def mean_image(data: MriDataset, sessions: Sequence[Session]) -> MeanImage:
    """Return the mean of some sessions in their common grid.

    Raises:
        ImageError: They have no common grid, or it shows too little of a brain to be placed.
    """
    frame = sessions[0].record.frame
    if not data.settings:
        raise ImageError("pictures of a bare folder have no known place")
    for other in (session.record.frame for session in sessions):
        if other.shape != frame.shape or not np.allclose(other.to_ras, frame.to_ras):
            raise ImageError("the scans do not share a grid as registered ones do")
    extent = np.sort(np.abs(frame.to_ras[:3, :3]) @ frame.shape)
    if extent[0] < _THINNEST or extent[1] < _NARROWEST:
        seen = " x ".join(f"{edge:.0f}" for edge in extent)
        raise ImageError(f"a field of view of {seen} mm shows too little of a brain")
    total, count, brain = (np.zeros(frame.shape) for _ in range(3))
    for session in progress(sessions, total=len(sessions), desc="mean image"):
        image = placed(images_of(data, session)[:, 0].numpy(), session)
        total += to_scan_grid(image)
        count += to_scan_grid(image.replaced(np.ones_like(image.data)), order=0)
        brain += to_scan_grid(image.replaced((image.data > _AIR).astype(np.float32))) > 0.5
    # Where slices end, the mean would: that edge must not pass for the brain's.
    covered = count >= 0.5 * len(sessions)
    mean = np.divide(total, count, out=np.zeros_like(total), where=covered)
    return MeanImage(mean, covered, brain / len(sessions), frame)


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
