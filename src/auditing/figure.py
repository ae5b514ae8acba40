"""The worst pairs of an audit: an image of a later side beside the one it resembles in train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..report.canvas import plain, wrapped, write_figure
from .pose import Picture

MOST_PAIRS = 6
_FAIL, _FINE = "#c1121f", "0.45"
_LETTERS = 36  # of a file name in a line


@dataclass(frozen=True)
class ShownPair:
    """Two images and what was found of them.

    Attributes:
        first, second: Pictures (H, W) of the later and of the earlier side.
        paths: Files of both.
        sides: Sides of both.
        finding: ``nearly identical``, ``same head`` (and how it must be turned to be so), or empty.
        agreement, likeness: Up to 1.
        person: ``same person``, ``other person`` or ``person not known``.
    """

    first: Picture
    second: Picture
    paths: tuple[str, str]
    sides: tuple[str, str]
    finding: str
    agreement: float
    likeness: float
    person: str


def pairs_figure(
    path: Path,
    pairs: Sequence[ShownPair],
    title: str,
    caption: str,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw up to `MOST_PAIRS` pairs, two of them in a row.

    Args:
        path: PNG to write.
        pairs: Worst first; at least one.
        title: Above the figure.
        caption: Below it.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    shown = list(pairs)[:MOST_PAIRS]
    columns = min(len(shown), 2)
    lines = -(-len(shown) // columns)
    width, height = 5.4 * columns + 0.2, 3.55 * lines
    figure = Figure(figsize=(width, height))
    blocks = figure.subfigures(lines, columns, squeeze=False, wspace=0.03, hspace=0.02)
    for block, pair in zip(blocks.ravel(), shown, strict=False):
        _draw_pair(block, pair)
    return write_figure(figure, path, title, caption, stamps)


def _draw_pair(block: Any, pair: ShownPair) -> None:
    colour = _FAIL if pair.finding else _FINE
    axes = block.subplots(1, 2, gridspec_kw={"wspace": 0.06})
    block.subplots_adjust(left=0.03, right=0.97, top=0.86, bottom=0.2)
    finding = pair.finding or "below the thresholds"
    said = f"{finding}, {pair.person}\nagreement {pair.agreement:.2f}, likeness {pair.likeness:.2f}"
    block.text(0.5, 0.985, said, ha="center", va="top", fontsize=10.5, color=colour)
    pictures = (pair.first, pair.second)
    for axis, picture, side, name in zip(axes, pictures, pair.sides, pair.paths, strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set(color=colour, linewidth=2)
        folder, _, file = name.rpartition("/")
        lines = [plain(folder, _LETTERS), *wrapped(file, 2.4, 8, most=2)]
        text = "\n".join([side.upper(), *lines])
        axis.text(
            0.5, -0.03, text, transform=axis.transAxes, ha="center", va="top", fontsize=8,
            linespacing=1.25,
        )  # fmt: skip


def short_name(path: str) -> str:
    """Return a path for display: one line, its end kept."""
    return plain(path, 75)
