"""The json files beside images, as BIDS and dcm2niix write them: what made the scan.

Looked for under the image's name, beside it or in a folder ``BIDS`` beside its folder, as XNAT has
it; and in the data set's folder, under ``T1w.json``, which holds for every scan that does not say
otherwise. Other places of BIDS's inheritance principle are not looked into.

Source: the BIDS specification, "The Inheritance Principle" and "Magnetic Resonance Imaging",
bids-specification.readthedocs.io.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import MriError, counted
from ..files import read_json
from ..manifest import ORIGIN
from .file_kinds import scan_stem
from .origin import BIDS_WORDS, completed, no_origin, origin_of_words

logger = logging.getLogger(__name__)
#: Of the data set's folder; it holds for all its scans.
SHARED = "T1w.json"
_LARGEST = 4 << 20  # bytes; a sidecar has a few thousand


def complete_from_sidecars(told: pd.DataFrame, images: Sequence[Path], root: Path) -> pd.DataFrame:
    """Return where scans were made: as the table says, else as the files beside them do.

    A sidecar that cannot be read is left out, and a line tells how many.

    Args:
        told: `ORIGIN` by the table, a row per image.
        images: Their paths.
        root: Of the data set.
    """
    rows = _origins(images, root)
    read = no_origin(told.index)
    for name in read:
        values = [row[name] for row in rows]
        read[name] = pd.Series(values, told.index, dtype=read[name].dtype)
    return completed(told, read, root, "json sidecars") if read.notna().any(axis=None) else told


def read_sidecars(root: str | Path, paths: Iterable[str]) -> dict[str, list[Any]]:
    """Return ``scanner``, ``manufacturer`` and ``field_strength`` in tesla of every scan.

    Args:
        root: Of the paths.
        paths: Scans.
    """
    folder = Path(root)
    rows = _origins([folder / path for path in paths], folder)
    return {name: [row[name] for row in rows] for name in ORIGIN if name != "site"}


def _origins(images: Sequence[Path], root: Path) -> list[dict[str, Any]]:
    """Return what the files of every image say, and tell of those that cannot be read."""
    shared, damaged = _read(root / SHARED)
    bad = [root / SHARED] if damaged else []
    rows = []
    for image in images:
        name = f"{scan_stem(image.name)}.json"
        path = image.with_name(name)
        own, damaged = _read(path)
        if own is None and not damaged:
            path = image.parent.parent / "BIDS" / name
            own, damaged = _read(path)
        bad += [path] if damaged else []
        rows.append(origin_of_words((shared or {}) | (own or {}), BIDS_WORDS))
    if bad:
        logger.warning(
            "%s: %s cannot be read and %s left out, such as %s",
            *(root, counted(len(bad), "json sidecar"), "is" if len(bad) == 1 else "are", bad[0]),
        )
    return rows


def _read(path: Path) -> tuple[dict[str, Any] | None, bool]:
    """Return what a json file says, None where there is none; and whether it is damaged."""
    try:
        if not path.is_file():
            return None, False
        content = read_json(path) if path.stat().st_size <= _LARGEST else None
    except (MriError, OSError, ValueError, RecursionError):
        return None, True
    return (content, False) if isinstance(content, dict) else (None, True)
