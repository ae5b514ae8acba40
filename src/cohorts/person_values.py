"""Columns of anyone's table -> age, sex, MMSE, stage, site: which names count, what is missing.

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

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from ..labels import NO_STAGE, STAGES, is_diagnosis, stage_from_cdr, stage_from_folder
from ..manifest import ORIGIN
from .cells import CDR_CODES, RANGES, is_least_age, read_age, read_number
from .origin import no_origin, origin_of_table

logger = logging.getLogger(__name__)

#: Column of the manifest -> names that it has in tables; the first one that is known counts.
NAMES: dict[str, tuple[str, ...]] = {
    "cdr": ("cdr_global", "cdr", "cdr_cdglobal", "cdglobal", "cdrtot"),
    "age": ("age",),
    "sex": ("sex", "gender", "m/f"),
    "mmse": ("mmse", "mms", "mmscore"),
    "etiv": ("etiv",),
    "nwbv": ("nwbv",),
}
OF_PERSON = ("label", "age", "sex", "mmse", "etiv", "nwbv")
#: What `person_values` returns: of the person, and of where the scan was made.
VALUES = (*OF_PERSON, *ORIGIN)
_SEX = {"f": "F", "female": "F", "m": "M", "male": "M"}


def find_column(table: pd.DataFrame, name: str) -> str | None:
    """Return the column that is called `name`, in whatever case, or None."""
    return next((column for column in table if str(column).lower() == name.lower()), None)


def key_column(table: pd.DataFrame, name: str, path: Path | str, *, hint: str) -> str:
    """Return the column that says of whom or what each row speaks.

    Args:
        table: As `read_text_table` returns it.
        name: Of the column, in whatever case.
        path: Of the table, for errors.
        hint: What a table should have.

    Raises:
        ManifestError: There is no such column, or a cell of it is empty.
    """
    column = find_column(table, name)
    if column is None:
        found = ", ".join(str(other)[:40] for other in list(table)[:8])
        raise ManifestError(f"{path} has no column {name!r}; found: {found}", hint=hint)
    empty = int(table[column].isna().sum())
    if empty:
        raise ManifestError(
            f"{path}: {counted(empty, 'row has', 'rows have')} no {name}",
            hint=f"fill in {name}, or remove the row",
        )
    return column


def person_values(
    table: pd.DataFrame,
    who: pd.Series,
    path: Path | str,
    *,
    ending: str = "",
    tell: bool = True,
) -> pd.DataFrame:
    """Return `VALUES` of every row; what the table does not say is missing.

    A number that cannot be read, or that no person can have (`cells.RANGES`), is missing, and a
    line tells how many and the first. A rating that cannot be read is an error: it is an answer.

    Args:
        table: As `read_text_table` returns it.
        who: Name of each row, for errors.
        path: Of the table, for errors.
        ending: Appended to the names of columns, such as ``_bl`` for values at baseline.
        tell: Whether a line says how much the table leaves open.

    Raises:
        ManifestError: A rating is none, or two columns of a row contradict each other.
    """
    values = pd.DataFrame(index=table.index)
    for name in ("cdr", *RANGES):
        names = [one + ending for one in NAMES[name]]
        values[name] = _number(table, names, who, path, name)
    rated = _per_row(values.pop("cdr"), stage_from_cdr, who, path)
    values["label"] = _agreed(rated, _named_stage(table, who, path), who, path)
    values["sex"] = (
        _sex(table, who, path) if not ending else pd.Series(None, table.index, dtype="str")
    )
    if tell:
        _tell_unknown(table, values, path, ending)
    origin = no_origin(table.index) if ending else origin_of_table(table, path)
    return values.join(origin)[list(VALUES)]


def _number(
    table: pd.DataFrame, names: Sequence[str], who: pd.Series, path: Path | str, name: str
) -> pd.Series:
    """Return the numbers of the first of the named columns that has one, row by row."""
    found = pd.Series(float("nan"), table.index, dtype="float64")
    for one in names:
        column = find_column(table, one)
        if column is not None:
            read = _ratings if name == "cdr" else partial(_measures, name=name)
            values = read(table[column], who, path)
            differs = found.notna() & values.notna() & (found != values)
            _refuse_rows(differs, values, who, f"{path}: {column} contradicts another column")
            found = found.fillna(values)
    return found


def _ratings(text: pd.Series, who: pd.Series, path: Path | str) -> pd.Series:
    """Return CDRs; only what codes a missing one is left empty."""
    values = text.map(read_number, na_action="ignore").astype("float64")
    _refuse_rows(values.isna() & text.notna(), text, who, f"{path}: {text.name} is no number")
    coded = values.isin(CDR_CODES)
    _tell_empty(coded, text, who, path, "they code a rating that is missing")
    return values.mask(coded)


def _measures(text: pd.Series, who: pd.Series, path: Path | str, *, name: str) -> pd.Series:
    """Return the numbers that are plausible for column `name` of the manifest."""
    read = read_age if name == "age" else read_number
    values = text.map(read, na_action="ignore").astype("float64")
    least, most, unit = RANGES[name]
    plausible = values.between(least, most)
    why = f"they hold no number from {least:g} to {most:g} {unit}"
    _tell_empty(text.notna() & ~plausible, text, who, path, why)
    if name == "age":
        _tell_least_ages(text[plausible], who, path)
    return values.where(plausible)


def _tell_empty(
    wrong: pd.Series, text: pd.Series, who: pd.Series, path: Path | str, why: str
) -> None:
    if wrong.any():
        row = wrong.idxmax()
        logger.warning(
            "%s: column %s: %s left empty, because %s; the first is %r, of %r",
            *(path, text.name, counted(int(wrong.sum()), "cell is", "cells are"), why),
            *(text[row][:60], str(who[row])[:60]),
        )


def _tell_least_ages(text: pd.Series, who: pd.Series, path: Path | str) -> None:
    least = text[text.map(is_least_age)]
    if len(least):
        logger.info(
            "%s: column %s: %s the least age that a person may have, which is taken: %r, of %r",
            *(path, text.name, counted(len(least), "cell names", "cells name")),
            *(least.iloc[0][:60], str(who[least.index[0]])[:60]),
        )


def _tell_unknown(table: pd.DataFrame, values: pd.DataFrame, path: Path | str, ending: str) -> None:
    """Say in one line how much the table leaves open, and whether it has no age or no rating."""
    titles = {**NAMES, "label": (*NAMES["cdr"], "stage", "label")}
    gaps, absent = [], []
    for name in OF_PERSON:
        columns = [found for one in titles[name] if (found := find_column(table, one + ending))]
        at_baseline = [one for one in titles[name] if find_column(table, one + "_bl")]
        missing = int(values[name].isna().sum())
        if columns and missing:
            gaps.append(f"{columns[0]} of {missing}")
        elif name in ("age", "label") and not columns + at_baseline:
            absent.append("age" if name == "age" else "CDR")
    if gaps:
        rows = counted(len(table), "row")
        logger.info("%s: of %s, not known: %s", path, rows, ", ".join(gaps))
    if absent and not ending:
        there = ", ".join(str(column)[:40] for column in list(table)[:12])
        called = " or ".join(absent)
        logger.info("%s: no column is called %s; its columns: %s", path, called, there)


def _named_stage(table: pd.DataFrame, who: pd.Series, path: Path | str) -> pd.Series:
    """Return the stages that a column ``stage`` or ``label`` names."""

    def stage(text: str) -> str:
        known = text if text in STAGES else stage_from_folder(text)
        if known is None:
            why = f" ({NO_STAGE})" if is_diagnosis(text) else ""
            raise ManifestError(
                f"{text[:60]!r} is no stage{why}",
                hint=f"use {', '.join(STAGES)}, and leave the cell empty where nobody rated",
            )
        return known

    named = pd.Series(None, table.index, dtype="str")
    for name in ("stage", "label"):
        column = find_column(table, name)
        if column is not None:
            named = _agreed(named, _per_row(table[column], stage, who, path), who, path)
    return named


def _per_row(
    values: pd.Series, convert: Callable[..., str], who: pd.Series, path: Path | str
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


def _agreed(first: pd.Series, second: pd.Series, who: pd.Series, path: Path | str) -> pd.Series:
    differs = first.notna() & second.notna() & (first != second)
    _refuse_rows(differs, second, who, f"{path}: CDR and stage contradict each other")
    return first.where(first.notna(), second)


def _sex(table: pd.DataFrame, who: pd.Series, path: Path | str) -> pd.Series:
    """Return F or M; a code, which means one here and the other there, is not guessed."""
    found = pd.Series(None, table.index, dtype="str")
    for column in filter(None, (find_column(table, name) for name in NAMES["sex"])):
        text = table[column]
        sex = text.str.lower().map(_SEX).astype("str")
        other = text[text.notna() & sex.isna()]
        if len(other):
            some = ", ".join(repr(value[:20]) for value in other.unique()[:3])
            logger.warning(
                "%s: %s a %s that is neither F nor M (%s): left empty",
                *(path, counted(len(other), "row has", "rows have"), column, some),
            )
        differs = found.notna() & sex.notna() & (found != sex)
        _refuse_rows(differs, sex, who, f"{path}: {column} contradicts another column")
        found = found.where(found.notna(), sex)
    return found


def _refuse_rows(wrong: pd.Series, values: pd.Series, who: pd.Series, why: str) -> None:
    if wrong.any():
        row = wrong.idxmax()
        raise ManifestError(
            f"{why}: {str(who[row])[:60]!r} has {str(values[row])[:60]!r} "
            f"({counted(int(wrong.sum()), 'such row')})",
            hint="correct the table",
        )
