"""What all figures of maps share: cuts with the brain upright, overlays, outlines and letters.

Arrays: ``X Y Z`` voxels in RAS+ order; a picture is ``H W`` with row 0 on top, as `cut_slice` cuts
it. Lengths in the brain are mm, on the sheet inches. Every panel has mm as its coordinates, from
the lower left corner, so that a voxel need not be a cube.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from ...preprocessing.slices import PLANES, cut_slice
from ...preprocessing.space.grid import Matrix, PlacedVolume
from ..canvas import wrapped

Array = NDArray[Any]
Sizes = Sequence[float]

GREY = "0.4"
LETTERS, CROSSHAIR, OUTLINE = "#ffd166", "#39d0d8", "#7fb7be"
SIDE_UNKNOWN = "side unknown"
BRIGHTEST = 0.8  # grey of the brightest tissue; white is 1
_OUTSIDE = 0.05  # share of the brightest tissue under which a voxel is no brain
RADIOLOGICAL = "radiological"
_mirrored: ContextVar[bool] = ContextVar("mirrored", default=False)
LINE = 0.19  # inches from one line of text to the next


def _overlay_colours(name: str, start: float, opacity: float) -> ListedColormap:
    """Return a colour map that starts transparent, without its darkest part.

    Dark colours over bright tissue look like a third colour, which the colour bar does not have.
    """
    levels = np.linspace(0, 1, 256)
    colours = colormaps[name](start + (1 - start) * levels)
    colours[:, 3] = opacity * np.clip(levels / 0.6, 0, 1)
    return ListedColormap(colours, f"{name} from transparent")


MAP_COLOURS = _overlay_colours("inferno", 0.4, 0.72)
SPREAD_COLOURS = _overlay_colours("viridis", 0.3, 0.72)


@contextmanager
def convention(name: str) -> Iterator[None]:
    """Draw what the block draws as a convention has it; the letters L and R say which.

    Args:
        name: ``"neurological"``, the person's left on the left, or ``"radiological"``, as a
            radiologist sees the person, from the feet: the left on the right.
    """
    before = _mirrored.set(name == RADIOLOGICAL)
    try:
        yield
    finally:
        _mirrored.reset(before)


def mirrored(plane: str) -> bool:
    """Return whether a plane is drawn with the person's left on the right."""
    return _mirrored.get() and plane != "sagittal"


def peak(values: Array) -> tuple[int, int, int] | None:
    """Return the voxel of the largest value, or None where a map says nothing: it is flat."""
    finite = np.nan_to_num(values, nan=-np.inf)
    top = finite.max()
    if not top > np.nan_to_num(values, nan=np.inf).min():
        return None
    x, y, z = (int(index) for index in np.unravel_index(finite.argmax(), values.shape))
    return x, y, z


def share_of_maximum(values: Array) -> Array:
    """Return a map divided by its largest value, in [0, 1]; what is not finite or below 0 is 0."""
    kept = np.clip(np.nan_to_num(values, posinf=0), 0, None)
    return np.asarray(kept / max(float(kept.max()), np.finfo(np.float32).tiny))


def grey_limits(image: Array) -> tuple[float, float]:
    """Return the values drawn black and white: air, and brighter than any tissue but outliers.

    White tissue would bleach the colours over it.
    """
    inside = image[np.nan_to_num(image) > 0]
    return 0.0, float(np.percentile(inside, 99.5)) / BRIGHTEST if inside.size else 1.0


def shown_affine(placed: PlacedVolume) -> tuple[Matrix, bool]:
    """Return index -> mm as a reader should see it, and whether these are the header's mm.

    A header that names other axes than the study declares would put the brain on its side; mm then
    count from the scan's left, back and bottom, as they do where there is no header.
    """
    agrees = nib.aff2axcodes(placed.affine) == ("R", "A", "S")
    if agrees and not np.allclose(placed.affine, placed.to_ras):
        return placed.affine, True
    return placed.to_ras, False


