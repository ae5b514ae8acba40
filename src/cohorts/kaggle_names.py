"""Recover people from the file names of the 6,400-image Kaggle set.

Each class is exactly n people x 32 neighbouring axial slices, and the names tell who is who:

- ``27 (4).jpg`` is slice 27 of person 4, and ``27.jpg`` is slice 27 of person 1. Slices 27 to 32
  of everybody, and slice 26 of some, are named so.
- ``nonDem123.jpg`` is a running number from 0 over the rest: slice 1 of everybody, slice 2 of
  everybody, ... and slice 26 of those who are still without one. Within a slice, people come in the
  order of the names above as text: 10, 100, 11, ... 2, 20, ... and person 1 last.

On the real set every neighbouring pair of slices that this rule gives one person is also the
nearest pair by pixels, so the rule is checked, not guessed; still, it holds only for a class that
is complete. Copies under other names are told by their bytes first: ``27 (1).jpg`` means what
``27.jpg`` does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import ManifestError
from .named_copies import find_copies, tell_copies

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
    _refuse_twice(stems)
    n = _likely_people(stems)
    named = {i: key for i, key in numbered.items() if key}
    _check_range(list(named.values()), n)
    if len(stems) % SLICES:
        raise ManifestError(f"expected a multiple of {SLICES} files, found {len(stems)}")
    shared = _check_named(list(named.values()), n)
    order = _order_of_running(n, shared)
    _check_running(list(running.values()), len(order))
    people = {i: (person, number) for i, (number, person) in named.items()}
    people |= {i: order[number] for i, number in running.items()}
    return [people[i] for i in range(len(stems))]


def people_by_name(
    root: Path, paths: Sequence[str], stages: Sequence[str]
) -> dict[int, tuple[str, int]]:
    """Return (subject, slice) of each file by its number; copies have none, and are told.

    Arguments and errors are those of `people_and_copies`.
    """
    people, copies = people_and_copies(root, paths, stages)
    tell_copies(root, paths, copies)
    return people


def people_and_copies(
    root: Path, paths: Sequence[str], stages: Sequence[str]
) -> tuple[dict[int, tuple[str, int]], dict[int, int]]:
    """Return (subject, slice) of each file by its number in `paths`, and copy -> original.

    Args:
        root: Folder of `paths`, whose files are opened only where the names do not fit.
        paths: With ``/``, of every file of the set.
        stages: Class of each.

    Raises:
        ManifestError: The names of a class do not fit the rule; it names the class.
    """
    stems = [Path(path).stem for path in paths]
    try:
        return dict(enumerate(people_of_classes(stages, stems))), {}
    except ManifestError:
        copies = find_copies(root, paths, stages, _irregular(stages, stems))
    kept = [i for i in range(len(paths)) if i not in copies]
    people = people_of_classes([stages[i] for i in kept], [stems[i] for i in kept])
    return dict(zip(kept, people, strict=True)), copies


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


def _irregular(stages: Sequence[str], stems: Sequence[str]) -> list[int]:
    """Return the files whose names do not fit; of several with one meaning, all but the shortest.

    A copy's name is its original's with something added.
    """
    people = {
        stage: _likely_people([s for s, of in zip(stems, stages, strict=True) if of == stage])
        for stage in set(stages)
    }
    odd, seen = [], set()
    for i in sorted(range(len(stems)), key=lambda i: (len(stems[i]), i)):
        meant, n = _meaning(stems[i]), people[stages[i]]
        if meant is None or not _in_range(meant, n) or (stages[i], meant) in seen:
            odd.append(i)
        seen.add((stages[i], meant))
    return odd


def _likely_people(stems: Sequence[str]) -> int:
    """Return how many people a class has; a few files too many, or too few, do not matter."""
    return round(len(stems) / SLICES)


def _meaning(stem: str) -> tuple[int, int] | int | None:
    """Return (slice, person), a running number, or None."""
    match = _RUNNING.fullmatch(stem)
    return int(match[1]) if match else _slice_and_person(stem)


def _in_range(meant: tuple[int, int] | int, n: int) -> bool:
    return isinstance(meant, int) or (_SHARED <= meant[0] <= SLICES and 1 <= meant[1] <= n)


def _slice_and_person(stem: str) -> tuple[int, int] | None:
    match = _NUMBERED.fullmatch(stem)
    return (int(match[1]), int(match[2] or 1)) if match else None


def _running_number(stem: str) -> int:
    match = _RUNNING.fullmatch(stem)
    if match is None:
        raise ManifestError(f"expected names like '27 (4)' or 'nonDem123', found {stem!r}")
    return int(match[1])


def _check_range(named: list[tuple[int, int]], n: int) -> None:
    """Check that the files named slice (person) are of the slices and the people there are."""
    for number, person in named:
        if not _in_range((number, person), n):
            raise ManifestError(
                f"expected slices {_SHARED} to {SLICES} of people 1 to {n}, "
                f"found '{number} ({person})'"
            )


def _check_named(named: list[tuple[int, int]], n: int) -> set[int]:
    """Check that nobody lacks a slice; return the people whose slice `_SHARED` is there."""
    people: dict[int, set[int]] = {number: set() for number in range(_SHARED, SLICES + 1)}
    for number, person in named:
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
    if sorted(numbers) != list(range(count)):
        span = f"{len(numbers)} from {min(numbers)} to {max(numbers)}" if numbers else "none"
        raise ManifestError(f"expected running numbers 0 to {count - 1}, found {span}")


def _refuse_twice(stems: Sequence[str]) -> None:
    first: dict[tuple[int, int] | int | None, str] = {}
    for stem in stems:
        other = first.setdefault(_meaning(stem), stem)
        if other is not stem:
            raise ManifestError(f"expected every name once, found {other!r} and {stem!r}")
