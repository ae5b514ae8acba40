"""What a run's own files say of people, maps and new scans, checked before anyone uses it.

A table that a person cut, sorted or typed into would otherwise be compared as if a model had said
it: rows are counted against ``metrics.json`` and ``explain.json``, probabilities add up to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..config.own_files import Column, in_short, read_own, read_table, short
from ..errors import ManifestError, MriError, counted
from ..labels import LABELS
from .metrics_schema import ResultError

#: Training people most alike, at most, that ``people.csv`` has of each person.
N_NEIGHBOURS = 3
#: Decade of everybody who is that old or older: few people share such an age.
OLDEST = 90
_SHARE = Column("number", low=0, high=1)
#: Probabilities are written with six digits in tables, with four decimals in JSON.
_ROUNDED, _COARSE = 1e-4, 2e-3
_LONGEST = 4000  # characters of a path that a system takes
_SCORED = "python main.py --mode evaluate writes it (--mode crossval for a cross-validation)"
_EXPLAINED = "--mode gradcam writes it again"
_PREDICTED = "--mode predict writes it again"


class NeighbourColumns(NamedTuple):
    """Names of a neighbour's columns in ``people.csv``."""

    label: str
    decade: str
    likeness: str


def neighbour_columns(place: int) -> NeighbourColumns:
    """Return the columns of a person's nearest (1), second nearest, ... training person."""
    name = f"neighbour_{place}"
    return NeighbourColumns(name, f"{name}_decade", f"{name}_likeness")


def read_people(path: str | Path, result: Mapping[str, Any]) -> pd.DataFrame:
    """Read a run's ``people.csv``.

    Args:
        path: Of the file.
        result: The run's ``metrics.json``, whose classes, rows and people these must be.

    Returns:
        A row per person, or per person, repeat and seed: ``subject``, ``class``, ``predicted``, and
        ``p_<class>`` that add up to 1.

    Raises:
        ResultError: It breaks that.
    """
    classes = tuple(result["classes"])
    columns = {
        "subject": Column(),
        **dict.fromkeys(("class", "predicted"), Column(among=classes)),
        **{f"p_{name}": _SHARE for name in classes},
        **{f"logit_{name}": Column("number", needed=False) for name in classes},
        **dict.fromkeys(("repeat", "fold", "seed"), Column("whole", low=0, needed=False)),
        "label": Column(among=LABELS, empty=True, needed=False),
        **_of_neighbours(classes),
    }
    key = ("subject", "repeat", "seed")
    table = read_table(path, columns, hint=_SCORED, key=key, error=ResultError)
    total = table[[f"p_{name}" for name in classes]].sum(axis=1)
    wrong = (total - 1).abs() > _ROUNDED
    several = table.groupby("subject")["class"].nunique()
    person = result["person"]
    found = len(table), table["subject"].nunique()
    other = _of_other_classes(table, classes)
    if other:
        fault = other
    elif wrong.any():
        row = int(wrong.to_numpy().argmax())
        fault = f"the probabilities of row {row + 1} add up to {total[row]:g}, not to 1"
    elif (several > 1).any():
        fault = f"{several.index[several > 1][0]} has two classes"
    elif found != (person["n_rows"], person["n_people"]):
        fault = (
            f"it has {_rows(*found)}, and metrics.json scores "
            f"{_rows(person['n_rows'], person['n_people'])}"
        )
    else:
        return table
    raise ResultError(f"{path} is damaged: {fault}", hint=_SCORED)


def _of_neighbours(classes: tuple[str, ...]) -> dict[str, Column]:
    found = {}
    for place in range(1, N_NEIGHBOURS + 1):
        label, decade, likeness = neighbour_columns(place)
        found[label] = Column(among=classes, needed=False)
        found[decade] = Column("whole", low=0, high=OLDEST, empty=True, needed=False)
        found[likeness] = Column("number", low=-1, high=1, needed=False)
    return found


def _of_other_classes(table: pd.DataFrame, classes: Sequence[str]) -> str:
    """Return which prediction set, ``A|B`` in a column such as ``set_90``, is of other classes."""
    for name in [name for name in table if str(name).startswith("set_")]:
        for held in table[name].unique():
            if held and not set(held.split("|")) <= set(classes):
                return f"{name} has {short(held)}, which is no set of the classes"
    return ""


