"""Where the scans of a cohort lie in the ICBM152 template.

Registered scans share a frame that is near MNI space but not in it: Talairach's brain is a few per
cent smaller, and its axial planes are tipped. So a shift and a scale per axis are fitted, and the
pitch. Roll and yaw are 0 where registration has done its work, and tell where it has not. The
template is symmetric: left and right play no part.

Arrays: ``X Y Z`` voxels, the template's in RAS+ order at 2 mm. Matrices are 4 x 4 and act on
``(index, 1)`` or ``(mm, 1)``. Lengths are mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from ...errors import ImageError
from .fit import LIMITS, NINE, Array, Fit, Picture, Signs, starts
from .grid import PlacedVolume
from .template import Float, Mask, Matrix, template

#: Correlation away from the brain's surface under which a placement is not used. The mean of 130
#: real people has .86, of the 25 with the largest ventricles .70, a mean phantom .97; brains that
#: are mixed without registration have .60, one with two axes exchanged at most .39.
MIN_CORRELATION = 0.65
#: Roll or yaw, degrees, above which scans count as askew: registered ones have less than 3.
MAX_ASKEW = 5.0
#: What "flat" means: the fall of the fit's correlation that a shift may cost.
FLAT = 0.005
_LEVELS = ((8.0, 10.0), (4.0, 6.0), (2.0, 4.0))  # grid and FWHM of the smoothing, coarse to fine
_JUDGED = 1  # the level at which the correlation is told
_MARGIN = 12.0  # of air kept around the brain, mm
_CORE = 2  # voxels of the judged level that are peeled off the brain
_MIN_CORE = 50  # voxels
_GIVEN = 0.005  # by how much a turned brain must fit better than one that lies as declared
#: Signs of X, Y and Z -> what is the wrong way round.
_TURNS: dict[Signs, str | None] = {
    (1, 1, 1): None,
    (1, -1, 1): "front and back",
    (1, 1, -1): "top and bottom",
    (1, -1, -1): "both front and back, and top and bottom",
}


@dataclass(frozen=True)
class Placement:
    """Where the common frame of some scans lies in MNI space.

    Attributes:
        matrix: RAS+ mm of the frame -> MNI mm.
        correlation: Of mean image and template in the brain, 8 mm and more below its surface; the
            surface alone would correlate any two heads.
        reason: Why the placement cannot be trusted, in one sentence; None where it can.
        turned: What is the wrong way round in the frame, which `matrix` makes up for; None where
            nothing is.
        flatness: Shift along MNI X, Y and Z, mm, that lowers the fit's correlation by `FLAT` when
            all else is fitted again.
    """

    matrix: Matrix
    correlation: float
    reason: str | None = None
    turned: str | None = None
    flatness: tuple[float, float, float] | None = None

    def record(self) -> dict[str, Any]:
        """Return the placement as JSON can hold it."""
        return {
            "available": self.reason is None,
            **({"reason": self.reason} if self.reason else {}),
            "matrix": np.round(self.matrix, 6).tolist(),
            "correlation": round(float(self.correlation), 4),
            "turned": self.turned,
            "flatness_mm": None if self.flatness is None else [round(f, 2) for f in self.flatness],
        }


def fit_placement(
    mean_image: NDArray[Any], to_ras: Matrix, covered: Mask | None = None
) -> Placement:
    """Find where a mean image lies in MNI space: the place where it correlates best with the T1.

    The axes may be declared the wrong way round, as rows of pictures often are: the brain is also
    tried with front and back, and top and bottom, exchanged.

    Args:
        mean_image: (X, Y, Z) mean of skull-stripped, scaled scans of one frame, 0 in air; the whole
            brain or a slab of it.
        to_ras: Its index -> RAS+ mm of the frame; its axes run along the frame's.
        covered: (X, Y, Z) the box that was imaged, where that is not all of it: a stack of slices
            ends in the middle of the brain, and is no brain that ends there. None: all of it.

    Returns:
        The placement; where `reason` is set, `matrix` must not be used.

    Raises:
        ImageError: `mean_image` is no volume, or not finite; `covered` has another shape, or
            covers nothing.
    """
    data = np.asarray(mean_image, dtype=np.float32)
    if data.ndim != 3 or data.size == 0 or not np.isfinite(data).all():
        raise ImageError(f"a mean image is a volume of finite numbers, got {list(data.shape)}")
    image = Picture(data, np.asarray(to_ras, float))
    if covered is not None:
        if covered.shape != data.shape or not covered.any():
            raise ImageError(f"what is covered of {list(data.shape)} is {list(covered.shape)}")
        image = image.within(covered)
    if image.data.max() <= 0 or image.mask.all():
        return Placement(np.eye(4), 0.0, "the mean image shows no brain on a dark background")
    image = image.near_brain(_MARGIN)
    low, high = image.box()
    fixed = Picture(template().t1, template().affine)
    levels = [(image.coarse(*level), fixed.coarse(*level)) for level in _LEVELS]
    turned = [[Fit(*pictures, (low + high) / 2, signs) for pictures in levels] for signs in _TURNS]
    found = [_search(fits[0]) for fits in turned]
    coarse = [fits[0].correlation(best) for fits, best in zip(turned, found, strict=True)]
    coarse[0] += _GIVEN
    chosen = int(np.argmax(coarse))
    return _placement(turned[chosen], found[chosen])


def _search(fit: Fit) -> Array:
    """Return the best parameters of all starts, at the coarsest level."""
    tried = [fit.improve(fit.improve(start, range(3))) for start in starts(fit.moving, fit.fixed)]
    return max(tried, key=fit.correlation)


def _placement(fits: list[Fit], best: Array) -> Placement:
    """Refine the parameters level by level, unless they turn out to be of no use."""
    judged = fits[_JUDGED]
    best = judged.improve(best)
    correlation, voxels = _core_correlation(judged, best)
    askew = float(np.degrees(np.abs(judged.improve(best, NINE)[7:]).max()))
    reason = _distrust(best, correlation, voxels, askew)
    if reason:
        return Placement(judged.matrix(best), correlation, reason)
    for fit in fits[_JUDGED + 1 :]:
        best = fit.improve(best)
    x, y, z = (float(mm) for mm in fits[-1].slack(best, FLAT))
    turned = _TURNS[judged.signs]
    return Placement(judged.matrix(best), correlation, None, turned, (x, y, z))


def _distrust(best: Array, correlation: float, voxels: int, askew: float) -> str | None:
    """Say in one sentence why a fit cannot be trusted; None where it can."""
    if voxels < _MIN_CORE:
        return "the mean image shows too little of the brain to place it"
    if correlation < MIN_CORRELATION:
        return (
            f"inside the brain the mean image correlates with the template by only "
            f"{correlation:.2f} (at least {MIN_CORRELATION:.2f} is needed): the scans share no "
            "frame, lie on their side, or are no T1-weighted brains"
        )
    if askew > MAX_ASKEW:
        return f"the brains lie askew in their frame, by {askew:.0f} degrees"
    if (np.abs(best) >= LIMITS - 1e-6).any():
        return "the mean image fits the template only when stretched or tipped beyond reason"
    return None


def _core_correlation(fit: Fit, parameters: Array) -> tuple[float, int]:
    """Return the correlation away from the brain's surface, and of how many voxels it is."""
    there = fit.fixed_there(parameters)
    both = fit.moving.mask & (there > 0.1 * fit.fixed.data.max())
    # The end of a slab is no surface: beyond the field of view counts as brain.
    core = ndimage.binary_erosion(both, iterations=_CORE, border_value=1)
    voxels = int(core.sum())
    pair = np.stack([fit.moving.data[core], there[core]])
    if voxels < 2 or (pair.std(axis=1) < 1e-6).any():
        return 0.0, voxels
    return float(np.corrcoef(pair)[0, 1]), voxels


