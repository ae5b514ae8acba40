"""Files in class folders: the nearest folder above decides, whatever case its name has."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.cohorts.folders import ImageFile, list_images, list_scans_in, require_stages
from src.errors import DataNotFoundError, ManifestError

SUFFIXES = (".nii.gz", ".nii")


def test_the_nearest_folder_says_stage_and_side(tmp_path: Path) -> None:
    for path in (
        "MildDemented/very mild dementia/b.NII.GZ",
        "train/TEST/NonDemented/x/a.nii",
        "loose.nii",
        "NonDemented/note.txt",
        ".hidden/NonDemented/c.nii",
        "__MACOSX/NonDemented/d.nii",
        "NonDemented/.e.nii",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert list_images(tmp_path, SUFFIXES, hint="") == [
        ImageFile("MildDemented/very mild dementia/b.NII.GZ", "b", "VeryMildDemented", None),
        ImageFile("loose.nii", "loose", None, None),
        ImageFile("train/TEST/NonDemented/x/a.nii", "a", "NonDemented", "test"),
    ]


def test_the_cohort_s_own_folder_says_nothing(tmp_path: Path) -> None:
    root = tmp_path / "train" / "MildDemented"
    root.mkdir(parents=True)
    (root / "a.nii").touch()
    assert list_images(root, SUFFIXES, hint="") == [ImageFile("a.nii", "a", None, None)]


def test_no_image_is_told_with_the_way_to_get_them(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataNotFoundError) as error:
            list_images(root, SUFFIXES, hint="download them")
        assert error.value.hint == "download them"


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("AD", "a diagnosis is no CDR stage"),
        ("train/EMCI/a", "a diagnosis is no CDR stage"),
        ("Class 3", "expected NonDemented"),
    ],
)
def test_folders_of_diagnoses_are_refused_with_the_reason(
    tmp_path: Path, folder: str, why: str
) -> None:
    images = [ImageFile(f"{folder}/a.png", "a", None, None)]
    with pytest.raises(ManifestError, match=f"whose name is no stage: {folder}; {why}") as error:
        require_stages(tmp_path, images)
    assert ("by each person's CDR" in error.value.hint) == (folder != "Class 3")


def test_what_seems_a_scan_and_is_not_read_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.img.gz", "a.hdr.gz", "b.nrrd", "c.hdr", "d.zip", "note.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert list(list_scans_in(tmp_path)) == ["a"]
    assert "left out 3 files of a kind that is not read here, such as b.nrrd" in caplog.text
