"""Figures of class-activation maps: 2D slices side by side, 3D volumes in three planes.

Axes: H W pixels (row 0 on top), X Y Z voxels (RAS+). Sizes are in inches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from .canvas import wrapped, write_figure

Array = npt.NDArray[Any]
Rows = Sequence[Mapping[str, Any]]

_MAP_COLOURS, _MAP_OPACITY = "inferno", 0.75


class Plane(NamedTuple):
    """One plane of a volume as a picture, and the point's place in it.

    Attributes:
        name: "sagittal", "coronal" or "axial".
        picture: (rows, columns), row 0 on top.
        column: Column of the point.
        row: Row of the point.
    """

    name: str
    picture: Array
    column: int
    row: int


def planes(volume: Array, point: tuple[int, int, int]) -> list[Plane]:
    """Cut the three planes through a voxel, with the brain upright.

    Superior is up in the sagittal plane (anterior to the right) and the coronal one; anterior is
    up in the axial plane. In the latter two X grows to the right.

    Args:
        volume: (X, Y, Z), RAS+.
        point: Voxel (x, y, z).
    """
    (x, y, z), (_, n_y, n_z) = point, volume.shape
    return [
        Plane("sagittal", volume[x].T[::-1], y, n_z - 1 - z),
        Plane("coronal", volume[:, y].T[::-1], x, n_z - 1 - z),
        Plane("axial", volume[:, :, z].T[::-1], x, n_y - 1 - y),
    ]


def peak(cam: Array) -> tuple[int, int, int]:
    """Return the voxel of the largest value; the centre of a map that is flat."""
    if cam.max() <= cam.min():
        return tuple(n // 2 for n in cam.shape)  # type: ignore[return-value]
    return tuple(int(i) for i in np.unravel_index(cam.argmax(), cam.shape))  # type: ignore[return-value]


def cam_figure_2d(
    path: Path, rows: Rows, title: str, caption: str = "", *, stamps: Sequence[str] = ()
) -> Path:
    """Draw image and overlaid map of each person, four people side by side.

    Args:
        path: PNG to write.
        rows: Per person ``image`` (H, W) in 0 to 1, ``cam`` (H, W) in 0 to 1, ``title``, and
            optionally ``text``, a second line such as true and predicted class.
        title: Above the figure.
        caption: Below the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    width, gap = 1.75, 0.06
    height = width * max(row["image"].shape[0] / row["image"].shape[1] for row in rows)
    sheet = _Sheet(len(rows), per_row=4, width=2 * width + gap, height=height)
    for i, row in enumerate(rows):
        left, bottom = sheet.block(i, row["title"], row.get("text", ""))
        for panel, cam in enumerate((None, row["cam"])):
            axes = sheet.panel(left + panel * (width + gap), bottom, width, height)
            _overlay(axes, row["image"], cam, (0.0, 1.0))
    return write_figure(sheet.figure, path, title, caption, stamps)