def in_template(
    placed: PlacedVolume, placement: Placement, order: int = 1
) -> tuple[Float, NDArray[np.bool_]]:
    """Resample a processed image, or a map on its grid, on the template's grid.

    Args:
        placed: Values with their place.
        placement: Of the frame of `placed`.
        order: 1 is linear, after a smoothing by the resolution that is lost; 0 is nearest.

    Returns:
        (X, Y, Z) values, and where they are known: in the processed field of view, or less than
        half a template voxel beyond it, so that a single slice covers a plane. Elsewhere 0.
    """
    target = template()
    step = np.linalg.inv(placed.to_ras) @ np.linalg.inv(placement.matrix) @ target.affine
    shape = target.t1.shape
    reach = np.abs(step[:3, :3]).sum(axis=1)  # data voxels across one template voxel
    data = placed.data
    sigma = 0.5 * np.sqrt(np.maximum(reach**2 - 1, 0))
    if order > 0 and sigma.max() > 0.25:
        data = ndimage.gaussian_filter(data, sigma, truncate=3, mode="nearest")
    if order == 1 and not (step[0, 1:3].any() or step[1:3, 0].any()):  # pitch alone
        values = _pitched(data, step, shape)
    else:
        values = ndimage.affine_transform(
            data, step[:3, :3], step[:3, 3], shape, np.float32, order=order, mode="nearest"
        )
    covered = np.ones(shape, bool)
    i, j, k = np.ogrid[tuple(slice(n) for n in shape)]
    for axis, slack in enumerate(np.maximum(reach, 1) / 2):
        place = step[axis, 0] * i + step[axis, 1] * j + step[axis, 2] * k + step[axis, 3]
        covered &= (place >= -slack) & (place <= data.shape[axis] - 1 + slack)
    return np.where(covered, values, 0).astype(np.float32), covered


