"""How much of a map lies outside the brain, where the image is empty.

Arrays: maps and brains ``(P, ...)``, P people, ``...`` is ``H W`` or ``X Y Z``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from .similarity import Map, Mask, Values


def outside_brain(maps: Map, brains: Mask, cell: Sequence[float]) -> dict[str, Any]:
    """Compare how much of a map is outside the brain with how much of an even map would be.

    The brain is grown by half a cell of the map first: a coarse map cannot end sharper than that.
    Fields of view differ in how much of them is air, so it is not the share alone that can be
    judged.

    Args:
        maps: >= 0.
        brains: Of the same people.
        cell: Edges of one cell of the map's own grid, in places.

    Returns:
        ``share`` of each map that is outside, None where the map is empty; ``volume``, the share of
        the field of view that is; ``ratio`` of the two: 1 for a map that does not know of the
        brain, None where nothing is outside.
    """
    share: Values = []
    ratio: Values = []
    volume: list[float] = []
    for values, brain in zip(maps, brains, strict=True):
        away = outside_of(brain, cell)
        total, outside = (float(part.sum(dtype=np.float64)) for part in (values, values[away]))
        share.append(outside / total if total > 0 else None)
        volume.append(float(away.mean()))
        ratio.append(outside / total / volume[-1] if total > 0 and volume[-1] > 0 else None)
    return {"available": True, "share": share, "volume": volume, "ratio": ratio}


def outside_of(brain: Mask, cell: Sequence[float]) -> Mask:
    """Return the places further than half a cell from the brain."""
    distance = ndimage.distance_transform_edt(~brain, sampling=[1 / edge for edge in cell])
    far: Mask = distance > 0.5
    return far
