"""What maps of many people say together: mean maps of groups, and shares of regions.

One map at a time is added and forgotten; what stays is three sums per group and a row per map.

Arrays: ``X Y Z`` voxels of the template's grid; R regions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..preprocessing.space.grid import PlacedVolume
from ..preprocessing.space.placement import Placement, in_template
from .atlas import Atlas
from .groups import RunningMean, times_average
from .regions import region_shares

_BRAIN = 0.02  # of the brightest voxel: a processed image is 0 outside the brain


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
