"""A volume resampled to cubes, few enough for a page.

Arrays: ``X Y Z`` voxels in RAS+ order. Lengths are mm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...preprocessing.space.grid import Matrix

_FINEST = 1.5  # mm: the lines through the point are a voxel wide and should not hide it


def cubes(data: NDArray[Any], affine: Matrix, voxels: int) -> tuple[NDArray[np.float32], Matrix]:
    """Resample linearly to cubes, about `voxels` of them at most; return them and their affine."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    extent = edges * data.shape
    edge = max(min(float(edges.min()), _FINEST), float(np.prod(extent) / voxels) ** (1 / 3))
    step = edge / edges  # voxels per cube
    shape = np.maximum(np.rint(extent / edge), 1).astype(int)
    offset = (np.array(data.shape) - 1) / 2 - step * (shape - 1) / 2
    values = np.nan_to_num(data)
    if step.max() > 1.25:  # linear interpolation aliases when voxels grow
        values = ndimage.gaussian_filter(values, 0.5 * np.sqrt(np.maximum(step**2 - 1, 0)))
    out = ndimage.affine_transform(
        values, step, offset, tuple(shape), np.float32, order=1, mode="nearest"
    )
    to_data = np.diag([*step, 1.0])
    to_data[:3, 3] = offset
    matrix = affine @ to_data
    return np.asarray(out), matrix
