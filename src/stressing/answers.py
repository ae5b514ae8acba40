"""Every change of every scan, answered: by the model, and measured for its rivals.

A few scans are in memory at a time, and each change of theirs is made once, while the model
answers the one before. The answers on every scan are kept in a file, so that a stopped run goes on.

Arrays: ``X Y Z`` voxels in RAS+ order; K classes. Matrices are 4 x 4 and act on ``(index, 1)``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import logsumexp
from torch import Tensor

from ..config.own_files import in_short
from ..data.sessions import Session
from ..errors import ImageError, in_one_line
from ..evaluation.analyses.dark_voxels import resized
from ..evaluation.analyses.image_measures import dark_of, planes_of
from ..evaluation.analyses.tissue import csf_to_grey, histogram
from ..files import read_json, write_json
from ..inference.ensemble import Ensemble
from ..maps.regions.atlas import coarse_atlas
from ..preprocessing.space.template import EDGE
from ..runtime import progress
from .acquisition import NUISANCES, brain_of, outline, region_replaced
from .fields import STRUCTURES, Warp, field_of, in_view, on_scan, regions
from .plan import (
    AGEING,
    BACKGROUND,
    DISEASE,
    MAPS,
    NONE,
    NUISANCE,
    OUTLINE,
    REGION,
    YOUNGER,
    Change,
)
from .scans import Opener, OpenScan

logger = logging.getLogger(__name__)
Float = NDArray[np.float32]
Matrix = NDArray[np.float64]
Row = dict[str, Any]
VERSION = 1  # raise it when the same changes would give other images
_AT_ONCE = 8  # scans in memory
_SOFT = 3.0  # mm: standard deviation of a region's edge
_NOT_IN_VIEW = 0.1  # share of a structure in the field of view under which it is not asked about
_AIR = 0.01  # share of the scan that must lie outside of the brain to be a background


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the scans of one cohort lie.

    Attributes:
        placement: RAS+ mm of their frame -> MNI mm; None where that is not known.
        reason: Why not, in one sentence.
        healthy: ``(X, Y, Z)`` mean of healthy training people on the scans' grid, in shares of
            their brightest tissue; None where there is none.
    """

    placement: Matrix | None
    reason: str | None
    healthy: Float | None

    def to_mni(self, scan: OpenScan) -> Matrix | None:
        """Return index of a scan -> MNI mm."""
        return None if self.placement is None else np.asarray(self.placement @ scan.to_ras)


