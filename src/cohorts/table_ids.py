"""Ids of a table <-> ids of files, where a spreadsheet program changed them on the way.

Excel strips the zeros of ``001``, writes it as ``1.0``, and people retype ``OAS1_0061`` as
``oas1_0061``. Such ids are matched only where both ways lead to one person.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import ManifestError, counted

logger = logging.getLogger(__name__)


def match_ids(
    names: Iterable[str], called: Mapping[str, str], path: Path | str, *, tell: bool = True
) -> dict[str, str]:
    """Return what each name of a table means, for the names that mean something.

    Args:
        names: As the table has them.
        called: What the table may call each scan or person -> its id.
        path: Of the table, for errors.
        tell: Whether to log how many names were read.

    Raises:
        ManifestError: A name is like those of several ids, or several names are like one id's.
    """
    names = list(dict.fromkeys(names))
    exact = {name: called[name] for name in names if name in called}
    taken = set(exact.values())
    asked, there = defaultdict(set), defaultdict(set)
    for name in names:
        if name not in exact:
            asked[_plain(name)].add(name)
    for word, one in called.items():
        if one not in taken:
            there[_plain(word)].add(one)
    alike = {key: there[key] for key in asked if key in there}
    _refuse_unsure(alike, asked, path)
    found = {name: one for key in alike for name in asked[key] for one in alike[key]}
    if found and tell:
        name, one = next(iter(found.items()))
        logger.warning(
            "%s: %s from a name here in leading zeros or letter case only, and so taken for it: %r "
            "for %r",
            *(path, counted(len(found), "id differs", "ids differ"), name[:60], one[:60]),
        )
    return exact | found


def tell_twins(ids: Iterable[str], path: Path | str) -> None:
    """Warn of a table's people who differ in leading zeros or letter case: they may be the same."""
    alike = defaultdict(set)
    for one in ids:
        alike[_plain(one)].add(one)
    twins = [sorted(group) for group in alike.values() if len(group) > 1]
    if twins:
        logger.warning(
            "%s: %s by leading zeros or letter case only, such as %r and %r, and count as "
            "different people: if they are the same, write both in one way",
            *(path, counted(sum(map(len, twins)), "subject differs", "subjects differ")),
            *(twins[0][0][:60], twins[0][1][:60]),
        )


def _refuse_unsure(
    alike: Mapping[str, set[str]], asked: Mapping[str, set[str]], path: Path | str
) -> None:
    unsure = [key for key in alike if len(alike[key]) > 1 or len(asked[key]) > 1]
    if unsure:
        some = ", ".join(repr(one[:60]) for one in sorted(alike[unsure[0]])[:3])
        people = sum(len(alike[key]) for key in unsure)
        raise ManifestError(
            f"{path}: {counted(people, 'id differs', 'ids differ')} by leading zeros or letter "
            f"case only, so it cannot be told which is meant by "
            f"{', '.join(repr(name[:60]) for name in sorted(asked[unsure[0]])[:3])}: {some}",
            hint="write the ids in the table as the files and folders are called",
        )


def _plain(name: str) -> str:
    """Return a name without what a spreadsheet program changes."""
    name = unicodedata.normalize("NFC", name.strip()).lower()
    number = re.fullmatch(r"(\d+)\.0+", name)
    return re.sub(r"(?<!\d)0+(?=\d)", "", number[1] if number else name)
