"""The model beside its rivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..canvas import COLOURS, write_figure
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
    majority = person["majority"]
    n = people(person["n_people"])
    by_definition = {"balanced_accuracy": majority["balanced_accuracy"]["value"], "macro_auc": 0.5}
    rows = [
        Row("this model", n, person["metrics"]),
        Row(
            f"always {majority['class']}",
            n,
            {name: {"value": value} for name, value in by_definition.items()},
            said={name: f"{value:.2f} (by definition)" for name, value in by_definition.items()},
            marker="D",
            colour="black",
            hollow=True,
        ),
        *(_rival_row(rival) for rival in rivals if not missing(rival)),
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


def _rival_row(rival: Mapping[str, Any]) -> Row:
    upper = bool(rival.get("upper_reference"))
    name = str(rival.get("title") or rival["name"])
    below = people(rival["n_people"])
    if rival.get("imputed"):
        below += f", {rival['imputed']} imputed"
    if upper:
        return Row(
            name,
            f"upper reference, {below}",
            rival["metrics"],
            marker="^",
            colour=GREY,
            hollow=True,
        )
    return Row(name, below, rival["metrics"], marker="s", colour=COLOURS[1])
