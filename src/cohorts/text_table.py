"""Tables as people have them -> text: CSV, TSV and Excel's .xlsx, whatever wrote them.

What a spreadsheet program or a country makes of a table is read and told in one line: semicolons or
tabs between cells, commas in decimals, UTF-16, Windows' cp1252, the line ends of old Macs. What a
file holds counts, whatever its name ends in. Anything else is refused in one sentence.
"""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted, foreign_bytes
from ..files import open_file, read_bytes
from .cells import known_cell
from .workbook import OLE, ZIP, workbook_rows

logger = logging.getLogger(__name__)
MAX_TABLE = 100_000_000  # bytes
_HEAD = 65_536  # bytes in which a table's first line ends
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_SAVE = "open it in a spreadsheet program and save it as CSV UTF-8"
Rows = list[list[str]]


def find_text_table(folder: str | Path, stem: str, endings: tuple[str, ...]) -> Path | None:
    """Return the table of a folder that is called `stem`, in whatever case, or None.

    Args:
        folder: Where it may lie.
        stem: Its name without the ending.
        endings: That it may have, lower case; of several tables the first ending counts, and a
            line names the others.
    """
    names = [path for path in sorted(Path(folder).iterdir()) if path.stem.lower() == stem]
    found = sorted(
        (path for path in names if path.suffix.lower() in endings and path.is_file()),
        key=lambda path: endings.index(path.suffix.lower()),
    )
    for other in found[1:]:
        logger.warning("%s is not read: %s beside it counts", other, found[0].name)
    return found[0] if found else None


def read_text_table(
    path: str | Path, *, hint: str, quirks: Counter[str] | None = None
) -> pd.DataFrame:
    """Read a table as text.

    Args:
        path: CSV, TSV or .xlsx.
        hint: What to do when the file is no such table.
        quirks: Where to count what had to be interpreted; None tells it in a line of the log.

    Returns:
        One row per line that is not empty, names and cells without blanks around them, and cells
        that say nothing (`cells.known_cell`) as missing.

    Raises:
        ManifestError: It is no such table, or a column's name stands twice.
    """
    path = Path(path)
    with foreign_bytes(ManifestError, f"{path} cannot be read", hint):
        data = read_bytes(path, MAX_TABLE)
    rows, said = _rows(path, data)
    filled = [(number, row) for number, row in enumerate(rows, 1) if any(map(str.strip, row))]
    if not filled:
        raise ManifestError(f"{path} is empty", hint=hint)
    if quirks is not None:
        quirks.update(said)
    elif said:
        logger.info("%s: read %s", path, ", ".join(said))
    return _framed(path, filled, hint)


def column_names(path: str | Path) -> list[str]:
    """Return the names of a file's columns, to know a table by them; none of what is no table.

    Of text only the first line is read.
    """
    path = Path(path)
    try:
        with open_file(path) as file:
            head = file.read(_HEAD)
        if head.startswith(ZIP):
            return list(read_text_table(path, hint="", quirks=Counter()))
        wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = head.decode("utf-16" if wide else "utf-8-sig", "replace")
        lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()][:2]
        told = bool(lines) and lines[0].strip('"').startswith("sep=")
        rows, _ = _split(path, "".join(f"{line}\n" for line in lines[: 1 + told]))
    except (OSError, ManifestError):
        return []
    return [name.strip() for name in rows[0]]


def _rows(path: Path, data: bytes) -> tuple[Rows, list[str]]:
    """Return cells, and what had to be interpreted."""
    if data.startswith(OLE):
        raise ManifestError(
            f"{path} is an old Excel workbook (.xls), or one with a password", hint=_SAVE
        )
    if data.startswith(ZIP):
        rows, said = workbook_rows(path, data)
        return rows, [*(["as an Excel workbook"] if path.suffix.lower() != ".xlsx" else []), *said]
    text, said = _decoded(path, data)
    if "\r" in text.replace("\r\n", ""):
        said.append("with lines that end as on old Macs")
    rows, separator = _split(path, text.replace("\r\n", "\n").replace("\r", "\n"))
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    if separator != usual and len(rows[0]) > 1:
        said.append(f"with {_SEPARATORS[separator]} between cells")
    if any(_DECIMAL_COMMA.fullmatch(cell.strip()) for row in rows for cell in row):
        said.append("with commas in decimals")
    return rows, said


