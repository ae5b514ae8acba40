"""A small picture of a standard scan, for the page to look through.

Arrays: ``X Y Z`` voxels in RAS+ order; pictures ``H W 3`` BGR.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..maps.template import template
from .register import resample

_HEIGHT = 150  # pixels of a panel
#: MNI mm of the planes shown where the brain is registered.
_PLANES = ((-25.0, -10.0), (-20.0, 10.0), (-15.0, 15.0))
_LINE = (80, 200, 255)  # amber


def scan_picture(
    data: NDArray[np.int16], affine: NDArray[np.float64], *, registered: bool
) -> memoryview:
    """Return a JPEG of two planes along each axis, with the template's outline where laid on it.

    Args:
        data: ``(X, Y, Z)``.
        affine: Index -> RAS+ mm.
        registered: Whether those mm are the template's.
    """
    top = max(float(np.percentile(data[data > 0], 99)) if (data > 0).any() else 1.0, 1.0)
    grey = np.clip(data / top * 255, 0, 255).astype(np.uint8)
    outline = None
    if registered:
        t1 = template()
        there = resample(t1.t1, t1.affine, np.eye(4), data.shape, affine)
        outline = there > 0.02
    panels = []
    for axis in (2, 1, 0):
        for mm in _PLANES[axis]:
            at = round(mm - affine[axis, 3]) if registered else _middle(data, axis, mm)
            at = int(np.clip(at, 0, data.shape[axis] - 1))
            cut = None if outline is None else np.asarray(np.take(outline, at, axis))
            panels.append(_panel(np.asarray(np.take(grey, at, axis)), cut))
    good, buffer = cv2.imencode(
        ".jpg", np.concatenate(panels, axis=1), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )
    assert good
    return buffer.data


def _middle(data: NDArray[np.int16], axis: int, mm: float) -> int:
    filled = np.flatnonzero((data > 0).any(axis=tuple({0, 1, 2} - {axis})))
    middle = (filled[0] + filled[-1]) / 2 if len(filled) else data.shape[axis] / 2
    return round(float(middle) + mm)


def _panel(plane: NDArray[np.uint8], outline: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    upright = np.ascontiguousarray(plane.T[::-1])
    scale = _HEIGHT / upright.shape[0]
    size = (max(round(upright.shape[1] * scale), 1), _HEIGHT)
    picture = cv2.cvtColor(
        cv2.resize(upright, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR
    )
    if outline is not None:
        shape = cv2.resize(np.ascontiguousarray(outline.T[::-1]).astype(np.uint8), size)
        lines, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, lines, -1, _LINE, 1)
    return np.asarray(picture, dtype=np.uint8)
