"""Find the brain and scale intensities inside it.

Arrays: any shape, ``X Y Z`` or ``H W``. T1-weighted signal is zero in air, so scaling keeps zero
fixed: the ratio of fluid to white matter, which atrophy changes, survives it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

#: Share of non-zero voxels on the border under which an image counts as brain-masked.
_MASKED_BORDER = 0.01
#: Grey level (of 255) under which a JPG's pixel is compression noise around the brain.
_JPG_NOISE = 12


def brain_mask(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the brain is (or the head, when the scan still has its skull).

    A brain-masked image is zero on its border, and its brain is what is not zero. Otherwise the
    head is what lies above Otsu's threshold (doi:10.1109/TSMC.1979.4310076).

    Args:
        data: ``(X, Y, Z)``, or the same voxels with their axes in any order.

    Raises:
        ImageError: Less than 1 % of the voxels are brain.
    """
    border = [np.moveaxis(data, axis, 0)[end] for axis in range(data.ndim) for end in (0, -1)]
    filled = sum(int(np.count_nonzero(face)) for face in border) / sum(face.size for face in border)
    mask: NDArray[np.bool_] = data > (0 if filled < _MASKED_BORDER else _otsu(data))
    share = np.count_nonzero(mask) / mask.size
    if share < 0.01:
        raise ImageError(f"no brain found: {share:.2%} of the voxels are above background")
    return mask


def slice_mask(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the brain is in an 8-bit brain-masked slice ``(H, W)``.

    Raises:
        ImageError: Less than 1 % of the pixels are brain.
    """
    mask = pixels > _JPG_NOISE
    if mask.mean() < 0.01:
        raise ImageError(f"no brain found: {mask.mean():.2%} of the pixels are above background")
    return mask


def bright_level(data: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Return the 99th percentile inside `mask`, which becomes 1.

    Args:
        data: Intensities, zero in air.
        mask: The brain, same shape.

    Raises:
        ImageError: The brain has no positive signal.
    """
    # Scan files hold their first axis together: transposed, they are read from end to end.
    top = _percentile(data.T[mask.T], 99)
    if top <= 0:
        raise ImageError("no positive signal inside the brain")
    return top


def scale_inside(data: NDArray[Any], mask: NDArray[np.bool_], top: float) -> NDArray[np.float32]:
    """Divide by `top` and clip to [0, 1]; outside is zero.

    Args:
        data: Intensities, zero in air; all of them, or the part that is needed.
        mask: The brain, same shape.
        top: `bright_level` of the whole brain.

    Returns:
        float32 in [0, 1].
    """
    scaled: NDArray[np.float32] = np.true_divide(data, np.float32(top), dtype=np.float32)
    np.clip(scaled, 0, 1, out=scaled)
    scaled *= mask
    return scaled


def _percentile(values: NDArray[Any], percent: float) -> float:
    """Return a percentile as NumPy defines it; one partition is a tenth of its time."""
    place = (values.size - 1) * (percent / 100)
    below = int(place)
    parted = np.partition(values, below)
    low = float(parted[below])
    high = float(parted[below + 1 :].min()) if below + 1 < values.size else low
    return low + (high - low) * (place - below)


def _otsu(data: NDArray[Any]) -> np.float32:
    """Return Otsu's threshold of `data`, from a histogram of 256 levels."""
    low, high = float(data.min()), _percentile(data.ravel("K"), 99.5)
    levels = np.subtract(data, np.float32(low), dtype=np.float32)
    levels *= 255 / max(high - low, 1e-12)
    flat = np.clip(levels, 0, 255, out=levels).astype(np.uint8).reshape(-1, 1, order="A")
    threshold, _ = cv2.threshold(flat, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.float32(low + (threshold + 1) * (high - low) / 255)
