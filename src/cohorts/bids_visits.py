"""When a person's sessions were, as their names tell it: in years since the first visit.

Clinica names sessions by months since baseline (``ses-M012``), OASIS-3 by days since entry
(``ses-d0129``). Days count from the first one that the person has a folder or a row of a sessions
table for, as data sets give the age at the first scan. Of sessions with numbers (``ses-1``,
``ses-2``) the lowest is the first, and when the others were is not known.

Source: Clinica's ``clinica/converters/*_to_bids``, github.com/aramis-lab/clinica; LaMontagne et al.
(2019), doi:10.1101/2019.12.13.19014902 (OASIS-3).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .bids_files import T1wFile, session_folders

_MONTHS = re.compile(r"ses-M(\d{1,3})")
_DAYS = re.compile(r"ses-d(\d{1,5})")
_NUMBERED = re.compile(r"ses-([A-Za-z]*)(\d+)")


def visit_times(
    files: list[T1wFile], told: Iterable[tuple[str, str]], people: Path
) -> tuple[pd.Series, pd.Series]:
    """Return the years since each file's person first came, and whether the file is of then.

    Args:
        files: Scans.
        told: Subject and session of the rows of sessions tables.
        people: Folder of the people's folders.

    Returns:
        Years, missing where they are not known; and whether a rating of the person's first visit
        is one of this visit: where it is the only one, of month 0, or of the first day.
    """
    scanned: dict[str, set[str | None]] = defaultdict(set)
    for file in files:
        scanned[file.subject].add(file.visit)
    known = {subject: set(visits) for subject, visits in scanned.items()}
    for subject, visit in told:
        known[subject].add(visit)
    entry = {subject: _first_day(people / subject, known[subject]) for subject in scanned}
    first_number = {subject: _lowest(visits) for subject, visits in scanned.items()}
    years, first = [], []
    for file in files:
        since = _years(file.visit, entry[file.subject])
        alone = len(known[file.subject]) == 1
        starts = len(scanned[file.subject]) == 1 or file.visit == first_number[file.subject]
        years.append(0.0 if since is None and starts else since)
        first.append(alone if since is None else since == 0)
    return pd.Series(years, dtype="float64"), pd.Series(first, dtype=bool)


def _years(visit: str | None, entry: int | None) -> float | None:
    months, days = _MONTHS.fullmatch(visit or ""), _DAYS.fullmatch(visit or "")
    if months:
        return int(months[1]) / 12
    return (int(days[1]) - entry) / 365.25 if days and entry is not None else None


def _first_day(folder: Path, visits: set[str | None]) -> int | None:
    """Return the first of the days that sessions are named by; one without a T1w scan counts."""
    if not any(_DAYS.fullmatch(visit or "") for visit in visits):
        return None
    every = {*visits, *session_folders(folder)}
    return min(int(day[1]) for visit in every if (day := _DAYS.fullmatch(visit or "")))


def _lowest(visits: set[str | None]) -> str | None:
    """Return the session with the lowest number, if numbers are all that tells them apart."""
    numbers = {visit: _NUMBERED.fullmatch(visit or "") for visit in visits}
    words = {match[1] if match else None for match in numbers.values()}
    if None in words or len(words) > 1:
        return None
    return min((int(match[2]), visit) for visit, match in numbers.items() if match and visit)[1]
