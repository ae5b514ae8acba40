"""Steps of stage ``gradcam``: place the scans, make maps, hold them against truth, grade them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from ..data.sessions import images_of, mean_image, placed
from ..errors import ImageError
from ..preprocessing.space.grid import to_scan_grid
from ..preprocessing.space.placement import Placement, fit_placement
from ..runtime import progress
from .attribution import DEMENTED
from .cases import Case, map_of
from .context import Context, Section
from .grading.grade import grade_maps
from .groups import Collected
from .people_files import Explained, write_map
from .planted import NO_MODEL, Scores, score_case, summarise_phantoms, who_counts

logger = logging.getLogger(__name__)
_AVERAGED = 40  # scans in the mean image that finds the template
_STEP = 1 / 1024  # maps are written in steps of their maximum: the files are a quarter


def find_template(context: Context, cases: Sequence[Case]) -> Placement:
    """Find where the scans' common frame lies in the template, from their mean image.

    Returns:
        A placement whose `reason` says why it cannot be used, where it cannot.
    """
    try:
        mean = mean_image(context.data, cases[:: -(-len(cases) // _AVERAGED)])
    except ImageError as error:
        return Placement(np.eye(4), 0.0, error.message)
    placement = fit_placement(mean.data, mean.frame.to_ras, mean.covered)
    if placement.turned:
        logger.warning("the scans lie with %s exchanged; maps are turned", placement.turned)
    return placement


def choose_graded(cases: Sequence[Case], count: int) -> list[Case]:
    """Return the cases whose maps are tested: the first people by name, class after class."""
    first: dict[str, Case] = {}
    for case in cases:
        first.setdefault(case.subject, case)
    queues: dict[int, list[Case]] = {}
    for subject in sorted(first):
        queues.setdefault(first[subject].truth, []).append(first[subject])
    dealt = [
        (turn, truth, case) for truth, queue in queues.items() for turn, case in enumerate(queue)
    ]
    return [case for _, _, case in sorted(dealt, key=lambda one: one[:2])[:count]]


def explain_all(
    context: Context, cases: Sequence[Case], collected: Collected | None
) -> tuple[list[Explained], dict[str, Scores]]:
    """Make every map, one in memory at a time; return what is on disk, and phantoms' scores."""
    counted = {case.name for case in who_counts(cases, context.data.settings)[0]}
    explained: list[Explained] = []
    scores: dict[str, Scores] = {}
    for case in progress(cases, total=len(cases), desc="maps"):
        images = images_of(context.data, case)
        maps = map_of(context.attribution, images, case)
        top = float(maps.max())
        shares = (np.round(maps / (top or 1) / _STEP) * _STEP).astype(np.float32)
        volume = placed(shares, case)
        scan, image = to_scan_grid(volume), placed(images[:, 0].numpy(), case)
        explained.append(write_map(context, case, image, volume, scan, top))
        if collected is not None:
            collected.add(case.subject, case.truth, case.correct, image, volume)
        if case.name in counted:
            scores[case.name] = score_case(context.attribution, context.data, case, images, scan)
    return explained, scores


def against_truth(
    context: Context, cases: Sequence[Case], scores: dict[str, Scores]
) -> Section | None:
    """Return the scores against the planted truth; None where no truth is known."""
    if "phantom" not in context.data.settings:
        return None
    return summarise_phantoms(
        *(context.attribution, context.data, cases, scores),
        n_bootstrap=context.config.evaluate.bootstrap,
        seed=context.config.data.seed,
    )


def grade_cases(context: Context, cases: Sequence[Case], phantom: Section | None) -> Section | None:
    """Test the maps of some people; None where none are asked for."""
    chosen = choose_graded(cases, context.config.explain.graded)
    if not chosen:
        logger.warning("--graded 0: nothing is known of how far these maps can be trusted")
        return None
    images = torch.cat(
        [images_of(context.data, case)[int(case.scores.argmax())][None] for case in chosen]
    )
    targets = [case.target for case in chosen if not isinstance(case.target, str)]
    return grade_maps(
        context.attribution,
        images,
        targets or DEMENTED,
        training=context.data.with_split("train"),
        validation=context.trained.validation,
        phantom=_own_score(phantom),
        n_bootstrap=context.config.evaluate.bootstrap,
        seed=context.config.data.seed,
    )


def _own_score(phantom: Section | None) -> Section | None:
    """Return what the planted truth says of the run's own method; None where none is known."""
    if phantom is None or not phantom["available"]:
        return phantom
    if not phantom["planted"]:
        return {"available": False, "reason": "nothing was planted in these people"}
    own: Section = next(one for one in phantom["methods"] if one["own"])
    ratios = {
        one["method"]: one["energy_ratio"]["value"]
        for one in phantom["methods"]
        if one["layers"] == NO_MODEL
    }
    best = max(ratios, key=lambda method: float(ratios[method]))
    return own | {"rival": {"method": best, "energy_ratio": ratios[best]}}
