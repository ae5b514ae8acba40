"""Scans below any folder, by their containers: NIfTI, Analyze, MGH, folders of DICOM files."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataNotFoundError
from ..labels import stage_from_folder
from .visible_files import visible_files

#: Endings of files that hold a whole scan.
SUFFIXES = (".nii.gz", ".nii", ".img", ".mgz", ".mgh", ".mgh.gz")
_DICOM_AT = 128  # bytes before the word DICM
_OASIS = re.compile(r"OAS1_\d{4}")


def list_scans_in(folder: str | Path) -> dict[str, Path]:
    """List every scan below a folder: files with one of `SUFFIXES`, and folders of DICOM files.

    Names that begin with a dot are left out, and links to folders are not followed.

    Returns:
        Name -> path, by path. A name is the file's without its ending where no other is the same,
        else the path's below `folder`, with ``_`` for ``/``.

    Raises:
        DataNotFoundError: The folder is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataNotFoundError(folder, hint="name the folder of the scans")
    paths = sorted(_scans_below(folder))
    own = {path: _stem(path.absolute()) for path in paths}
    count = Counter(own.values())
    names: dict[str, Path] = {}
    for path in paths:
        below = _stem(path.relative_to(folder)) if path != folder else own[path]
        name = (
            own[path]
            if count[own[path]] == 1
            else "_".join([*path.parent.parts[len(folder.parts) :], below.rsplit("/", 1)[-1]])
        )
        if name in names:
            name = path.relative_to(folder).as_posix().replace("/", "_")
        names[name] = path
    return names


def likely_cohort(folder: Path) -> str | None:
    """Return the raw cohort that a folder looks like, by names alone; None where by none.

    Tables and the files of a BIDS data set tell, else the first image by path.
    """
    if not folder.is_dir():
        return None
    names = {path.name for path in folder.iterdir()}
    if "phantom_cross-sectional.csv" in names:
        return "phantom"
    if "dataset_description.json" in names or any(name.startswith("sub-") for name in names):
        return "bids"
    for place, files in visible_files(folder, skip=(".", "__MACOSX")):
        staged = any(stage_from_folder(part) for part in place.split("/"))
        for name in sorted(files):
            if name.lower().endswith("_t88_masked_gfc.img"):
                return "oasis"
            if name.lower().endswith((".nii.gz", ".nii")):
                named = staged or _OASIS.search(place + name)
                return "kaggle_nifti" if named else "scans"
            if name.lower().endswith((".jpg", ".jpeg", ".png")) and staged:
                return "kaggle_orig"
        if any(is_dicom(folder / place / name) for name in files[:3]):
            return "scans"
    return None


def how_to_preprocess(cohort: str, folder: Path, dim: str = "2d") -> str:
    """Return the command that makes a processed data set of a raw folder."""
    place = shlex.quote(str(folder))
    return f"python main.py --mode preprocess --dataset {cohort} --dim {dim} --data_dir {place}"


def is_dicom(path: str | Path) -> bool:
    """Return whether a file is DICOM, by its first bytes."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return file.read(_DICOM_AT + 4)[_DICOM_AT:] == b"DICM"
    except OSError:
        return False


def _scans_below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        seen = [name for name in sorted(files) if not name.startswith(".")]
        scans = [name for name in seen if name.lower().endswith(SUFFIXES)]
        for name in scans:
            yield Path(place) / name
        others = [name for name in seen if name not in scans]
        if any(is_dicom(Path(place) / name) for name in others[:20]):
            yield Path(place)


def _stem(path: Path) -> str:
    name = path.as_posix() if not path.is_absolute() else path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
