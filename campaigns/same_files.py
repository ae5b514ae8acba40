"""Whether two runs left the same files: same bytes, but for what two unbroken runs differ in too.

What may differ (times, dates) is found, not declared: of two unbroken runs, the branches of JSON
and the lines of text that are not alike.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

_MISSING = object()
#: Branches that tell what a call found done already, as `predict` does, and how long it took.
_OF_THE_CALL = {".answered_before", ".seconds"}


class Expected:
    """What an unbroken run leaves, and in what two of them differ."""

    def __init__(self, first: Path, second: Path) -> None:
        self.folder = second
        self._free: dict[str, set[Any] | None] = {}
        for name in sorted(names(first) | names(second)):
            a, b = first / name, second / name
            if not (a.is_file() and b.is_file()):
                self._free[name] = None
            elif digest(a) != digest(b):
                self._free[name] = _unlike(a, b)

    def wrong(self, folder: Path) -> Iterator[str]:
        """Yield what a folder has otherwise: files that are missing, new, or of other content."""
        there, wanted = names(folder), names(self.folder)
        for name in sorted(there ^ wanted):
            if self._free.get(name, name) is not None or name.endswith(".part"):
                yield f"{name} is {'missing' if name in wanted else 'left over'}"
        for name in sorted(there & wanted):
            a, b = self.folder / name, folder / name
            if digest(a) == digest(b):
                continue
            free = self._free.get(name, set())
            unlike = _unlike(a, b)
            if free is None or (unlike is not None and unlike <= free | _OF_THE_CALL):
                continue
            yield f"{name} differs{_some(unlike, free)}"

    @property
    def free(self) -> list[str]:
        """Files that two unbroken runs do not write alike."""
        return list(self._free)


def _some(unlike: set[Any] | None, free: set[Any]) -> str:
    return (
        "" if unlike is None else f" in {', '.join(map(str, sorted(unlike - free, key=str)[:3]))}"
    )


def names(folder: Path) -> set[str]:
    """Return the files of a folder, by their paths in it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def digest(path: Path) -> str:
    """Return a hash of a file's content."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def put_copy(source: Path, target: Path) -> Path:
    """Make a folder the copy of another, whatever was there."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def _unlike(a: Path, b: Path) -> set[Any] | None:
    """Return where two files differ: branches of JSON, or lines; None where they have neither."""
    try:
        if a.suffix == ".json":
            return set(_branches(*(json.loads(path.read_text("utf-8")) for path in (a, b))))
        lines = [path.read_text("utf-8").splitlines() for path in (a, b)]
    except (UnicodeDecodeError, ValueError):
        return None
    return {n for n, (one, other) in enumerate(zip_longest(*lines), 1) if one != other}


def _branches(a: Any, b: Any, at: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            yield from _branches(a.get(key, _MISSING), b.get(key, _MISSING), f"{at}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for number, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _branches(one, other, f"{at}[{number}]")
    elif a != b:
        yield at


def half_files(folder: Path) -> Iterator[str]:
    """Yield the files in their final places that are not whole."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".part" and not _is_whole(path):
            yield path.relative_to(folder).as_posix()


def _is_whole(path: Path) -> bool:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
        elif path.suffix in (".pth", ".npz"):
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        elif path.suffix == ".gz":
            gzip.decompress(path.read_bytes())
        elif path.suffix == ".png":
            return path.read_bytes()[-8:-4] == b"IEND"
        return path.stat().st_size > 0
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile):
        return False
