"""The packages that raw scans need, imported when they are, with a sentence where they are not."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from ..errors import ConfigError


def simple_itk() -> Any:
    """Return SimpleITK.

    Raises:
        ConfigError: It is not installed.
    """
    return _wanted("SimpleITK")


def deepbet() -> Any:
    """Return deepbet, which carries its weights.

    Raises:
        ConfigError: It is not installed.
    """
    return _wanted("deepbet")


def _wanted(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"raw scans need {name}, which cannot be imported: {error}",
            hint="pip install -r requirements-scans.txt",
        ) from None
