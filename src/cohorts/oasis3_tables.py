"""The tables of OASIS-3: ratings of clinical visits, and who the people are, old and new.

New (``OASIS3_data_files``): ``OASIS3_UDSb4_cdr.csv`` has ``OASISID``, ``OASIS_session_label``
(``OAS30001_UDSb4_d0339``), ``days_to_visit``, ``age at visit``, ``MMSE``, ``CDRTOT``, ``dx1``;
``OASIS3_demographics.csv`` has ``OASISID``, ``AgeatEntry``, ``GENDER`` (1 is male, 2 female). Old
(exports of XNAT Central): ``ADRC Clinical Data`` has ``ADRC_ADRCCLINICALDATA ID``
(``OAS30001_ClinicalData_d0339``), ``Subject``, ``ageAtEntry``, ``mmse``, ``cdr``, ``dx1``, and the
list of subjects ``Subject``, ``M/F``.

Sources: the OASIS-3 imaging methods and data dictionary, https://sites.wustl.edu/oasisbrains;
Clinica's ``clinica/converters/oasis3_to_bids``, github.com/aramis-lab/clinica.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from .cells import DAYS_PER_YEAR
from .people_names import known_person
from .person_values import find_column, person_values
from .study_tables import (
    StudyTable,
    days_in,
    find_tables,
    no_ratings,
    numbers,
    only_table,
    over_time,
    require_column,
)
from .text_table import read_text_table

logger = logging.getLogger(__name__)
HOMEPAGE = "https://sites.wustl.edu/oasisbrains/home/oasis-3/"
RATINGS = "OASIS3_UDSb4_cdr.csv"
_PEOPLE = "OASIS3_demographics.csv"
_OLD_ID = "ADRC_ADRCCLINICALDATA ID"
_HINT = f"download {RATINGS} from {HOMEPAGE} into the folder"
_GENDER = {"1": "M", "2": "F"}


def read_ratings(root: str | Path) -> pd.DataFrame:
    """Return the rating of every clinical visit; of nobody, where there is no table of them.

    Args:
        root: Folder of the study.

    Raises:
        ManifestError: The table is malformed, or of a release with other columns.
    """
    root = Path(root)
    path = _ratings_path(find_tables(root))
    if path is None:
        logger.warning(
            "%s: there is no %s (nor an export 'ADRC Clinical Data'): no scan has a CDR; download "
            "it from %s into %s",
            *(root, RATINGS, HOMEPAGE, root),
        )
        return no_ratings()
    rows, subject, day = _visits(path, None)
    return over_time(rows, subject, day, path, find_column(rows, "dx1"))


def read_people(root: str | Path) -> pd.DataFrame:
    """Return ``entry``, the age at day 0 in years, and ``sex``, by subject.

    Args:
        root: Folder of the study.

    Raises:
        ManifestError: A table has no column that says of whom a row speaks.
    """
    tables = find_tables(Path(root))
    ages, sexes = [], []
    who = [t for t in tables if t.has("OASISID", "AgeatEntry") or t.has("Subject", "M/F")]
    who.sort(key=lambda table: not table.has("AgeatEntry"))
    listed = only_table(who, "ages at entry and sexes")
    if listed is not None:
        rows, subject = _of_people(listed)
        entry, gender = find_column(rows, "AgeatEntry"), find_column(rows, "GENDER")
        if entry:
            ages.append(_by_person(_age(rows[entry], subject, listed), subject))
        if gender:
            code = rows[gender].str.removesuffix(".0")
            rows = rows.assign(**{gender: code.map(_GENDER).fillna(code)})
        sexes.append(_by_person(person_values(rows, subject, listed, tell=False)["sex"], subject))
    visits = _ratings_path(tables)
    if visits is not None:
        rows, subject, day = _visits(visits, Counter())
        entry, now = find_column(rows, "ageAtEntry"), find_column(rows, "age at visit")
        if entry:
            ages.append(_by_person(_age(rows[entry], subject, visits), subject))
        elif now:
            ages.append(_by_person(_age(rows[now], subject, visits) - day / DAYS_PER_YEAR, subject))
    return pd.DataFrame({"entry": _first_known(ages), "sex": _first_known(sexes).astype("str")})


def _ratings_path(tables: list[StudyTable]) -> Path | None:
    return only_table(
        (
            table
            for table in tables
            if table.has("OASISID", "CDRTOT")
            or table.has(_OLD_ID)
            or "udsb4" in table.path.name.lower()
        ),
        "ratings",
    )


def _visits(path: Path, quirks: Counter[str] | None) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Return the rows of a table of visits, whom each is of, and on which day it was."""
    rows = read_text_table(path, hint=_HINT, quirks=quirks)
    require_column(rows, ["CDRTOT", "cdr"], path, hint=_HINT)
    label = require_column(
        rows, ["OASIS_session_label", _OLD_ID, "days_to_visit"], path, hint=_HINT
    )
    days = find_column(rows, "days_to_visit")
    told = days_in(rows[label])
    day = numbers(rows[days]).fillna(told) if days else told
    rows, subject = _named(rows, path)
    return rows, subject, day.loc[rows.index]


def _of_people(path: Path) -> tuple[pd.DataFrame, pd.Series]:
    return _named(read_text_table(path, hint=_HINT), path)


def _named(rows: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Return the rows that name a person of OASIS-3, and whom; the others are counted.

    Raises:
        ManifestError: None does.
    """
    column = require_column(rows, ["OASISID", "Subject", _OLD_ID], path, hint=_HINT)
    subject = rows[column].map(known_person, na_action="ignore").astype("str")
    known = subject.str.startswith("OAS3").fillna(False)
    if not known.any():
        first = rows[column].iloc[0] if len(rows) else "not there"
        raise ManifestError(
            f"{path}: none of its {counted(len(rows), 'row')} names a person of OASIS-3 in "
            f"{column}; the first is {str(first)[:60]!r}",
            hint=f"an id is OAS30001; {_HINT}",
        )
    if not known.all():
        logger.info(
            "%s: %s no person of OASIS-3",
            *(path, counted(int((~known).sum()), "row names", "rows name")),
        )
    return rows[known], subject[known]


def _age(text: pd.Series, who: pd.Series, path: Path) -> pd.Series:
    return person_values(pd.DataFrame({"age": text}), who, path, tell=False)["age"]


def _by_person(values: pd.Series, subject: pd.Series) -> pd.Series:
    """Return the first known value of every person."""
    return values.groupby(subject).first()


def _first_known(found: list[pd.Series]) -> pd.Series:
    """Return the values of the first source that knows a person's."""
    if not found:
        return pd.Series(dtype="float64")
    first, *others = found
    for other in others:
        first = first.combine_first(other)
    return first
