"""A small picture of one map: three planes through its peak, for looking through many people.

Arrays: ``X Y Z`` voxels, RAS+.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..atomic import atomic_file
from ..preprocessing.space.grid import PlacedVolume
from .drawing import BRIGHTEST, MAP_COLOURS, grey_limits, peak, share_of_maximum

HEIGHT = 130  # pixels
_GAP = 2


def write_thumbnail(path: Path, image: PlacedVolume, map: PlacedVolume) -> Path:
    """Write axial, coronal and sagittal plane side by side; the left of the first two is x = 0.

    Args:
        path: PNG to write.
        image: The processed image.
        map: Attribution on its grid.
    """
    sizes = np.linalg.norm(image.to_ras[:3, :3], axis=0)
    held = io.BytesIO()
    Image.fromarray(three_planes(image.data, map.data, sizes, HEIGHT)).save(held, "PNG")
    with atomic_file(path) as file:
        file.write(held.getvalue())
    return path


def three_planes(
    image: NDArray[Any], map: NDArray[Any], sizes: NDArray[Any], height: int
) -> NDArray[np.uint8]:
    """Return three planes through the peak of a map, ``height x W x 3``, axial first.

    Args:
        image: ``X Y Z``.
        map: On the same grid; a flat one is shown through the middle.
        sizes: Voxel edges in mm.
        height: Of the picture, in pixels; the planes share one scale.
    """
    at = peak(map) or tuple(n // 2 for n in image.shape)
    grey = BRIGHTEST * np.clip(np.nan_to_num(image) / (BRIGHTEST * grey_limits(image)[1]), 0, 1)
    shares = share_of_maximum(map)
    extent = sizes * image.shape
    scale = height / max(extent[1], extent[2])
    parts = []
    for axis in (2, 1, 0):
        x, y = (number for number in range(3) if number != axis)
        size = tuple(max(1, round(float(extent[n] * scale))) for n in (x, y))
        below, over = (_resized(np.take(part, at[axis], axis), size) for part in (grey, shares))
        colours = MAP_COLOURS(np.clip(over, 0, 1))
        mixed = below[..., None] * (1 - colours[..., 3:]) + colours[..., :3] * colours[..., 3:]
        top = (height - size[1]) // 2
        parts.append(np.pad(mixed, ((top, height - size[1] - top), (0, _GAP), (0, 0))))
    whole = np.clip(np.concatenate(parts, 1), 0, 1)
    return np.asarray(np.rint(255 * whole), np.uint8)


def _resized(cut: NDArray[Any], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a cut ``A B`` as a picture, B upwards, of ``width, height`` pixels."""
    upright = Image.fromarray(np.ascontiguousarray(cut.T[::-1], np.float32))
    return np.asarray(upright.resize((size[0], size[1]), Image.Resampling.BILINEAR))