def _rows(n: int, people: int) -> str:
    return f"{counted(n, 'row')} of {counted(people, 'person')}"


def read_explained(path: str | Path) -> dict[str, Any]:
    """Read ``explain.json``.

    Raises:
        ManifestError: It is damaged, or of another version.
    """
    return read_own(path, "explain", hint=_EXPLAINED)


def read_maps(path: str | Path, classes: Sequence[str], n_maps: int) -> pd.DataFrame:
    """Read ``maps.csv``.

    Args:
        path: Of the file.
        classes: Of the model.
        n_maps: As ``explain.json`` counts them.

    Returns:
        A row per map; ``side_known``, where it is there, is True or False.

    Raises:
        ManifestError: It is damaged, or has not a row per map.
    """
    columns = {
        "subject": Column(),
        "session": Column(empty=True),
        **dict.fromkeys(("class", "predicted"), Column(among=tuple(classes))),
        "map": Column(),
        "picture": Column(empty=True, needed=False),
        "side_known": Column(among=("True", "False"), needed=False),
        "p": Column("number", low=0, high=1, needed=False),
        "maximum": Column("number", needed=False),
        **{f"peak_{axis}": Column("number", empty=True, needed=False) for axis in "xyz"},
    }
    table = read_table(path, columns, hint=_EXPLAINED, key=("subject", "session"))
    for name, end in (("map", "_map.nii.gz"), ("picture", ".png")):
        for file in table.get(name, ()):
            if file and (not file.endswith(end) or len(file) > _LONGEST):
                raise ManifestError(
                    f"{path} is damaged: {name} has {short(file)}, which ends in no {end}",
                    hint=_EXPLAINED,
                )
    if len(table) != n_maps:
        raise ManifestError(
            f"{path} is damaged: it has {counted(len(table), 'row')}, and explain.json counts "
            f"{counted(n_maps, 'map')}",
            hint=_EXPLAINED,
        )
    if "side_known" in table:
        table["side_known"] = table["side_known"] == "True"
    return table


def read_predicted(path: str | Path) -> dict[str, Any]:
    """Read ``predictions.json``.

    Raises:
        ManifestError: It is damaged, or an answer speaks of classes that the model does not have.
    """
    content = read_own(path, "predictions", hint=_PREDICTED)
    classes = content["model"]["classes"]
    try:
        for answer in content["answers"]:
            check_answer(answer, classes)
        names = [answer["name"] for answer in content["answers"]]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{twice} is answered twice")
        for person in content.get("people", []):
            for visit in person["sessions"]:
                check_said(visit, classes, person["subject"])
    except ValueError as error:
        if isinstance(error, MriError):
            raise
        raise ManifestError(f"{path} is damaged: {in_short(error)}", hint=_PREDICTED) from None
    return content


def check_answer(answer: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Check that an answer, which has the schema's shape, is one of a model of these classes.

    Raises:
        ValueError: It is not.
    """
    check_said(answer, classes, answer["name"])
    if answer["outside"] != (answer["stage"] is None):
        raise ValueError(f"{answer['name']} is outside, or has a stage: one of the two")
    if set(answer["spread"] or {}) - set(classes):
        raise ValueError(f"the spread of {answer['name']} is of other classes")


def check_said(said: Mapping[str, Any], classes: Sequence[str], who: str) -> None:
    """Check stage, probabilities and prediction set, which are all there or all missing.

    Raises:
        ValueError: They do not fit each other or the classes.
    """
    parts = [said[name] for name in ("stage", "probabilities", "prediction_set")]
    if all(part is None for part in parts):
        return
    if any(part is None for part in parts):
        raise ValueError(f"a part of the answer of {who} is missing")
    stage, probabilities, held = parts
    if list(probabilities) != list(classes) or not {stage, *held} <= set(classes):
        raise ValueError(f"the answer of {who} is of classes other than {', '.join(classes)}")
    total = sum(probabilities.values())
    if abs(total - 1) > _COARSE:
        raise ValueError(f"the probabilities of {who} add up to {total:g}, not to 1")
