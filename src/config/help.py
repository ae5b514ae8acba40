"""What ``--help`` prints: the modes, the flags that most commands need, and where the rest is."""

from __future__ import annotations

import argparse
import textwrap

from .flags import Flag, add_config_arguments, flags_of, read_by
from .modes import COMMON, FULL, FULL_ABOUT, MODES, Mode
from .run import RunConfig

_INDENT = 21  # columns before a flag's words


def mode_called(name: str) -> Mode:
    """Return what is known of a mode, ``full`` among them."""
    return FULL_ABOUT if name == "full" else MODES[name]


def short_help(command: str) -> str:
    """Return the help of the program.

    Args:
        command: What starts it, such as ``python main.py``.
    """
    known = {flag.name: flag for flag in flags_of(RunConfig)}
    more = {
        f"{command} --mode train --help": "the flags that a mode reads, here train",
        f"{command} --help-all": "every flag",
        "docs/commands.md": "a command for every task",
    }
    return "\n".join(
        [
            f"usage: {command} [--mode MODE] [flags ...]",
            "",
            "Stage Alzheimer's disease from brain MRI, one pipeline stage per command.",
            "",
            "modes, each with an example:",
            *(line for name in ("full", *MODES) for line in _mode_lines(command, name)),
            "",
            "common flags:",
            *(_flag_lines(known[name]) for name in COMMON),
            "",
            "more:",
            *(f"  {where:<38}{what}" for where, what in more.items()),
        ]
    )


def _mode_lines(command: str, name: str) -> tuple[str, str]:
    mode = mode_called(name)
    return f"  {name:<11} {mode.about}", f"      {command} --mode {name} {mode.example}"


def _flag_lines(flag: Flag) -> str:
    words = (flag.help % ()).split()
    lines = textwrap.wrap(" ".join(words), 79 - _INDENT, break_on_hyphens=False)
    head, *others = lines
    name = f"  --{flag.name}"
    first = [f"{name:<{_INDENT}}{head}"]
    if len(name) >= _INDENT:
        first = [name, " " * _INDENT + head]
    return "\n".join([*first, *(" " * _INDENT + line for line in others)])


def add_flags(parser: argparse.ArgumentParser, mode: str | None) -> None:
    """Add ``--mode``, ``--debug``, ``--config`` and the flags of the settings.

    Args:
        parser: Gets them.
        mode: Only flags that it reads are added; None adds all.
    """
    modes = f"stage to run; full = {' -> '.join(FULL)} (default: %(default)s)"
    parser.add_argument("--mode", choices=[*MODES, "full"], default="full", help=modes)
    if mode in (None, "compare"):
        runs = "compare: two or more runs, by their names under results/ or by their folders"
        parser.add_argument("runs", nargs="*", metavar="RUN", help=runs)
    for flags, about in (
        (("-h", "--help"), "the common flags, or with --mode MODE those that the mode reads"),
        (("--help-all", "--help_all"), "every flag"),
    ):
        parser.add_argument(*flags, action="store_true", help=about)
    parser.add_argument("--debug", action="store_true", help="print tracebacks of input errors")
    add_config_arguments(parser, RunConfig, read_by(mode, RunConfig) if mode else None)
