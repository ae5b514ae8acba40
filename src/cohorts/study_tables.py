"""The tables that a study hands out beside its images, and ratings over time out of them.

Studies name their downloads as they like, and by the date. So a table is known by the columns that
it has, or by a part of its name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from .cells import read_number
from .folders import visible_files
from .person_values import find_column, person_values
from .ratings import COLUMNS
from .text_table import column_names

logger = logging.getLogger(__name__)
#: What a table may end in.
ENDINGS = (".csv", ".tsv", ".xlsx")
_SAYS_NOTHING = ("derivatives", "__MACOSX", ".")


@dataclass(frozen=True)
class StudyTable:
    """A table that was found.

    Attributes:
        path: Where it lies.
        columns: Names of its columns, in lower case.
    """

    path: Path
    columns: frozenset[str]

    def has(self, *names: str) -> bool:
        """Return whether it has all of these columns, in whatever case."""
        return {name.lower() for name in names} <= self.columns


def find_tables(root: str | Path) -> list[StudyTable]:
    """Return the tables below a folder, and those beside it; the fewest folders first.

    Args:
        root: Folder of the study. The folder above it is looked into, not what else lies there.
    """
    root = Path(root)
    if not root.is_dir():
        return []
    below = [
        root / place / name
        for place, names in visible_files(root, skip=_SAYS_NOTHING)
        for name in names
        if name.lower().endswith(ENDINGS)
    ]
    above = root.absolute().parent
    beside = [path for path in above.iterdir() if path.suffix.lower() in ENDINGS and path.is_file()]
    ranked = sorted(below, key=lambda path: (len(path.parts), str(path))) + sorted(beside)
    return [StudyTable(path, frozenset(map(str.lower, column_names(path)))) for path in ranked]


def only_table(tables: Iterable[StudyTable], what: str) -> Path | None:
    """Return the first table; a line names the others, which are not read.

    Args:
        tables: Of one kind.
        what: That they hold, for the line: ``"ratings"``.
    """
    found = [table.path for table in tables]
    if len(found) > 1:
        logger.warning(
            "%s is read for %s, and %s not, such as %s; move away what does not count",
            *(found[0], what, counted(len(found) - 1, "other table is", "other tables are")),
            found[1],
        )
    return found[0] if found else None


def require_column(table: pd.DataFrame, names: Sequence[str], path: Path, *, hint: str) -> str:
    """Return the first of these columns that a table has, in whatever case.

    Raises:
        ManifestError: It has none of them; what it has is listed.
    """
    column = next((found for name in names if (found := find_column(table, name))), None)
    if column is None:
        wanted = " or ".join(map(repr, names))
        there = ", ".join(str(other)[:40] for other in list(table)[:8])
        raise ManifestError(f"{path} has no column {wanted}; found: {there}", hint=hint)
    return column


def numbers(text: pd.Series) -> pd.Series:
    """Return the numbers in cells of text; missing where there is none."""
    return text.map(read_number, na_action="ignore").astype("float64")


def days_in(names: pd.Series) -> pd.Series:
    """Return the days that sessions are named by: 129 of ``OAS30001_MR_d0129``."""
    found = names.str.extract(r"_d(-?\d+)$", flags=re.IGNORECASE)[0]
    return pd.to_numeric(found).astype("float64")


def over_time(
    rows: pd.DataFrame,
    subject: pd.Series,
    day: pd.Series,
    path: Path,
    diagnosis: str | None = None,
) -> pd.DataFrame:
    """Return the ratings of a table, as `ratings.label_scans` reads them.

    Args:
        rows: As `read_text_table` returns them: CDR and MMSE in columns of any known name.
        subject: Whom each row speaks of, in the spelling of the scans.
        day: Of each row, since the person's first visit.
        path: Of the table, for the log.
        diagnosis: Column of the study's own words, or None.

    Returns:
        A row per rating that has a day, with `ratings.COLUMNS`. Of one day with two ratings that
        differ neither counts, and a line tells how many.
    """
    values = person_values(rows, subject, path, tell=False)
    words = rows[diagnosis] if diagnosis else pd.Series(None, rows.index, dtype="str")
    table = pd.DataFrame(
        {
            "subject": subject.astype("str"),
            "day": day.astype("float64"),
            "label": values["label"],
            "diagnosis": words.astype("str"),
            "mmse": values["mmse"],
        }
    )
    return dated(table, path)


def dated(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the ratings that have a day; of one day with two that differ neither counts.

    Args:
        table: With `ratings.COLUMNS`.
        path: Of the table that they stand in, for the log.
    """
    undated = table["day"].isna()
    if undated.any():
        logger.warning(
            "%s: of %s %d without a date, which rate no scan, such as one of %s",
            *(path, counted(len(table), "rating"), int(undated.sum())),
            table.loc[undated, "subject"].iloc[0],
        )
    return _without_contradictions(table[~undated], path)[list(COLUMNS)].reset_index(drop=True)


def no_ratings() -> pd.DataFrame:
    """Return ratings of nobody."""
    kinds = dict(zip(COLUMNS, ("str", "float64", "str", "str", "float64"), strict=True))
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def _without_contradictions(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    kinds = table.groupby(["subject", "day"])["label"].transform("nunique")
    unsure = kinds > 1
    if unsure.any():
        first = table[unsure].iloc[0]
        logger.warning(
            "%s: %s of a person and day that have two CDRs which differ, and are left empty, such "
            "as %s on day %g",
            *(path, counted(int(unsure.sum()), "rating is", "ratings are")),
            *(first["subject"], first["day"]),
        )
    return table.assign(label=table["label"].mask(unsure).astype("str"))
