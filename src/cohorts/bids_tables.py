"""The tables of a BIDS data set: ``participants.tsv`` and ``sub-*_sessions.tsv``.

Source: the BIDS specification's participants and sessions files, bids-specification.readthedocs.io.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from .person_values import VALUES, find_column, key_column, person_values
from .table_ids import match_ids
from .text_table import find_text_table, read_text_table

logger = logging.getLogger(__name__)
PARTICIPANTS, SESSIONS = "participants.tsv", "sub-*_sessions.tsv"
_HINT = "a BIDS table has a header, and a tab between every two cells"
_DIAGNOSIS = ("diagnosis", "diagnosis_bl", "diagnosis_sc", "dx1", "dx", "dx_bl")


def read_participants(root: Path, subjects: set[str]) -> pd.DataFrame:
    """Return `VALUES`, ``age_bl`` and ``diagnosis``, by subject.

    Args:
        root: Data set.
        subjects: People who have scans.

    Raises:
        ManifestError: The table is malformed, contradicts itself, or names nobody who has scans.
    """
    path = find_text_table(root, "participants", (".tsv", ".csv", ".xlsx"))
    if path is None:
        path = root / PARTICIPANTS
        logger.warning("%s is not there: ages, sexes and ratings come from sessions only", path)
        return _nothing().set_axis(pd.Index([], name="subject"))
    table = _with_key(read_text_table(path, hint=_HINT), path, "participant_id")
    named = table["participant_id"]
    meant = match_ids(named, _called(subjects, "sub-"), path)
    _refuse_none(path, named, meant, subjects)
    who = named.map(lambda name: meant.get(name, "sub-" + name.removeprefix("sub-")))
    now = person_values(table, who, path)
    bl = person_values(table, who, path, ending="_bl")
    for name in ("label", "mmse"):
        now[name] = now[name].where(now[name].notna(), bl[name])
    now = now.assign(age_bl=bl["age"], diagnosis=_diagnosis(table))
    persons = _one_row_each(now.set_axis(pd.Index(who, name="subject")), path)
    absent, unlisted = persons.index.difference(list(subjects)), subjects - set(persons.index)
    if len(absent):
        have = counted(len(absent), "person has", "people have")
        logger.info("%s: %s no T1w image here", path, have)
    if unlisted:
        logger.warning(
            "%s does not list %s, such as %s",
            *(path, counted(len(unlisted), "person who has images", "people who have images")),
            min(unlisted),
        )
    return persons


def _called(labels: Iterable[str], start: str) -> dict[str, str]:
    """Return what tables call people or sessions: with and without ``sub-`` or ``ses-``."""
    return {word: one for one in labels for word in (one, one.removeprefix(start))}


def _refuse_none(path: Path, named: pd.Series, meant: dict[str, str], subjects: set[str]) -> None:
    if not meant:
        first = f"; the first is {named.iloc[0][:60]!r}" if len(named) else ""
        raise ManifestError(
            f"{path}: none of its {counted(len(named), 'row')} names a person who has a T1w image "
            f"here{first}, and a person is {min(subjects)!r}",
            hint="write participant_id as the people's folders are called, or remove the table",
        )


def read_sessions(people: Path, visits: dict[str, set[str]], *, tell: bool = True) -> pd.DataFrame:
    """Return `VALUES` and ``diagnosis``, by subject and visit.

    The tables of all people are read as one: what they leave open is told once, not per person.

    Args:
        people: Folder of the people's folders.
        visits: Person -> sessions that have scans.
        tell: Whether lines say what the tables leave open.

    Returns:
        A row for every session that a table names, with a scan or without.

    Raises:
        ManifestError: A table is malformed or contradicts itself.
    """
    tables, quirks, lost = [], Counter[str](), []
    for subject, known in visits.items():
        path = people / subject / f"{subject}_sessions.tsv"
        if path.is_file():
            table = _with_key(read_text_table(path, hint=_HINT, quirks=quirks), path, "session_id")
            table = table.rename(columns=str.lower)
            named = table["session_id"]
            meant = match_ids(named, _called(known, "ses-"), path, tell=False)
            lost += [] if meant or not len(named) else [path]
            visit = named.map(lambda name, m=meant: m.get(name, "ses-" + name.removeprefix("ses-")))
            table = table.loc[:, ~table.columns.duplicated()]
            tables.append(table.assign(subject=subject, visit=visit))
    every = people / "sub-*" / SESSIONS
    if tell:
        _tell_tables(every, quirks, lost)
    if not tables:
        return _nothing().set_axis(pd.MultiIndex.from_tuples([], names=["subject", "visit"]))
    table = pd.concat(tables, ignore_index=True)
    who = table["subject"] + " " + table["visit"]
    values = person_values(table, who, every, tell=tell).assign(diagnosis=_diagnosis(table))
    index = pd.MultiIndex.from_frame(table[["subject", "visit"]])
    return _one_row_each(values.set_axis(index), every)


def _tell_tables(every: Path, quirks: Counter[str], lost: list[Path]) -> None:
    for quirk, count in quirks.items():
        logger.info("%s: %s read %s", every, counted(count, "table"), quirk)
    if lost:
        logger.warning(
            "%s: %s no session that has a T1w image here, such as %s",
            *(every, counted(len(lost), "table names", "tables name"), lost[0]),
        )


def _with_key(table: pd.DataFrame, path: Path, key: str) -> pd.DataFrame:
    return table.rename(columns={key_column(table, key, path, hint=_HINT): key})


def _one_row_each(values: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Drop rows that say the same twice, and refuse those that do not."""
    single = values.reset_index().drop_duplicates().set_index(values.index.names)
    twice = single.index[single.index.duplicated()]
    if len(twice):
        name = twice[0] if isinstance(twice[0], str) else " ".join(twice[0])
        raise ManifestError(
            f"{path}: {name[:80]!r} stands in two rows that differ", hint="remove one of them"
        )
    return single


def _diagnosis(table: pd.DataFrame) -> pd.Series:
    columns = [found for name in _DIAGNOSIS if (found := find_column(table, name))]
    return table[columns[0]] if columns else pd.Series(None, table.index, dtype="str")


def _nothing() -> pd.DataFrame:
    text = ("label", "sex", "site", "scanner", "manufacturer")
    columns = {name: "str" if name in text else "float64" for name in VALUES}
    kinds = columns | {"age_bl": "float64", "diagnosis": "str"}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
