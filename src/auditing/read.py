"""Open a folder for an audit: whose images lie on which side, as far as manifest or names tell.

It is a processed folder with its manifest, or anybody's ``train/<class>/`` and ``test/<class>/``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from ..cohorts.folders import ImageFile, list_images, require_stages
from ..cohorts.kaggle_names import people_and_copies
from ..cohorts.people_names import read_name
from ..errors import ManifestError
from ..manifest import MANIFEST, Manifest
from .table_checks import manifest_rows

logger = logging.getLogger(__name__)
SUFFIXES = {"2d": (".png", ".jpg", ".jpeg"), "3d": (".npy",)}
_SIDES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_HINT = "name a folder with manifest.csv, or with train/<class>/ and test/<class>/ of PNG or JPG"


@dataclass(frozen=True)
class AuditSet:
    """A folder's images.

    Attributes:
        root: Folder that paths start from.
        rows: As `audit_checks.table_checks` takes them.
        people: How people were told apart, in words.
        stamps: Warnings that the folder's manifest carries.
    """

    root: Path
    rows: pd.DataFrame
    people: str
    stamps: tuple[str, ...] = ()


def read_set(folder: str | Path, dim: str) -> AuditSet:
    """List the images of a folder with their side, class and, where names tell it, person.

    Args:
        folder: With a manifest, or with class folders, in ``train`` and ``test`` (and ``val``) or
            not.
        dim: Which files to take where a folder without manifest holds both: ``"2d"`` or ``"3d"``.

    Raises:
        DataNotFoundError: There is no such folder, or no image in it.
        ManifestError: The manifest is none, a folder with images is no class folder, or a path
            names two people.
    """
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        manifest = Manifest.read(folder)
        known = "named by the manifest"
        rows = manifest_rows(manifest)
        if not rows["known"].all():
            known = "unknown: the manifest's subjects are files or clusters"
        return AuditSet(folder, rows, known, manifest.stamps)
    every = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    images = list_images(folder, every, hint=_HINT)
    wanted = [image for image in images if image.path.lower().endswith(SUFFIXES[dim])] or images
    require_stages(folder, wanted)
    people, how = _by_id(wanted), "ids in the names of files and folders"
    if people is None:
        people, how = (
            _by_count(folder, wanted),
            "the Kaggle set's way of counting in its file names",
        )
    if people is None:
        logger.warning("%s: the file names name no person", folder)
        people, how = {}, "unknown: the file names name no person"
    else:
        logger.info("%s: people are told apart by %s", folder, how)
    rows = _rows(wanted).assign(**people)
    return AuditSet(folder, rows.assign(unit=rows["subject"]), how)


def _rows(images: list[ImageFile]) -> pd.DataFrame:
    """Return what the folders say; every image is a person of its own."""
    paths = [image.path for image in images]
    return pd.DataFrame(
        {
            "subject": paths,
            "session": None,
            "path": paths,
            "label": [image.stage for image in images],
            "split": [_side(image.path) for image in images],
            "age": float("nan"),
            "fingerprint": None,
            "known": False,
            "blank": False,
        }
    )


def _side(path: str) -> str | None:
    """Return the side that the nearest folder above is named after."""
    folders = PurePosixPath(path).parts[-2::-1]
    return next((_SIDES[name.lower()] for name in folders if name.lower() in _SIDES), None)


def _by_id(images: list[ImageFile]) -> dict[str, list[object]] | None:
    """Return the columns that ids in the names give; None where no name has one.

    Raises:
        ManifestError: A path names two people.
    """
    found = [read_name(f"{image.path.rpartition('/')[0]}/{image.stem}") for image in images]
    if not any(found):
        return None
    return {
        "subject": [
            one.person if one else image.path for one, image in zip(found, images, strict=True)
        ],
        "session": [(one.session or "") if one else "" for one in found],
        "known": [one is not None for one in found],
    }


def _by_count(folder: Path, images: list[ImageFile]) -> dict[str, list[object]] | None:
    """Return the columns that the Kaggle set's names give; None where they do not fit a class.

    A copy under another name is of its original's person.
    """
    paths, stages = [image.path for image in images], [str(image.stage) for image in images]
    try:
        people, copies = people_and_copies(folder, paths, stages)
    except ManifestError:
        return None
    return {
        "subject": [people[copies.get(i, i)][0] for i in range(len(images))],
        "session": ["MR1"] * len(images),
        "known": [True] * len(images),
    }
