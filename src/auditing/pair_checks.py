"""What the search for pairs found, as a check and as pairs to draw."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .figure import MOST_PAIRS, ShownPair, short_name
from .pairs import COPIES, ONE_HEAD, Thresholds
from .search import Search
from .verdicts import FAIL, MAX_EXAMPLES, NOT_KNOWN, ONE_SIDE, PASS, Check

#: What a flip of `audit_pose` is called.
TURNED = {1: "mirrored", 0: "upside down", -1: "turned round"}


def check_pairs(
    rows: pd.DataFrame, pairs: pd.DataFrame, thresholds: Thresholds, sides: int
) -> Check:
    """Fail when images on two sides show one head."""
    name = "near_duplicates"
    if sides < 2 or pairs.empty:
        return Check(name, NOT_KNOWN, ONE_SIDE)
    found = pairs[pairs["kind"] != ""]
    images = {
        kind: int(found[found["kind"] == kind]["query"].nunique()) for kind in (COPIES, ONE_HEAD)
    }
    shown = [_described(rows, pair) for _, pair in found.head(MAX_EXAMPLES).iterrows()]
    numbers = {
        "images_compared": int(pairs["query"].nunique()),
        "images_nearly_identical": images[COPIES],
        "images_of_same_head": int(found["query"].nunique()),
        "most_alike": {
            "agreement": float(pairs["agreement"].max()),
            "likeness": float(pairs["likeness"].max()),
        },
        "heads_told_apart": thresholds.heads_told_apart,
        "pairs": shown,
    }
    note = "" if thresholds.heads_told_apart else (
        "; heads of this set are too much alike to recognise neighbouring slices by their pixels"
    )  # fmt: skip
    if not len(found):
        said = f"no image of one side shows a head of another{note}"
        return Check(name, PASS, said, numbers)
    count, total = numbers["images_of_same_head"], numbers["images_compared"]
    said = (
        f"{count} of {total} images show a head of an earlier side, {images[COPIES]} of them "
        f"nearly the same picture: a copy, moved or not, or the next slice{note}"
    )
    examples = [
        f"{pair['first']} ~ {pair['second']}: {pair['finding']}, {pair['person']}, "
        f"agreement {pair['agreement']:.2f}"
        for pair in shown
    ]
    return Check(name, FAIL, said, numbers, examples)


def _described(rows: pd.DataFrame, pair: pd.Series) -> dict[str, Any]:
    first, second = int(pair["query"]), int(pair["partner"])
    return {
        "first": short_name(rows["path"][first]),
        "second": short_name(rows["path"][second]),
        "sides": [str(pair["query_side"]), str(pair["partner_side"])],
        "finding": str(pair["kind"]),
        "agreement": float(pair["agreement"]),
        "likeness": float(pair["likeness"]),
        "person": _relation(rows, first, second),
    }


def _relation(rows: pd.DataFrame, first: int, second: int) -> str:
    if not (rows["known"][first] and rows["known"][second]):
        return "person not known"
    same = rows["subject"][first] == rows["subject"][second]
    return "same person" if same else "other person"


def shown_pairs(search: Search, rows: pd.DataFrame, pairs: pd.DataFrame) -> list[ShownPair]:
    """Return the worst pairs, no two of the same two people or of one image."""
    shown: list[ShownPair] = []
    seen: set[Any] = set()
    for _, pair in pairs.iterrows():
        first, second = int(pair["query"]), int(pair["partner"])
        units = (rows["unit"][first], rows["unit"][second])
        plane, _, code = search.variants[int(pair["variant"])]
        turned = f", {TURNED[code]}" if code is not None and pair["kind"] else ""
        if len(shown) == MOST_PAIRS:
            break
        if units in seen or first in seen:
            continue
        seen |= {units, first}
        shown.append(
            ShownPair(
                search.pictures(first)[plane],
                search.pictures(second)[plane],
                (str(rows["path"][first]), str(rows["path"][second])),
                (str(pair["query_side"]), str(pair["partner_side"])),
                f"{pair['kind']}{turned}",
                float(pair["agreement"]),
                float(pair["likeness"]),
                _relation(rows, first, second),
            )
        )
    return shown
