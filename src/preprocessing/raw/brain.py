"""Even out brightness, and find the brain.

Arrays: ``X Y Z`` voxels in RAS+ order.

Sources: Tustison et al. (2010), doi:10.1109/TMI.2010.2046908 (N4); Fisch et al. (2024),
doi:10.1016/j.compbiomed.2024.108845 (deepbet, whose wheel carries its weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...errors import ImageError
from ...optional import deepbet, simple_itk
from .convert import RawScan
from .register import as_itk

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FIELD_EDGE = 5.0  # mm: brightness changes slowly, so its field is found on a coarse grid
_ROUNDS = (50, 50, 50)
#: A skull-stripped scan: this share of its voxels is background of one value, and what is left is
#: as large as a brain. A head is three times as large.
_BACKGROUND, _BRAIN_ML = 0.3, (400.0, 2300.0)
_SURE = 0.5  # probability from which a voxel is brain


def even_out(scan: RawScan) -> Float:
    """Return the scan divided by its slowly changing brightness (N4)."""
    sitk = simple_itk()
    data = scan.data - min(float(scan.data.min()), 0.0)
    steps = [
        min(max(1, round(_FIELD_EDGE / edge)), max(n // 16, 1))
        for edge, n in zip(scan.voxel_size, data.shape, strict=True)
    ]
    first = [(n - 1) % step // 2 for n, step in zip(data.shape, steps, strict=True)]
    place = np.diag([*steps, 1.0])
    place[:3, 3] = first
    every = tuple(slice(at, None, step) for at, step in zip(first, steps, strict=True))
    image = as_itk(data[every], scan.affine @ place)
    method = sitk.N4BiasFieldCorrectionImageFilter()
    method.SetMaximumNumberOfIterations(list(_ROUNDS))
    try:
        method.Execute(image, sitk.OtsuThreshold(image, 0, 1, 200))
        field = sitk.GetArrayFromImage(method.GetLogBiasFieldAsImage(image)).transpose(2, 1, 0)
    except RuntimeError as error:
        why = (str(error).strip().splitlines() or ["it fails"])[-1]
        raise ImageError(f"its brightness cannot be evened out: {why[:160]}") from None
    return data * _between(np.exp(-np.clip(field, -3, 3)), data.shape, steps, first)


def _between(
    coarse: Float, shape: tuple[int, ...], steps: Sequence[int], first: Sequence[int]
) -> Float:
    """Return values of every n-th voxel at all voxels, ``(X, Y, Z)``, by cubic splines."""
    for size, count, step, at in zip(shape, coarse.shape, steps, first, strict=True):
        # A spline is linear in its values: SciPy is shown those of single places.
        along = ndimage.affine_transform(
            np.eye(count), (1 / step, 1), (-at / step, 0), (size, count), order=3, mode="nearest"
        )
        coarse = np.tensordot(coarse, along.astype(np.float32), (0, 1))  # this axis comes last
    return coarse


def is_stripped(scan: RawScan) -> bool:
    """Return whether the scan shows a brain alone, on a background of one value."""
    background = scan.data == scan.data.min()
    share = float(background.mean())
    volume = float((1 - share) * background.size * np.prod(scan.voxel_size) / 1000)
    return share >= _BACKGROUND and _BRAIN_ML[0] <= volume <= _BRAIN_ML[1]


def whole_content(scan: RawScan) -> Mask:
    """Return the largest piece of what is not background, without holes: a brain already alone."""
    return _largest(scan.data > scan.data.min())


def find_brain(data: Float) -> Mask:
    """Return the brain in a head, ``(X, Y, Z)``.

    Args:
        data: T1 intensities, brightness evened out or not.

    Raises:
        ImageError: No brain is found.
        ConfigError: deepbet is not installed.
    """
    try:
        found = _network().run_model(np.ascontiguousarray(data))
        mask = _network().postprocess(found > _SURE)
    except (AssertionError, ValueError, IndexError, RuntimeError) as error:
        raise ImageError(f"no brain is found in it ({str(error)[:120] or 'nothing'})") from None
    if not mask.any():
        raise ImageError("no brain is found in it")
    return np.asarray(mask, dtype=bool)


@lru_cache(maxsize=1)
def _network() -> Any:
    """Return the network, read once per process."""
    return deepbet().BrainExtraction(no_gpu=True)


def _largest(mask: Mask) -> Mask:
    parts, count = ndimage.label(mask)
    if count == 0:
        raise ImageError("there is nothing in it")
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(parts == sizes.argmax()))
