"""A cell of anyone's table -> known or missing; a number in its plausible range.

Source: for ages as DICOM writes them, PS3.5 6.2 (AS); for codes of what is missing, the data
dictionaries of ADNI and AIBL (-4, -1) and of NACC's Uniform Data Set (-4, 9, 99, 999).
"""

from __future__ import annotations

import re

#: What people write in a cell whose value is not known, in lower case.
_WORDS = frozenset(
    {
        *("", "-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", ".", "..", "?", "??"),
        *("n/a", "na", "n.a.", "nan", "none", "null", "missing", "unknown", "unk"),
        *("not available", "not applicable", "not known"),
        *("#n/a", "#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!"),
    }
)
#: Codes for it that no age, score, name or id is.
_CODE = re.compile(r"-(?:1|4|9+)(?:[.,]0+)?")
#: Codes for it that no CDR is; an age may be 99, and 999 is none anyway.
CDR_CODES = frozenset({9.0, 99.0, 999.0, 9999.0})
#: Least and greatest value that a person can have, and what is measured.
RANGES = {
    "age": (0.0, 120.0, "years"),
    "mmse": (0.0, 30.0, "points"),
    "etiv": (300.0, 3000.0, "mL"),
    "nwbv": (0.01, 1.0, "(a fraction)"),
}
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d+)?", re.IGNORECASE)
_DICOM_AGE = re.compile(r"(\d{3})([dwmy])")
DAYS_PER_YEAR = 365.25
_PER_YEAR = {"d": DAYS_PER_YEAR, "w": DAYS_PER_YEAR / 7, "m": 12.0, "y": 1.0}
_YEARS = r"(?:\s*(?:y|yrs?|y\.?o\.?|years?(?: old)?))?"
_AGE = re.compile(
    rf"(?P<over>(?:>=?|\u2265|over)\s*)?(?P<age>\d+(?:[.,]\d*)?){_YEARS}"
    rf"(?P<more>\s*(?:\+|(?:or|and) (?:older|over|above|more))){{0,1}}{_YEARS}"
)


def known_cell(text: str) -> str | None:
    """Return a cell without the blanks around it, or None where it says that nothing is known."""
    text = text.strip()
    return None if text.lower() in _WORDS or _CODE.fullmatch(text) else text


def read_number(text: str) -> float:
    """Return a number that is written with a point or a comma; NaN for anything else.

    Nothing groups thousands: 1,344 is a little over 1, which no plausible range of `RANGES` holds
    where 1344 is meant.
    """
    return float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else float("nan")


def read_age(text: str) -> float:
    """Return an age in years; NaN for a range (``60-70``) and for anything else that is none.

    ``89+``, ``>89`` and ``90 or older`` give the number that they name (`is_least_age`); units
    may follow (``72 years``); ``072Y`` and ``018M`` are as DICOM writes them.
    """
    text = text.lower()
    dicom = _DICOM_AGE.fullmatch(text)
    if dicom:
        return int(dicom[1]) / _PER_YEAR[dicom[2]]
    plain = _AGE.fullmatch(text)
    return read_number(plain["age"] if plain else text)


def is_least_age(text: str) -> bool:
    """Return whether a cell says how old a person is at least: laws ask for it above 89 years."""
    plain = _AGE.fullmatch(text.lower())
    return plain is not None and bool(plain["over"] or plain["more"])
