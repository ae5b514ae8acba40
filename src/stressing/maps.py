"""Do maps follow a change that is moved: from left to right, from ventricles to hippocampi?

Healthy test people get the change of one structure on one side. Where the images differ from the
unchanged ones is the truth, so the map can be held against it, as maps of phantoms are: of its
energy, how much lies in the target, beside what the unchanged scan's map has there?

Arrays: images and maps ``(n, H, W)`` of a person's slices, or ``(X, Y, Z)``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.sessions import Session
from ..errors import ImageError
from ..evaluation.metrics.intervals import interval, resample_people
from ..maps.attribution import DEMENTED, Attribution
from ..maps.truth import Wanted
from ..runtime import progress
from ..training.logits import inference_batch
from .answers import Changer
from .plan import Change
from .scans import Opener, OpenScan
from .summary import FEWEST
from .verdicts import FAIL, PASS, UNKNOWN, WARN

logger = logging.getLogger(__name__)
Float = NDArray[np.float32]
Section = dict[str, Any]
PEOPLE = 8  # whose maps are made
_AIR = 0.03  # brightness of what is no brain
_LEAST = 0.02  # largest difference of the images under which nothing changed


@dataclass(frozen=True, eq=False)
class Followed:
    """One person's map of one change.

    Attributes:
        subject: Person.
        change: What was changed.
        solid: Whether the images are a volume.
        image: Changed images.
        difference: |changed - unchanged|.
        map: Of the changed images.
        ratio: Energy ratio of `map` in the target, see `maps.truth.MapScore`.
        before: Of the unchanged images' map in the same target.
        elsewhere: Of the changed images' map in the target of the same structure on the other
            side; None where it is not in view.
    """

    subject: str
    change: Change
    solid: bool
    image: Float
    difference: Float
    map: Float
    ratio: float
    before: float
    elsewhere: float | None


def follow(
    opener: Opener,
    sessions: Sequence[Session],
    changes: Sequence[Change],
    changer: Changer,
    attribution: Attribution,
) -> tuple[list[Followed], dict[str, str]]:
    """Make maps of changed scans of the first healthy people.

    Returns:
        Every map, and why a structure has none.
    """
    healthy: dict[str, Session] = {}
    for session in sessions:
        if opener.data.labels[session.rows[0]] == 0:
            healthy.setdefault(session.subject, session)
    found: list[Followed] = []
    reasons: dict[str, str] = {}
    some = list(healthy.values())[:PEOPLE] if changes else []
    for session in progress(some, total=len(some), desc="maps of changed scans"):
        scan = opener.open(session)
        found += _of_one(scan, changes, changer, attribution, reasons)
    return found, reasons


def _of_one(
    scan: OpenScan,
    changes: Sequence[Change],
    changer: Changer,
    attribution: Attribution,
    reasons: dict[str, str],
) -> list[Followed]:
    """Return the maps of one person's changes."""
    plain, slices = scan.make(scan.data)
    cell = attribution.resolution(plain.shape[2:])
    resolution = (1.0, *cell) if scan.slices else cell
    unchanged, before = _volume(plain), _volume(_map(attribution, plain))
    made = []
    for change in changes:
        reason = changer.refused(change, scan)
        if reason:
            reasons[change.name] = reason
            continue
        images, own = scan.make(changer.changed(scan, change))
        if own != slices:
            reasons[change.name] = "other slices are chosen of the changed scan"
            continue
        difference = np.abs(_volume(images) - unchanged)
        if difference.max() < _LEAST:
            reasons[change.name] = "the images do not show it"
            continue
        try:
            wanted = Wanted(difference, unchanged > _AIR, resolution)
        except ImageError as error:
            reasons[change.name] = error.message
            continue
        made.append((change, images, difference, wanted, _volume(_map(attribution, images))))
    targets = {(change.name, change.strength): wanted for change, _, _, wanted, _ in made}
    found = []
    for change, images, difference, wanted, own_map in made:
        other = targets.get((_other_side(change.name), change.strength))
        found.append(
            Followed(
                *(scan.subject, change, not scan.slices, _volume(images), difference, own_map),
                ratio=wanted.score(own_map).energy_ratio,
                before=wanted.score(before).energy_ratio,
                elsewhere=None if other is None else other.score(own_map).energy_ratio,
            )
        )
    return found