def _pitched(data: Float, step: Matrix, shape: tuple[int, ...]) -> Float:
    """Return `data` at the places of another grid whose X runs along its own; linear.

    All planes across X are sampled alike, so where, and with which weights, is told once for all:
    a quarter of the time. Sums are of float64, as SciPy's are.
    """
    low, share = _neighbours(step[0, 0] * np.arange(shape[0]) + step[0, 3], data.shape[0])
    flat = data.reshape(len(data), -1).astype(np.float64)
    share = share[:, None]
    lines = flat[low] * (1 - share) + flat[np.minimum(low + 1, len(flat) - 1)] * share
    j, k = np.meshgrid(*map(np.arange, shape[1:]), indexing="ij", copy=False)
    y, z = (step[row, 1] * j + step[row, 2] * k + step[row, 3] for row in (1, 2))
    (below, up), (behind, fore) = _neighbours(y, data.shape[1]), _neighbours(z, data.shape[2])
    places, weights = [], []
    for right, of_y in ((0, 1 - up), (1, up)):
        for above, of_z in ((0, 1 - fore), (1, fore)):
            row = np.minimum(below + right, data.shape[1] - 1)
            column = np.minimum(behind + above, data.shape[2] - 1)
            places.append((row * data.shape[2] + column).ravel())
            weights.append((of_y * of_z).ravel())
    index = np.tile(np.arange(j.size), 4), np.concatenate(places)
    plane = sparse.coo_array((np.concatenate(weights), index), (j.size, data[0].size))
    sampled = (plane.tocsr() @ lines.T).T
    return np.ascontiguousarray(sampled, np.float32).reshape(shape)


def _neighbours(at: Array, count: int) -> tuple[NDArray[np.int64], Array]:
    """Return the voxel below each place along an axis, and the share of the one above it."""
    at = np.clip(at, 0, count - 1)
    low = at.astype(np.int64)
    return low, at - low
