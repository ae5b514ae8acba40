"""Figures of answers that say how sure they are: abstention and prediction sets.

Each draws one section of ``metrics.json``; where it is not available nothing is written and None is
returned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...predictions import FEW_PEOPLE
from ..canvas import COLOURS, write_figure
from ..estimates import NOT_ESTIMABLE
from ..titles import TITLES
from .forest import (
    GREY,
    Section,
    as_interval,
    caption_of,
    label_of,
    legend_below,
    mark,
    missing,
    numbers,
    people,
    said,
    shortened,
    span,
    tidy,
)

#: Colour, marker and line of each level of prediction sets.
_LEVELS = tuple(zip(COLOURS[:3], "os^", (":", "--", "-"), strict=True))


def abstention_figure(
    path: Path, abstention: Section, title: str, *, stamps: Sequence[str] = ()
) -> Path | None:
    """Draw accuracy and balanced accuracy where the least certain answers are left out.

    Args:
        path: PNG to write.
        abstention: ``curve``, one entry per share of people answered, and ``area``.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where the section is not available.
    """
    if missing(abstention):
        return None
    assert abstention is not None
    curve = sorted(abstention["curve"], key=lambda row: row["coverage"])
    figure = Figure(figsize=(6.6, 4.0), layout="constrained")
    axes = figure.subplots()
    tidy(axes, "y")
    _draw_abstention(axes, curve)
    legend_below(figure, 2)
    few = any(_few(row, "balanced_accuracy") for row in curve)
    caption = caption_of(
        (
            "Bars: 95 % intervals of people",
            f"Area under accuracy against share answered: {said(abstention.get('area'))}",
            f"Hollow: under {FEW_PEOPLE} people, or of a class" if few else "",
            shortened(abstention.get("sentence") or "", 300),
        )
    )
    return write_figure(figure, path, title, caption, stamps)


def prediction_sets_figure(
    path: Path,
    prediction_sets: Section,
    classes: Sequence[str],
    title: str,
    *,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw how often the set of each level holds the true class, and how large the sets are.

    Args:
        path: PNG to write.
        prediction_sets: ``levels``: "0.80" -> ``coverage``, ``mean_size``, ``per_class`` and more.
        classes: K names, in the order of the rows.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where the section is not available.
    """
    if missing(prediction_sets):
        return None
    assert prediction_sets is not None
    levels = prediction_sets["levels"]
    n_rows = (1 + len(classes)) * len(levels)
    figure = Figure(figsize=(9.6, 0.8 + 0.21 * n_rows), layout="constrained")
    coverage, size = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_coverage(coverage, levels, classes)
    _draw_sizes(size, levels, len(classes))
    legend_below(figure, 3)
    return write_figure(figure, path, title, _sets_caption(levels, classes), stamps)


def _draw_abstention(axes: Any, curve: Sequence[Mapping[str, Any]]) -> None:
    """Draw both scores, a little apart so that their bars can be told apart."""
    lines = (("accuracy", "o", "-", -0.006), ("balanced_accuracy", "s", "--", 0.006))
    for (name, marker, style, aside), colour in zip(lines, COLOURS, strict=False):
        x = [row["coverage"] + aside for row in curve]
        y = numbers(as_interval(row[name])["value"] for row in curve)
        axes.plot(
            x, y, linestyle=style, color=colour, linewidth=1.8, marker=marker,
            label=TITLES[name], clip_on=False,
        )  # fmt: skip
        for at, row in zip(x, curve, strict=True):
            mark(
                axes, at, row[name], colour=colour, marker=marker, hollow=_few(row, name),
                upright=True,
            )  # fmt: skip
    ticks = [f"{100 * row['coverage']:.0f} %\nn = {row['n_people']}" for row in curve]
    axes.set_xticks([row["coverage"] for row in curve], ticks)
    axes.set_xlabel("people answered, the most certain first", fontsize=10)
    axes.set_ylabel("score of the answered", fontsize=10)
    known = [as_interval(row[name]) for row in curve for name in ("accuracy", "balanced_accuracy")]
    axes.set_ylim(*span(value for values in known for value in values.values()))


