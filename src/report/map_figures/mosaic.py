"""Cuts of one person's map side by side: the slices that were explained, or the whole brain.

Arrays: ``X Y Z`` voxels in RAS+ order. Lengths in the brain are mm, on the sheet inches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ...errors import ImageError, UnknownNameError
from ...preprocessing.slices import PLANES
from ...preprocessing.space.grid import PlacedVolume
from ..canvas import write_figure
from .drawing import (
    CROSSHAIR,
    GREY,
    LETTERS,
    LINE,
    MAP_COLOURS,
    SIDE_UNKNOWN,
    Cut,
    Sheet,
    grey_limits,
    heading,
    peak,
    plane_sizes,
    share_of_maximum,
    shown_affine,
)
from .person import NOTHING, SHARE, SHARE_TICKS, PersonMap

_CUTS = 20  # through a volume
_MIN_AREA = 0.03  # of the largest cut's brain: a smaller one shows nothing
_CELL, _GAP, _LABEL, _BAR = 1.45, 0.06, 0.17, 0.85
_CLOSEST = 0.035  # inches between two lines of the scout
_BESIDE = (0.6, 1.0)  # inches left of the bars of weights, and of them


def mosaic(
    path: Path,
    person: PersonMap,
    slices: Sequence[int] | None,
    title: str,
    caption: str,
    *,
    side_known: bool,
    plane: str = "axial",
    first: int = 0,
    stamps: Sequence[str] = (),
    weights: NDArray[np.float64] | None = None,
) -> Path:
    """Draw many cuts of one person, on one colour scale, after a scout that shows where they lie.

    Args:
        path: PNG to write.
        person: Whom to draw.
        slices: Numbers of the slices to draw; None takes about 20 cuts through the brain and the
            one through the map's peak, named by their mm.
        title: Above the figure.
        caption: Below the figure.
        side_known: Whether left and right can be told.
        plane: A key of `PLANES`: which way the cuts lie.
        first: Number of the image's first cut in the scan, where a stack of slices begins.
        stamps: Warnings, drawn in red above the title.
        weights: Share of each of `slices` in the person's answer, drawn as bars beside the cuts.

    Returns:
        `path`.

    Raises:
        UnknownNameError: `plane` is none.
        ImageError: A slice is outside of the image, or there is none.
    """
    if plane not in PLANES:
        raise UnknownNameError("plane", plane, PLANES)
    values = share_of_maximum(person.map.data)
    point = peak(values)
    cut_axis = PLANES[plane][0]
    top = None if point is None else point[cut_axis]
    indices = _indices(person, slices, plane, first, top)
    names = _names(person.image, indices, cut_axis, None if slices is None else first)
    sheet, corner, columns, cell = _sheet(person, len(indices) + 1, plane, weights is not None)
    if weights is not None and slices is not None:
        _bars(sheet, corner, slices, weights)
    grey = grey_limits(person.image.data)
    for number, (index, name) in enumerate(zip([None, *indices], ["", *names], strict=True)):
        axes = sheet.axes(*_place(corner, number, columns, cell), *cell)
        if index is None:
            _scout(axes, person.image, plane, indices, top, grey)
            continue
        box = plane_sizes(person.image.data.shape, person.image.voxel_size)[plane]
        cut = Cut(axes, plane, index, person.image.voxel_size, box)
        cut.anatomy(person.image.data, grey)
        cut.overlay(values, MAP_COLOURS, (0, 1))
        cut.sides(side_known, 6)
        _label(axes, name, index == top)
    if plane != "sagittal" and not side_known:
        sheet.text(corner[0], corner[1] - 0.2, SIDE_UNKNOWN, color=GREY, fontweight="bold")
    if top is None:
        sheet.text(sheet.width / 2, corner[1] - 0.2, NOTHING, ha="center", style="italic")
    return write_figure(sheet.figure, path, title, caption, stamps)


def _indices(
    person: PersonMap, slices: Sequence[int] | None, plane: str, first: int, top: int | None
) -> list[int]:
    """Return which cuts to draw, in voxels, ascending."""
    count = person.image.data.shape[PLANES[plane][0]]
    if slices is None:
        return _spread(person.image.data, PLANES[plane][0], top)
    indices = sorted({int(number) - first for number in slices})
    if not indices or indices[0] < 0 or indices[-1] >= count:
        raise ImageError(
            f"{person.title}: slices {sorted(slices)[:40]} are not all among "
            f"{first} to {first + count - 1}"
        )
    return indices


def _spread(image: NDArray[np.float32], axis: int, top: int | None) -> list[int]:
    """Return about 20 cuts, evenly from the first to the last with brain, and one at the peak."""
    others = tuple(other for other in range(3) if other != axis)
    area = (image > 0).sum(axis=others)
    filled = np.flatnonzero(area > _MIN_AREA * area.max())
    low, high = (filled[0], filled[-1]) if len(filled) else (0, image.shape[axis] - 1)
    step = max((high - low) / _CUTS, 1)
    indices = np.unique(np.arange(low + step / 2, high + 0.5, step).astype(int))
    if top is not None:  # it takes the place of the cut nearest to it
        indices[np.abs(indices - top).argmin()] = top
    return [int(index) for index in np.unique(indices)]


def _names(image: PlacedVolume, indices: list[int], axis: int, first: int | None) -> list[str]:
    """Return what is written under each cut: its number in the scan, or its place in mm."""
    if first is not None:
        return [f"slice {index + first}" for index in indices]
    matrix, _ = shown_affine(image)
    middle = (np.array(image.data.shape) - 1) / 2
    names = []
    for index in indices:
        middle[axis] = index
        names.append(f"{'xyz'[axis]} = {matrix[axis, :3] @ middle + matrix[axis, 3]:.0f} mm")
    return names


def _sheet(
    person: PersonMap, count: int, plane: str, weighed: bool = False
) -> tuple[Sheet, tuple[float, float], int, tuple[float, float]]:
    """Return the sheet with heading and colour bar, its upper left corner, columns and cell."""
    wide, high = plane_sizes(person.image.data.shape, person.image.voxel_size)[plane]
    cell = (_CELL * wide / max(wide, high), _CELL * high / max(wide, high))
    wanted = max(4, round(math.sqrt(1.6 * count * cell[1] / cell[0])))
    # Of three nearly equal widths, the one that leaves the fewest places empty.
    columns = min(count, min((wanted, wanted + 1, wanted - 1), key=lambda n: -count % n))
    width = columns * (cell[0] + _GAP)
    lines = len(heading(person.title, person.text, width))
    corner = (0.0, 0.3 + LINE * lines)
    rows = -(-count // columns)
    beside = _BAR + weighed * (sum(_BESIDE) + 0.15)
    sheet = Sheet(width + beside, corner[1] + rows * (cell[1] + _LABEL + _GAP) + 0.3 * weighed)
    sheet.heading(0, 0.05, width, person.title, person.text)
    tall = min(1.9, sheet.height - corner[1] - 0.1)
    place = (width + 0.05, corner[1] + 0.05, 0.15, tall)
    sheet.colour_bar(place, MAP_COLOURS, (0, 1), SHARE, SHARE_TICKS)
    return sheet, corner, columns, cell


def _bars(
    sheet: Sheet,
    corner: tuple[float, float],
    slices: Sequence[int],
    weights: NDArray[np.float64],
) -> None:
    """Draw what each slice weighs as a bar at its number, at the right edge of the sheet."""
    left = sheet.width - _BESIDE[1] - 0.15
    top, below = corner[1] + 0.05, 0.45  # inches: the numbers and the name under the axis
    axes = sheet.axes(left, top, _BESIDE[1], sheet.height - top - below)
    numbers = np.array(slices)
    gap = float(np.diff(np.sort(numbers)).min()) if len(numbers) > 1 else 1.0
    axes.barh(numbers, 100 * weights, height=0.8 * gap, color=CROSSHAIR)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0, 105 * float(weights.max()))
    axes.set_ylim(numbers.min() - 0.6 * gap, numbers.max() + 0.6 * gap)
    axes.set_ylabel("slice", fontsize=9)
    axes.set_xlabel("weight (%)", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.tick_params(labelsize=8)


def _place(
    corner: tuple[float, float], number: int, columns: int, cell: tuple[float, float]
) -> tuple[float, float]:
    row, column = divmod(number, columns)
    return corner[0] + column * (cell[0] + _GAP), corner[1] + row * (cell[1] + _LABEL + _GAP)


def _scout(
    axes: Any,
    image: PlacedVolume,
    plane: str,
    indices: list[int],
    top: int | None,
    grey: tuple[float, float],
) -> None:
    """Draw a plane across all cuts, and a line at each of them."""
    across = "coronal" if plane == "sagittal" else "sagittal"
    axis = PLANES[across][0]
    sizes = plane_sizes(image.data.shape, image.voxel_size)
    # The panel has the form of the cuts: the plane is made to fit into it.
    shape, edges = sizes[plane], sizes[across]
    zoom = max(edges[0] / shape[0], edges[1] / shape[1])
    box = (shape[0] * zoom, shape[1] * zoom)
    middle = image.data.shape[axis] // 2
    cut = Cut(axes, across, middle, image.voxel_size, box)
    cut.anatomy(image.data, grey)
    size = image.voxel_size[PLANES[plane][0]]
    upright = PLANES[across][2] == PLANES[plane][0]  # its columns run across the cuts
    for index in _apart(indices, top, math.ceil(_CLOSEST * max(box) / _CELL / size)):
        style: dict[str, Any] = {"color": LETTERS if index == top else CROSSHAIR}
        style["linewidth"] = 1.2 if index == top else 0.4
        place, ends = [(index + 0.5) * size] * 2, [0, edges[1] if upright else edges[0]]
        axes.plot(*((place, ends) if upright else (ends, place)), **style)
    cut.settle()
    _label(axes, "the cuts", False)


def _apart(indices: list[int], top: int | None, step: int) -> list[int]:
    """Return the cuts whose lines leave the brain visible: a step apart, the peak's always."""
    kept = [index for index in indices if index == top]
    for index in indices:
        if all(abs(index - other) >= step for other in kept):
            kept.append(index)
    return kept


def _label(axes: Any, name: str, is_peak: bool) -> None:
    """Write a cut's name under it; the one with the peak has a frame."""
    text = f"{name}: peak" if is_peak else name
    axes.text(
        0.5, -0.02, text, transform=axes.transAxes, ha="center", va="top", fontsize=7.5,
        fontweight="bold" if is_peak else "normal",
    )  # fmt: skip
    if is_peak:
        axes.spines[:].set(visible=True, color=LETTERS, linewidth=2.2)
