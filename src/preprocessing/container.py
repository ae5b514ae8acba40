"""Open a scan by what its file holds: an ending may say gzip where there is none.

Nothing is taken on the word of a header: what it claims is held against the size of the file before
memory is, and numbers that are not kept as they are come in pieces.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from ..cohorts.file_kinds import scan_stem
from ..files import open_file

_GZIP = b"\x1f\x8b"
_HEADER = 1024  # bytes that tell a format
_MOST_NOTES = 1 << 26  # bytes of extensions between header and voxels; real ones have thousands
_DEFLATED = 1032  # times as large as its file is the most that gzip can unpack to
_PIECE = 1 << 22  # voxels that are converted at once
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
    _refuse_claims(path, header, *packed)
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


def read_floats(image: Any, path: str | Path) -> NDArray[np.float32]:
    """Return the voxels of an open scan, scaled as its header says, flat, first axis fastest.

    Memory is that of the result and one piece.

    Raises:
        EOFError: The file ends before its voxels do.
    """
    voxels, kind = image.dataobj, image.dataobj.dtype
    out = np.empty(math.prod(image.shape), np.float32)
    scale = [np.asanyarray(one) for one in (voxels.slope, voxels.inter)]
    with _opened(Path(path)) as file:
        file.seek(voxels.offset)
        for start in range(0, len(out), _PIECE):
            count = min(_PIECE, len(out) - start)
            content = file.read(count * kind.itemsize)
            if len(content) < count * kind.itemsize:
                raise EOFError(f"it ends after {start + len(content) // kind.itemsize} voxels")
            piece = np.frombuffer(content, kind)
            with np.errstate(over="ignore", invalid="ignore"):  # told as what is not finite
                out[start : start + count] = apply_read_scaling(piece, *scale)
    return out


def _refuse_claims(path: Path, header: Path, packed: bool, packed_header: bool) -> None:
    """Raise where a header claims more than its file can hold."""
    with _opened(header) as file:
        start = file.read(_HEADER)
        notes = len(file.read(_MOST_NOTES + 1)) if packed_header and header != path else 0
    kind = _kind(path, start)
    shape, itemsize, offset = _claim(kind, start)
    if header != path:
        notes = max(notes, 0 if packed_header else header.stat().st_size)
    elif kind is not nib.MGHImage:
        notes = offset
    if notes > _MOST_NOTES:
        raise ImageFileError(f"it claims {notes:,} bytes or more before its voxels")
    size = path.stat().st_size
    there = size * _DEFLATED if packed else size - offset
    claimed = math.prod(shape) * itemsize
    if claimed > there:
        edges = " x ".join(map(str, shape))
        most = "at most " if packed else ""
        raise ImageFileError(
            f"it claims {edges} voxels, {claimed:,} bytes, and holds {most}{max(there, 0):,}"
        )


def _claim(kind: Any, start: bytes) -> tuple[tuple[int, ...], int, int]:
    """Return shape, bytes per voxel and place of the voxels, as a header claims them."""
    head = kind.header_class
    if kind is nib.MGHImage:
        block = start.ljust(head.template_dtype.itemsize, b"\0")[: head.template_dtype.itemsize]
        found = head(block, check=False)
        return tuple(map(int, found.get_data_shape())), int(found.get_data_bytespervox()), 284
    found = head(start[: head.sizeof_hdr], check=False)
    offset = float(found["vox_offset"])
    if not 0 <= offset < 2**62:
        raise ImageFileError(f"it claims voxels from byte {offset:g} on")
    shape = tuple(int(edge) for edge in found.get_data_shape())
    if min(shape, default=0) < 1:
        raise ImageFileError(f"it claims {' x '.join(map(str, shape))} voxels")
    return shape, int(found.get_data_dtype().itemsize), int(offset)


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
