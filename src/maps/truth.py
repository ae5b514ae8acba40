"""Maps held against a known change of the image: do they point to where the evidence is?

A map is no finer than its layer, so the change is smoothed to the map's resolution first. The
*target* is then the smallest set of voxels that holds half of the smoothed change. A map equal to
the smoothed change has a rank correlation and an AUC of 1, and half of its energy in the target:
an energy ratio of half of `MapScore.max_ratio`.

Arrays: ``X Y Z`` voxels of one grid, in any order, the same for map, change and brain; ``n`` the
brain's voxels, flat; ``P`` people; ``B`` resamples.

Sources: pointing game, Zhang et al. (2018), doi:10.1007/s11263-017-1059-x; energy inside the
target, Wang et al. (2020), Score-CAM, doi:10.1109/CVPRW50498.2020.00020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import rankdata

from ..errors import ImageError, counted
from ..evaluation.metrics.intervals import interval, resample_people, wilson
from ..predictions import Array, ratio

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
HELD = 0.5  # of the change, by the target
HOLDS = 0.5  # of what the slice with most of the change has
_SIGMA = 1 / math.sqrt(8 * math.log(2))  # of a Gaussian one voxel wide at half of its height
_CHUNK = 1_000_000  # weights held at once (8 MB)


@dataclass(frozen=True)
class MapScore:
    """How well one map shows where the change is; all over brain voxels only.

    Attributes:
        pointing: The map's highest voxel is in the target; of several that are equally high,
            more than half are. False for an empty map.
        energy_ratio: Share of the map inside the target over the target's share of the brain: 1
            is what a constant map has, 0 nothing inside, or an empty map.
        max_ratio: The highest ratio there is: all of the map inside the target.
        target_share: Share of the brain's voxels that are in the target, 0 to 1.
        rank_correlation: Spearman's, of map and smoothed change, -1 to 1; None where either is
            the same everywhere.
        auc: Chance that a voxel of the target stands above one outside it in the map, ties
            counting half; .5 for an empty or constant map, None where the target is all there is.
    """

    pointing: bool
    energy_ratio: float
    max_ratio: float
    target_share: float
    rank_correlation: float | None
    auc: float | None


class Wanted:
    """What a map of one resolution could show of a known change; maps are scored against it.

    Args:
        change: (X, Y, Z) size of the change of the image, >= 0.
        brain: (X, Y, Z) voxels that count: in the brain and in the map's field of view. A change
            beyond them still counts as far as the smoothing carries it in.
        resolution: Full width at half maximum of the smoothing along X, Y and Z, in voxels.

    Attributes:
        smoothed: (n,) the change at the brain's voxels, as such a map could show it.
        target: (n,) the fewest voxels that hold half of it.

    Raises:
        ImageError: No voxel counts, or none that counts is near any change.
        ValueError: The shapes differ, or a resolution is negative or not finite.
    """

    def __init__(self, change: Floats, brain: Mask, resolution: Sequence[float]) -> None:
        if change.shape != brain.shape:
            raise ValueError(f"change {change.shape} and brain {brain.shape}")
        if len(resolution) != brain.ndim or not all(0 <= width < math.inf for width in resolution):
            raise ValueError(f"resolution {tuple(resolution)} for {brain.ndim} axes")
        if not brain.any():
            raise ImageError("the map covers no voxel of the brain", hint="explain other slices")
        self.brain = brain
        self.smoothed = _smooth(change, resolution, brain)
        self.target = _target(self.smoothed)
        self._ranks = rankdata(self.smoothed)

    def score(self, values: Floats) -> MapScore:
        """Score one map.

        Args:
            values: (X, Y, Z) map, >= 0, in any unit.

        Raises:
            ImageError: The map is negative or not finite within the brain.
            ValueError: Its shape is another.
        """
        found = self._found(values)
        ranks = rankdata(found)
        total, share = found.sum(), float(self.target.mean())
        inside = found[self.target].sum() / total if total > 0 else 0.0
        return MapScore(
            pointing=bool(total > 0 and self.target[found == found.max()].mean() > 0.5),
            energy_ratio=float(inside / share),
            max_ratio=1 / share,
            target_share=share,
            rank_correlation=_correlation(ranks, self._ranks),
            auc=_auc(ranks, self.target),
        )

    def _found(self, values: Floats) -> Array:
        if values.shape != self.brain.shape:
            raise ValueError(f"map {values.shape} and brain {self.brain.shape}")
        found = np.asarray(values[self.brain], np.float64)
        if not (np.isfinite(found).all() and found.min() >= 0):
            raise ImageError(
                "the map holds negative values or NaN", hint="look for NaN in the image"
            )
        return found


def _smooth(change: Floats, resolution: Sequence[float], brain: Mask) -> Array:
    """Return (n,) the change at the brain's voxels, as a map of that resolution could show it."""
    sigma = [width * _SIGMA for width in resolution]
    box = _box(brain | (change > 0))  # beyond it, nothing is smoothed and nothing is asked for
    smoothed = ndimage.gaussian_filter(change[box], sigma, mode="constant", output=np.float32)
    return np.asarray(smoothed[brain[box]], np.float64)


