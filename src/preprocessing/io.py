"""Read one raw scan or slice, checked before memory is taken; write a volume as NIfTI-1.

Arrays: ``I J K`` voxels in the order of the file; ``X Y Z`` the same voxels in RAS+ order (X to the
right, Y to the front, Z up); both are numbers as the file has them when those are small integers,
and float32 otherwise. ``H W`` pixels of a slice, uint8. Affines are 4 x 4 and act on homogeneous
voxel indices, to mm.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..cohorts.pictures import decode_picture
from ..errors import ConfigError, ImageError, foreign_bytes
from ..files import atomic_file, read_bytes
from .container import open_scan, read_floats
from .header import header_place
from .intensity import checked_intensities

MAX_VOXELS = 512**3  # 0.5 GB as float32; a whole head at 0.5 mm
MIN_EDGE = 8
_SUFFIX = ".nii.gz"
_LONGEST = 79  # bytes of a description that the header holds


@dataclass(frozen=True)
class Volume:
    """One scan.

    Attributes:
        stored: ``(I, J, K)``, any intensity unit; what does not depend on places is computed here.
        orientation: nibabel's: per stored axis, its RAS+ axis and direction.
        voxel_size: Edge lengths along X, Y and Z in mm.
        to_stored: 4 x 4; index in `data` -> index in the stored array.
        stored_affine: 4 x 4; index in the stored array -> mm, as the header says.
        side_known: Whether left and right can be told: by the header, or by declared axes.
        notes: What was noticed on reading it, a sentence each.
    """

    stored: NDArray[Any]
    orientation: NDArray[Any]
    voxel_size: tuple[float, float, float]
    to_stored: NDArray[np.float64]
    stored_affine: NDArray[np.float64]
    side_known: bool = True
    notes: tuple[str, ...] = ()

    @property
    def data(self) -> NDArray[Any]:
        """The voxels ``(X, Y, Z)``: a view, nothing is copied."""
        return self.in_ras(self.stored)

    def part_to_stored(self, box: tuple[slice, ...]) -> NDArray[np.float64]:
        """Return 4 x 4: index in ``in_ras(stored[box])`` -> index in `stored`."""
        matrix: NDArray[np.float64] = nib.orientations.inv_ornt_aff(
            self.orientation, [one.stop - one.start for one in box]
        )
        matrix[:3, 3] += [one.start for one in box]
        return matrix

    def in_ras(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array ``(I, J, K)``, such as a mask, as its view ``(X, Y, Z)``."""
        return np.asarray(nib.apply_orientation(array, self.orientation))


def read_volume(path: str | Path, axes: str | None = None) -> Volume:
    """Read a NIfTI, Analyze or MGH file, once, without a second copy of its voxels.

    Args:
        path: Ends in one of `SUFFIXES`; what it holds decides how it is read.
        axes: Orientation of the stored axes, such as ``"LAS"``, where the header cannot be
            trusted; None takes it from the header's affine.

    Raises:
        ImageError: The file is damaged, empty, 4D, not finite, or larger than `MAX_VOXELS`.
    """
    path = Path(path)
    with foreign_bytes(ImageError, f"{path.name} cannot be read"), open_scan(path) as image:
        shape = _spatial_shape(image.shape, path)
        place = header_place(image, axes, path.name)
        data = _read_data(image, path).reshape(shape, order="F")
    data, notes = checked_intensities(data, path.name)
    x, y, z = (float(edge) for edge in place.voxel_size[np.argsort(place.orientation[:, 0])])
    return Volume(
        stored=data,
        orientation=place.orientation,
        voxel_size=(x, y, z),
        to_stored=nib.orientations.inv_ornt_aff(place.orientation, shape),
        stored_affine=place.affine,
        side_known=place.side_known,
        notes=place.notes + notes,
    )


