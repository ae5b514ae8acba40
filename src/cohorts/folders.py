"""What lies in a cohort's folder: visible files, images in class folders, raw scans by container.

The disk is asked about folders, not about every file.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataNotFoundError, ManifestError, counted
from ..files import is_text, shown
from ..labels import NO_STAGE, STAGES, is_diagnosis, stage_from_folder
from .file_kinds import NOT_READ, SUFFIXES, is_dicom, scan_stem

logger = logging.getLogger(__name__)
_SIDES = ("train", "test")
_OASIS = re.compile(r"OAS1_\d{4}")
#: What stands in the paths of a study's raw scans -> its cohort.
_STUDIES = {
    "oasis2": re.compile(r"OAS2_\d{4}_MR\d+/"),
    "oasis3": re.compile(r"(?:^|/)(?:OAS3\d{4}_MR_d\d{4}/|sub-OAS3\d{4}/ses-d\d{4}/)"),
    "adni": re.compile(r"(?:^|/)\d{3}_S_\d{4,5}/"),
}


def visible_files(root: Path, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder under `root` and the names of the visible files in it, in order of names.

    Linked folders count, as discs may be links, but each once: a link back up ends there. Only
    links are resolved: for a folder that is none, the place of the one above says it.

    Args:
        root: Where to start.
        skip: Beginnings of names of folders that are left out with all that is in them.

    Yields:
        The folder relative to `root` (``"disc1/a/"``; ``""`` for `root`), and names of files.
    """
    seen: set[str] = set()
    waiting = [("", os.path.realpath(root))]
    while waiting:
        folder, real = waiting.pop()
        if real in seen:
            continue
        seen.add(real)
        files: list[str] = []
        below: list[tuple[str, str]] = []
        for entry in _entries(real):
            if not entry.is_dir():
                files += [] if entry.name.startswith(".") else [entry.name]
            elif not entry.name.startswith(skip):
                target = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                below.append((f"{folder}{entry.name}/", target))
        yield folder, files
        waiting += reversed(below)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry for entry in entries}
    except OSError as error:
        logger.warning("%s cannot be read and is left out: %s", shown(folder), error.strerror)
        return []
    return [found[name] for name in names_that_are_text(folder, found)]


def names_that_are_text(folder: str | Path, names: Iterable[str]) -> list[str]:
    """Return the names in order, but for those whose bytes are no text, which are told in a line.

    Such names come from old disks and from archives of other systems; no table can hold them.
    """
    text: list[str] = []
    other: list[str] = []
    for name in sorted(names):
        (text if is_text(name) else other).append(name)
    if other:
        logger.warning(
            "%s: left out %s whose name is no text, such as %s; rename it to use it",
            *(shown(folder), counted(len(other), "file"), shown(other[0])),
        )
    return text


@dataclass(frozen=True)
class ImageFile:
    """One file, and what the folders above it say.

    Attributes:
        path: Relative to the cohort's folder, with ``/``.
        stem: File name without its suffix (``.nii.gz`` is one suffix).
        stage: Stage of the nearest class folder, or None.
        side: ``"train"`` or ``"test"`` as downloaded, or None.
    """

    path: str
    stem: str
    stage: str | None
    side: str | None


