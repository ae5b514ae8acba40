"""Is it a plain T1? How bright the tissues are, where the template says they lie.

In an adult's T1 fluid is darker than grey matter, and grey darker than white. In a FLAIR, a T2, a
proton density image and a CT grey is as bright as white or brighter. A contrast agent makes
vessels and meninges brighter than white matter.

Arrays: ``X Y Z`` voxels in RAS+ order.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..resample import brain_box
from ..space.template import EDGE, template
from .convert import RawScan
from .register import Registration, resample

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: Probability in the template from which a voxel stands for a tissue.
_GREY, _WHITE, _FLUID = 0.8, 0.9, 0.8
#: Times white matter's median from which a voxel is brighter than any tissue of a plain T1.
_BRIGHT = 1.35
_AROUND = 20.0  # mm around a place whose white matter counts there: scans may be unevenly bright
_WHITE_FROM = 0.85  # of the mean around: grey matter and fluid are darker
_LEAST = 100  # voxels of a tissue, of 8 uL


def contrast(scan: RawScan, brain: Float, mask: Mask, placement: Registration) -> dict[str, float]:
    """Return the brightness of grey matter and fluid, and the share of bright voxels.

    Medians over the template's tissues bear an affine registration and wide ventricles.

    Args:
        scan: As it came; its affine counts.
        brain: ``(X, Y, Z)`` 0 outside the brain.
        mask: ``(X, Y, Z)`` the brain.
        placement: Where it lies.

    Returns:
        ``grey_to_white`` and ``fluid_to_white``, shares of white matter's brightness, and
        ``bright``, the share of the brain over 1.35 times white matter nearby. Nothing where a
        tissue is cut off.
    """
    t1 = template()
    laid = resample(brain, scan.affine, placement.to_native, t1.t1.shape, t1.affine)
    fluid = t1.brain & (t1.grey + t1.white < 1 - _FLUID)
    core = (t1.white > _WHITE) & (laid > 0)
    found = [laid[where & (laid > 0)] for where in (t1.grey > _GREY, core, fluid)]
    if min(map(len, found)) < _LEAST:
        return {}
    grey, white, dark = (float(np.median(values)) for values in found)
    near = _near(laid / white, core)
    back = np.asarray(np.linalg.inv(placement.to_native), dtype=np.float64)
    box = brain_box(mask)
    place = np.eye(4)
    place[:3, 3] = [one.start for one in box]
    brain, mask = brain[box], mask[box]
    usual = resample(near, t1.affine, back, mask.shape, scan.affine @ place)[mask] * white
    seen = usual > 0  # the template's grid ends below the brain
    return {
        "grey_to_white": grey / white,
        "fluid_to_white": dark / white,
        "bright": float((brain[mask][seen] > _BRIGHT * usual[seen]).mean()),
    }


def _near(laid: Float, core: Mask) -> Float:
    """Return the mean of white matter around each place; 1 where there is none around.

    Where ventricles are wide, the template's white matter holds fluid. It is left out.
    """
    first = _mean_around(laid, core)
    return _mean_around(laid, core & (laid > _WHITE_FROM * first))


def _mean_around(laid: Float, where: Mask) -> Float:
    weight = _smooth(where.astype(np.float32))
    total = _smooth(np.where(where, laid, np.float32(0)))
    return np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), np.float32(1))


def _smooth(data: Float) -> Float:
    """Return `data` smoothed by a Gaussian of `_AROUND`, as SciPy's filter would."""
    for edge in data.shape:
        data = np.tensordot(data, _gaussian(edge), (0, 1))  # this axis comes last
    return data


@lru_cache(maxsize=3)
def _gaussian(edge: int) -> Float:
    """Return (N, N) of a smoothing: a product takes a tenth of so wide a filter's time."""
    found: Float = ndimage.gaussian_filter1d(np.eye(edge, dtype=np.float32), _AROUND / EDGE, axis=0)
    return found
