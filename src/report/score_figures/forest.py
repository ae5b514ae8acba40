"""Rows of estimates with their 95 % intervals, and what all figures of scores share.

Sections come from ``metrics.json``, where anything may be None or not available, and names from
files. Marks are told apart by shape and line as well as colour, so a grey print can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...errors import counted
from ..canvas import COLOURS, wrapped
from ..estimates import ends_of, written
from ..titles import TITLES

#: A part of ``metrics.json``, or None where it was not computed.
Section = Mapping[str, Any] | None
#: ``value``, ``low`` and ``high``; None where undefined.
Interval = Mapping[str, Any]

#: What few people say, references and remarks.
GREY = "0.4"
#: The two metrics that every comparison is drawn in.
METRICS = ("balanced_accuracy", "macro_auc")
_LABEL_WIDTH = 2.0  # inches


@dataclass(frozen=True)
class Row:
    """One line of a forest plot.

    Attributes:
        label: Name, as a file gave it.
        below: What stands under the name, ours: the number of people.
        values: Metric -> interval, or None where there is none.
        said: Metric -> text that replaces the numbers.
        marker: Shape of the estimate.
        colour: Of the mark; `GREY` greys the label too.
        hollow: Only the outline of the marks.
        doubtful: Metrics that rest on few people: hollow, with grey numbers.
        heading: A bold label without estimates.
    """

    label: str
    below: str = ""
    values: Mapping[str, Interval | None] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    marker: str = "o"
    colour: str = COLOURS[0]
    hollow: bool = False
    doubtful: Collection[str] = ()
    heading: bool = False


@dataclass(frozen=True)
class Panel:
    """One column of a forest plot: a metric and the value that chance gives."""

    metric: str
    chance: float | None = None


#: Why a section that nobody asked for cannot be drawn.
NOT_ASKED = "not part of this result"


def missing(section: Section) -> str:
    """Return why a section cannot be drawn; empty where it can."""
    if not section:
        return NOT_ASKED
    if section.get("available", True):
        return ""
    return str(section.get("reason") or "not available")


def chance_of(person: Mapping[str, Any]) -> dict[str, float]:
    """Return what guessing scores: a class average is over the classes that have people."""
    present = sum(1 for row in person["confusion"] if sum(row))
    return {"balanced_accuracy": 1 / max(present, 1), "macro_auc": 0.5}


def as_interval(value: Any) -> dict[str, float | None]:
    """Return `value`, an interval, a number or None, as interval."""
    if isinstance(value, Mapping):
        return {name: value.get(name) for name in ("value", "low", "high")}
    return {"value": value, "low": None, "high": None}


def said(value: Any, between: str = "-") -> str:
    """Return an interval or a number as text: ``0.53 [0.46-0.60]``."""
    return written(value, "{:.2f}".format, between=between, brackets="[]")


def people(n: int | None) -> str:
    """Return ``n = 40 people``; empty where the number is not known."""
    if n is None:
        return ""
    return f"n = {counted(n, 'person')}"


def shortened(text: Any, length: int) -> str:
    """Return `text` with at most `length` characters, its end cut off; not escaped for drawing."""
    text = str(text).strip()
    return text if len(text) <= length else f"{text[: length - 1]}…"


def caption_of(parts: Iterable[str]) -> str:
    """Join the parts that are not empty, each a sentence; no line is broken within a number."""
    text = " ".join(part if part.endswith((".", "…")) else f"{part}." for part in parts if part)
    return text.replace("n = ", "n\xa0=\xa0").replace(" [", "\xa0[").replace(" %", "\xa0%")


def notes_of(person: Mapping[str, Any]) -> str:
    """Return what a score says against itself, such as a class of few people in its averages."""
    notes = [str(note) for note in person.get("notes") or () if note]
    return shortened(". ".join(note[0].upper() + note[1:] for note in notes), 600)


def numbers(values: Iterable[Any]) -> Any:
    """Return an array, NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def mark(
    axes: Any,
    at: float,
    value: Any,
    *,
    colour: str,
    marker: str = "o",
    hollow: bool = False,
    upright: bool = False,
    size: float = 6.5,
    label: str | None = None,
) -> None:
    """Draw an estimate and its interval at a height, or upright at an x. None draws nothing.

    The interval is drawn by its ends: a percentile interval need not hold its estimate. A mark on
    the edge of the plot is drawn whole.
    """
    values = as_interval(value)
    if values["value"] is None:
        return
    ends = ends_of(values)
    if ends is not None:
        place = [at, at]
        axes.plot(
            *((place, ends) if upright else (ends, place)),
            color=colour, linewidth=1.5, marker="_" if upright else "|", markersize=6, zorder=3,
            clip_on=False,
        )  # fmt: skip
    axes.plot(
        *((at, values["value"]) if upright else (values["value"], at)),
        marker=marker, markersize=size, color=colour, markeredgewidth=1.4, linestyle="none",
        markerfacecolor="white" if hollow else colour, zorder=4, label=label, clip_on=False,
    )  # fmt: skip


