"""The page of all flags, written from the settings themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping

from src.config import RunConfig
from src.config.flags import Flag, flags_of
from src.config.help import mode_called
from src.config.modes import MODES

_OPENING = """\
# Every flag

For anyone who looks up one flag: what it takes, what it is by default, and which modes read it.
This page is written from the settings themselves; [Commands](commands.md) says which flags a task
needs, and the [glossary](glossary.md) what words mean.

`python main.py --mode MODE --help` says the same in a terminal. A flag that a mode does not read is
refused, but `--config FILE` may hold settings of all modes.
"""
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "Path": "a file or folder",
    "tuple": "one text or several",
}
_SAID_AT_MOST = 3
#: A page of all flags, which is named where no other page says more.
_LISTS = ("commands.md",)


def flag_page(pages: Mapping[str, str]) -> str:
    """Return the page as Markdown.

    Args:
        pages: Name on the site and Markdown of every page that may explain a flag.
    """
    lines = [_OPENING, "## Modes", "", "| mode | what it does | an example |", "|---|---|---|"]
    for name in ("full", *MODES):
        mode = mode_called(name)
        example = f"python main.py --mode {name} {mode.example}"
        lines.append(f"| `{name}` | {mode.about} | `{example}` |")
    part = ""
    for flag in flags_of(RunConfig):
        if flag.part != part:
            part = flag.part
            lines += ["", f"## {part}"]
        lines += ["", *_entry(flag, pages)]
    return "\n".join(lines) + "\n"


def title_of(text: str) -> str:
    """Return the title of a page."""
    return text.partition("\n")[0].removeprefix("# ")


def explaining(name: str, pages: Mapping[str, str]) -> list[str]:
    """Return the pages that name a flag, the one that does so most often first."""
    counts = {page: len(re.findall(rf"--(?:no-)?{name}\b", text)) for page, text in pages.items()}
    named = [page for page, count in counts.items() if count and page not in _LISTS]
    most = sorted(named, key=lambda page: -counts[page])[:_SAID_AT_MOST]
    return most or [page for page in _LISTS if counts.get(page)]


def _entry(flag: Flag, pages: Mapping[str, str]) -> list[str]:
    read = ", ".join(f"`{mode}`" for mode in flag.modes)
    links = [f"[{title_of(pages[page])}]({page})" for page in explaining(flag.name, pages)]
    lines = [f"### `--{flag.name}`", "", _plain(flag.text), "", f"- Takes: {_values(flag)}"]
    lines += [f"- Default: `{flag.shown_default}`"] if flag.shown_default else []
    lines += [f"- Read by: {read}"]
    return [*lines, f"- Explained in: {'; '.join(links)}"] if links else lines


def _plain(text: str) -> str:
    """Return a help text as Markdown, in which ``<run>`` is no tag."""
    return (text % ()).replace("<", r"\<").replace("*", r"\*").replace("_", r"\_")


def _values(flag: Flag) -> str:
    if flag.kind is bool:
        return f"no value; `--no-{flag.name}` turns it off"
    if flag.choices:
        return ", ".join(f"`{choice}`" for choice in flag.choices)
    kind = _KINDS[flag.kind.__name__]
    return f"{kind}, {flag.within.words}" if flag.within else kind