def _decoded(path: Path, data: bytes) -> tuple[str, list[str]]:
    said: list[str] = []
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text, said = data.decode("utf-16"), ["as UTF-16"]
        else:
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError:
                text, said = data.decode("cp1252"), ["as Windows text (cp1252), as it is not UTF-8"]
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not UTF-8, nor {error.encoding}", hint=_SAVE) from None
    if "\0" in text:
        raise ManifestError(f"{path} holds zero bytes, as no text in UTF-8 does", hint=_SAVE)
    return text, said


def _split(path: Path, text: str) -> tuple[Rows, str]:
    """Return cells, and what separates them: of the separators, that with most cells in line 1."""
    told = re.match(r'"?sep=([,;\t])"?\n', text)  # Excel's own way to say it
    if told:
        return _parsed(path, text[told.end() :], told[1]), told[1]
    head = [line for line in text[:100_000].split("\n") if line.strip()][:1]
    separator = max(_SEPARATORS, key=lambda one: len(next(csv.reader(head, delimiter=one), [])))
    return _parsed(path, text, separator), separator


def _parsed(path: Path, text: str, separator: str) -> Rows:
    try:
        return list(csv.reader(io.StringIO(text), delimiter=separator, strict=True)) or [[]]
    except csv.Error as error:
        if "unexpected end" in str(error):  # all rows below it would be one cell
            raise ManifestError(
                f"{path}: a quotation mark opens a cell, and none closes it", hint="close the cell"
            ) from None
    try:
        return list(csv.reader(io.StringIO(text), delimiter=separator))
    except csv.Error as error:
        raise ManifestError(f"{path} is not a table: {error}", hint=_SAVE) from None


def _framed(path: Path, rows: list[tuple[int, list[str]]], hint: str) -> pd.DataFrame:
    head = [name.strip() for name in rows[0][1]]
    _refuse_twins(path, head)
    cells = [_of_width(path, number, row, len(head), hint) for number, row in rows[1:]]
    table = pd.DataFrame(cells, columns=head, dtype="str")
    for at, name in enumerate(head):
        filled = table.iloc[:, at].dropna()
        if not name and at and len(filled):  # before all others: numbers of the rows, as pandas has
            raise ManifestError(
                f"{path}: column {at + 1} has no name and {counted(len(filled), 'filled cell')}, "
                f"such as {filled.iloc[0][:60]!r}",
                hint='name or empty it; a number with a comma needs quotation marks, as in "0,5"',
            )
    table = table[[name for name in head if name]]
    return table.dropna(how="all").reset_index(drop=True)


def _refuse_twins(path: Path, head: list[str]) -> None:
    """Refuse columns of one name, in whatever case: which of them counts would be a guess."""
    seen: dict[str, str] = {}
    for name in filter(None, head):
        other = seen.setdefault(name.lower(), name)
        if head.count(name) > 1 or other != name:
            more = "" if other == name else f" and {name[:60]!r}"
            raise ManifestError(
                f"{path} has two columns {other[:60]!r}{more}", hint="rename one, or remove it"
            )


def _of_width(path: Path, number: int, row: list[str], width: int, hint: str) -> list[str | None]:
    """Return a row's cells; empty ones after the header's last column are not meant."""
    if any(map(str.strip, row[width:])) or len(row) < width:
        raise ManifestError(
            f"{path}: row {number} has {counted(len(row), 'cell')}, its header {width}", hint=hint
        )
    return [known_cell(cell) for cell in row[:width]]