def summarise(
    scores: Sequence[MapScore], people: Sequence[str], n_bootstrap: int, seed: int
) -> dict[str, Any]:
    """Return the mean scores over people, with 95 % intervals.

    A person's maps (sessions) are averaged first. `pointing` has Wilson's interval, the others
    that of resampled people. A score that is None counts for nothing in its mean; how many people
    have no rank correlation at all is told beside, as an empty map has none.

    Args:
        scores: One of each map.
        people: Whose map it is; the same length.
        n_bootstrap: Resamples of people.
        seed: Of the resampling.

    Returns:
        ``available``, ``n_people``, ``n_maps``, ``n_without_rank_correlation`` and an interval
        (``value``, ``low``, ``high``) per field of `MapScore`; without any score, ``available``
        False and ``reason``.

    Raises:
        ValueError: The lengths differ.
    """
    if len(scores) != len(people):
        raise ValueError(f"{len(scores)} scores of {len(people)} people")
    if not scores:
        return {"available": False, "reason": "no map was held against a known change"}
    names = [field.name for field in fields(MapScore)]
    rows = np.array([[getattr(score, name) for name in names] for score in scores], np.float64)
    means = _person_means(rows, people)
    columns = dict(zip(names, means.T, strict=True))
    pointing = columns.pop("pointing")
    low, high = wilson(pointing.sum(), len(means))
    return {
        "available": True,
        "n_people": len(means),
        "n_maps": len(scores),
        "n_without_rank_correlation": int(np.isnan(columns["rank_correlation"]).sum()),
        "pointing": {"value": float(pointing.mean()), "low": low, "high": high},
        **_intervals(columns, n_bootstrap, seed),
    }


@dataclass(frozen=True)
class SliceScore:
    """Whether the slices that hold a known change weigh more in a person's answer.

    Attributes:
        auc: Chance that a slice which holds the change weighs more than one which does not, ties
            counting half; None where all slices do, or none.
        auc_middle: The same of nearness to the middle of the slices, which needs no model.
    """

    auc: float | None
    auc_middle: float | None


def score_slices(weights: Array, change: Array) -> SliceScore:
    """Score what slices weigh.

    Args:
        weights: (n,) of the slices, in their order.
        change: (n,) how much of the change each holds, >= 0. A slice *holds* it where it has at
            least `HOLDS` of what the slice with most of it has.
    """
    target = change >= HOLDS * change.max() if change.max() > 0 else np.zeros(len(change), bool)
    if target.all() or not target.any():
        return SliceScore(None, None)
    nearness = -np.abs(np.arange(len(change)) - (len(change) - 1) / 2)
    return SliceScore(_auc(rankdata(weights), target), _auc(rankdata(nearness), target))


