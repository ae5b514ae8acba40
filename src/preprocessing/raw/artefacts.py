"""What noise and movement leave in a scan: noise and stripes in the brain, ghosts in the air.

Ghosts lie where nothing else is, so a whole head shows them best. A brain that came without its
head has no air, and stripes in its finest detail are all that is left to look for.

Arrays: ``X Y Z`` voxels in RAS+ order. Lengths are mm.

Sources: Mortamet et al. (2009), doi:10.1002/mrm.21992 (artefacts are looked for in the air);
Immerkaer (1996), doi:10.1006/cviu.1996.0060 (noise from a high-pass filter).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..resample import brain_box

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]
_BLOCK = 6.0  # edge of the blocks of air: means over so many voxels hold next to no noise
_FAR = 35.0  # from the brain: skull, scalp and a thick layer of fat are nearer
_LEAST_AIR = 50_000.0  # mm^3
_EMPTY = 0.95  # share of blocks that are 0 from which somebody emptied the air
#: A stripe of less than this share of the brain's mean counts as none: a scan that was filled up
#: with zeros in frequency space has nothing in its finest detail, where any rounding is a peak.
_FAINT = 0.001
_MIN_LINES = 32  # voxels of a line through the brain whose spectrum counts


def ghosts(data: Float, mask: Mask, voxel_size: NDArray[np.float64]) -> float | None:
    """Return how unevenly bright the air is, as a share of the brain's brightness.

    It is the 95th percentile less the median of blocks of air beside and above the upper half of
    the brain. Noise, which is alike everywhere, does not count.

    Args:
        data: ``(X, Y, Z)`` the scan as it came, air near 0.
        mask: ``(X, Y, Z)`` the brain.
        voxel_size: ``(3,)`` mm.

    Returns:
        0 or more; None where there is too little air, or where it was emptied.
    """
    edge = np.maximum(np.round(_BLOCK / voxel_size).astype(int), 1)
    heights = np.flatnonzero(_blocks(mask, edge).any(axis=(0, 1)))
    if not len(heights):
        return None
    upper = slice(int(heights[0] + heights[-1]) // 2, None)
    brain = _blocks(mask, edge)[..., upper] > 0
    away = ndimage.distance_transform_edt(~brain, sampling=edge * voxel_size)
    air = _blocks(data, edge)[..., upper][away > _FAR]
    if air.size * np.prod(edge * voxel_size) < _LEAST_AIR or (air == 0).mean() > _EMPTY:
        return None
    high, usual = np.percentile(air, [95, 50])
    return float(high - usual) / max(float(np.median(data[mask])), 1e-9)


def _blocks(data: NDArray[np.generic], edge: NDArray[np.int_]) -> Float:
    """Return means over blocks of so many voxels; what is left over at the end is dropped."""
    x, y, z = (n // e for n, e in zip(data.shape, edge, strict=True))
    a, b, c = edge
    whole = data[: x * a, : y * b, : z * c].reshape(x, a, y, b, z, c)
    return np.asarray(whole.mean(axis=(1, 3, 5), dtype=np.float32))


def detail(brain: Float, mask: Mask) -> dict[str, float]:
    """Return ``noise`` and ``ringing``, from the finest detail well inside the brain.

    Args:
        brain: ``(X, Y, Z)`` brightness evened out, 0 outside the brain.
        mask: ``(X, Y, Z)`` the brain.

    Returns:
        ``noise``, its deviation as a share of the brain's mean; ``ringing``, the strongest stripe
        in times of the detail beside it. A number that cannot be measured is not there.
    """
    near = brain_box(mask)
    brain, mask = brain[near], mask[near]
    inside = ndimage.binary_erosion(mask, iterations=2)
    if inside.sum() < 1000:
        return {}
    mean = float(brain[inside].mean())
    kernel = np.array([1.0, -2.0, 1.0], np.float32)
    fine = brain
    for axis in range(3):  # of independent noise it has sqrt(6)^3 times the deviation
        fine = ndimage.convolve1d(fine, kernel, axis=axis, mode="nearest")
    spread = 1.4826 * float(np.median(np.abs(fine[inside]))) / 6**1.5
    values = {"noise": spread / max(mean, 1e-9)}
    box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(inside))
    scaled = brain[box] / max(mean, 1e-9)
    peaks = [_stripes(np.moveaxis(scaled, axis, -1), np.moveaxis(inside[box], axis, -1))
             for axis in range(3)]  # fmt: skip
    found = [peak for peak in peaks if peak is not None]
    return values | ({"ringing": max(found)} if found else {})


def _stripes(brain: Float, inside: Mask) -> float | None:
    """Return the strongest peak of the spectrum along the last axis, in times of its sides.

    1 where no peak is as strong as a stripe that counts; the brain's mean is 1.
    """
    through = inside.sum(axis=-1)
    length = int(np.percentile(through[through > 0], 75)) if through.any() else 0
    if length < _MIN_LINES:
        return None
    start = inside.argmax(axis=-1)
    rows, columns = np.nonzero(through >= length)
    at = start[rows, columns][:, None] + np.arange(length)
    at = np.minimum(at, brain.shape[-1] - 1)
    lines = brain[rows[:, None], columns[:, None], at].astype(np.float64)
    lines = np.diff(lines, 1, axis=1) * np.hanning(length - 1)
    power = (np.abs(np.fft.rfft(lines, axis=1)) ** 2).mean(axis=0)
    low = len(power) // 3  # what is anatomy lies below
    usual = np.array([_beside(power, at, (len(power) - low) // 4) for at in range(low, len(power))])
    upper = power[low:]
    # Power that a stripe of the least share has here, after the difference and the window.
    wave = np.pi * np.arange(low, len(power)) / len(power)
    least = (_FAINT * 2 * np.sin(wave / 2) * length / 4) ** 2
    counts = upper - usual >= least
    return float(np.max(upper[counts] / np.maximum(usual[counts], 1e-12), initial=1.0))


def _beside(power: NDArray[np.float64], at: int, width: int) -> float:
    """Return the larger of the medians on both sides of a frequency.

    Resampling leaves a cliff in the spectrum, which is high on one side. A stripe stands alone.
    """
    width = max(width, 3)
    sides = [power[max(at - width, 0) : at - 1], power[at + 2 : at + 2 + width]]
    return max(float(np.median(side)) for side in sides if len(side))
