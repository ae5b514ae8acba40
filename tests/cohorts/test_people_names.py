"""Ids in names of files and folders: one spelling a person, whole patterns only."""

import pytest

from src.cohorts.people_names import known_person, nearest_name, of_study, read_name, spellings
from src.cohorts.visit_names import alike_names
from src.errors import ManifestError


@pytest.mark.parametrize(
    ("path", "person", "session"),
    [
        ("OAS1_0061_MR1", "OAS1_0061", "MR1"),
        ("deep/OAS1_0028_MR2/mpr-3", "OAS1_0028", "MR2_mpr-3"),
        ("scan_OAS1_0028_mpr-2", "OAS1_0028", "MR1_mpr-2"),
        ("OAS2_0001_MR2", "OAS2_0001", "MR2"),
        ("OAS30010_MR_d0068", "OAS30010", "d0068"),
        ("oas30010_mr_d0068", "OAS30010", "d0068"),
        ("OAS30010_MR_d0068/sub-OAS30010_ses-d0068_T1w", "OAS30010", "ses-d0068"),
        ("sub-OASIS10061_ses-M00_T1w", "OAS1_0061", "ses-M00"),
        ("002_S_0295/MP-RAGE/2006-04-18_08_20_30.0/I13722", "002_S_0295", "I13722"),
        ("ADNI_002_S_0295_MR_MPR_Br_2006_S13408_I40966", "002_S_0295", "I40966"),
        ("sub-ADNI002S0295_ses-M00_T1w", "002_S_0295", "ses-M00"),
        ("AIBL/10/MPRAGE/2008-01-02/I44", "AIBL_10", "I44"),
        ("AIBL_10_MR_MPRAGE_br_S12_I33", "AIBL_10", "I33"),
        ("sub-AIBL10_ses-M18_T1w", "AIBL_10", "ses-M18"),
        ("sub-07/ses-b/anat/sub-07_ses-b_T1w", "sub-07", "ses-b"),
        ("train/x/PHAN_0001_MR1_slice25", "PHAN_0001", "MR1"),
    ],
)
def test_person_and_session_of_a_path(path, person, session):
    named = read_name(path)
    assert (named.person, named.session) == (person, session)


@pytest.mark.parametrize(
    "path",
    ["XOAS1_0061", "OAS1_00612", "OAS10061", "OAS300101", "1002_S_0295", "10/MPRAGE/I44", "head1",
     "case_scan_12", "mysub-07"],
)  # fmt: skip
def test_half_an_id_is_none(path):
    assert read_name(path) is None


@pytest.mark.parametrize(
    "path", ["OAS1_0001_MR1/OAS1_0002_MR1", "sub-01/sub-02_T1w", "OAS30001/002_S_0295"]
)
def test_a_path_that_names_two_people_is_refused(path):
    with pytest.raises(ManifestError, match=r"names two people: .* and "):
        read_name(path)


def test_the_nearest_folder_names_the_person():
    path = "/home/sub-99/study/002_S_0295/MP-RAGE/2006-04-18/I13722"
    assert nearest_name(path).person == "002_S_0295"
    assert nearest_name("/data/sub-1/a/b/c/d/e/f") is None  # too far above to be meant


def test_what_stands_before_a_session_is_no_id_by_itself():
    assert known_person("subject_MR1") is None
    assert known_person("sub-OAS30010_ses-d0068_T1w") == "OAS30010"
    assert of_study("OAS30010")
    assert not of_study("sub-07")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sub-OAS30010", "OAS30010"),
        ("OAS1_0061", "sub-OASIS10061"),
        ("sub-OASIS10061", "OAS1_0061"),
        ("002_S_0295", "sub-ADNI002S0295"),
        ("AIBL_10", "sub-AIBL10"),
        ("P01", "P01"),
    ],
)
def test_spellings_of_one_person(one, other):
    assert {one, other} <= spellings(one)


def test_spellings_of_two_people_never_meet():
    people = ["OAS1_0061", "OAS2_0061", "OAS30010", "OAS30011", "002_S_0295", "AIBL_10", "sub-10"]
    every = [word for person in people for word in spellings(person)]
    assert len(every) == len(set(every))


@pytest.mark.parametrize(
    ("paths", "groups"),
    [
        (["anna_visit1", "anna_visit2", "bob_visit1"], [["anna_visit1", "anna_visit2"]]),
        (["p01_a", "p01_b", "p02_a"], [["p01_a", "p01_b"]]),
        (["f/scan 1", "f/scan 2", "g/scan 1"], [["f/scan 1", "f/scan 2"]]),
        (["c_20060418", "c_2007-01-01"], [["c_20060418", "c_2007-01-01"]]),
        (["bob/2006-04-18/T1", "bob/2007-04-18/T1"], [["bob/2006-04-18/T1", "bob/2007-04-18/T1"]]),
        (["head1", "head2", "scan1", "scan2", "case_1", "case_2", "a/t1", "b/t1"], []),
    ],
)
def test_names_that_look_like_visits_of_one_person(paths, groups):
    assert alike_names(paths) == groups
