"""Bring pictures of heads into one pose, and measure how well two of them agree once aligned.

A copy that was turned, shifted, zoomed or mirrored is found by posing it: centre, long axis and
size of what is not background are made equal. What remains is aligned by an affine transform that
maximises correlation (Evangelidis and Psarakis 2008, doi:10.1109/TPAMI.2008.113), and the two are
compared place by place, since two heads agree here and there but never everywhere.

Axes: V planes (1 for a slice; axial, coronal, sagittal for a volume), F frames (plain, posed).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ..cohorts.near_duplicates import HEIGHT, WIDTH

Picture = npt.NDArray[np.uint8]
#: Frames are twice as large as thumbnails: about half an OASIS slice.
ZOOM = 2
SIZE = (WIDTH * ZOOM, HEIGHT * ZOOM)
PLAIN, POSED = 0, 1
#: How a posed picture may still differ: cv2 flip codes. A long axis has no upper end.
FLIPS = {PLAIN: (None, 1), POSED: (None, 1, 0, -1)}
_LONGEST = 256  # pixels: larger pictures are reduced first
_FOREGROUND = 0.2  # of the brightest, above the background
_SPREAD = 10.5 * ZOOM  # standard deviation of the foreground in a posed frame, in pixels
_DETAIL, _NEAR = 2.0, 6.0  # pixels: scale of detail; of a neighbourhood
_SATURATED = 248  # brightening cuts off here, and with it the detail
_QUANTILE = 0.1  # nine neighbourhoods in ten agree at least this well
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)


def frames(picture: Picture) -> Picture:
    """Return a picture (H, W) as it is and posed: (F, 104, 88); both alike if it has no shape."""
    picture = _reduced(picture, _LONGEST)
    plain = cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA)
    pose = _pose(picture)
    if pose is None:
        return np.stack([plain, plain]).astype(np.uint8)
    scale = float(np.sqrt(abs(np.linalg.det(pose[:, :2]))))
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.4 * scale) if scale > 1 else picture
    posed = cv2.warpAffine(
        smooth, pose, SIZE,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.stack([plain, posed]).astype(np.uint8)


def thumbnails(framed: Picture) -> Picture:
    """Return frames (F, 104, 88) at half the size."""
    half = [cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in framed]
    return np.stack(half).astype(np.uint8)


def flip(picture: Picture, code: int | None) -> Picture:
    """Return the last two axes mirrored as cv2 would: 1 sides, 0 up and down, -1 both."""
    if code is None:
        return picture
    columns = picture[..., ::-1] if code else picture
    return np.ascontiguousarray(columns if code == 1 else columns[..., ::-1, :])


def agreement(first: Picture, second: Picture) -> float:
    """Align `second` to `first` and return how well detail agrees in nine places of ten, to 1."""
    warp = np.eye(2, 3, dtype=np.float32)
    try:
        _, warp = cv2.findTransformECC(first, second, warp, cv2.MOTION_AFFINE, _STEPS, None, 3)
    except cv2.error:  # no overlap to align by: compared as they lie
        warp = np.eye(2, 3, dtype=np.float32)
    moved = cv2.warpAffine(
        second, warp, first.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return _local_correlation(first, np.asarray(moved, dtype=np.uint8))


def _local_correlation(first: Picture, second: Picture) -> float:
    """Return the lower decile of the correlation of detail over neighbourhoods with detail."""
    cut = ((first >= _SATURATED) | (second >= _SATURATED)).astype(np.uint8)
    weight = 1 - cv2.dilate(cut, np.ones((3, 3), np.uint8)).astype(np.float32)
    a, b = _detail(first, weight), _detail(second, weight)
    power = [cv2.GaussianBlur(x * x, (0, 0), _NEAR) for x in (a, b)]
    together = cv2.GaussianBlur(a * b, (0, 0), _NEAR)
    correlation = together / np.sqrt(power[0] * power[1] + 1e-9)
    rich = (power[0] > power[0].mean() / 4) | (power[1] > power[1].mean() / 4)
    values = correlation[rich & (weight > 0)]
    return float(np.quantile(values, _QUANTILE)) if values.size >= 20 else 0.0


def _detail(picture: Picture, weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the picture without its coarse shading, where `weight` is 1."""
    values = picture.astype(np.float32)
    near = cv2.GaussianBlur(weight, (0, 0), _DETAIL) + 1e-3
    coarse = cv2.GaussianBlur(values * weight, (0, 0), _DETAIL) / near
    return np.asarray((values - coarse) * weight, dtype=np.float32)


def _reduced(picture: Picture, longest: int) -> Picture:
    """Return the picture with its longer edge at most `longest`."""
    factor = longest / max(picture.shape)
    if factor >= 1:
        return picture
    size = [max(1, round(n * factor)) for n in picture.shape[::-1]]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _pose(picture: Picture) -> npt.NDArray[np.float64] | None:
    """Return the affine map (2, 3) from a posed frame to the picture; None without foreground."""
    small = _reduced(picture, _LONGEST // 2)
    smooth = cv2.GaussianBlur(small, (0, 0), max(small.shape) / 100)
    edge = np.concatenate([smooth[0], smooth[-1], smooth[:, 0], smooth[:, -1]])
    away = cv2.absdiff(smooth, np.full_like(smooth, np.median(edge)))
    mask = (away > _FOREGROUND * np.sort(away, axis=None)[-away.size // 50]).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mask, outlines, -1, 1, -1)
    moments = cv2.moments(mask, binaryImage=True)
    area = moments["m00"]
    if area < 20:
        return None
    xx, xy, yy = (moments[name] / area for name in ("mu20", "mu11", "mu02"))
    spread = max(xx * yy - xy * xy, 1e-6) ** 0.25
    angle = 0.5 * np.arctan2(2 * xy, yy - xx)  # of the long axis, from upright
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = turn * spread / _SPREAD
    centre = np.array([moments["m10"], moments["m01"]]) / area
    middle = (np.array(SIZE) - 1) / 2
    offset = centre - linear @ middle
    enlarge = np.array(picture.shape[::-1]) / small.shape[::-1]  # pixel centres are at half steps
    return np.column_stack([enlarge[:, None] * linear, enlarge * (offset + 0.5) - 0.5])
