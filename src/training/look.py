"""How training images look, and new images brought to that: strength of detail, and contrast.

A new scan is laid on the training grid by one interpolation; the training images went another way,
through another scanner. So its finest detail may be weaker or stronger than theirs, and its grey
matter darker or brighter, and a network takes that for something. An image is parted into bands of
detail, each the difference of two Gaussian smoothings inside the brain. What lies beyond a standard
deviation of training people is brought to that, not to their mean: people differ, and that
difference stays. Only detail finer than 1.4 pixels is changed, and brightness by one power alone:
what is wide, and how much of a brain is dark, is what disease changes.

Axes: ``(n, H, W)`` slices, smoothed in their plane, or ``(X, Y, Z)`` voxels; float32 in [0, 1].

Source: Burt and Adelson (1983), doi:10.1109/TCOM.1983.1095851 (bands of detail).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..errors import CheckpointError

Float = NDArray[np.float32]
Array = NDArray[np.float64]

#: Standard deviations of the smoothings, in pixels of the model's images.
SIGMAS = (0.7, 1.4)
#: From this many standard deviations of training people on, a measure is unusual.
UNUSUAL = 3.0
MEASURES = ("detail", "grey", "ventricles")
#: Smallest standard deviations that count: those of 60 OASIS-1 people, rounded down. Phantoms, and
#: few people, differ less, and a scan that differs from them as people do is not unusual.
_LEAST = (0.06, 0.02, 0.025)
_AIR = 0.03  # brightness of what is no brain
_RIM = 3  # pixels at the brain's edge that do not count
_ROUNDS = 3  # bands overlap: three rounds go at least 60 % of the way, the next ones little further
_MOST = 3.0  # largest gain of a band, and the smallest its inverse
_NO_DETAIL = 1e-4  # of a band: it is not divided by less
_DARK = (0.45, 90)  # fluid: under this share of that percentile of the brain
_CENTRAL = 0.55  # half axes of the middle that holds the ventricles, of half the brain's extent
_AGAIN = "train again, or copy the checkpoint again"


class Picture:
    """One person's images, and where the brain is.

    Args:
        images: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` in [0, 1].

    Attributes:
        solid: Whether they are a volume.
        data: ``(n, H, W)`` or ``(X, Y, Z)`` float32.
        brain: The same shape, 1 in the brain and 0 in air.
        inside: Voxels of the brain that are not at its edge.
    """

    def __init__(self, images: Tensor) -> None:
        self.solid = images.ndim == 5
        self.data = _stack(images)
        self.brain = (self.data > _AIR).astype(np.float32)
        rim = np.ones((2 * _RIM + 1,) * 2, np.uint8)
        self.inside = np.stack([cv2.erode(one, rim, borderValue=0) for one in self.brain]) > 0

    def smooth(self, data: Float, sigma: float) -> Float:
        """Return `data` smoothed inside the brain: air does not darken its edge."""
        near = np.maximum(self._gaussian(self.brain, sigma), 1e-3)
        return np.asarray(self._gaussian(data * self.brain, sigma) / near * self.brain)

    def bands(self, data: Float) -> tuple[list[Float], Float]:
        """Return the bands of `data`, finest first, and what is left beside them."""
        levels = [data, *(self.smooth(data, sigma) for sigma in SIGMAS)]
        return [fine - coarse for fine, coarse in pairwise(levels)], levels[-1]

    def strengths(self, bands: list[Float]) -> Array:
        """Return the logarithm of each band's standard deviation."""
        found = [float(band[self.inside].std()) if self.inside.any() else 0.0 for band in bands]
        return np.log(np.maximum(found, _NO_DETAIL))

    def extent(self) -> tuple[Array, Array]:
        """Return the brain's middle and half its extent, in voxels along each axis of `data`."""
        filled = np.nonzero(self.inside if self.inside.any() else self.data >= 0)
        ends = np.array([(where.min(), where.max()) for where in filled], float)
        return ends.mean(axis=1), np.maximum((ends[:, 1] - ends[:, 0]) / 2, 1)

    def central_fluid(self) -> NDArray[np.bool_]:
        """Return where the brain's middle, of slices in their plane, is as dark as fluid."""
        off = np.zeros(self.data.shape, np.float32)
        for axis, (middle, half) in enumerate(zip(*self.extent(), strict=True)):
            if axis or self.solid:
                place = (np.arange(self.data.shape[axis]) - middle) / half
                off += np.expand_dims(place**2, [a for a in range(3) if a != axis])
        share, percent = _DARK
        dark = self.data < share * np.percentile(self._values(), percent)
        return np.asarray((off < _CENTRAL**2) & dark)

    def ventricles(self) -> float:
        """Return the share of the brain that is fluid in its middle."""
        return float(self.central_fluid().sum() / self._values().size)

    def grey(self) -> float:
        """Return the brightness of the middle one of three classes of tissue (k-means)."""
        values = self._values()[::7]
        centres = np.percentile(values, (5, 40, 80))
        for _ in range(15):
            nearest = np.abs(values[:, None] - centres).argmin(axis=1)
            of = [values[nearest == k] for k in range(3)]
            centres = np.array([one.mean() if len(one) else c for one, c in zip(of, centres)])  # noqa: B905
        return float(centres[1])

    def _values(self) -> Float:
        return self.data[self.inside] if self.inside.any() else self.data.ravel()

    def _gaussian(self, data: Float, sigma: float) -> Float:
        planes = np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in data])
        return ndimage.gaussian_filter1d(planes, sigma, axis=0) if self.solid else planes


@dataclass(frozen=True, eq=False)
class Look:
    """How training people's images look, each value a mean and a standard deviation over people.

    Attributes:
        bands: ``(2, 2)`` of the logarithm of each band's standard deviation, finest first.
        grey: ``(2,)`` of the brightness of grey matter: of three classes of tissue the middle one.
        usual: ``(2, 3)`` of `MEASURES` of people who come as new scans: the finest band; grey
            matter; the share of the brain that is fluid in its middle.
    """

    bands: Array
    grey: Array
    usual: Array

    def unusual(self, images: Tensor) -> dict[str, float]:
        """Return how far each measure lies from training people's mean, in standard deviations."""
        off = (self.measured(images) - self.usual[0]) / np.maximum(self.usual[1], _LEAST)
        return dict(zip(MEASURES, off.tolist(), strict=True))

    def measured(self, images: Tensor) -> Array:
        """Return (3,) `MEASURES` of a person; detail as it is with grey matter in its range.

        Brightness raised to a power changes detail as well, which is no blur.
        """
        picture = Picture(images)
        made = self._toned(picture)
        (detail,) = picture.strengths([made - picture.smooth(made, SIGMAS[0])])
        return np.array([detail, picture.grey(), picture.ventricles()])

    def coming_as(self, measures: Sequence[Array]) -> Look:
        """Return the look with the measures of two people or more who come as new scans."""
        return replace(self, usual=_spread(measures))

    def brought(self, images: Tensor) -> Tensor:
        """Return images whose detail and grey matter lie within a standard deviation of theirs.

        Args:
            images: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` in [0, 1].
        """
        picture = Picture(images)
        low, high = self.bands[0] - self.bands[1], self.bands[0] + self.bands[1]
        made, total = self._toned(picture), np.ones(len(SIGMAS))
        for _ in range(_ROUNDS):
            bands, rest = picture.bands(made)
            now = picture.strengths(bands)
            gains = np.exp(np.clip(now, low, high) - now)
            gains = np.clip(total * gains, 1 / _MOST, _MOST) / total
            if np.allclose(gains, 1, atol=0.01):
                break
            total = total * gains
            pairs = zip(gains.astype(np.float32), bands, strict=True)
            made = np.clip(rest + sum(gain * band for gain, band in pairs), 0, 1) * picture.brain
        return images.new_tensor(made).reshape(images.shape)

    def _toned(self, picture: Picture) -> Float:
        """Return the image with its brightness raised to the power that grey matter needs."""
        grey = picture.grey()
        mean, sd = self.grey
        goal = float(np.clip(grey, mean - sd, mean + sd))
        if not 0 < grey < 1 or not 0 < goal < 1 or goal == grey:
            return picture.data
        return np.asarray(picture.data ** np.float32(np.log(goal) / np.log(grey)))

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads."""
        usual = dict(zip(MEASURES, self.usual.T.tolist(), strict=True))
        return {"bands": self.bands.tolist(), "grey": self.grey.tolist(), "usual": usual}

    @classmethod
    def from_dict(cls, content: Any) -> Look:
        """Read what `to_dict` wrote; a file is not trusted.

        Raises:
            CheckpointError: A part is missing, of another shape or not finite.
        """
        try:
            usual = [content["usual"][name] for name in MEASURES]
            parts = (content["bands"], content["grey"], np.transpose(usual))
            look = cls(*(np.array(part, float) for part in parts))
            found = (look.bands, look.grey, look.usual)
            known = [part.shape for part in found] == [(2, len(SIGMAS)), (2,), (2, len(MEASURES))]
            if not known or not all(np.isfinite(part).all() for part in found):
                raise ValueError("shapes or values that cannot be")
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"what is stored of the look of training images is damaged: {error}", hint=_AGAIN
            ) from None
        return look


def fit_look(people: Sequence[Tensor]) -> Look:
    """Return the look of two training people or more, of each ``(n, 1, ...)`` in [0, 1].

    They count as coming as new scans, until `Look.coming_as` says otherwise.
    """
    bands, grey = [], []
    for images in people:
        picture = Picture(images)
        bands.append(picture.strengths(picture.bands(picture.data)[0]))
        grey.append(np.array(picture.grey()))
    plain = Look(_spread(bands), _spread(grey), np.zeros((2, len(MEASURES))))
    return plain.coming_as([plain.measured(images) for images in people])


def _spread(rows: Sequence[Array]) -> Array:
    """Return mean and standard deviation over people."""
    return np.stack([np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)])


def _stack(images: Tensor) -> Float:
    return np.ascontiguousarray(images.reshape(-1, *images.shape[-2:]).numpy(), dtype=np.float32)
