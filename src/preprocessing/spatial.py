"""Resample volumes: crop to the brain, isotropic voxels, one size for all.

Arrays: ``X Y Z`` voxels in RAS+ order. Matrices are 4 x 4 and map an index in the processed array
to an index in the array that came in, so maps can be carried back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.float32]
_MARGIN = 2  # voxels around the brain's box, so that its surface is not cut


def brain_cube(
    data: Float, mask: NDArray[np.bool_], voxel_size: tuple[float, float, float], size: int
) -> tuple[Float, NDArray[np.float64]]:
    """Crop to the brain's box and resample it, aspect kept and centred, into a cube.

    Args:
        data: ``(X, Y, Z)``.
        mask: The brain, same shape, not empty.
        voxel_size: Edge lengths of the voxels in mm.
        size: Edge of the cube in voxels.

    Returns:
        ``(size, size, size)`` float32, and its index -> index in `data`.
    """
    box = [_extent(mask, axis) for axis in range(3)]
    low, high = np.array(box, dtype=float).T
    return _resample(data, low, high, np.array(voxel_size), size, (size, size, size))


def whole_slab(
    data: Float, voxel_size: tuple[float, float, float], size: int
) -> tuple[Float, NDArray[np.float64]]:
    """Resample the whole field of view so that its longest edge is `size` voxels.

    Edges are padded to multiples of 8: a slab of 176 x 208 x 32 mm and size 128 becomes
    112 x 128 x 24, not a cube that is mostly air.
    """
    shape = np.array(data.shape, dtype=float)
    millimetres = shape * np.array(voxel_size)
    edges = np.ceil(millimetres * (size / millimetres.max()) / 8 - 1e-6).astype(int) * 8
    out = (int(edges[0]), int(edges[1]), int(edges[2]))
    return _resample(data, np.zeros(3), shape, np.array(voxel_size), size, out)


def _extent(mask: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """Return the first index and one past the last of the mask along `axis`, with a margin."""
    others = tuple(other for other in range(3) if other != axis)
    filled = np.flatnonzero(mask.any(axis=others))
    return max(int(filled[0]) - _MARGIN, 0), min(int(filled[-1]) + 1 + _MARGIN, mask.shape[axis])


def _resample(
    data: Float,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    voxel_size: NDArray[np.float64],
    size: int,
    shape: tuple[int, int, int],
) -> tuple[Float, NDArray[np.float64]]:
    """Resample the box `low` to `high` so that its longest edge in mm fills `size` voxels."""
    step = ((high - low) * voxel_size).max() / size / voxel_size  # input voxels per output voxel
    crop = data[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    # Linear interpolation aliases when voxels grow: smooth first, by the width that is lost.
    sigma = 0.5 * np.sqrt(np.maximum(step**2 - 1, 0))
    if sigma.max() > 0.25:
        crop = ndimage.gaussian_filter(crop, sigma, truncate=3, mode="nearest")
    centre = (np.array(crop.shape) - 1) / 2
    offset = centre - step * (np.array(shape) - 1) / 2
    out = ndimage.affine_transform(
        crop, step, offset, shape, np.float32, order=1, mode="grid-constant"
    )
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = offset + np.floor(low)
    return out, matrix
