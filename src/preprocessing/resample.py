"""Resample volumes: crop to the brain, isotropic voxels, one size for all.

Smoothing and linear interpolation act on one axis after the other, so each is a sparse matrix per
axis. They are multiplied in a fixed order, by plain sums: the same bytes on any processor.

Arrays: ``X Y Z`` voxels in RAS+ order; ``N`` voxels in and ``M`` out along one axis. Matrices that
come back are 4 x 4 and map an index in the processed array to an index in the array that came in,
so maps can be carried back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

Float = NDArray[np.float32]
Box = tuple[slice, slice, slice]
_MARGIN = 2  # voxels around the brain's box, so that its surface is not cut


def brain_box(mask: NDArray[np.bool_]) -> Box:
    """Return the smallest box around the brain, with a margin; the axes in any order."""
    # Files hold their last axis furthest apart: planes of it are joined from end to end.
    plane = np.logical_or.reduce(mask, axis=2)
    first, second = (np.logical_or.reduce(plane, axis=axis) for axis in (1, 0))
    return _extent(first), _extent(second), _extent(np.logical_or.reduce(mask, axis=(0, 1)))


def brain_cube(
    brain: Float, voxel_size: tuple[float, float, float], size: int
) -> tuple[Float, NDArray[np.float64]]:
    """Resample the brain's box, aspect kept and centred, into a cube.

    Args:
        brain: ``(X, Y, Z)``, the part of a volume in its `brain_box`.
        voxel_size: Edge lengths of the voxels in mm.
        size: Edge of the cube in voxels.

    Returns:
        ``(size, size, size)`` float32, and its index -> index in `brain`.
    """
    return _resample(brain, np.array(voxel_size), size, (size, size, size))


def whole_slab(
    data: Float, voxel_size: tuple[float, float, float], size: int
) -> tuple[Float, NDArray[np.float64]]:
    """Resample the whole field of view so that its longest edge is `size` voxels.

    Edges are padded to multiples of 8: a slab of 176 x 208 x 32 mm and size 128 becomes
    112 x 128 x 24, not a cube that is mostly air.
    """
    millimetres = np.array(data.shape, dtype=float) * np.array(voxel_size)
    edges = np.ceil(millimetres * (size / millimetres.max()) / 8 - 1e-6).astype(int) * 8
    out = (int(edges[0]), int(edges[1]), int(edges[2]))
    return _resample(data, np.array(voxel_size), size, out)


def _extent(filled: NDArray[np.bool_]) -> slice:
    """Return from the first to the last place that is filled, with a margin."""
    places = np.flatnonzero(filled)
    return slice(max(int(places[0]) - _MARGIN, 0), min(int(places[-1]) + 1 + _MARGIN, filled.size))


def _resample(
    data: Float, voxel_size: NDArray[np.float64], size: int, shape: tuple[int, int, int]
) -> tuple[Float, NDArray[np.float64]]:
    """Resample `data` so that its longest edge in mm fills `size` voxels."""
    edges = np.array(data.shape)
    step = (edges * voxel_size).max() / size / voxel_size  # input voxels per output voxel
    # Linear interpolation aliases when voxels grow: smooth first, by the width that is lost.
    sigma = 0.5 * np.sqrt(np.maximum(step**2 - 1, 0))
    if sigma.max() <= 0.25:
        sigma = np.zeros(3)
    offset = (edges - 1) / 2 - step * (np.array(shape) - 1) / 2
    along = [_along_axis(*one) for one in zip(data.shape, shape, step, offset, sigma, strict=True)]
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = offset
    return along_axes(data, along), matrix


def _along_axis(count: int, size: int, step: float, offset: float, sigma: float) -> Float:
    """Return smoothing, then interpolation, of one axis as a matrix ``(M, N)``, mostly zero.

    A linear filter is known by what it makes of single voxels, so SciPy's own filters are shown
    the unit matrix instead of the volume.
    """
    smooth = ndimage.gaussian_filter(np.eye(count), (sigma, 0), truncate=3, mode="nearest")
    linear = ndimage.affine_transform(
        np.eye(count), (step, 1), (offset, 0), (size, count), order=1, mode="grid-constant"
    )
    # Two places of a row are not zero. BLAS would also leave a thread that waits busily.
    together: Float = (sparse.csr_array(linear) @ smooth).astype(np.float32)
    return together


def along_axes(data: Float, along: list[Float]) -> Float:
    """Return `data` with each axis multiplied by its matrix, ``(M, N)`` of mostly zeros.

    Sparse times dense is fast along the first axis of an array. Files hold X together and Z
    apart, so Z comes first without a copy, then Y, and X after the one transposition. An axis
    that the file holds in the other direction is not turned: its matrix is.
    """
    ways = [-1 if stride < 0 else 1 for stride in data.strides]
    turned = np.ascontiguousarray(data[tuple(slice(None, None, way) for way in ways)].T)  # Z Y X
    matrices = zip(along, ways, strict=True)
    wide, deep, high = (sparse.csr_array(matrix[:, ::way]) for matrix, way in matrices)
    x, y, z = (len(matrix) for matrix in along)
    planes = (high @ turned.reshape(len(turned), -1)).reshape(-1, data.shape[0])
    every_plane = sparse.kron(sparse.eye_array(z, dtype=np.float32), deep, format="csr")
    lines = np.ascontiguousarray((every_plane @ planes).T)
    out: Float = (wide @ lines).reshape(x, z, y).transpose(0, 2, 1)
    return out
