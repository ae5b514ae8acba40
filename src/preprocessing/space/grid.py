"""Where a processed image lies: in the stored scan, and in millimetres.

Preprocessing turns, crops and resamples; its record of each scan says how. Here a processed image,
or a map on its grid, becomes a volume that knows its place, and goes back to the stored grid.

Arrays: ``X Y Z`` voxels in RAS+ order (X to the right, Y to the front, Z up); ``N H W`` slices as
preprocessing cuts them; ``I J K`` voxels as the scan's own file stores them, float32. Matrices are
4 x 4 and act on ``(index, 1)``. Lengths are mm.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import index
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...config.own_files import in_short
from ...errors import DataNotFoundError, ImageError, ManifestError
from ..io import MAX_VOXELS
from ..scan import RECORDS, read_record
from ..slices import PLANES

Float = NDArray[np.float32]
Matrix = NDArray[np.float64]
_AGAIN = "run --mode preprocess again; it redoes what is missing or older"


@dataclass(frozen=True)
class Frame:
    """The grid of a stored scan.

    Attributes:
        shape: I, J, K of the stored array.
        affine: Stored index -> mm as the file's own header says, which is what a viewer shows.
        to_ras: Stored index -> RAS+ mm by the axes that the cohort declares: no obliqueness;
            (0, 0, 0) is the centre of the voxel furthest to the left, back and bottom.

    Raises:
        ManifestError: The grid is empty or larger than `MAX_VOXELS`, or a matrix has no inverse.
    """

    shape: tuple[int, int, int]
    affine: Matrix
    to_ras: Matrix

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or not 0 < min(self.shape) <= _voxels(self.shape) <= MAX_VOXELS:
            raise ManifestError(f"a scan has {[*self.shape]} voxels, not 1 to 512^3", hint=_AGAIN)
        for name in ("affine", "to_ras"):
            object.__setattr__(self, name, _invertible(getattr(self, name), name))


@dataclass(frozen=True)
class PlacedVolume:
    """Values on a processed grid, and where that grid lies.

    Attributes:
        data: ``(X, Y, Z)`` float32, RAS+ order, also when it was stacked from slices.
        to_stored: Index in `data` -> index in the stored array.
        frame: The stored scan.

    Raises:
        ImageError: `data` is no volume.
        ManifestError: `to_stored` has no inverse.
    """

    data: Float
    to_stored: Matrix
    frame: Frame

    def __post_init__(self) -> None:
        data = np.ascontiguousarray(self.data, dtype=np.float32)
        if data.ndim != 3 or data.size == 0:
            raise ImageError(f"expected a volume (X, Y, Z), got {list(data.shape)}")
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "to_stored", _invertible(self.to_stored, "to_stored"))

    @property
    def affine(self) -> Matrix:
        """Index in `data` -> mm of the stored file's header."""
        return np.asarray(self.frame.affine @ self.to_stored)

    @property
    def to_ras(self) -> Matrix:
        """Index in `data` -> RAS+ mm of `frame`."""
        return np.asarray(self.frame.to_ras @ self.to_stored)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Edges of a voxel along X, Y and Z."""
        x, y, z = (float(edge) for edge in np.linalg.norm(self.to_ras[:3, :3], axis=0))
        return x, y, z

    def replaced(self, data: NDArray[Any]) -> PlacedVolume:
        """Return other values at the same place.

        Raises:
            ImageError: Their shape is another.
        """
        if data.shape != self.data.shape:
            raise ImageError(f"expected {list(self.data.shape)} voxels, got {list(data.shape)}")
        return replace(self, data=np.asarray(data, dtype=np.float32))


@dataclass(frozen=True)
class ScanRecord:
    """What preprocessing wrote down of one scan.

    Attributes:
        name: ``<subject>_<session>``.
        frame: The stored scan.
        grid: Shape of each processed file, ``(H, W)`` or ``(X, Y, Z)``.
        matrices: Path of a processed file -> its index to the stored index; the index is
            (row, column, slice) of a slice and (x, y, z) of a volume.
        slices: Path of a processed file -> the slice's index in the scan; None for a volume.
        side_known: Whether left and right can be told; None in a record made before it was asked.
        notes: What was noticed on reading the scan, a sentence each.
    """

    name: str
    frame: Frame
    grid: tuple[int, ...]
    matrices: dict[str, Matrix]
    slices: dict[str, int | None]
    side_known: bool | None = None
    notes: tuple[str, ...] = ()


def read_scan_record(root: str | Path, subject: str, session: str) -> ScanRecord:
    """Read where the processed files of one session lie.

    Args:
        root: Folder of the processed data set.
        subject: As in the manifest.
        session: As in the manifest.

    Raises:
        DataNotFoundError: The session has no record.
        ManifestError: The record is damaged, of an older version, or of slices that differ in size.
    """
    root = Path(root)
    return read_named_record(root, f"{subject}_{session}")


def read_named_record(root: str | Path, name: str) -> ScanRecord:
    """Read where the processed files of scan `name` lie; raises as `read_scan_record`."""
    root = Path(root)
    path = root / RECORDS / f"{name}.json"
    # A name may hold "../"; resolve() would raise at a link that leads to itself.
    inside = Path(os.path.realpath(path)).parent == Path(os.path.realpath(root / RECORDS))
    record = read_record(root, name) if inside else None
    if record is None:
        raise DataNotFoundError(path, hint=_AGAIN)
    if "stored" not in record:
        raise ManifestError(f"{path} does not say where its scan lies", hint=_AGAIN)
    if record["stored"] is None:
        hint = "give all slices of a session one size"
        raise ManifestError(f"the slices of {name} differ in size: they make no volume", hint=hint)
    try:
        return _scan_record(name, record)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        reason = in_short(error)
        raise ManifestError(f"{path} is damaged: {reason}", hint=_AGAIN) from None


def place_volume(array: NDArray[Any], record: ScanRecord) -> PlacedVolume:
    """Place a processed volume, or a map on its grid.

    Args:
        array: ``(X, Y, Z)``.
        record: Of the scan.

    Raises:
        ImageError: The array is not on the record's grid, or the scan was cut into slices.
    """
    _check_grid(record, array.shape, 3)
    (to_stored,) = record.matrices.values()
    return PlacedVolume(*_turned(array, to_stored, record.frame), record.frame)


def place_slices(
    arrays: NDArray[Any], slices: Sequence[int], record: ScanRecord, plane: str | None = None
) -> PlacedVolume:
    """Stack processed slices, or maps on their grid, into a volume.

    Args:
        arrays: ``(N, H, W)``.
        slices: N indices in the scan, each once, in any order.
        record: Of the scan.
        plane: A key of `PLANES`, to have it checked; the record knows it.

    Returns:
        One plane per slice of the scan from the first of `slices` to the last, linear between
        those that are given, turned to RAS+: columns of axial slices run along X, rows against Y.

    Raises:
        ImageError: The arrays are not on the record's grid, a slice comes twice or is not of this
            scan, the plane is another, or the stack would be larger than `MAX_VOXELS`.
    """
    numbers = [int(number) for number in slices]
    _check_grid(record, arrays.shape[1:], 2)
    matrix = _slice_matrix(numbers, len(arrays), record)
    along = np.abs(record.frame.to_ras @ matrix)[:3, 2].argmax()
    if plane is not None and PLANES[plane][0] != along:
        raise ImageError(f"the slices of {record.name} are not {plane}")
    first, last = min(numbers), max(numbers)
    if _voxels((*record.grid, last - first + 1)) > MAX_VOXELS:
        raise ImageError(f"{record.name}: slices {first} to {last} make more than 512^3 voxels")
    stack = np.moveaxis(_filled(arrays, np.array(numbers)), 0, 2)  # row, column, slice
    to_stored = matrix.copy()
    to_stored[:, 3] += first * matrix[:, 2]  # index 0 of the stack is slice `first`
    return PlacedVolume(*_turned(stack, to_stored, record.frame), record.frame)


def to_scan_grid(placed: PlacedVolume, order: int = 1) -> Float:
    """Carry values back to the stored grid.

    Args:
        placed: A processed image, or a map on its grid.
        order: 0 takes the nearest value, 1 interpolates linearly.

    Returns:
        ``(I, J, K)``, the axes of the scan's own file; 0 outside the processed voxels.
    """
    back = np.asarray(np.linalg.inv(placed.to_stored), dtype=np.float64)
    along = _data_axes(back)
    if along is not None:
        return _axis_by_axis(placed, back, along, order)
    out: Float = ndimage.affine_transform(
        placed.data, back[:3, :3], back[:3, 3], placed.frame.shape, np.float32, order, "nearest"
    )
    out[~_in_view(placed, back)] = 0
    return out


def _data_axes(back: Matrix) -> tuple[int, int, int] | None:
    """Return the data axis that runs along I, J and K; None where one runs along none of them."""
    used = np.abs(back[:3, :3]) > 1e-9  # over a whole head a millionth of a voxel
    if (used.sum(axis=0) != 1).any() or (used.sum(axis=1) != 1).any():
        return None
    i, j, k = (int(axis) for axis in used.argmax(axis=0))
    return i, j, k


def _axis_by_axis(
    placed: PlacedVolume, back: Matrix, along: tuple[int, int, int], order: int
) -> Float:
    """Return what `to_scan_grid` does, where no axis lies askew, in a quarter of the time.

    Sums are of float64, as SciPy's are, so that equal voxels stay equal.
    """
    values = placed.data.transpose(along).astype(np.float64 if order else np.float32)
    for axis in (2, 1, 0):  # the last first: its lines lie together, and the array is small
        row, count = back[along[axis]], values.shape[axis]
        numbers = np.arange(placed.frame.shape[axis])
        at = row[axis] * numbers + row[3]
        coarse = row.astype(np.float32)  # as `_in_view` has it
        outside = _outside(coarse[axis] * numbers + coarse[3], count)
        at = np.clip(at if order else np.floor(at + 0.5), 0, count - 1)
        low = at.astype(int)
        lower = values.take(low, axis)
        if order:
            share = (at - low).reshape(-1, *[1] * (2 - axis))
            upper = values.take(np.minimum(low + 1, count - 1), axis)
            lower *= 1 - share
            lower += np.multiply(upper, share, out=upper)
        values = lower
        values[(slice(None),) * axis + (outside,)] = 0
    return np.ascontiguousarray(values, np.float32)


def _in_view(placed: PlacedVolume, back: Matrix) -> NDArray[np.bool_]:
    """Return ``(I, J, K)``: whether a stored voxel's centre is in the processed field of view."""
    inside = np.ones(placed.frame.shape, bool)
    i, j, k = np.ogrid[tuple(slice(edge) for edge in placed.frame.shape)]
    for row, edge in zip(back[:3].astype(np.float32), placed.data.shape, strict=True):
        at = row[0] * i + row[1] * j + (row[2] * k + row[3])
        inside &= ~_outside(at, edge)
    return inside


