"""Files that one stage writes and another reads: checked before anyone uses them.

Such a file may be edited, cut short, or of another program. What a table may hold is said by a
`Column` for each of its columns; what a JSON file may hold, by ``own_files.schema.json`` beside
this module (JSON Schema, draft 2020-12). Either way the first thing that is wrong is told in one
sentence with the file's name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ManifestError, MriError
from ..files import LARGEST_WHOLE, is_text, read_json, stream

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_FILE = Path(__file__).with_name("own_files.schema.json")
_SHOWN = 80  # characters of a wrong value that a message repeats


@dataclass(frozen=True)
class Column:
    """What the cells of a column may be.

    Attributes:
        kind: ``"text"``, ``"number"`` or ``"whole"``.
        low: Least number.
        high: Largest number.
        among: The only texts; none takes all.
        empty: Whether a cell may be empty.
        needed: Whether the column must be there.
    """

    kind: str = "text"
    low: float = -math.inf
    high: float = math.inf
    among: tuple[str, ...] = ()
    empty: bool = False
    needed: bool = True

    @property
    def wanted(self) -> str:
        """What a cell must be, in words."""
        if self.kind == "text":
            return f"one of {', '.join(self.among)}" if self.among else "a text"
        name = {"number": "a number", "whole": "a whole number"}[self.kind]
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"{name} from {self.low:g} to {self.high:g}"
        return f"{name} of {self.low:g} or more" if math.isfinite(self.low) else name


def read_table(
    path: str | Path,
    columns: Mapping[str, Column],
    *,
    hint: str,
    key: Sequence[str] = (),
    error: type[MriError] = ManifestError,
) -> pd.DataFrame:
    """Read a CSV file of a stage and check it.

    Args:
        path: Of the file.
        columns: What is checked; others are read as text.
        hint: What makes the file again.
        key: Columns that no two rows share all of; those that are not there do not count.
        error: What is raised.

    Returns:
        Texts with ``""`` where a cell is empty; numbers float64 (NaN where one may be empty), whole
        numbers int64 where none may be empty.

    Raises:
        MriError: Of the type `error`; it names the file, and the line of a wrong cell.
        DataNotFoundError, FileError: It cannot be read.
    """
    import pandas as pd  # takes half a second, which --help would pay

    try:
        table = pd.read_csv(stream(path), dtype=str, keep_default_na=False)
        # A first row that is longer than the header moves all columns by one.
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("its rows are longer than its first line")
        table = table.fillna("")  # of rows that are cut short
        for name, column in columns.items():
            if name in table:
                table[name] = _cells(table[name], column)
            elif column.needed:
                raise ValueError(f"column {name!r} is missing")
        _check_key(table, [name for name in key if name in table])
    except (ValueError, OverflowError) as wrong:  # pandas' own errors are ValueErrors
        if isinstance(wrong, MriError):
            raise
        reason = " ".join(str(wrong).split())
        raise error(f"{path} is damaged: {reason}", hint=hint) from None
    return table


def _cells(cells: pd.Series, column: Column) -> pd.Series:
    """Return a column's cells, typed."""
    import pandas as pd  # takes half a second, which --help would pay

    empty = cells == ""
    found = cells
    if column.kind == "text":
        wrong = ~cells.isin(column.among) if column.among else pd.Series(False, cells.index)
    else:
        found = pd.to_numeric(cells.where(~empty), errors="coerce").astype("float64")
        wrong = ~found.between(column.low, column.high) | found.abs().gt(1e300)
        if column.kind == "whole":
            wrong |= (found % 1 != 0) | (found.abs() > LARGEST_WHOLE)
    wrong = (wrong & ~empty) | (empty & (not column.empty))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        more = "" if wrong.sum() == 1 else f", and {int(wrong.sum()) - 1} more"
        value = short(cells.iloc[row])
        raise ValueError(f"{cells.name} in row {row + 1} is {value}, not {column.wanted}{more}")
    return found.astype("int64") if column.kind == "whole" and not column.empty else found


