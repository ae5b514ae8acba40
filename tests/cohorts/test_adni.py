"""ADNI: which images are T1, whose they are, and ratings by date."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest
from study_trees import COLLECTION, adni, adni_cdr, head, table

from src.cohorts.adni import index_adni
from src.cohorts.adni_tables import read_date, read_images, read_ratings
from src.cohorts.folders import likely_cohort
from src.cohorts.ratings import first_sessions, label_scans
from src.errors import DataNotFoundError, ManifestError
from src.manifest import Manifest

SESSIONS = [
    *("002_S_0295_2006-04-18_sc_I13722", "002_S_0295_2006-04-18_sc_I13723"),
    *("002_S_0295_2007-05-02_m12_I45107", "005_S_4168_2011-09-01_v03_I254001"),
    *("011_S_0010_2005-11-09_bl_I8001", "023_S_0042_2006-01-03_bl_I9001"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return adni(tmp_path / "adni")


def collection(root: Path) -> Path:
    return next(root.glob("T1_collection*"))


def changed(root: Path, old: str, new: str) -> None:
    path = collection(root)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def labels(manifest: Manifest) -> dict[str, str]:
    rows = manifest.table
    names = rows["subject"] + "_" + rows["session"]
    return dict(sorted(zip(names, rows["label"].fillna("").tolist(), strict=True)))


@pytest.mark.parametrize("dicom", [False, True])
@pytest.mark.parametrize("age", ["old", "new"])
def test_every_t1_of_a_visit_is_listed_and_rated_by_date(tmp_path, caplog, dicom, age):
    root = adni(tmp_path / "adni", dicom=dicom)
    adni_cdr(root, age)
    with caplog.at_level(logging.INFO):
        scans = index_adni(root)
        rated = label_scans(scans, read_ratings(root), "stage").kept
    rows = scans.table
    assert sorted(rows["subject"] + "_" + rows["session"]) == SESSIONS
    assert rows["label"].isna().all()
    rows = rows.set_index(rows["session"].str.extract(r"_I(\d+)$")[0]).sort_index()
    assert rows["day"].to_dict() == {
        **{"13722": 20, "13723": 20, "45107": 399},  # the visit came three weeks before the scan
        **{"254001": 0, "8001": 0, "9001": 0},
    }
    assert rows.loc["254001", ["age", "sex", "diagnosis", "site"]].tolist() == [
        *(70 + 254001 % 7, "F", "LMCI", "005"),
    ]
    assert rows.loc["13722", "path"].endswith("I13722" if dicom else "_I13722.nii")
    assert labels(rated) == dict(
        zip(SESSIONS, [*["NonDemented"] * 3, "VeryMildDemented", "", "NonDemented"], strict=True)
    )
    assert sorted(rated.table["rating_days"].dropna()) == [12, 17, 19, 20, 20]
    assert "6 T1-weighted scans of 4 people, 5 sessions" in caplog.text
    assert "1 image is left out, no T1-weighted scan" in caplog.text
    assert "of 8 ratings 1 without a date" in caplog.text


def test_visits_without_a_scan_say_who_converted(root, caplog):
    adni_cdr(root)
    with caplog.at_level(logging.INFO):
        found = label_scans(index_adni(root), read_ratings(root), "conversion", months=36)
    assert labels(found.kept) == {
        SESSIONS[0]: "Converter",
        SESSIONS[1]: "Converter",
        SESSIONS[5]: "Stable",
    }
    assert "1 Stable, 1 Converter" in caplog.text


def test_a_group_is_a_diagnosis_and_no_stage(root, caplog):
    scans = index_adni(root)
    rated = label_scans(scans, read_ratings(root), "stage").kept
    assert rated.table["label"].isna().all()
    assert "there is no CDR.csv" in caplog.text
    assert "--label diagnosis" in caplog.text
    found = labels(label_scans(scans, read_ratings(root), "diagnosis").kept)
    assert list(found.values()) == ["CN", "CN", "CN", "MCI", "AD", ""]  # SMC is none of them


@pytest.mark.parametrize(
    ("series", "is_t1"),
    [
        *(("Accelerated Sagittal MPRAGE (MSV21)", True), ("SAG IR-SPGR", True)),
        *(("MPR-R; GradWarp; N3 <- MP-RAGE", True), ("MT1; GradWarp; N3m", True)),
        *(("3D T1", True), ("Accelerated Sag IR-FSPGR", True), ("MPRAGE GRAPPA2", True)),
        *(("MPRAGE SENSE localizer", False), ("B1-Calibration Body", False)),
        *(("MPR; ; Brain Mask", False), ("Axial T2-FLAIR", False), ("Field Mapping", False)),
        *(("Hippocampal Mask <- MP-RAGE", False), ("Sagittal 3D FLAIR", False)),
    ],
)
def test_descriptions_of_t1_scans(root, series, is_t1):
    changed(root, "Accelerated Sag IR-FSPGR", series)
    assert ("005_S_4168" in set(index_adni(root).table["subject"])) == is_t1


def test_a_pet_scan_is_none_whatever_it_is_called(root):
    changed(root, "v03,MRI", "v03,PET")
    assert "005_S_4168" not in set(index_adni(root).table["subject"])


def test_without_a_date_in_the_csv_the_folder_tells_it(root):
    changed(root, "Acq Date", "Downloaded on")
    adni_cdr(root)
    rows = index_adni(root).table
    assert sorted(rows["subject"] + "_" + rows["session"]) == SESSIONS
    day = rows.set_index("session")["day"]
    assert day["2006-04-18_sc_I13722"] == 20
    assert day["2011-09-01_v03_I254001"] == -19
    rated = label_scans(index_adni(root), read_ratings(root), "stage").kept
    assert labels(rated)[SESSIONS[3]] == "VeryMildDemented"


def test_a_scan_without_any_date_is_not_rated(root, caplog):
    changed(root, "9/1/2011", "13/45/2011")
    adni_cdr(root)
    place = next(root.rglob("2011-09-01*"))
    place.rename(place.with_name("once"))
    scan = next(root.rglob("*254001.nii"))
    scan.rename(scan.with_name("scan_I254001.nii"))
    rows = index_adni(root).table.set_index("subject")
    assert rows.loc["005_S_4168", "session"] == "v03_I254001"
    assert pd.isna(rows.loc["005_S_4168", "day"])
    assert "1 cell is no date" in caplog.text
    assert "of 1 scan neither" in caplog.text
    rated = label_scans(index_adni(root), read_ratings(root), "stage").kept
    assert labels(rated)["005_S_4168_v03_I254001"] == ""


def test_what_is_missing_on_either_side_is_counted(root, caplog):
    head(root / "ADNI/005_S_4168/MPRAGE/2012-01-01_00_00_00.0/I77/scan_I77.nii", 1)
    head(root / "ADNI/mine.nii", 2)
    next(root.rglob("*_I9001.nii")).unlink()
    assert len(index_adni(root)) == 5
    assert "1 scan is left out, because the CSV does not name it, such as ADNI/005_S" in caplog.text
    assert "1 T1-weighted scan is of the CSV not here, such as I9001" in caplog.text
    assert "1 scan is left out: no image id" in caplog.text


def test_image_ids_and_lists_as_people_have_them(root, tmp_path):
    changed(root, "I13722,", "13722,")  # as advanced exports write it
    changed(root, "I13723,", "i0013723,")
    changed(root, "002_S_0295", "002_s_0295")
    path = collection(root)
    half = pd.read_csv(path, dtype=str)
    half.iloc[:3].rename(
        columns={"Image Data ID": "Image ID", "Subject": "Subject ID", "Acq Date": "Study Date"}
    ).to_excel(root / "first.xlsx", index=False)
    half.iloc[2:].to_csv(root / "second.csv", index=False)
    path.unlink()
    assert sorted(index_adni(root).table["session"]) == sorted(one[11:] for one in SESSIONS)


def test_rids_without_zeros_and_as_numbers_with_a_point(root):
    path = adni_cdr(root, "old")
    text = path.read_text(encoding="utf-8").replace("ADNI1,1,295,", "ADNI1,1,295.0,")
    path.write_text(text, encoding="utf-8")
    assert set(read_ratings(root)["subject"]) == set(read_images(root)["subject"])


def test_ratings_without_a_date_are_of_no_day(root):
    adni_cdr(root)
    found = read_ratings(root)
    assert len(found) == 7
    assert found["day"].notna().all()


def test_older_downloads_have_the_image_id_in_names_of_files_only(tmp_path):
    root = adni(tmp_path / "adni", dicom=True)
    place = next(root.rglob("I8001"))
    place.rename(place.with_name("S8001"))
    rows = index_adni(root).table.set_index("session")
    assert rows.loc["2005-11-09_bl_I8001", "path"].endswith("/S8001")


def test_scores_of_mmse_come_with_their_own_dates(root):
    table(root / "MMSE_01Jan2026.csv", "RID,VISCODE,VISDATE,MMSCORE", ["4168,v03,2011-09-11,26"])
    rated = label_scans(index_adni(root), read_ratings(root), "stage").kept.table
    assert rated.set_index("subject")["mmse"].dropna().to_dict() == {"005_S_4168": 26}


def test_first_sessions_are_of_the_first_day(root):
    kept, later = first_sessions(index_adni(root))
    assert later["session"].tolist() == ["2007-05-02_m12_I45107"]
    assert len(kept) == 5


@pytest.mark.parametrize("column", ["CDGLOBAL", "VISDATE"])
def test_a_table_of_another_release_names_the_column(root, column):
    path = adni_cdr(root)
    path.write_text(path.read_text(encoding="utf-8").replace(column, "X"), encoding="utf-8")
    with pytest.raises(ManifestError, match=rf"no column '{column}'.*; found: PHASE, PTID"):
        read_ratings(root)


def test_tables_of_other_people_are_refused(root):
    table(root / "CDR.csv", "RID,VISDATE,CDGLOBAL", ["77,2006-01-01,0"])
    with pytest.raises(ManifestError, match="none of its 1 row is of a person who has an image"):
        read_ratings(root)
    changed(root, "_S_", "-S-")
    with pytest.raises(ManifestError, match="names a person of ADNI in Subject"):
        index_adni(root)


def test_contradictions_are_refused(root):
    changed(root, "I8001,011_S_0010", "I8001,023_S_0042")
    with pytest.raises(ManifestError, match="is of 011_S_0010, and the CSV says 023_S_0042"):
        index_adni(root)
    changed(root, "I8001,023_S_0042", "I13722,023_S_0042")
    with pytest.raises(ManifestError, match="image I13722 is of two people"):
        index_adni(root)
    changed(root, "I13722,023_S_0042", "none,023_S_0042")
    with pytest.raises(ManifestError, match="an empty cell is no image id"):
        index_adni(root)


def test_the_same_image_twice_is_refused(root):
    head(root / "again" / "002_S_0295_I13722.nii.gz", 3)
    with pytest.raises(ManifestError, match="are the same scan"):
        index_adni(root)


def test_what_is_missing_is_told_with_the_way_to_get_it(root, tmp_path):
    collection(root).unlink()
    with pytest.raises(DataNotFoundError) as error:
        index_adni(root)
    assert "Image Data ID, Subject and Description" in error.value.hint
    empty = tmp_path / "more" / "empty"
    table(empty / "list.csv", COLLECTION, ["I1,002_S_0295,CN,F,70,sc,MRI,MPRAGE,Original,,,"])
    with pytest.raises(DataNotFoundError, match="_S_"):
        index_adni(empty)
    head(empty / "I2.nii.gz", 1)
    with pytest.raises(ManifestError, match="none of its 1 scan is a T1-weighted one of the CSV"):
        index_adni(empty)


def test_dates():
    for text in ("4/18/2006", "04/18/06", "2006-04-18", "2006/4/18", "2006-04-18 00:00:00.0"):
        assert read_date(text) == pd.Timestamp(2006, 4, 18)
    for text in ("18/04/2006", "2006", "April 18", "2006-02-30"):
        assert pd.isna(read_date(text))


@pytest.mark.parametrize("dicom", [False, True])
def test_a_folder_of_adni_is_known(tmp_path, dicom):
    assert likely_cohort(adni(tmp_path / "x", dicom=dicom)) == "adni"
