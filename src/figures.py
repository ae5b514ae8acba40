"""Figures as PNG files: confusion matrix, ROC curves, training history, class-activation maps.

Every figure is its own `Figure` object, never pyplot's current one, so threads and notebooks can
draw at the same time. Text from files is drawn as it is: ``$`` starts no formula.

Axes: H W pixels (row 0 on top), X Y Z voxels (RAS+), K classes. Sizes are in inches.
"""

from __future__ import annotations

import re
import textwrap
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .atomic import atomic_file

Array = npt.NDArray[Any]
Rows = Sequence[Mapping[str, Any]]

#: A class with fewer people than this is drawn as counts, without a percentage.
FEW_PEOPLE = 10
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#cc78bc")  # told apart with every colour vision
_STAMP_COLOUR = "#c1121f"
_MAP_COLOURS, _MAP_OPACITY = "inferno", 0.75
_DPI, _MAX_PIXELS = 150, 60_000  # Agg draws no more than 2^16 pixels a side
_NAME_LENGTH = 60
_DRAWING = threading.RLock()  # the font cache is shared by all figures


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


def plain(text: str, length: int = _NAME_LENGTH) -> str:
    """Return `text` for drawing: one line, at most `length` characters, no formula."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    short = printable if len(printable) <= length else f"{printable[: length - 9]}…{printable[-8:]}"
    return short.replace("$", r"\$")


def confusion_figure(
    path: Path,
    confusion: Array,
    classes: Sequence[str],
    title: str,
    *,
    unit: str = "people",
    n_people: Sequence[int] | None = None,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw counts, and the share of the true class where it has enough people.

    Args:
        path: PNG to write.
        confusion: (K, K) counts; rows are the truth.
        classes: K names.
        title: Above the figure.
        unit: What is counted: "people" or "images".
        n_people: People of each true class; default: the rows' sums.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    import seaborn

    confusion = np.asarray(confusion, dtype=int)
    k, totals = len(classes), confusion.sum(axis=1)
    people = totals if n_people is None else np.asarray(n_people)
    share = confusion / np.maximum(totals, 1)[:, None]
    text = np.empty((k, k), dtype=object)
    for i in range(k):
        for j in range(k):
            percent = f"\n{100 * share[i, j]:.0f} %" if people[i] >= FEW_PEOPLE else ""
            text[i, j] = f"{confusion[i, j]}{percent}"
    size = 3.4 + 1.05 * k
    figure, axes = _figure(size, size - 0.8)
    names = [_broken(name) for name in classes]
    with _DRAWING:
        seaborn.heatmap(
            share, vmin=0, vmax=1, cmap="Blues", annot=text, fmt="", ax=axes, square=True,
            linewidths=1, linecolor="white", annot_kws={"fontsize": 11},
            cbar_kws={"label": "share of the true class", "shrink": 0.8},
            xticklabels=names,
            yticklabels=[f"{name}\nn = {n}" for name, n in zip(names, totals, strict=True)],
        )  # fmt: skip
    axes.set_xlabel(f"predicted ({unit})", fontsize=11)
    axes.set_ylabel(f"true ({unit})", fontsize=11)
    axes.tick_params(labelsize=10, length=0, rotation=0)
    few = 0 < people.min() < FEW_PEOPLE or bool(((people > 0) & (people < FEW_PEOPLE)).any())
    note = f"under {FEW_PEOPLE} people: counts only" if few else ""
    return _write(figure, path, title, note, stamps)


def roc_figure(
    path: Path,
    labels: Array,
    probabilities: Array,
    classes: Sequence[str],
    per_class: Mapping[str, Mapping[str, Any]],
    title: str,
    *,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw one ROC curve per class against the rest; of two classes, the second one's.

    Args:
        path: PNG to write.
        labels: (n,) true class, 0 to K-1.
        probabilities: (n, K).
        classes: K names.
        per_class: As `score` returns it: name -> ``n_people`` and ``auc`` (value, low, high). A
            class without AUC value is dashed, and listed as not estimable.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    figure, axes = _figure(5.6, 6.0)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":", label="chance")
    for c, name in enumerate(classes):
        if len(classes) == 2 and c == 0:
            continue  # the mirror image of the other
        rate = _roc(np.asarray(labels) == c, np.asarray(probabilities)[:, c])
        values = per_class[name]
        auc, n = values["auc"], values["n_people"]
        estimable = auc["value"] is not None
        said = f"not estimable (n = {n})"
        if estimable:
            span = "" if auc["low"] is None else f" [{auc['low']:.2f}-{auc['high']:.2f}]"
            said = f"AUC {auc['value']:.2f}{span}, n = {n}"
        axes.plot(
            *rate,
            color=COLOURS[c % len(COLOURS)],
            linestyle="-" if estimable else "--",
            linewidth=2.2 if estimable else 1,
            label=f"{plain(name)}: {said}",
        )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("1 - specificity", fontsize=11)
    axes.set_ylabel("sensitivity", fontsize=11)
    axes.grid(color="0.9")
    figure.legend(loc="outside lower center", fontsize=10, frameon=False)
    return _write(figure, path, title, "n = people of the class; [95 % interval]", stamps)


def training_figure(
    path: Path,
    history: Mapping[str, Any],
    title: str = "Training",
    *,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw loss and validation score by epoch, and mark the epoch that was kept.

    Args:
        path: PNG to write.
        history: Lists ``epoch``, ``train_loss``, ``val_loss``, ``val_balanced_accuracy``,
            ``val_accuracy`` (None where unknown; all but the first two may be missing), and the
            number ``best_epoch``, one of ``epoch``.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    loss, score = figure.subplots(1, 2)
    epoch = list(history["epoch"])
    panels = (
        (loss, (("train_loss", "training"), ("val_loss", "validation"))),
        (score, (("val_balanced_accuracy", "balanced accuracy"), ("val_accuracy", "accuracy"))),
    )
    for axes, lines in panels:
        for (key, name), colour in zip(lines, COLOURS, strict=False):
            _history_line(axes, epoch, history.get(key), name, colour)
        if history.get("best_epoch") in epoch:
            best = history["best_epoch"]
            axes.axvline(best, color="0.4", linestyle=":", label=f"best epoch: {best}")
        axes.set_xlabel("epoch", fontsize=11)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_xlim(min(epoch, default=0) - 0.5, max(epoch, default=1) + 0.5)
        axes.grid(color="0.9")
        axes.legend(fontsize=9)
    loss.set_ylabel("loss", fontsize=11)
    score.set_ylabel("validation, per person", fontsize=11)
    score.set_ylim(-0.02, 1.02)
    return _write(figure, path, title, "", stamps)


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
    return _write(sheet.figure, path, title, caption, stamps)


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
            left += width + gap
    return _write(sheet.figure, path, title, caption, stamps)


class _Sheet:
    """A figure of equal blocks, one per person, with a colour bar; every place is in inches.

    Args:
        n: Blocks.
        per_row: Blocks side by side, at most.
        width: Of a block.
        height: Of a block, without its two lines of title.
    """

    head, gap, bar = 0.52, 0.3, 1.0

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
        letters = int(self.width * 72 / (9 * 0.62))  # 9 points high, about .62 of that wide
        for line, (words, weight) in enumerate(((title, "bold"), (text, "normal"))):
            self.figure.text(
                (left + self.width / 2) / self.size[0],
                (top - 0.08 - 0.19 * line) / self.size[1],
                plain(words, letters),
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
        from matplotlib.cm import ScalarMappable

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


def _roc(is_class: Array, probability: Array) -> tuple[Array, Array]:
    """Return false and true positive rates at every threshold; empty where undefined."""
    from sklearn.metrics import roc_curve

    if is_class.all() or not is_class.any():
        return np.empty(0), np.empty(0)
    false_rate, true_rate, _ = roc_curve(is_class, probability)
    return false_rate, true_rate


def _history_line(
    axes: Any, epoch: list[int], values: Sequence[float | None] | None, name: str, colour: str
) -> None:
    if values:
        known = [np.nan if value is None else value for value in values]
        axes.plot(epoch[: len(known)], known, "o-", markersize=4, color=colour, label=name)


def _broken(name: str) -> str:
    """``VeryMildDemented`` -> two lines, broken before the last word."""
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z]*$)", "\n", plain(name, 24))


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _write(figure: Figure, path: Path, title: str, caption: str, stamps: Sequence[str]) -> Path:
    """Add title, stamps and caption around the figure, and write it as PNG."""
    width, height = figure.get_size_inches()
    above = 0.08
    for text, points, colour in (
        *((title, 13, "black"),),
        *((stamp, 11, _STAMP_COLOUR) for stamp in stamps),
    ):
        lines = _wrapped(text, width, points)
        figure.text(
            0.5, 1 + above / height, "\n".join(lines), ha="center", va="bottom",
            fontsize=points, color=colour, fontweight="bold",
        )  # fmt: skip
        above += len(lines) * points * 1.35 / 72
    below = "\n".join(_wrapped(caption, width, 9))
    figure.text(0.5, -0.06 / height, below, ha="center", va="top", fontsize=9, color="0.25")
    dpi = min(_DPI, _MAX_PIXELS / max(width, height))
    with _DRAWING, atomic_file(path) as file:
        FigureCanvasAgg(figure)
        figure.savefig(
            file, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.12, facecolor="white"
        )
    return path


def _wrapped(text: str, width: float, points: float) -> list[str]:
    """Break `text` into lines that fit a width in inches."""
    letters = max(20, int(width * 72 / (points * 0.62)))
    return [plain(line, letters) for line in textwrap.wrap(text[:1000], letters)][:6]
