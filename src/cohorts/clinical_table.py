"""The OASIS-1 clinical table: where it lies, and what it says of each session.

The table (``ID, M/F, Hand, Age, Educ, SES, MMSE, CDR, eTIV, nWBV, ASF, Delay``) has one row per
session, 436 in all. 201 sessions have no CDR: unrated, not healthy.

Source: Marcus et al. (2007), J Cogn Neurosci 19(9):1498-1507, doi:10.1162/jocn.2007.19.9.1498.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from ..labels import stage_from_cdr

TABLE = "oasis_cross-sectional.csv"
#: The site's own downloads carry a suffix: ``oasis_cross-sectional-5708aa0a98d82080.csv``.
_PATTERN = "oasis_cross-sectional*.csv"
#: Column of the table -> column of the manifest.
_NUMBERS = {"Age": "age", "MMSE": "mmse", "eTIV": "etiv", "nWBV": "nwbv", "CDR": "cdr"}
_REQUIRED = ("ID", "M/F", *_NUMBERS)
_EMPTY = ["", "N/A", "NA", "NaN", "nan"]
_HINT = "download it again from https://www.oasis-brains.org and save it as CSV"


def find_table(root: str | Path) -> Path | None:
    """Return the table that belongs to the images under `root`, or None.

    Looked for in `root` at any depth, in the two folders above, and in ``oasis`` beside `root`;
    the first place that has one wins, and there the path with the fewest folders.
    """
    root = Path(root)
    above = root.absolute().parents[:2]
    # A table in `root` itself wins, so 100,000 folders below need not be searched for others.
    places = [root.glob(_PATTERN), root.rglob(_PATTERN)]
    places += [*(folder.glob(_PATTERN) for folder in above)]
    places += [folder.rglob(_PATTERN) for folder in (root.absolute().parent / "oasis",)]
    for place in places:
        tables = sorted(place, key=lambda path: (len(path.parts), path.name != TABLE, str(path)))
        if tables:
            return tables[0]
    return None


def read_table(path: str | Path) -> pd.DataFrame:
    """Read the clinical table.

    Returns:
        One row per session, indexed by ``ID`` (``OAS1_0061_MR1``): ``label`` (a stage name, or
        missing where no CDR was taken), ``age`` in years, ``sex`` F or M, ``mmse`` in points (0
        to 30), ``etiv`` in mL, ``nwbv`` a fraction of eTIV.

    Raises:
        ManifestError: It is no CSV table, a column is missing, an ID stands in two rows, or a
            value is no number or no CDR.
    """
    path = Path(path)
    rows = _read_text(path)
    _refuse_repeats(rows["ID"], path)
    numbers = {name: _number(rows, column, path) for column, name in _NUMBERS.items()}
    table = pd.DataFrame(numbers, index=rows.index)
    _refuse_off_scale(table["cdr"], rows["ID"], path)
    table["label"] = table.pop("cdr").map(stage_from_cdr, na_action="ignore").astype("str")
    table["sex"] = rows["M/F"].str.upper().str[0]
    table.index = pd.Index(rows["ID"], name="ID")
    return table[["label", "age", "sex", "mmse", "etiv", "nwbv"]]


def _read_text(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(
            path, dtype=str, encoding="utf-8", keep_default_na=False, na_values=_EMPTY
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is not a CSV table: {error}", hint=_HINT) from None
    rows.columns = rows.columns.str.strip()
    missing = [name for name in _REQUIRED if name not in rows]
    if missing:
        found = ", ".join(rows.columns)
        raise ManifestError(f"{path} has no column {missing[0]!r}; found: {found}", hint=_HINT)
    rows = rows.apply(lambda column: column.str.strip()).replace("", None)
    return rows.dropna(how="all").reset_index(drop=True)


def _refuse_repeats(ids: pd.Series, path: Path) -> None:
    if ids.isna().any():
        raise ManifestError(
            f"{path}: {counted(int(ids.isna().sum()), 'row has', 'rows have')} no ID", hint=_HINT
        )
    if ids.duplicated().any():
        twice = ids[ids.duplicated()].iloc[0]
        raise ManifestError(f"{path}: {twice!r} stands in two rows", hint="remove one of them")


def _number(rows: pd.DataFrame, column: str, path: Path) -> pd.Series:
    values = pd.to_numeric(rows[column], errors="coerce").astype("float64")
    wrong = values.isna() & rows[column].notna()
    if wrong.any():
        row = rows[wrong].iloc[0]
        raise ManifestError(
            f"{path}: {column} of {row['ID']!r} is no number: {row[column]!r}",
            hint="correct the table",
        )
    return values


def _refuse_off_scale(cdr: pd.Series, ids: pd.Series, path: Path) -> None:
    """Name the row, which `stage_from_cdr` cannot know."""
    for name, value in zip(ids, cdr, strict=True):
        try:
            stage_from_cdr(0 if pd.isna(value) else value)
        except ManifestError as error:
            raise ManifestError(f"{path}: {name!r}: {error.message}", hint=error.hint) from None
