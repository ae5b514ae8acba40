"""Recover people from the file names of the 6,400-image Kaggle set.

Each class is exactly n people x 32 neighbouring axial slices, and the names tell who is who:

- ``27 (4).jpg`` is slice 27 of person 4, and ``27.jpg`` is slice 27 of person 1. Slices 27 to 32
  of everybody, and slice 26 of some, are named so.
- ``nonDem123.jpg`` is a running number from 0 over the rest: slice 1 of everybody, slice 2 of
  everybody, ... and slice 26 of those who are still without one. Within a slice, people come in the
  order of the names above as text: 10, 100, 11, ... 2, 20, ... and person 1 last.

On the real set every neighbouring pair of slices that this rule gives one person is also the
nearest pair by pixels, so the rule is checked, not guessed; still, it holds only for a class that
is complete.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ..errors import ManifestError

SLICES = 32
#: Slice that is named partly in one way and partly in the other.
_SHARED = 26
_NUMBERED = re.compile(r"(\d+)(?: ?\((\d+)\))?")
_RUNNING = re.compile(r"[a-z]+(\d+)", re.IGNORECASE)


def recover_people(stems: Sequence[str]) -> list[tuple[int, int]]:
    """Return (person, slice), both from 1, for each file of one complete class.

    Args:
        stems: File names without suffix, in whatever order, of train and test together.

    Raises:
        ManifestError: The names do not fit the rule; it says what was expected and found.
    """
    numbered = {i: _slice_and_person(stem) for i, stem in enumerate(stems)}
    running = {i: _running_number(stem) for i, stem in enumerate(stems) if not numbered[i]}
    n, rest = divmod(len(stems), SLICES)
    if rest:
        raise ManifestError(f"expected a multiple of {SLICES} files, found {len(stems)}")
    named = {i: key for i, key in numbered.items() if key}
    shared = _check_named(list(named.values()), n)
    order = _order_of_running(n, shared)
    _check_running(list(running.values()), len(order))
    people = {i: (person, number) for i, (number, person) in named.items()}
    people |= {i: order[number] for i, number in running.items()}
    return [people[i] for i in range(len(stems))]


def people_of_classes(stages: Sequence[str], stems: Sequence[str]) -> list[tuple[str, int]]:
    """Return (subject, slice) for each file of a set in which every class is complete.

    Args:
        stages: Class of each file; people are counted within a class.
        stems: File names without suffix, in whatever order.

    Returns:
        Subjects such as ``MildDemented_007``; slices from 1.

    Raises:
        ManifestError: The names of a class do not fit the rule; it names the class.
    """
    found: dict[int, tuple[str, int]] = {}
    for stage in sorted(set(stages)):
        own = [i for i, name in enumerate(stages) if name == stage]
        try:
            people = recover_people([stems[i] for i in own])
        except ManifestError as error:
            raise ManifestError(f"{stage}: {error.message}") from None
        found |= {
            i: (f"{stage}_{person:03d}", number)
            for i, (person, number) in zip(own, people, strict=True)
        }
    return [found[i] for i in range(len(stems))]


def _slice_and_person(stem: str) -> tuple[int, int] | None:
    match = _NUMBERED.fullmatch(stem)
    return (int(match[1]), int(match[2] or 1)) if match else None


def _running_number(stem: str) -> int:
    match = _RUNNING.fullmatch(stem)
    if match is None:
        raise ManifestError(f"expected names like '27 (4)' or 'nonDem123', found {stem!r}")
    return int(match[1])


def _check_named(named: list[tuple[int, int]], n: int) -> set[int]:
    """Check the files named slice (person); return the people whose slice `_SHARED` is there."""
    _refuse_twice([f"{number} ({person})" for number, person in named])
    people: dict[int, set[int]] = {number: set() for number in range(_SHARED, SLICES + 1)}
    for number, person in named:
        if number not in people or not 1 <= person <= n:
            raise ManifestError(
                f"expected slices {_SHARED} to {SLICES} of people 1 to {n}, "
                f"found '{number} ({person})'"
            )
        people[number].add(person)
    for number in range(_SHARED + 1, SLICES + 1):
        if len(people[number]) != n:
            raise ManifestError(
                f"expected slice {number} of {n} people, found {len(people[number])}"
            )
    return people[_SHARED]


def _order_of_running(n: int, shared: set[int]) -> list[tuple[int, int]]:
    """Return (person, slice) of the running numbers 0, 1, ..."""
    order = [*sorted(range(2, n + 1), key=str), 1]
    early = [(person, number) for number in range(1, _SHARED) for person in order]
    return early + [(person, _SHARED) for person in order if person not in shared]


def _check_running(numbers: list[int], count: int) -> None:
    _refuse_twice([f"number {number}" for number in numbers])
    if sorted(numbers) != list(range(count)):
        span = f"{len(numbers)} from {min(numbers)} to {max(numbers)}" if numbers else "none"
        raise ManifestError(f"expected running numbers 0 to {count - 1}, found {span}")


def _refuse_twice(names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ManifestError(f"expected every name once, found {twice[0]} in two files")
