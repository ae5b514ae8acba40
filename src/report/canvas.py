"""What all figures share: text that is safe to draw, and writing with title, stamps and caption.

Every figure is its own `Figure` object, never pyplot's current one, so threads and notebooks can
draw at the same time. Sizes are in inches.
"""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import atomic_file

#: Held while text is measured or drawn: the font cache is shared by all figures.
DRAWING = threading.RLock()
_STAMP_COLOUR = "#c1121f"
_DPI, _MAX_PIXELS = 150, 60_000  # Agg draws no more than 2^16 pixels a side
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#cc78bc")  # told apart with every colour vision


def plain(text: str, length: int = 60) -> str:
    """Return `text` for drawing: one line, at most `length` characters, ``$`` starts no formula."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    short = printable if len(printable) <= length else f"{printable[: length - 9]}…{printable[-8:]}"
    return short.replace("$", r"\$")


def wrapped(text: str, width: float, points: float, most: int = 6) -> list[str]:
    """Break `text` into at most `most` lines that fit a width in inches."""
    letters = max(20, int(width * 72 / (points * 0.6)))  # a letter is about .6 as wide as high
    lines = textwrap.wrap(text[:2000], letters)
    if len(lines) > most:
        lines[most - 1 :] = [" ".join(lines[most - 1 :])]
    return [plain(line, letters) for line in lines]


def write_figure(
    figure: Figure, path: str | Path, title: str, caption: str, stamps: Sequence[str]
) -> Path:
    """Write `figure` as PNG, with stamps (red) and title above it and caption below it.

    The picture grows by these lines, so nothing in the figure is covered or cut off.
    """
    path = Path(path)
    width, height = figure.get_size_inches()
    above = 0.08
    for text, points, colour in (
        *((title, 13, "black"),),
        *((stamp, 11, _STAMP_COLOUR) for stamp in stamps),
    ):
        lines = wrapped(text, width, points)
        figure.text(
            0.5, 1 + above / height, "\n".join(lines), ha="center", va="bottom",
            fontsize=points, color=colour, fontweight="bold",
        )  # fmt: skip
        above += len(lines) * points * 1.35 / 72
    below = "\n".join(wrapped(caption, width, 9, most=14))  # a note is read to its end
    figure.text(0.5, -0.06 / height, below, ha="center", va="top", fontsize=9, color="0.25")
    dpi = min(_DPI, _MAX_PIXELS / max(width, height))
    with DRAWING, atomic_file(path) as file:
        FigureCanvasAgg(figure)
        figure.savefig(
            file, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.12, facecolor="white"
        )
    return path


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """Return a figure of its own, in inches, and its one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()
