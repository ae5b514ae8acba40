"""What every check of an audit says: a verdict, a sentence, numbers and examples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from ..manifest import SPLITS

PASS, WARN, FAIL, NOT_KNOWN = "PASS", "WARN", "FAIL", "NOT KNOWN"
MAX_EXAMPLES = 10
#: Why nothing is compared.
ONE_SIDE = "there are no two sides to compare: no train and test folder, or one of them is empty"


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        name: Stable key, such as ``people``.
        verdict: `PASS`, `WARN`, `FAIL` or `NOT_KNOWN`.
        sentence: What was found, for a person.
        numbers: What JSON can hold.
        examples: Up to `MAX_EXAMPLES`, shortened for display.
    """

    name: str
    verdict: str
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``audit.json`` holds."""
        return asdict(self) | {"examples": self.examples[:MAX_EXAMPLES]}


def verdict_of(checks: Iterable[Check]) -> str:
    """Return FAIL if any check fails, NOT KNOWN if none could compare two sides, else PASS."""
    found = list(checks)
    if any(check.verdict == FAIL for check in found):
        return FAIL
    compared = {check.verdict for check in found if check.name in ("identical_files", "people")}
    return NOT_KNOWN if compared == {NOT_KNOWN} else PASS


def sides_of(rows: pd.DataFrame) -> list[str]:
    """Return the sides that have rows, in the order train, val, test."""
    return [side for side in SPLITS if (rows["split"] == side).any()]


def people_known(rows: pd.DataFrame) -> bool:
    """Return whether every image's person is known by name."""
    return bool(rows["known"].all())