def heading(title: str, text: str, width: float) -> list[tuple[str, str]]:
    """Return lines over a block and their weights: a bold title, and at most two of text."""
    lines = [(line, "bold") for line in wrapped(title, 0.7 * width, 9, most=1)]  # bold is wide
    whole = text.replace(" = ", "\xa0=\xa0")  # no line is broken within a number
    return lines + [(line, "normal") for line in wrapped(whole, width, 9, most=2)]


class Sheet:
    """A figure whose panels have their places in inches, from the upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Return new axes."""
        bottom = self.height - top - height
        x, y = self.width, self.height
        return self.figure.add_axes((left / x, bottom / y, width / x, height / y))

    def text(self, x: float, y: float, text: str, points: float = 9, **style: Any) -> None:
        """Write one line under a height; `text` is drawn as it is."""
        place = (x / self.width, 1 - y / self.height)
        self.figure.text(*place, text, fontsize=points, va="top", **style)

    def heading(self, left: float, top: float, width: float, title: str, text: str) -> None:
        """Write the lines of `heading` over a block."""
        for number, (line, weight) in enumerate(heading(title, text, width)):
            y = top + LINE * number
            self.text(left + width / 2, y, line, ha="center", fontweight=weight)

    def colour_bar(
        self,
        place: tuple[float, float, float, float],
        colours: Colormap,
        limits: tuple[float, float],
        label: str,
        ticks: Sequence[float],
    ) -> None:
        """Draw colours as they look over grey tissue, with numbers; upright if it is tall."""
        axes = self.axes(*place)
        upright = place[3] > place[2]
        ramp = np.linspace(*limits, 256)[:, None] if upright else np.linspace(*limits, 256)[None]
        extent = (0, 1, *limits) if upright else (*limits, 0, 1)
        axes.imshow(
            ramp, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent,
            origin="lower", aspect="auto",
        )  # fmt: skip
        axes.set_facecolor("0.55")
        names = [f"{tick:g}" for tick in ticks]
        if upright:
            axes.set(xticks=[], ylim=limits)
            axes.yaxis.tick_right()
            axes.yaxis.set_label_position("right")
            axes.set_yticks(ticks, names)
            axes.set_ylabel(label, fontsize=9)
        else:
            axes.set(yticks=[], xlim=limits)
            axes.set_xticks(ticks, names)
            axes.set_xlabel(label, fontsize=9)
        axes.tick_params(labelsize=8)


