"""Known changes of scans: a section of the page, from ``stress.json``."""

from __future__ import annotations

from ..documents.markdown import escape
from ..stress import (
    FIGURE,
    MAPS_FIGURE,
    about,
    as_markdown,
    disease_table,
    maps_table,
    nuisance_table,
    region_table,
    verdict_table,
)
from .gather import RunFiles
from .pictures import picture
from .scores import Section
from .text import blocks_html


def stress_sections(files: RunFiles, width: int) -> list[Section]:
    """Return what the page says of known changes of scans; nothing where none were tried.

    Args:
        files: Of the run.
        width: Of the figure, in pixels at most.
    """
    content = files.stressed
    if content is None:
        return []
    figures = (
        (FIGURE, "Answers over the dose of disease, and stages that change where there is none."),
        (MAPS_FIGURE, "Maps of one person's scan, changed on one side and then on the other."),
    )
    there = [(files.stress / name, shows) for name, shows in figures]
    pictures = [picture(path, shows, width) for path, shows in there if path.is_file()]
    title = f"Known changes of scans: {content['verdict']}"
    tables = (verdict_table, disease_table, nuisance_table, region_table, maps_table)
    blocks = [[escape(about(content), 600)]]
    for table in tables:
        made = table(content)
        blocks += [as_markdown(made)] if made[1] else []
    return [Section("stress", title, blocks_html(blocks, title), pictures)]
