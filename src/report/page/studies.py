"""Studies tried on each other: the sections of the page, from ``crossdata.json``."""

from __future__ import annotations

from ..cross_study import (
    COLUMNS_NOTE,
    cells_table,
    in_short,
    matrix_table,
    sentences,
    studies_table,
)
from ..documents.markdown import escape
from ..documents.markdown import table as markdown_table
from .gather import RunFiles
from .pictures import picture
from .scores import Section
from .text import blocks_html

FIGURE = "crossdata.png"


def study_sections(files: RunFiles, width: int) -> list[Section]:
    """Return what the page says of studies tried on each other; nothing where none were.

    Args:
        files: Of the run.
        width: Of the figure, in pixels at most.
    """
    result = files.crossed
    if result is None:
        return []
    drawn = files.figures / FIGURE
    shows = "Balanced accuracy by the study of training (rows) and of the test (columns)."
    pictures = [picture(drawn, shows, width)] if drawn.is_file() else []
    lines = [f"- {escape(line, 1000)}" for line in sentences(result)]
    told = [[in_short(result)], lines, [COLUMNS_NOTE]]
    parts = (
        ("studies", "Studies", _table(studies_table(result))),
        ("matrix", "Trained on one, tested on another", _table(matrix_table(result))),
        ("cells", "What it comes to", [*told, *_table(cells_table(result))]),
    )
    return [
        Section(name, title, blocks_html(blocks, title), pictures if name == "matrix" else [])
        for name, title, blocks in parts
    ]


def _table(found: tuple[list[str], list[list[str]]]) -> list[list[str]]:
    head, rows = found
    return [
        markdown_table(
            [escape(one) for one in head], [[escape(one) for one in row] for row in rows]
        )
    ]