def list_images(root: str | Path, suffixes: tuple[str, ...], *, hint: str) -> list[ImageFile]:
    """List the files under `root` that end in one of `suffixes`, in whatever case, by path.

    Args:
        root: Folder of the cohort; its own name says nothing.
        suffixes: Lower case, with the dot; a longer one before a shorter one that it ends in.
        hint: How to get the images, should there be none.

    Raises:
        DataNotFoundError: There is no such folder, or no such file in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataNotFoundError(root, hint=hint)
    found = sorted(_images(root, suffixes), key=lambda image: image.path)
    if not found:
        raise DataNotFoundError(root / "**" / f"*{suffixes[0]}", hint=hint)
    return found


def require_stages(root: Path, images: list[ImageFile]) -> None:
    """Refuse images that lie in no class folder.

    Raises:
        ManifestError: It lists their folders, and the class folders expected.
    """
    unknown = {image.path.rpartition("/")[0] or "." for image in images if not image.stage}
    if unknown:
        raise no_stage(root, unknown)


def no_stage(root: Path, folders: Collection[str]) -> ManifestError:
    """Return the error that says why folders (relative to `root`, with ``/``) give no label."""
    listed, stages = sorted(folders), ", ".join(STAGES)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    said = f"{root}: folders with images whose name is no stage: {', '.join(listed[:5])}{more}; "
    if any(map(in_diagnosis, listed)):
        hint = f"sort the images by each person's CDR into folders named {stages}"
        return ManifestError(said + NO_STAGE, hint=hint)
    hint = "rename them, or move them out of the folder"
    return ManifestError(f"{said}expected {stages}", hint=hint)


def in_diagnosis(folder: str) -> bool:
    """Return whether a folder, or one above it, is named after a diagnosis such as ``AD``."""
    return any(map(is_diagnosis, folder.split("/")))


def _images(root: Path, suffixes: tuple[str, ...]) -> Iterator[ImageFile]:
    for folder, names in visible_files(root, skip=(".", "__MACOSX")):
        above = folder.split("/")[-2::-1]  # nearest first
        stage = next((stage for stage in map(stage_from_folder, above) if stage), None)
        side = next((name.lower() for name in above if name.lower() in _SIDES), None)
        for name in names:
            suffix = next((end for end in suffixes if name.lower().endswith(end)), None)
            if suffix is not None:
                yield ImageFile(folder + name, name[: -len(suffix)], stage, side)


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
    own = {path: scan_stem(path.absolute().name) for path in paths}
    count = Counter(own.values())
    names: dict[str, Path] = {}
    for path in paths:
        below = scan_stem(path.relative_to(folder).as_posix()) if path != folder else own[path]
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
    days = folder.glob("sub-OAS3[0-9]*/ses-d[0-9]*")
    if "dataset_description.json" in names or any(name.startswith("sub-") for name in names):
        return "oasis3" if next(days, None) else "bids"
    for place, files in visible_files(folder, skip=(".", "__MACOSX")):
        staged = any(stage_from_folder(part) for part in place.split("/"))
        for name in sorted(files):
            cohort = _of_image(place, name.lower(), staged=staged)
            if cohort:
                return cohort
        if any(is_dicom(folder / place / name) for name in files):
            return "scans"
    return None


def _of_image(place: str, name: str, *, staged: bool) -> str | None:
    """Return the cohort of a file by its name and the folders above; None of what is no image."""
    if name.endswith("_t88_masked_gfc.img"):
        return "oasis"
    if name.endswith((*SUFFIXES, ".dcm")):
        study = next((one for one, of in _STUDIES.items() if of.search(place)), None)
        if study:
            return study
    if name.endswith((".nii.gz", ".nii")):
        return "kaggle_nifti" if staged or _OASIS.search((place + name).upper()) else "scans"
    return "kaggle_orig" if staged and name.endswith((".jpg", ".jpeg", ".png")) else None


def how_to_preprocess(cohort: str, folder: Path, dim: str = "2d") -> str:
    """Return the command that makes a processed data set of a raw folder."""
    place = shlex.quote(str(folder))
    return f"python main.py --mode preprocess --dataset {cohort} --dim {dim} --data_dir {place}"


def _scans_below(folder: Path) -> Iterator[Path]:
    """Yield scans; name what only looks like one, so that nothing is left out without a line."""
    unread: list[Path] = []
    for place, folders, files in os.walk(folder):
        visible = ([n for n in names if not n.startswith(".")] for names in (folders, files))
        folders[:], kept = (names_that_are_text(place, names) for names in visible)
        seen = [Path(place) / name for name in kept]
        others = []
        for path in seen:
            if path.name.lower().endswith(SUFFIXES):
                yield path
            else:
                others.append(path)
        if any(map(is_dicom, others)):
            yield Path(place)
        unread += [path for path in others if _is_unread(path, seen)]
    if unread:
        logger.warning(
            "%s: left out %s of a kind that is not read here, such as %s; a scan is DICOM, or "
            "ends in %s",
            *(folder, counted(len(unread), "file"), unread[0].relative_to(folder).as_posix()),
            ", ".join(SUFFIXES),
        )


def _is_unread(path: Path, beside: list[Path]) -> bool:
    """Return whether a file seems to hold a scan that is not read; a header alone is one too."""
    name = path.name.lower()
    if name.endswith((".hdr", ".hdr.gz")):
        own = scan_stem(path.name)
        return not any(
            other.name.lower().endswith((".img", ".img.gz")) and scan_stem(other.name) == own
            for other in beside
        )
    return name.endswith(NOT_READ)
