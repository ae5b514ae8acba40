"""One row per person: what was true, what was said, and where the map is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ...errors import counted
from ..own_results import N_NEIGHBOURS, OLDEST, neighbour_columns
from .gather import RunFiles
from .text import short_classes, shown

MOST = 5000  # rows of a page; people.csv has all
_MOST_DIGITS = 6  # of the table that is shown


@dataclass(frozen=True)
class Neighbour:
    """A training person whom the model finds like a scored one.

    Attributes:
        label: Class.
        age: Decade, such as ``70s``; empty where it is not known.
        likeness: Cosine of features, as text.
        other: Whether it is of another class than was said of the person.
    """

    label: str
    age: str
    likeness: str
    other: bool


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
        company: Training people most alike, the nearest first.
    """

    name: str
    truth: str
    said: str
    right: bool
    probabilities: list[float]
    held: str
    answers: int
    map: str = ""
    company: list[Neighbour] = field(default_factory=list)


@dataclass
class People:
    """The table of people.

    Attributes:
        classes: Their names.
        short: The same without the ending they share, for narrow columns.
        rows: At most `MOST`.
        total: How many people there are.
        repeated: Whether a person has several answers.
        company: What neighbours there are, in words; empty where there are none.
        no_company: Why there are none; empty where nobody looked for them.
    """

    classes: list[str]
    short: list[str]
    rows: list[Person] = field(default_factory=list)
    total: int = 0
    repeated: bool = False
    company: str = ""
    no_company: str = ""


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
    section = metrics.get("neighbours") or {}
    digits = _digits(section)
    if neighbour_columns(1).label in table and section.get("available"):
        found.company = _about(section)
    elif section:
        found.no_company = shown(section.get("reason", "people.csv does not have them"), 300)
    for done, (subject, rows) in enumerate(groups):
        if done == MOST:
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
                company=_company(rows.iloc[0], classes, digits) if found.company else [],
            )
        )
    return found


def _held(text: Any, classes: list[str]) -> str:
    short = dict(zip(classes, short_classes(classes), strict=True))
    return ", ".join(short.get(name, shown(name)) for name in str(text).split("|") if name)


def _about(section: dict[str, Any]) -> str:
    """Return of whom the neighbours are, and how alike two training people are anyway."""
    classes = short_classes(list(section["people"]))
    counts = ", ".join(
        f"{n} {name}" for name, n in zip(classes, section["people"].values(), strict=True)
    )
    typical = _alike(section["typical"], _digits(section))
    return (
        f"the {section['k']} of {counted(section['n_people'], 'training person')} ({counts}) whose "
        "images the model finds most alike, and how alike: the cosine of its features, at most 1. "
        f"Two training people are {typical} alike, in the median"
    )


def _digits(section: dict[str, Any]) -> int:
    """Return decimals that tell neighbours apart: some networks find everybody .999 alike."""
    apart = max(1 - float(section.get("typical", 0)), 10.0**-_MOST_DIGITS)
    return min(max(2, math.ceil(-math.log10(apart)) + 1), _MOST_DIGITS)


def _alike(cosine: float, digits: int) -> str:
    return f"{cosine:.{digits}f}".replace("0.", ".", 1) if abs(cosine) < 1 else f"{cosine:.0f}"


def _company(row: pd.Series, classes: list[str], digits: int) -> list[Neighbour]:
    """Return the neighbours of a person, from the person's row."""
    short = dict(zip(classes, short_classes(classes), strict=True))
    found = []
    for place in range(1, N_NEIGHBOURS + 1):
        label, decade, likeness = neighbour_columns(place)
        if label in row and likeness in row:
            known = decade in row and not pd.isna(row[decade])
            age = f"{row[decade]:.0f}{'+' if row[decade] == OLDEST else 's'}" if known else ""
            other = row[label] != row["predicted"]
            alike = _alike(float(row[likeness]), digits)
            found.append(Neighbour(short[row[label]], age, alike, bool(other)))
    return found
