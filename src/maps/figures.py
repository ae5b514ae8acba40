"""Maps of people: three planes through each map's peak.

Arrays: ``X Y Z`` voxels in RAS+ order. Lengths in the brain are mm, on the sheet inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..canvas import write_figure
from ..errors import ImageError
from ..preprocessing.space.grid import PlacedVolume
from .drawing import GREY, LINE, MAP_COLOURS, Sheet, grey_limits, heading, peak, share_of_maximum
from .planes import Shown, ThreePlanes, middle

NOTHING = "the map is empty: no place speaks for what is explained"
SHARE, SHARE_TICKS = "share of the map's maximum", (0, 0.25, 0.5, 0.75, 1)
_LONGEST = 2.1  # inches of the longest edge
_BETWEEN, _FOOT, _BAR = 0.3, 0.25, 0.85


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
