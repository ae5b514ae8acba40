"""The T1-weighted scans of a BIDS data set, or of Clinica's CAPS folder after ``t1-linear``.

BIDS: ``sub-<label>/[ses-<label>/]anat/sub-<label>[_ses-<label>][_<entity>-<label>]*_T1w.nii[.gz]``.
CAPS: ``subjects/sub-<label>/ses-<label>/t1_linear/<source>_space-<..>[_desc-Crop]_res-<..>_T1w``.
Nothing else is looked into: ``derivatives``, ``sourcedata`` and ``code`` are other data.

Source: Gorgolewski et al. (2016), Sci Data 3:160044, doi:10.1038/sdata.2016.44, and
bids-specification.readthedocs.io (anatomy imaging data); CAPS: Routier et al. (2021), Front
Neuroinform 15:689675, doi:10.3389/fninf.2021.689675, and ``clinica/utils/input_files.py``.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ManifestError, counted
from .folders import names_that_are_text

logger = logging.getLogger(__name__)

_LABEL = r"[A-Za-z0-9+]+"
#: Entities that the name of a raw T1w image may have, beside sub and ses.
_ENTITIES = rf"(?:_(?:task|acq|ce|rec|run|echo|part|chunk)-{_LABEL})*"
_RAW = re.compile(rf"(sub-{_LABEL})(?:_(ses-{_LABEL}))?({_ENTITIES})_T1w\.nii(?:\.gz)?")
_LINEAR = re.compile(
    rf"(sub-{_LABEL})_(ses-{_LABEL})({_ENTITIES})(?:_T1w)?_space-{_LABEL}(?P<crop>_desc-Crop)?"
    rf"(?:_res-{_LABEL})?_T1w\.nii(?:\.gz)?"
)
_ENDS = ("_T1w.nii", "_T1w.nii.gz")
#: What a scan's session is called where neither a session nor an entity names it.
ONLY_SCAN = "T1w"


@dataclass(frozen=True)
class T1wFile:
    """One scan.

    Attributes:
        path: Relative to the data set, with ``/``.
        subject: ``sub-01``.
        visit: ``ses-1``, or None in a data set without sessions.
        session: What tells the person's scans apart: ``ses-1_acq-mprage_run-2``.
    """

    path: str
    subject: str
    visit: str | None
    session: str


def list_bids(root: str | Path) -> list[T1wFile]:
    """List the raw T1w scans of a BIDS data set, by path.

    Raises:
        ManifestError: A file names another person or session than its folder, or two files are
            the same scan.
    """
    root = Path(root)
    found: list[T1wFile] = []
    unknown: list[str] = []
    for subject in _folders(root, "sub-"):
        places: list[tuple[str, str | None]] = [(f"{subject}/anat", None)]
        places += [(f"{subject}/{visit}/anat", visit) for visit in _folders(root / subject, "ses-")]
        for folder, visit in places:
            for name in _images(root / folder):
                match = _RAW.fullmatch(name)
                if match is None:
                    unknown.append(f"{folder}/{name}")
                else:
                    found.append(_described(folder, match, subject, visit))
    _tell_unknown(root, unknown)
    return _single(found)


def list_caps(root: str | Path) -> list[T1wFile]:
    """List the scans that ``t1-linear`` wrote into a CAPS folder, by path.

    Of a scan that is there whole and cropped, the whole one is listed.

    Raises:
        ManifestError: As `list_bids`.
    """
    root = Path(root)
    whole: list[T1wFile] = []
    cropped: list[T1wFile] = []
    unknown: list[str] = []
    for subject in _folders(root / "subjects", "sub-"):
        for visit in _folders(root / "subjects" / subject, "ses-"):
            folder = f"subjects/{subject}/{visit}/t1_linear"
            for name in _images(root / folder):
                match = _LINEAR.fullmatch(name)
                if match is None:
                    unknown.append(f"{folder}/{name}")
                else:
                    kind = cropped if match["crop"] else whole
                    kind.append(_described(folder, match, subject, visit))
    _tell_unknown(root, unknown)
    there = {(file.subject, file.session) for file in whole}
    alone = [file for file in cropped if (file.subject, file.session) not in there]
    if len(alone) < len(cropped):
        both = counted(len(cropped) - len(alone), "scan is", "scans are")
        logger.info("%s: %s also there cropped", root, both)
    return _single([*whole, *alone])


def session_folders(person: Path) -> list[str]:
    """Return the names of the sessions that a person's folder holds, whatever lies in them."""
    return [entry.name for entry in _entries(person) if entry.name.startswith("ses-")]


def _described(folder: str, match: re.Match[str], subject: str, visit: str | None) -> T1wFile:
    path = f"{folder}/{match[0]}"
    for named, above, what in ((match[1], subject, "person"), (match[2], visit, "session")):
        if named != above:
            raise ManifestError(
                f"{path} names {named or 'no'} as its {what}, its folder {above or 'none'}",
                hint="rename the file or its folder",
            )
    parts = [*([visit] if visit else []), *match[3].strip("_").split("_")]
    return T1wFile(path, subject, visit, "_".join(filter(None, parts)) or ONLY_SCAN)


def _single(files: list[T1wFile]) -> list[T1wFile]:
    """Refuse two files of one scan, such as ``.nii`` and ``.nii.gz``; sort by path."""
    seen: dict[tuple[str, str], str] = {}
    for file in files:
        other = seen.setdefault((file.subject, file.session), file.path)
        if other != file.path:
            raise ManifestError(
                f"{other} and {file.path} are the same scan", hint="move one of them away"
            )
    return sorted(files, key=lambda file: file.path)


def _folders(folder: Path, start: str) -> Iterator[str]:
    """Yield names of folders, links to folders too, that are ``<start><label>``."""
    wrong = []
    for entry in _entries(folder):
        if entry.name.startswith(start) and entry.is_dir():
            if re.fullmatch(start + _LABEL, entry.name):
                yield entry.name
            else:
                wrong.append(entry.name)
    if wrong:
        logger.warning(
            "%s: %s left out: no BIDS label (letters and digits) names it, such as %.80r",
            *(folder, counted(len(wrong), "folder is", "folders are"), wrong[0]),
        )


def _images(folder: Path) -> Iterable[str]:
    """Return names of visible T1w images; a link to nothing is one, and fails when it is read."""
    return [
        entry.name
        for entry in _entries(folder)
        if entry.name.endswith(_ENDS) and not entry.name.startswith(".") and not entry.is_dir()
    ]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        logger.warning("%s cannot be read and is left out: %s", folder, error.strerror)
        return []
    return [found[name] for name in names_that_are_text(folder, found)]


def _tell_unknown(root: Path, unknown: list[str]) -> None:
    if unknown:
        logger.warning(
            "%s: %s left out: raw scans are named otherwise, such as %.120r",
            *(root, counted(len(unknown), "T1w image is", "T1w images are"), unknown[0]),
        )
