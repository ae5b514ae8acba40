"""Markdown that holds together whatever stands in a file: text, numbers, intervals and tables.

Numbers are written as in a paper: three decimals, no zero before the point, the 95 % interval in
parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...errors import counted
from ..estimates import NOT_ESTIMABLE, Counts, is_doubtful, of_metric, written

#: What may end a table cell, begin a tag or make a link becomes an entity: no reader takes it for
#: markup. Other marks get a backslash; an underscore within a word is no mark.
_ENTITIES = r"[&<>|\\`@]|(?<=http)s?:|(?<=www)\."
_MARKS = r"[*\[\]#~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
_UNSAFE = re.compile(f"({_ENTITIES})|({_MARKS})", re.IGNORECASE)


def escape(text: Any, length: int = 100) -> str:
    """Return `text` as plain words of one line, at most `length` characters of it."""
    words = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    short = words if len(words) <= length else f"{words[: length - 9]}…{words[-8:]}"
    return _UNSAFE.sub(_made_safe, short)


def number(value: Any) -> str:
    """Return ``.123``, ``-.123`` or ``12.345``; None is not estimable."""
    if value is None:
        return NOT_ESTIMABLE
    text = f"{value:.3f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return re.sub(r"^(-?)0\.", r"\1.", text)


def estimate(values: Any) -> str:
    """Return an interval dict, or a bare number, as ``.512 (.412 to .598)``."""
    return written(values, number)


def score_cell(metric: str, values: Any, counts: Counts) -> str:
    """Return a metric's estimate, in italics where a class it rests on has under ten people."""
    text = of_metric(metric, values, counts, number, short=True)
    return f"*{text}*" if is_doubtful(metric, values, counts) else text


def p_value(value: Any) -> str:
    """Return ``p = .012``, or ``p < .001``."""
    if value is None:
        return f"p {NOT_ESTIMABLE}"
    return "p < .001" if value < 0.001 else f"p = {number(value)}"


def people(n: int) -> str:
    """Return ``1 person`` or ``12 people``."""
    return counted(n, "person")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; cells are safe text already.

    Raises:
        ValueError: A row has another number of cells than the head, or a cell breaks its row.
    """
    lines = [head, ["---"] * len(head), *rows]
    for line in lines:
        if len(line) != len(head) or any("|" in cell or "\n" in cell for cell in line):
            raise ValueError(f"no row of {len(head)} cells: {line}")
    return [f"| {' | '.join(line)} |" for line in lines]


def join_lines(blocks: Iterable[Sequence[str]]) -> str:
    """Return blocks of lines as one text, an empty line between blocks."""
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _made_safe(found: re.Match[str]) -> str:
    if found[1]:
        return "".join(f"&#{ord(c)};" for c in found[1])
    return f"\\{found[2]}"
