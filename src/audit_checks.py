"""Checks of a split that read a table alone: people, identical files, sessions, composition.

A row is an image; sides are train, val and test. A check says PASS, WARN (no leak by itself), FAIL,
or NOT KNOWN with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import pandas as pd

from .canvas import plain
from .labels import STAGES
from .manifest import PEOPLE_UNKNOWN, SPLITS, Manifest

PASS, WARN, FAIL, NOT_KNOWN = "PASS", "WARN", "FAIL", "NOT KNOWN"
MAX_EXAMPLES = 10
#: Two sides differ when chance would do so in one of 1,000 splits, and the difference is large.
P_DIFFERENT = 0.001
#: Large: the share of a class differs by 15 points, or the distributions of age are .3 apart.
SHARE_APART, AGE_APART = 0.15, 0.3
_ONE_SIDE = "there are no two sides to compare: no train and test folder, or one of them is empty"
#: What follows a person in names of sessions and acquisitions: OAS1_0028_MR1_mpr-2, OAS30001_d0129.
#: Only after an id with a digit: ``case_scan_12`` is no session of ``case``.
_SESSION = re.compile(
    r"(?<=\d)[_-](?:MR\d*|mpr-?\d+|d\d{4}|(?:ses|acq|run|scan|visit|session)[-_]?\w{1,8})$",
    re.IGNORECASE,
)


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
    """Return a manifest's rows with ``known`` (a name tells the person) and ``unit``."""
    known = PEOPLE_UNKNOWN not in manifest.stamps
    return manifest.table.assign(known=known, unit=manifest.table["subject"], blank=False)


def table_checks(rows: pd.DataFrame) -> list[Check]:
    """Run the checks of this module.

    Args:
        rows: ``path, subject, session, label, split, age, fingerprint`` as in a manifest;
            ``known``: the subject is a person; ``unit``: who is counted as one; ``blank``: the
            image has one grey level.
    """
    return [
        check_people(rows),
        check_identical(rows),
        check_sessions(rows),
        check_composition(rows),
    ]


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


def check_people(rows: pd.DataFrame) -> Check:
    """Fail when a person has images on two sides."""
    name, sides, named = "people", sides_of(rows), rows[rows["known"]]
    if len(sides) < 2:
        return Check(name, NOT_KNOWN, _ONE_SIDE)
    numbers = _overlaps(named if len(named) else rows, "subject", "people")
    both = _on_both(named if len(named) else rows, "subject")
    examples = [
        f"{plain(str(person))}: " + ", ".join(f"{n} images in {side}" for side, n in counts.items())
        for person, counts in both[:MAX_EXAMPLES]
    ]
    unnamed = len(rows) - len(named)
    if both:
        total = numbers["people"]
        return Check(
            name, FAIL, f"{len(both)} of {total} people are on both sides", numbers, examples
        )
    if unnamed:
        said = f"{unnamed} of {len(rows)} images name no person"
        return Check(name, NOT_KNOWN, said, numbers | {"images_without_person": unnamed})
    return Check(name, PASS, f"none of {numbers['people']} people is on two sides", numbers)


def check_identical(rows: pd.DataFrame) -> Check:
    """Fail when one file, or one picture, lies on two sides.

    ``fingerprint`` is compared, and ``pixels`` where the files were read. Images of one grey level
    are alike whoever was scanned, and do not count.
    """
    name, sides = "identical_files", sides_of(rows)
    if len(sides) < 2:
        return Check(name, NOT_KNOWN, _ONE_SIDE)
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
        said = f"{numbers['copies']} files are copies of others on their own side"
        conflict = f", {numbers['copies_with_another_label']} of them under two labels"
        pairs = [_names(group) for _, group in list(doubled.groupby(columns[-1]))[:MAX_EXAMPLES]]
        return Check(name, WARN, said + conflict, numbers, pairs)
    return Check(name, PASS, f"no two of {len(usable)} files are identical", numbers)


def check_sessions(rows: pd.DataFrame) -> Check:
    """Fail when a person's sessions or acquisitions were divided between two sides.

    The person is the subject without what names a session: ``OAS1_0028_MR1`` and ``OAS1_0028_MR2``
    are one.
    """
    name, sides, named = "sessions", sides_of(rows), rows[rows["known"]]
    if len(sides) < 2:
        return Check(name, NOT_KNOWN, _ONE_SIDE)
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
        said = f"none of {count} people with several sessions is divided"
        return Check(name, PASS, said if count else "everybody has one session", numbers)
    examples = [_scans_of(repeated[repeated["person"] == who]) for who in people[:MAX_EXAMPLES]]
    said = f"{len(people)} people have one session or acquisition here and another there"
    return Check(name, FAIL, said, numbers, examples)


