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
_BLUR = 1.2  # pixels: standard deviation of a Gaussian
#: Another scanner: share of the finest detail added, standard deviation of noise, power of the
#: brightness. In the strangest of four real heads, detail and grey matter were 6 standard
#: deviations off those of OASIS-1 people; this moves both by 6 to 9.
_SHARPER, _NOISE, _GAMMA = 3.0, 0.03, 0.5


#: Wider ventricles: their wall moves outward by this share of half the brain's extent, which
#: moves the share of fluid by some 3 standard deviations of OASIS-1 people; tissue moves with it,
#: the less the further off (length of the decay, in widths of the move).
_WIDER, _DECAY = 0.1, 3.0
_SULCUS = 0.003  # of the brain: a smaller pool of fluid is no ventricle
_ACROSS = 1e3  # pixels between slices: none moves out of its slice


@dataclass(frozen=True)
class Change:
    """One way.

    Attributes:
        word: Completes "like the training people, but".
        told_by: Measures of `look.MEASURES` that tell it: -1 where it is too low, 1 too high.
        made: Picture -> its changed images, as its data.
    """

    word: str
    told_by: tuple[tuple[str, int], ...]
    made: Callable[[Picture], Float]

    def applied(self, images: Tensor) -> Tensor:
        """Return changed images."""
        picture = Picture(images)
        made = np.clip(self.made(picture), 0, 1) * picture.brain
        return images.new_tensor(made.astype(np.float32)).reshape(images.shape)

    def off(self, unusual: Mapping[str, float]) -> float:
        """Return by how many standard deviations a scan is off in this way, at most."""
        return max(unusual.get(measure, 0.0) * side for measure, side in self.told_by)


def _blurred(picture: Picture) -> Float:
    return picture.smooth(picture.data, _BLUR)


def _other_scanner(picture: Picture) -> Float:
    noise = np.random.default_rng(0).normal(0, _NOISE, picture.data.shape)
    finest = picture.data - picture.smooth(picture.data, 1.0)
    return np.asarray(np.clip(picture.data + _SHARPER * finest + noise, 0, 1) ** _GAMMA)


def _wider_ventricles(picture: Picture) -> Float:
    core = np.ones((1, 3, 3))  # without its edge, which is mixed with tissue
    pools, _ = ndimage.label(ndimage.binary_erosion(picture.central_fluid(), core))
    large = np.bincount(pools.ravel()) > _SULCUS * picture.inside.sum()
    large[0] = False
    fluid = large[pools]
    if not fluid.any():
        return picture.data
    steps = (1.0 if picture.solid else _ACROSS, 1.0, 1.0)
    far, nearest = ndimage.distance_transform_edt(~fluid, sampling=steps, return_indices=True)
    wider = _WIDER * float(np.mean(picture.extent()[1]))
    move = wider * np.exp(-np.maximum(far - wider, 0) / (_DECAY * wider))
    share = np.minimum(move / np.maximum(far, 1e-6), 1)
    places = np.indices(picture.data.shape, np.float32)
    places += share.astype(np.float32) * (nearest.astype(np.float32) - places)
    return np.asarray(ndimage.map_coordinates(picture.data, places, order=1))


CHANGES: Mapping[str, Change] = {
    "blurred": Change("blurred", (("detail", -1),), _blurred),
    "another scanner": Change(
        "as from another scanner (sharper, noisier, or of other contrast)",
        (("detail", 1), ("grey", 1), ("grey", -1)),
        _other_scanner,
    ),
    "wider ventricles": Change(
        "with wider ventricles (older, or of more atrophy)",
        (("ventricles", 1),),
        _wider_ventricles,
    ),
}


def changes_of(unusual: Mapping[str, float]) -> list[str]:
    """Return the names of the changes that unusual measures speak for.

    Args:
        unusual: Measure -> standard deviations from the mean of training people.
    """
    return [name for name, change in CHANGES.items() if change.off(unusual) > UNUSUAL]
