"""Where slices lie: a PNG each, or those of a scan together in one ZIP file.

Making a file can take as long as computing what goes into it, so 20 files a scan cost much of the
time. A ZIP holds the very same PNGs, and every file manager opens it. A slice in it has the path
that it would have if the ZIP were a folder, ``train/Mild/P01_a.zip/P01_a_slice07.png``: whoever
reads by path through `read_file` knows of no difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from ..errors import DataNotFoundError, ImageError, foreign_bytes
from ..files import atomic_file, open_file, read_bytes

_ENDING = ".zip"
_LARGEST = 2**26  # bytes of a slice: 16 times those of the largest that preprocessing makes


def slice_path(folder: str, scan: str, index: int, *, packed: bool) -> str:
    """Return the path of a slice, from the data set's folder.

    Args:
        folder: ``<split>/<Class>``.
        scan: Its name.
        index: Number of the slice.
        packed: Whether it lies in the scan's ZIP.
    """
    name = f"{scan}_slice{index:02d}.png"
    return f"{folder}/{scan}{_ENDING}/{name}" if packed else f"{folder}/{name}"


def file_of(path: Path) -> Path:
    """Return the file on the disk that holds what a path leads to: itself, or its ZIP."""
    return path.parent if _is_packed(path) else path


def write_files(contents: Iterable[tuple[Path, bytes | memoryview]]) -> None:
    """Write files as they come, each whole or not at all; a ZIP is there when all are.

    The same contents give the same bytes.
    """
    with ExitStack() as stack:
        together: dict[Path, ZipFile] = {}
        for path, content in contents:
            if not _is_packed(path):
                with atomic_file(path) as file:
                    file.write(content)
                continue
            if path.parent not in together:
                file = stack.enter_context(atomic_file(path.parent))
                together[path.parent] = stack.enter_context(ZipFile(file, "w"))
            member = ZipInfo(path.name)  # of 1980, whenever it is written; PNGs are packed already
            member.external_attr = 0o644 << 16
            together[path.parent].writestr(member, content)


def read_file(path: str | Path) -> bytes:
    """Return the content of a file, also of one in a ZIP.

    Raises:
        OSError: It is gone, or cannot be read.
        ImageError: The ZIP is damaged, or claims more than a slice can hold.
    """
    path = Path(path)
    if not (_is_packed(path) and path.parent.is_file()):
        return read_bytes(path)
    with open_file(path.parent) as file:
        damaged = foreign_bytes(ImageError, f"{path.parent} is damaged", how_to_remake(path))
        with damaged, ZipFile(file) as together:
            member = together.NameToInfo.get(path.name)
            if member is not None and member.file_size > _LARGEST:  # before memory is taken
                raise ImageError(f"{path} claims {member.file_size} bytes")
            content = b"" if member is None else together.read(member)
    if member is None:
        raise DataNotFoundError(path, hint="run --mode preprocess again; it makes what is missing")
    return content


def how_to_remake(path: Path) -> str:
    """Return what mends a damaged file, in words."""
    what = path.parent.name if _is_packed(path) else "it"
    return f"remove {what} and run --mode preprocess again"


def _is_packed(path: Path) -> bool:
    return path.parent.suffix == _ENDING and path.suffix == ".png"
