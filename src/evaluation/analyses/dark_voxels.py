"""A rival without any network: how much of the brain is dark, slice by slice.

Fluid is dark in T1-weighted images and atrophy replaces tissue by fluid, so the share of dark
voxels is a poor man's nWBV that needs neither a segmentation nor learning. A network that cannot
beat it has not learnt more than that ventricles grow.

Arrays: ``H W`` uint8 slices in [0, 255], ``X Y Z`` float16 volumes in [0, 1] (RAS+), brain-masked:
zero outside the brain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import ImageError
from ...predictions import Array

#: Columns of dark fractions start with this.
PREFIX = "dark_"
_DARK = 0.45  # of the level of bright tissue: between fluid and grey matter in T1-weighted images
_BRIGHT = 90  # percentile of the brain that stands for bright tissue (white matter)
_EMPTY = 0.05  # of full scale; the level under which preprocessing takes a JPG's pixel for noise
_GAP = 0.02  # of the picture's edge: clefts up to this wide are closed, so fluid in them is brain
_MIN_BRAIN = 20  # pixels under which a slice shows no brain


def dark_fractions(image: NDArray[Any], slabs: int = 16) -> Array:
    """Return the share of dark voxels in the brain.

    Dark is less than .45 of the 90th percentile of the brain in the same slice or slab, so
    brightness that differs between slices and scanners does not count.

    Args:
        image: A slice ``(H, W)``, uint8; or a volume ``(X, Y, Z)`` in [0, 1].
        slabs: Parts of equal height that a volume's brain is cut into, along the last axis; a
            brain of fewer slices gives one part each.

    Returns:
        One fraction for a slice, one for each slab, bottom to top, for a volume; NaN where no
        brain is seen.

    Raises:
        ImageError: `image` is neither.
    """
    planes, brain = brain_planes(image)
    if image.ndim == 2:
        return np.array([dark_share(planes, brain)])
    return dark_profile(planes, brain, slabs)


def brain_planes(image: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return an image as planes ``(D, H, W)``, and where the brain is in them.

    Args:
        image: A slice ``(H, W)``, uint8, which is one plane; or a volume ``(X, Y, Z)`` in [0, 1],
            whose planes go from bottom to top.

    Raises:
        ImageError: `image` is neither.
    """
    if image.ndim == 2 and image.dtype == np.uint8:
        return image[None], _brain(image)[None]
    if image.ndim != 3:
        raise ImageError(f"{list(image.shape)} {image.dtype} is no slice (H, W) and no volume")
    volume = np.clip(image.astype(np.float32) * 255 + 0.5, 0, 255).astype(np.uint8)
    planes = np.ascontiguousarray(volume.transpose(2, 0, 1))
    return planes, np.stack([_brain(plane) for plane in planes])


def dark_profile(planes: NDArray[np.uint8], brain: NDArray[np.bool_], slabs: int = 16) -> Array:
    """Return the share of dark voxels in each slab of a volume's brain, see `dark_fractions`."""
    shown = np.flatnonzero(brain.sum(axis=(1, 2)) >= _MIN_BRAIN)
    if not shown.size:
        return np.full(slabs, np.nan)
    heights = np.arange(shown[0], shown[-1] + 1)
    parts = np.array_split(heights, min(slabs, len(heights)))
    return np.array([dark_share(planes[part], brain[part]) for part in parts])


def _brain(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the brain is in ``(H, W)``: what is not empty, its narrow clefts, its holes.

    Ventricles and cisterns may be as dark as the background, but they lie inside.
    """
    width = 2 * round(_GAP * max(pixels.shape) / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    # An empty border joins all that is outside, wherever the brain touches the picture's edge.
    mask = np.pad((pixels > _EMPTY * 255).astype(np.uint8), width)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc)
    cv2.floodFill(mask, None, (0, 0), 2)
    return np.asarray(mask[width:-width, width:-width] != 2)


def dark_share(pixels: NDArray[np.uint8], brain: NDArray[np.bool_]) -> float:
    """Return the share of a brain that is dark; NaN where there is none."""
    inside = pixels[brain]
    if len(inside) < _MIN_BRAIN:
        return float("nan")
    return float(np.mean(inside < _DARK * np.percentile(inside, _BRIGHT)))


def resized(profile: Array, length: int) -> Array:
    """Return `profile` at `length` positions spread over it; slices without brain are bridged."""
    known = np.isfinite(profile)
    if not known.any():
        return np.full(length, np.nan)
    if known.all() and len(profile) == length:
        return profile
    place = np.linspace(0, 1, len(profile))
    resized: Array = np.interp(np.linspace(0, 1, length), place[known], profile[known])
    return resized


def same_length(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the profiles of several studies as one table, all as long as the shortest.

    Args:
        tables: Dark fractions ``dark_00``, ... indexed by subject, of different people.
    """
    length = min(len(table.columns) for table in tables)
    columns = [f"{PREFIX}{position:02d}" for position in range(length)]
    return pd.concat(
        pd.DataFrame(
            [resized(row, length) for row in table.to_numpy(dtype=np.float64)],
            index=table.index,
            columns=columns,
        )
        for table in tables
    )
