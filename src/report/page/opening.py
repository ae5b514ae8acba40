"""The first screen: the answer in a sentence, the model beside its rivals, who was in, one map."""

from __future__ import annotations

from typing import Any

from ...errors import counted
from ..answer import METRIC, answer
from ..documents.markdown import number
from ..documents.run_facts import available, rivals
from ..estimates import counts_of, ends_of, is_doubtful, of_majority, of_metric, smallest_group
from ..titles import TITLES
from .flow import Box
from .maps import Maps
from .text import short_classes, shown

HEADLINE = ("balanced_accuracy", "macro_auc", "auc_demented")
_SPLITS = {"train": "training", "val": "validation", "test": "test", "all": "all people"}
Metrics = dict[str, Any]


def opening(metrics: Metrics, boxes: list[Box], maps: Maps | None) -> dict[str, Any]:
    """Return what the first screen shows.

    Args:
        metrics: What ``metrics.json`` holds.
        boxes: From `flow`.
        maps: From `maps_of`.
    """
    audit = metrics["audit"]
    verdict = shown(audit["verdict"]) if available(audit) else "not run"
    chance = of_majority(metrics["person"])[METRIC]
    return {
        "answer": shown(answer(metrics), 600),
        "n_people": metrics["person"]["n_people"],
        "names": [TITLES[name] for name in HEADLINE],
        "rows": _rows(metrics),
        "chance": _at(chance),
        "few": any(is_doubtful(*one) for one in _own(metrics)),
        "audit": verdict,
        "audit_good": verdict == "PASS",
        "people": _people(metrics),
        "found": _found(boxes),
        "map": _one_map(metrics, maps),
    }


def _own(metrics: Metrics) -> list[tuple[str, Any, dict[str, int]]]:
    person = metrics["person"]
    return [(name, person["metrics"][name], counts_of(person)) for name in HEADLINE]


def _rows(metrics: Metrics) -> list[dict[str, Any]]:
    """Return the model, the majority and every rival: words, and where the marks are drawn."""
    person = metrics["person"]
    rows = [_row(person, "this model", "model", person["metrics"])]
    always = of_majority(person) | {"macro_auc": 0.5, "auc_demented": 0.5}
    title = f"always {shown(person['majority']['class'])}"
    rows.append(_row(person, title, "majority", always))
    for rival in rivals(metrics, upper=True):
        kind = "upper" if rival["upper_reference"] else "rival"
        title = shown(rival["title"]) + (" (upper reference)" if kind == "upper" else "")
        rows.append(_row(person, title, kind, rival["metrics"]))
    return rows


def _row(person: Metrics, title: str, kind: str, scores: Metrics) -> dict[str, Any]:
    counts, main = counts_of(person), scores[METRIC]
    cells = [
        (
            of_metric(name, scores.get(name), counts, number, short=True),
            is_doubtful(name, scores.get(name), counts),
        )
        for name in HEADLINE
    ]
    value = main if isinstance(main, float) else main["value"]
    ends = None if isinstance(main, float) else ends_of(main)
    if smallest_group(METRIC, counts)[0] < 2:
        ends = None
    return {
        "title": title,
        "kind": kind,
        "cells": cells,
        "value": None if value is None else _at(value),
        "ends": None if ends is None else [_at(end) for end in ends],
        "hollow": cells[0][1] or isinstance(main, float),
    }


def _at(share: float) -> float:
    """Return where a share of 0 to 1 is drawn, in a picture 200 wide with a margin of 8."""
    return round(8 + 184 * share, 1)


def _people(metrics: Metrics) -> dict[str, Any]:
    """Return who trained, chose the epoch and was scored, class by class."""
    of_class = metrics["person"]["per_class"]
    used = sorted(metrics["people"].items(), key=lambda item: list(_SPLITS).index(item[0]))
    rows = [
        (_SPLITS.get(split, split), sum(counts.values()), [counts.get(c, 0) for c in of_class])
        for split, counts in used
    ]
    return {"classes": short_classes(list(of_class)), "rows": rows}


def _found(boxes: list[Box]) -> str:
    """Return how many people were found, and how many of them left before the split."""
    if not boxes or boxes[0].title != "Found":
        return ""
    aside = [line for box in boxes for line in box.aside]
    left = f"; not taken further: {'; '.join(aside[:3])}" if aside else "; none was set aside"
    return f"Found: {', '.join(boxes[0].lines)}{left}"


def _one_map(metrics: Metrics, maps: Maps | None) -> dict[str, Any] | None:
    """Return the first picture by name of a person who is demented, or else the first of all."""
    if maps is None:
        return None
    healthy = metrics["classes"][0]
    ill = [one for one in maps.people if one["truth"] != healthy]
    one = next(iter(ill or maps.people), None)
    failed = [check for check in maps.checks if check["verdict"] == "FAIL"]
    told = f"{len(failed)} of {counted(len(maps.checks), 'test')} failed" if maps.checks else ""
    return {"one": one, "verdict": maps.verdict, "good": maps.good, "told": told}