def _check_key(table: pd.DataFrame, key: list[str]) -> None:
    twice = table.duplicated(key) if key else None
    if twice is not None and twice.any():
        row = table.loc[twice.idxmax()]
        who = ", ".join(short(str(row[name])) for name in key)
        raise ValueError(f"two rows have the same {', '.join(key)}: {who}")


def read_own(
    path: str | Path, kind: str, *, hint: str, error: type[MriError] = ManifestError
) -> dict[str, Any]:
    """Read a JSON file of a stage and check it.

    Args:
        path: Of the file.
        kind: A name of ``$defs`` in the schema.
        hint: What makes the file again.
        error: What is raised.

    Raises:
        MriError: Of the type `error`; it names the file and the place in it.
        DataNotFoundError, FileError: It cannot be read.
    """
    try:
        content = read_json(path)
        check_own(content, kind)
    except (ValueError, RecursionError) as wrong:
        if isinstance(wrong, MriError):
            raise
        raise error(f"{path} is damaged: {in_short(wrong)}", hint=hint) from None
    return dict(content)


def check_own(content: Any, kind: str) -> None:
    """Check what a JSON file holds.

    Raises:
        ValueError: One sentence with the path of the first thing that is wrong.
    """
    for path, why in unsound(content):
        raise ValueError(f"{path} {why}")
    from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

    error = best_match(_validator(kind).iter_errors(content))
    if error is not None:
        raise ValueError(error_sentence(error, "its content"))


@cache
def _validator(kind: str) -> Any:
    from jsonschema import Draft202012Validator  # only here: few commands read such a file

    return Draft202012Validator(read_json(SCHEMA_FILE) | {"$ref": f"#/$defs/{kind}"})


def unsound(content: Any) -> Iterator[tuple[str, str]]:
    """Yield path and fault of what no schema can refuse: numbers that are none, or too large.

    Without recursion, as a file may be nested to any depth.
    """
    left: list[tuple[Any, tuple[str | int, ...]]] = [(content, ())]
    while left:
        value, path = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            yield dotted(path), "is not a finite number; undefined is null"
        elif isinstance(value, int) and abs(value) > LARGEST_WHOLE:
            yield dotted(path), "is too large a number"
        elif isinstance(value, str) and not is_text(value):
            yield dotted(path), "is no text"
        elif isinstance(value, dict):
            left += [(one, (*path, key)) for key, one in reversed(value.items())]
        elif isinstance(value, list | tuple):
            left += [(one, (*path, i)) for i, one in reversed(list(enumerate(value)))]


def error_sentence(error: Any, whole: str) -> str:
    """Say in one sentence where a content breaks its schema, and how.

    Args:
        error: A ``jsonschema.ValidationError``.
        whole: What the content is called.
    """
    path, found = dotted(error.absolute_path, whole), short(error.instance)
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{path} lacks {missing[0]!r}"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        extra = next(key for key in error.instance if key not in known)
        return f"{path} has the unknown field {short(extra)}"
    if error.validator == "type":
        kinds = error.validator_value
        wanted = " or ".join([kinds] if isinstance(kinds, str) else kinds)
        return f"{path} is {found}, not {wanted}"
    if error.validator == "const":
        return f"{path} is {found}, not {json.dumps(error.validator_value)}"
    if error.validator == "enum":
        return f"{path} is {found}, none of {', '.join(map(json.dumps, error.validator_value))}"
    if error.validator == "not":  # only used for a field that belongs to the other kind
        return f"{path} does not belong to this kind of result"
    return f"{path} is {found}, which breaks {error.validator} {short(error.validator_value)}"


def dotted(parts: Any, whole: str = "the result") -> str:
    """``["rivals", 0, "metrics"]`` -> ``rivals[0].metrics``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".") or whole


def short(value: Any) -> str:
    """Return a value as JSON, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=True, default=repr)
    except (RecursionError, ValueError):  # nested too deep, or a number of too many digits
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def in_short(error: Exception) -> str:
    """Return what was wrong in a file in one line, from whatever error reading it gave."""
    text = " ".join(str(getattr(error, "message", error)).split())
    if isinstance(error, KeyError):
        return f"{text} is missing"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return text or type(error).__name__
