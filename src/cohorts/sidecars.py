"""What the JSON file of a scan says of the scanner: BIDS calls it a sidecar.

Source: bids-specification.readthedocs.io, common metadata fields of MR scans.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import MriError, counted
from ..files import read_json
from .file_kinds import scan_stem

logger = logging.getLogger(__name__)
#: Column of the manifest -> field.
_FIELDS = {
    "scanner": "ManufacturersModelName",
    "manufacturer": "Manufacturer",
    "field_strength": "MagneticFieldStrength",
}
_TESLA = (0.01, 30.0)


def read_sidecars(root: Path, paths: Iterable[str]) -> dict[str, list[Any]]:
    """Return ``scanner``, ``manufacturer`` and ``field_strength`` in tesla of every scan.

    Args:
        root: Of the paths.
        paths: Scans. The JSON file has a scan's name, and lies beside it or in a folder ``BIDS``
            beside its folder, as XNAT has it.
    """
    read: list[dict[str, Any]] = []
    damaged: list[Path] = []
    for path in paths:
        scan = root / path
        name = f"{scan_stem(scan.name)}.json"
        places = (scan.with_name(name), scan.parents[1] / "BIDS" / name)
        there = next((place for place in places if place.is_file()), None)
        try:
            content = read_json(there) if there else {}
        except (ValueError, MriError):
            content = None
        if not isinstance(content, dict):
            damaged += [there] if there else []
            content = {}
        read.append(content)
    if damaged:
        logger.warning(
            "%s cannot be read: the scanner of %s is not known, such as that of %s",
            *("a JSON file" if len(damaged) == 1 else "JSON files", counted(len(damaged), "scan")),
            damaged[0],
        )
    return {column: [_value(one, column) for one in read] for column in _FIELDS}


def _value(content: dict[str, Any], column: str) -> Any:
    value = content.get(_FIELDS[column])
    if column != "field_strength":
        return value.strip()[:80] or None if isinstance(value, str) else None
    known = isinstance(value, int | float) and _TESLA[0] <= value <= _TESLA[1]
    return float(value) if known and value is not None else None
