"""Scans whose names look like several of one person, where no known id tells who it is.

This is a suspicion in words for the person who knows; nobody is joined by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORDS = (
    "visit|session|ses|scan|run|acq|rep|repeat|retest|time|timepoint|tp|followup|follow-up|fu|"
    "baseline|bl|year|yr|month|mo|day|week|t1w|t1|mprage|mri|mr|anat|head|brain|img|image"
)
#: What tells visits apart at the end of a name: ``_visit2``, ``-20060418``, ``_b`` after a number.
_TAILS = (
    re.compile(rf"(?:^|[ _.-])(?:{_WORDS})[ _.-]?\d{{0,4}}[a-z]?$", re.IGNORECASE),
    re.compile(r"(?:^|[ _.-])(?:19|20)\d\d[-_.]?\d\d[-_.]?\d\d$"),
    re.compile(r"[ _.-][vtmdy]\d{1,4}$", re.IGNORECASE),
    re.compile(r"(?<=\d)[ _.-](?:[a-z]|\d{1,2})$", re.IGNORECASE),
)


def alike_names(paths: Iterable[str]) -> list[list[str]]:
    """Return the groups of paths, two or more each, that seem to be visits of one person.

    ``anna_visit1`` and ``anna_visit2`` are a group, ``p01_a`` and ``p01_b``, and the scans
    ``scan 1`` and ``scan 2`` of one folder; ``head1`` and ``head2`` are not.

    Args:
        paths: With ``/``, relative to the data set's folder, without endings.
    """
    groups: dict[str, list[str]] = {}
    for path in sorted(paths):
        stem = _without_visit(path)
        if stem:
            groups.setdefault(stem, []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def _without_visit(path: str) -> str:
    """Return the path without what tells visits apart: of ``anna/scan 1`` the folder is left."""
    folder, _, name = path.rpartition("/")
    shorter = None
    while name and name != shorter:
        shorter = name
        for tail in _TAILS:
            name = tail.sub("", name)
    if name:
        return f"{folder}/{name}"
    return _without_visit(folder) if folder else ""
