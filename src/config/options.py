"""Frozen dataclasses <-> command line and settings file.

A field made with `option` is a flag (`flags`): its type, default, help, allowed values, range and
the modes that read it are the field's.
A name that stands in two parts of a config (``seed``) is one flag that sets both.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import json
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import field
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError, DataNotFoundError, MriError, UnknownNameError, require_kind
from ..files import LARGEST_WHOLE, read_json
from .ranges import Range

C = TypeVar("C")


def option(
    default: Any,
    text: str,
    choices: Sequence[Any] | None = None,
    *,
    within: Range | None = None,
    modes: Sequence[str] = (),
    switch: tuple[str, str] | None = None,
) -> Any:
    """Declare a field that is also a flag.

    Args:
        default: None where the text says what is taken.
        text: Its help.
        choices: The only values; None takes all.
        within: Numbers that it takes; None is looked at by nobody.
        modes: Those that read it; empty for those that read its part of the settings.
        switch: What False and True stand for, of a setting that was only on or off once: settings
            files and Python may still say so.
    """
    known = {"help": text, "choices": choices, "within": within, "modes": tuple(modes)}
    known["switch"] = switch
    return field(default=default, metadata=known)


def part(config: type, modes: Sequence[str]) -> Any:
    """Declare a part of a config, and the modes that read its settings."""
    return field(default_factory=config, metadata={"modes": tuple(modes)})


def checked(config: type[C]) -> type[C]:
    """Let a config's constructor refuse unknown names and wrong types before it checks ranges.

    Whole numbers are taken for fractions, and text for paths. Goes above ``@dataclass``.

    Raises:
        UnknownNameError: By the constructor: a name is no setting.
        ConfigError: By the constructor: a value is of another type, or not one of the choices.
    """
    make = config.__init__
    form = inspect.signature(make)

    @functools.wraps(make)
    def checking(self: Any, *given: Any, **named: Any) -> None:
        for name in named:
            if name not in form.parameters:
                known = [parameter for parameter in form.parameters if parameter != "self"]
                raise UnknownNameError(f"setting of {config.__name__}", name, known)
        values = form.bind(self, *given, **named).arguments
        hints = typing.get_type_hints(config)
        for item in dataclasses.fields(typing.cast(Any, config)):
            if item.name not in values:
                continue
            value, kind = values[item.name], hints[item.name]
            if "help" in item.metadata:
                values[item.name] = _converted(item, value, kind)
                _check_range(item, values[item.name])
            elif dataclasses.is_dataclass(kind):
                word = kind.__name__  # type: ignore[union-attr]
                argument = f"{config.__name__}({item.name}=...)"
                hint = f"{item.name}={word}(...), with its settings in the brackets"
                require_kind(argument, value, typing.cast(type, kind), f"a {word}", hint)
        make(**values)

    config.__init__ = checking  # type: ignore[method-assign, assignment]
    return config


def settings_from_args(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings file's values with the given flags over them, by name.

    Raises:
        DataNotFoundError: ``--config`` names no file.
        ConfigError: The file is no settings file.
    """
    # Of the command line, not of a run.
    own = {"mode", "debug", "config", "runs", "help", "help_all"}
    given = {
        name: value for name, value in vars(args).items() if value is not None and name not in own
    }
    settings = _flat(_read_json(args.config)) if args.config else {}
    for name, value in settings.items():
        if isinstance(value, dict):  # which would be taken for a part, and its name forgotten
            raise ConfigError(
                f"{args.config}: setting {name!r} is an object", hint=f"give {name} one value"
            )
    return settings | given


def build_config(config: type[C], settings: dict[str, Any]) -> C:
    """Build a config and its parts from flat or nested names.

    Raises:
        UnknownNameError: A name is no setting.
        ConfigError: A value is of another type or out of range.
    """
    flat = _flat(settings)
    known = {
        item.name
        for _, part in [("", config), *parts_of(config)]
        for item in dataclasses.fields(part)
        if "help" in item.metadata
    }
    for name in flat:
        if name not in known:
            raise UnknownNameError("setting", name, known)
    parts = {name: _build(part, flat) for name, part in parts_of(config)}
    return typing.cast(C, _build(config, flat, **parts))


def config_to_dict(config: Any) -> dict[str, Any]:
    """Return the config as nested JSON values; `build_config` reads it back.

    A field that is no flag, such as the runs to compare, is no setting of a run.
    """
    parts = {name for name, _ in parts_of(type(config))}
    kept = {
        item.name: value
        for item, value in ((f, getattr(config, f.name)) for f in dataclasses.fields(config))
        if "help" in item.metadata or item.name in parts
    }
    values = {k: dataclasses.asdict(v) if k in parts else v for k, v in kept.items()}
    return typing.cast(dict[str, Any], json.loads(json.dumps(values, default=str)))


def parts_of(config: type) -> list[tuple[str, type]]:
    """Return the parts of a config: name and class."""
    hints = typing.get_type_hints(config)
    return [
        (f.name, hints[f.name])
        for f in dataclasses.fields(config)
        if dataclasses.is_dataclass(hints[f.name])
    ]


def plain_type(hint: Any) -> type:
    """Return a type without its None, or its items: ``int | None`` -> ``int``."""
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return typing.cast(type, typing.get_origin(hint) or hint)


def _build(part: type, flat: dict[str, Any], **fixed: Any) -> Any:
    values = dict(fixed)
    for item in dataclasses.fields(part):
        if item.name in flat and item.name not in fixed:
            values[item.name] = flat[item.name]
    return part(**values)


def _converted(item: dataclasses.Field[Any], value: Any, hint: Any) -> Any:
    if value is None and isinstance(hint, types.UnionType):
        return None
    kind, choices = plain_type(hint), item.metadata["choices"]
    if item.metadata["switch"] and isinstance(value, bool):
        return item.metadata["switch"][value]
    if kind in (int, float) and isinstance(value, Integral) and not isinstance(value, bool):
        try:
            value = kind(value)
        except OverflowError:
            value = math.inf  # refused below
    if kind is Path and isinstance(value, str):
        value = Path(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    wrong = _what_is_wrong(value, kind, choices)
    if wrong:
        raise ConfigError(
            f"setting {item.name!r}: {value!r} {wrong}",
            hint=f"correct {item.name} where it was given: as a flag, in a file or in Python",
        )
    return value


def _what_is_wrong(value: Any, kind: type, choices: Sequence[Any] | None) -> str:
    """Return in words why a value is not one of a setting's; empty where it is."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return f"is no {kind.__name__}"
    if isinstance(value, float) and not math.isfinite(value):
        return "is not finite"
    if isinstance(value, int) and not -LARGEST_WHOLE <= value <= LARGEST_WHOLE:
        return "is too large"
    if isinstance(value, tuple) and not all(isinstance(one, str) for one in value):
        return "holds something that is no text"
    if choices and value not in choices:
        return f"is none of {', '.join(map(str, choices))}"
    return ""


def _check_range(item: dataclasses.Field[Any], value: Any) -> None:
    within = item.metadata["within"]
    if within is not None and value is not None:
        within.check(item.name, value)


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataNotFoundError(path, hint="a run writes its settings to results/<run>/config.json")
    try:
        content = read_json(path)
    except ValueError as error:  # not JSON, no UTF-8, nested too deep, a number of 5000 digits
        if isinstance(error, MriError):
            raise
        raise ConfigError(
            f"{path} is not JSON: {error}", hint="copy it again, or give the settings as flags"
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds no settings",
            hint="a run writes its settings to results/<run>/config.json",
        )
    return content
