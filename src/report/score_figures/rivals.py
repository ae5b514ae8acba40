"""The model beside its rivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...predictions import FEW_PEOPLE
from ..canvas import COLOURS, write_figure
from ..estimates import Counts, counts_of, rests_on_few, smallest_group
from .forest import (
    GREY,
    METRICS,
    NOT_ASKED,
    Panel,
    Row,
    caption_of,
    chance_of,
    forest_figure,
    missing,
    notes_of,
    people,
    shortened,
)


def rivals_figure(
    path: Path,
    person: Mapping[str, Any],
    rivals: Sequence[Mapping[str, Any]] | None,
    title: str,
    *,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw the model, the majority's answer and every rival, with intervals and chance.

    Args:
        path: PNG to write.
        person: Scores per person, as `score` returns them.
        rivals: One section per rival; those not available are named in the caption.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where no rival is available.
    """
    if rivals_missing(rivals):
        return None
    assert rivals is not None
    majority, counts = person["majority"], counts_of(person)
    few = [name for name in METRICS if rests_on_few(name, counts)]
    n = people(person["n_people"])
    by_definition = {"balanced_accuracy": majority["balanced_accuracy"]["value"], "macro_auc": 0.5}
    rows = [
        Row("this model", n, shown_of(person["metrics"], counts), doubtful=few),
        Row(
            f"always {majority['class']}",
            n,
            {name: {"value": value} for name, value in by_definition.items()},
            said={name: f"{value:.2f} (by definition)" for name, value in by_definition.items()},
            marker="D",
            colour="black",
            hollow=True,
        ),
        *(_rival_row(rival, counts, few) for rival in rivals if not missing(rival)),
    ]
    absent = [
        f"{shortened(rival.get('title') or rival.get('name'), 40)} "
        f"({shortened(missing(rival).rstrip('.'), 90)})"
        for rival in rivals
        if missing(rival)
    ]
    caption = caption_of(
        (
            "Bars: 95 % intervals of people",
            f"Hollow: a class has under {FEW_PEOPLE} people" if few else "",
            notes_of(person),
            f"Not available: {'; '.join(absent)}" if absent else "",
        )
    )
    chance = chance_of(person)
    panels = [Panel(name, chance[name]) for name in METRICS]
    return write_figure(forest_figure(rows, panels), path, title, caption, stamps)


def rivals_missing(rivals: Sequence[Mapping[str, Any]] | None) -> str:
    """Return why no rival can be drawn; empty where one can."""
    if not rivals:
        return NOT_ASKED
    if not all(missing(rival) for rival in rivals):
        return ""
    return "; ".join(
        f"{rival.get('title') or rival.get('name')}: {missing(rival)}" for rival in rivals
    )


def shown_of(metrics: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    """Return the metrics that are drawn; a class of one person leaves no interval."""
    lone = [name for name in METRICS if smallest_group(name, counts)[0] < 2]
    return {
        name: {"value": metrics[name]["value"]} if name in lone else metrics[name]
        for name in METRICS
    }


def _rival_row(rival: Mapping[str, Any], counts: Counts, few: Sequence[str]) -> Row:
    upper, values = bool(rival.get("upper_reference")), shown_of(rival["metrics"], counts)
    name = str(rival.get("title") or rival["name"])
    below = people(rival["n_people"])
    if rival.get("imputed"):
        below += f", {rival['imputed']} imputed"
    if upper:
        return Row(
            name,
            f"upper reference, {below}",
            values,
            marker="^",
            colour=GREY,
            hollow=True,
        )
    return Row(name, below, values, marker="s", colour=COLOURS[1], doubtful=few)
