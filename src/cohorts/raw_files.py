"""Scans below any folder, by their containers: NIfTI, Analyze, MGH, folders of DICOM files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataNotFoundError

#: Endings of files that hold a whole scan.
SUFFIXES = (".nii.gz", ".nii", ".img", ".mgz", ".mgh", ".mgh.gz")
_DICOM_AT = 128  # bytes before the word DICM


def list_scans_in(folder: Path) -> dict[str, Path]:
    """List every scan below a folder: files with one of `SUFFIXES`, and folders of DICOM files.

    Names that begin with a dot are left out, and links to folders are not followed.

    Returns:
        Name -> path, by path. A name is the file's without its ending where no other is the same,
        else the path's below `folder`, with ``_`` for ``/``.

    Raises:
        DataNotFoundError: The folder is not there.
    """
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


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its first bytes."""
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
