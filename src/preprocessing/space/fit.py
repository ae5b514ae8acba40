"""Numbers that carry an image of a brain onto another: shift, scale, pitch, roll and yaw.

The sum of squared differences of two normalised images is 2 - 2r: least squares find the highest
correlation r. Both images are smoothed and coarse at first, so that the start may be far off.

Arrays: ``X Y Z`` voxels; ``n`` voxels, flat; ``9`` parameters: shift along X, Y and Z in mm,
logarithm of the scale along X, Y and Z, pitch, roll and yaw in radians. Matrices are 4 x 4 and act
on ``(index, 1)`` or ``(mm, 1)``. Lengths are mm.

Source: Levenberg (1944), doi:10.1090/qam/10666.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

Float = NDArray[np.float32]
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Per axis 1, or -1 where the image is mirrored.
Signs = tuple[int, int, int]

#: One unit of each parameter moves the brain by about 1 mm.
UNITS = np.array([1, 1, 1, *[0.01] * 6])
#: Beyond these no two brains lie, once they share a frame.
LIMITS = np.array([150, 150, 150, 0.35, 0.35, 0.35, 0.45, 0.45, 0.45])
#: Shift, scale and pitch; all nine.
SEVEN, NINE = tuple(range(7)), tuple(range(9))
#: In a slab the scale along Z is nearly free, and large ventricles pull at it. Brains differ in
#: size more than in shape: a scale 5 % off the mean of the three costs what .0005 of r does.
_SHAPE_SD, _SHAPE_COST = 0.05, 0.0005
_STEP = 0.5  # units, of the numerical derivative
_CLOSE = 0.02  # units: a smaller step ends the fit
_FWHM = 1 / np.sqrt(8 * np.log(2))  # standard deviations in a full width at half maximum
_APART = 20.0  # between the places along a cut axis from which the fit starts


@dataclass(frozen=True)
class Picture:
    """An image and its place.

    Attributes:
        data: (X, Y, Z) intensities, 0 in air.
        affine: Index -> mm; its axes run along the mm's, either way.
    """

    data: Float
    affine: Array

    @property
    def mask(self) -> Mask:
        """(X, Y, Z) the brain, roughly."""
        return np.asarray(self.data > 0.1 * self.data.max())

    def box(self) -> tuple[Array, Array]:
        """Return the lower and upper corner of the brain in mm."""
        filled = np.array(np.nonzero(self.mask))
        ends = np.stack([filled.min(axis=1) - 0.5, filled.max(axis=1) + 0.5], axis=1)
        corners = self.affine[:3, :3] @ ends + self.affine[:3, 3:]
        return corners.min(axis=1), corners.max(axis=1)

    def cut(self) -> Mask:
        """(3,) whether the brain reaches the end of the field of view along X, Y, Z in mm."""
        mask = self.mask
        ends = [mask.take(0, i).any() or mask.take(-1, i).any() for i in range(3)]
        return np.asarray(np.array(ends)[np.abs(self.affine[:3, :3]).argmax(axis=1)])

    def within(self, covered: Mask) -> Picture:
        """Return the smallest part of the image that holds all `covered` voxels, (X, Y, Z)."""
        known = np.array(np.nonzero(covered))
        return self._every(known.min(axis=1), known.max(axis=1) + 1, np.ones(3, int))

    def near_brain(self, margin: float) -> Picture:
        """Return the part of the image that is at most `margin` mm from the brain's box."""
        extra = np.ceil(margin / np.linalg.norm(self.affine[:3, :3], axis=0)).astype(int)
        filled = np.array(np.nonzero(self.mask))
        low = np.maximum(filled.min(axis=1) - extra, 0)
        high = np.minimum(filled.max(axis=1) + extra + 1, self.data.shape)
        return self._every(low, high, np.ones(3, int))

    def coarse(self, grid: float, fwhm: float) -> Picture:
        """Return the image smoothed, with voxels of about `grid` mm (or its own, if larger)."""
        voxel = np.linalg.norm(self.affine[:3, :3], axis=0)
        smooth = ndimage.gaussian_filter(
            self.data, fwhm * _FWHM / voxel, truncate=3, mode="nearest"
        )
        step = np.maximum(np.round(grid / voxel), 1).astype(int)
        shape = np.array(smooth.shape)
        return Picture(smooth, self.affine)._every((shape - 1) % step // 2, shape, step)

    def _every(
        self, low: NDArray[np.int_], high: NDArray[np.int_], step: NDArray[np.int_]
    ) -> Picture:
        x, y, z = (slice(*ends) for ends in zip(low, high, step, strict=True))
        to_old = np.diag([*step.astype(float), 1.0])
        to_old[:3, 3] = low
        return Picture(np.ascontiguousarray(self.data[x, y, z]), self.affine @ to_old)


@dataclass(frozen=True)
class Fit:
    """One level of the search: a moving image that is laid on a fixed one.

    Attributes:
        moving: The image whose place is sought.
        fixed: The image it is laid on.
        pivot: (3,) mm of `moving` around which it is scaled and tipped.
        signs: Which axes of `moving` are mirrored.
    """

    moving: Picture
    fixed: Picture
    pivot: Array
    signs: Signs

    def matrix(self, parameters: Array) -> Array:
        """Return mm of `moving` -> mm of `fixed`."""
        turn = Rotation.from_euler("xyz", parameters[6:]).as_matrix()
        matrix = np.eye(4)
        matrix[:3, :3] = turn * (np.exp(parameters[3:6]) * self.signs)
        matrix[:3, 3] = parameters[:3] - matrix[:3, :3] @ self.pivot
        return matrix

    def fixed_there(self, parameters: Array) -> Float:
        """Return `fixed` on the grid of `moving`."""
        step = np.linalg.inv(self.fixed.affine) @ self.matrix(parameters) @ self.moving.affine
        shape = self.moving.data.shape
        there: Float = ndimage.affine_transform(
            self.fixed.data, step[:3, :3], step[:3, 3], shape, np.float32, order=1
        )
        return there

    def residuals(self, parameters: Array) -> Array:
        """Return (n + 3,) numbers whose squares sum to 2 - 2r, plus what an odd shape costs."""
        scales = parameters[3:6]
        odd = np.sqrt(2 * _SHAPE_COST) / _SHAPE_SD * (scales - scales.mean())
        apart = _normal(self.moving.data) - _normal(self.fixed_there(parameters))
        return np.concatenate([apart, odd])

    def correlation(self, parameters: Array) -> float:
        """Return r over the field of view of `moving`, air included."""
        there = _normal(self.fixed_there(parameters))
        return float(_normal(self.moving.data) @ there)

    def improve(self, start: Array, free: Sequence[int] = SEVEN) -> Array:
        """Return the parameters at the highest correlation near `start`.

        Args:
            start: (9,) parameters.
            free: Numbers of those that may change.
        """
        free = list(free)
        best = start.copy()
        off = self.residuals(best)
        damping = 1e-3
        for _ in range(30):
            slope = self._slope(best, off, free)
            normal, pull = slope.T @ slope, slope.T @ off
            for _ in range(6):
                held = normal + damping * np.diag(normal.diagonal() + 1e-12)
                trial = best.copy()
                trial[free] -= np.linalg.solve(held, pull) * UNITS[free]
                trial = np.clip(trial, -LIMITS, LIMITS)
                found = self.residuals(trial)
                if found @ found < off @ off:
                    break
                damping *= 10
            else:
                return best
            moved = np.abs((trial - best) / UNITS).max()
            best, off, damping = trial, found, max(damping / 10, 1e-6)
            if moved < _CLOSE:
                break
        return best

    def slack(self, parameters: Array, fall: float) -> Array:
        """Return (3,) mm along X, Y and Z of `fixed` that lower r by `fall`, all else fitted again.

        Near the optimum 2 - 2r grows by d' N d: by d_i^2 / (inverse of N)_ii for the best others.
        """
        slope = self._slope(parameters, self.residuals(parameters), SEVEN)
        spread = np.linalg.inv(slope.T @ slope + 1e-12 * np.eye(7)).diagonal()[:3]
        return np.asarray(np.sqrt(2 * fall * spread))

    def _slope(self, parameters: Array, off: Array, free: Sequence[int]) -> Array:
        """Return (n + 3, free) derivative of the residuals, per unit of each parameter."""
        columns = []
        for step in (_STEP * np.diag(UNITS))[list(free)]:
            columns.append((self.residuals(parameters + step) - off) / _STEP)
        return np.stack(columns, axis=1)


def starts(moving: Picture, fixed: Picture) -> Iterator[Array]:
    """Yield (9,) parameters to start from: box on box, and all along an axis that is cut.

    An axis is cut where the brain runs out of the field of view and is clearly shorter than the
    other brain.
    """
    low, high = fixed.box()
    size = np.subtract(*reversed(moving.box()))
    places = []
    for axis, cut in enumerate(moving.cut()):
        room = high[axis] - low[axis] - size[axis]
        if cut and room > 0.15 * (high[axis] - low[axis]):
            count = int(np.ceil(room / _APART)) + 1
            places.append(np.linspace(low[axis], high[axis] - size[axis], count) + size[axis] / 2)
        else:
            places.append(np.array([(low[axis] + high[axis]) / 2]))
    for place in product(*places):
        yield np.array([*place, *[0.0] * 6])


def _normal(data: Float) -> Array:
    """Return (n,) values with mean 0 and length 1; all 0 where they are constant."""
    flat = data.ravel().astype(np.float64)
    flat -= flat.mean()
    return flat / max(float(np.sqrt(flat @ flat)), 1e-9)
