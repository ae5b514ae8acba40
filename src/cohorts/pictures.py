"""The grey levels of a picture's file, read alike by everything that looks at pictures.

Training, audit, preprocessing and the search for near duplicates must see the same picture: a
second decoder that turned it, or spread its levels, would see another.

Arrays: ``H W`` uint8 in [0, 255].
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError, foreign_bytes

MAX_PIXELS = 4096**2
_PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = (".png", ".jpg", ".jpeg")


def decode_picture(content: bytes, name: str, *, quarter: bool = False) -> NDArray[np.uint8]:
    """Return the grey levels of a PNG or JPEG, turned as its EXIF tag says and as viewers show it.

    Args:
        content: Of the file.
        name: For messages.
        quarter: Return a quarter of the size, which a JPEG gives in a fraction of the time.

    Raises:
        ImageError: It is damaged, larger than `MAX_PIXELS`, or has more than 8 bits per pixel:
            then its header does not say which level is white.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:  # the header: memory is not taken yet
            width, height = image.size
    except Exception:  # noqa: BLE001 - it has no error of its own for most damage
        raise ImageError(f"{name} cannot be read: it is damaged, or no picture") from None
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} is {width} x {height} pixels, more than {MAX_PIXELS}")
    _require_honest_pieces(content, name)
    size = cv2.IMREAD_REDUCED_GRAYSCALE_4 if quarter else cv2.IMREAD_GRAYSCALE
    with foreign_bytes(ImageError, f"{name} is damaged"):
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), size | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise ImageError(f"{name} is damaged: it cannot be decoded")
    if pixels.dtype != np.uint8:
        raise ImageError(
            f"{name} has {8 * pixels.dtype.itemsize} bits per pixel: which level is white is not "
            "told",
            hint="write all pictures again with 8 bits, their levels divided by one number",
        )
    return np.asarray(pixels)


def _require_honest_pieces(content: bytes, name: str) -> None:
    """Check that no piece of a PNG claims more bytes than are left: its decoder takes them first.

    Raises:
        ImageError: One does.
    """
    if not content.startswith(_PNG):
        return
    place = len(_PNG)
    while place + 8 <= len(content):
        claimed, left = int.from_bytes(content[place : place + 4]), len(content) - place - 12
        if claimed > left:
            raise ImageError(
                f"{name} is damaged: a piece of it claims {claimed:,} bytes, and {max(left, 0):,} "
                "are left"
            )
        place += claimed + 12  # its length, name and sum


def jpeg_quality(content: bytes) -> int | None:
    """Return the quality, 1 to 100, with which a JPEG was coded; None for a PNG.

    A file keeps the table that its frequencies were divided by. The quality is that with which the
    usual library (libjpeg) writes the most similar table.
    """
    with Image.open(io.BytesIO(content)) as image:
        table = getattr(image, "quantization", {}).get(0)
    if table is None:
        return None
    return min(range(100, 0, -1), key=lambda quality: _apart(table, quality))


def _apart(table: list[int], quality: int) -> int:
    """Return how far a table of a JPEG is from that of a quality."""
    _, code = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    with Image.open(io.BytesIO(code.tobytes())) as image:
        usual = image.quantization[0]  # type: ignore[attr-defined]
    return sum(abs(a - b) for a, b in zip(table, usual, strict=True))
