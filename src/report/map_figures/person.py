"""One person's map: as a figure of three planes through its peak, and as a small picture.

Arrays: ``X Y Z`` voxels in RAS+ order. Lengths in the brain are mm, on the sheet inches.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import ImageError
from ...files import atomic_file
from ...preprocessing.space.grid import PlacedVolume
from ..canvas import write_figure
from .drawing import (
    BRIGHTEST,
    GREY,
    LINE,
    MAP_COLOURS,
    Sheet,
    grey_limits,
    heading,
    mirrored,
    peak,
    share_of_maximum,
)
from .planes import Shown, ThreePlanes, middle

NOTHING = "the map is empty: no place speaks for what is explained"
SHARE, SHARE_TICKS = "share of the map's maximum", (0, 0.25, 0.5, 0.75, 1)
_LONGEST = 2.1  # inches of the longest edge
_BETWEEN, _FOOT, _BAR = 0.3, 0.25, 0.85
HEIGHT = 130  # pixels
_GAP = 2


@dataclass(frozen=True)
class PersonMap:
    """One person's image and map, on one grid.

    Attributes:
        image: The processed image.
        map: Attribution, 0 or more; any unit.
        title: The person's name.
        text: What stands under it: true and predicted stage with probability.

    Raises:
        ImageError: Image and map have other shapes.
    """

    image: PlacedVolume
    map: PlacedVolume
    title: str
    text: str

    def __post_init__(self) -> None:
        if self.image.data.shape != self.map.data.shape:
            raise ImageError(
                f"{self.title}: the image has {list(self.image.data.shape)} voxels, its map "
                f"{list(self.map.data.shape)}"
            )


def person_figure(
    path: Path,
    people: Sequence[PersonMap],
    title: str,
    caption: str,
    *,
    side_known: bool,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw sagittal, coronal and axial plane through each map's peak, two people side by side.

    Colours are shares of each map's own maximum; all people are drawn at one scale.

    Args:
        path: PNG to write.
        people: Whom to draw.
        title: Above the figure.
        caption: Below the figure.
        side_known: Whether left and right can be told; if not, the planes say so.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.

    Raises:
        ImageError: There is nobody to draw.
    """
    if not people:
        raise ImageError(f"{path.name}: there is no map to draw")
    grids = [(person.image.data.shape, person.image.voxel_size) for person in people]
    planes = ThreePlanes.holding(grids, _LONGEST)
    head = 0.3 + LINE * max(len(heading(p.title, p.text, planes.width)) for p in people)
    columns = min(len(people), 2)
    across, down = planes.width + _BETWEEN, head + planes.height + _FOOT
    sheet = Sheet(columns * across + _BAR, -(-len(people) // columns) * down)
    for number, person in enumerate(people):
        left, top = number % columns * across, number // columns * down
        sheet.heading(left, top + 0.05, planes.width, person.title, person.text)
        _draw_person(sheet, person, planes, (left, top + head), side_known)
    tall = min(planes.height, 1.9)
    place = (columns * across + 0.02, head + (planes.height - tall) / 2, 0.15, tall)
    sheet.colour_bar(place, MAP_COLOURS, (0, 1), SHARE, SHARE_TICKS)
    return write_figure(sheet.figure, path, title, caption, stamps)


def _draw_person(
    sheet: Sheet,
    person: PersonMap,
    planes: ThreePlanes,
    corner: tuple[float, float],
    side_known: bool,
) -> None:
    image, values = person.image, share_of_maximum(person.map.data)
    point, grey = peak(values), grey_limits(image.data)
    shown = Shown(image.data, values, image.voxel_size, grey, MAP_COLOURS, (0, 1))
    planes.draw(
        sheet, corner, shown, point or middle(image.data.shape),
        crosshair=point is not None, side_known=side_known,
    )  # fmt: skip
    if point is None:
        x, y = corner[0] + planes.width / 2, corner[1] - 0.22
        sheet.text(x, y, NOTHING, ha="center", color=GREY, style="italic")


def write_thumbnail(path: Path, image: PlacedVolume, map: PlacedVolume) -> Path:
    """Write axial, coronal and sagittal plane side by side, as the `convention` has them.

    Args:
        path: PNG to write.
        image: The processed image.
        map: Attribution on its grid.
    """
    sizes = np.linalg.norm(image.to_ras[:3, :3], axis=0)
    held = io.BytesIO()
    Image.fromarray(three_planes(image.data, map.data, sizes, HEIGHT)).save(held, "PNG")
    with atomic_file(path) as file:
        file.write(held.getvalue())
    return path


def three_planes(
    image: NDArray[Any], map: NDArray[Any], sizes: NDArray[Any], height: int
) -> NDArray[np.uint8]:
    """Return three planes through the peak of a map, ``height x W x 3``, axial first.

    Args:
        image: ``X Y Z``.
        map: On the same grid; a flat one is shown through the middle.
        sizes: Voxel edges in mm.
        height: Of the picture, in pixels; the planes share one scale.
    """
    at = peak(map) or tuple(n // 2 for n in image.shape)
    grey = BRIGHTEST * np.clip(np.nan_to_num(image) / (BRIGHTEST * grey_limits(image)[1]), 0, 1)
    shares = share_of_maximum(map)
    extent = sizes * image.shape
    scale = height / max(extent[1], extent[2])
    parts = []
    for axis in (2, 1, 0):
        x, y = (number for number in range(3) if number != axis)
        size = tuple(max(1, round(float(extent[n] * scale))) for n in (x, y))
        turn = -1 if axis and mirrored("axial") else 1  # the sagittal plane has no sides
        cuts = (np.take(part, at[axis], axis)[::turn] for part in (grey, shares))
        below, over = (_resized(cut, size) for cut in cuts)
        colours = MAP_COLOURS(np.clip(over, 0, 1))
        mixed = below[..., None] * (1 - colours[..., 3:]) + colours[..., :3] * colours[..., 3:]
        top = (height - size[1]) // 2
        parts.append(np.pad(mixed, ((top, height - size[1] - top), (0, _GAP), (0, 0))))
    whole = np.clip(np.concatenate(parts, 1), 0, 1)
    return np.asarray(np.rint(255 * whole), np.uint8)


def _resized(cut: NDArray[Any], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a cut ``A B`` as a picture, B upwards, of ``width, height`` pixels."""
    upright = Image.fromarray(np.ascontiguousarray(cut.T[::-1], np.float32))
    return np.asarray(upright.resize((size[0], size[1]), Image.Resampling.BILINEAR))
