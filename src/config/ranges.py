"""Numbers that a setting takes, and the refusal of those that it does not."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True)
class Range:
    """Numbers that a setting takes.

    Attributes:
        low: Least number.
        high: Largest number.
        open_low: `low` itself is not taken.
        open_high: `high` itself is not taken.
        note: Follows the range in words, such as a unit.
    """

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    note: str = ""

    @property
    def words(self) -> str:
        """The range in words: ``1 to 10000``, ``above 0``, ``0 or more``."""
        low, high = f"{self.low:.15g}", f"{self.high:.15g}"
        if math.isinf(self.high):
            said = f"above {low}" if self.open_low else f"{low} or more"
        elif self.open_low:
            said = f"between {low} and {high}"
        else:
            said = f"{low} to {high}" if not self.open_high else f"{low} to under {high}"
        return f"{said} {self.note}".rstrip()

    def check(self, name: str, value: float) -> None:
        """Refuse a value that lies outside.

        Args:
            name: Of the flag, without hyphens.
            value: Finite.

        Raises:
            ConfigError: It lies outside.
        """
        low = value > self.low if self.open_low else value >= self.low
        high = value < self.high if self.open_high else value <= self.high
        if math.isinf(self.high):
            said = f"is not above {self.low:g}" if self.open_low else f"is under {self.low:g}"
        else:
            said = f"is not {'' if self.open_low else 'in '}{self.words}"
        require(low and high, f"--{name} {value:.15g} {said}")


def require(good: bool, what: str) -> None:
    """Raise `ConfigError` unless `good`."""
    if not good:
        named = re.match(r"--(\w+)", what)
        change = f"change --{named[1]} (in Python: {named[1]}=); " if named else ""
        raise ConfigError(what, hint=f"{change}python main.py --help-all lists every flag")
