"""A raw scan on a grid in template space, by one interpolation from its own voxels.

The standard scan has voxels of 1 mm in template space. For a model whose training scans lie on
another grid it would be interpolated twice, and blurred twice: so the scan is laid there directly.

Arrays: ``X Y Z`` voxels of the scan in RAS+ order; ``I J K`` voxels of the grid. Matrices are
4 x 4.

Source: Thevenaz et al. (2000), doi:10.1109/42.875199 (cubic splines blur less than lines).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...errors import ManifestError, foreign_bytes
from ...files import atomic_file, open_file
from .convert import RawScan
from .register import Registration

Float = NDArray[np.float32]
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

ENDING = ".laid.npz"
_ORDER = 3
_REACH = 12  # voxels around the brain that a spline needs, and a smoothing
_TOP = 4000.0  # stored value of the brain's 99.9th percentile


@dataclass(frozen=True, eq=False)
class Grid:
    """Where a scan is to be laid.

    Attributes:
        shape: I, J, K.
        to_template: Index -> mm of the template.
    """

    shape: tuple[int, int, int]
    to_template: Matrix

    def key(self) -> str:
        """Return what tells this grid from others."""
        return json.dumps([self.shape, np.round(self.to_template, 6).tolist()])


@dataclass(frozen=True, eq=False)
class LaidScan:
    """A scan on a grid.

    Attributes:
        head: ``(I, J, K)`` int16 brightness, evened out; the brain's 99.9th percentile is 4,000.
            What surrounds the brain is still there, up to where the scan ends.
        brain: ``(I, J, K)`` where its brain is.
    """

    head: NDArray[np.int16]
    brain: Mask


def lay(data: Float, mask: Mask, scan: RawScan, placement: Registration, grid: Grid) -> LaidScan:
    """Lay a scan on a grid; where the grid is coarser than the scan, it is smoothed by that much.

    Args:
        data: ``(X, Y, Z)`` brightness evened out, 0 in air.
        mask: ``(X, Y, Z)`` the brain.
        scan: Its own affine counts.
        placement: Where it lies in the template.
        grid: Where it is to lie.
    """
    step = np.linalg.inv(scan.affine) @ placement.to_native @ grid.to_template
    box, step = _near_brain(mask, step)
    top = max(float(np.percentile(data[mask], 99.9)), 1e-6)
    head, brain = data[box], mask[box].astype(np.float32)
    sigma = lost_detail(step)
    if sigma.max() > 0:
        head = ndimage.gaussian_filter(head, sigma, truncate=3, mode="nearest")
    moved = ndimage.affine_transform(
        head, step[:3, :3], step[:3, 3], grid.shape, np.float32, order=_ORDER, mode="constant"
    )
    inside = ndimage.affine_transform(
        brain, step[:3, :3], step[:3, 3], grid.shape, np.float32, order=1, mode="constant"
    )
    grey = np.clip(moved / top * _TOP, 0, 32767).astype(np.int16)
    return LaidScan(grey, inside > 0.5)


def lost_detail(step: Matrix) -> NDArray[np.float64]:
    """Return (3,) standard deviations, in voxels, of the detail that a coarser grid cannot hold."""
    reach = np.abs(step[:3, :3]).sum(axis=1)
    sigma = 0.5 * np.sqrt(np.maximum(reach**2 - 1, 0))
    return sigma if sigma.max() > 0.25 else np.zeros(3)


def write_laid(path: str | Path, laid: LaidScan) -> None:
    """Write a laid scan as a compressed NumPy file."""
    with atomic_file(path) as file:
        np.savez_compressed(file, head=laid.head, brain=laid.brain)


def read_laid(path: str | Path, shape: tuple[int, int, int]) -> LaidScan:
    """Read what `write_laid` wrote.

    Raises:
        ManifestError: It is damaged, or of another shape.
    """
    with (
        foreign_bytes(ManifestError, f"{path} is damaged", f"remove {path}"),
        open_file(path) as file,
        np.load(file, allow_pickle=False) as content,
    ):
        laid = LaidScan(content["head"], content["brain"])
    kinds = laid.head.dtype.name, laid.brain.dtype.name
    if kinds != ("int16", "bool") or laid.head.shape != shape or laid.brain.shape != shape:
        raise ManifestError(f"{path} is of another grid", hint=f"remove {path}")
    return laid


def _near_brain(mask: Mask, step: Matrix) -> tuple[tuple[slice, slice, slice], Matrix]:
    """Return the box around the brain, and the matrix to an index in it."""
    places = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    low = [max(int(at[0]) - _REACH, 0) for at in places]
    x, y, z = (slice(a, int(at[-1]) + 1 + _REACH) for a, at in zip(low, places, strict=True))
    moved = step.copy()
    moved[:3, 3] -= low
    return (x, y, z), moved
