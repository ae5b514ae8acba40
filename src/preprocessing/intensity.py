"""Find the brain and scale intensities inside it.

Arrays: any shape, ``X Y Z`` or ``H W``. T1-weighted signal is zero in air, so scaling keeps zero
fixed: the ratio of fluid to white matter, which atrophy changes, survives it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import ImageError

#: Share of non-zero voxels on the border under which an image counts as brain-masked.
_MASKED_BORDER = 0.01
#: Grey level (of 255) under which a JPG's pixel is compression noise around the brain.
_JPG_NOISE = 12
#: Under zero by more than this share of the bright voxels: not the noise or ringing of a filter.
_UNDER_ZERO = 0.1
#: Share of the range by which air at the border may lie over the lowest voxel.
_AIR = 0.05


def checked_intensities(data: NDArray[Any], name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return a scan whose air is zero and whose voxels are all finite, with a note on each change.

    SPM masks with NaN: outside of the brain that is zero. An image that was z-scored whole has its
    air under zero, and is raised; one that was z-scored inside its brain mask has lost where zero
    was, and is refused.

    Args:
        data: ``(X, Y, Z)``, or the same voxels with their axes in any order.
        name: For messages.

    Raises:
        ImageError: Voxels inside are NaN or infinite, all are the same, or zero is not air.
    """
    notes: list[str] = []
    low, high = data.min(), data.max()
    if not (np.isfinite(low) and np.isfinite(high)):  # a NaN or an infinity is one of the two
        data = _without_nan(data, name)
        low, high = data.min(), data.max()
        notes.append("NaN outside of the brain, as SPM masks: taken as zero")
    if low == high:
        raise ImageError(f"{name} is empty: every voxel is {low:g}")
    if low < 0:
        bottom, top = np.percentile(data[data != 0], (2, 98)).tolist()
        if bottom < -_UNDER_ZERO * top:
            data = _raised(data, top, name)
            notes.append("air under zero, as after z-scoring: raised until its lowest voxel is 0")
    return data, tuple(notes)


def _without_nan(data: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the scan with zero for NaN, if all of it lies outside of what is there."""
    wrong = ~np.isfinite(data)
    filled = np.where(wrong, np.float32(0), data)
    inside = wrong & ndimage.binary_fill_holes(filled != 0)
    lost = np.count_nonzero(inside) or np.count_nonzero(np.isinf(data))
    if not filled.any() or lost:
        raise ImageError(
            f"{name}: {lost or data.size} of {data.size} voxels are NaN or infinite"
            + (" inside of the brain" if inside.any() else "")
        )
    return np.asarray(filled)


def _raised(data: NDArray[Any], top: float, name: str) -> NDArray[Any]:
    """Return the scan with its lowest value at zero, if that is the value of its border: air."""
    low = float(data.min())
    faces = [np.moveaxis(data, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)]
    border = float(np.median(np.concatenate(faces)))
    if border - low > _AIR * (top - low):
        share = float(np.mean(data[data != 0] < 0))
        raise ImageError(
            f"{name}: {share:.0%} of what is not zero lies under zero, as after z-scoring: zero "
            "must be air",
            hint="give the scan as it was before its intensities were standardised",
        )
    raised: NDArray[np.float32] = np.subtract(data, np.float32(low), dtype=np.float32)
    return raised


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