def _outside(at: Float, count: int) -> NDArray[np.bool_]:
    """Return whether an index along an axis of `count` voxels lies in none of them."""
    return (at < -0.5) | (at > count - 0.5)


def _scan_record(name: str, record: dict[str, Any]) -> ScanRecord:
    stored, files = record["stored"], record["files"]
    grid = tuple(index(edge) for edge in record["grid"])
    if len(grid) not in (2, 3) or not all(0 < edge < MAX_VOXELS for edge in grid):
        raise ValueError("grid is no size of an image")
    i, j, k = (index(edge) for edge in stored["shape"])
    return ScanRecord(
        name,
        Frame((i, j, k), stored["affine"], stored["to_ras"]),
        grid=grid,
        matrices={file["path"]: _invertible(file["to_stored"], "to_stored") for file in files},
        slices={file["path"]: file["slice"] for file in files},
        side_known=None if record.get("side_known") is None else bool(record["side_known"]),
        notes=tuple(map(str, record.get("notes", ()))),
    )


def _slice_matrix(numbers: list[int], count: int, record: ScanRecord) -> Matrix:
    """Return the one matrix of these slices: (row, column, slice) -> stored index."""
    by_slice = {number: record.matrices[path] for path, number in record.slices.items()}
    if count != len(numbers) or len(set(numbers)) != count or count == 0:
        raise ImageError(f"{count} slices of {record.name} with the numbers {numbers[:40]}")
    unknown = sorted(set(numbers) - set(by_slice))
    if unknown:
        raise ImageError(f"slice {unknown[0]} of {record.name} was not processed", hint=_AGAIN)
    matrix = by_slice[numbers[0]]
    if any(not np.array_equal(by_slice[number], matrix) for number in numbers):
        raise ImageError(f"the slices of {record.name} were not cut alike", hint=_AGAIN)
    return matrix


