"""What maps of many people say together: mean maps of groups in template space, shares of regions.

Each map is divided by its mean over the person's brain first, so that a group's map says how many
times the brain's average a place has, whatever the strength of a person's map. One map at a time is
added and forgotten; what stays is three sums per group and a row per map.

Arrays: ``X Y Z`` voxels of the template's grid, float32; a place that a scan's field of view does
not cover does not count there. R regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..preprocessing.space.grid import PlacedVolume
from ..preprocessing.space.placement import Placement, in_template
from .regions.atlas import Atlas
from .regions.shares import region_shares

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
_BRAIN = 0.02  # of the brightest voxel: a processed image is 0 outside the brain


def times_average(values: Floats, brain: Mask) -> Floats | None:
    """Return a map in units of its own mean over `brain`; None for a map that is empty there."""
    inside = values[brain]
    mean = float(inside.mean(dtype=np.float64)) if inside.size else 0.0
    return np.asarray(values / np.float32(mean), np.float32) if mean > 0 else None


@dataclass
class RunningMean:
    """Mean and variance of people's maps, added one at a time.

    One map at a time stands in memory beside three sums (Welford's recurrence, which does not lose
    precision where the variance is small; doi:10.1080/00401706.1962.10490022).

    Attributes:
        name: Of the group.
        shape: X, Y, Z.
        people: Whose maps were added; a person with two sessions counts once.
    """

    name: str
    shape: tuple[int, ...]
    people: set[str] = field(default_factory=set)
    _count: Floats = field(init=False)
    _mean: Floats = field(init=False)
    _squares: Floats = field(init=False)

    def __post_init__(self) -> None:
        self._count, self._mean, self._squares = np.zeros((3, *self.shape), np.float32)

    def add(self, subject: str, values: Floats, covered: Mask) -> None:
        """Add one map.

        Args:
            subject: Whose it is.
            values: ``(X, Y, Z)``.
            covered: Where the map has a value.
        """
        self.people.add(subject)
        self._count += covered
        difference = np.where(covered, values - self._mean, 0)
        self._mean += difference / np.maximum(self._count, 1)
        self._squares += difference * np.where(covered, values - self._mean, 0)

    @property
    def n_people(self) -> int:
        """How many people's maps are in it."""
        return len(self.people)

    @property
    def mean(self) -> Floats:
        """Mean ``(X, Y, Z)``; NaN where fewer than half of the maps have a value."""
        return np.where(self._seen, self._mean, np.float32(np.nan))

    @property
    def sd(self) -> Floats:
        """Standard deviation between maps ``(X, Y, Z)``; NaN where there are fewer than two."""
        variance = self._squares / np.maximum(self._count - 1, 1)
        return np.where(self._seen & (self._count > 1), np.sqrt(variance), np.float32(np.nan))

    @property
    def _seen(self) -> Mask:
        return np.asarray((self._count > 0) & (self._count >= 0.5 * self._count.max()))


class Collected:
    """Groups and regions over maps that are added one by one.

    Args:
        placement: Where the scans' common frame lies in the template.
        atlas: Regions.
        classes: Names, in order.

    Attributes:
        groups: Name -> mean map: each class, and of each class those right and wrong.
        subjects, labels, shares, volumes: A row per map, for the region table.
        empty: Names of maps that are empty, which say nothing about regions.
    """

    def __init__(self, placement: Placement, atlas: Atlas, classes: Sequence[str]) -> None:
        self.placement, self.atlas, self.classes = placement, atlas, classes
        self.groups: dict[str, RunningMean] = {}
        self.subjects: list[str] = []
        self.labels: list[int] = []
        self.shares: list[NDArray[np.float64]] = []
        self.volumes: list[NDArray[np.float64]] = []
        self.empty: list[str] = []
        self._seen: set[str] = set()
        self._image = RunningMean("image", atlas.labels.shape)

    def add(
        self, subject: str, truth: int, correct: bool, image: PlacedVolume, one: PlacedVolume
    ) -> None:
        """Add one map, with its image on the same grid.

        A person counts once: of several sessions the first is in the mean maps; the region table
        takes the mean over sessions.
        """
        new = subject not in self._seen
        self._seen.add(subject)
        values, covered = in_template(one, self.placement)
        anatomy, _ = in_template(image, self.placement)
        brain = covered & (anatomy > _BRAIN)
        if new:
            self._image.add(subject, anatomy, covered)
        relative = times_average(values, brain)
        if relative is None:
            self.empty.append(subject)
            return
        name = self.classes[truth]
        for group in (name, f"{name}, {'correct' if correct else 'wrong'}") if new else ():
            self.groups.setdefault(group, RunningMean(group, values.shape))
            self.groups[group].add(subject, relative, covered)
        shares, volumes = region_shares(values, covered, self.atlas, brain)
        self.subjects.append(subject)
        self.labels.append(truth)
        self.shares.append(shares)
        self.volumes.append(volumes)

    @property
    def background(self) -> NDArray[np.float32]:
        """Mean image ``(X, Y, Z)`` of the people whose maps were added."""
        return np.nan_to_num(self._image.mean)
