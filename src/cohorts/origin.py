"""Where and by what a scan was made: columns of a table and the words of headers, read alike.

`ORIGIN` of the manifest: ``site``, ``scanner`` (its model), ``manufacturer``, ``field_strength`` in
tesla. Tables, BIDS sidecars and DICOM headers say it in their own words; here they become the same
ones, so that one scanner is not two because two programs wrote its name.

Source: the BIDS specification's MRI metadata (bids-specification.readthedocs.io), DICOM PS3.3
C.7.5.1 (general equipment) and C.8.3.1 (MR image).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import counted
from ..manifest import ORIGIN
from .cells import known_cell, read_number

logger = logging.getLogger(__name__)
#: Column of the manifest -> what tables call it, in lower case; the first that is known counts.
COLUMNS: dict[str, tuple[str, ...]] = {
    "site": ("site", "centre", "center", "site_id", "siteid", "institutionname"),
    "scanner": ("scanner", "scanner_model", "manufacturersmodelname", "manufacturermodelname"),
    "manufacturer": ("manufacturer", "scanner_manufacturer"),
    "field_strength": ("field_strength", "magneticfieldstrength", "fieldstrength"),
}
#: Column -> the BIDS sidecar's word, and DICOM's. A device's number names no site.
BIDS_WORDS = {
    "site": "InstitutionName",
    "scanner": "ManufacturersModelName",
    "manufacturer": "Manufacturer",
    "field_strength": "MagneticFieldStrength",
}
DICOM_WORDS = {**BIDS_WORDS, "scanner": "ManufacturerModelName"}
#: Fields at which people are scanned, in tesla.
WEAKEST, STRONGEST = 0.01, 12.0
#: What scanners are sold as, in tesla; a field this near to one is written as it: 2.89 is 3.
_NOMINAL, _NEAR = (0.5, 1.0, 1.5, 3.0, 7.0), 0.05
_GAUSS = 10_000.0  # in a tesla
_LONGEST = 80
_FIELD = re.compile(r"(?P<number>[\d.,]+)\s*(?P<unit>t|tesla|g|gauss)?", re.IGNORECASE)
#: Beginning of a maker's name, in lower case -> its name.
_MAKERS = {
    **{"siemens": "Siemens", "philips": "Philips", "toshiba": "Toshiba", "canon": "Canon"},
    **{"ge ": "GE", "general electric": "GE", "hitachi": "Hitachi", "fuji": "Fujifilm"},
    **{"uih": "United Imaging", "united imaging": "United Imaging"},
    **{"shanghai united": "United Imaging"},
}


def read_field_strength(text: str) -> float:
    """Return a field in tesla (``3``, ``3T``, ``3.0 T``, ``30000 G``); NaN where it is none.

    A number without a unit is in tesla: 15000, as some old headers have it, is no field.
    """
    found = _FIELD.fullmatch(text.strip())
    if found is None:
        return float("nan")
    value = read_number(found["number"])
    if (found["unit"] or "").lower().startswith("g"):
        value /= _GAUSS
    if not WEAKEST <= value <= STRONGEST:
        return float("nan")
    nominal = min(_NOMINAL, key=lambda one: abs(one - value))
    return nominal if abs(nominal - value) <= _NEAR * nominal else value


def read_name(text: str) -> str | None:
    """Return a site's or a scanner's name with single blanks, or None where it says nothing."""
    known = known_cell(" ".join("".join(c if c.isprintable() else " " for c in text).split()))
    return None if known is None else known[:_LONGEST].strip()


def read_manufacturer(text: str) -> str | None:
    """Return a maker's name, written in one way: ``SIEMENS`` and ``Siemens Healthineers``."""
    name = read_name(text)
    if name is None:
        return None
    start = f"{name.lower()} "
    return next((maker for begins, maker in _MAKERS.items() if start.startswith(begins)), name)


def _read(name: str) -> Callable[[str], Any]:
    readers: dict[str, Callable[[str], Any]] = {
        "field_strength": read_field_strength,
        "manufacturer": read_manufacturer,
    }
    return readers.get(name, read_name)


def origin_of_table(table: pd.DataFrame, path: Path | str) -> pd.DataFrame:
    """Return `ORIGIN` of every row of a table; what it does not say is missing.

    Of several columns with one meaning the first that is known counts, row by row.

    Args:
        table: Text cells; missing ones are missing.
        path: Of the table, for messages.
    """
    values = no_origin(table.index)
    lower = {str(column).lower(): column for column in reversed(list(table))}
    for name, called in COLUMNS.items():
        for column in (lower[one] for one in called if one in lower):
            text = table[column]
            read = text.map(_read(name), na_action="ignore").astype(values[name].dtype)
            if name == "field_strength":
                _tell_no_field(text[text.notna() & read.isna()], path)
            values[name] = values[name].where(values[name].notna(), read)
    return values


def origin_of_words(said: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    """Return `ORIGIN` as a header says it, None where it says nothing.

    Args:
        said: Word -> text or number; anything else says nothing.
        words: Column -> word, `BIDS_WORDS` or `DICOM_WORDS`.
    """
    found: dict[str, Any] = {}
    for name, word in words.items():
        value = said.get(word)
        plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        known = known_cell(str(value)) if plain else None
        read = None if known is None else _read(name)(known)
        found[name] = None if read is None or pd.isna(read) else read
    return found


def no_origin(index: pd.Index) -> pd.DataFrame:
    """Return `ORIGIN` of rows of which nothing is known."""
    kinds = {name: "float64" if name == "field_strength" else "str" for name in ORIGIN}
    return pd.DataFrame({name: pd.Series(None, index, dtype=kind) for name, kind in kinds.items()})


def completed(told: pd.DataFrame, read: pd.DataFrame, place: Path | str, what: str) -> pd.DataFrame:
    """Fill what a table leaves open with what headers say; where both speak, the table counts.

    Args:
        told: `ORIGIN` by the table, a row per scan.
        read: The same by the headers of the scans.
        place: Of the scans, for messages.
        what: Names the headers in messages, such as ``"json sidecars"``.
    """
    filled, differing = no_origin(told.index), []
    for name in ORIGIN:
        own = told[name].astype(filled[name].dtype)
        other = read[name].set_axis(told.index).astype(filled[name].dtype)
        filled[name] = own.where(own.notna(), other)
        both = own.notna() & other.notna()
        differs = both & (_folded(own) != _folded(other))
        if differs.any():
            row = differs.idxmax()
            differing.append(
                f"{name} of {counted(int(differs.sum()), 'scan')}, such as {own[row]} and "
                f"{other[row]}"
            )
    if differing:
        logger.warning(
            "%s: the table and the %s differ (%s): the table counts",
            *(place, what, "; ".join(differing)),
        )
    return filled


def _folded(values: pd.Series) -> pd.Series:
    return values if values.dtype == "float64" else values.str.casefold()


def _tell_no_field(text: pd.Series, path: Path | str) -> None:
    if len(text):
        logger.warning(
            "%s: column %s: %s left empty, because they name no field from %g to %g tesla; the "
            "first is %r",
            *(path, text.name, counted(len(text), "cell is", "cells are"), WEAKEST, STRONGEST),
            text.iloc[0][:60],
        )