def _map(attribution: Attribution, images: Tensor) -> Tensor:
    device = next(attribution.model.parameters()).device
    size = inference_batch("2d" if images.ndim == 4 else "3d", device)
    parts = [attribution.raw_maps(part, DEMENTED) for part in torch.split(images, size)]
    return torch.from_numpy(np.concatenate(parts))


def _volume(images: Tensor) -> Float:
    """Return ``(n, H, W)`` or ``(X, Y, Z)``."""
    array: Float = images.numpy().astype(np.float32)
    return array.reshape(-1, *array.shape[-2:])


def pictures_of(found: Sequence[Followed]) -> list[dict[str, Any]]:
    """Return what a figure shows of the first person: each structure at its full dose.

    Returns:
        ``title``, ``subject``, and of the slice that differs most ``image``, ``map`` (in shares of
        its largest value) and ``difference``, each ``(H, W)``, row 0 on top.
    """
    first = found[0].subject
    last = {one.change.name: one for one in found if one.subject == first}
    pictures = []
    for name, one in last.items():
        image, difference, map = (
            _planes(values, one.solid) for values in (one.image, one.difference, one.map)
        )
        at = int(difference.sum(axis=(1, 2)).argmax())
        pictures.append(
            {
                "title": name,
                "subject": one.subject,
                "image": image[at],
                "map": map[at] / max(float(map.max()), 1e-12),
                "difference": difference[at],
            }
        )
    return pictures


def _planes(values: Float, solid: bool) -> Float:
    """Return planes ``(n, H, W)``, upright: slices as they are, axial ones of a volume."""
    return np.moveaxis(values, 2, 0).transpose(0, 2, 1)[:, ::-1] if solid else values


def _other_side(name: str) -> str:
    side, structure = name.split(" ", 1)
    return f"{'left' if side == 'right' else 'right'} {structure}"


def summed_up(
    found: Sequence[Followed], reasons: dict[str, str], n_bootstrap: int, seed: int
) -> list[Section]:
    """Return how well maps follow each structure, dose by dose, with 95 % intervals over people."""
    rows = []
    for name in dict.fromkeys([*(one.change.name for one in found), *reasons]):
        own = [one for one in found if one.change.name == name]
        row: Section = {"name": name, "n": len({one.subject for one in own}), "reason": None}
        if row["n"] < FEWEST:
            told = reasons.get(name)
            row["reason"] = told or f"{row['n']} healthy people are too few for an interval"
            rows.append(row)
            continue
        doses = []
        for dose in sorted({one.change.strength for one in own}):
            these = [one for one in own if one.change.strength == dose]
            ratio = np.array([one.ratio for one in these])
            before = np.array([one.before for one in these])
            entry = {"dose": dose, "ratio": _mean(ratio, n_bootstrap, seed)}
            entry["before"] = _mean(before, n_bootstrap, seed)
            entry["gained"] = _mean(ratio - before, n_bootstrap, seed)
            beside = [one.elsewhere for one in these]
            known = [(r, e) for r, e in zip(ratio, beside, strict=True) if e is not None]
            entry["side"] = (
                _mean(np.array([r - e for r, e in known]), n_bootstrap, seed) if known else None
            )
            doses.append(entry)
        rows.append(row | {"doses": doses})
    return rows


def _mean(values: NDArray[np.float64], n_bootstrap: int, seed: int) -> Section:
    drawn = np.concatenate(list(resample_people(len(values), n_bootstrap, seed, 100_000)))
    return interval(float(values.mean()), drawn @ values / len(values))


def verdict_of(rows: Sequence[Section]) -> Section | None:
    """Return whether maps follow the change: its target holds more than before it was made."""
    name = "maps follow the change"
    known = [row for row in rows if not row["reason"]]
    if not rows:
        return None
    if not known:
        return {"name": name, "verdict": UNKNOWN, "reason": rows[0]["reason"]}
    last = {row["name"]: row["doses"][-1] for row in known}
    gained = [one for one, dose in last.items() if (dose["gained"]["low"] or 0) > 0]
    told = ", ".join(
        f"{one} {dose['before']['value']:.1f} to {dose['ratio']['value']:.1f}"
        for one, dose in last.items()
    )
    verdict = PASS if len(gained) == len(last) else WARN if gained else FAIL
    return {"name": name, "verdict": verdict, "reason": f"energy ratio in the change: {told}"}
