"""Columns of anyone's table -> age, sex, MMSE, stage: which names count, and what is missing.

Names are compared without regard to case. Columns as Clinica writes them are known:
``cdr_global``, ``MMSE`` (ADNI), ``MMS`` (AIBL, OASIS-1, OASIS-3), ``cdr``, ``mmse``, ``etiv``,
``nwbv`` (OASIS-2, OASIS-3), and ``age_bl``, ``mmse_bl``, ``cdr_bl`` of the baseline visit.

A stage is a global CDR and nothing else. ``diagnosis``, ``diagnosis_bl`` or ``dx1`` (CN, MCI, AD,
Dementia) is no CDR: people with MCI, or with dementia, have several of its values. The sum of boxes
(``cdr_sb``) is none either.

Source: Clinica's converters, github.com/aramis-lab/clinica, ``clinica/converters/*_to_bids``,
``adni_to_bids/specifications/*.tsv``; Routier et al. (2021), Front Neuroinform 15:689675,
doi:10.3389/fninf.2021.689675.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from ..labels import STAGES, stage_from_cdr, stage_from_folder

logger = logging.getLogger(__name__)

#: What a cell says that is not known: BIDS writes n/a, ADNI and AIBL -4 (and -1).
MISSING = frozenset({"", "n/a", "na", "nan", "none", "null", "-4", "-1", "-4.0", "-1.0"})
#: Column of the manifest -> names that it has in tables; the first one that is known counts.
NAMES: dict[str, tuple[str, ...]] = {
    "cdr": ("cdr_global", "cdr", "cdr_cdglobal", "cdglobal", "cdrtot"),
    "age": ("age",),
    "sex": ("sex", "gender", "m/f"),
    "mmse": ("mmse", "mms", "mmscore"),
    "etiv": ("etiv",),
    "nwbv": ("nwbv",),
}
VALUES = ("label", "age", "sex", "mmse", "etiv", "nwbv")
_SEX = {"f": "F", "female": "F", "m": "M", "male": "M"}
#: Ages above 89 are written as 89+ where the law asks for it.
_CAPPED_AGE = re.compile(r"(\d+)\+")
MAX_TABLE = 100_000_000  # bytes


def read_text_table(path: str | Path, *, separator: str, hint: str) -> pd.DataFrame:
    """Read a table as text.

    Args:
        path: UTF-8, with or without a byte order mark.
        separator: Between two cells.
        hint: What to do when the file is no such table.

    Returns:
        One row per line that is not empty, names and cells without blanks around them, and
        `MISSING` cells as missing.

    Raises:
        ManifestError: It is no such table, or a column's name stands twice.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_TABLE:
            raise ManifestError(f"{path} is larger than {MAX_TABLE / 1e6:.0f} MB", hint=hint)
        text = path.read_bytes().decode("utf-8-sig")
        # As text rows: pandas would rename a column that stands twice.
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=separator) if line]
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}",
            hint=f"save it as UTF-8 text, or: iconv -f latin1 -t utf-8 {path.name}",
        ) from None
    except (csv.Error, OSError) as error:
        raise ManifestError(f"{path} is not a table: {error}", hint=hint) from None
    if not lines:
        raise ManifestError(f"{path} is empty", hint=hint)
    head = [name.strip() for name in lines[0]]
    _refuse_shape(path, head, lines, hint)
    table = pd.DataFrame([[*map(_cell, line)] for line in lines[1:]], columns=head, dtype="str")
    return table.dropna(how="all").reset_index(drop=True)


def _refuse_shape(path: Path, head: list[str], lines: list[list[str]], hint: str) -> None:
    twice = sorted({name for name in head if name and head.count(name) > 1})
    if twice:
        raise ManifestError(f"{path} has two columns {twice[0][:60]!r}", hint="rename one")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(head):
            raise ManifestError(
                f"{path}: row {number} has {len(line)} cells, its header {len(head)}", hint=hint
            )


def _cell(text: str) -> str | None:
    text = text.strip()
    return None if text.lower() in MISSING else text


def find_column(table: pd.DataFrame, name: str) -> str | None:
    """Return the column that is called `name`, in whatever case, or None."""
    return next((column for column in table if str(column).lower() == name), None)


