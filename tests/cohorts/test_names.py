"""Names of files whose bytes are no text are set aside in one line, and nothing beside them is."""

import logging
import os
import sys

import pytest

from src.cohorts.bids_files import list_bids
from src.cohorts.folders import list_scans_in, names_that_are_text, visible_files
from src.files import read_json, write_json

BAD = os.fsdecode(b"caf\xe9")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")


def test_only_names_that_are_text_are_listed(tmp_path, caplog):
    assert names_that_are_text(tmp_path, ["b", BAD, "ä", "a"]) == ["a", "b", "ä"]
    assert rf"{tmp_path}: left out 1 file whose name is no text, such as caf\xe9" in caplog.text
    caplog.clear()
    assert names_that_are_text(tmp_path, ["b", "a\n"]) == ["a\n", "b"]
    assert not caplog.text


def test_such_a_name_takes_none_of_the_others_away(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    for folder in ("pictures/Mild Dementia", "scans"):
        (tmp_path / folder).mkdir(parents=True)
        for name in (f"{BAD}.nii.gz", "good.nii.gz"):
            (tmp_path / folder / name).write_bytes(b"x")
    assert list(visible_files(tmp_path / "pictures"))[-1] == ("Mild Dementia/", ["good.nii.gz"])
    assert list(list_scans_in(tmp_path / "scans")) == ["good"]
    assert caplog.text.count("is no text") == 2


def test_a_bids_folder_keeps_its_other_people(tmp_path, caplog):
    for name in ("sub-01", f"sub-{BAD}"):
        anat = tmp_path / name / "anat"
        anat.mkdir(parents=True)
        (anat / f"{name}_T1w.nii.gz").write_bytes(b"x")
    assert [file.subject for file in list_bids(tmp_path)] == ["sub-01"]
    assert "is no text" in caplog.text


def test_a_path_that_is_no_text_comes_back_from_a_settings_file(tmp_path):
    path = write_json(tmp_path / "x.json", {"data_dir": f"/data/{BAD}", "name": "ä"})
    assert read_json(path) == {"data_dir": f"/data/{BAD}", "name": "ä"}
    assert "ä".encode() in path.read_bytes()
