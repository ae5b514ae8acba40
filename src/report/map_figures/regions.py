"""How much of the attribution each region holds for its volume, class by class.

A ratio is the region's share of the attribution over its share of the volume: 1 is what an even
map has. Lengths are inches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ...errors import ImageError
from ..canvas import COLOURS, plain, write_figure
from ..estimates import NOT_ESTIMABLE, written
from ..score_figures.forest import (
    GREY,
    as_interval,
    label_of,
    legend_below,
    mark,
    people,
    tidy,
)

Row = Mapping[str, Any]
ALL = "all"  # class of the rows that are about everyone
_MARKERS = ("s", "D", "^", "v", "P", "X")
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def region_figure(
    path: Path, rows: Sequence[Row], title: str, caption: str, *, stamps: Sequence[str] = ()
) -> Path:
    """Draw how much of the attribution each region holds, for its volume, class by class.

    Args:
        path: PNG to write.
        rows: ``region``, ``class`` (`ALL` for everyone), ``n_people``, ``few_people`` and
            ``ratio``, an interval: share of the attribution over share of the volume.
        title: Above the figure.
        caption: Below the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.

    Raises:
        ImageError: There is no row.
    """
    if not rows:
        raise ImageError(f"{path.name}: there is no region to draw")
    regions = list(dict.fromkeys(str(row["region"]) for row in rows))
    classes = list(dict.fromkeys(str(row["class"]) for row in rows))
    block = 0.11 * len(classes) + 0.16
    figure = Figure(figsize=(8.2, 0.9 + block * len(regions)), layout="constrained")
    axes = figure.subplots()
    tidy(axes, "x")
    axes.axvline(1, color="0.3", linestyle="--", linewidth=1.2, zorder=1)
    low, high = _ratio_axis(axes, rows)
    for row in rows:
        number = classes.index(str(row["class"]))
        offset = (number + 0.5) / len(classes) - 0.5
        y = regions.index(str(row["region"])) + 0.72 * offset
        _draw_ratio(axes, y, row, number - (ALL in classes), (low, high))
    for y in np.arange(len(regions) - 1) + 0.5:
        axes.axhline(y, color="0.92", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(regions)), [label_of(region) for region in regions])
    axes.set_ylim(len(regions) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, pad=6)
    _class_legend(axes, rows, classes)
    legend_below(figure, 3)
    return write_figure(figure, path, title, caption, stamps)


def _ratio_axis(axes: Any, rows: Sequence[Row]) -> tuple[float, float]:
    """Make a log axis that holds the ratios, within a hundredth and a hundred; return its ends."""
    values = [end for row in rows for end in as_interval(row["ratio"]).values()]
    known = [value for value in values if value is not None and value > 0] + [0.8, 1.25]
    low, high = max(min(known) / 1.1, _TICKS[0]), min(max(known) * 1.1, _TICKS[-1])
    axes.set(xscale="log", xlim=(low, high))
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    name = "share of the attribution / share of the volume"
    axes.set_xlabel(f"{name}\n(dashed: 1, what an even map has)", fontsize=10)
    return low, high


def _draw_ratio(axes: Any, y: float, row: Row, number: int, limits: tuple[float, float]) -> None:
    """Draw one ratio with its interval; an end beyond the axis becomes an arrow."""
    ratio, (low, high) = as_interval(row["ratio"]), limits
    colour, marker, hollow = _style(row, number)
    everyone = str(row["class"]) == ALL
    if everyone:
        axes.text(
            1.015, y, _said(ratio), transform=axes.get_yaxis_transform(), fontsize=8,
            va="center", color=colour,
        )  # fmt: skip
    value = ratio["value"]
    if value is None:
        if not everyone:
            axes.text(low, y, f"  {NOT_ESTIMABLE}", fontsize=7, va="center", color=GREY)
        return
    inside = {name: None if v is None else min(max(v, low), high) for name, v in ratio.items()}
    size = 4.5 + 1.5 * everyone
    mark(axes, y, inside, colour=colour, marker=marker if low <= value <= high else "", size=size,
         hollow=hollow)  # fmt: skip
    ends = [v for v in ratio.values() if v is not None]
    for at, sign, beyond in ((0.008, "<", min(ends) < low), (0.992, ">", max(ends) > high)):
        if beyond:
            axes.plot(
                at, y, marker=sign, color=colour, markersize=4.5, linestyle="none", zorder=5,
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip


def _said(ratio: Mapping[str, float | None]) -> str:
    """Return a ratio as text; two digits that count, since shares of little are small."""
    return written(ratio, _two_digits, between="-", brackets="[]")


def _two_digits(value: float) -> str:
    return f"{value:.2f}" if value >= 0.095 else f"{value:.1g}"


def _style(row: Row, number: int) -> tuple[str, str, bool]:
    """Return colour and marker of a class, and whether it is hollow: of few people."""
    if str(row["class"]) == ALL:
        colour, marker = "0.1", "o"
    else:
        colour = COLOURS[number % len(COLOURS)]
        marker = _MARKERS[number % len(_MARKERS)]
    return (GREY if row["few_people"] else colour), marker, bool(row["few_people"])


def _class_legend(axes: Any, rows: Sequence[Row], classes: Sequence[str]) -> None:
    """Name the classes, with their people; few people are grey and hollow."""
    for name in classes:
        of_class = [row for row in rows if str(row["class"]) == name]
        most = max(of_class, key=lambda row: int(row["n_people"]))
        colour, marker, hollow = _style(most, classes.index(name) - (ALL in classes))
        # The space keeps a name that begins with an underscore, which would be left out.
        label = f" {'everyone' if name == ALL else plain(name, 40)} ({people(most['n_people'])})"
        axes.plot(
            [], [], marker=marker, color=colour, linewidth=1.5, markersize=6,
            markerfacecolor="white" if hollow else colour, label=label,
        )  # fmt: skip
    if any(row["few_people"] for row in rows):
        few = " grey, hollow: few people"
        axes.plot(
            [], [], marker="o", color=GREY, linestyle="none", markerfacecolor="white", label=few
        )
