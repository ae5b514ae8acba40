"""Figures that were written, watched: their texts, marks and lines, and whether texts overlap."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text


class Drawn:
    """The figures written while it watches; their pictures are drawn only if `render`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, render: bool) -> None:
        self.figures: list[Figure] = []
        self._boxes: list[tuple[str, Any]] = []
        draw, draw_all, save = Text.draw, Figure.draw, Figure.savefig

        def spy(text: Text, renderer: Any, *args: Any, **kwargs: Any) -> None:
            if text.get_visible() and text.get_text().strip():
                self._boxes.append((text.get_text(), text.get_window_extent(renderer)))
            draw(text, renderer, *args, **kwargs)

        def begin(figure: Figure, *args: Any, **kwargs: Any) -> None:
            self._boxes.clear()  # the first drawing only measures
            draw_all(figure, *args, **kwargs)

        def keep(figure: Figure, *args: Any, **kwargs: Any) -> None:
            self.figures.append(figure)
            if render:
                save(figure, *args, **kwargs)
                assert self.overlapping() == [], self.caption

        monkeypatch.setattr(Figure, "savefig", keep)
        if render:
            monkeypatch.setattr(Text, "draw", spy)
            monkeypatch.setattr(Figure, "draw", begin)

    @property
    def texts(self) -> list[str]:
        """Every text of the last figure, escapes taken away, its lines joined."""
        for axes in self.figures[-1].get_axes():
            axes.get_xticklabels(), axes.get_yticklabels()  # makes them
        found = [text for text in self.figures[-1].findobj(Text) if text.get_visible()]
        return [text.get_text().replace("\\$", "$").replace("\n", " ") for text in found]

    @property
    def caption(self) -> str:
        return self.figures[-1].texts[-1].get_text().replace("\n", " ")

    def overlapping(self) -> list[tuple[str, str]]:
        """Pairs of texts of the last picture that cover each other by more than a pixel."""
        return [
            (a, b)
            for (a, p), (b, q) in itertools.combinations(self._boxes, 2)
            if min(p.x1, q.x1) - max(p.x0, q.x0) > 1 and min(p.y1, q.y1) - max(p.y0, q.y0) > 1
        ]

    def lines(self, panel: int = 0) -> list[Any]:
        return list(self.figures[-1].get_axes()[panel].lines)

    def marks(self, panel: int = 0) -> list[Any]:
        """Estimates: single points with a marker."""
        return [line for line in self.lines(panel) if len(line.get_xdata()) == 1]


def check_png(path: Path | None) -> None:
    """A PNG of sane size."""
    assert path is not None
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert 300 < width < 3000
    assert 300 < height < 3000
