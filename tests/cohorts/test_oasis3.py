"""OASIS-3: both layouts of its scans, both generations of its tables, days that differ."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest
from study_trees import UDS, head, oasis3_scans, oasis3_tables, table

from src.cohorts.folders import likely_cohort
from src.cohorts.oasis3 import index_oasis3
from src.cohorts.oasis3_tables import read_ratings
from src.cohorts.ratings import label_scans
from src.errors import DataNotFoundError, ManifestError
from src.manifest import Manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return oasis3_tables(oasis3_scans(tmp_path / "oasis3", "xnat"), "new")


def cdr_table(root: Path) -> Path:
    return next(root.rglob("OASIS3_UDSb4_cdr.csv"))


def labels(manifest: Manifest) -> dict[str, str]:
    rows = manifest.table
    names = rows["subject"] + "_" + rows["session"]
    return dict(zip(names, rows["label"].fillna("").tolist(), strict=True))


@pytest.mark.parametrize("layout", ["xnat", "flat", "bids"])
@pytest.mark.parametrize("age", ["old", "new"])
def test_layouts_and_tables_say_the_same(tmp_path, layout, age):
    root = oasis3_tables(oasis3_scans(tmp_path / "x", layout), age)
    rows = index_oasis3(root).table
    found = (rows["subject"] + " " + rows["session"]).tolist()
    assert found == [
        *("OAS30001 d0129_run-01", "OAS30001 d0129_run-02", "OAS30001 d2430"),
        *("OAS30002 d0653", "OAS30003 d0005", "OAS30004 d0040", "OAS30005 d0010"),
    ]
    assert rows["day"].tolist() == [129, 129, 2430, 653, 5, 40, 10]
    ages = [65.5, 65.5, 65.5, 60, 71, 80.25]
    days = [129, 129, 2430, 653, 5, 40]
    expected = [age + day / 365.25 for age, day in zip(ages, days, strict=True)]
    assert rows["age"].tolist()[:6] == pytest.approx(expected)
    assert rows["age"].isna().tolist() == [False] * 6 + [age == "old"]  # never came to a visit
    assert rows["sex"].tolist() == ["F", "F", "F", "M", "F", "M", "F"]
    assert set(rows["manufacturer"]) == {"Siemens"}
    assert set(rows["scanner"]) == {"TrioTim"}
    assert set(rows["field_strength"]) == {3}
    assert rows["label"].isna().all()
    rated = label_scans(index_oasis3(root), read_ratings(root), "stage").kept
    assert labels(rated) == {
        "OAS30001_d0129_run-01": "NonDemented",
        "OAS30001_d0129_run-02": "NonDemented",
        "OAS30001_d2430": "VeryMildDemented",
        "OAS30002_d0653": "NonDemented",
        "OAS30003_d0005": "",  # its visit is 895 days away
        "OAS30004_d0040": "NonDemented",
        "OAS30005_d0010": "",
    }
    assert rated.table["rating_days"].dropna().tolist() == [129, 129, 70, 53, 40]
    assert rated.table["mmse"].dropna().tolist() == [29] * 5


def test_visits_without_a_scan_say_who_converted(root, caplog):
    with caplog.at_level(logging.INFO):
        found = label_scans(index_oasis3(root), read_ratings(root), "conversion", months=36)
    assert labels(found.kept) == {"OAS30004_d0040": "Converter", "OAS30002_d0653": "Stable"}
    assert "1 Stable, 1 Converter; left out: 2 not rated at the first scan" in caplog.text


def test_diagnoses_are_the_studys(root):
    found = label_scans(index_oasis3(root), read_ratings(root), "diagnosis").kept
    assert labels(found)["OAS30001_d2430"] == "AD"
    assert labels(found)["OAS30002_d0653"] == "CN"
    assert labels(found)["OAS30003_d0005"] == ""


def test_without_ratings_nobody_is_rated_and_a_line_says_so(root, caplog):
    cdr_table(root).unlink()
    scans = index_oasis3(root)
    assert scans.table["age"].notna().all()  # of the demographics
    rated = label_scans(scans, read_ratings(root), "stage").kept
    assert rated.table["label"].isna().all()
    assert "no OASIS3_UDSb4_cdr.csv" in caplog.text
    assert "download it from" in caplog.text


def test_ages_come_from_visits_where_no_list_of_people_is_there(root):
    next(root.rglob("OASIS3_demographics.csv")).unlink()
    rows = index_oasis3(root).table
    assert rows["age"].tolist()[:6] == pytest.approx(
        [65.853, 65.853, 72.153, 61.788, 71.014, 80.360], abs=0.01
    )
    assert rows["sex"].isna().all()


def test_a_table_of_another_release_names_the_column(root):
    path = cdr_table(root)
    path.write_text(path.read_text(encoding="utf-8").replace("CDRTOT", "GLOBAL"), encoding="utf-8")
    with pytest.raises(ManifestError, match="no column 'CDRTOT' or 'cdr'; found: OASISID"):
        read_ratings(root)


def test_ids_in_lower_case_and_an_excel_workbook_are_read(root):
    path = cdr_table(root)
    rows = pd.read_csv(path)
    rows["OASISID"] = rows["OASISID"].str.lower()
    rows.to_excel(path.with_suffix(".xlsx"), index=False)
    path.unlink()
    found = read_ratings(root)
    assert found["subject"].unique().tolist() == ["OAS30001", "OAS30002", "OAS30003", "OAS30004"]
    assert found["day"].tolist()[:2] == [0, 2500]


def test_ids_that_are_nobodys_are_refused_and_days_come_from_labels(root):
    path = cdr_table(root)
    table(path, UDS, ["1,1_UDSb4_d0000,0,60,29,0,0,0,"])
    with pytest.raises(ManifestError, match="names a person of OASIS-3 in OASISID; the first"):
        read_ratings(root)
    head_line = UDS.replace("days_to_visit,", "")
    table(path, head_line, ["OAS30001,OAS30001_UDSb4_d0339,60,29,0,0,0,"])
    assert read_ratings(root)["day"].tolist() == [339]


def test_two_ratings_of_a_day_that_differ_count_for_nothing(root, caplog):
    rows = [f"OAS30002,OAS30002_UDSb4_d0600,600,60,29,0,{cdr},0," for cdr in (0, 0.5)]
    table(cdr_table(root), UDS, rows)
    assert read_ratings(root)["label"].isna().all()
    assert "2 ratings are of a person and day that have two CDRs" in caplog.text


def test_names_that_contradict_their_folder_are_refused(tmp_path):
    name = "sub-OAS30001_ses-d0129_T1w.nii.gz"
    for wrong, why in (
        ("OAS30002_MR_d0129/anat1/NIFTI", "names two people"),
        ("OAS30001_MR_d0200/anat1/NIFTI", "names day d0129, its folder d0200"),
    ):
        root = tmp_path / wrong[:17]
        head(root / wrong / name, 1)
        with pytest.raises(ManifestError, match=why):
            index_oasis3(root)


def test_copies_and_derivatives(tmp_path, caplog):
    root = oasis3_scans(tmp_path / "x", "xnat")
    head(root / "derivatives/sub-OAS30001/ses-d0129/anat/sub-OAS30001_ses-d0129_T1w.nii.gz", 1)
    head(root / "OAS30009_MR_d0001/anat1/NIFTI/scan_T1w.nii.gz", 1)
    head(root / "OAS30009_MR_d0002/anat1/NIFTI/sub-OAS30009_sess-d0002_T1w.nii.gz", 1)
    rows = index_oasis3(root).table
    assert len(rows) == 8
    assert rows["session"].iloc[-1] == "d0002"
    assert "1 T1w image is left out" in caplog.text
    head(root / "copy/sub-OAS30009_ses-d0002_T1w.nii.gz", 1)
    with pytest.raises(ManifestError, match="are the same scan"):
        index_oasis3(root)


def test_a_damaged_sidecar_leaves_the_scanner_open(root, caplog):
    sidecar = next(root.rglob("sub-OAS30003*.json"))
    sidecar.write_text("{", encoding="utf-8")
    rows = index_oasis3(root).table
    assert rows["scanner"].isna().tolist() == [False] * 4 + [True] + [False] * 2
    assert "1 json sidecar cannot be read and is left out" in caplog.text


def test_no_scan_is_told(tmp_path):
    with pytest.raises(DataNotFoundError, match="T1w") as error:
        index_oasis3(tmp_path)
    assert "--data_dir" in error.value.hint


@pytest.mark.parametrize("layout", ["xnat", "bids"])
def test_a_folder_of_oasis_3_is_known(tmp_path, layout):
    root = oasis3_scans(tmp_path / "x", layout)
    assert likely_cohort(root) == "oasis3"
