"""Figure of the score over the number of people who train.

It draws one section of ``metrics.json``; where it is not available nothing is written and None is
returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..canvas import COLOURS, write_figure
from ..titles import TITLES
from .forest import (
    METRICS,
    Section,
    as_interval,
    caption_of,
    chance_of,
    legend_below,
    mark,
    missing,
    notes_of,
    numbers,
    people,
    span,
    tidy,
)

#: Who learns -> name, colour, marker, line and distance from the size's place [doublings].
_SIDES = {
    "model": ("the model", COLOURS[0], "o", "-", -0.015),
    "dark_voxels": ("dark voxels", COLOURS[1], "s", "--", 0.015),
}
_TICKS = 0.45  # doublings under which two numbers would touch


def learning_curve_figure(
    path: Path,
    curve: Section,
    person: Mapping[str, Any],
    title: str,
    *,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw scores over the number of people learnt from, and where a rising line would go.

    Args:
        path: PNG to write.
        curve: ``points``, ``late_per_doubling``, ``late_share``, ``n_people`` and ``repeats``.
        person: Scores of all out-of-fold answers, per person: they tell what chance gives.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where there is no curve.
    """
    if missing(curve):
        return None
    assert curve is not None
    figure = Figure(figsize=(9.2, 3.9), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        _draw_curve(axes, curve, name, chance_of(person)[name])
    legend_below(figure, 2)
    repeats = curve["repeats"]
    caption = caption_of(
        (
            f"{people(curve['n_people'])} tested, the same at every size, in "
            f"{repeats} repeat{'s' if repeats > 1 else ''}",
            "95 % intervals of resampled test people; other people to learn from would widen them",
            f"The line to twice as many is fitted from {100 * curve['late_share']:.0f} % on, and "
            "drawn only where the interval of its slope lies above 0",
            notes_of(person),
        )
    )
    return write_figure(figure, path, title, caption, stamps)


def _draw_curve(axes: Any, curve: Mapping[str, Any], name: str, chance: float) -> None:
    """Draw one metric: every size, and the line to twice as many people."""
    tidy(axes, "y")
    points = curve["points"]
    x = np.log2([point["n_people"] for point in points])
    seen, end = [chance], float(x[-1])
    for who, (label, colour, marker, line, aside) in _SIDES.items():
        if who not in points[0]:
            continue
        values = [as_interval(point[who].get(name)) for point in points]
        axes.plot(
            x + aside, numbers(value["value"] for value in values), line, color=colour,
            linewidth=1.3, zorder=2,
        )  # fmt: skip
        for place, value in zip(x + aside, values, strict=True):
            mark(axes, place, value, colour=colour, marker=marker, upright=True, label=label)
        seen += [one for value in values for one in value.values() if one is not None]
        last, gain = values[-1]["value"], _rise(curve, who, name)
        if gain is not None and last is not None:
            reached = min(last + gain, 1.0)
            axes.plot(
                [end + aside, end + 1], [last, reached], ":", color=colour, linewidth=2,
                label=f"{label}, if it goes on so",
            )  # fmt: skip
            seen.append(reached)
    doubled = any(_rise(curve, who, one) is not None for who in _SIDES for one in METRICS)
    axes.axhline(chance, color="0.4", linestyle=":", linewidth=1.2, zorder=1, label="chance")
    axes.set_ylim(*span(seen))
    axes.set_xlim(x[0] - 0.15, end + (1.1 if doubled else 0.15))
    _name_sizes(axes, [*x, end + 1] if doubled else list(x))
    axes.set_ylabel(TITLES[name], fontsize=10)
    axes.set_xlabel("people to learn from, mean over folds", fontsize=10)


def _rise(curve: Mapping[str, Any], who: str, name: str) -> float | None:
    """Return the gain of twice as many people; None where none is claimed."""
    gain = curve["late_per_doubling"].get(who, {}).get(name)
    if curve["few_people"] or not gain or gain["low"] is None or gain["low"] <= 0:
        return None
    return float(gain["value"])


def _name_sizes(axes: Any, places: list[float]) -> None:
    """Mark every size, and write those numbers that do not touch the next one, the last first."""
    written: list[float] = []
    for place in sorted(places, reverse=True):
        if not written or written[-1] - place > _TICKS:
            written.append(place)
    axes.set_xticks(places, [f"{2**x:.0f}" if x in written else "" for x in places])
