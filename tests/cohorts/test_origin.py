"""Where a scan was made: tables and json sidecars, read alike."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bids_trees import touch, tsv

from src.cohorts.bids import index_bids
from src.cohorts.origin import origin_of_table, origin_of_words, read_field_strength
from src.cohorts.scans import index_scans
from src.manifest import ORIGIN


@pytest.mark.parametrize(
    ("text", "tesla"),
    [
        *[("3", 3.0), ("3T", 3.0), ("3.0 T", 3.0), ("1,5", 1.5), ("2.89362", 3.0), ("7 Tesla", 7)],
        *[("30000 G", 3.0), ("15000 gauss", 1.5), ("0.064", 0.064), ("1.0", 1.0), ("2", 2.0)],
    ],
)
def test_a_field_is_read_in_tesla(text, tesla):
    assert read_field_strength(text) == tesla


@pytest.mark.parametrize("text", ["15000", "0", "-3", "three", "30", "3 mT", "", "."])
def test_what_is_no_field_is_none(text):
    assert np.isnan(read_field_strength(text))


def test_columns_have_many_names_and_the_first_known_counts(caplog):
    table = pd.DataFrame(
        {
            "SITE": ["A", None, "n/a"],
            "Centre": ["X", " B  one ", None],
            "ManufacturersModelName": ["Prisma", "Signa", None],
            "MANUFACTURER": ["SIEMENS Healthineers", "GE MEDICAL SYSTEMS", "Gera"],
            "MagneticFieldStrength": ["3T", "15000", None],
        },
        dtype="str",
    )
    with caplog.at_level(logging.WARNING):
        found = origin_of_table(table, "t.tsv")
    assert list(found) == list(ORIGIN)
    assert found["site"].fillna("").tolist() == ["A", "B one", ""]
    assert found["scanner"].fillna("").tolist() == ["Prisma", "Signa", ""]
    assert found["manufacturer"].tolist() == ["Siemens", "GE", "Gera"]
    assert found["field_strength"].fillna(0).tolist() == [3.0, 0, 0]
    assert "1 cell is left empty" in caplog.text
    assert "'15000'" in caplog.text


def test_words_of_another_kind_say_nothing():
    said = {"InstitutionName": ["a list"], "Manufacturer": True, "MagneticFieldStrength": 1.494}
    found = origin_of_words(said, {"site": "InstitutionName", "manufacturer": "Manufacturer",
                                   "field_strength": "MagneticFieldStrength"})  # fmt: skip
    assert found == {"site": None, "manufacturer": None, "field_strength": 1.5}


def sidecar(path: Path, **words) -> None:
    path.write_text(json.dumps(words), encoding="utf-8")


def bids_set(root: Path) -> Path:
    """Two people: one of two visits with sidecars, one with none."""
    images = ("sub-1/ses-1/anat/sub-1_ses-1_T1w", "sub-1/ses-2/anat/sub-1_ses-2_T1w")
    touch(root, *(f"{one}.nii.gz" for one in images), "sub-2/anat/sub-2_T1w.nii.gz")
    tsv(root / "participants.tsv", ["participant_id site", "sub-1 North", "sub-2 n/a"])
    sidecar(root / f"{images[0]}.json", Manufacturer="SIEMENS", InstitutionName="North",
            MagneticFieldStrength=1.5)  # fmt: skip
    sidecar(root / f"{images[1]}.json", StationName="MRC1", InstitutionName="South",
            DeviceSerialNumber="17", MagneticFieldStrength=3)  # fmt: skip
    return root


def test_the_table_counts_and_a_sidecar_fills_the_rest(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        table = index_bids(bids_set(tmp_path)).table
    assert table["site"].fillna("").tolist() == ["North", "North", ""]
    assert table["field_strength"].fillna(0).tolist() == [1.5, 3.0, 0]
    assert table["manufacturer"].fillna("").tolist() == ["Siemens", "", ""]
    line = next(line for line in caplog.messages if "the table counts" in line)
    assert "site of 1 scan, such as North and South" in line


def test_a_sidecar_of_the_set_holds_for_all_and_one_s_own_counts_first(tmp_path, caplog):
    root = bids_set(tmp_path)
    sidecar(root / "T1w.json", ManufacturersModelName="Trio", MagneticFieldStrength=7)
    (root / "sub-1/ses-1/anat/sub-1_ses-1_T1w.json").write_text("{", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        table = index_bids(root).table
    assert table["scanner"].tolist() == ["Trio"] * 3
    assert table["field_strength"].tolist() == [7, 3, 7]
    assert "1 json sidecar cannot be read and is left out" in caplog.text


def test_sessions_count_before_participants(tmp_path):
    root = bids_set(tmp_path)
    rows = ["session_id site", "ses-1 n/a", "ses-2 East"]
    tsv(root / "sub-1/sub-1_sessions.tsv", rows)
    assert index_bids(root).table["site"].fillna("").tolist() == ["North", "East", ""]


def test_scans_csv_and_a_sidecar_beside_a_scan(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "c.nii.gz")
    text = "name,CDR,Center,FieldStrength\na,0,One,3 T\nb,1,,\n"
    (tmp_path / "scans.csv").write_text(text, encoding="utf-8")
    sidecar(tmp_path / "c.json", InstitutionName="Three", ManufacturersModelName="Achieva")
    table = index_scans(tmp_path).table
    assert table["site"].fillna("").tolist() == ["One", "", "Three"]
    assert table["scanner"].fillna("").tolist() == ["", "", "Achieva"]
    assert table["field_strength"].fillna(0).tolist() == [3, 0, 0]
