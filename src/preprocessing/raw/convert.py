"""Read a raw scan, whatever its container: NIfTI, Analyze, MGH, or a folder of DICOM files.

Arrays: ``X Y Z`` voxels in RAS+ order, float32. Affines are 4 x 4: index -> RAS+ mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...errors import DataNotFoundError, ImageError
from ...optional import simple_itk
from ..io import MAX_VOXELS, MIN_EDGE, read_volume

Float = NDArray[np.float32]
Matrix = NDArray[np.float64]

_RIGHT = 1e-3  # how far from right angles the axes of a header may be


@dataclass(frozen=True, eq=False)
class RawScan:
    """One scan as its file has it, turned to RAS+ axis order.

    Attributes:
        data: ``(X, Y, Z)`` intensities of any unit.
        affine: Index -> RAS+ mm as the header says; its axes are at right angles.
    """

    data: Float
    affine: Matrix

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """(3,) edges of a voxel in mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


def read_any(source: str | Path) -> RawScan:
    """Read a scan; nothing of it is changed but the order of its axes.

    A header whose axes are not at right angles is honoured: the scan is resampled to a grid whose
    axes are.

    Args:
        source: A file with one of `SUFFIXES`, or a folder with one DICOM series.

    Raises:
        ImageError: It is damaged, empty, no single volume, or larger than 512^3 voxels.
        DataNotFoundError: It is not there.
        ConfigError: It is DICOM and SimpleITK is not installed.
    """
    source = Path(source)
    if source.is_dir():
        return _squared(*_read_series(source))
    if not source.is_file():
        raise DataNotFoundError(source, hint="name a scan, or a folder of scans")
    volume = read_volume(source)
    affine = volume.stored_affine @ volume.to_stored
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise ImageError(f"{source.name} has an affine that is not finite, or flat")
    return _squared(volume.data.astype(np.float32), affine)


def _read_series(folder: Path) -> tuple[Float, Matrix]:
    """Read the one DICOM series of a folder."""
    sitk = simple_itk()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = f"{len(series)} DICOM series" if series else "no scan and no DICOM series"
        hint = "name a folder that holds one series" if series else "name a scan or a folder of one"
        which = f": {', '.join(name[-24:] for name in series[:4])}" if series else ""
        raise ImageError(f"{folder.name} holds {found}{which}", hint=hint)
    names = reader.GetGDCMSeriesFileNames(str(folder), series[0])
    try:
        single = sitk.ImageFileReader()
        single.SetFileName(names[0])
        single.ReadImageInformation()
        size = [float(edge) for edge in single.GetSize()]
        if np.prod(size) * max(len(names), 1) > MAX_VOXELS:
            raise ImageError(f"{folder.name} claims {len(names)} slices of {size}; limit is 512^3")
        reader.SetFileNames(names)
        image = reader.Execute()
    except RuntimeError as error:
        why = (str(error).strip().splitlines() or ["damaged"])[-1]
        raise ImageError(f"the DICOM series {folder.name} cannot be read: {why[:200]}") from None
    if image.GetNumberOfComponentsPerPixel() != 1 or image.GetDimension() != 3:
        raise ImageError(f"the DICOM series {folder.name} is no volume of one number per voxel")
    data = sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32)
    if min(data.shape) < MIN_EDGE:
        raise ImageError(f"{folder.name} is {' x '.join(map(str, data.shape))} voxels, too thin")
    if not np.isfinite(data).all() or data.min() == data.max():
        raise ImageError(f"{folder.name} is empty, or not finite")
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return _canonical(data, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)


def _canonical(data: Float, affine: Matrix) -> tuple[Float, Matrix]:
    """Turn an array to RAS+ axis order; return it and its new affine."""
    import nibabel as nib

    turns = nib.io_orientation(affine)
    moved = nib.apply_orientation(data, turns)
    back = nib.orientations.inv_ornt_aff(turns, data.shape)
    return np.ascontiguousarray(moved), np.asarray(affine @ back)


def _squared(data: Float, affine: Matrix) -> RawScan:
    """Return the scan on axes at right angles, resampled only where its header's are not."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / edges
    if np.allclose(axes.T @ axes, np.eye(3), atol=_RIGHT):
        return RawScan(np.ascontiguousarray(data), affine)
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
    return RawScan(moved, grid)