def person_values(
    table: pd.DataFrame, who: pd.Series, path: Path, *, ending: str = ""
) -> pd.DataFrame:
    """Return `VALUES` of every row; what the table does not say is missing.

    Args:
        table: As `read_text_table` returns it.
        who: Name of each row, for errors.
        path: Of the table, for errors.
        ending: Appended to the names of columns, such as ``_bl`` for values at baseline.

    Raises:
        ManifestError: A value is no number or no CDR, or two columns of a row contradict each
            other.
    """
    numbers = {
        name: _number(table, [one + ending for one in NAMES[name]], who, path)
        for name in ("cdr", "age", "mmse", "etiv", "nwbv")
    }
    values = pd.DataFrame(numbers, index=table.index)
    rated = _per_row(values.pop("cdr"), stage_from_cdr, who, path)
    values["label"] = _agreed(rated, _named_stage(table, who, path), who, path)
    values["sex"] = _sex(table, path) if not ending else pd.Series(None, table.index, dtype="str")
    return values[list(VALUES)]


def _number(table: pd.DataFrame, names: Sequence[str], who: pd.Series, path: Path) -> pd.Series:
    """Return the numbers of the first of the named columns that has one, row by row."""
    found = pd.Series(float("nan"), table.index, dtype="float64")
    for name in names:
        column = find_column(table, name)
        if column is None:
            continue
        text = table[column].str.replace(_CAPPED_AGE, r"\1", regex=True)
        values = pd.to_numeric(text, errors="coerce").astype("float64")
        values = values.where(values.abs() < float("inf"))
        _refuse_rows(
            values.isna() & text.notna(), table[column], who, f"{path}: {column} is no number"
        )
        differs = found.notna() & values.notna() & (found != values)
        _refuse_rows(differs, values, who, f"{path}: {column} contradicts another column")
        found = found.fillna(values)
    return found


def _named_stage(table: pd.DataFrame, who: pd.Series, path: Path) -> pd.Series:
    """Return the stages that a column ``stage`` or ``label`` names."""

    def stage(text: str) -> str:
        known = text if text in STAGES else stage_from_folder(text)
        if known is None:
            raise ManifestError(f"{text[:60]!r} is no stage", hint=f"use {', '.join(STAGES)}")
        return known

    named = pd.Series(None, table.index, dtype="str")
    for name in ("stage", "label"):
        column = find_column(table, name)
        if column is not None:
            named = _agreed(named, _per_row(table[column], stage, who, path), who, path)
    return named


def _per_row(
    values: pd.Series, convert: Callable[..., str], who: pd.Series, path: Path
) -> pd.Series:
    """Convert what is known, and name the row that cannot be."""
    made: list[str | None] = []
    for name, value in zip(who, values, strict=True):
        try:
            made.append(None if pd.isna(value) else convert(value))
        except ManifestError as error:
            raise ManifestError(
                f"{path}: {str(name)[:60]!r}: {error.message}", hint=error.hint
            ) from None
    return pd.Series(made, values.index, dtype="str")


def _agreed(first: pd.Series, second: pd.Series, who: pd.Series, path: Path) -> pd.Series:
    differs = first.notna() & second.notna() & (first != second)
    _refuse_rows(differs, second, who, f"{path}: CDR and stage contradict each other")
    return first.where(first.notna(), second)


def _sex(table: pd.DataFrame, path: Path) -> pd.Series:
    """Return F or M; a code, which means one here and the other there, is not guessed."""
    columns = [found for name in NAMES["sex"] if (found := find_column(table, name))]
    if not columns:
        return pd.Series(None, table.index, dtype="str")
    text = table[columns[0]]
    sex = text.str.lower().map(_SEX).astype("str")
    other = text[text.notna() & sex.isna()]
    if len(other):
        some = ", ".join(repr(value[:20]) for value in other.unique()[:3])
        logger.warning(
            "%s: %s a %s that is neither F nor M (%s): left empty",
            *(path, counted(len(other), "row has", "rows have"), columns[0], some),
        )
    return sex


def _refuse_rows(wrong: pd.Series, values: pd.Series, who: pd.Series, why: str) -> None:
    if wrong.any():
        row = wrong.idxmax()
        raise ManifestError(
            f"{why}: {str(who[row])[:60]!r} has {str(values[row])[:60]!r} "
            f"({counted(int(wrong.sum()), 'such row')})",
            hint="correct the table",
        )
