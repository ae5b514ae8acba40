"""Fluid, grey and white matter of brain-masked images, by brightness alone.

In T1-weighted images fluid is dark, grey matter grey and white matter bright. Three levels of one
person's own brain are told apart by k-means of its histogram, so nothing is learnt from others and
the brightness of a scanner does not count.

Arrays: ``D H W`` uint8 planes in [0, 255] and their brain, see `brain_planes`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...predictions import Array

CSF, GREY = 0, 1
_TISSUES = 3
_ROUNDS = 100
#: Processed images have no millimetres of their own: their longer edge is taken for a head's field.
_FIELD = 192.0  # mm
_FWHM = 12.0  # mm, of the smoothing and between the cells of a map
_PER_FWHM = 2 * np.sqrt(2 * np.log(2))  # standard deviations
_MIN_BRAIN = 20  # pixels under which there is no brain

Planes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def histogram(planes: Planes, brain: Mask) -> Array:
    """Return how many of the brain's voxels have each of the 256 levels."""
    return np.bincount(planes[brain], minlength=256).astype(np.float64)


def tissue_of_levels(counts: Array) -> NDArray[np.int64]:
    """Return the tissue of each level: k-means of the levels, darkest first.

    Args:
        counts: (256,) from `histogram`.

    Returns:
        (256,) 0 CSF, 1 grey matter, 2 white matter. It starts evenly spread, so nothing is drawn.
    """
    levels = np.arange(len(counts), dtype=np.float64)
    low, high = np.searchsorted(counts.cumsum(), np.array([0.01, 0.99]) * counts.sum())
    middle = low + (high - low) * np.array([1, 3, 5]) / 6
    tissue = np.zeros(len(counts), dtype=np.int64)
    for _ in range(_ROUNDS):
        found = np.searchsorted((middle[1:] + middle[:-1]) / 2, levels)
        if np.array_equal(found, tissue):
            break
        tissue = found
        held = np.bincount(tissue, counts, _TISSUES)
        total = np.bincount(tissue, counts * levels, _TISSUES)
        middle = np.where(held > 0, total / np.maximum(held, 1), middle)
    return tissue


def csf_to_grey(counts: Array) -> float:
    """Return log(CSF / grey matter) of a brain's `histogram`; NaN where it lacks one of them."""
    held = np.bincount(tissue_of_levels(counts), counts, _TISSUES)
    if counts.sum() < _MIN_BRAIN or not held[CSF] or not held[GREY]:
        return float("nan")
    return float(np.log(held[CSF] / held[GREY]))


def tissue_maps(planes: Planes, brain: Mask, counts: Array, slabs: int | None = None) -> Array:
    """Return smoothed maps of grey matter and of CSF, on a coarse grid.

    A Gaussian of 12 mm (full width at half maximum), sampled every 12 mm, where the longer edge of
    the image is taken for 192 mm: 16 cells.

    Args:
        planes: ``(D, H, W)`` slices of one session in order, or those of a volume.
        brain: Where the brain is in them.
        counts: `histogram` by which tissue is told.
        slabs: Parts that slices are averaged in, as nobody knows how far they lie apart; None for
            a volume, which is smoothed along all axes.

    Returns:
        (2 * cells,) in [0, 1], grey matter first; NaN where no brain is seen.
    """
    longest = max(planes.shape[1:] if slabs else planes.shape)
    down, along = (_smoothing(size, longest) for size in planes.shape[1:])
    across = _slabs(len(planes), slabs) if slabs else _smoothing(len(planes), longest)
    tissue = np.where(brain, tissue_of_levels(counts)[planes], _TISSUES)
    maps = []
    for wanted in (GREY, CSF):
        smooth = down @ (tissue == wanted).astype(np.float32) @ along.T
        maps.append(np.tensordot(across, smooth, axes=1).ravel())
    found = np.concatenate(maps).astype(np.float64)
    return found if counts.sum() >= _MIN_BRAIN else np.full(len(found), np.nan)


def _smoothing(size: int, longest: int) -> NDArray[np.float32]:
    """Return the ``(cells, size)`` weights of an axis; outside the image there is nothing."""
    pixel = _FIELD / longest
    cells = max(1, round(size * pixel / _FWHM))
    places = (np.arange(cells) + 0.5)[:, None] * size / cells
    off = (np.arange(size) + 0.5 - places) * pixel / (_FWHM / _PER_FWHM)
    density = np.exp(-(off**2) / 2) / np.sqrt(2 * np.pi)
    weights: NDArray[np.float32] = (density * pixel / (_FWHM / _PER_FWHM)).astype(np.float32)
    return weights


def _slabs(count: int, slabs: int) -> NDArray[np.float32]:
    """Return the ``(slabs, count)`` weights of slices; fewer slices are in several slabs."""
    weights = np.zeros((slabs, count), dtype=np.float32)
    for slab in range(slabs):
        own = slice(slab * count // slabs, -(-(slab + 1) * count // slabs))
        weights[slab, own] = 1 / (own.stop - own.start)
    return weights
