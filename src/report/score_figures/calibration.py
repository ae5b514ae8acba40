"""Figures of the probability of "demented": calibration and decision curve.

Each draws one section of ``metrics.json``; where it is not available nothing is written and None is
returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...predictions import FEW_PEOPLE
from ..canvas import COLOURS, write_figure
from .forest import (
    GREY,
    Section,
    caption_of,
    legend_below,
    mark,
    missing,
    numbers,
    people,
    said,
    shortened,
    tidy,
)

_FEWEST_BINS = 2


def reliability_figure(
    path: Path,
    calibration: Section,
    title: str,
    *,
    n_people: int | None = None,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw the observed share of demented people against the predicted one, before and after.

    Args:
        path: PNG to write.
        calibration: ``before`` and ``after``, each with ``curve`` (equal-mass bins),
            ``ece_demented`` and ``slope``; ``sentence`` goes into the caption.
        title: Above the figure.
        n_people: People in all bins; a person with several answers can be in several bins. None
            takes the sum over bins.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where the section is not available, or has one bin only.
    """
    if missing(calibration):
        return None
    assert calibration is not None
    if all(len(calibration[when]["curve"]) < _FEWEST_BINS for when in ("before", "after")):
        return None  # a dot, and no curve
    figure = Figure(figsize=(9.2, 5.2), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(4, 1))
    for column, when in enumerate(("before", "after")):
        state = calibration[when]
        _draw_reliability(grid[0, column], grid[1, column], state)
        grid[0, column].set_title(
            f"{when} calibration\nECE of p(demented) {said(state.get('ece_demented'))}\n"
            f"slope {said(state.get('slope'), ' to ')}",
            fontsize=10,
        )
    grid[0, 0].set_ylabel("observed share demented", fontsize=10)
    grid[1, 0].set_ylabel("people", fontsize=10)
    curve = calibration["after"]["curve"]
    n = n_people or sum(row["n_people"] for row in curve)
    few = any(row["n_people"] < FEW_PEOPLE for row in curve + calibration["before"]["curve"])
    caption = caption_of(
        (
            f"{people(n)}, in bins of {_range(curve)}",
            "Bars: 95 % Wilson intervals",
            f"Hollow: under {FEW_PEOPLE} people" if few else "",
            shortened(calibration.get("sentence") or "", 300),
        )
    )
    return write_figure(figure, path, title, caption, stamps)


def decision_curve_figure(
    path: Path,
    decision_curve: Section,
    title: str,
    *,
    n_people: int | None = None,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw the net benefit of treating by the model, treating all and treating none.

    Args:
        path: PNG to write.
        decision_curve: ``thresholds``, ``model``, ``low``, ``high``, ``all``, ``none`` and
            ``useful``, the range in which the model is better than both.
        title: Above the figure.
        n_people: People behind the curve.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where the section is not available.

    Source:
        Vickers & Elkin (2006), doi:10.1177/0272989X06295361.
    """
    if missing(decision_curve):
        return None
    assert decision_curve is not None
    figure = Figure(figsize=(6.6, 4.0), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    names = ("thresholds", "model", "low", "high", "all", "none")
    x, model, low, high, treat_all, none = (numbers(decision_curve[name]) for name in names)
    useful = decision_curve.get("useful")
    if useful:
        label = f"useful: {useful[0]:.2f} to {useful[1]:.2f}"
        axes.axvspan(*useful, color="0.92", linewidth=0, label=label)
    axes.fill_between(
        x, low, high, color=COLOURS[0], alpha=0.25, linewidth=0, label="95 % interval of people"
    )
    axes.plot(x, treat_all, "--", color=COLOURS[1], linewidth=1.8, label="treat all")
    axes.plot(x, none, ":", color="black", linewidth=1.8, label="treat none")
    axes.plot(x, model, "-", color=COLOURS[0], linewidth=2.4, label="treat by the model")
    top = np.nanmax([*high, *model, *treat_all, 0.05])
    axes.set_ylim(-0.3 * top, 1.1 * top)  # "treat all" falls without end
    axes.set_xlim(x.min(), x.max())
    axes.set_xlabel("threshold: p(demented) from which one treats", fontsize=10)
    axes.set_ylabel("net benefit per person", fontsize=10)
    legend_below(figure, 3 if useful else 2)
    sentence = shortened(decision_curve.get("sentence") or "", 300)
    caption = caption_of((people(n_people or decision_curve.get("n_people")), sentence))
    return write_figure(figure, path, title, caption, stamps)


def _draw_reliability(axes: Any, strip: Any, state: Mapping[str, Any]) -> None:
    """Draw the bins against the diagonal, and under them how many people each has."""
    tidy(axes)
    tidy(strip, "y")
    axes.plot([0, 1], [0, 1], ":", color="0.4", linewidth=1.2, zorder=1)
    curve = state["curve"]
    axes.plot(
        [row["predicted"] for row in curve], [row["observed"] for row in curve],
        color=COLOURS[0], linewidth=1, alpha=0.6,
    )  # fmt: skip
    for row in curve:
        few = row["n_people"] < FEW_PEOPLE
        share = {"value": row["observed"], "low": row["low"], "high": row["high"]}
        mark(
            axes,
            row["predicted"],
            share,
            colour=GREY if few else COLOURS[0],
            hollow=few,
            upright=True,
        )
    strip.bar(
        [row["predicted"] for row in curve], [row["n_people"] for row in curve], width=0.012,
        color="0.35",
    )  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    strip.set_xlabel("predicted p(demented)", fontsize=10)
    strip.yaxis.get_major_locator().set_params(integer=True, nbins=2)


def _range(curve: Sequence[Mapping[str, Any]]) -> str:
    """Return the people of a bin: ``20``, or ``19 to 20``."""
    sizes = [row["n_people"] for row in curve] or [0]
    return f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else str(max(sizes))
