"""Volumes are told apart by their paths; the table is the authority on ratings."""

import logging
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from src.cohorts.kaggle_nifti import index_kaggle_nifti
from src.cohorts.oasis_table import UNRATED_AS_HEALTHY, find_table, read_table
from src.cohorts.registry import COHORT_REGISTRY
from src.errors import DataNotFoundError, ManifestError
from src.manifest import PEOPLE_UNKNOWN

HEAD = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
ROW = "{},F,R,74,2,3,29,{},1344,0.743,1.306,N/A"


def volumes(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.zeros((7, 8, 9), np.int16), np.eye(4)), root / path)


def table(path: Path, **cdr: str) -> Path:
    """Write the clinical table: session without ``OAS1_`` -> CDR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [ROW.format(f"OAS1{name}", value) for name, value in cdr.items()]
    path.write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("path", "subject", "session"),
    [
        ("OAS1_0028_MR1.nii", "OAS1_0028", "MR1"),
        ("OAS1_0028_MR1_mpr-1_anon.nii.gz", "OAS1_0028", "MR1_mpr-1"),
        ("deep/OAS1_0028_MR2/mpr-3.nii", "OAS1_0028", "MR2_mpr-3"),
        ("scan_OAS1_0028.nii", "OAS1_0028", "MR1"),
        ("sub-07/ses-b/anat/sub-07_ses-b_T1w.nii.gz", "sub-07", "ses-b"),
        ("sub-07.nii", "sub-07", "MR1"),
    ],
)
def test_person_and_session_from_the_path(tmp_path, path, subject, session):
    volumes(tmp_path, f"Mild Dementia/{path}")
    manifest = index_kaggle_nifti(tmp_path)
    row = manifest.table.iloc[0]
    assert (row["subject"], row["session"]) == (subject, session)
    assert (row["label"], row["cohort"]) == ("MildDemented", "kaggle_nifti")
    assert row["path"] == f"Mild Dementia/{path}"
    assert manifest.stamps == ()


def test_rating_from_the_table_without_class_folders(tmp_path):
    volumes(tmp_path, "OAS1_0001_MR1.nii", "OAS1_0028_MR1.nii")
    table(tmp_path / "meta" / "oasis_cross-sectional.csv", _0001_MR1="0", _0028_MR1="0.5")
    manifest = index_kaggle_nifti(tmp_path)
    assert manifest.table["label"].tolist() == ["NonDemented", "VeryMildDemented"]
    assert manifest.table["age"].tolist() == [74, 74]
    assert manifest.stamps == ()


def test_a_table_in_lower_case_rates_its_sessions(tmp_path, caplog):
    volumes(tmp_path, "NonDemented/OAS1_0001_MR1.nii", "NonDemented/OAS1_0002_MR1.nii")
    path = table(tmp_path / "oasis_cross-sectional.csv", _0001_MR1="0", _0002_MR1="")
    path.write_text(path.read_text(encoding="utf-8").replace("OAS1", "oas1"), encoding="utf-8")
    assert index_kaggle_nifti(tmp_path).table["label"].fillna("").tolist() == ["NonDemented", ""]
    assert "2 ids differ" in caplog.text


def test_unrated_stay_unrated_in_a_healthy_folder(tmp_path, caplog):
    volumes(tmp_path, "NonDemented/OAS1_0001_MR1.nii", "NonDemented/OAS1_0002_MR1.nii")
    table(tmp_path / "oasis_cross-sectional.csv", _0001_MR1="0", _0002_MR1="")
    with caplog.at_level(logging.INFO):
        labels = index_kaggle_nifti(tmp_path).table["label"]
    assert labels[0] == "NonDemented"
    assert pd.isna(labels[1])
    assert "without a CDR, unrated whatever their folder: 1 person (1 image)" in caplog.text


def test_folder_decides_where_the_table_is_silent(tmp_path, caplog):
    volumes(tmp_path, "NonDemented/OAS1_0001_MR1.nii", "NonDemented/OAS1_0002_MR1.nii")
    table(tmp_path / "oasis_cross-sectional.csv", _0001_MR1="0")
    manifest = index_kaggle_nifti(tmp_path)
    assert manifest.table["label"].tolist() == ["NonDemented"] * 2
    assert manifest.stamps == (UNRATED_AS_HEALTHY,)
    assert "1 image is not in" in caplog.text


def test_folder_against_table(tmp_path):
    volumes(tmp_path, "MildDemented/OAS1_0001_MR1.nii")
    table(tmp_path / "oasis_cross-sectional.csv", _0001_MR1="0.5")
    with pytest.raises(ManifestError, match=r"folder of MildDemented.*OAS1_0001 as VeryMildDemen"):
        index_kaggle_nifti(tmp_path)


def test_rating_belongs_to_the_session(tmp_path):
    volumes(tmp_path, "OAS1_0061_MR1.nii", "OAS1_0061_MR2.nii")
    table(tmp_path / "oasis_cross-sectional.csv", _0061_MR1="0", _0061_MR2="")
    rows = index_kaggle_nifti(tmp_path).table
    assert rows["subject"].nunique() == 1
    assert rows["label"].isna().tolist() == [False, True]


def test_volumes_that_name_nobody_are_stamped(tmp_path, caplog):
    volumes(tmp_path, "NonDemented/a.nii", "MildDemented/1.nii.gz", "NonDemented/1.nii.gz")
    manifest = index_kaggle_nifti(tmp_path)
    names = ["MildDemented_1.nii.gz", "NonDemented_1.nii.gz", "a"]
    assert manifest.table["subject"].tolist() == names
    assert manifest.stamps == (PEOPLE_UNKNOWN,)
    assert "3 of 3 volumes name nobody, such as MildDemented/1.nii.gz" in caplog.text


def test_one_volume_that_names_nobody_is_enough_for_the_stamp(tmp_path):
    volumes(tmp_path, "MildDemented/a.nii", "MildDemented/OAS1_0001_MR1.nii")
    manifest = index_kaggle_nifti(tmp_path)
    assert manifest.table["subject"].tolist() == ["OAS1_0001", "a"]
    assert manifest.stamps == (PEOPLE_UNKNOWN,)


def test_path_that_names_two_people(tmp_path):
    volumes(tmp_path, "OAS1_0001_MR1/OAS1_0002_MR1.nii")
    with pytest.raises(ManifestError, match="two people: OAS1_0001 and OAS1_0002"):
        index_kaggle_nifti(tmp_path)


def test_same_scan_twice(tmp_path):
    volumes(tmp_path, "MildDemented/OAS1_0001_MR1.nii", "MildDemented/OAS1_0001_MR1.nii.gz")
    with pytest.raises(ManifestError, match="same cohort, subject, session"):
        index_kaggle_nifti(tmp_path)


def test_no_label_anywhere(tmp_path):
    volumes(tmp_path, "OAS1_0001_MR1.nii")
    with pytest.raises(ManifestError, match=r"of 1 volume, none has a label[^$]*put oasis_cross"):
        index_kaggle_nifti(tmp_path)


def test_a_diagnosis_is_no_label(tmp_path, caplog):
    volumes(tmp_path, "AD/a.nii", "CN/b.nii")
    with pytest.raises(
        ManifestError, match=r"is no stage: AD, CN; a diagnosis is no CDR[^$]*CDR into"
    ):
        index_kaggle_nifti(tmp_path)
    volumes(tmp_path, "MildDemented/c.nii")
    assert index_kaggle_nifti(tmp_path).table["label"].count() == 1
    assert "2 volumes without a label in folders such as AD: a diagnosis is no CDR" in caplog.text


def test_a_table_rates_people_whose_folder_is_a_diagnosis(tmp_path, caplog):
    volumes(tmp_path, "AD/OAS1_0001_MR1.nii")
    table(tmp_path / "oasis_cross-sectional.csv", _0001_MR1="0.5")
    assert index_kaggle_nifti(tmp_path).table["label"].tolist() == ["VeryMildDemented"]
    assert "diagnosis" not in caplog.text


def test_no_volume(tmp_path):
    with pytest.raises(DataNotFoundError, match="fix: download"):
        index_kaggle_nifti(tmp_path)


def test_registered_as_volumes():
    cohort = COHORT_REGISTRY.get("kaggle_nifti")
    assert (cohort.layout, cohort.side_known, cohort.axes) == ("volume", True, None)


def test_nearest_table_wins(tmp_path):
    root = tmp_path / "data" / "kaggle_nifti"
    root.mkdir(parents=True)
    assert find_table(root) is None
    name = "oasis_cross-sectional.csv"
    for place in (root.parent / "oasis" / "x", tmp_path, root.parent, root / "deep", root):
        path = table(place / name)
        assert find_table(root).resolve() == path


def test_table_with_the_site_s_suffix(tmp_path):
    path = table(tmp_path / "oasis_cross-sectional-5708aa0a98d82080.csv")
    assert find_table(tmp_path) == path


def test_table_values(tmp_path):
    rated, bare = ROW.format(" OAS1_0001_MR1", "0.5"), "OAS1_0002_MR1,m,,20,,,,,1500,.8,,"
    text = "\n".join([HEAD, rated, bare, "," * 11])
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8-sig")
    rows = read_table(path)
    known = rows.loc["OAS1_0001_MR1"].dropna().tolist()
    assert known == ["VeryMildDemented", 74, "F", 29, 1344, 0.743]
    assert rows.loc["OAS1_0002_MR1", "sex"] == "M"
    assert rows.loc["OAS1_0002_MR1", ["label", "mmse"]].isna().all()
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEAD.replace("CDR", "Rating"), "no column 'CDR'; found: ID, M/F"),
        (f"{HEAD}\n{ROW.format('A', 0)}\n{ROW.format('A', 0)}", "'A' stands in two rows"),
        (f"{HEAD}\n{ROW.format('A', 0.7)}", "'A': CDR 0.7 is not on the scale"),
        (f"{HEAD}\n{ROW.format('A', 'mild')}", "CDR is no number: 'A' has 'mild'"),
        (f"{HEAD}\n{ROW.format('', 0)}", "1 row has no ID"),
    ],
)
def test_malformed_table(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        read_table(path)
