"""Figures of what was said beside the stage: predicted against true, and the brain-age gap.

Each draws a part of the section ``tasks`` of ``metrics.json``; where it is not available nothing is
written and None is returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...predictions import FEW_PEOPLE
from ..canvas import COLOURS, write_figure
from ..titles import TASK_NAMES
from .forest import (
    GREY,
    NOT_ASKED,
    Section,
    as_interval,
    caption_of,
    label_of,
    legend_below,
    mark,
    missing,
    people,
    said,
    tidy,
)

_MARKERS = ("o", "s", "^", "D")
_SPREAD = 0.13  # of a class's place, over which its people are spread


def numbers_of(section: Section) -> list[Mapping[str, Any]]:
    """Return the tasks whose answers are numbers and that could be judged."""
    if section is None or missing(section):
        return []
    return [one for one in section["tasks"] if one["available"] and one.get("points")]


def tasks_missing(section: Section) -> str:
    """Return why answers beside the stage cannot be drawn; empty where they can."""
    why = missing(section)
    if why or numbers_of(section):
        return why
    return "nothing beside the stage is a number that is known of two people"


def gap_missing(section: Section) -> str:
    """Return why the brain-age gap cannot be drawn; empty where it can."""
    why = missing(section)
    return why if why or _gap_of(section) else NOT_ASKED


def tasks_figure(
    path: Path, section: Section, classes: Sequence[str], title: str, *, stamps: Sequence[str] = ()
) -> Path | None:
    """Draw what was said of each person against what is true, a panel for each task.

    Args:
        path: PNG to write.
        section: ``tasks``, each with ``points`` (true, predicted), ``classes`` and ``metrics``.
        classes: Names, mildest first.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where no task is a number.
    """
    shown = numbers_of(section)
    if not shown:
        return None
    figure = Figure(figsize=(4.6 * len(shown) + 0.4, 4.5), layout="constrained")
    notes = []
    for axes, task in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _draw_points(axes, task, classes)
        name = TASK_NAMES[task["name"]]
        rivals = [one for one in task["rivals"] if one["available"]]
        each = ", ".join(f"{one['title']} {said(one['metrics']['mae'], ' to ')}" for one in rivals)
        notes.append(
            f"MAE of {name}: {said(task['metrics']['mae'], ' to ')}; {each}" if each else ""
        )
    legend_below(figure, min(2 * len(shown), len(classes)))
    caption = caption_of(
        ["One mark a person", "Dotted: said is true", *notes, "95 % intervals of resampled people"]
    )
    return write_figure(figure, path, title, caption, stamps)


def gap_figure(
    path: Path, section: Section, classes: Sequence[str], title: str, *, stamps: Sequence[str] = ()
) -> Path | None:
    """Draw the brain-age gap of each person and its mean with interval, class by class.

    Args:
        path: PNG to write.
        section: ``tasks``, of which age has a ``gap``.
        classes: Names, mildest first.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where there is no gap.

    Source:
        Beheshti et al. (2019), doi:10.1016/j.nicl.2019.102063, for the correction.
    """
    task = _gap_of(section)
    if task is None:
        return None
    gap = task["gap"]
    kind = "corrected" if gap["corrected"] else "raw"
    points = np.array(task["points"], dtype=float)
    values = np.array(gap["points"]) if gap["corrected"] else points[:, 1] - points[:, 0]
    of_class = np.array(task["classes"])
    groups = gap["groups"]
    figure = Figure(figsize=(max(5.2, 1.9 * len(groups) + 1.6), 4.3), layout="constrained")
    axes = figure.subplots()
    tidy(axes, "y")
    labels = []
    for place, group in enumerate(groups):
        number = list(classes).index(group["class"])
        own = np.sort(values[of_class == number])
        aside = place + 0.22 + _SPREAD * np.resize([-1, 0, 1], len(own))
        few = group["few_people"]
        colour = GREY if few else COLOURS[0]
        axes.plot(
            aside, own, "o", color=GREY, markerfacecolor="none", markersize=4, alpha=0.7,
            label="a person",
        )  # fmt: skip
        mark(
            axes, place - 0.15, group[kind], colour=colour, upright=True, hollow=bool(few), size=8,
            label="mean of the stage, 95 % interval",
        )  # fmt: skip
        below = f"n = {group['n_people']}"
        labels.append(label_of(group["class"], f"{below} (few)" if few else below, 1.6))
    axes.axhline(0, color="black", linestyle=":", linewidth=1.2, zorder=1)
    axes.set_xticks(range(len(groups)), labels)
    axes.set_xlim(-0.5, len(groups) - 0.4)
    axes.set_ylabel(f"{'corrected ' * bool(gap['corrected'])}brain-age gap in years", fontsize=10)
    legend_below(figure, 2)
    means = [f"{group['class']} {said(group[kind], ' to ')}" for group in groups]
    line, why = gap.get("line"), str(gap.get("reason", ""))
    how = f"{why[:1].upper()}{why[1:]}"
    if line:
        how = f"Less the line of validation people, {line['intercept']:.1f} and "
        how += f"{line['slope']:.2f} for each year of true age"
    few_people = any(group["few_people"] for group in groups)
    caption = caption_of(
        (
            f"{people(task['n_people'])}; age said minus true age",
            how,
            f"Means: {', '.join(means)}",
            f"Grey and hollow: under {FEW_PEOPLE} people" if few_people else "",
        )
    )
    return write_figure(figure, path, title, caption, stamps)


def _gap_of(section: Section) -> Mapping[str, Any] | None:
    return next((one for one in numbers_of(section) if one.get("gap", {}).get("groups")), None)


def _draw_points(axes: Any, task: Mapping[str, Any], classes: Sequence[str]) -> None:
    tidy(axes)
    points, of_class = np.array(task["points"], dtype=float), np.array(task["classes"])
    low, high = float(points.min()), float(points.max())
    pad = 0.06 * (high - low) or 1.0
    ends = [low - pad, high + pad]
    axes.plot(ends, ends, ":", color="0.4", linewidth=1.2, zorder=1)
    for number, name in enumerate(classes):
        own = points[of_class == number]
        if len(own):
            axes.plot(
                own[:, 0], own[:, 1], linestyle="none", marker=_MARKERS[number % 4], markersize=6,
                color=COLOURS[number % 4], markerfacecolor="none", markeredgewidth=1.3,
                label=label_of(name),
            )  # fmt: skip
    axes.set(xlim=ends, ylim=ends, box_aspect=1)
    name, unit, own_scores = TASK_NAMES[task["name"]], task["unit"], task["metrics"]
    error = as_interval(own_scores["mae"])["value"]
    axes.set_title(
        f"{people(task['n_people'])}: MAE {error:.1f} {unit}\nr {said(own_scores['r'], ' to ')}",
        fontsize=10,
    )
    axes.set_xlabel(f"true {name} [{unit}]", fontsize=10)
    axes.set_ylabel(f"{name} said by the network [{unit}]", fontsize=10)
