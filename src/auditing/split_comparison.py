"""Two splits side by side: whom they share, and whether one tests whom the other trained on.

A split is a file, a data set's manifest, or a checkpoint, which holds hashes of the people that it
was trained or chosen on. Hashes are compared with names by hashing the names; hashes of two salts
cannot be compared at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.split_files import SplitFile, split_rows
from ..errors import ManifestError, counted
from ..manifest import Manifest
from ..report.canvas import plain
from .verdicts import FAIL, MAX_EXAMPLES, NOT_KNOWN, PASS, WARN, Check

_DEVELOPED = ("train", "val")
#: Of two splits, which are called A and B in what is said of them.
_Rows = tuple[pd.DataFrame, pd.DataFrame]


def split_of_manifest(manifest: Manifest) -> SplitFile:
    """Return the split of a data set as if it were a file."""
    rows = split_rows(manifest).rename(columns={"subject": "name", "split": "side"})
    return SplitFile(manifest.root, rows)


def split_of_checkpoint(path: Path, hashes: Sequence[str]) -> SplitFile:
    """Return the people of a checkpoint, all of whom trained it or chose its epoch.

    Args:
        path: Of the checkpoint.
        hashes: Its ``subjects``.

    Raises:
        ManifestError: It names nobody.
    """
    if not hashes:
        raise ManifestError(f"{path} names nobody that it was trained on", hint="train again")
    return SplitFile(path, pd.DataFrame({"name": list(hashes), "side": "train"}), salt="")


def split_checks(first: SplitFile, second: SplitFile) -> list[Check]:
    """Say whom two splits share, and fail where one tests whom the other was developed on.

    Raises:
        ManifestError: Both hide names, by different salts.
    """
    rows = _with_one_name(first, second)
    return [
        _check_people(rows),
        _check_test(rows, folds=first.of_folds or second.of_folds),
        _check_same(rows, folds=first.of_folds and second.of_folds),
    ]


def _with_one_name(first: SplitFile, second: SplitFile) -> _Rows:
    """Return the rows of both, in which one person has one name."""
    a, b = first.rows, second.rows
    if first.salt is not None and second.salt is not None:
        if first.salt != second.salt:
            raise ManifestError(
                f"{first.path} and {second.path} hide names by different salts, so nobody can be "
                "recognised in both",
                hint="name the data set or a table with the ids of one of them, such as "
                "data/oasis_2d or folds.csv, in its place",
            )
        return a, b
    if first.salt is None:
        meant = second.match(a["name"])
        return a, b.assign(name=b["name"].map(meant).fillna(b["name"].map("only there: {}".format)))
    meant = first.match(b["name"])
    return a.assign(name=a["name"].map(meant).fillna(a["name"].map("only there: {}".format))), b


def _check_people(rows: _Rows) -> Check:
    a, b = (set(part["name"]) for part in rows)
    numbers = {"people": [len(a), len(b)], "in_both": len(a & b)}
    both = counted(len(a & b), "person is", "people are")
    said = f"{both} in both: A has {len(a)}, B {len(b)}"
    return Check("people", PASS, said, numbers)


def _check_test(rows: _Rows, *, folds: bool) -> Check:
    name = "test_in_training"
    if folds:
        said = "a cross-validation trains on everyone and tests everyone, each time without them"
        return Check(name, NOT_KNOWN, said)
    tested = [_on(part, ("test",)) for part in rows]
    developed = [_on(part, _DEVELOPED) for part in rows]
    if not any(t and d for t, d in zip(tested, reversed(developed), strict=True)):
        return Check(name, NOT_KNOWN, "neither tests people while the other trains on some")
    found, parts, numbers = [], [], dict[str, Any]()
    for this, other in ((0, 1), (1, 0)):
        if not (tested[this] and developed[other]):
            continue
        both = sorted(tested[this] & developed[other])
        numbers["AB"[this] + "_test_in_" + "AB"[other] + "_training"] = both
        found += both
        people = counted(len(tested[this]), "test person", "test people")
        parts.append(
            f"{len(both)} of {people} of {'AB'[this]} trained or chose a model by {'AB'[other]}"
        )
    examples = [plain(str(one)) for one in found[:MAX_EXAMPLES]]
    return Check(name, FAIL if found else PASS, "; ".join(parts), numbers, examples)


def _check_same(rows: _Rows, *, folds: bool) -> Check:
    """Tell whether both test the same people, of folds in each of them; to differ is no leak."""
    a, b = (_tested_together(part) for part in rows)
    if not (a and b):
        return Check("same_test", NOT_KNOWN, "only one of them says who is tested, or none does")
    if folds:
        same = len(a & b)
        said = f"{same} of {counted(len(a), 'fold')} of A and {len(b)} of B"
        said += " test the same people"
        return Check("same_test", PASS if a == b else WARN, said, {"same_folds": same})
    first, second = (frozenset().union(*part) for part in (a, b))
    if first == second:
        people = counted(len(first), "person", "people")
        return Check("same_test", PASS, f"both test the same {people}", {"same": len(first)})
    same = len(first & second)
    said = f"{same} people are tested by both: {len(first)} by A, {len(second)} by B"
    return Check("same_test", WARN, said, {"same": same})


def _tested_together(rows: pd.DataFrame) -> set[frozenset[str]]:
    """Return who is tested together: one set of people, or one of each fold."""
    tested = rows[rows["side"] == "test"]
    if "fold" not in rows:
        return {frozenset(tested["name"])} if len(tested) else set()
    return {frozenset(part["name"]) for _, part in tested.groupby(["repeat", "fold"])}


def _on(rows: pd.DataFrame, sides: tuple[str, ...]) -> set[Any]:
    return set(rows.loc[rows["side"].isin(sides), "name"])