class Changer:
    """Makes changed scans; what people of one frame share is made once for a few of them.

    Args:
        frame: Of the scans.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._fields: dict[Change, Float] = {}
        self._last: tuple[Change, tuple[int, ...], bytes] | None = None
        self._warp: Warp | None = None
        self._views: dict[tuple[str, tuple[int, ...], bytes], float] = {}

    def refused(self, change: Change, scan: OpenScan) -> str | None:
        """Return why a change cannot be made of a scan; None where it can."""
        needs = change.kind in (DISEASE, YOUNGER, AGEING, REGION, MAPS)
        needs |= change.name == BACKGROUND
        needs |= change.kind == NUISANCE and NUISANCES[change.name].placed
        if needs and self.frame.placement is None:
            return self.frame.reason
        region = change.name if change.kind == REGION else STRUCTURES.get(change.structure)
        if needs and region in regions() and self._in_view(str(region), scan) < _NOT_IN_VIEW:
            return "not in view"
        if change.kind == REGION and self.frame.healthy is None:
            return "the scans share no grid, so there is no mean of healthy people"
        if change.name == BACKGROUND and not self._background(scan).any():
            return "the scans are skull-stripped: outside of the brain there is nothing"
        return None

    def changed(self, scan: OpenScan, change: Change) -> Float:
        """Return the changed data of a scan."""
        to_mni = self.frame.to_mni(scan)
        if change.kind == NONE:
            return scan.data
        if change.kind == NUISANCE:
            return NUISANCES[change.name].apply(scan, change.strength, to_mni)
        if change.name == OUTLINE:
            return outline(scan)
        if change.name == BACKGROUND:
            return self._background(scan)
        assert to_mni is not None
        if change.kind == REGION:
            assert self.frame.healthy is not None
            return region_replaced(scan, _region(change.name, to_mni, scan), self.frame.healthy)
        return self._warp_of(change, scan, to_mni).apply(scan.data)

    def _warp_of(self, change: Change, scan: OpenScan, to_mni: Matrix) -> Warp:
        key = (change, scan.data.shape, to_mni.tobytes())
        if key != self._last or self._warp is None:
            if change not in self._fields:
                self._fields[change] = field_of(change.amplitudes).astype(np.float16)
            field = self._fields[change].astype(np.float32)
            self._warp, self._last = Warp(field, to_mni, scan.data.shape), key
        return self._warp

    def _in_view(self, region: str, scan: OpenScan) -> float:
        to_mni = self.frame.to_mni(scan)
        assert to_mni is not None
        key = (region, scan.data.shape, to_mni.tobytes())
        if key not in self._views:
            self._views[key] = in_view(regions()[region], to_mni, scan.data.shape)
        return self._views[key]

    def _background(self, scan: OpenScan) -> Float:
        to_mni = self.frame.to_mni(scan)
        assert to_mni is not None
        outside = np.where(brain_of(scan, to_mni), np.float32(0), scan.data)
        few = np.count_nonzero(outside) < _AIR * np.count_nonzero(scan.data)
        return np.zeros_like(outside) if few else outside


def ask(
    opener: Opener,
    sessions: Sequence[Session],
    changes: Sequence[Change],
    changer: Changer,
    ensemble: Ensemble,
    folder: Path,
    about: str,
) -> list[Row]:
    """Return a row per scan and change.

    Args:
        opener: Of the data set.
        sessions: Whose scans; of a person's further ones only the unchanged scan is asked.
        changes: What is tried.
        changer: Makes it.
        ensemble: What is asked.
        folder: Keeps the rows of every scan until the run is through.
        about: Everything else that the answers depend on.

    Raises:
        ImageError: A scan cannot be opened, or its images were made of another.
    """
    seen: set[str] = set()
    answered: dict[str, list[Row]] = {}  # in the order of the sessions, whichever came first
    todo: list[tuple[Session, bool, Path, str]] = []
    for session in sessions:
        again = session.subject in seen
        seen.add(session.subject)
        key = _key(session, changes, about, again)
        path = folder / f"{session.name}.json"
        kept = _kept(path, key)
        if kept is None:
            todo.append((session, again, path, key))
        answered[session.name] = kept or []
    if any(answered.values()):
        logger.info("%d of %d scans were answered before", len(sessions) - len(todo), len(sessions))
    bar = iter(progress(range(len(todo)), total=len(todo), desc="stress"))
    for start in range(0, len(todo), _AT_ONCE):
        some = todo[start : start + _AT_ONCE]
        made: dict[str, list[Row]] = {one[0].name: [] for one in some}
        scans = [(opener.open(one[0]), one[1]) for one in some]
        for row in _answer(scans, changes, changer, ensemble):
            made[row["name"]].append(row)
        for session, _, path, key in some:
            write_json(path, {"key": key, "rows": made[session.name]})
            answered[session.name] = made[session.name]
            next(bar, None)
    next(bar, None)
    return [row for rows in answered.values() for row in rows]


def _answer(
    scans: Sequence[tuple[OpenScan, bool]],
    changes: Sequence[Change],
    changer: Changer,
    ensemble: Ensemble,
) -> Iterator[Row]:
    """Yield a row per scan and change; change after change, so that fields are laid out once."""
    wanted = [
        (scan, change)
        for change in changes
        for scan, again in scans
        if (change.kind == NONE or not again) and change.counts(scan.label)
    ]
    with ThreadPoolExecutor(1) as beside:
        ahead = beside.submit(_made, changer, *wanted[0]) if wanted else None
        for place, (scan, change) in enumerate(wanted):
            assert ahead is not None
            made = ahead.result()
            if place + 1 < len(wanted):
                ahead = beside.submit(_made, changer, *wanted[place + 1])
            yield _row(scan, change, made, ensemble)


def _made(
    changer: Changer, scan: OpenScan, change: Change
) -> tuple[Tensor, tuple[int, ...], list[float], float] | str:
    """Return the changed images, their slices, dark fractions and log(CSF / grey), or why not."""
    reason = changer.refused(change, scan)
    if reason:
        return reason
    try:
        images, slices = scan.make(changer.changed(scan, change))
    except ImageError as error:  # such as: no brain is found in what is left
        return in_one_line(error)
    shown = images[:, 0].numpy()
    if not scan.slices:
        planes, brain = planes_of(shown)
    else:
        shown = np.rint(shown * 255).astype(np.uint8)
        planes, brain = planes_of(shown)
    dark = dark_of(shown, planes, brain)
    return images, slices, dark.tolist(), csf_to_grey(histogram(planes, brain))


def _row(scan: OpenScan, change: Change, made: Any, ensemble: Ensemble) -> Row:
    row: Row = {"name": scan.name, "subject": scan.subject, "label": scan.label}
    row |= {"kind": change.kind, "change": change.name, "strength": change.strength}
    if isinstance(made, str):
        return row | {"reason": made}
    images, slices, dark, csf = made
    said = ensemble.answer(images, slices)
    log_p = np.log(np.maximum(said.probabilities, 1e-12))
    return row | {
        "reason": None,
        "log_odds": float(logsumexp(log_p[1:]) - log_p[0]),
        "stage": int(said.probabilities.argmax()),
        "set_size": int(said.held.sum()),
        "dark": [None if not np.isfinite(one) else one for one in dark],
        "csf": None if not np.isfinite(csf) else csf,
    }


def profiles(rows: Sequence[Mapping[str, Any]], length: int) -> NDArray[np.float64]:
    """Return ``(n, length)`` dark fractions of answered rows."""
    given = [np.array([np.nan if v is None else v for v in row["dark"]]) for row in rows]
    return np.stack([resized(one, length) for one in given])


def _region(name: str, to_mni: Matrix, scan: OpenScan) -> Float:
    atlas = coarse_atlas()
    mask = (atlas.labels == atlas.names.index(name) + 1).astype(np.float32)
    soft = ndimage.gaussian_filter(mask, _SOFT / EDGE)
    soft = np.clip(2 * soft, 0, 1)  # all of the region itself
    return on_scan(np.maximum(soft, mask), to_mni, scan.data.shape)


def _key(session: Session, changes: Sequence[Change], about: str, again: bool) -> str:
    parts = [VERSION, session.name, [vars(one) for one in changes], about, again]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _kept(path: Path, key: str) -> list[Row] | None:
    """Return the rows of an earlier run that asked the same; None where there are none."""
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        rows = content["rows"] if content["key"] == key else None
        return rows if rows is None or isinstance(rows, list) else None
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged (%s): the scan is asked again", path, in_short(error))
        return None
