"""Pictures and volumes inside a page, as data that the browser decodes itself.

Volumes: ``X Y Z`` voxels, RAS+; 8 bits each, laid out slice beside slice in one picture.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import ImageError, foreign_bytes
from ...files import open_file
from ...preprocessing.container import open_scan, read_floats
from ...preprocessing.io import MAX_VOXELS
from ..map_figures.cubes import cubes
from ..map_figures.drawing import MAP_COLOURS, grey_limits, peak, share_of_maximum

_QUALITY = 82
_MAX_PIXELS = 60_000_000  # of a figure; ours have five at most


@dataclass(frozen=True)
class Picture:
    """A picture for a page.

    Attributes:
        data: ``data:`` address.
        width: In pixels.
        height: In pixels.
        alt: What it shows, in words.
    """

    data: str
    width: int
    height: int
    alt: str

    @property
    def tall(self) -> bool:
        """Whether it stands beside words, being no wider than a page's half."""
        return self.width < 1.45 * self.height


def picture(path: Path, alt: str, width: int) -> Picture:
    """Read a picture, make it `width` pixels wide at most, and encode it.

    Raises:
        ImageError: It is damaged, or too large.
    """
    with (
        foreign_bytes(ImageError, f"{path} is no readable picture"),
        open_file(path) as file,
        Image.open(file) as opened,
    ):
        if opened.width * opened.height > _MAX_PIXELS:
            raise ImageError(f"{path} has {opened.width} x {opened.height} pixels")
        image = opened.convert("RGB")
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return Picture(_webp(image, lossless=False), image.width, image.height, alt)


def volume(
    image: Path, map: Path | None, title: str, text: str, *, side_known: bool, voxels: int
) -> dict[str, Any]:
    """Return a volume, and the map on it, for the page's viewer.

    Args:
        image: NIfTI of the image.
        map: NIfTI of the map on the same grid, or None.
        title: Whose.
        text: What is shown.
        side_known: Whether left and right can be told.
        voxels: How many there may be; a larger image gets larger voxels.

    Raises:
        ImageError: A file is damaged, too large, or the grids differ.
    """
    data, affine = _read(image)
    anatomy, matrix = cubes(data, affine, voxels)
    top = grey_limits(data)[1] or 1.0
    entry: dict[str, Any] = {
        "title": title,
        "text": text,
        "shape": list(anatomy.shape),
        "affine": np.round(matrix[:3], 4).tolist(),
        "sideKnown": side_known,
        "image": _mosaic(np.clip(anatomy / top, 0, 1), lossless=False),
        "map": None,
        "start": [n // 2 for n in anatomy.shape],
    }
    if map is not None:
        values, other = _read(map)
        if values.shape != data.shape or not np.allclose(affine, other, atol=1e-3):
            raise ImageError(f"{map} is not on the grid of {image}")
        shares = share_of_maximum(cubes(values, affine, voxels)[0])
        entry["map"] = _mosaic(shares, lossless=True)
        entry["start"] = list(peak(shares) or entry["start"])
    return entry


def colours() -> list[list[int]]:
    """Return the 256 colours of a map from 0 to its maximum: red, green, blue, opacity."""
    table = MAP_COLOURS(np.linspace(0, 1, 256))
    return [[int(value) for value in row] for row in np.rint(255 * table).astype(int)]


def _read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    with foreign_bytes(ImageError, f"{path} is no readable volume"), open_scan(path) as found:
        if len(found.shape) != 3 or np.prod([float(n) for n in found.shape]) > MAX_VOXELS:
            raise ImageError(f"{path} has {list(found.shape)} voxels")
        values = read_floats(found, path).reshape(found.shape, order="F")
        return values, np.asarray(found.affine)


def _mosaic(values: NDArray[Any], *, lossless: bool) -> dict[str, Any]:
    """Return slices of shares in 0 to 1 laid out in rows; within one, x runs right and y down."""
    x, y, z = values.shape
    columns = int(np.ceil(np.sqrt(z)))
    rows = -(-z // columns)
    sheet = np.zeros((rows * y, columns * x), np.uint8)
    for k in range(z):
        row, column = divmod(k, columns)
        part = np.rint(255 * values[:, :, k]).astype(np.uint8).T
        sheet[row * y : (row + 1) * y, column * x : (column + 1) * x] = part
    return {"columns": columns, "data": _webp(Image.fromarray(sheet), lossless=lossless)}


def _webp(image: Image.Image, *, lossless: bool) -> str:
    held = io.BytesIO()
    image.save(held, "WEBP", quality=_QUALITY, lossless=lossless, method=4)
    return "data:image/webp;base64," + base64.b64encode(held.getvalue()).decode("ascii")
