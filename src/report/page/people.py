"""One row per person: what was true, what was said, and where the map is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .gather import RunFiles
from .text import short_classes, shown

MOST = 5000  # rows of a page; people.csv has all


@dataclass
class Person:
    """A row of the table.

    Attributes:
        name: Shown.
        truth: Class.
        said: Class that was said, or is the most probable over all answers.
        right: Whether they agree.
        probabilities: Of each class, the mean over answers.
        held: Classes of the 90 % prediction set; empty where answers differ.
        answers: How many there are.
        map: Anchor of the person's map, or nothing.
    """

    name: str
    truth: str
    said: str
    right: bool
    probabilities: list[float]
    held: str
    answers: int
    map: str = ""


@dataclass
class People:
    """The table of people.

    Attributes:
        classes: Their names.
        short: The same without the ending they share, for narrow columns.
        rows: At most `MOST`.
        total: How many people there are.
        repeated: Whether a person has several answers.
    """

    classes: list[str]
    short: list[str]
    rows: list[Person] = field(default_factory=list)
    total: int = 0
    repeated: bool = False


def people_of(files: RunFiles, anchors: dict[str, str]) -> People | None:
    """Return the table of the scored people, or None without ``people.csv``.

    Args:
        files: Of the run.
        anchors: Subject -> anchor of the map on the page.
    """
    table, metrics = files.people, files.metrics
    if table is None or metrics is None:
        return None
    classes = list(metrics["classes"])
    groups = table.groupby("subject", sort=True)
    found = People([shown(name) for name in classes], short_classes(classes), total=groups.ngroups)
    columns = [f"p_{name}" for name in classes]
    for number, (subject, rows) in enumerate(groups):
        if number == MOST:
            break
        found.repeated |= len(rows) > 1
        mean = rows[columns].astype(float).to_numpy().mean(0)
        said = str(rows["predicted"].iloc[0]) if len(rows) == 1 else classes[int(np.argmax(mean))]
        truth = str(rows["class"].iloc[0])
        held = _held(rows["set_90"].iloc[0], classes) if len(rows) == 1 and "set_90" in rows else ""
        found.rows.append(
            Person(
                *(shown(subject, 60), shown(truth), shown(said), said == truth),
                probabilities=[float(value) for value in mean],
                held=held,
                answers=len(rows),
                map=anchors.get(str(subject), ""),
            )
        )
    return found


def _held(text: Any, classes: list[str]) -> str:
    short = dict(zip(classes, short_classes(classes), strict=True))
    return ", ".join(short.get(name, shown(name)) for name in str(text).split("|") if name)
