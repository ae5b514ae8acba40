"""OASIS-1 index: what a person's folder of discs becomes."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from src.cohorts.oasis import index_oasis
from src.cohorts.registry import COHORT_REGISTRY
from src.errors import DataNotFoundError, ManifestError

HEADER = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
ROWS = (
    "OAS1_0001_MR1,F,R,74,2,3,29,0,1344,0.743,1.306,N/A",
    "OAS1_0003_MR1,F,R,73,4,3,27,0.5,1454,0.708,1.207,N/A",
    "OAS1_0061_MR1,F,R,20,,,,,1753,0.850,1.001,N/A",
    "OAS1_0061_MR2,F,R,20,,,,,1757,0.845,0.999,1",
)


def add_image(root: Path, session: str, disc: str = "disc1", kind: str = "masked_gfc") -> Path:
    folder = root / disc / session / "PROCESSED" / "MPRAGE" / "T88_111"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{session}_mpr_n4_anon_111_t88_{kind}.img"
    path.touch()
    return path


def write_table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "oasis_cross-sectional.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data" / "oasis"
    write_table(root, *ROWS)
    for number, row in enumerate(ROWS):
        add_image(root, row[:13], f"disc{number + 1}")
    return root


def test_row_carries_what_the_table_says(root):
    row = index_oasis(root).table.iloc[1]
    said = row[["cohort", "subject", "session", "label", "age", "sex", "mmse", "etiv", "nwbv"]]
    expected = ["oasis", "OAS1_0003", "MR1", "VeryMildDemented", 73, "F", 27, 1454, 0.708]
    assert said.tolist() == expected


def test_path_starts_at_root(root):
    path = index_oasis(root).table["path"].iloc[0]
    expected = "disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/"
    assert path == f"{expected}OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc.img"


def test_unrated_is_unlabelled_not_healthy(root):
    table = index_oasis(root).table
    assert table["label"].isna().tolist() == [False, False, True, True]


def test_second_session_is_the_same_person(root):
    table = index_oasis(root).table
    assert table["subject"].tolist()[2:] == ["OAS1_0061"] * 2
    assert table["session"].tolist()[2:] == ["MR1", "MR2"]


@pytest.mark.parametrize("kind", ["gfc", "masked_gfc_fseg"])
def test_other_images_are_not_taken(root, kind):
    add_image(root, "OAS1_0001_MR1", kind=kind)
    assert len(index_oasis(root)) == 4


def test_segmentations_are_not_taken(root):
    other = root / "disc1/OAS1_0001_MR1/FSL_SEG/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc.img"
    other.parent.mkdir()
    other.touch()
    assert len(index_oasis(root)) == 4


def test_hidden_copies_of_a_mac_are_passed_over(root, caplog):
    image = add_image(root, "OAS1_0001_MR1")
    image.with_name(f"._{image.name}").touch()
    assert len(index_oasis(root)) == 4
    assert "name no session" not in caplog.text


@pytest.mark.parametrize("place", ["tables/more", "..", "../.."])
def test_table_may_lie_below_or_above(root, place):
    folder = (root / place).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.move(root / "oasis_cross-sectional.csv", folder)
    assert len(index_oasis(root)) == 4


def test_discs_may_be_links(root, tmp_path):
    shutil.move(root / "disc2", tmp_path / "elsewhere")
    (root / "disc2").symlink_to(tmp_path / "elsewhere")
    assert index_oasis(root).table["path"].str.startswith("disc2/").sum() == 1


def test_link_to_its_own_folder_ends(root):
    (root / "disc1" / "up").symlink_to(root)
    assert len(index_oasis(root)) == 4


def test_missing_discs_are_counted(root, caplog):
    shutil.rmtree(root / "disc2")
    with caplog.at_level(logging.INFO, logger="src"):
        assert len(index_oasis(root)) == 3
    assert "1 session of the table has no image here" in caplog.text


def test_image_without_a_row_is_named(root):
    add_image(root, "OAS1_0400_MR1")
    with pytest.raises(ManifestError, match=r"no row in .*OAS1_0400_MR1"):
        index_oasis(root)


def test_two_images_of_one_session_are_refused(root):
    add_image(root, "OAS1_0001_MR1", disc="copy of disc1")
    with pytest.raises(ManifestError, match="OAS1_0001"):
        index_oasis(root)


def test_missing_folder_is_not_found(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"oasis-brains\.org"):
        index_oasis(tmp_path / "none")


def test_missing_table_is_not_found(root):
    (root / "oasis_cross-sectional.csv").unlink()
    with pytest.raises(DataNotFoundError, match=r"oasis_cross-sectional\.csv"):
        index_oasis(root)


def test_table_without_images_is_not_found(tmp_path):
    write_table(tmp_path, *ROWS)
    with pytest.raises(DataNotFoundError, match="t88_masked_gfc"):
        index_oasis(tmp_path)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (ROWS[0], "OAS1_0001_MR1"),
        ("OAS1_0009,F,R,74,2,3,29,0,1344,0.743,1.306,N/A", "OAS1_0009"),
        ("OAS1_0009_MR1,F,R,74,2,3,29,0.7,1344,0.743,1.306,N/A", "OAS1_0009_MR1"),
    ],
    ids=["twice", "no session", "CDR off the scale"],
)
def test_bad_row_is_named(root, row, named):
    write_table(root, *ROWS, row)
    with pytest.raises(ManifestError, match=named):
        index_oasis(root)


def test_missing_column_is_named(root):
    write_table(root, *ROWS, header=HEADER.replace("CDR", "Rating"))
    with pytest.raises(ManifestError, match="'CDR'"):
        index_oasis(root)


def test_cohort_trusts_no_side():
    cohort = COHORT_REGISTRY.get("oasis")
    assert (cohort.axes, cohort.side_known, cohort.layout) == ("LAS", False, "volume")


def test_real_table_gives_the_published_counts(real_data, tmp_path):
    table = real_data / "oasis" / "oasis_cross-sectional.csv"
    shutil.copy(table, tmp_path)
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        add_image(tmp_path, line[:13])
    rows = index_oasis(tmp_path).table
    assert (len(rows), rows["subject"].nunique()) == (436, 416)
    assert rows["label"].value_counts().tolist() == [135, 70, 28, 2]


@pytest.mark.parametrize("also", [False, True])
def test_the_table_as_the_site_hands_it_out(root, also):
    text = root / "oasis_cross-sectional.csv"
    path = root / "oasis_cross-sectional-5708aa0a98d82080.xlsx"
    pd.read_csv(text).to_excel(path, index=False)
    if also:  # the text counts, if both are there
        book = openpyxl.load_workbook(path)
        book.active["D2"] = 99
        book.save(path)
    else:
        text.unlink()
    table = index_oasis(root).table
    assert table["age"].tolist() == [74, 73, 20, 20]
    assert table["label"].fillna("").tolist() == ["NonDemented", "VeryMildDemented", "", ""]
    assert table["nwbv"].tolist() == [0.743, 0.708, 0.85, 0.845]


def test_ids_in_lower_case_are_read(root, caplog):
    path = root / "oasis_cross-sectional.csv"
    text = path.read_text(encoding="utf-8") + "OAS1_0400_MR1,F,R,70,,,,,1400,.8,1,N/A\n"
    path.write_text(text.lower().replace("id,m/f", "Id,m/F"), encoding="utf-8")
    table = index_oasis(root).table
    assert table["label"].fillna("").tolist() == ["NonDemented", "VeryMildDemented", "", ""]
    assert set(table["sex"]) == {"F"}
    assert "4 ids differ" in caplog.text


@pytest.mark.parametrize("name", ["oasis_longitudinal-2.xlsx", "oasis_cross-sectional.csv"])
def test_the_table_of_oasis_2_is_named(root, name):
    head = "Subject ID,MRI ID,Group,Visit,MR Delay,M/F,Hand,Age,EDUC,SES,MMSE,CDR,eTIV,nWBV,ASF"
    row = "OAS2_0001,OAS2_0001_MR1,Nondemented,1,0,M,R,87,14,2,27,0,1987,0.696,0.883"
    (root / "oasis_cross-sectional.csv").write_text(f"{head}\n{row}\n", encoding="utf-8")
    if name.endswith("xlsx"):
        pd.read_csv(root / "oasis_cross-sectional.csv").to_excel(root / name, index=False)
        (root / "oasis_cross-sectional.csv").unlink()
    with pytest.raises(ManifestError, match="is the table of OASIS-2") as error:
        index_oasis(root)
    assert "--dataset oasis2" in error.value.hint


def test_one_odd_cell_does_not_refuse_the_cohort(root, caplog):
    write_table(
        root, ROWS[0].replace(",74,", ",89+,"), ROWS[1].replace(",27,", ",n.d.,"), *ROWS[2:]
    )
    table = index_oasis(root).table
    assert table["age"].tolist() == [89, 73, 20, 20]
    assert table["mmse"].fillna(-1).tolist() == [29, -1, -1, -1]
    assert "the first is 'n.d.', of 'OAS1_0003_MR1'" in caplog.text
