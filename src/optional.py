"""Packages that only some commands need, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import ConfigError

_NEEDS = "raw scans need"


def install_command(extra: str) -> str:
    """Return the command that installs an extra: in a clone from there, else beside the package."""
    project = "." if __name__.startswith("src.") else "alzheimers-mri"
    return f'python -m pip install "{project}[{extra}]"'


def optional(name: str, needs: str, extra: str) -> Any:
    """Return an optional package.

    Args:
        name: Of its module.
        needs: Who needs it, such as ``"raw scans need"``.
        extra: Of ``pyproject.toml`` that holds it.

    Raises:
        ConfigError: It cannot be imported; the hint is the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{needs} {name}, which cannot be imported: {error}",
            hint=install_command(extra),
        ) from None


def simple_itk() -> Any:
    """Return SimpleITK.

    Raises:
        ConfigError: It is not installed.
    """
    return optional("SimpleITK", _NEEDS, "scans")


def pydicom() -> Any:
    """Return pydicom, which reads headers of DICOM files.

    Raises:
        ConfigError: It is not installed.
    """
    return optional("pydicom", _NEEDS, "scans")


def deepbet() -> Any:
    """Return deepbet, which carries its weights.

    Raises:
        ConfigError: It is not installed.
    """
    return optional("deepbet", _NEEDS, "scans")
