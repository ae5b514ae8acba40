"""How alike two maps of one brain are: ranks and structure, inside the brain only.

Outside the brain every map is low, so a similarity over the whole image is high for any two maps.

Axes: P people, C cells, ``...`` is ``H W`` pixels or ``X Y Z`` voxels; one person's map has no P.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import rankdata

Map = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
#: One value per person; None where it is not defined.
Values = list[float | None]
#: Grey value, of 1, up to which a place is background: interpolation leaves traces under it.
_BACKGROUND = 1 / 255
#: Constants of structural similarity for maps in [0, 1], as published.
_C1, _C2 = 0.01**2, 0.03**2


def brain_masks(images: Map) -> Mask:
    """Return where the brain is in brain-masked images ``(P, ...)`` in [0, 1], holes filled."""
    return np.stack([ndimage.binary_fill_holes(image > _BACKGROUND) for image in images])


def cells_of(brain: Mask, cell: Sequence[float]) -> NDArray[np.int64]:
    """Return the number of each place's cell, 0 to C - 1; -1 outside the brain.

    Args:
        brain: ``(...)``; a cell ends where the brain does.
        cell: Edges of a cell in places, per axis, at least 1.
    """
    corner = np.zeros(brain.shape, dtype=np.int64)
    for axis, (n, edge) in enumerate(zip(brain.shape, cell, strict=True)):
        # Cells of 160 / 5 pixels must not begin a pixel late for a rounding error.
        along = np.floor(np.arange(n) / edge + 1e-9).astype(np.int64)
        shape = [n if own == axis else 1 for own in range(brain.ndim)]
        corner = corner * (int(along[-1]) + 1) + along.reshape(shape)
    numbers: NDArray[np.int64] = np.full(brain.shape, -1)
    numbers[brain] = np.unique(corner[brain], return_inverse=True)[1]
    return numbers


def cell_means(values: Map, cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of a map in each cell, ``(C,)``."""
    inside = cells >= 0
    sums = np.bincount(cells[inside], values[inside].astype(np.float64))
    means: NDArray[np.float64] = sums / np.bincount(cells[inside])
    return means


def rank_correlation(reference: Map, other: Map, brain: Mask) -> float | None:
    """Return Spearman's correlation over the places of the brain, ties counted by their mean rank.

    Returns:
        -1 to 1; 0 where `other` says the same of every place, since it then says nothing of
        `reference`; None where `reference` itself does, so that nothing can be like it.
    """
    first, second = reference[brain], other[brain]
    if is_flat(first):
        return None
    if is_flat(second):
        return 0.0
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def is_flat(values: Map) -> bool:
    """Return whether all values are one, or there are none."""
    return not values.size or bool(values.min() == values.max())


def structural_similarity(
    reference: Map, other: Map, brain: Mask, cell: Sequence[float]
) -> float | None:
    """Return the structural similarity (SSIM), each map divided by its maximum in the brain.

    The window is a Gaussian about as wide as one cell of the map: a narrower one would compare how
    a coarse map was interpolated. Mean over the places of the brain.

    Source: Wang et al. (2004), doi:10.1109/TIP.2003.819861.

    Args:
        reference: Map, >= 0.
        other: Map, >= 0.
        brain: Where to compare.
        cell: Edge of one cell of the map's own grid, per axis, in places.

    Returns:
        -1 to 1, or None where `reference` is flat in the brain.
    """
    if is_flat(reference[brain]):
        return None
    a, b = _scaled(reference, brain), _scaled(other, brain)
    sigma = [edge / 2 for edge in cell]

    def blur(values: Map) -> Map:
        blurred: Map = ndimage.gaussian_filter(values, sigma, mode="constant")
        return blurred

    mean_a, mean_b = blur(a), blur(b)
    covariance = blur(a * b) - mean_a * mean_b
    variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    above = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    below = (mean_a**2 + mean_b**2 + _C1) * (variances + _C2)
    return float((above / below)[brain].mean())


def between_people(maps: Map, brains: Mask) -> Values:
    """Return for each person the mean rank correlation with the maps of the others.

    A pair is compared where both have brain, and only if neither map is flat there. None where no
    pair is left.
    """
    pairs: list[list[float]] = [[] for _ in maps]
    for i, j in combinations(range(len(maps)), 2):
        both = brains[i] & brains[j]
        value = None if is_flat(maps[j][both]) else rank_correlation(maps[i], maps[j], both)
        if value is not None:
            pairs[i].append(value)
            pairs[j].append(value)
    return [mean_of(values) for values in pairs]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are known; None without any."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _scaled(values: Map, brain: Mask) -> NDArray[np.float64]:
    """Return the map divided by its maximum in the brain, 0 outside; an empty one stays empty."""
    inside = np.where(brain, values, 0).astype(np.float64)
    top = float(inside.max())
    return inside / top if top > 0 else inside
