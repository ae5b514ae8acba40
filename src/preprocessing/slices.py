"""Cut a volume into 8-bit slices spread over the brain.

Arrays: ``X Y Z`` voxels in RAS+ order, in [0, 1]; a slice is ``H W`` with the front of the head
(axial) or its top (coronal, sagittal) in row 0. Columns run along +X, or +Y in sagittal slices.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

Number = TypeVar("Number", bound=np.generic)

#: Plane -> (axis cut, axis of rows, axis of columns); rows run against their axis.
PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
#: A slice shows the brain when its brain area is at least this share of the largest slice's.
_MIN_AREA = 0.25


def choose_slices(mask: NDArray[np.bool_], plane: str, count: int) -> list[int]:
    """Return up to `count` indices, evenly spread over the slices that show the brain.

    Args:
        mask: The brain ``(X, Y, Z)``.
        plane: A key of `PLANES`.
        count: How many; a brain of fewer slices gives all of them.

    Raises:
        ImageError: No slice shows the brain.
    """
    cut = PLANES[plane][0]
    area = np.array([np.count_nonzero(section) for section in np.moveaxis(mask, cut, 0)])
    shown = np.flatnonzero(area >= _MIN_AREA * max(int(area.max()), 1))
    if area.max() == 0:
        raise ImageError("no slice shows the brain")
    chosen = np.linspace(shown[0], shown[-1], count).round().astype(int)
    return [int(index) for index in np.unique(chosen)]


def cut_slice(data: NDArray[Number], plane: str, index: int) -> NDArray[Number]:
    """Return slice `index` of ``(X, Y, Z)`` as ``(H, W)``, upright."""
    # The two other axes stay in order, columns first: the transpose puts rows first.
    picture: NDArray[Number] = np.moveaxis(data, PLANES[plane][0], 0)[index]
    return np.ascontiguousarray(picture.T[::-1])


def slice_matrix(
    shape: tuple[int, ...], plane: str, fit: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return 4 x 4: (row, column, slice index, 1) of a fitted slice -> index in ``(X, Y, Z)``.

    Args:
        shape: X, Y, Z of the volume.
        plane: A key of `PLANES`.
        fit: 3 x 3 from `fit_square`.
    """
    cut, rows, columns = PLANES[plane]
    upright = np.zeros((4, 4))  # (row, column, slice) before fitting -> X Y Z
    upright[rows, 0], upright[rows, 3] = -1, shape[rows] - 1
    upright[columns, 1] = upright[cut, 2] = upright[3, 3] = 1
    fitted = np.eye(4)
    fitted[np.ix_([0, 1, 3], [0, 1, 3])] = fit
    return np.asarray(upright @ fitted)


def fit_square(
    picture: NDArray[np.float32], pixel_size: tuple[float, float], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Resize to a square with the aspect kept: pad, never stretch.

    Args:
        picture: ``(H, W)`` in [0, 1].
        pixel_size: Height and width of a pixel in mm (only their ratio matters).
        size: Edge of the square in pixels.

    Returns:
        ``(size, size)`` uint8, and 3 x 3: (row, column, 1) in it -> (row, column) in `picture`.
    """
    height, width = picture.shape
    scale = size / max(height * pixel_size[0], width * pixel_size[1])
    rows = max(round(height * pixel_size[0] * scale), 1)
    columns = max(round(width * pixel_size[1] * scale), 1)
    shrinks = rows < height and columns < width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(picture, (columns, rows), interpolation=method)
    top, left = (size - rows) // 2, (size - columns) // 2
    square = np.zeros((size, size), np.uint8)
    square[top : top + rows, left : left + columns] = np.clip(resized * 255 + 0.5, 0, 255)
    down, across = (
        height / rows,
        width / columns,
    )  # pixel centres: source = (target + .5) * step - .5
    fit = np.array(
        [[down, 0, (0.5 - top) * down - 0.5], [0, across, (0.5 - left) * across - 0.5], [0, 0, 1]]
    )
    return square, fit
