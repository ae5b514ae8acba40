"""What mends a split that an audit fails: a command or an action that works for this folder."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..cohorts.folders import how_to_preprocess
from ..manifest import MANIFEST, SETTINGS, read_settings

#: Checks of which people, or pictures, stand on two sides.
LEAKS = ("people", "identical_files", "sessions", "near_duplicates", "probe")
_FORMAT = (
    "make the images of all classes in one way, with one program: same size, format and "
    "background; leave the class out that was made otherwise, if that is not possible"
)
_CLASSES = "put people of every class into train, val and test, in like shares"
#: What somebody must do where no command knows who was scanned.
_TABLES = {
    "scans": "give all scans of a person one 'subject' in scans.csv, then preprocess again",
    "kaggle_nifti": "name the volumes after their people, such as sub-01_ses-1.nii.gz, then "
    "preprocess again",
}


def how_to_mend(folder: Path, failed: Collection[str], dim: str) -> str:
    """Return how to make an honest split of a folder.

    Args:
        folder: What was audited.
        failed: Names of the checks that fail.
        dim: ``"2d"`` or ``"3d"``.
    """
    parts = [_new_split(folder, dim)] if set(failed) & set(LEAKS) else []
    parts += [_FORMAT] if "metadata" in failed else []
    parts += [_CLASSES] if "composition" in failed and not parts else []
    return "; ".join(parts)


def _new_split(folder: Path, dim: str) -> str:
    if (folder / SETTINGS).is_file():
        return _processed_again(read_settings(folder / SETTINGS))
    if (folder / MANIFEST).is_file() or dim == "3d":
        return "put all images of a person, and all copies of an image, on one side"
    command = how_to_preprocess("kaggle_orig", folder)
    return f"{command}: it joins copies and makes a new split in data/kaggle_2d"


def _processed_again(settings: dict[str, object]) -> str:
    cohort = str(settings.get("cohort", ""))
    if cohort in _TABLES:
        return _TABLES[cohort]
    split = settings.get("split")
    if isinstance(split, dict) and split.get("official_split"):
        return "preprocess without --official_split: the split is then made by person"
    return "preprocess again, with the same command: copies are joined, and the split is made anew"