def read_slice(path: str | Path) -> NDArray[np.uint8]:
    """Read one 8-bit image as grey levels ``(H, W)``.

    Raises:
        ImageError: The file is damaged, empty or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    with foreign_bytes(ImageError, f"{path.name} cannot be read"):
        content = read_bytes(path)
    pixels = decode_picture(content, path.name)
    if min(pixels.shape) < MIN_EDGE:
        raise ImageError(f"{path.name} is {pixels.shape[1]} x {pixels.shape[0]} pixels")
    if pixels.min() == pixels.max():
        raise ImageError(f"{path.name} is empty: every pixel is {pixels.min()}")
    return pixels


def _spatial_shape(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """Return X, Y, Z without trailing axes of length 1, or refuse the size."""
    spatial = list(shape)
    while len(spatial) > 3 and spatial[-1] == 1:
        spatial.pop()
    if len(spatial) != 3:
        raise ImageError(
            f"{path.name} is {len(spatial)}D ({' x '.join(map(str, shape))}), not one volume"
        )
    if min(spatial) < MIN_EDGE:
        raise ImageError(
            f"{path.name} is {' x '.join(map(str, spatial))} voxels, too thin for a scan"
        )
    if np.prod([float(edge) for edge in spatial]) > MAX_VOXELS:
        raise ImageError(
            f"{path.name} claims {' x '.join(map(str, spatial))} voxels; the limit is 512^3"
        )
    return tuple(spatial)


def _read_data(image: Any, path: Path) -> NDArray[Any]:
    """Return integers of one or two bytes as they are, and anything else as float32."""
    kind = image.get_data_dtype()
    if kind.fields is not None or kind.kind not in "iuf":
        raise ImageError(f"{path.name} holds {kind}, not one number per voxel")
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
    if scaled or kind.kind == "f" or kind.itemsize > 2:
        return read_floats(image, path).reshape(image.shape, order="F")
    data: NDArray[Any] = image.dataobj.get_unscaled()
    return data.astype(kind.newbyteorder("="), copy=False)


def write_nifti(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[np.float64],
    *,
    description: str = "",
    dtype: type[np.generic] = np.float32,
    step: float | None = None,
) -> Path:
    """Write one volume, whole or not at all; the same values give the same bytes.

    Args:
        path: Ends in ``.nii.gz``.
        data: ``(X, Y, Z)`` of numbers.
        affine: Index -> mm.
        description: For the header; its first 79 ASCII characters are kept.
        dtype: As which the numbers are written.
        step: Write them as whole steps of this size instead, in two bytes each, with the step in
            the header (``scl_slope``): every reader multiplies by it.

    Returns:
        `path`.

    Raises:
        ConfigError: `path` has another ending.
        ImageError: `data` is no volume, not finite, or too large for its steps, or `affine` has
            no inverse.
    """
    if not path.name.endswith(_SUFFIX):
        raise ConfigError(f"{path} is no name of a packed NIfTI file", hint=f"end it in {_SUFFIX}")
    values: NDArray[Any] = np.asarray(data, dtype=dtype)
    if values.ndim != 3 or values.size == 0:
        raise ImageError(f"{path.name}: expected a volume (X, Y, Z), got {list(values.shape)}")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        raise ImageError(f"{path.name}: {wrong} of {values.size} voxels are NaN or infinite")
    if step is not None:
        values = np.rint(values / np.float32(step))
        if np.abs(values).max() > np.iinfo(np.int16).max:
            raise ImageError(f"{path.name}: a value is over 32,767 steps of {step:g}")
        values = values.astype(np.int16)
    image = nib.Nifti1Image(values, _invertible(affine, path))
    if step is not None:
        image.header.set_slope_inter(step, 0)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:_LONGEST]
    with (
        atomic_file(path) as file,
        # No name and no time, so that the same volume is the same bytes.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
    ):
        packed.write(image.to_bytes())
    return path


def _invertible(affine: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    matrix = np.asarray(affine, dtype=float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
        raise ImageError(f"{path.name}: the affine is no 4 x 4 matrix that can be inverted")
    return matrix
