"""Sagittal, coronal and axial plane through one point, as one block of a sheet.

Arrays: ``X Y Z`` voxels in RAS+ order. Lengths in the brain are mm, on the sheet inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from .drawing import Cut, Sheet, plane_sizes

Point = tuple[int, int, int]
PLANE_ORDER = ("sagittal", "coronal", "axial")  # cut along X, Y and Z
_GAP = 0.05
_STRIP_GAP = 0.4  # between two strips, for what is written there


@dataclass(frozen=True)
class Shown:
    """What is drawn in three planes.

    Attributes:
        image: ``(X, Y, Z)``, drawn in grey.
        values: ``(X, Y, Z)``, drawn in colours over it.
        voxel_size: Along X, Y and Z, mm.
        grey: Values of the image that are black and white.
        colours: Of the values.
        limits: Values at the ends of the colours.
    """

    image: NDArray[Any]
    values: NDArray[Any]
    voxel_size: Sequence[float]
    grey: tuple[float, float]
    colours: Colormap
    limits: tuple[float, float]


@dataclass(frozen=True)
class ThreePlanes:
    """Where the three planes stand within their block.

    Attributes:
        boxes: Plane -> width and height, mm.
        places: Plane -> left and upper edge, inches.
        scale: Inches per mm.
        width: Of the block, inches.
        height: Of the block, inches.
    """

    boxes: dict[str, tuple[float, float]]
    places: dict[str, tuple[float, float]]
    scale: float
    width: float
    height: float

    @classmethod
    def holding(
        cls, grids: Sequence[tuple[Sequence[int], Sequence[float]]], longest: float
    ) -> ThreePlanes:
        """Return planes large enough for every grid.

        Args:
            grids: Shape and voxel size (mm) of each.
            longest: Inches of the longest edge.
        """
        sizes = [plane_sizes(shape, voxel_size) for shape, voxel_size in grids]
        boxes = {
            plane: (max(size[plane][0] for size in sizes), max(size[plane][1] for size in sizes))
            for plane in PLANE_ORDER
        }
        scale = longest / max(max(box) for box in boxes.values())
        wide, high = ({p: box[i] * scale for p, box in boxes.items()} for i in (0, 1))
        places = _beside(wide, high)
        if high["sagittal"] + _STRIP_GAP + high["coronal"] <= high["axial"]:
            places = _strips(wide, high)
        width = max(places[plane][0] + wide[plane] for plane in PLANE_ORDER)
        return cls(boxes, places, scale, width, max(high.values()))

    def draw(
        self,
        sheet: Sheet,
        corner: tuple[float, float],
        shown: Shown,
        point: Point,
        *,
        crosshair: bool,
        side_known: bool,
    ) -> None:
        """Draw the planes through a point, from the upper left corner on."""
        for axis, plane in enumerate(PLANE_ORDER):
            (left, top), box = self.places[plane], self.boxes[plane]
            edges = (box[0] * self.scale, box[1] * self.scale)
            axes = sheet.axes(corner[0] + left, corner[1] + top, *edges)
            cut = Cut(axes, plane, point[axis], shown.voxel_size, box)
            cut.anatomy(shown.image, shown.grey)
            cut.overlay(shown.values, shown.colours, shown.limits)
            if crosshair:
                cut.crosshair(point)
            cut.directions(side_known)


def middle(shape: Sequence[int]) -> Point:
    """Return the voxel in the middle."""
    x, y, z = (n // 2 for n in shape)
    return x, y, z


def _beside(wide: dict[str, float], high: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Place three planes beside each other."""
    lefts = np.cumsum([0.0] + [wide[plane] + _GAP for plane in PLANE_ORDER])
    tallest = max(high.values())
    return {
        plane: (float(left), (tallest - high[plane]) / 2)
        for plane, left in zip(PLANE_ORDER, lefts, strict=False)
    }


def _strips(wide: dict[str, float], high: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Place the two strips of a thin slab above each other, and the axial plane beside them."""
    top = (high["axial"] - high["sagittal"] - high["coronal"] - _STRIP_GAP) / 2
    return {
        "sagittal": (0.0, top),
        "coronal": (0.0, top + high["sagittal"] + _STRIP_GAP),
        "axial": (max(wide["sagittal"], wide["coronal"]) + _GAP, 0.0),
    }
