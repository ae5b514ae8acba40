"""One processed file: its content, its fingerprint, and the image in it.

Arrays: ``(H, W)`` uint8 slices in [0, 255], ``(X, Y, Z)`` float16 volumes in [0, 1] (RAS+).
"""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..cohorts.pictures import decode_picture
from ..errors import DataNotFoundError, ImageError, foreign_bytes
from ..files import FileError
from ..preprocessing.slice_files import how_to_remake, read_file

Images = NDArray[np.uint8] | NDArray[np.float16]


def read_content(path: str | Path) -> bytes:
    """Return the content of a processed file.

    Raises:
        DataNotFoundError: It is gone.
        ImageError: It cannot be read.
    """
    path = Path(path)
    try:
        return read_file(path)
    except FileNotFoundError:
        hint = "run --mode preprocess again; it makes what is missing"
        raise DataNotFoundError(path, hint=hint) from None
    except FileError as error:
        raise ImageError(error.message, hint=error.hint) from None


def fingerprint(content: bytes) -> str:
    """Return the hash of a file's content that manifests list."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def decode(path: Path, content: bytes) -> Images:
    """Return the image in the content of a file: 8-bit, or a ``.npy`` volume.

    Args:
        path: Named in errors; its suffix tells the kind.
        content: What it holds.

    Returns:
        ``(H, W)`` uint8 or ``(X, Y, Z)`` float16, contiguous.

    Raises:
        ImageError: It is damaged, or no image.
    """
    if path.suffix != ".npy":
        try:
            return decode_picture(content, str(path))
        except ImageError as error:
            error.hint = error.hint or how_to_remake(path)
            raise
    file = io.BytesIO(content)
    # A header is Python's syntax, so its parser may raise anything.
    with foreign_bytes(ImageError, f"{path} is damaged", how_to_remake(path)):
        shape, fortran, dtype = read_header(file)
        # A view: no memory is taken on the word of a header.
        values = np.frombuffer(content, dtype, math.prod(shape), file.tell())
        stored = values.reshape(shape, order="F" if fortran else "C")
    if stored.ndim != 3 or stored.dtype != np.float16:
        raise ImageError(f"{path} holds {stored.ndim}D {stored.dtype}, not a float16 volume")
    return np.ascontiguousarray(stored)


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return what the header of a ``.npy`` file says, and leave the file at the first value.

    Returns:
        Shape, whether the first index varies fastest, type.

    Raises:
        ValueError: It is no such header.
    """
    if np.lib.format.read_magic(file) != (1, 0):  # type: ignore[no-untyped-call]
        raise ValueError("not version 1.0 of the format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return tuple(shape), bool(fortran), np.dtype(dtype)
