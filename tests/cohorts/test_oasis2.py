"""OASIS-2: sessions over time, their acquisitions, and the ratings of sessions without a scan."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest
from study_trees import OASIS_2, OASIS_2_PEOPLE, head, oasis2, oasis2_row, table

from src.cohorts.folders import likely_cohort
from src.cohorts.oasis2 import index_oasis2, read_ratings
from src.cohorts.ratings import label_scans
from src.errors import DataNotFoundError, ManifestError
from src.manifest import Manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return oasis2(tmp_path / "oasis2")


def its_table(root: Path) -> Path:
    return next(root.glob("oasis_longitudinal*"))


def labels(manifest: Manifest) -> dict[str, str | None]:
    rows = manifest.table
    return dict(zip(rows["subject"] + "_" + rows["session"], rows["label"], strict=True))


def test_a_session_is_its_first_acquisition(root, caplog):
    with caplog.at_level(logging.INFO):
        rows = index_oasis2(root).table
    assert rows["subject"].tolist() == ["OAS2_0001"] * 2 + ["OAS2_0002", "OAS2_0004", "OAS2_0005"]
    assert rows["session"].tolist() == ["MR1", "MR2", "MR1", "MR1", "MR1"]
    assert rows["path"].tolist()[1] == "OAS2_RAW_PART2/OAS2_0001_MR2/RAW/mpr-1.nifti.img"
    assert {Path(path).name for path in rows["path"]} == {"mpr-1.nifti.img"}
    assert rows["day"].tolist() == [0, 457, 0, 0, 0]
    assert rows["age"].tolist()[:2] == [70, 71]
    assert set(rows["sex"]) == {"F"}
    assert set(rows["etiv"]) == {1500}
    assert rows["label"].isna().all()  # the rating is given later, by its distance
    assert "5 further ones are left out" in caplog.text
    assert "5 sessions of 4 people" in caplog.text
    assert "2 sessions of the table have no scan here" in caplog.text


def test_a_later_acquisition_stands_in_for_a_first_that_is_not_there(root):
    for path in (root / "OAS2_RAW_PART2" / "OAS2_0001_MR2" / "RAW").glob("mpr-1*"):
        path.unlink()
    assert index_oasis2(root).table["path"].tolist()[1].endswith("MR2/RAW/mpr-2.nifti.img")


def test_every_session_keeps_its_own_rating(root):
    rated = label_scans(index_oasis2(root), read_ratings(root), "stage").kept
    assert labels(rated) == {
        "OAS2_0001_MR1": "NonDemented",
        "OAS2_0001_MR2": "VeryMildDemented",
        "OAS2_0002_MR1": "NonDemented",
        "OAS2_0004_MR1": "VeryMildDemented",
        "OAS2_0005_MR1": "NonDemented",
    }
    assert rated.table["rating_days"].tolist() == [0] * 5
    assert set(rated.table["mmse"]) == {28}


def test_sessions_without_a_scan_say_who_converted(root, caplog):
    with caplog.at_level(logging.INFO):
        found = label_scans(index_oasis2(root), read_ratings(root), "conversion", months=36)
    assert labels(found.kept) == {"OAS2_0001_MR1": "Converter", "OAS2_0002_MR1": "Stable"}
    assert "1 Stable, 1 Converter" in caplog.text
    assert "(censored)" in caplog.text


def test_the_workbook_of_the_site_with_ids_as_excel_leaves_them(root):
    csv = its_table(root)
    rows = pd.read_csv(csv)
    rows["MRI ID"] = [one.lower().replace("_000", "_") for one in rows["MRI ID"]]
    rows.to_excel(csv.with_suffix(".xlsx"), index=False)
    csv.unlink()
    assert index_oasis2(root).table["day"].tolist() == [0, 457, 0, 0, 0]
    assert set(read_ratings(root)["subject"]) == {one[:9] for one in OASIS_2_PEOPLE}


def test_a_missing_rating_stays_missing(root):
    csv = its_table(root)
    rows = [oasis2_row(one, day, "" if one.endswith("MR2") else cdr)
            for one, (day, cdr) in OASIS_2_PEOPLE.items()]  # fmt: skip
    table(csv, OASIS_2, rows)
    found = labels(
        label_scans(index_oasis2(root), read_ratings(root), "stage", rating_days=30).kept
    )
    assert pd.isna(found["OAS2_0001_MR2"])


def test_the_table_of_oasis_1_is_named(root):
    its_table(root).unlink()
    head_line = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
    table(
        root / "oasis_cross-sectional.csv", head_line, ["OAS1_0001_MR1,F,R,74,2,3,29,0,1344,.7,1,"]
    )
    with pytest.raises(ManifestError, match="is the table of OASIS-1") as error:
        index_oasis2(root)
    assert "--dataset oasis" in error.value.hint


def test_a_table_of_another_release_names_the_column(root):
    path = its_table(root)
    path.write_text(path.read_text(encoding="utf-8").replace("MR Delay", "Days"), encoding="utf-8")
    with pytest.raises(ManifestError, match="no column 'MR Delay'; found: Subject ID, MRI ID"):
        index_oasis2(root)


def test_what_is_missing_is_told_with_the_way_to_get_it(root):
    path = its_table(root)
    path.unlink()
    for asked in (index_oasis2, read_ratings):
        with pytest.raises(DataNotFoundError, match="oasis_longitudinal") as error:
            asked(root)
        assert "oasis-2" in error.value.hint
    empty = root.parent / "empty"
    table(empty / path.name, OASIS_2, [oasis2_row("OAS2_0001_MR1", 0, 0)])
    with pytest.raises(DataNotFoundError, match="mpr-1"):
        index_oasis2(empty)


def test_ids_that_are_nobodys_or_wrong_or_twice(root):
    path = its_table(root)
    table(path, OASIS_2, [oasis2_row("OAS2_0099_MR1", 0, 0)])
    with pytest.raises(ManifestError, match="none of its 1 row names a session that has a scan"):
        index_oasis2(root)
    table(path, OASIS_2, [oasis2_row("OAS2_0001_MR1", 0, 0)] * 2)
    with pytest.raises(ManifestError, match="stands in two rows"):
        index_oasis2(root)
    table(path, OASIS_2, [oasis2_row("somebody", 0, 0)])
    with pytest.raises(ManifestError, match="'somebody' names no session"):
        index_oasis2(root)


def test_what_is_no_acquisition_is_counted(root, caplog):
    head(root / "OAS2_RAW_PART1" / "OAS2_0001_MR1" / "RAW" / "3906-3.nifti.nii.gz", 7)
    head(root / "OAS2_RAW_PART1" / "OAS2_0009_MR1" / "RAW" / "mpr-1.nifti.nii.gz", 8)
    rows = index_oasis2(root).table
    assert len(rows) == 6
    assert "1 scan is left out" in caplog.text
    assert "3906-3" in caplog.text
    assert "does not list 1 session that has a scan, such as OAS2_0009_MR1" in caplog.text
    assert rows["day"].isna().tolist() == [False] * 5 + [True]


def test_a_folder_of_oasis_2_is_known(root):
    assert likely_cohort(root) == "oasis2"
