"""Flags of the command line: what is known of each, from the fields of `RunConfig` alone.

The parser, the help of a mode, the refusal of a flag that a mode does not read, and the page of all
flags in the documentation are made of `flags_of`.
"""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .modes import FULL
from .options import parts_of, plain_type
from .ranges import Range


@dataclasses.dataclass(frozen=True)
class Flag:
    """What is known of one flag.

    Attributes:
        name: Without hyphens.
        part: What the part of the settings says of itself, in a line.
        kind: ``bool``, ``int``, ``float``, ``str``, ``Path``, or ``tuple`` of several texts.
        text: Its help, with ``%%`` for a percent sign.
        default: None where the help says what is taken.
        choices: The only values; none takes all.
        within: Numbers that it takes.
        modes: Those that read it, ``full`` among them where one of its stages does.
        switch: What ``--no-NAME`` and a bare ``--NAME`` stand for, of a former switch.
    """

    name: str
    part: str
    kind: type
    text: str
    default: Any
    choices: tuple[Any, ...]
    within: Range | None
    modes: tuple[str, ...]
    switch: tuple[str, str] | None = None

    @property
    def shown_default(self) -> str:
        """The default in words; empty where there is none, or where the help says it."""
        if self.kind is bool:
            return "on" if self.default else "off"
        return "" if self.default in (None, ()) else str(self.default)

    @property
    def help(self) -> str:
        """The help with range and default."""
        notes = [self.within.words] if self.within else []
        notes += [f"default: {self.shown_default}"] if self.shown_default else []
        return f"{self.text} ({'; '.join(notes)})" if notes else self.text


def flags_of(config: type) -> list[Flag]:
    """Return every flag of a config and its parts, in the order of their declaration."""
    found: dict[str, Flag] = {}
    modes_of_part = {
        item.name: item.metadata.get("modes", ()) for item in dataclasses.fields(config)
    }
    for name, part in [("", config), *parts_of(config)]:
        title = (part.__doc__ or part.__name__).strip().splitlines()[0].rstrip(".")
        hints = typing.get_type_hints(part)
        for item in dataclasses.fields(part):
            known = item.metadata
            if "help" not in known or item.name in found:
                continue
            modes = tuple(known["modes"] or modes_of_part.get(name, ()))
            found[item.name] = Flag(
                *(item.name, title, plain_type(hints[item.name]), known["help"], item.default),
                choices=tuple(known["choices"] or ()),
                within=known["within"],
                modes=(*modes, "full") if {*modes} & {*FULL} else modes,
                switch=known["switch"],
            )
    return list(found.values())


def read_by(mode: str, config: type) -> set[str]:
    """Return the names of the flags that a mode reads."""
    return {flag.name for flag in flags_of(config) if mode in flag.modes}


def add_config_arguments(
    parser: argparse.ArgumentParser, config: type, names: Collection[str] | None = None
) -> None:
    """Add ``--config`` and the flags of a config, grouped by its parts.

    Args:
        parser: Gets them.
        config: Such as `RunConfig`.
        names: Of the flags to add; None adds all.
    """
    parser.add_argument(
        "--config", type=Path, help="settings file: a run's results/<run>/config.json"
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for flag in flags_of(config):
        if names is not None and flag.name not in names:
            continue
        if flag.part not in groups:
            groups[flag.part] = parser.add_argument_group(flag.part)
        add_flag(groups[flag.part], flag)


def add_flag(group: argparse._ArgumentGroup, flag: Flag) -> None:
    """Add one flag; its default is None, so that what was given can be told from what was not."""
    if flag.kind is bool:
        group.add_argument(
            f"--{flag.name}", action=argparse.BooleanOptionalAction, default=None, help=flag.help
        )
        return
    if flag.kind is tuple:
        group.add_argument(f"--{flag.name}", nargs="+", default=None, help=flag.help)
        return
    bare: dict[str, Any] = {"nargs": "?", "const": flag.switch[True]} if flag.switch else {}
    group.add_argument(
        f"--{flag.name}", type=flag.kind, choices=flag.choices or None, help=flag.help, **bare
    )


def refuse_unread(args: argparse.Namespace, config: type) -> None:
    """Raise where a flag was given that the mode does not read: it would be ignored in silence.

    A settings file may hold settings of other modes; it is not looked at.

    Raises:
        ConfigError: With the first such flag, and the modes that read it.
    """
    for flag in flags_of(config):
        if getattr(args, flag.name, None) is None or args.mode in flag.modes:
            continue
        *others, last = flag.modes
        modes = f"{', '.join(others)} or {last}" if others else last
        raise ConfigError(
            f"--mode {args.mode} does not read --{flag.name}",
            hint=f"leave --{flag.name} out, or use --mode {modes}",
        )