def cam_figure_3d(
    path: Path, rows: Rows, title: str, caption: str = "", *, stamps: Sequence[str] = ()
) -> Path:
    """Draw three planes through each map's peak, with a crosshair there.

    Args:
        path: PNG to write.
        rows: Per person ``volume`` (X, Y, Z) RAS+, ``cam`` of the same shape in 0 to 1, ``title``,
            and optionally ``text``, a second line.
        title: Above the figure.
        caption: Below the figure; the place to say that left and right are unknown.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    gap = 0.06
    scale = 2.1 / max(max(row["volume"].shape) for row in rows)  # inches per voxel
    n_x, n_y, n_z = np.max([row["volume"].shape for row in rows], axis=0) * scale
    widths, height = (n_y, n_x, n_x), max(n_y, n_z)
    sheet = _Sheet(len(rows), per_row=2, width=sum(widths) + 2 * gap, height=height)
    for i, row in enumerate(rows):
        left, bottom = sheet.block(i, row["title"], row.get("text", ""))
        point, volume = peak(row["cam"]), np.asarray(row["volume"], dtype=np.float32)
        low, high = (float(value) for value in np.percentile(volume, [1, 99.5]))
        anatomy, maps = planes(volume, point), planes(row["cam"], point)
        for plane, cam, width in zip(anatomy, maps, widths, strict=True):
            axes = sheet.panel(left, bottom, width, height)
            _overlay(axes, plane.picture, cam.picture, (low, max(high, low + 1e-6)))
            _crosshair(axes, plane)
            _name_directions(axes, plane.name)
            left += width + gap
    return write_figure(sheet.figure, path, title, caption, stamps)


class _Sheet:
    """A figure of equal blocks, one per person, with a colour bar; every place is in inches.

    Args:
        n: Blocks.
        per_row: Blocks side by side, at most.
        width: Of a block.
        height: Of a block, without its three lines of title.
    """

    head, gap, bar = 0.7, 0.3, 1.0

    def __init__(self, n: int, *, per_row: int, width: float, height: float) -> None:
        self.columns, self.width, self.height = min(n, per_row), width, height
        n_rows = -(-n // per_row)
        self.size = (
            self.columns * (width + self.gap) + self.bar,
            n_rows * (height + self.head + 0.1),
        )
        self.figure = Figure(figsize=self.size)
        self._colour_bar()

    def panel(self, left: float, bottom: float, width: float, height: float) -> Any:
        """Return axes without ticks at a place in inches."""
        axes = self._axes(left, bottom, width, height)
        axes.set_axis_off()
        return axes

    def block(self, i: int, title: str, text: str) -> tuple[float, float]:
        """Write the title of block `i`, and return its left and bottom edge."""
        left = (i % self.columns) * (self.width + self.gap)
        top = self.size[1] - (i // self.columns) * (self.height + self.head + 0.1)
        lines = [(line, "bold") for line in wrapped(title, self.width * 0.9, 9, most=1)]
        lines += [(line, "normal") for line in wrapped(text, self.width, 9, most=2)]
        for number, (line, weight) in enumerate(lines):
            self.figure.text(
                (left + self.width / 2) / self.size[0],
                (top - 0.08 - 0.19 * number) / self.size[1],
                line,
                fontsize=9,
                fontweight=weight,
                ha="center",
                va="top",
            )
        return left, top - self.head - self.height

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Any:
        x, y = self.size
        return self.figure.add_axes((left / x, bottom / y, width / x, height / y))

    def _colour_bar(self) -> None:
        tall = min(self.height, 2.2)
        place = self._axes(
            self.size[0] - self.bar + 0.05, self.size[1] - self.head - tall, 0.16, tall
        )
        bar = self.figure.colorbar(ScalarMappable(cmap=_MAP_COLOURS), cax=place)
        bar.set_ticks([0, 0.25, 0.5, 0.75, 1])
        bar.ax.tick_params(labelsize=9)
        bar.set_label("share of the map's maximum", fontsize=9)


def _overlay(axes: Any, image: Array, cam: Array | None, limits: tuple[float, float]) -> None:
    """Draw `image` in grey and `cam` over it, transparent where the map is low."""
    low, high = limits
    axes.imshow(image, cmap="gray", vmin=low, vmax=high)
    if cam is not None:
        strength = np.clip(np.nan_to_num(cam), 0, 1)
        axes.imshow(strength, cmap=_MAP_COLOURS, vmin=0, vmax=1, alpha=_MAP_OPACITY * strength)


def _crosshair(axes: Any, plane: Plane) -> None:
    """Draw lines to the point that stop short of it, so that it stays visible."""
    rows, columns = plane.picture.shape
    free = 0.06 * max(rows, columns)
    style = {"color": "#39d0d8", "linewidth": 0.8}
    axes.plot([-0.5, plane.column - free], [plane.row] * 2, **style)
    axes.plot([plane.column + free, columns - 0.5], [plane.row] * 2, **style)
    axes.plot([plane.column] * 2, [-0.5, plane.row - free], **style)
    axes.plot([plane.column] * 2, [plane.row + free, rows - 0.5], **style)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _name_directions(axes: Any, plane: str) -> None:
    """Write S at superior and A at anterior; never L or R, which a file may have swapped."""
    up, right = {"sagittal": ("S", "A"), "coronal": ("S", ""), "axial": ("A", "")}[plane]
    for x, y, letter in ((0.5, 0.95, up), (0.96, 0.5, right)):
        axes.text(
            x, y, letter, transform=axes.transAxes, color="#ffd166", fontsize=8,
            ha="center", va="center", fontweight="bold",
        )  # fmt: skip
