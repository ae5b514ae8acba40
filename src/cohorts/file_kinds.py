"""What kind of file is it? Endings of files that hold a scan, and DICOM by its first bytes."""

from __future__ import annotations

import struct
from pathlib import Path

from ..files import open_file

#: Endings of files that hold a whole scan, longest first.
SUFFIXES = (".nii.gz", ".img.gz", ".mgh.gz", ".nii", ".img", ".mgz", ".mgh")
#: Endings of images and archives that other programs write and this one does not read.
NOT_READ = (
    *(".nrrd", ".nhdr", ".mha", ".mhd", ".mnc", ".par", ".rec"),
    *(".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".bz2", ".xz", ".zst"),
)
_DICOM_AT = 128  # bytes before the word DICM
_DIRECTORY = b"1.2.840.10008.1.3.10"  # of files that only list others, such as DICOMDIR
_HEAD = 1024  # bytes that tell
_LONG = (b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT")  # elements whose length has four bytes
_ENOUGH = 4  # elements in a row that no other kind of file begins with


def scan_stem(name: str) -> str:
    """Return a scan's file name, or its path, without its ending."""
    for suffix in (*SUFFIXES, ".hdr.gz", ".hdr"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def is_dicom(path: str | Path) -> bool:
    """Return whether a file is DICOM with an image of its own, by its first bytes.

    Old exports have no preamble: their first byte is that of the first element.
    """
    try:
        with open_file(Path(path)) as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    if head[_DICOM_AT : _DICOM_AT + 4] == b"DICM":
        return _DIRECTORY not in head
    return _elements(head) >= _ENOUGH


def _elements(head: bytes) -> int:
    """Count the elements, tags ascending, that the bytes begin with."""
    at, last, count = 0, (0, 0), 0
    while at + 8 <= len(head) and count < _ENOUGH:
        tag = struct.unpack_from("<HH", head, at)
        if tag <= last or tag[0] not in (2, 8):
            break
        kind = head[at + 4 : at + 6]
        if kind.isalpha() and kind.isupper():
            long = kind in _LONG
            length = struct.unpack_from(*("<I", head, at + 8) if long else ("<H", head, at + 6))[0]
            at += (12 if long else 8) + length
        else:
            at += 8 + struct.unpack_from("<I", head, at + 4)[0]
        last, count = tag, count + 1
    return count
