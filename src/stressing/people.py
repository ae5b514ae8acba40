"""Whom a model is asked about, where their scans lie, and the mean of healthy training people."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.dataset import MriDataset
from ..data.sessions import Session, make_session, mean_image, rows_by_session
from ..errors import ImageError
from ..preprocessing.space.placement import Placement, fit_placement
from ..runtime import progress
from .answers import Float, Frame
from .scans import Opener

logger = logging.getLogger(__name__)
_AVERAGED = 40  # scans in the mean image that finds the template
_HEALTHY = 20  # training people in the mean that a region is replaced by


def choose_people(data: MriDataset, most: int) -> list[Session]:
    """Return the sessions of the first people of each class by name, a person's first one first.

    Args:
        data: Test people.
        most: How many people; 0 takes all.
    """
    sessions = sorted(
        (make_session(data, *one) for one in rows_by_session(data)), key=lambda one: one.name
    )
    by_class: dict[int, list[str]] = {}
    for session in sessions:
        own = by_class.setdefault(int(data.labels[session.rows[0]]), [])
        if session.subject not in own:
            own.append(session.subject)
    dealt = sorted(
        (place, label, name)
        for label, names in by_class.items()
        for place, name in enumerate(names)
    )
    chosen = {name for _, _, name in (dealt[:most] if most else dealt)}
    return [session for session in sessions if session.subject in chosen]


def frame_of(opener: Opener, sessions: Sequence[Session]) -> tuple[Frame, dict[str, Any]]:
    """Find where the scans lie in MNI space, and the mean of healthy training people.

    Returns:
        What changes need, and what is told of the placement.
    """
    data = opener.data
    try:
        mean = mean_image(data, sessions[:: -(-len(sessions) // _AVERAGED)])
    except ImageError as error:
        return Frame(None, error.message, None), {"available": False, "reason": error.message}
    placement: Placement = fit_placement(mean.data, mean.frame.to_ras, mean.covered)
    if placement.reason:
        return Frame(None, placement.reason, None), placement.record()
    return Frame(placement.matrix, None, _healthy_mean(opener)), placement.record()


def _healthy_mean(opener: Opener) -> Float | None:
    """Return the mean scan of healthy training people, or None where they share no grid."""
    training = opener.data.with_split("train")
    if not len(training):
        return None
    theirs = Opener(training, opener.scans, opener.reason)
    healthy = [
        make_session(training, *one)
        for one in rows_by_session(training)
        if training.labels[one[2][0]] == 0
    ][:_HEALTHY]
    total: Float | None = None
    for session in progress(healthy, total=len(healthy), desc="mean of healthy people"):
        scan = theirs.open(session)
        share = scan.data / np.float32(scan.top)
        if total is not None and total.shape != share.shape:
            return None
        total = share if total is None else total + share
    return None if total is None else np.asarray(total / np.float32(len(healthy)))
