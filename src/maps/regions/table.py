"""Regions over people: how much more of the attribution a region holds than its volume would.

A ratio of 1 is what an even map has. The unit is the person: sessions are averaged first, and
intervals resample people. Whether classes differ is asked of ranks, since ratios are skewed and may
be 0, and answered by labels that are exchanged among people.

Axes: ``N`` rows (maps), ``P`` people, ``R`` regions, ``K`` classes (mildest first), ``B`` resamples
or exchanges.

Sources: Kruskal & Wallis (1952), doi:10.1080/01621459.1952.10483441, for the statistic; Phipson &
Smyth (2010), doi:10.2202/1544-6115.1585, for p = (1 + #) / (1 + B).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ...evaluation.metrics.intervals import interval, resample_people
from ...evaluation.metrics.significance import holm
from ...predictions import FEW_PEOPLE, Array, Integers, ratio

ALL = "all"  # class of the rows that are about everyone
UNSEEN = "the field of view shows too little of it"
_CHUNK = 1_000_000  # weights held at once (8 MB)


@dataclass(frozen=True)
class RegionTable:
    """What regions hold, class by class, and where classes differ.

    Attributes:
        rows: One per region and class, `ALL` first: ``region``, ``class``, ``n_people``,
            ``few_people``, ``share`` and ``volume_share`` (means over people), ``ratio`` (mean
            over people of share / volume share, with its interval), ``reason`` (why there is no
            ratio, else None).
        tests: One per region: ``region``, ``available``, then ``p`` and ``p_holm`` (over the
            regions tested), ``n_people``, ``classes`` and ``few_people`` (a class has few), or
            ``reason``.
    """

    rows: list[dict[str, Any]]
    tests: list[dict[str, Any]]

    def frame(self) -> pd.DataFrame:
        """Return `rows` for a CSV: intervals as three columns, and the test's p beside them."""
        tested = {test["region"]: test for test in self.tests}
        lines = [
            {
                **{name: value for name, value in row.items() if name not in ("ratio", "reason")},
                "ratio": row["ratio"]["value"],
                "ratio_low": row["ratio"]["low"],
                "ratio_high": row["ratio"]["high"],
                "p_classes": tested[row["region"]].get("p"),
                "p_classes_holm": tested[row["region"]].get("p_holm"),
                "reason": row["reason"],
            }
            for row in self.rows
        ]
        return pd.DataFrame(lines)


@dataclass(frozen=True)
class _People:
    """One row per person; NaN where a region was not seen.

    Attributes:
        share: (P, R).
        volume: (P, R).
        ratio: (P, R) share / volume.
        labels: (P,) class.
    """

    share: Array
    volume: Array
    ratio: Array
    labels: Integers


def region_table(
    shares: NDArray[Any],
    volumes: NDArray[Any],
    subjects: Sequence[str] | NDArray[Any],
    labels: Sequence[int] | NDArray[Any],
    classes: Sequence[str],
    names: Sequence[str],
    *,
    n_bootstrap: int,
    seed: int,
) -> RegionTable:
    """Summarise the shares of regions over people.

    Args:
        shares: (N, R) share of each map; NaN where it says nothing.
        volumes: (N, R) share of the volume.
        subjects: (N,) person of each map.
        labels: (N,) true class; a person's is that of their first map.
        classes: K names.
        names: R names of regions, each once; one without any volume in any map is left out.
        n_bootstrap: Resamples of people, and exchanges of labels.
        seed: Of both.

    Raises:
        ValueError: The arguments do not match in length, or there is no map.
    """
    one, other = np.asarray(shares, float), np.asarray(volumes, float)
    lengths = {len(one), len(other), len(subjects), len(labels)}
    if one.ndim != 2 or one.shape != other.shape or len(lengths) > 1 or not len(one):
        raise ValueError(f"shares {one.shape}, volumes {other.shape} and {len(labels)} labels")
    if one.shape[1] != len(names) or len(set(names)) < len(names):
        raise ValueError(f"{len(names)} names, each once, are needed for {one.shape[1]} regions")
    there = ~(other == 0).all(axis=0)
    names = [name for name, kept in zip(names, there, strict=True) if kept]
    people = _people(one[:, there], other[:, there], np.asarray(subjects), np.asarray(labels))
    if people.labels.min() < 0 or people.labels.max() >= len(classes):
        raise ValueError(f"a label is not in 0 to {len(classes) - 1}")
    groups = {ALL: np.ones(len(people.labels), bool)}
    groups |= {name: people.labels == k for k, name in enumerate(classes)}
    columns = {
        name: _group_rows(people, group, n_bootstrap, seed) for name, group in groups.items()
    }
    rows = [
        {"region": region, "class": name, **column[r]}
        for r, region in enumerate(names)
        for name, column in columns.items()
    ]
    return RegionTable(rows, _tests(people, classes, names, n_bootstrap, seed))


