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


def brain_mask(data: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the brain is (or the head, when the scan still has its skull).

    A brain-masked image is zero on its border, and its brain is what is not zero. Otherwise the
    head is what lies above Otsu's threshold (doi:10.1109/TSMC.1979.4310076).

    Args:
        data: ``(X, Y, Z)``.

    Raises:
        ImageError: Less than 1 % of the voxels are brain.
    """
    border = [data.take(end, axis) for axis in range(data.ndim) for end in (0, -1)]
    filled = sum(int(np.count_nonzero(face)) for face in border) / sum(face.size for face in border)
    mask = data > 0 if filled < _MASKED_BORDER else data > _otsu(data)
    if mask.mean() < 0.01:
        raise ImageError(f"no brain found: {mask.mean():.2%} of the voxels are above background")
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


def scale_inside(data: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Divide by the 99th percentile inside `mask` and clip to [0, 1]; outside is zero.

    Args:
        data: Intensities, zero in air.
        mask: The brain, same shape.

    Returns:
        float32 in [0, 1].

    Raises:
        ImageError: The brain has no positive signal.
    """
    top = float(np.percentile(data[mask], 99))
    if top <= 0:
        raise ImageError("no positive signal inside the brain")
    return np.where(mask, np.clip(data / np.float32(top), 0, 1), 0).astype(np.float32, copy=False)


def _otsu(data: NDArray[np.float32]) -> float:
    """Return Otsu's threshold of `data`, from a histogram of 256 levels."""
    low, high = (float(value) for value in np.percentile(data, [0, 99.5]))
    levels = np.clip((data - low) * (255 / max(high - low, 1e-12)), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return float(low + (threshold + 1) * (high - low) / 255)