def person_of(subject: str) -> str:
    """Return the subject without the endings that name a session or an acquisition."""
    name, shorter = "", str(subject)
    while shorter != name:
        name, shorter = shorter, _SESSION.sub("", shorter)
    return name


def check_composition(rows: pd.DataFrame) -> Check:
    """Compare classes and ages of train with those of val and test, counting units once a side.

    A class that is tested and not trained on fails; one that is trained on and not tested is
    warned of. Classes are compared by chi-squared, ages by Kolmogorov and Smirnov.
    """
    name, sides = "composition", sides_of(rows)
    if "train" not in sides or len(sides) < 2:
        return Check(name, NOT_KNOWN, _ONE_SIDE)
    units = rows.dropna(subset=["split", "label"]).drop_duplicates(["unit", "split"])
    counts = pd.crosstab(units["label"], units["split"])
    counts = counts.reindex([s for s in STAGES if s in counts.index]).reindex(columns=sides)
    counts = counts.fillna(0).astype(int)
    if counts.empty:
        return Check(name, NOT_KNOWN, "no image has a class")
    found = _missing(counts)
    compared: dict[str, Any] = {}
    for side in sides[1:]:
        compared[side] = {
            "classes": _compare_classes(counts[["train", side]]),
            "ages": _compare_ages(units, side),
        }
        found += _differences(side, compared[side])
    unit = (
        "images" if not people_known(rows) and (units["unit"] == units["path"]).all() else "people"
    )
    if unit == "images":  # slices of one head are no independent draws
        found = [(WARN if text.startswith("the ") else worst, text) for worst, text in found]
    worst = next((v for v in (FAIL, WARN) if any(v == w for w, _ in found)), PASS)
    numbers = {"unit": unit, "counts": counts.to_dict(), "compared": compared}
    said = "; ".join(text for _, text in found) or "classes and ages of the sides are alike"
    return Check(name, worst, said, numbers, [text for _, text in found])


def _missing(counts: pd.DataFrame) -> list[tuple[str, str]]:
    found = []
    for label, row in counts.iterrows():
        for side in counts:
            others = int(row.sum())
            if row[side] or others < len(counts.columns):
                continue  # too few to stand on every side
            worst = FAIL if side == "train" else WARN
            found.append((worst, f"{label} is not in {side}, and {others} are elsewhere"))
    return found


def _differences(side: str, compared: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for what, apart, large in (
        ("classes", "largest_share_apart", SHARE_APART),
        ("ages", "statistic", AGE_APART),
    ):
        values = compared[what]
        if values["available"] and values["p"] < P_DIFFERENT:
            worst = FAIL if values[apart] >= large else WARN
            text = f"the {what} of {side} are not those of train (p {values['p']:.1g}, "
            found.append((worst, f"{text}{values[apart]:.2f} apart)"))
    return found


def _compare_classes(counts: pd.DataFrame) -> dict[str, Any]:
    """Chi-squared of classes x sides, and the largest difference between two shares."""
    from scipy.stats import chi2_contingency

    counts = counts[counts.sum(axis=1) > 0]
    if len(counts) < 2 or (counts.sum() == 0).any():
        return {"available": False, "reason": "there are no two classes to compare"}
    result = chi2_contingency(counts.to_numpy())
    shares = counts / counts.sum()
    apart = float((shares.iloc[:, 0] - shares.iloc[:, 1]).abs().max())
    return {
        "available": True,
        "chi2": float(result.statistic),
        "df": int(result.dof),
        "p": float(result.pvalue),
        "largest_share_apart": apart,
    }


def _compare_ages(units: pd.DataFrame, side: str) -> dict[str, Any]:
    """Largest distance between the two distributions of age, and its p."""
    from scipy.stats import ks_2samp

    ages = [units.loc[units["split"] == s, "age"].dropna().to_numpy(float) for s in ("train", side)]
    if min(map(len, ages)) < 2:
        return {"available": False, "reason": "ages are not known"}
    result = ks_2samp(*ages)
    return {"available": True, "statistic": float(result.statistic), "p": float(result.pvalue)}


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