def tidy(axes: Any, grid: str = "both") -> None:
    """Take away the frame's top and right, and put a light grid behind the marks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def legend_below(figure: Figure, columns: int) -> None:
    """Name each kind of mark once, under the panels and above the caption."""
    named: dict[str, Any] = {}
    for axes in figure.get_axes():
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    # An "outside" legend would hang on the edge of the picture, which moves down with the caption.
    width, height = figure.get_size_inches()
    legend_height = 0.12 + 0.2 * -(-len(named) // columns)
    figure.set_size_inches(width, height + legend_height)
    low = legend_height / (height + legend_height)
    figure.set_layout_engine("constrained", rect=(0, low, 1, 1 - low), wspace=0.05)
    figure.legend(
        named.values(), named.keys(), loc="lower center", ncols=columns, fontsize=9,
        frameon=False, bbox_to_anchor=(0.5, 0), bbox_transform=figure.transFigure,
        borderaxespad=0, handlelength=3,
    )  # fmt: skip


def label_of(name: str, below: str = "", width: float = _LABEL_WIDTH) -> str:
    """Return a name from a file in at most two lines, and our own line under it."""
    return "\n".join([*wrapped(name, width, 9, most=2), *([below] if below else [])])


def span(values: Iterable[float | None], least: float = 0.0, most: float = 1.0) -> Any:
    """Return limits of an axis, in tenths, that hold `values` and stay in [least, most]."""
    known = [value for value in values if value is not None] or [least, most]
    low, high = np.floor(min(known) * 10 - 0.2) / 10, np.ceil(max(known) * 10 + 0.2) / 10
    return max(low, least) - 0.01, min(high, most) + 0.01


def forest_figure(rows: Sequence[Row], panels: Sequence[Panel]) -> Figure:
    """Return one row per estimate and one column per metric, the numbers beside the marks."""
    lines = sum(1 + bool(row.below) + (len(row.label) > 26) for row in rows)
    size = (2.3 + 3.4 * len(panels), 0.9 + 0.17 * lines + 0.1 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    columns = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(columns, panels, strict=True):
        _draw_panel(axes, rows, panel)
    axes = columns[0]
    axes.set_yticks(range(len(rows)), [label_of(row.label, row.below) for row in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_color(row.colour if row.colour == GREY else "black")
        text.set_fontweight("bold" if row.heading else "normal")
    return figure


def _draw_panel(axes: Any, rows: Sequence[Row], panel: Panel) -> None:
    """Draw the estimates of one metric, and the numbers on their right."""
    tidy(axes, "x")
    for y, row in enumerate(rows):
        if row.heading:
            continue
        value = row.values.get(panel.metric)
        doubtful = panel.metric in row.doubtful
        pale = doubtful or row.colour == GREY or as_interval(value)["value"] is None
        hollow = doubtful or row.hollow
        mark(axes, y, value, colour=row.colour, marker=row.marker, hollow=hollow)
        axes.text(
            1.03, y, row.said.get(panel.metric, said(value)), fontsize=9, va="center",
            transform=axes.get_yaxis_transform(), color=GREY if pale else "black",
        )  # fmt: skip
    drawn = [as_interval(row.values.get(panel.metric)) for row in rows]
    axes.set_xlim(*span([*(v for values in drawn for v in values.values()), panel.chance]))
    name = TITLES[panel.metric]
    if panel.chance is not None:
        axes.axvline(panel.chance, color="0.4", linestyle=":", linewidth=1.2, zorder=1)
        name += f"\n(dotted: chance, {panel.chance:.2f})"
    axes.set_xlabel(name, fontsize=10)
    axes.tick_params(axis="y", length=0)
