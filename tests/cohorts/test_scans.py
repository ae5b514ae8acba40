"""A folder of raw scans: whom each shows, by the table, by its name, or unknown."""

import logging

import nibabel
import numpy as np
import pytest

from src.cohorts.scans import index_scans
from src.errors import ManifestError
from src.manifest import PEOPLE_UNKNOWN


def scans(root, *paths, table=""):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.zeros((7, 8, 9), np.int16), np.eye(4)), root / path)
    if table:
        (root / "scans.csv").write_text(table, encoding="utf-8")
    return root


def people(manifest):
    return sorted(zip(manifest.table["subject"], manifest.table["session"], strict=True))


def test_people_and_visits_are_read_from_the_names(tmp_path):
    root = scans(
        tmp_path,
        "OAS30000_MR_x/sub-OAS30000_ses-d0068_T1w.nii.gz",
        "OAS30000_MR_x/sub-OAS30000_ses-d1500_T1w.nii.gz",
        "002_S_0295/MP-RAGE/2006-04-18/I13722/a.nii",
        "sub-07_ses-b_run-1_T1w.nii",
        "sub-07_ses-b_run-2_T1w.nii",
    )
    manifest = index_scans(root)
    assert people(manifest) == [
        ("002_S_0295", "I13722"),
        ("OAS30000", "ses-d0068"),
        ("OAS30000", "ses-d1500"),
        ("sub-07", "sub-07_ses-b_run-1_T1w"),  # two of one session: their names tell them apart
        ("sub-07", "sub-07_ses-b_run-2_T1w"),
    ]
    assert manifest.stamps == ()


def test_a_dicom_folder_is_read_by_the_folders_above(tmp_path):
    folder = tmp_path / "002_S_0295" / "MP-RAGE" / "2006-04-18_08_20_30.0" / "I13722"
    folder.mkdir(parents=True)
    (folder / "a.dcm").write_bytes(bytes(128) + b"DICM")
    assert people(index_scans(tmp_path)) == [("002_S_0295", "I13722")]
    assert people(index_scans(folder)) == [("I13722", "T1w")]  # above it nothing is looked at


def test_the_tables_subject_comes_first(tmp_path):
    table = "name,subject,session\nOAS30001_MR_d0001,P1,a\nOAS30001_MR_d0002,P1,\nb,P2,\n"
    root = scans(
        tmp_path, "OAS30001_MR_d0001.nii", "OAS30001_MR_d0002.nii", "b.nii", table=table
    )  # fmt: skip
    manifest = index_scans(root)
    assert people(manifest) == [("P1", "OAS30001_MR_d0002"), ("P1", "a"), ("P2", "b")]
    assert manifest.stamps == ()


@pytest.mark.parametrize("second", ["P2", ""])
def test_a_table_that_makes_two_people_of_one_is_refused(tmp_path, second):
    table = f"name,subject\nOAS30001_MR_d0001,P1\nOAS30001_MR_d0002,{second}\n"
    root = scans(tmp_path, "OAS30001_MR_d0001.nii", "OAS30001_MR_d0002.nii", table=table)
    with pytest.raises(ManifestError, match=r"OAS30001 have two subjects[^$]*one subject in scans"):
        index_scans(root)


def test_two_studies_may_both_have_a_sub_01_where_the_table_says_so(tmp_path):
    table = "name,subject\na/sub-01_T1w,A1\nb/sub-01_T1w,B1\n"
    root = scans(tmp_path, "a/sub-01_T1w.nii", "b/sub-01_T1w.nii", table=table)
    assert [one for one, _ in people(index_scans(root))] == ["A1", "B1"]


def test_scans_that_name_nobody_are_stamped_and_likely_visits_named(tmp_path, caplog):
    root = scans(tmp_path, "anna_visit1.nii", "anna_visit2.nii", "head1.nii", "head2.nii")
    with caplog.at_level(logging.INFO):
        manifest = index_scans(root)
    assert manifest.stamps == (PEOPLE_UNKNOWN,)
    assert manifest.table["subject"].tolist() == ["anna_visit1", "anna_visit2", "head1", "head2"]
    assert "4 of 4 scans name nobody" in caplog.text
    assert "1 group looks like several scans of one person by their names" in caplog.text
    assert "anna_visit1 and anna_visit2; give them one 'subject' in scans.csv" in caplog.text


def test_one_scan_that_names_nobody_is_enough_for_the_stamp(tmp_path):
    manifest = index_scans(scans(tmp_path, "OAS1_0001_MR1.nii", "head.nii"))
    assert manifest.stamps == (PEOPLE_UNKNOWN,)
    assert people(manifest) == [("OAS1_0001", "MR1"), ("head", "T1w")]


def test_a_path_that_names_two_people(tmp_path):
    with pytest.raises(ManifestError, match="names two people: OAS1_0001 and OAS1_0002"):
        index_scans(scans(tmp_path, "OAS1_0001_MR1/OAS1_0002_MR1.nii"))


@pytest.mark.parametrize(
    ("paths", "people"),
    [
        (("p0/MPRAGE_MR1.nii", "p1/MPRAGE_MR1.nii"), ["MPRAGE", "MPRAGE"]),
        (("a/sub-01_T1w.nii", "b/sub-01_T1w.nii"), ["sub-01", "sub-01"]),
    ],
)
def test_one_name_in_several_folders_may_be_several_people(tmp_path, caplog, paths, people):
    manifest = index_scans(scans(tmp_path, *paths))
    assert manifest.table["subject"].tolist() == people  # together: nobody is divided
    assert manifest.stamps == (PEOPLE_UNKNOWN,)
    assert "1 name is in several folders, such as" in caplog.text


def test_a_person_with_a_folder_for_each_visit_is_known(tmp_path):
    paths = ("sub-01/ses-1/sub-01_ses-1_T1w.nii", "sub-01/ses-2/sub-01_ses-2_T1w.nii")
    assert index_scans(scans(tmp_path, *paths)).stamps == ()
    assert (
        index_scans(scans(tmp_path / "o", "x/OAS1_0001_MR1.nii", "y/OAS1_0001_MR1.nii")).stamps
        == ()
    )
