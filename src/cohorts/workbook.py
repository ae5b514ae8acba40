"""An Excel workbook (.xlsx) -> rows of text: its first visible sheet.

A workbook is a ZIP archive of XML, so a small file can unpack to more than the memory holds. What
it unpacks to is read from the archive's own list, and no more than that is ever unpacked.

Source: ECMA-376-1:2016 (Office Open XML), parts 8.3 and 18.3.
"""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ManifestError, counted, foreign_bytes

#: First bytes of a ZIP archive, which an .xlsx is.
ZIP = b"PK\x03\x04"
#: First bytes of an .xls, and of an .xlsx with a password.
OLE = bytes.fromhex("d0cf11e0a1b11ae1")
MAX_UNPACKED = 100_000_000  # bytes
MAX_ROWS = 1_048_576  # of a sheet, by Excel's own limit
MAX_CELLS = 20_000_000
_HINT = "open it in a spreadsheet program and save it as CSV UTF-8"


def workbook_rows(path: Path, data: bytes) -> tuple[list[list[str]], list[str]]:
    """Return the rows of the first visible sheet.

    Args:
        path: Of the workbook, for errors.
        data: What the file holds.

    Returns:
        Rows of cells as text: whole numbers without ``.0``, dates as ``2020-01-31``, formulas as
        the value that was stored with them; and what else is worth saying of how it was read.

    Raises:
        ManifestError: The workbook is damaged, too large, or has formulas without stored values.
    """
    _refuse_size(path, data)
    with foreign_bytes(ManifestError, f"{path} is no Excel workbook", _HINT):
        rows, unknown, said = _read(data)
    if unknown:
        raise ManifestError(
            f"{path}: {counted(len(unknown), 'formula has', 'formulas have')} no stored value, "
            f"the first in cell {unknown[0]}",
            hint="open it in a spreadsheet program, which computes them, and save it",
        )
    width = max(map(len, rows), default=0)  # no cell is stored after the last one that is filled
    return [row + [""] * (width - len(row)) for row in rows], said


def _refuse_size(path: Path, data: bytes) -> None:
    with (
        foreign_bytes(ManifestError, f"{path} is no Excel workbook", _HINT),
        zipfile.ZipFile(io.BytesIO(data)) as archive,
    ):
        size = sum(part.file_size for part in archive.infolist())
    if size > MAX_UNPACKED:
        raise ManifestError(
            f"{path} unpacks to {size / 1e6:.0f} MB, more than {MAX_UNPACKED / 1e6:.0f} MB",
            hint=_HINT,
        )


def _read(data: bytes) -> tuple[list[list[str]], list[str], list[str]]:
    """Return rows, cells whose formulas have no value, and what is worth saying."""
    from openpyxl import load_workbook  # takes 0.2 s, and most tables are text

    # A workbook is read once for values and once for formulas: openpyxl gives one of the two.
    values = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    formulas = load_workbook(io.BytesIO(data), read_only=True)
    at = next((i for i, one in enumerate(values.worksheets) if one.sheet_state == "visible"), None)
    if at is None:
        raise ValueError("it has no visible sheet")
    rows: list[list[str]] = []
    unknown: list[str] = []
    for row, made in zip(_rows(values.worksheets[at]), _rows(formulas.worksheets[at]), strict=True):
        rows.append([_text(cell.value) for cell in row])
        unknown += [f.coordinate for v, f in zip(row, made, strict=True) if _is_unknown(v, f)]
    count = len(values.worksheets)
    title = values.worksheets[at].title[:60]
    return rows, unknown, [f"from its first sheet, {title!r}, of {count}"] if count > 1 else []


def _rows(sheet: Any) -> Iterator[tuple[Any, ...]]:
    sheet.reset_dimensions()  # the size that a file claims of a sheet is often wrong
    cells = 0
    for number, row in enumerate(sheet.iter_rows(), 1):
        cells += len(row)
        if number > MAX_ROWS or cells > MAX_CELLS:
            raise OverflowError(f"a sheet of more than {MAX_CELLS / 1e6:.0f} million cells")
        yield row


def _is_unknown(value: Any, formula: Any) -> bool:
    """Return whether a formula has no value; an empty text, whose type is str, is one."""
    return formula.data_type == "f" and value.value is None and value.data_type != "str"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return str(value)
