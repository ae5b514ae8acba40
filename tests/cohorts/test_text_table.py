"""Tables as spreadsheet programs and countries write them hold the same rows."""

from __future__ import annotations

import datetime
import io
import logging
import zipfile
from collections import Counter
from pathlib import Path

import openpyxl
import pytest

from src.cohorts import workbook
from src.cohorts.text_table import find_text_table, read_text_table
from src.errors import ManifestError

ROWS = [["name", "CDR", "site, or city"], ["b", "0.5", "Köln; Süd"], ["a", "1", "x"]]
TAB = "\t"


def text(separator: str = ",", comma: bool = False, end: str = "\n") -> str:
    quoted = [[f'"{cell}"' if set(cell) & set(",;") else cell for cell in row] for row in ROWS]
    lines = [separator.join(row) for row in quoted]
    return end.join([line.replace("0.5", "0,5") if comma else line for line in lines]) + end


def xlsx(path: Path, rows: list[list[object]], **more: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    for title, cells in {"Sheet": rows, **more}.items():
        sheet = book.active if title == "Sheet" else book.create_sheet(title)
        for row in cells:
            sheet.append(row)
    book.save(path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.CSV", "t"])
@pytest.mark.parametrize(
    ("made", "coding", "said"),
    [
        (text(), "utf-8", ""),
        (text(), "utf-8-sig", ""),
        (text(";"), "utf-8", "with semicolons between cells"),
        (text(TAB, comma=True), "utf-8", "with commas in decimals"),
        (text(";", comma=True), "utf-16", "as UTF-16"),
        (text(TAB), "utf-16", "as UTF-16"),
        (text(";"), "cp1252", "as Windows text (cp1252), as it is not UTF-8"),
        (text(end="\r"), "utf-8", "with lines that end as on old Macs"),
        (text(TAB, end="\r\n"), "utf-8", ""),
        ("sep=;\n" + text(";"), "utf-8", "with semicolons between cells"),
        ("\n\n" + text().replace("x\n", "x,,\n\n"), "utf-8", ""),
    ],
)
def test_the_same_rows_however_they_were_saved(tmp_path, caplog, name, made, coding, said):
    path = tmp_path / name
    path.write_bytes(made.encode(coding))
    with caplog.at_level(logging.INFO, logger="src"):
        table = read_text_table(path, hint="")
    comma = "0,5" in made
    assert list(table) == ROWS[0]
    assert table.to_numpy().tolist() == [["b", "0,5" if comma else "0.5", "Köln; Süd"], ROWS[2]]
    assert said in caplog.text
    assert len(caplog.records) <= 1


def test_an_ordinary_table_needs_no_line(tmp_path, caplog):
    for name, separator in (("t.csv", ","), ("t.tsv", TAB)):
        (tmp_path / name).write_text(text(separator), encoding="utf-8")
        with caplog.at_level(logging.INFO, logger="src"):
            read_text_table(tmp_path / name, hint="")
    assert caplog.text == ""


def test_what_was_interpreted_can_be_counted_instead(tmp_path, caplog):
    (tmp_path / "t.csv").write_text(text(";"), encoding="utf-8")
    quirks: Counter[str] = Counter()
    for _ in range(2):
        read_text_table(tmp_path / "t.csv", hint="", quirks=quirks)
    assert quirks == {"with semicolons between cells": 2}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b" \n,,\n", "is empty"),
        (text().encode("utf-16-le"), "zero bytes"),
        (b"name,CDR\n\x81\x8d,1\n", "is not UTF-8, nor"),
        (b"\xff\xfen", "is not UTF-8, nor"),
        (b"name,CDR\na\n", "row 2 has 1 cell, its header 2"),
        (b"name,CDR\n\na,1\nb,1,2\n", "row 4 has 3 cells, its header 2"),
        (b"CDR,CDR\n1,1\n", "two columns 'CDR'"),
        (b"CDR,age,cdr\n0,7,1\n", "two columns 'CDR' and 'cdr'"),
        (b"name,CDR,\na,0,5\nb,1,\n", "column 3 has no name and 1 filled cell, such as '5'"),
        (b'name,CDR\n"a,1\nb,2\n', "a quotation mark opens a cell, and none closes it"),
        (workbook.OLE + b"...", "old Excel workbook"),
        (workbook.ZIP + b"...", "no Excel workbook"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, data, why):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(ManifestError, match=why):
        read_text_table(tmp_path / "t.csv", hint="")


def test_what_says_nothing_is_missing(tmp_path):
    said = ["", "n/a", "NaN", "-", "--", ".", "?", "Unknown", "#N/A", "#NULL!", "missing"]
    said += ["not available", "-4", "-1", "-9", "-99", "-4.0", "None", "NA"]
    (tmp_path / "t.tsv").write_text(
        "id\tx\n" + "".join(f"a\t{one}\n" for one in said), encoding="utf-8"
    )
    table = read_text_table(tmp_path / "t.tsv", hint="")
    assert len(table) == len(said)
    assert table["x"].isna().all()


@pytest.mark.parametrize("name", ["t.xlsx", "t.csv"])
def test_a_workbook_is_its_first_visible_sheet(tmp_path, caplog, name):
    when = datetime.datetime(2020, 1, 31)
    rows = [["name", "CDR", "x", "day"], [1, 0.5, 2.0, when], ["b", 1, None], [None], ["c", True]]
    path = xlsx(tmp_path / "made.xlsx", rows, other=[["no"]]).rename(tmp_path / name)
    parts(path, lambda _, data: data.replace(b"<v>2</v>", b"<v>2.0</v>"))
    with caplog.at_level(logging.INFO, logger="src"):
        table = read_text_table(path, hint="")
    assert table.fillna("").to_numpy().tolist() == [
        ["1", "0.5", "2", "2020-01-31"],
        ["b", "1", "", ""],
        ["c", "True", "", ""],
    ]
    assert "from its first sheet, 'Sheet', of 2" in caplog.text
    assert ("as an Excel workbook" in caplog.text) == (name == "t.csv")


def test_a_hidden_sheet_is_passed_over(tmp_path):
    path = xlsx(tmp_path / "t.xlsx", [["secret"], ["x"]], shown=[["name"], ["a"]])
    book = openpyxl.load_workbook(path)
    book["Sheet"].sheet_state = "hidden"
    book.active = 1
    book.save(path)
    assert read_text_table(path, hint="")["name"].tolist() == ["a"]


def parts(path: Path, change) -> Path:
    """Write a workbook again, each part changed."""
    with zipfile.ZipFile(path) as old:
        held = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in held.items():
            new.writestr(name, change(name, data))
    return path


def test_a_formula_is_its_stored_value(tmp_path):
    path = xlsx(tmp_path / "t.xlsx", [["name", "CDR"], ["a", "=1/2"], ["b", '=""'], ["c", "=1"]])
    with pytest.raises(
        ManifestError, match="3 formulas have no stored value, the first in cell B2"
    ):
        read_text_table(path, hint="")

    def valued(name, data):
        data = data.replace(b"<f>1/2</f><v></v>", b"<f>1/2</f><v>0.5</v>")
        data = data.replace(b"<f>1/2</f><v />", b"<f>1/2</f><v>0.5</v>")
        data = data.replace(b'<c r="B3"><f>""', b'<c r="B3" t="str"><f>""')
        return data.replace(b"<f>1</f><v></v>", b"<v>1</v>").replace(b"<f>1</f><v />", b"<v>1</v>")

    table = read_text_table(parts(path, valued), hint="")
    assert table["CDR"].fillna("").tolist() == ["0.5", "", "1"]


def test_no_workbook_unpacks_without_a_limit(tmp_path, monkeypatch):
    path = xlsx(tmp_path / "t.xlsx", [["name"], ["a"]])
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * 3_000_000)
    (tmp_path / "bomb.xlsx").write_bytes(bomb.getvalue())
    monkeypatch.setattr(workbook, "MAX_UNPACKED", 2_000_000)
    monkeypatch.setattr(workbook, "_read", lambda data: pytest.fail("was unpacked"))
    with pytest.raises(ManifestError, match="unpacks to 3 MB, more than 2 MB"):
        read_text_table(tmp_path / "bomb.xlsx", hint="")
    monkeypatch.undo()
    monkeypatch.setattr(workbook, "MAX_ROWS", 1)
    with pytest.raises(ManifestError, match="a sheet of more than"):
        read_text_table(path, hint="")


def test_a_row_far_below_is_refused_before_memory_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "MAX_ROWS", 1000)
    path = xlsx(tmp_path / "t.xlsx", [["name"], ["a"]])
    far = parts(path, lambda name, data: data.replace(b'r="2"', b'r="2000000000"'))
    with pytest.raises(ManifestError, match="a sheet of more than"):
        read_text_table(far, hint="")


def test_the_table_with_the_first_ending_counts(tmp_path, caplog):
    for name in ("Scans.XLSX", "scans.tsv", "scans.txt", "~$scans.xlsx", "scans2.csv"):
        (tmp_path / name).touch()
    endings = (".csv", ".tsv", ".xlsx")
    assert find_text_table(tmp_path, "scans", endings) == tmp_path / "scans.tsv"
    assert "Scans.XLSX is not read: scans.tsv beside it counts" in caplog.text
    assert find_text_table(tmp_path, "participants", endings) is None
