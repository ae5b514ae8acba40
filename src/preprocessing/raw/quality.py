"""Can a standard scan be used? Numbers, thresholds, words, and a small picture to look through.

Two kinds of findings: those that set a scan aside (what follows would be noise), and flags that a
person should look at. The thresholds are set between four real scans, phantoms and their damaged
copies (docs/scans.md): they are a net for gross errors, not a grade.

Arrays: ``X Y Z`` voxels in RAS+ order; pictures ``H W 3`` BGR.

Sources: Esteban et al. (2017), doi:10.1371/journal.pone.0184661 (MRIQC: what is measured of a
scan).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..space.template import template
from .artefacts import detail, ghosts
from .contrast import contrast
from .convert import RawScan
from .register import Registration, field_of_view, resample

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: Correlation with the template inside its brain: T1 from .49, a cylinder or noise .2. It does not
#: tell a FLAIR (.3 to .7): grey against white matter does.
MIN_CORRELATION = 0.35
#: mL. Adults' brains have 900 to 1,900; masks that lost the brain or kept the neck are far off.
VOLUME_POSSIBLE, VOLUME_USUAL = (600.0, 2400.0), (850.0, 2000.0)
#: Dice overlap of the laid mask with the template's brain.
MIN_OVERLAP, USUAL_OVERLAP = 0.75, 0.88
#: Share of the template's brain outside the field of view.
MAX_CUT, USUAL_CUT = 0.10, 0.005
#: Standard deviation of the noise, in shares of the brain's mean.
MAX_NOISE = 0.08
#: Strongest stripe in the brain's finest detail, in times of the detail beside it: good scans, also
#: resampled and averaged ones, have up to 1.6.
MAX_RINGING = 1.8
#: Unevenness of the air, in shares of the brain: good heads up to .02, ghosts of 5 % have .05.
MAX_GHOSTS = 0.03
#: Brightness of grey matter in shares of white: T1 .58 to .8, every other contrast from 1.
USUAL_GREY, MAX_GREY = 0.88, 0.95
_FLUID_DARK = 0.9  # times white matter: FLAIR .2 to .5, CT .6 to .8, proton density 1, T2 2
#: Share of the brain far brighter than white matter: plain T1 up to .0005, with a contrast agent
#: .004 to .04.
MAX_BRIGHT = 0.002
#: Of a turn and scale that lay a scan on the template: all numbers of people's heads differ by .12
#: and more from those of no change, scans that were laid on a template by up to .04.
_IN_TEMPLATE = 0.08
_HEIGHT = 150  # pixels of a panel
#: MNI mm of the planes shown where the brain is registered.
_PLANES = ((-25.0, -10.0), (-20.0, 10.0), (-15.0, 15.0))
_LINE = (80, 200, 255)  # amber


@dataclass(frozen=True)
class Quality:
    """What was measured of one scan.

    Attributes:
        values: Name -> number; a number that cannot be measured is not there.
        flags: Sentences for a person to look at.
        failures: Sentences that set the scan aside.
    """

    values: dict[str, float]
    flags: tuple[str, ...]
    failures: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads."""
        return {
            "values": self.values,
            "flags": list(self.flags),
            "failures": list(self.failures),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Quality:
        """Read what `to_dict` wrote."""
        values = {str(name): float(value) for name, value in content["values"].items()}
        if not all(map(math.isfinite, values.values())):
            raise ValueError("a measure of quality is not finite")
        told = [content["flags"], content["failures"]]
        if not all(isinstance(one, list) and all(isinstance(s, str) for s in one) for one in told):
            raise TypeError("flags or failures are no texts")
        return cls(values, *map(tuple, told))


def judge(scan: RawScan, brain: Float, mask: Mask, placement: Registration | None) -> Quality:
    """Measure a scan whose brain was found and, maybe, laid on the template.

    Args:
        scan: As it came.
        brain: ``(X, Y, Z)`` brightness evened out, 0 outside the brain.
        mask: ``(X, Y, Z)`` the brain.
        placement: Where it lies; None where registration is switched off.
    """
    voxel = float(np.prod(scan.voxel_size)) / 1000
    values = {"brain_volume_ml": float(mask.sum()) * voxel}
    values |= detail(brain, mask)
    raised = scan.data - min(float(scan.data.min()), 0.0)
    # Air is sought above and beside the head: a header that is wrong does not say where that is.
    upright = placement is None or not placement.turned
    seen_ghosts = ghosts(raised, mask, scan.voxel_size) if upright else None
    values |= {} if seen_ghosts is None else {"ghosts": seen_ghosts}
    if placement is None:
        values["cut"] = _at_the_edge(mask)
    else:
        t1 = template()
        values["correlation"] = placement.correlation
        place = (placement.to_native, t1.t1.shape, t1.affine)
        laid = resample(mask.astype(np.float32), scan.affine, *place) > 0.5
        seen = field_of_view(mask.shape, scan.affine, *place)
        both = float((laid & t1.brain).sum())
        values["overlap"] = 2 * both / max(float(laid.sum() + t1.brain.sum()), 1.0)
        values["cut"] = 1 - float((seen & t1.brain).sum()) / float(t1.brain.sum())
        change = np.abs(placement.to_native[:3, :3] - np.eye(3)).max()
        values["in_template_space"] = float(change < _IN_TEMPLATE)
        values |= contrast(scan, brain, mask, placement)
    rounded = {name: round(value, 4) for name, value in values.items()}
    failures = tuple(_failures(rounded))
    turned = placement is not None and placement.turned
    return Quality(rounded, (*scan.notes, *_flags(rounded, turned)), failures)


def _failures(values: dict[str, float]) -> Iterator[str]:
    low, high = VOLUME_POSSIBLE
    volume = values["brain_volume_ml"]
    if not low <= volume <= high:
        yield f"its brain has {volume:.0f} mL, not {low:.0f} to {high:.0f}"
    if values.get("correlation", 1) < MIN_CORRELATION:
        yield (
            f"laid on the template it correlates with {values['correlation']:.2f}, under "
            f"{MIN_CORRELATION}: not a T1 of a brain, or badly laid"
        )
    elif values.get("grey_to_white", 0) > MAX_GREY:  # of what lies wrongly, no tissue is known
        yield _other_contrast(values)
    if values.get("overlap", 1) < MIN_OVERLAP:
        yield f"its brain's shape overlaps the template's by {values['overlap']:.2f} (Dice)"
    if values["cut"] > MAX_CUT:
        yield f"{100 * values['cut']:.0f} % of the brain lies outside of the field of view"


def _other_contrast(values: dict[str, float]) -> str:
    """Return which contrast it seems to be, by how bright the fluid is."""
    fluid = values["fluid_to_white"]
    looks = "FLAIR or a CT" if fluid < _FLUID_DARK else "T2 or a proton density image"
    return (
        f"grey matter is {values['grey_to_white']:.2f} times as bright as white, and fluid "
        f"{fluid:.2f} times: this looks like a {looks}, not a T1"
    )


def _flags(values: dict[str, float], turned: bool) -> Iterator[str]:
    low, high = VOLUME_USUAL
    volume = values["brain_volume_ml"]
    if not low <= volume <= high and not values.get("in_template_space"):
        yield f"brain of {volume:.0f} mL: unusual"
    if MIN_OVERLAP <= values.get("overlap", 1) < USUAL_OVERLAP:
        yield f"shape of the brain mask: overlap with the template {values['overlap']:.2f}"
    if USUAL_CUT < values["cut"] <= MAX_CUT:
        yield f"{100 * values['cut']:.1f} % of the brain may be cut off"
    if values.get("noise", 0) > MAX_NOISE:
        yield f"noise of {100 * values['noise']:.0f} % of the brain's mean"
    if values.get("ringing", 0) > MAX_RINGING:
        yield f"stripes, as movement leaves them ({values['ringing']:.1f} times the detail beside)"
    if values.get("ghosts", 0) > MAX_GHOSTS:
        yield f"ghosts in the air, of {100 * values['ghosts']:.0f} % of the brain's brightness"
    if USUAL_GREY < values.get("grey_to_white", 0) <= MAX_GREY:
        yield f"little contrast: grey matter has {100 * values['grey_to_white']:.0f} % of white's"
    laid = values.get("correlation", 1) >= MIN_CORRELATION
    if laid and values.get("bright", 0) > MAX_BRIGHT:
        yield (
            f"{100 * values['bright']:.1f} % of the brain is far brighter than white matter: "
            "was a contrast agent given?"
        )
    if turned:
        yield "the head lies otherwise than the header says: check left and right"


def _at_the_edge(mask: Mask) -> float:
    """Return the largest share of the mask's area, seen along an axis, that a face cuts."""
    shares = [0.0]
    for axis in range(3):
        area = max(float(mask.any(axis=axis).sum()), 1.0)
        shares += [float(mask.take(end, axis).sum()) / area for end in (0, -1)]
    return max(shares)


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
