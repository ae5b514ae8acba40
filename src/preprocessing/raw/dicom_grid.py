"""Where the slices of a DICOM series lie: checked to be one volume, never guessed.

A volume is made of images of one size and one direction, equally far apart on a straight line.
Positions and matrices are DICOM's: mm to the left, the back and the top.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError, counted
from ..io import MAX_VOXELS, MIN_EDGE
from .dicom_headers import MARKS, Slice

Matrix = NDArray[np.float64]

_SAME = 1e-3  # by how much two directions, or two sizes of a pixel, may differ
_ONE_PLACE = 0.01  # mm under which two slices lie at one place
_UNEVEN = 0.1  # by how much of the usual step a step may differ from it
_LEAVE = "leave only the slices of one scan in the folder, or give the scan as NIfTI"


def lay(slices: list[Slice], name: str) -> tuple[list[Slice], Matrix]:
    """Sort slices by place, and return them with the place of their voxels.

    Args:
        slices: Of one series, each image once, in any order.
        name: Of the scan, for messages.

    Returns:
        The slices along their normal; and 4 x 4, (column, row, slice) -> mm.

    Raises:
        ImageError: They are no single volume; it says what is wrong, and of which slice.
    """
    for have, what in (
        (lambda one: one.position, "position (ImagePositionPatient)"),
        (lambda one: one.axes, "direction (ImageOrientationPatient)"),
        (lambda one: one.spacing, "size of a pixel (PixelSpacing)"),
    ):
        _need(slices, have, what, name)
    _alike(slices, lambda one: one.size, "rows and columns", name)
    _alike(slices, lambda one: one.axes, "direction: it lies across the others", name)
    _alike(slices, lambda one: one.spacing, "size of a pixel", name)
    rows, columns = slices[0].size
    if min(rows, columns, len(slices)) < MIN_EDGE:
        raise ImageError(
            f"{name} is {columns} x {rows} x {len(slices)} voxels, too thin for a scan"
        )
    if float(rows) * columns * len(slices) > MAX_VOXELS:
        raise ImageError(
            f"{name} claims {columns} x {rows} x {len(slices)} voxels; the limit is 512^3"
        )
    along, down = np.array(slices[0].axes, dtype=float).reshape(2, 3)
    if abs(along @ down) > _SAME or not np.allclose(
        np.linalg.norm([along, down], axis=1), 1, atol=0.01
    ):
        raise ImageError(f"{name} has rows and columns that are not at right angles")
    normal = np.cross(along, down)
    places = np.array([one.position for one in slices], dtype=float)
    order = np.argsort(places @ normal, kind="stable")
    ordered, places = [slices[at] for at in order], places[order]
    _distinct(ordered, places @ normal, name)
    step = _step(ordered, places, normal, name)
    affine = np.eye(4)
    between_rows, between_columns = slices[0].spacing or (0.0, 0.0)
    affine[:3] = np.column_stack([along * between_columns, down * between_rows, step, places[0]])
    return ordered, affine


def _need(slices: list[Slice], have: Callable[[Slice], Any], what: str, name: str) -> None:
    without = [one for one in slices if have(one) is None]
    if without:
        raise ImageError(
            f"{name}: the header of {without[0].name} has no {what}, as "
            f"{counted(len(without), 'slice')} of {len(slices)}",
            hint="export the series again with its geometry, or give the scan as NIfTI",
        )


def _alike(slices: list[Slice], of: Callable[[Slice], Any], what: str, name: str) -> None:
    """Refuse slices unlike most of the others in one thing."""
    most = np.array(Counter(map(of, slices)).most_common(1)[0][0])
    odd = [one for one in slices if not np.allclose(of(one), most, atol=_SAME)]
    if odd:
        raise ImageError(
            f"{name}: {counted(len(odd), 'slice')} of {len(slices)}, such as {odd[0].name}, "
            f"{'has' if len(odd) == 1 else 'have'} another {what}",
            hint=_LEAVE,
        )


def _distinct(slices: list[Slice], at: Matrix, name: str) -> None:
    """Refuse a series with two images of one place, and name what tells them apart."""
    twice = np.flatnonzero(np.diff(at) < _ONE_PLACE)
    if not len(twice):
        return
    first = int(twice[0])
    raise ImageError(
        f"{name}: {counted(len(twice), 'place has', 'places have')} more than one slice, such as "
        f"{slices[first].name} and {slices[first + 1].name}{_difference(slices)}",
        hint=_LEAVE,
    )


def _difference(slices: list[Slice]) -> str:
    """Say by which of `MARKS` the images differ, and how many have which."""
    for key, word in MARKS.items():
        count = Counter(one.marks.get(key, "none") for one in slices)
        if 1 < len(count) < len(slices) // 2:
            first = {one.marks.get(key, "none"): one.name for one in reversed(slices)}
            each = [f"{value} in {n}, such as {first[value]}" for value, n in sorted(count.items())]
            return f"; they differ in {word} ({key}): {'; '.join(each[:4])}"
    return "; no tag of their headers tells them apart"


def _step(slices: list[Slice], places: Matrix, normal: Matrix, name: str) -> Matrix:
    """Return the way from a slice to the next, (3,) mm, the same for all."""
    gaps = np.diff(places @ normal)
    usual = float(np.median(gaps))
    wrong = np.flatnonzero(np.abs(gaps - usual) > _UNEVEN * usual)
    if len(wrong):
        at = int(wrong[np.abs(gaps[wrong] - usual).argmax()])
        raise ImageError(
            f"{name}: {gaps[at]:.3g} mm between slices {at + 1} and {at + 2} "
            f"({slices[at].name}, {slices[at + 1].name}); the others are {usual:.3g} mm apart"
            + (f", but for {counted(len(wrong) - 1, 'other gap')}" if len(wrong) > 1 else ""),
            hint="copy the missing slices into the folder, or leave this scan out",
        )
    step: Matrix = (places[-1] - places[0]) / (len(places) - 1)
    away = np.linalg.norm(places - places[0] - np.arange(len(places))[:, None] * step, axis=1)
    if away.max() > max(_UNEVEN * usual, 0.1):
        at = int(away.argmax())
        raise ImageError(
            f"{name}: slice {at + 1} ({slices[at].name}) lies {away.max():.3g} mm off the line of "
            "the others",
            hint=_LEAVE,
        )
    return step
