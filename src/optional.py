"""Packages that only some commands need, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import ConfigError


def optional(name: str, needs: str, group: str) -> Any:
    """Return an optional package.

    Args:
        name: Of its module.
        needs: Who needs it, such as ``"raw scans need"``.
        group: It stands in ``requirements-<group>.txt``.

    Raises:
        ConfigError: It cannot be imported; the hint is the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{needs} {name}, which cannot be imported: {error}",
            hint=f"pip install -r requirements-{group}.txt",
        ) from None
