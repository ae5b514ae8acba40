"""Errors that a person can act on: what is wrong, what was found where, and how to fix it.

``main.py`` and ``debug.py`` print them without a traceback and leave with status 2. Any other
exception is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .words import nearest


class MriError(Exception):
    """Base of every error that the input, not the code, is to blame for.

    Args:
        message: What is wrong, and what was found where.
        hint: The command or action that fixes it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.hint}" if self.hint else self.message


class ConfigError(MriError, ValueError):
    """A setting is out of range, or two settings contradict each other."""


class UnknownNameError(ConfigError):
    """A name is not registered; the message lists those that are and the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = nearest(name, known)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(known)}"
        super().__init__(f"unknown {kind}: {name!r} (known: {', '.join(known)})", hint=hint)


def require_kind(
    argument: str, value: Any, kinds: type | tuple[type, ...], wanted: str, hint: str
) -> None:
    """Refuse an argument of the wrong type in one sentence; True and False are no numbers.

    Args:
        argument: Where it was given: ``"Trainer(config=...)"``.
        value: What was given.
        kinds: Types that are taken; None among them is written ``type(None)``.
        wanted: What is taken, in words: ``"a TrainConfig"``.
        hint: What to write instead.

    Raises:
        ConfigError: `value` is of another type.
    """
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        found = type(value).__name__
        article = "an" if found[0].lower() in "aeiou" else "a"
        raise ConfigError(f"{argument} takes {wanted}, found {article} {found}", hint=hint)


class DataNotFoundError(MriError, FileNotFoundError):
    """A file or folder that a stage reads is not there."""

    def __init__(self, path: Path | str, *, hint: str = "") -> None:
        super().__init__(f"not found: {path}", hint=hint)


class ManifestError(MriError, ValueError):
    """A table breaks the manifest's contract."""


class LeakageError(ManifestError):
    """One person, or one image, stands on two sides of a split."""


class AuditFailed(LeakageError):  # noqa: N818 - a verdict, not a malfunction
    """An audit ended with the verdict FAIL; ``main.py`` leaves with status 3."""


class ImageError(MriError, ValueError):
    """An image is damaged, empty or of a kind that cannot be used."""


class CheckpointError(MriError, RuntimeError):
    """A checkpoint or weight file is missing, damaged, unsafe or made for another model."""
