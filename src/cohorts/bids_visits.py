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
from .cells import DAYS_PER_YEAR

#: A person, and the session of that person.
Visit = tuple[str, str]

_MONTHS = re.compile(r"ses-M(\d{1,3})")
_DAYS = re.compile(r"ses-d(\d{1,5})")
_NUMBERED = re.compile(r"ses-([A-Za-z]*)(\d+)")


def visit_times(
    files: list[T1wFile], told: Iterable[Visit], people: Path
) -> tuple[pd.Series, pd.Series]:
    """Return the years since each file's person first came, and whether the file is of then.

    Args:
        files: Scans.
        told: Rows of sessions tables.
        people: Folder of the people's folders.

    Returns:
        Years, missing where they are not known; and whether a rating of the person's first visit
        is one of this visit: where it is the only one, of month 0, or of the first day.
    """
    clock = _Clock(files, told, people)
    years, first = [], []
    for file in files:
        since = _years(file.visit, clock.entry[file.subject])
        alone = len(clock.known[file.subject]) == 1
        years.append(clock.years(file.subject, file.visit))
        first.append(alone if since is None else since == 0)
    return pd.Series(years, dtype="float64"), pd.Series(first, dtype=bool)


def rated_years(files: list[T1wFile], told: list[Visit], people: Path) -> pd.Series:
    """Return the years since the person first came, of visits with a scan and without.

    Args:
        files: Scans, of everyone in `told`.
        told: Rows of sessions tables.
        people: Folder of the people's folders.

    Returns:
        Years, a value for each of `told`; missing where they are not known.
    """
    clock = _Clock(files, told, people)
    return pd.Series([clock.years(*visit) for visit in told], dtype="float64")


class _Clock:
    """Counts the time of every person from the first visit.

    Args:
        files: Scans.
        told: Rows of sessions tables.
        people: Folder of the people's folders.

    Attributes:
        known: Person -> every session, with a scan or without.
        entry: Person -> the first of the days that sessions are named by; None where none is.
    """

    def __init__(self, files: list[T1wFile], told: Iterable[Visit], people: Path) -> None:
        self._scanned: dict[str, set[str | None]] = defaultdict(set)
        for file in files:
            self._scanned[file.subject].add(file.visit)
        self.known = {subject: set(visits) for subject, visits in self._scanned.items()}
        for subject, visit in told:
            self.known[subject].add(visit)
        self.entry = {who: _first_day(people / who, self.known[who]) for who in self._scanned}
        self._lowest = {who: _lowest(visits) for who, visits in self._scanned.items()}

    def years(self, subject: str, visit: str | None) -> float | None:
        """Return how long after the first one a visit was; None where its name does not tell."""
        since = _years(visit, self.entry[subject])
        if since is not None:
            return since
        scanned = self._scanned[subject]
        only = len(scanned) == 1 and visit in scanned
        return 0.0 if only or visit == self._lowest[subject] else None


def _years(visit: str | None, entry: int | None) -> float | None:
    months, days = _MONTHS.fullmatch(visit or ""), _DAYS.fullmatch(visit or "")
    if months:
        return int(months[1]) / 12
    return (int(days[1]) - entry) / DAYS_PER_YEAR if days and entry is not None else None


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
