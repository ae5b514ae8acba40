"""How much a score grows with the people who train, and what twice as many might add.

A line through score and log2 of the number of people has the gain per doubling as its slope. The
line from `LATE` of the people on is what goes on: a curve that rose early and is flat since must
not promise anything. All numbers of one resample are of the same people, so slopes have intervals.

Axes: S sizes (fewest people first), B resamples, n rows (a person per repeat).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import counted
from ...predictions import (
    FEW_PEOPLE,
    Array,
    Integers,
    Predictions,
    Weighted,
    take_rows,
    unweighted,
)
from ...report.estimates import written
from ...report.titles import TITLES
from ..metrics.intervals import interval, resample_people
from ..metrics.scores import METRICS

#: What the curve is drawn in.
SCORED = ("balanced_accuracy", "macro_auc")
#: Share of the people from which the line is fitted that goes on to twice as many.
LATE = 0.4
_SAID = "macro_auc"  # of the sentence: it moves less by chance than a share of right answers
_CHUNK = 1_000_000  # weights held at once (8 MB)


@dataclass(frozen=True)
class Point:
    """Answers of everyone, by models of one share of the people.

    Attributes:
        share: Of each fold's development people.
        n_people: How many those are, mean over folds.
        model: (n,) rows, a person per repeat.
        dark_voxels: The rival's answers on the same people; None where it was not measured.
        repeat: (n,) of each row of `model`.
    """

    share: float
    n_people: float
    model: Predictions
    dark_voxels: Predictions | None
    repeat: Integers


def growth(
    points: Sequence[Point],
    classes: Sequence[str],
    n_bootstrap: int = 2000,
    seed: int = 0,
    *,
    reason: str | None = None,
) -> dict[str, Any]:
    """Score every size, and fit the gain per doubling.

    Args:
        points: Fewest people first; all of the same test people.
        classes: K names.
        n_bootstrap: Resamples of the tested people.
        seed: Same seed, same intervals.
        reason: Why the rival is missing.

    Returns:
        The section ``learning_curve`` of ``metrics.json``, described in ``docs/metrics.md``.
    """
    sides = {"model": [point.model for point in points]}
    if points[0].dark_voxels is not None:
        sides["dark_voxels"] = [point.dark_voxels for point in points if point.dark_voxels]
    found = {who: _resampled(rows, n_bootstrap, seed) for who, rows in sides.items()}
    x = np.log2([point.n_people for point in points])
    late = np.array([point.share >= LATE for point in points])
    fewest = _smallest(points[0].model, classes)
    section: dict[str, Any] = {
        "available": True,
        "few_people": fewest[0] < FEW_PEOPLE,
        "n_people": points[0].model.n_people,
        "repeats": len(np.unique(points[0].repeat)),
        "late_share": LATE,
        "points": [
            {
                "share": point.share,
                "n_people": round(point.n_people, 1),
                **{
                    who: {name: interval(y[0, place], y[1:, place]) for name, y in own.items()}
                    for who, own in found.items()
                },
            }
            for place, point in enumerate(points)
        ],
        "per_doubling": _slopes(found, x),
        "late_per_doubling": _slopes(found, x, late),
        "sd_repeats": _spread(points, x, late),
        **({"reason_dark_voxels": reason} if reason else {}),
    }
    return section | {"sentence": _sentence(section, fewest[1])}


def slope(x: Array, y: Array) -> Array:
    """Return the (B,) slopes of least-squares lines through (S,) `x` and (B, S) `y`; NaN of one x.

    On log2 of people this is the gain per doubling.
    """
    centred = x - x.mean()
    squares = float(centred @ centred)
    if squares < 1e-9:
        return np.full(len(y), np.nan)
    return np.asarray((y - y.mean(axis=1, keepdims=True)) @ centred / squares)


def _resampled(rows: Sequence[Predictions], n_bootstrap: int, seed: int) -> dict[str, Array]:
    """Return metric -> (1 + B, S) scores: of everyone, then of the same resampled people."""
    # By name, numbered as the intervals of the whole study number them.
    number = dict(zip(rows[0].subjects, rows[0].people, strict=True))
    person = [np.array([number[name] for name in one.subjects]) for one in rows]
    drawn: dict[str, list[Array]] = {
        name: [np.stack([METRICS[name](unweighted(one)) for one in rows], axis=1)]
        for name in SCORED
    }
    n_people = rows[0].n_people
    wanted = n_bootstrap if n_people > 1 else 0
    chunk = max(1, _CHUNK // len(rows[0].labels))
    for weights in resample_people(n_people, wanted, seed, chunk):
        samples = [Weighted(one, weights[:, own]) for one, own in zip(rows, person, strict=True)]
        for name, parts in drawn.items():
            parts.append(np.stack([METRICS[name](sample) for sample in samples], axis=1))
    return {name: np.concatenate(parts) for name, parts in drawn.items()}


def _slopes(
    found: dict[str, dict[str, Array]], x: Array, used: Any = slice(None)
) -> dict[str, dict[str, Any]]:
    slopes = {
        who: {name: slope(x[used], y[:, used]) for name, y in own.items()}
        for who, own in found.items()
    }
    return {
        who: {name: interval(one[0], one[1:]) for name, one in own.items()}
        for who, own in slopes.items()
    }


def _spread(points: Sequence[Point], x: Array, late: Any) -> dict[str, float | None]:
    """Return the standard deviation of the late slope over repeats: other folds, other subsets."""
    repeats = np.unique(points[0].repeat)
    if len(repeats) < 2:
        return dict.fromkeys(SCORED)
    scores = {
        name: np.array(
            [
                [
                    METRICS[name](
                        unweighted(take_rows(point.model, np.flatnonzero(point.repeat == repeat)))
                    )[0]
                    for point in points
                ]
                for repeat in repeats
            ]
        )
        for name in SCORED
    }
    found = {name: float(slope(x[late], y[:, late]).std(ddof=1)) for name, y in scores.items()}
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def _sentence(section: dict[str, Any], fewest: str) -> str:
    """Return what the curve says of more people: nothing, unless its late part rises."""
    points, gain = section["points"], section["late_per_doubling"]["model"][_SAID]
    values = [point["model"][_SAID]["value"] for point in points]
    n_all, n_late = (
        round(next(p["n_people"] for p in points if p["share"] >= share)) for share in (1, LATE)
    )
    *fewer, most = (f"{point['n_people']:.0f}" for point in points)
    people, title = f"{', '.join(fewer)} and {most}", TITLES[_SAID]
    said = (
        f"{title[0].upper()}{title[1:]} with {people} people to learn from: "
        f"{', '.join(map(_short, values))}; per doubling from {n_late} people on: {_gain(gain)}"
    )
    rival = section["late_per_doubling"].get("dark_voxels")
    if rival is not None:
        said += f", dark voxels {_gain(rival[_SAID])}"
    if section["few_people"]:
        return f"{said}; with {fewest}, nothing is claimed for more people"
    if gain["low"] is None or gain["low"] <= 0:
        return f"{said}; no growth is shown, so nothing is claimed for more people"
    room = 1 - values[-1]
    return (
        f"{said}; if it goes on so, {2 * n_all} people would add about "
        f"{_short(min(gain['value'], room))}, an extrapolation that nobody has tested"
    )


def _smallest(rows: Predictions, classes: Sequence[str]) -> tuple[int, str]:
    """Return the number of people of the smallest class, and that in words."""
    first = np.unique(rows.subjects, return_index=True)[1]
    counts = np.bincount(rows.labels[first], minlength=len(classes))
    least = int(counts.argmin())
    return int(counts[least]), f"{counted(int(counts[least]), 'person')} of {classes[least]}"


def _gain(values: dict[str, Any]) -> str:
    return written(values, "{:+.3f}".format)


def _short(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
