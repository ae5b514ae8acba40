"""The fix that a failed audit names is the one for that folder and that check."""

from __future__ import annotations

import json

import pytest

from src.auditing.mend import how_to_mend
from src.manifest import MANIFEST, SETTINGS

LEAKS = ("people", "identical_files", "sessions", "near_duplicates", "probe")
AGAIN = "preprocess again, with the same command"


def processed(folder, **settings):
    (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        ({"cohort": "kaggle_orig"}, AGAIN),
        ({"cohort": "kaggle_orig", "split": {"official_split": False}}, AGAIN),
        (
            {"cohort": "kaggle_orig", "split": {"official_split": True}},
            "preprocess without --official_split",
        ),
        ({"cohort": "scans"}, "one 'subject' in scans.csv"),
        ({"cohort": "kaggle_nifti"}, "such as sub-01_ses-1.nii.gz"),
    ],
)
@pytest.mark.parametrize("check", LEAKS)
def test_a_processed_folder_is_made_again(tmp_path, settings, fix, check):
    assert fix in how_to_mend(processed(tmp_path, **settings), [check], "2d")


@pytest.mark.parametrize(("dim", "manifest"), [("3d", False), ("3d", True), ("2d", True)])
def test_a_split_of_their_own_is_put_right_by_hand(tmp_path, dim, manifest):
    if manifest:
        (tmp_path / MANIFEST).touch()
    said = how_to_mend(tmp_path, ["people"], dim)
    assert said == "put all images of a person, and all copies of an image, on one side"


def test_bare_pictures_are_preprocessed(tmp_path):
    folder = tmp_path / "my pictures"
    folder.mkdir()
    said = how_to_mend(folder, ["near_duplicates"], "2d")
    assert said.startswith("python main.py --mode preprocess --dataset kaggle_orig --dim 2d")
    assert f"--data_dir '{folder}': it joins copies" in said


FIXES = {
    "format": "make the images of all classes in one way",
    "classes": "put people of every class",
    "sides": "put all images of a person",
}


@pytest.mark.parametrize(
    ("failed", "named"),
    [
        (["metadata"], {"format"}),
        (["composition"], {"classes"}),
        (["composition", "people"], {"sides"}),
        (["metadata", "composition"], {"format"}),
        (["identical_files", "metadata"], {"sides", "format"}),
    ],
)
def test_each_kind_of_failure_has_its_fix_once(tmp_path, failed, named):
    said = how_to_mend(tmp_path, failed, "3d")
    assert {name: said.count(fix) for name, fix in FIXES.items()} == {
        name: int(name in named) for name in FIXES
    }
