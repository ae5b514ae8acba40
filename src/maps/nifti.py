"""Write a volume as NIfTI-1, for viewers and other tools.

Arrays: ``X Y Z`` voxels in any axis order; the affine, 4 x 4, takes ``(index, 1)`` to mm.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_file
from ..errors import ConfigError, ImageError

_SUFFIX = ".nii.gz"
_LONGEST = 79  # bytes of a description that the header holds


def write_nifti(
    path: Path,
    data: NDArray[Any],
    affine: NDArray[np.float64],
    *,
    description: str = "",
    dtype: type[np.generic] = np.float32,
) -> Path:
    """Write one volume, whole or not at all; the same values give the same bytes.

    Args:
        path: Ends in ``.nii.gz``.
        data: ``(X, Y, Z)`` of numbers.
        affine: Index -> mm.
        description: For the header; its first 79 ASCII characters are kept.
        dtype: As which the numbers are written.

    Returns:
        `path`.

    Raises:
        ConfigError: `path` has another ending.
        ImageError: `data` is no volume or not finite, or `affine` has no inverse.
    """
    if not path.name.endswith(_SUFFIX):
        raise ConfigError(f"{path} is no name of a packed NIfTI file", hint=f"end it in {_SUFFIX}")
    values: NDArray[Any] = np.asarray(data, dtype=dtype)
    if values.ndim != 3 or values.size == 0:
        raise ImageError(f"{path.name}: expected a volume (X, Y, Z), got {list(values.shape)}")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        raise ImageError(f"{path.name}: {wrong} of {values.size} voxels are NaN or infinite")
    image = nib.Nifti1Image(values, _invertible(affine, path))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:_LONGEST]
    with (
        atomic_file(path) as file,
        # No name and no time, so that the same volume is the same bytes.
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed,
    ):
        packed.write(image.to_bytes())
    return path


def _invertible(affine: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    matrix = np.asarray(affine, dtype=float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
        raise ImageError(f"{path.name}: the affine is no 4 x 4 matrix that can be inverted")
    return matrix