def _few(row: Mapping[str, Any], metric: str) -> bool:
    """Whether too few people are behind a score: of a class, if it averages over classes."""
    of_class = metric == "balanced_accuracy" and bool(row.get("few_people"))
    return of_class or row["n_people"] < FEW_PEOPLE


def _draw_coverage(axes: Any, levels: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Draw one group of rows for everyone and one per class; in a group, one row per level."""
    tidy(axes, "x")
    values: list[float | None] = [1.0]
    step = len(levels) + 0.6
    names = []
    for group, name in enumerate([None, *classes]):
        names.append("everyone" if name is None else name)
        for i, (level, style) in enumerate(zip(levels, _LEVELS, strict=False)):
            entry = levels[level] if name is None else levels[level]["per_class"].get(name)
            value = None if missing(entry) else entry.get("coverage")
            y = group * step + i
            few = name is not None and not missing(entry) and entry["n_people"] < FEW_PEOPLE
            mark(axes, y, value, colour=style[0], marker=style[1], hollow=few, size=5.5)
            axes.text(
                1.03, y, said(value), transform=axes.get_yaxis_transform(), fontsize=8, va="center",
                color="black" if as_interval(value)["value"] is not None else GREY,
            )  # fmt: skip
            values += as_interval(value).values()
    for level, (colour, shape, line) in zip(levels, _LEVELS, strict=False):
        axes.axvline(float(level), color=colour, linestyle=line, linewidth=1.4, zorder=1)
        axes.plot(
            [], [], color=colour, linestyle=line, marker=shape, label=f"{_percent(level)} sets"
        )
        values.append(float(level))
    counts = [_people_of(levels, name) for name in classes]
    ticks = [
        label_of(name, people(n)) for name, n in zip(names, [sum(counts), *counts], strict=True)
    ]
    axes.set_yticks(np.arange(len(names)) * step + (len(levels) - 1) / 2, ticks)
    axes.set_ylim(len(names) * step - 0.8, -0.9)
    axes.set_xlim(*span(values))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of people whose set holds the truth\n(lines: nominal)", fontsize=10)


def _draw_sizes(axes: Any, levels: Mapping[str, Any], k: int) -> None:
    """Draw the mean size of the sets of each level, and how many name one class."""
    tidy(axes, "x")
    for y, (level, style) in enumerate(zip(levels, _LEVELS, strict=False)):
        values = levels[level]
        mark(axes, y, values.get("mean_size"), colour=style[0], marker=style[1], size=5.5)
        single = as_interval(values.get("singletons"))
        alone = "" if single["value"] is None else f"\none class: {_percent(single['value'])}"
        axes.text(
            1.03, y, f"{said(values.get('mean_size'))}{alone}", fontsize=8, va="center",
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set_yticks(range(len(levels)), [_percent(level) for level in levels])
    axes.set_ylim(len(levels) - 0.5, -0.5)
    most = max((as_interval(values.get("mean_size"))["high"] or k) for values in levels.values())
    axes.set_xlim(-0.05, min(k, math.ceil(most)) + 0.05)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("mean number of classes\nin a set", fontsize=10)


def _sets_caption(levels: Mapping[str, Any], classes: Sequence[str]) -> str:
    reasons: dict[str, dict[str, None]] = {}  # reason -> classes, each once, in order
    for values in levels.values():
        for name in classes:
            entry = values["per_class"].get(name)
            if missing(entry):
                reason = shortened((entry or {}).get("reason") or NOT_ESTIMABLE, 110)
                reasons.setdefault(reason, {})[shortened(name, 40)] = None
    absent = [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
    empty = [f"{values['empty']} at {_percent(level)}" for level, values in levels.items()]
    return caption_of(
        (
            "Bars: 95 % intervals of people",
            f"Empty sets: {', '.join(empty)}",
            f"Not estimable: {'; '.join(absent)}" if absent else "",
        )
    )


def _people_of(levels: Mapping[str, Any], name: str) -> int:
    entries = [values["per_class"].get(name) or {} for values in levels.values()]
    return max(int(entry.get("n_people") or 0) for entry in entries)


def _percent(share: str | float) -> str:
    return f"{100 * float(share):.0f} %"
