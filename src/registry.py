"""A table of named things that modules add to with a decorator and others look up by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from .errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to entries of one kind.

    Args:
        kind: What an entry is, for messages: "backbone", "cohort".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T, *, again: bool = False) -> None:
        """Store `entry` under `name`; a second entry of that name is a programming error.

        Args:
            name: What it is looked up by.
            entry: What is looked up.
            again: It replaces the one that is there: a notebook's cell was run twice.
        """
        if name in self._entries and not again:
            raise KeyError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """Return the entry of `name`.

        Raises:
            UnknownNameError: Nothing has that name; the message says what does.
        """
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
