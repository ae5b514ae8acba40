"""An image on the grid of a cohort's scans, written as the cohort writes its own.

From there on it is processed by the same code as they are.

Arrays: ``I J K`` voxels of the cohort's stored scans, zero in air; in pictures K is the slice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..files import atomic_file
from .io import write_nifti
from .space.grid import Frame

_TOP = 4000.0  # stored value of the brightest voxel of a volume


def write_as_volume(
    folder: Path, name: str, laid: NDArray[Any], frame: Frame
) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    """Write an image as one NIfTI file; return it, and that it has no slices."""
    path = folder / f"{name}.nii.gz"
    scaled = laid * (_TOP / max(float(laid.max()), 1e-6))
    write_nifti(path, scaled, frame.affine, description="laid", dtype=np.int16)
    return (path,), ()


def write_as_pictures(
    folder: Path, name: str, laid: NDArray[Any], jpeg_quality: int | None
) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    """Write an image as 8-bit slices, the brightest voxel of each white.

    Args:
        folder: The slices come into a folder `name` in it.
        name: Of the scan.
        laid: ``(I, J, K)``.
        jpeg_quality: Of the cohort's own pictures, or None for PNG. Networks see what JPEG does to
            the finest detail: PNG among JPEGs looks foreign to them.

    Returns:
        The files and their numbers from 1.

    Raises:
        ImageError: A slice cannot be encoded.
    """
    ending = ".png" if jpeg_quality is None else ".jpg"
    options = [] if jpeg_quality is None else [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    paths = []
    for number in range(laid.shape[2]):
        plane = laid[:, :, number].astype(np.float32)
        grey = np.clip(plane / max(float(plane.max()), 1e-6) * 255, 0, 255).astype(np.uint8)
        good, code = cv2.imencode(ending, np.ascontiguousarray(grey), options)
        if not good:
            raise ImageError(f"a slice cannot be encoded as {ending[1:].upper()}")
        paths.append(folder / name / f"slice_{number + 1:03d}{ending}")
        with atomic_file(paths[-1]) as file:
            file.write(code.data)
    return tuple(paths), tuple(range(1, len(paths) + 1))
