"""Steps of stage ``gradcam``: place the scans, make maps, hold them against truth, grade them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from ..data.sessions import images_of, mean_image
from ..errors import ImageError
from ..preprocessing.space.placement import Placement, fit_placement
from ..runtime import progress
from .attribution import DEMENTED
from .cases import Case, make_map
from .grading.grade import grade_maps
from .groups import Collected
from .map_run import MapRun, Section
from .people_files import Explained, write_map
from .planted import NO_MODEL, Scorer, summarise_phantoms, who_counts

logger = logging.getLogger(__name__)
_AVERAGED = 40  # scans in the mean image that finds the template


def find_template(run: MapRun) -> Placement:
    """Find where the scans' common frame lies in the template, from their mean image.

    Returns:
        A placement whose `reason` says why it cannot be used, where it cannot.
    """
    try:
        mean = mean_image(run.data, run.cases[:: -(-len(run.cases) // _AVERAGED)])
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


def explain_all(run: MapRun, collected: Collected | None) -> list[Explained]:
    """Make every map, one in memory at a time, and write it.

    Args:
        run: Of the maps.
        collected: Takes each map for the groups and regions, where the template was found.

    Returns:
        What is on disk, with the scores of those phantoms that count.
    """
    counted = {case.name for case in who_counts(run.cases, run.data.settings)[0]}
    scorers = [Scorer(one, run.data) for one in run.attributions] if counted else []
    explained = []
    for case in progress(run.cases, total=len(run.cases), desc="maps"):
        one = make_map(run.attributions[case.model], run.data, case)
        path, row = write_map(run, one)
        if collected is not None:
            collected.add(case.subject, case.truth, case.correct, one.image, one.volume)
        scores = slices = None
        if case.name in counted:
            scorer = scorers[case.model]
            scores = scorer.scores(case, one.images, one.scan)
            slices = scorer.slices.get(case.name)
        explained.append(Explained(case, path, row, scores, slices))
    return explained


def against_truth(run: MapRun, explained: Sequence[Explained]) -> Section | None:
    """Return the scores against the planted truth; None where no truth is known."""
    if "phantom" not in run.data.settings:
        return None
    scores = {one.case.name: one.scores for one in explained if one.scores is not None}
    slices = {one.case.name: one.slices for one in explained if one.slices is not None}
    section = summarise_phantoms(
        *(run.attribution, run.data, run.cases, scores),
        n_bootstrap=run.config.evaluate.bootstrap,
        seed=run.config.data.seed,
        slices=slices,
    )
    if section.get("slices", {}).get("sentence"):
        logger.info("%s", section["slices"]["sentence"])
    return section


def grade_some(run: MapRun, phantom: Section | None) -> Section | None:
    """Test the maps of some people; None where none are asked for.

    Of several models it is the first, on its own test people; what the planted truth says is of
    everyone.

    Args:
        run: Of the maps.
        phantom: From `against_truth`.
    """
    own = [case for case in run.cases if case.model == 0]
    chosen = choose_graded(own, run.config.explain.graded)
    if not chosen:
        logger.warning("--graded 0: nothing is known of how far these maps can be trusted")
        return None
    images = torch.cat(
        [images_of(run.data, case)[int(case.scores.argmax())][None] for case in chosen]
    )
    targets = [case.target for case in chosen if not isinstance(case.target, str)]
    return grade_maps(
        run.attribution,
        images,
        targets or DEMENTED,
        training=run.trained.data.with_split("train"),
        validation=run.trained.validation,
        phantom=_own_score(phantom),
        n_bootstrap=run.config.evaluate.bootstrap,
        seed=run.config.data.seed,
    )


def _own_score(phantom: Section | None) -> Section | None:
    """Return what the planted truth says of the run's own method; None where none is known."""
    if phantom is None or not phantom["available"]:
        return phantom
    if not phantom["planted"]:
        return {"available": False, "reason": "nothing was planted in these people"}
    own: Section = next(one for one in phantom["methods"] if one["own"])
    ratios = {
        one["method"]: float(one["energy_ratio"]["value"] or 0)  # an empty map marks nothing
        for one in phantom["methods"]
        if one["layers"] == NO_MODEL
    }
    best = max(ratios, key=lambda method: ratios[method])
    return own | {"rival": {"method": best, "energy_ratio": ratios[best]}}