class Cut:
    """One plane of a volume on its own axes, in mm.

    Args:
        axes: Where to draw.
        plane: A key of `PLANES`.
        index: Which cut, in voxels.
        voxel_size: Along X, Y and Z, mm.
        box: Width and height of the panel, mm; the plane is in its middle.
    """

    def __init__(self, axes: Any, plane: str, index: int, voxel_size: Sizes, box: Sizes) -> None:
        self.axes, self.plane, self.index, self._box = axes, plane, index, box
        _, self._rows, self._columns = PLANES[plane]
        self._pixel = (voxel_size[self._columns], voxel_size[self._rows])
        self._edges = (0.0, 0.0)
        axes.set(xticks=[], yticks=[], facecolor="black")
        axes.spines[:].set_visible(False)

    def anatomy(self, image: Array, limits: tuple[float, float]) -> None:
        """Draw the image in grey, and a thin line around the brain in this plane."""
        picture = np.nan_to_num(cut_slice(image, self.plane, self.index))
        self._show(picture, cmap="gray", vmin=limits[0], vmax=limits[1])
        brain = ndimage.binary_fill_holes(picture > _OUTSIDE * limits[1])
        smooth = ndimage.gaussian_filter(np.pad(brain.astype(float), 1), 0.7)
        if smooth.max() > 0.5:
            height, width = picture.shape
            x = (np.arange(-1, width + 1) + 0.5) * self._pixel[0]
            y = (height - np.arange(-1, height + 1) - 0.5) * self._pixel[1]
            self.axes.contour(x, y, smooth, [0.5], colors=OUTLINE, linewidths=0.6)
        self.settle()

    def overlay(self, values: Array, colours: Colormap, limits: tuple[float, float]) -> None:
        """Draw a map over the anatomy; what lies under the lower limit is transparent."""
        picture = np.nan_to_num(cut_slice(values, self.plane, self.index), nan=limits[0])
        self._show(picture, cmap=colours, vmin=limits[0], vmax=limits[1])
        self.settle()

    def crosshair(self, point: tuple[int, int, int]) -> None:
        """Draw lines to a voxel that stop short of it, so that it stays visible."""
        x = (point[self._columns] + 0.5) * self._pixel[0]
        y = (point[self._rows] + 0.5) * self._pixel[1]
        free = min(0.05 * max(self._box), 0.2 * min(self._box))
        style = {"color": CROSSHAIR, "linewidth": 0.7}
        (left, right), (low, high) = sorted(self.axes.get_xlim()), self.axes.get_ylim()
        for ends in ((left, x - free), (x + free, right)):
            self.axes.plot(ends, (y, y), **style)
        for ends in ((low, y - free), (y + free, high)):
            self.axes.plot((x, x), ends, **style)
        self.settle()

    def directions(self, side_known: bool, points: float = 8) -> None:
        """Name the directions: what is up over the panel, and the sides in its lower corners."""
        up = "A" if self.plane == "axial" else "S"
        self._write(0.5, 1.0, up, points, va="bottom", color="0.25")
        self.sides(side_known, points)
        if self.plane != "sagittal" and not side_known:
            self._write(0.5, -0.01, SIDE_UNKNOWN, points, va="top", color="0.25")

    def sides(self, side_known: bool, points: float = 8) -> None:
        """Write P and A, or L and R if they are known, in the lower corners.

        Corners hold air; letters in the middle of an edge would cover the brain of a tight image.
        """
        left, right = ("P", "A") if self.plane == "sagittal" else ("L", "R")
        if mirrored(self.plane):
            left, right = right, left
        if self.plane == "sagittal" or side_known:
            self._write(0.02, 0.02, left, points, ha="left", va="bottom")
            self._write(0.98, 0.02, right, points, ha="right", va="bottom")

    def _write(self, x: float, y: float, text: str, points: float, **style: Any) -> None:
        """Write at shares of the panel's edges, readable over any tissue."""
        style = {"ha": "center", "color": LETTERS} | style
        inside = 0 < y < 1
        outline = [patheffects.withStroke(linewidth=1.5, foreground="black")] if inside else []
        self.axes.text(
            x, y, text, transform=self.axes.transAxes, fontsize=points, fontweight="bold",
            path_effects=outline, **style,
        )  # fmt: skip

    def _show(self, picture: Array, **style: Any) -> None:
        self._edges = (picture.shape[1] * self._pixel[0], picture.shape[0] * self._pixel[1])
        extent = (0, self._edges[0], 0, self._edges[1])
        self.axes.imshow(picture, extent=extent, aspect="auto", interpolation="bilinear", **style)

    def settle(self) -> None:
        """Put the plane in the middle of its panel; drawing has changed the limits."""
        x, y = ((box - edge) / 2 for box, edge in zip(self._box, self._edges, strict=True))
        ends = (-x, self._edges[0] + x)
        across = ends[::-1] if mirrored(self.plane) else ends
        self.axes.set(xlim=across, ylim=(-y, self._edges[1] + y))


def plane_sizes(shape: Sequence[int], voxel_size: Sizes) -> dict[str, tuple[float, float]]:
    """Return width and height of each plane, mm."""
    edges = [n * size for n, size in zip(shape, voxel_size, strict=True)]
    return {plane: (edges[columns], edges[rows]) for plane, (_, rows, columns) in PLANES.items()}