def _filled(arrays: NDArray[Any], numbers: NDArray[np.int64]) -> Float:
    """Return one array per slice from first to last, ``(N, H, W)``, linear between the given."""
    order = np.argsort(numbers)
    known = numbers[order]
    wanted = np.arange(known[0], known[-1] + 1)
    above = np.searchsorted(known, wanted)
    below = np.maximum(above - (known[above] > wanted), 0)
    share = (wanted - known[below]) / np.maximum(known[above] - known[below], 1)
    share = share.astype(np.float32)[:, None, None]
    values = arrays[order].astype(np.float32)
    return np.asarray(values[below] * (1 - share) + values[above] * share)


def _turned(array: NDArray[Any], to_stored: Matrix, frame: Frame) -> tuple[Float, Matrix]:
    """Turn an array to RAS+ axis order; return it and its new matrix."""
    orientation = nib.io_orientation(frame.to_ras @ to_stored)
    turned = nib.apply_orientation(array, orientation).astype(np.float32)
    matrix = to_stored @ nib.orientations.inv_ornt_aff(orientation, array.shape)
    return turned, np.asarray(matrix)


def _voxels(shape: tuple[int, ...]) -> float:
    return float(np.prod([float(edge) for edge in shape]))  # float: no overflow


def _invertible(matrix: Any, name: str) -> Matrix:
    """Return a matrix as 4 x 4 float64, or raise a `ManifestError`."""
    array = np.asarray(matrix, dtype=float)
    good = array.shape == (4, 4) and np.isfinite(array).all()
    if not good or (array[3] != (0, 0, 0, 1)).any() or np.linalg.det(array) == 0:
        raise ManifestError(f"{name} is no 4 x 4 matrix that can be inverted", hint=_AGAIN)
    return array


def _check_grid(record: ScanRecord, shape: tuple[int, ...], axes: int) -> None:
    if shape != record.grid or len(shape) != axes:
        raise ImageError(f"{record.name}: expected {[*record.grid]} voxels, got {[*shape]}")
