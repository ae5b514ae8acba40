"""The tables of ADNI: the list of downloaded images, and ratings by date.

The list comes with every download of the Image and Data Archive: ``Image Data ID``, ``Subject``,
``Group``, ``Sex``, ``Age``, ``Visit``, ``Modality``, ``Description``, ``Type``, ``Acq Date``; some
exports write ``Image ID``, ``Subject ID``, ``Research Group``, ``Study Date``. ``CDR.csv`` and
``MMSE.csv`` of the study data have ``RID`` (the last digits of a person's id) or ``PTID``,
``VISDATE`` or, in older releases, ``EXAMDATE``, and ``CDGLOBAL`` or ``MMSCORE``. ``USERDATE`` is
when a form was typed in, and no date of a visit. Dates are month/day/year, or ISO.

Sources: https://ida.loni.usc.edu (Image Collections, CSV; Study Data, Assessments); Clinica's
``clinica/converters/adni_to_bids``, github.com/aramis-lab/clinica.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..errors import DataNotFoundError, ManifestError, counted
from .people_names import known_person
from .person_values import find_column, person_values
from .study_tables import (
    StudyTable,
    find_tables,
    no_ratings,
    numbers,
    only_table,
    over_time,
    require_column,
)
from .text_table import read_text_table

logger = logging.getLogger(__name__)
HOMEPAGE = "https://adni.loni.usc.edu"
LIST = "the CSV of the image collection"
_HINT = f"download {LIST} again from the Image Collections of https://ida.loni.usc.edu"
_NAMES = {
    "image": ("Image Data ID", "Image ID"),
    "subject": ("Subject", "Subject ID"),
    "description": ("Description",),
}
_OPTIONAL = {
    "group": ("Group", "Research Group"),
    "visit": ("Visit",),
    "modality": ("Modality",),
    "date": ("Acq Date", "Study Date"),
}
#: Scale -> the column of its score.
_SCALES = {"CDR": "CDGLOBAL", "MMSE": "MMSCORE"}
_DATES = ("VISDATE", "EXAMDATE")
_PERSON = re.compile(r"\d{3}_S_(\d{4,5})")
_ISO = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[ T].*)?")
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?: .*)?")


class _Visits(NamedTuple):
    """Rows of a scale's table that are of people with images."""

    path: Path
    rows: pd.DataFrame
    subject: pd.Series
    dates: pd.Series


def read_images(root: str | Path, *, tell: bool = True) -> pd.DataFrame:
    """Return what the lists of downloaded images say of each.

    Args:
        root: Folder of the download; lists lie in it, at any depth, or beside it. All are read.
        tell: Whether to log what had to be interpreted.

    Returns:
        Indexed by image number (13722 of ``I13722``): ``subject``, ``description``, ``group``,
        ``visit``, ``modality``, ``date``, ``age`` in years, ``sex``.

    Raises:
        DataNotFoundError: There is no list.
        ManifestError: One is malformed, names nobody of ADNI, or contradicts another.
    """
    root = Path(root)
    lists = [table.path for table in find_tables(root) if _is_list(table)]
    if not lists:
        raise DataNotFoundError(
            root / "*.csv",
            hint=f"put {LIST} (with the columns Image Data ID, Subject and Description) into "
            f"{root}: https://ida.loni.usc.edu, Image Collections, CSV",
        )
    images = pd.concat([_read_list(path, tell=tell) for path in lists])
    people = images.groupby(level=0)["subject"].nunique()
    if (people > 1).any():
        image = people.index[people > 1][0]
        raise ManifestError(
            f"image I{image} is of two people: {', '.join(images.loc[image, 'subject'].unique())}",
            hint="remove the wrong row",
        )
    return images[~images.index.duplicated()]


def read_ratings(root: str | Path) -> pd.DataFrame:
    """Return the CDR and the MMSE of every visit; of nobody, where there is no table of them.

    Args:
        root: As `read_images` has it.

    Raises:
        ManifestError: A table is malformed, or of a release with other columns.
    """
    root = Path(root)
    images = read_images(root, tell=False)
    visits = _visits(root, images, None)
    start = _starts(images, list(visits.values()))
    if "CDR" not in visits:
        logger.warning(
            "%s: there is no CDR.csv: no scan has a CDR; download 'Clinical Dementia Rating' from "
            "the Study Data of https://ida.loni.usc.edu into %s, or learn the groups of the list "
            "with --label diagnosis",
            *(root, root),
        )
    every = [
        over_time(one.rows, one.subject, days_since(one.dates, one.subject, start), one.path)
        for one in visits.values()
    ]
    return pd.concat(every, ignore_index=True) if every else no_ratings()


def first_dates(root: str | Path, images: pd.DataFrame) -> pd.Series:
    """Return the date from which a person's days count, by subject: of the first scan or visit."""
    return _starts(images, list(_visits(Path(root), images, Counter()).values()))


def days_since(dates: pd.Series, subject: pd.Series, start: pd.Series) -> pd.Series:
    """Return how many days after the person's first date (`first_dates`) each date is."""
    since = pd.to_datetime(subject.map(start))
    return (dates - since).dt.days.astype("float64")


def read_date(text: str) -> pd.Timestamp:
    """Return the date of ``4/18/2006``, ``2006-04-18`` or ``2006/04/18``; NaT for anything else."""
    iso, american = _ISO.fullmatch(text), _AMERICAN.fullmatch(text)
    try:
        if iso:
            return pd.Timestamp(date(*map(int, iso.groups())))
        if american:
            month, day, year = map(int, american.groups())
            return pd.Timestamp(date(year + 2000 * (year < 100), month, day))
    except ValueError:
        pass
    return pd.NaT


