"""Known ways in which a scan can be like training people and yet another picture.

For each, validation people are changed in this way, and it is counted how far their features move
and what the answers lose. A scan that is unusual in one of these ways, but no further off than
people changed so, is answered with a caution; one that is further off is not.

Arrays: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` images in [0, 1], zero in air.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .look import UNUSUAL, Picture

Float = NDArray[np.float32]
_BLUR = 1.2  # pixels: standard deviation of a Gaussian, as of voxels 2.8 times as large
_SHARPER, _NOISE = 1.0, 0.03  # share of the finest detail added; standard deviation of the noise
_GAMMA = 0.7  # power of the brightness: grey matter of .58 becomes .68


@dataclass(frozen=True)
class Change:
    """One way.

    Attributes:
        word: Completes "like the training people, but".
        measure: Of `look.MEASURES`, which tells it.
        side: -1 if the measure is too low, 1 if too high.
        made: Picture -> its changed images, as its data.
    """

    word: str
    measure: str
    side: int
    made: Callable[[Picture], Float]

    def applied(self, images: Tensor) -> Tensor:
        """Return changed images."""
        picture = Picture(images)
        made = np.clip(self.made(picture), 0, 1) * picture.brain
        return images.new_tensor(made.astype(np.float32)).reshape(images.shape)


def _blurred(picture: Picture) -> Float:
    return picture.smooth(picture.data, _BLUR)


def _sharper(picture: Picture) -> Float:
    noise = np.random.default_rng(0).normal(0, _NOISE, picture.data.shape)
    finest = picture.data - picture.smooth(picture.data, 1.0)
    return np.asarray(picture.data + _SHARPER * finest + noise, dtype=np.float32)


def _brighter_grey(picture: Picture) -> Float:
    return np.asarray(picture.data**_GAMMA)


def _darker_grey(picture: Picture) -> Float:
    return np.asarray(picture.data ** (1 / _GAMMA))


def _more_fluid(picture: Picture) -> Float:
    """Widen everything dark by a pixel all around: ventricles, sulci."""
    size = (3, 3, 3) if picture.solid else (1, 3, 3)
    filled = np.where(picture.brain > 0, picture.data, 1)
    return np.asarray(ndimage.grey_erosion(filled, size))


CHANGES: Mapping[str, Change] = {
    "blurred": Change("blurred", "detail", -1, _blurred),
    "sharper": Change("sharper or noisier", "detail", 1, _sharper),
    "brighter grey": Change("with brighter grey matter, as of another scanner", "grey", 1,
                            _brighter_grey),
    "darker grey": Change("with darker grey matter, as of another scanner", "grey", -1,
                          _darker_grey),
    "more fluid": Change("with more fluid, as of older people", "fluid", 1, _more_fluid),
}  # fmt: skip


def changes_of(unusual: Mapping[str, float]) -> list[str]:
    """Return the names of the changes that unusual measures speak for.

    Args:
        unusual: Measure -> standard deviations from the mean of training people.
    """
    return [
        name
        for name, change in CHANGES.items()
        if unusual.get(change.measure, 0.0) * change.side > UNUSUAL
    ]
