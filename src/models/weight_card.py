"""What stands beside a weight file: whose scans it was learnt on, and how they were made.

``net.pth`` may have ``net.json``, an object with any of

- ``cohorts``: names of the studies it was trained on, such as ``["oasis3"]``
- ``people``: hashes of the people, as `src.cohorts.people_names.hash_subjects` makes them
- ``preprocessing``: settings of ``preprocess`` that the images must have been made with
- ``normalisation``: ``{"mean": ..., "std": ...}`` of grey values in [0, 1]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import read_json

_HASH = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class WeightCard:
    """What is said of a weight file.

    Attributes:
        cohorts: Studies it was trained on.
        people: Hashed people it was trained on.
        preprocessing: Settings that images must have been made with.
        normalisation: Mean and standard deviation of grey values; None keeps the backbone's.
    """

    cohorts: tuple[str, ...] = ()
    people: frozenset[str] = frozenset()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    normalisation: tuple[float, float] | None = None


def read_card(weights: str | Path) -> WeightCard | None:
    """Return what stands beside a weight file; None where nothing does.

    Raises:
        CheckpointError: It is no such object, or a part of it is of another kind.
    """
    path = Path(weights).with_suffix(".json")
    if not Path(weights).is_file() or not path.is_file():
        return None
    try:
        return _parsed(read_json(path))
    except ValueError as error:
        raise CheckpointError(
            f"{path}, beside the weights, cannot be used: {error}",
            hint=f"mend it as docs/commands.md says, or move {path.name} away",
        ) from None


def _parsed(content: Any) -> WeightCard:
    if not isinstance(content, dict):
        raise ValueError("it is no object")
    known = {"cohorts", "people", "preprocessing", "normalisation"}
    if strange := sorted(content.keys() - known):
        raise ValueError(f"{strange[0]!r} is none of {', '.join(sorted(known))}")
    cohorts, people = (content.get(key, []) for key in ("cohorts", "people"))
    for key, names in (("cohorts", cohorts), ("people", people)):
        if not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
            raise ValueError(f"{key} is no list of texts")
    if plain := [one for one in people if not _HASH.fullmatch(one)]:
        raise ValueError(f"people holds {plain[0]!r}, not a hash of 16 hexadecimal digits")
    made = content.get("preprocessing", {})
    if not isinstance(made, dict):
        raise ValueError("preprocessing is no object")
    return WeightCard(
        tuple(cohorts), frozenset(people), made, _normalisation(content.get("normalisation"))
    )


def _normalisation(found: Any) -> tuple[float, float] | None:
    if found is None:
        return None
    if not isinstance(found, dict) or found.keys() != {"mean", "std"}:
        raise ValueError("normalisation is no object with mean and std")
    for value in found.values():
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ValueError(f"normalisation holds {value!r}, no finite number")
    if found["std"] <= 0:
        raise ValueError("std is not above 0")
    return float(found["mean"]), float(found["std"])
