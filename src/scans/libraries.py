"""The packages that raw scans need, imported when they are, with a sentence where they are not."""

from __future__ import annotations

from typing import Any

from ..optional import optional

_NEEDS = "raw scans need"


def simple_itk() -> Any:
    """Return SimpleITK.

    Raises:
        ConfigError: It is not installed.
    """
    return optional("SimpleITK", _NEEDS, "scans")


def deepbet() -> Any:
    """Return deepbet, which carries its weights.

    Raises:
        ConfigError: It is not installed.
    """
    return optional("deepbet", _NEEDS, "scans")
