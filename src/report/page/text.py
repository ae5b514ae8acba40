"""Text from files and documents, as a page may show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from ..documents.markdown import join_lines
from ..documents.result_sections import Blocks

# No HTML, no links, no pictures: a document of ours has none, and a name from a file gets none.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_MARKDOWN.disable(["link", "image", "autolink", "html_inline", "html_block", "reference"])
_LONGEST = 120


def shown(text: Any, length: int = _LONGEST) -> str:
    """Return text in one line, the middle left out where it is long.

    Signs that cannot be seen, or that turn the line around, become spaces. The page's template
    escapes what is left.
    """
    words = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return words if len(words) <= length else f"{words[: length - 9]}…{words[-8:]}"


def blocks_html(blocks: Blocks, label: str) -> Markup:
    """Return blocks of Markdown as HTML; a table scrolls in a region of its own.

    Args:
        blocks: Lines of Markdown, each block a paragraph, list or table.
        label: What a screen reader calls the tables.
    """
    html = _MARKDOWN.render(join_lines(blocks))
    region = f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
    # Whatever the text held is escaped, so these tags are the renderer's own.
    html = html.replace("<table>", region + "<table>")
    html = html.replace("</table>", "</table></div>").replace("<th>", '<th scope="col">')
    return Markup(html)  # noqa: S704 (markdown-it escaped it)


def line_html(line: str) -> Markup:
    """Return one line of Markdown as HTML, without a paragraph around it."""
    return Markup(_MARKDOWN.renderInline(line))  # noqa: S704 (markdown-it escaped it)


def short_classes(names: Sequence[str]) -> list[str]:
    """Return class names for narrow columns: ``Non``, ``VeryMild``, ``MildOrWorse``."""
    return [shown(name.removesuffix("Demented") or name) for name in names]
