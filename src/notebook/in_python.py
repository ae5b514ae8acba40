"""What an error says, in Python's words: a notebook has no flags, and a fix must work as it stands.

``--classes 3`` becomes ``classes=3``, ``--no-report`` becomes ``report=False``, and ``python
main.py --mode preprocess --dataset oasis`` becomes ``preprocess("oasis")``. A command that no
function stands for stays one, and says that it is for a shell. The shell's own words do not change.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..config import COHORTS, DATASETS, RunConfig
from ..config.flags import Flag, flags_of
from ..config.modes import MODES
from ..errors import MriError

P = ParamSpec("P")
R = TypeVar("R")
#: Modes that a function of the same name runs with the flags as settings.
CALLED = ("preprocess", "evaluate", "crossval", "gradcam", "audit", "compare", "crossdata")
#: Other modes -> what does the same in Python.
_ALIKE = {
    "train": "Trainer(...).train(save_dir=...)",
    "predict": "predict(model, ...)",
    "report": "build_report(...)",
}
_ALL_FLAGS = "python main.py --help-all lists every flag", "docs/commands.md lists every setting"
_FLAGS = {flag.name: flag for flag in flags_of(RunConfig)}
_WORD = r"(?:'[^']*'|\"[^\"]*\"|[^\s,;:()'\"]|:(?=\S))+"
_COMMAND = re.compile(rf"python main\.py((?: {_WORD})+)")
_MODE = re.compile(r"(?:run |use )?--mode (\w+)")
_FLAG = re.compile(rf"(?P<left>leave |without )?(?<![\w-])--(?P<no>no-)?(?P<name>[a-z]\w*)"
                   rf"(?:[ =](?P<value>{_WORD}))?")  # fmt: skip
#: A word behind a flag that is its value, and not the next word of the sentence.
_VALUE = re.compile(r"['\"].*|[A-Z]+|(?=.*\w).*[\d/\\._:+-].*|cpu|cuda|mps|none|imagenet|AUTO")


def in_python(text: str) -> str:
    """Return a sentence of the shell in Python's words.

    Args:
        text: An error's message, or what mends it.
    """
    text = text.replace(*_ALL_FLAGS)
    text = _COMMAND.sub(lambda found: _call(found[0], found[1]), text)
    shells = re.split(r"(in a shell: python main\.py(?: [^,;()]+)?)", text)
    return "".join(one if number % 2 else _settings(one) for number, one in enumerate(shells))


def speaks_python(function: Callable[P, R]) -> Callable[P, R]:
    """Let every error of the input that leaves a function speak Python."""

    @functools.wraps(function)
    def speaking(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MriError as error:
            error.message, error.hint = in_python(error.message), in_python(error.hint)
            raise

    return speaking


def _call(command: str, said: str) -> str:
    """Return the call that does what a command does, and the words of the sentence behind it."""
    words = shlex.split(said)
    mode, given = "full", []
    while words and words[0].startswith("--"):
        name = words.pop(0).removeprefix("--")
        flag = _FLAGS.get(name.removeprefix("no-"))
        if name == "mode" and words:
            mode = words.pop(0)
        elif flag and flag.kind is bool:
            given.append(f"{flag.name}={not name.startswith('no-')}")
        elif flag and flag.kind is tuple:  # names that follow each other, and stand first
            while words and not words[0].startswith("-"):
                given.append(repr(words.pop(0)))
        elif flag and words:
            first = name == "dataset" and mode != "audit"  # which takes a folder first
            given.append(("" if first else f"{name}=") + _written(flag, words.pop(0)))
        else:  # --config, of which no function knows
            return f"in a shell: {command}"
    if mode not in CALLED:
        return f"in a shell: {command}"
    while mode == "compare" and words and words[0].isupper():
        given.append(repr(words.pop(0)))
    given.sort(key=lambda one: "=" in one.partition("'")[0])  # what has no name stands first
    return " ".join([f"{mode}({', '.join(given) or '...'})", *words])


def _settings(text: str) -> str:
    text = _MODE.sub(lambda found: _mode(found[0], found[1]), text)
    return _FLAG.sub(_setting, text)


def _mode(said: str, mode: str) -> str:
    if mode not in MODES:
        return said
    name = f"{mode}(...)" if mode in CALLED else _ALIKE.get(mode, said)
    first = re.match("run |use ", said)
    return (first[0] if first else "") + name


def _setting(found: re.Match[str]) -> str:
    flag, before, value = _FLAGS.get(found["name"]), found["left"] or "", found["value"]
    if flag is None:
        return found[0]
    behind = f" {value}" if value else ""
    if before:  # "leave resume out"
        return f"{before}{flag.name}{behind}"
    if flag.kind is bool:
        return f"{flag.name}={not found['no']}{behind}"
    known = {*map(str, flag.choices), *((*COHORTS, *DATASETS) if flag.name == "dataset" else ())}
    if value and (value in known or _VALUE.fullmatch(value)):
        return f"{flag.name}={_written(flag, value)}"
    return f"{flag.name}{behind}"


def _written(flag: Flag, value: str) -> str:
    """Return a value as Python writes it: numbers as they are, text in quotes."""
    number = flag.kind in (int, float) and not value.isalpha()
    return value if number or value[:1] in "'\"" else repr(value)
