"""Checks of a split that read a table alone: people, identical files, sessions, sides, sites.

A row is an image; sides are train, val and test. A check says PASS, WARN (no leak by itself), FAIL,
or NOT KNOWN with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, islice
from typing import Any

import pandas as pd

from ..cohorts.people_names import known_person
from ..errors import counted
from ..manifest import PEOPLE_UNKNOWN, SPLITS, Manifest
from ..report.canvas import plain
from .composition import check_composition
from .site import check_site
from .verdicts import (
    FAIL,
    MAX_EXAMPLES,
    NOT_KNOWN,
    ONE_SIDE,
    PASS,
    WARN,
    Check,
    sides_of,
    verdict_of,
)

#: What follows a person in names of sessions and acquisitions, where the person has no known id.
#: Only after an id with a digit: ``case_scan_12`` is no session of ``case``.
_SESSION = re.compile(
    r"(?<=\d)[_-](?:MR\d*|mpr-?\d+|(?:MR_)?d\d{4}|(?:ses|acq|run|scan|visit|session)[-_]?\w{1,8})$",
    re.IGNORECASE,
)


def cheap_audit(manifest: Manifest) -> dict[str, Any]:
    """Check what a manifest says of itself; no file is opened.

    Args:
        manifest: Rows of all sides. Fingerprints are taken from it, not from the files.

    Returns:
        ``verdict`` (FAIL if any check fails) and ``checks``, as in ``audit.json``.
    """
    checks = table_checks(manifest_rows(manifest))
    return {"verdict": verdict_of(checks), "checks": [check.to_dict() for check in checks]}


def manifest_rows(manifest: Manifest) -> pd.DataFrame:
    """Return a manifest's rows with ``known`` (a name tells the person) and ``unit``.

    Where the manifest says that people are unknown, those are known whose subject is an id.
    """
    known: bool | pd.Series = True
    if PEOPLE_UNKNOWN in manifest.stamps:
        known = manifest.table["subject"].map(lambda name: known_person(name) is not None)
    return manifest.table.assign(known=known, unit=manifest.table["subject"], blank=False)


def table_checks(rows: pd.DataFrame) -> list[Check]:
    """Run the checks of this module.

    Args:
        rows: ``path, subject, session, label, split, age, fingerprint``, and where it is known
            `ORIGIN`, as in a manifest; ``known``: the subject is a person; ``unit``: who is counted
            as one; ``blank``: the image has one grey level.
    """
    return [
        check_people(rows),
        check_identical(rows),
        check_sessions(rows),
        check_composition(rows),
        check_site(rows),
    ]


def check_people(rows: pd.DataFrame) -> Check:
    """Fail when a person has images on two sides."""
    name, sides, named = "people", sides_of(rows), rows[rows["known"]]
    if len(sides) < 2:
        return Check(name, NOT_KNOWN, ONE_SIDE)
    numbers = _overlaps(named if len(named) else rows, "subject", "people")
    both = _on_both(named if len(named) else rows, "subject")
    examples = [
        f"{plain(str(person))}: "
        + ", ".join(f"{side} {n}" for side, n in counts.items())
        + " images"
        for person, counts in both[:MAX_EXAMPLES]
    ]
    unnamed = len(rows) - len(named)
    if both:
        total = numbers["people"]
        return Check(
            name,
            FAIL,
            f"{len(both)} of {counted(total, 'person is', 'people are')} on both sides",
            numbers,
            examples,
        )
    if unnamed:
        said = f"{unnamed} of {counted(len(rows), 'image names', 'images name')} no person"
        return Check(name, NOT_KNOWN, said, numbers | {"images_without_person": unnamed})
    return Check(
        name, PASS, f"none of {counted(numbers['people'], 'person')} is on two sides", numbers
    )


def check_identical(rows: pd.DataFrame) -> Check:
    """Fail when one file, or one picture, lies on two sides.

    ``fingerprint`` is compared, and ``pixels`` where the files were read. Images of one grey level
    are alike whoever was scanned, and do not count.
    """
    name, sides = "identical_files", sides_of(rows)
    if len(sides) < 2:
        return Check(name, NOT_KNOWN, ONE_SIDE)
    columns = [column for column in ("fingerprint", "pixels") if column in rows]
    usable = rows[~rows["blank"]].dropna(subset=columns[:1])
    if usable.empty:
        return Check(name, NOT_KNOWN, "no file has a fingerprint")
    across = {column: _on_both(usable, column) for column in columns}
    doubled = usable[usable.duplicated(columns[-1], keep=False)]
    conflicts = doubled.groupby(columns[-1])["label"].nunique() > 1
    numbers = {
        "files": len(rows),
        "blank": int(rows["blank"].sum()),
        **{f"{column}_on_both_sides": len(found) for column, found in across.items()},
        "copies": int(usable.duplicated(columns[-1]).sum()),
        "copies_with_another_label": int(conflicts.sum()),
    }
    found = across[columns[-1]]
    if any(across.values()):
        groups = [usable[usable[columns[-1]] == key] for key, _ in found[:MAX_EXAMPLES]]
        said = f"{len(found)} pictures are on both sides, bit by bit"
        return Check(name, FAIL, said, numbers, [_names(group) for group in groups])
    if numbers["copies"]:
        said = counted(numbers["copies"], "file is a copy", "files are copies") + " on its own side"
        conflict = f", {numbers['copies_with_another_label']} of them under two labels"
        pairs = [_names(group) for _, group in islice(doubled.groupby(columns[-1]), MAX_EXAMPLES)]
        return Check(name, WARN, said + conflict, numbers, pairs)
    return Check(name, PASS, f"no two of {len(usable)} files are identical", numbers)


def check_sessions(rows: pd.DataFrame) -> Check:
    """Fail when a person's sessions or acquisitions were divided between two sides.

    The person is the subject without what names a session: ``OAS1_0028_MR1`` and ``OAS1_0028_MR2``
    are one.
    """
    name, sides, named = "sessions", sides_of(rows), rows[rows["known"]]
    if len(sides) < 2:
        return Check(name, NOT_KNOWN, ONE_SIDE)
    if named.empty:
        return Check(name, NOT_KNOWN, "no image names a person, so none names a session")
    session = named["session"].fillna("").astype(str)
    scans = named.assign(
        person=[person_of(subject) for subject in named["subject"]],
        scan=(named["subject"] + " " + session).str.strip(),
    ).drop_duplicates(["person", "scan", "split"])
    several = scans.groupby("person")["scan"].nunique()
    repeated = scans[scans["person"].isin(several.index[several > 1])].dropna(subset=["split"])
    divided = repeated.groupby("person")["split"].nunique()
    people = list(divided.index[divided > 1])
    numbers = {"people_with_several": int((several > 1).sum()), "people_divided": len(people)}
    if not people:
        count = numbers["people_with_several"]
        said = f"none of {counted(count, 'person')} with several sessions is divided"
        return Check(name, PASS, said if count else "everybody has one session", numbers)
    examples = [_scans_of(repeated[repeated["person"] == who]) for who in people[:MAX_EXAMPLES]]
    have = counted(len(people), "person has", "people have")
    said = f"{have} one session or acquisition here and another there"
    return Check(name, FAIL, said, numbers, examples)


def person_of(subject: str) -> str:
    """Return whom a subject is named after: a known id, else what is left without a session."""
    known = known_person(str(subject))
    if known is not None:
        return known
    name, shorter = "", str(subject)
    while shorter != name:
        name, shorter = shorter, _SESSION.sub("", shorter)
    return name


def _overlaps(rows: pd.DataFrame, column: str, what: str) -> dict[str, Any]:
    """Count the values of `column` in all, on each side, and on both of two sides."""
    on = {side: set(rows.loc[rows["split"] == side, column]) for side in sides_of(rows)}
    pairs = {f"{a}_{b}": len(on[a] & on[b]) for a, b in combinations(on, 2)}
    return {
        what: int(rows[column].nunique()),
        "on_side": {side: len(values) for side, values in on.items()},
        "on_both": pairs,
    }


def _on_both(rows: pd.DataFrame, column: str) -> list[tuple[str, dict[str, int]]]:
    """Return each value that stands on two sides or more, with its rows on each."""
    placed = rows.dropna(subset=["split", column])
    sides = placed.groupby(column)["split"].nunique()
    both = placed[placed[column].isin(sides.index[sides > 1])]
    counts = both.groupby([column, "split"]).size()
    found: dict[str, dict[str, int]] = {}
    for (value, side), count in counts.items():
        found.setdefault(str(value), {})[str(side)] = int(count)
    return [(v, {s: on[s] for s in SPLITS if s in on}) for v, on in found.items()]


def _names(group: pd.DataFrame) -> str:
    first = group.drop_duplicates("split").head(3)
    paths: Sequence[str] = [plain(str(path), 70) for path in group["path"].head(2)]
    if len(first) > 1:
        paths = [plain(str(path), 70) for path in first["path"]]
    return " = ".join(paths)


def _scans_of(scans: pd.DataFrame) -> str:
    shown = scans.drop_duplicates("split").sort_values("split", ascending=False)
    return ", ".join(
        f"{plain(str(scan))} in {side}"
        for scan, side in zip(shown["scan"], shown["split"], strict=True)
    )
