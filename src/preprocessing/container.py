"""Open a scan by what its file holds: an ending may say gzip where there is none."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder

from ..cohorts.file_kinds import scan_stem
from ..files import open_file

_GZIP = b"\x1f\x8b"
_HEADER = 1024  # bytes that tell a format
_SINGLE = (nib.Nifti1Image, nib.Nifti2Image)
_PAIRS = (
    *(nib.Nifti1Pair, nib.Nifti2Pair),
    *(nib.Spm2AnalyzeImage, nib.Spm99AnalyzeImage, nib.AnalyzeImage),
)


@contextmanager
def open_scan(path: str | Path) -> Iterator[Any]:
    """Open a NIfTI, Analyze or MGH file; its voxels are read while the block runs.

    Args:
        path: Ends in one of `SUFFIXES`; ``.hdr`` or ``.hdr.gz`` lies beside ``.img``.

    Yields:
        nibabel's image.

    Raises:
        ImageFileError, OSError: It is none of these.
    """
    path = Path(path)
    header = _header_file(path)
    packed = [_is_packed(one) for one in (path, header)]
    if packed == [_is_named_packed(one) for one in (path, header)] and packed[0] == packed[1]:
        # Read, not mapped: a fault of the disk is then an error, not the end of the process, and
        # one long read is many times faster than page after page.
        yield nib.load(path, mmap=False)
        return
    with ExitStack() as files:
        start = files.enter_context(_opened(header)).read(_HEADER)
        parts = {"image": _holder(path, files), "header": _holder(header, files)}
        parts["mat"] = FileHolder(str(path.with_name(scan_stem(path.name) + ".mat")))
        kind = _kind(path, start)
        parts = {name: parts[name] for name, _ in kind.files_types}
        yield kind.from_file_map(parts, mmap=False)


def _kind(path: Path, start: bytes) -> Any:
    """Return nibabel's class of a file whose header begins so."""
    name = path.name.lower()
    if name.endswith((".mgh", ".mgh.gz", ".mgz")):
        return nib.MGHImage
    kinds = _PAIRS if name.endswith((".img", ".img.gz")) else _SINGLE
    for kind in kinds:
        if kind.header_class.may_contain_header(start):
            return kind
    raise ImageFileError("it is no NIfTI, Analyze or MGH file")


def _header_file(path: Path) -> Path:
    """Return the file with the header, which a pair has beside its voxels."""
    if not path.name.lower().endswith((".img", ".img.gz")):
        return path
    stem = scan_stem(path.name)
    packed = path.name.lower().endswith(".gz")
    ends = (".hdr.gz", ".hdr") if packed else (".hdr", ".hdr.gz")
    found = [path.with_name(stem + end) for end in ends]
    return next((one for one in found if one.is_file()), found[0])


def _is_packed(path: Path) -> bool:
    with open_file(path) as file:
        return file.read(2) == _GZIP


def _is_named_packed(path: Path) -> bool:
    return path.name.lower().endswith((".gz", ".mgz"))


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if _is_packed(path) else open_file(path)


def _holder(path: Path, files: ExitStack) -> FileHolder:
    return FileHolder(str(path), files.enter_context(_opened(path)))
