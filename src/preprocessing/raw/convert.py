"""Read a raw scan, whatever its container: NIfTI, Analyze, MGH, or DICOM.

Arrays: ``X Y Z`` voxels in RAS+ order, float32. Affines are 4 x 4: index -> RAS+ mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...cohorts.file_kinds import SUFFIXES, is_dicom
from ...errors import DataNotFoundError, ImageError
from ..intensity import checked_intensities
from ..io import MAX_VOXELS, read_volume
from .dicom import read_dicom

Float = NDArray[np.float32]
Matrix = NDArray[np.float64]

_RIGHT = 1e-3  # how far from right angles the axes of a header may be


@dataclass(frozen=True, eq=False)
class RawScan:
    """One scan as its file has it, turned to RAS+ axis order.

    Attributes:
        data: ``(X, Y, Z)`` intensities of any unit.
        affine: Index -> RAS+ mm as the header says; its axes are at right angles.
        notes: What was noticed on reading it, a sentence each.
        stored: Shape of the array in its file; None where it came as DICOM.
        stored_affine: Index in that array -> RAS+ mm as the header says, sheared or not.
        side_known: Whether the header says which side is left.
    """

    data: Float
    affine: Matrix
    notes: tuple[str, ...] = ()
    stored: tuple[int, ...] | None = None
    side_known: bool = True
    stored_affine: Matrix | None = None

    @property
    def own_grid(self) -> tuple[tuple[int, ...], Matrix]:
        """Shape and affine of the scan's own grid: its file's, or of DICOM that of `data`."""
        if self.stored is None or self.stored_affine is None:
            return self.data.shape, self.affine
        return self.stored, self.stored_affine

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """(3,) edges of a voxel in mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


def read_any(source: str | Path) -> RawScan:
    """Read a scan; nothing of it is changed but the order of its axes.

    A header whose axes are not at right angles is honoured: the scan is resampled to a grid whose
    axes are.

    Args:
        source: A file with one of `SUFFIXES`, a folder with a DICOM series, or a multi-frame file.

    Raises:
        ImageError: It is damaged, empty, no single volume, or larger than 512^3 voxels.
        DataNotFoundError: It is not there.
        ConfigError: It is DICOM, and pydicom or SimpleITK is not installed.
    """
    source = Path(source)
    if not source.exists():
        raise DataNotFoundError(source, hint="name a scan, or a folder of scans")
    if source.is_dir() or (is_dicom(source) and not source.name.lower().endswith(SUFFIXES)):
        data, affine, notes = read_dicom(source)
        data, more = checked_intensities(data, source.name)
        return RawScan(*_squared(*_canonical(data, affine)), notes + more)
    volume = read_volume(source)
    affine = volume.stored_affine @ volume.to_stored
    data, affine = _squared(volume.data.astype(np.float32), affine)
    stored = (volume.stored.shape, volume.side_known, volume.stored_affine)
    return RawScan(data, affine, volume.notes, *stored)


def _canonical(data: Float, affine: Matrix) -> tuple[Float, Matrix]:
    """Turn an array to RAS+ axis order; return it and its new affine."""
    import nibabel as nib

    turns = nib.io_orientation(affine)
    moved = nib.apply_orientation(data, turns)
    back = nib.orientations.inv_ornt_aff(turns, data.shape)
    return np.ascontiguousarray(moved), np.asarray(affine @ back)


def _squared(data: Float, affine: Matrix) -> tuple[Float, Matrix]:
    """Return the scan on axes at right angles, resampled only where its header's are not."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / edges
    if np.allclose(axes.T @ axes, np.eye(3), atol=_RIGHT):
        return np.ascontiguousarray(data), affine
    corners = np.array(np.meshgrid(*[(0, edge - 1) for edge in data.shape])).reshape(3, -1)
    mm = affine[:3, :3] @ corners + affine[:3, 3:]
    low, step = mm.min(axis=1), float(edges.min())
    shape = np.ceil((mm.max(axis=1) - low) / step).astype(int) + 1
    if np.prod(shape.astype(float)) > MAX_VOXELS:
        raise ImageError("its header shears it to more than 512^3 voxels")
    grid = np.diag([step, step, step, 1.0])
    grid[:3, 3] = low
    back = np.linalg.inv(affine) @ grid
    moved = ndimage.affine_transform(
        data, back[:3, :3], back[:3, 3], tuple(shape), np.float32, order=1, cval=float(data.min())
    )
    return moved, grid
