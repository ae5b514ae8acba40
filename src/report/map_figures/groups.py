"""Maps of groups of people in template space: mean and spread.

Arrays: ``X Y Z`` voxels of the template in RAS+ order. A group map is in times the brain's
average: 1 is what an even map would have everywhere. Lengths in the brain are mm, on the sheet
inches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import Colormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ...errors import ImageError
from ...predictions import FEW_PEOPLE
from ..canvas import write_figure
from ..score_figures.forest import people
from .drawing import GREY, LINE, MAP_COLOURS, SPREAD_COLOURS, Sheet, grey_limits, peak
from .planes import Shown, ThreePlanes, middle

Scale = tuple[Colormap, tuple[float, float]]
MEAN, SPREAD = "mean, times the brain's average", "standard deviation between people, same unit"
_LONGEST, _BETWEEN, _BARS = 1.75, 0.4, 0.6
_HEAD, _FOOT = 0.25 + 2 * LINE, 0.25
_DIM = 0.4  # brightness where no one was imaged


@dataclass(frozen=True)
class GroupMap:
    """The maps of a group of people, one voxel at a time.

    Attributes:
        name: Of the group: a true class, perhaps with "correct" or "wrong".
        n_people: How many.
        mean: ``(X, Y, Z)``, times the brain's average; NaN where no one was imaged.
        sd: Standard deviation between people, same shape and unit; None, or NaN, of one map.

    Raises:
        ImageError: `mean` and `sd` differ in shape, or are no volumes.
    """

    name: str
    n_people: int
    mean: NDArray[Any]
    sd: NDArray[Any] | None

    def __post_init__(self) -> None:
        if self.mean.ndim != 3 or (self.sd is not None and self.sd.shape != self.mean.shape):
            raise ImageError(f"{self.name}: mean and sd need one shape (X, Y, Z)")


def group_figure(
    path: Path,
    groups: Sequence[GroupMap],
    background: NDArray[Any],
    voxel_size: Sequence[float],
    title: str,
    caption: str,
    *,
    side_known: bool,
    affine: NDArray[np.float64] | None = None,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw each group's mean map and its spread, in three planes through the peak of the mean.

    All groups share one colour scale, so they compare. What is below the brain's average is not
    coloured, and where no one was imaged the brain is dark.

    Args:
        path: PNG to write.
        groups: One row each.
        background: ``(X, Y, Z)``, the people's mean image or the template.
        voxel_size: Along X, Y and Z, mm.
        title: Above the figure.
        caption: Below the figure.
        side_known: Whether left and right can be told.
        affine: Index -> mm of the template, so that each peak's place is written.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.

    Raises:
        ImageError: There is no group, or one is on another grid than the background.
    """
    if not groups or any(group.mean.shape != background.shape for group in groups):
        raise ImageError(f"{path.name}: needs maps of {list(background.shape)} voxels")
    planes = ThreePlanes.holding([(background.shape, voxel_size)], _LONGEST)
    across, down = planes.width + _BETWEEN, _HEAD + planes.height + _FOOT
    sheet = Sheet(across + planes.width, len(groups) * down + _BARS)
    grey = grey_limits(background)
    scales = (
        (MAP_COLOURS, (1.0, max(_largest(group.mean for group in groups), 1.5))),
        (SPREAD_COLOURS, (0.0, _largest(group.sd for group in groups))),
    )
    for row, group in enumerate(groups):
        point = peak(group.mean)
        words = _words(group, point, affine, side_known)
        sheet.heading(0, row * down + 0.05, sheet.width, group.name, words)
        image = np.where(np.isnan(group.mean), _DIM, 1) * background
        halves = zip((group.mean, group.sd), scales, ("mean", "standard deviation"), strict=True)
        for number, (values, scale, name) in enumerate(halves):
            corner = (number * across, row * down + _HEAD)
            sheet.text(corner[0], corner[1] - 0.17, name, 8, color=GREY, style="italic")
            if values is None or np.isnan(values).all():
                place = (corner[0] + planes.width / 2, corner[1] + planes.height / 2)
                sheet.text(*place, "none: a single map", ha="center", color=GREY)
                continue
            planes.draw(
                sheet, corner, Shown(image, values, voxel_size, grey, *scale),
                point or middle(background.shape),
                crosshair=point is not None, side_known=side_known,
            )  # fmt: skip
    _colour_bars(sheet, planes.width, across, scales)
    return write_figure(sheet.figure, path, title, caption, stamps)


def _largest(maps: Iterable[NDArray[Any] | None]) -> float:
    """Return the largest value of several maps; 1 if there is none above 0."""
    tops = [float(np.nan_to_num(values, posinf=0).max()) for values in maps if values is not None]
    return max((top for top in tops if top > 0), default=1.0)


def _words(
    group: GroupMap,
    point: tuple[int, int, int] | None,
    affine: NDArray[np.float64] | None,
    side_known: bool,
) -> str:
    """Return what stands under a group's name."""
    words = people(group.n_people)
    if group.n_people < FEW_PEOPLE:
        words += " (few people)"
    if point is None:
        return f"{words}; its map is flat"
    if affine is not None:
        x, y, z = (float(value) for value in affine[:3, :3] @ point + affine[:3, 3])
        across = f"{x:.0f}" if side_known else f"±{abs(x):.0f}"
        words += f"; peak at x {across}, y {y:.0f}, z {z:.0f} mm"
    return f"{words}, {group.mean[point]:.1f} times the brain's average"


def _colour_bars(
    sheet: Sheet,
    width: float,
    across: float,
    scales: Sequence[Scale],
) -> None:
    """Draw a colour bar under either half."""
    for number, ((colours, ends), label) in enumerate(zip(scales, (MEAN, SPREAD), strict=True)):
        long = min(2.8, width)
        left = number * across + (width - long) / 2
        ticks = [tick for tick in MaxNLocator(5).tick_values(*ends) if ends[0] <= tick <= ends[1]]
        place = (left, sheet.height - _BARS + 0.08, long, 0.14)
        sheet.colour_bar(place, colours, ends, label, sorted({ends[0], *ticks}))
