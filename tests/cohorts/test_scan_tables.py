"""A folder of raw scans and its table: which row speaks of which scan."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from src.cohorts.scans import index_scans
from src.errors import ManifestError


def scans(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def labels(root: Path) -> list[str]:
    return index_scans(root).table["label"].fillna("").tolist()


@pytest.mark.parametrize("name", ["b", "b.nii.gz", "sub/b.nii.gz", "sub/b", "B.NII.GZ", "Sub/B"])
def test_a_row_names_its_scan_in_many_ways(tmp_path, name):
    scans(tmp_path, "a.nii.gz", "sub/b.nii.gz")
    (tmp_path / "scans.csv").write_text(f"name,CDR\n{name},1\n", encoding="utf-8")
    assert labels(tmp_path) == ["", "MildDemented"]


def test_names_that_lost_their_zeros_are_matched(tmp_path, caplog):
    scans(tmp_path, "001.nii.gz", "002.nii.gz")
    (tmp_path / "scans.csv").write_text("name;CDR\n1;0,5\n2;1\n", encoding="utf-8")
    assert labels(tmp_path) == ["VeryMildDemented", "MildDemented"]
    assert "2 ids differ" in caplog.text


def test_names_that_could_be_two_scans_are_refused(tmp_path):
    scans(tmp_path, "001.nii.gz", "01.nii.gz")
    (tmp_path / "scans.csv").write_text("name,CDR\n1,1\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="2 ids differ by leading zeros"):
        index_scans(tmp_path)


def test_the_table_may_be_a_workbook(tmp_path):
    scans(tmp_path, "007.nii.gz", "008.nii.gz")
    book = openpyxl.Workbook()
    for row in (["name", "subject", "CDR", "age"], [7, 1, 0.5, 71], [8, 1, None, 72.5]):
        book.active.append(row)
    book.save(tmp_path / "scans.xlsx")
    table = index_scans(tmp_path).table
    assert table["subject"].tolist() == ["1", "1"]
    assert table["label"].fillna("").tolist() == ["VeryMildDemented", ""]
    assert table["age"].tolist() == [71, 72.5]


def test_tables_that_lie_deeper_are_named(tmp_path, caplog):
    scans(tmp_path, "x/a.nii.gz", "y/b.nii.gz", "x/scans.csv", "y/Scans.xlsx", ".hidden/scans.csv")
    assert labels(tmp_path) == ["", ""]
    assert "2 tables in folders below are not read, such as x/scans.csv" in caplog.text
    assert "scans.csv is not there" in caplog.text


def test_one_table_above_names_scans_by_path(tmp_path):
    scans(tmp_path, "x/a.nii.gz", "y/a.nii.gz")
    text = "name,CDR\nx/a.nii.gz,1\ny/a.nii.gz,0\n"
    (tmp_path / "scans.csv").write_text(text, encoding="utf-8")
    assert labels(tmp_path) == ["MildDemented", "NonDemented"]


def test_people_who_differ_in_case_only_are_told(tmp_path, caplog):
    scans(tmp_path, "a.nii.gz", "b.nii.gz", "c.nii.gz")
    text = "name,subject\na,P01\nb,p1\nc,p2\n"
    (tmp_path / "scans.csv").write_text(text, encoding="utf-8")
    assert index_scans(tmp_path).table["subject"].tolist() == ["P01", "p1", "p2"]
    assert "2 subjects differ by leading zeros or letter case only" in caplog.text
    assert "'P01' and 'p1'" in caplog.text


def test_a_word_that_two_scans_answer_to_means_neither(tmp_path, caplog):
    scans(tmp_path, "icu/p1.nii.gz", "ward/p1.nii.gz", "ward_p1.nii.gz", "x.nii.gz")
    (tmp_path / "scans.csv").write_text("name,CDR\nward_p1,1\nx,0\n", encoding="utf-8")
    assert sorted(labels(tmp_path)) == ["", "", "", "NonDemented"]
    assert "1 row names no scan here, such as 'ward_p1'" in caplog.text
    (tmp_path / "scans.csv").write_text("name,CDR\nward_p1.nii.gz,1\n", encoding="utf-8")
    table = index_scans(tmp_path).table.set_index("path")
    assert table["label"].dropna().index.str.endswith("/ward_p1.nii.gz").all()
