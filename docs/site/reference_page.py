"""The page of all public names, written from `src.__all__`: a new name appears by itself."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import src

_OPENING = """\
# Python

For anyone who writes Python instead of commands: every public name, as `from src import NAME` gives
it. An installed package has the same names in `mri_ad`. Words such as
[fold](glossary.md#fold) are in the glossary.

| name | what it is |
|---|---|
"""


def reference_page() -> str:
    """Return the page as Markdown, in which Sphinx fills in what docstrings say.

    Raises:
        ValueError: A public name says nothing of itself.
    """
    named = {name: getattr(src, name) for name in sorted(src.__all__, key=str.lower)}
    rows = [
        f"| [{name}](#{place}) | {_first_line(name, it)} |"
        for (name, it), place in zip(named.items(), _places(named), strict=True)
    ]
    parts = [_part(name, it) for name, it in named.items()]
    return "\n".join([_OPENING + "\n".join(rows), *parts]) + "\n"


def _places(names: Iterable[str]) -> Iterator[str]:
    """Yield what each heading is called in a link: of those alike but for capitals, numbered."""
    seen: Counter[str] = Counter()
    for name in map(str.lower, names):
        yield f"{name}-{seen[name]}" if seen[name] else name
        seen[name] += 1


def _first_line(name: str, found: Any) -> str:
    said = inspect.getdoc(found) if callable(found) else ""
    if not said:
        raise ValueError(f"src.{name} has no docstring: say in it what the name is for")
    return said.partition("\n\n")[0].replace("\n", " ").replace("``", "`").replace("|", r"\|")


def _part(name: str, found: Any) -> str:
    kind = "autoclass" if inspect.isclass(found) else "autofunction"
    # scikit-learn makes these methods, and its words link to its own site.
    made = [name for name in dir(found) if re.fullmatch(r"set_\w+_request", name)]
    left = f"\n   :exclude-members: {', '.join(made)}" if made else ""
    members = f"\n   :members:{left}" if inspect.isclass(found) else ""
    return f"\n## {name}\n\n```{{eval-rst}}\n.. {kind}:: src.{name}{members}\n```"