def _people(shares: Array, volumes: Array, subjects: NDArray[Any], labels: Integers) -> _People:
    """Average each person's maps, region by region, over the maps that saw the region."""
    _, first, number = np.unique(subjects, return_index=True, return_inverse=True)
    known = np.isfinite(shares) & np.isfinite(volumes)
    member = np.eye(len(first))[number].T  # (P, N)
    count = member @ known
    share = ratio(member @ np.where(known, shares, 0), count)
    volume = ratio(member @ np.where(known, volumes, 0), count)
    return _People(share, volume, ratio(share, volume), labels[first])


def _group_rows(
    people: _People, group: NDArray[np.bool_], n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    """Return what is known of each region in one group."""
    values = people.ratio[group]
    resampled = _resampled_means(values, n_bootstrap, seed)
    rows = []
    for r, column in enumerate(values.T):
        count = int(np.isfinite(column).sum())
        mean = column[np.isfinite(column)].mean() if count else np.nan
        rows.append(
            {
                "n_people": count,
                "few_people": count < FEW_PEOPLE,
                "share": _mean(people.share[group, r]),
                "volume_share": _mean(people.volume[group, r]),
                "ratio": interval(mean, resampled[:, r] if count > 1 else np.empty(0)),
                "reason": _reason(len(values), count),
            }
        )
    return rows


def _reason(people: int, known: int) -> str | None:
    if not people:
        return "no one is in this class"
    return None if known else UNSEEN


def _resampled_means(values: Array, n_bootstrap: int, seed: int) -> Array:
    """Return (B, R) means over people drawn with replacement."""
    if len(values) < 2 or n_bootstrap < 1:
        return np.empty((0, values.shape[1]))
    known = np.isfinite(values)
    filled = np.where(known, values, 0)
    chunk = max(1, _CHUNK // len(values))
    drawn = resample_people(len(values), n_bootstrap, seed, chunk)
    return np.concatenate([ratio(weights @ filled, weights @ known) for weights in drawn])


def _tests(
    people: _People, classes: Sequence[str], names: Sequence[str], exchanges: int, seed: int
) -> list[dict[str, Any]]:
    tests = [
        {"region": name, **_test(people.ratio[:, r], people.labels, classes, exchanges, seed)}
        for r, name in enumerate(names)
    ]
    for test, p in zip(tests, holm([test.get("p") for test in tests]), strict=True):
        if test["available"]:
            test["p_holm"] = p
    return tests


def _test(
    values: Array, labels: Integers, classes: Sequence[str], exchanges: int, seed: int
) -> dict[str, Any]:
    """Ask whether classes differ in one region's ratio, by exchanging labels among people."""
    known = np.isfinite(values)
    values, labels = values[known], labels[known]
    present, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(values) == 0:
        return {"available": False, "reason": UNSEEN}
    if len(present) < 2 or len(np.unique(values)) < 2:
        return {"available": False, "reason": "there are no two classes, or no two values"}
    ranks = stats.rankdata(values)
    rng = np.random.default_rng(seed)
    observed = _between(ranks, codes, counts)
    reached = sum(
        _between(ranks, rng.permutation(codes), counts) >= observed * (1 - 1e-12)
        for _ in range(exchanges)
    )
    return {
        "available": True,
        "n_people": len(values),
        "classes": [classes[k] for k in present],
        "few_people": bool((counts < FEW_PEOPLE).any()),
        "p": (1 + int(reached)) / (1 + exchanges),
    }


def _between(ranks: Array, codes: Integers, counts: Integers) -> float:
    """Return the part of Kruskal and Wallis's H that changes when labels are exchanged."""
    centred = ranks - (len(ranks) + 1) / 2
    sums = np.bincount(codes, centred, minlength=len(counts))
    return float((sums**2 / counts).sum())


def _mean(values: Array) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None