def _is_list(table: StudyTable) -> bool:
    return all(any(map(table.has, names)) for names in _NAMES.values())


def _read_list(path: Path, *, tell: bool) -> pd.DataFrame:
    rows = read_text_table(path, hint=_HINT, quirks=None if tell else Counter())
    there = {key: require_column(rows, names, path, hint=_HINT) for key, names in _NAMES.items()}
    found = pd.DataFrame({key: rows[column] for key, column in there.items()})
    for key, names in _OPTIONAL.items():
        column = next((one for name in names if (one := find_column(rows, name))), None)
        found[key] = rows[column] if column else pd.Series(None, rows.index, dtype="str")
    found["subject"] = found["subject"].map(known_person, na_action="ignore").astype("str")
    found["image"] = _image_numbers(found["image"], path)
    known = found["subject"].str.fullmatch(_PERSON.pattern).fillna(False)
    if not known.any():
        raise ManifestError(
            f"{path}: none of its {counted(len(rows), 'row')} names a person of ADNI in "
            f"{there['subject']}",
            hint=f"an id is 002_S_0295; {_HINT}",
        )
    if tell and not known.all():
        count = counted(int((~known).sum()), "row names", "rows name")
        logger.warning("%s: %s no person of ADNI", path, count)
    values = person_values(rows, found["subject"].fillna("nobody"), path, tell=False)
    found = found.assign(date=_dates(found["date"], path, tell=tell), **values[["age", "sex"]])
    return found[known].set_index("image")


def _image_numbers(text: pd.Series, path: Path) -> pd.Series:
    number = text.str.extract(r"^[Ii]?0*(\d{1,12})(?:\.0+)?$")[0]
    wrong = number.isna()
    if wrong.any():
        first = text[wrong].iloc[0]
        raise ManifestError(
            f"{path}: {'an empty cell' if pd.isna(first) else repr(first[:60])} is no image id "
            f"({counted(int(wrong.sum()), 'such row')})",
            hint="write it as I13722, or remove the row",
        )
    return number.astype("int64")


def _dates(text: pd.Series, path: Path, *, tell: bool) -> pd.Series:
    found = pd.to_datetime(text.map(read_date, na_action="ignore"))
    unread = text[text.notna() & found.isna()]
    if tell and len(unread):
        logger.warning(
            "%s: column %s: %s no date (month/day/year, or 2006-04-18), such as %r",
            *(path, text.name, counted(len(unread), "cell is", "cells are"), unread.iloc[0][:40]),
        )
    return found


def _visits(root: Path, images: pd.DataFrame, quirks: Counter[str] | None) -> dict[str, _Visits]:
    """Return the tables of `_SCALES` that are there."""
    tables = find_tables(root)
    found = {}
    for scale, score in _SCALES.items():
        named = re.compile(rf"(?:^|[_ -]){scale}(?:[_ .-].*|$)", re.IGNORECASE)
        mine = [t for t in tables if t.has(score) or named.search(t.path.stem)]
        mine = sorted((t for t in mine if not _is_list(t)), key=lambda t: not t.has(score))
        path = only_table(mine, f"the {scale}")
        if path is not None:
            found[scale] = _read_visits(path, score, images, quirks)
    return found


def _read_visits(
    path: Path, score: str, images: pd.DataFrame, quirks: Counter[str] | None
) -> _Visits:
    hint = f"download {path.stem.split('_')[0]} from the Study Data of https://ida.loni.usc.edu"
    rows = read_text_table(path, hint=hint, quirks=quirks)
    require_column(rows, [score], path, hint=hint)
    require_column(rows, _DATES, path, hint=hint)
    who = require_column(rows, ["PTID", "RID"], path, hint=hint)
    subject = _people(rows, images["subject"])
    here = subject.isin(images["subject"])
    if not here.any():
        first = rows[who].iloc[0] if len(rows) else "not there"
        raise ManifestError(
            f"{path}: none of its {counted(len(rows), 'row')} is of a person who has an image; "
            f"the first is {str(first)[:40]!r} in {who}, a person is "
            f"{images['subject'].iloc[0]}, whose RID is its last digits",
            hint="put the table and the list of the same study there",
        )
    rows, subject = rows[here], subject[here]
    told = [
        _dates(rows[column], path, tell=quirks is None)
        for name in _DATES
        if (column := find_column(rows, name))
    ]
    dates = told[0].fillna(told[-1])
    return _Visits(path, rows, subject, dates)


def _people(rows: pd.DataFrame, subjects: pd.Series) -> pd.Series:
    """Return whom each row is of: as PTID says, else the person with images who has its RID."""
    ptid, rid = find_column(rows, "PTID"), find_column(rows, "RID")
    nobody = pd.Series(None, rows.index, dtype="str")
    told = rows[ptid].map(known_person, na_action="ignore").astype("str") if ptid else nobody
    if not rid:
        return told
    of = {int(match[1]): one for one in subjects if (match := _PERSON.fullmatch(one))}
    return told.fillna(numbers(rows[rid]).map(of).astype("str"))


def _starts(images: pd.DataFrame, visits: list[_Visits]) -> pd.Series:
    parts = [images.set_index("subject")["date"]]
    parts += [pd.Series(one.dates.to_numpy(), one.subject.to_numpy()) for one in visits]
    every = pd.concat(parts).dropna()
    return every.groupby(level=0).min()
