"""What lies at ``--input``: raw or prepared scans, pictures of slices, or a processed data set."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..cohorts.bids_files import list_bids, list_caps
from ..cohorts.file_kinds import SUFFIXES, is_dicom, scan_stem
from ..cohorts.folders import list_scans_in
from ..cohorts.people_names import nearest_name
from ..cohorts.pictures import PICTURES
from ..cohorts.scans import safe_name
from ..errors import DataNotFoundError, ImageError
from ..manifest import MANIFEST, SETTINGS, Manifest, read_settings
from ..preprocessing.raw.dicom_headers import is_multi_frame
from ..preprocessing.scan import RECORDS

#: Parts of a session's name that tell scans of one visit apart: entities of BIDS, and OASIS-1's
#: ``mpr-1``. With contrast (``ce``), a part or a chunk is another kind of image, and stays apart.
_REPEAT = re.compile(r"(?:task|acq|rec|run|echo)-[A-Za-z0-9+]+|mpr-\d+|T1w")


@dataclass(frozen=True)
class Input:
    """One scan to answer.

    Attributes:
        name: Unique, safe as a file name.
        kind: ``"scan"`` (a volume), ``"picture"`` (an axial slice) or ``"processed"`` (images that
            preprocessing made).
        sources: The file or DICOM folder; of processed slices, all of them, bottom to top.
        subject: Person, where a data set or the name tells it (`people_names`).
        session: Session, in the same way.
        beside: Files that say how the sources lie.
        age: In years, where a processed data set's table tells it.
    """

    name: str
    kind: str
    sources: tuple[Path, ...]
    subject: str | None = None
    session: str | None = None
    beside: tuple[Path, ...] = ()
    age: float | None = None

    @property
    def source(self) -> Path:
        """The file, or the first of them."""
        return self.sources[0]

    @property
    def visit(self) -> str | None:
        """The session without what tells its repeated scans apart; None where none is told.

        ``ses-1_run-2`` and ``ses-1`` are of one visit, so are ``MR1_mpr-1`` and ``MR1_mpr-2``.
        Empty where a data set has no sessions: then a person's scans are of one visit.
        """
        if self.session is None:
            return None
        return "_".join(part for part in self.session.split("_") if not _REPEAT.fullmatch(part))

    def files(self) -> list[Path]:
        """Return every file that the images depend on, by path."""
        found = [*self.sources, *self.beside]
        if self.source.is_dir():
            found = [path for path in self.source.iterdir() if path.is_file()]
        elif self.source.name.lower().endswith((".img", ".img.gz")):
            stem = scan_stem(self.source.name)
            headers = (self.source.with_name(stem + end) for end in (".hdr", ".hdr.gz"))
            found += [path for path in headers if path.is_file()]
        return sorted(found)


def find_inputs(path: str | Path) -> list[Input]:
    """List what is to be answered, by name.

    Args:
        path: A scan, a DICOM series, a picture, a BIDS data set or CAPS folder, a processed data
            set, or any folder of scans and pictures.

    Raises:
        DataNotFoundError: There is nothing, or nothing that is a scan.
        ImageError: A file that is no scan.
        ManifestError: A name tells two people.
    """
    path = Path(path)
    if path.is_file():
        return [_one_file(path)]
    if not path.is_dir():
        raise DataNotFoundError(path, hint="--input names a scan, or a folder of scans")
    found = _distinct(_in_folder(path))
    if not found:
        raise DataNotFoundError(
            path / "**" / "*.nii.gz",
            hint=f"name a folder with scans ({', '.join(SUFFIXES)}, DICOM) or pictures of slices",
        )
    return found


def is_bids(path: str | Path) -> bool:
    """Return whether a folder is a BIDS data set, by its description or its people."""
    path = Path(path)
    if not path.is_dir():
        return False
    return (path / "dataset_description.json").is_file() or any(path.glob("sub-*/"))


def _one_file(path: Path) -> Input:
    name = path.name.lower()
    if name.endswith((".hdr", ".hdr.gz")):
        path = _beside_header(path)
    if name.endswith((*SUFFIXES, ".hdr", ".hdr.gz")):
        return _named(scan_stem(path.name), "scan", path)
    if name.endswith(PICTURES):
        return _named(path.stem, "picture", path)
    if is_dicom(path):
        if is_multi_frame(path):
            return _named(path.stem, "scan", path)
        raise ImageError(
            f"{path.name} is one DICOM file of a series", hint=f"--input {path.parent}"
        )
    raise ImageError(
        f"{path.name} is no scan", hint=f"a scan ends in {', '.join((*SUFFIXES, *PICTURES))}"
    )


def _beside_header(header: Path) -> Path:
    """Return the file with the voxels that a header belongs to."""
    stem = scan_stem(header.name)
    found = [header.with_name(stem + end) for end in (".img", ".img.gz")]
    return next((path for path in found if path.is_file()), found[0])


def _named(name: str, kind: str, source: Path) -> Input:
    """Return the input of a file or DICOM folder, with whom its path names."""
    place = source.absolute()
    told = nearest_name((place.parent / scan_stem(place.name)).as_posix())
    subject, session = (told.person, told.session) if told else (None, None)
    return Input(safe_name(name), kind, (source,), subject, session)


def _in_folder(path: Path) -> Iterator[Input]:
    if (path / MANIFEST).is_file() and (path / SETTINGS).is_file():
        yield from _processed(path)
        return
    named = list_bids(path) or list_caps(path)
    for file in named:
        name = f"{file.subject}_{file.session}"
        yield Input(safe_name(name), "scan", (path / file.path,), file.subject, file.session)
    if named:
        return
    for name, source in list_scans_in(path).items():
        yield _named(name, "scan", source)
    for picture in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in picture.relative_to(path).parts)
        if picture.suffix.lower() in PICTURES and picture.is_file() and not hidden:
            name = picture.relative_to(path).with_suffix("").as_posix().replace("/", "_")
            yield _named(name, "picture", picture)


def _processed(path: Path) -> Iterator[Input]:
    read_settings(path / SETTINGS)
    table = Manifest.read(path).table
    for (subject, session), rows in table.groupby(["subject", "session"], sort=True):
        files = tuple(path / one for one in rows.sort_values("slice")["path"])
        name = f"{subject}_{session}"
        beside = (path / SETTINGS, path / RECORDS / f"{name}.json")
        told = tuple(file for file in beside if file.is_file())
        known = rows["age"].dropna()
        age = float(known.iloc[0]) if len(known) else None
        yield Input(safe_name(name), "processed", files, str(subject), str(session), told, age)


def _distinct(found: Iterator[Input]) -> list[Input]:
    """Return the inputs by name; two of one name become two names."""
    by_name: dict[str, Input] = {}
    for one in found:
        name, count = one.name, 1
        while name.lower() in by_name:
            count += 1
            name = f"{one.name}_{count}"
        by_name[name.lower()] = replace(one, name=name)
    return sorted(by_name.values(), key=lambda one: one.name)
