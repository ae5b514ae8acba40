"""How much of a map falls into each region, and how much it would if it were the same everywhere.

Shares of regions are of what lies in the brain and in the field of view. What lies outside the
brain has a row of its own, a share of everything in the field of view: a model has no business
there.

Arrays: ``X Y Z`` voxels of the template's grid; ``R`` rows: the regions of an atlas, `REST` and
`OUTSIDE`, as `row_names` lists them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from .atlas import Atlas

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
REST = "rest of the brain"
OUTSIDE = "outside the brain"
#: Share of a region that must be in the field of view: its edge alone does not speak for it.
MIN_COVERAGE = 0.1


def row_names(atlas: Atlas) -> tuple[str, ...]:
    """Return the R names of the rows: the regions of the atlas, `REST`, `OUTSIDE`."""
    return (*atlas.names, REST, OUTSIDE)


def region_shares(
    values: NDArray[Any], covered: Mask, atlas: Atlas, brain: Mask
) -> tuple[Array, Array]:
    """Measure one map in all regions.

    Args:
        values: (X, Y, Z) map, >= 0, in any unit.
        covered: (X, Y, Z) the field of view; what lies beyond it does not count.
        atlas: The regions.
        brain: (X, Y, Z) the brain; a region's voxel that is not in it counts as outside.

    Returns:
        (R,) share of the map and (R,) share of the volume, 0 to 1. Both are NaN where less than
        `MIN_COVERAGE` of a region is in the field of view; shares are NaN where the map is empty.

    Raises:
        ImageError: Shapes differ, the map is negative or not finite, or the field of view shows no
            brain.
    """
    shapes = {np.shape(one) for one in (values, covered, atlas.labels, brain)}
    if len(shapes) > 1:
        raise ImageError(f"map, field of view, atlas and brain differ in shape: {sorted(shapes)}")
    seen = values[covered].astype(np.float64)
    if not np.isfinite(seen).all() or (seen < 0).any():
        raise ImageError("a map must be finite and not negative")
    if not (covered & brain).any():
        raise ImageError("the field of view shows no brain")
    size = len(atlas.names) + 2
    rows = _rows(atlas, brain)[covered]
    shares, volumes = (_shares(rows, weight, size) for weight in (seen, np.ones(len(seen))))
    unseen = region_coverage(covered, atlas) < MIN_COVERAGE
    shares[:-2][unseen] = volumes[:-2][unseen] = np.nan
    return shares, volumes


def region_coverage(covered: Mask, atlas: Atlas) -> Array:
    """Return, for each region of the atlas, the share of its voxels in the field of view."""
    size = len(atlas.names) + 1
    inside = np.bincount(atlas.labels[covered], minlength=size)
    return np.asarray(inside / np.maximum(np.bincount(atlas.labels.ravel(), minlength=size), 1))[1:]


def _rows(atlas: Atlas, brain: Mask) -> NDArray[np.int64]:
    """Return (X, Y, Z) the row that each voxel counts in."""
    regions = len(atlas.names)
    in_brain = np.where(atlas.labels > 0, atlas.labels.astype(np.int64) - 1, regions)
    return np.where(brain, in_brain, regions + 1)


def _shares(rows: NDArray[np.int64], weight: Array, size: int) -> Array:
    """Divide the rows of the brain by their sum, and the last one by the sum of all."""
    amount = np.bincount(rows, weight, minlength=size).astype(np.float64)
    below = np.full(size, amount[:-1].sum())
    below[-1] = amount.sum()
    quotient = np.full(size, np.nan)
    return np.asarray(np.divide(amount, below, out=quotient, where=below > 0))