def summarise_slices(
    scores: Sequence[SliceScore], people: Sequence[str], n_bootstrap: int, seed: int
) -> dict[str, Any]:
    """Return the mean AUC of slice weights over people, with 95 % intervals of resampled people.

    Args:
        scores: One of each scan.
        people: Whose scan it is; the same length.
        n_bootstrap: Resamples of people.
        seed: Of the resampling.

    Returns:
        ``available``, ``holds``, ``n_people``, ``auc``, ``auc_middle`` and ``sentence``; without
        any person with slices of both kinds, ``available`` False and ``reason``.
    """
    known = [(one, who) for one, who in zip(scores, people, strict=True) if one.auc is not None]
    if not known:
        return {"available": False, "reason": "nobody has slices with and without planted change"}
    rows = np.array([[one.auc, one.auc_middle] for one, _ in known], np.float64)
    means = _person_means(rows, [who for _, who in known])
    found = _intervals(dict(zip(("auc", "auc_middle"), means.T, strict=True)), n_bootstrap, seed)
    auc, middle = found["auc"], found["auc_middle"]["value"]
    told = "" if auc["low"] is None else f" ({auc['low']:.2f} to {auc['high']:.2f})"
    sentence = (
        f"Slices that hold the planted change weigh more than others with a chance of "
        f"{auc['value']:.2f}{told}, over {counted(len(means), 'person')}; being near the middle of "
        f"the slices alone gives {middle:.2f}, no difference 0.50."
    )
    return {
        "available": True, "holds": HOLDS, "n_people": len(means), **found, "sentence": sentence
    }  # fmt: skip


def _box(mask: Mask) -> tuple[slice, ...]:
    """Return the smallest box that holds the mask."""
    axes = range(mask.ndim)
    hit = (np.flatnonzero(mask.any(tuple(a for a in axes if a != axis))) for axis in axes)
    return tuple(slice(int(at[0]), int(at[-1]) + 1) for at in hit)


def _target(change: Array) -> Mask:
    """Return (n,) the fewest voxels that hold `HELD` of the change; of equals, the first."""
    order = np.argsort(-change, kind="stable")
    held = np.cumsum(change[order])
    if not held[-1] > 0:
        raise ImageError(
            "no change of the image lies within the map's field of view",
            hint="explain slices through the ventricles and hippocampi",
        )
    target = np.zeros(len(change), bool)
    target[order[: np.searchsorted(held, HELD * held[-1]) + 1]] = True
    return target


def _correlation(a: Array, b: Array) -> float | None:
    """Return Pearson's correlation; of ranks, it is Spearman's."""
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt((a @ a) * (b @ b))
    return float(np.clip((a @ b) / scale, -1, 1)) if scale > 0 else None


def _auc(ranks: Array, target: Mask) -> float | None:
    """Return the area under the ROC curve from midranks, as Mann and Whitney count it."""
    n_in, n_out = int(target.sum()), int((~target).sum())
    if not n_out:
        return None
    return float((ranks[target].sum() - n_in * (n_in + 1) / 2) / n_in / n_out)


def _person_means(rows: Array, people: Sequence[str]) -> Array:
    """Return (P, fields) the mean of each person's defined values; NaN where there is none."""
    number = np.unique(np.asarray(people), return_inverse=True)[1]
    defined = np.isfinite(rows)
    total, count = np.zeros((2, number.max() + 1, rows.shape[1]))
    np.add.at(total, number, np.where(defined, rows, 0))
    np.add.at(count, number, defined)
    return ratio(total, count)


def _intervals(columns: dict[str, Array], n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Return the mean of each column over the people who have a value, with its interval."""
    people = len(next(iter(columns.values())))
    values = np.stack(list(columns.values()), axis=1)  # (P, fields)
    known = np.isfinite(values)
    filled = np.where(known, values, 0)
    drawn = [np.ones((1, people))]
    if people > 1:  # one person, resampled, is one person
        drawn += resample_people(people, n_bootstrap, seed, max(1, _CHUNK // people))
    means = np.concatenate([ratio(w @ filled, w @ known) for w in drawn])  # (1 + B, fields)
    return {
        name: interval(column[0], column[1:]) for name, column in zip(columns, means.T, strict=True)
    }
