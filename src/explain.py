"""Stage ``gradcam``: maps of test people in the brain's space, tested before they are shown.

The people in the figures are the first by name, not those that came out well. A map that fails its
tests says so on every figure.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .atomic import write_json
from .attribution import DEMENTED, Attribution
from .config import RunConfig
from .config.options import config_to_dict
from .data.sessions import images_of, mean_image, placed
from .errors import ImageError
from .evaluation.open_checkpoint import open_trained
from .explanation.cases import Case, find_cases, map_of
from .explanation.context import Context
from .explanation.group_files import write_groups, write_regions
from .explanation.people_files import Explained, write_map, write_people
from .explanation.phantom import NO_MODEL, Scores, score_case, summarise_phantoms, who_counts
from .grading.grade import grade_maps
from .grading.grade_figure import grade_figure
from .maps.atlas import Atlas, coarse_atlas, read_atlas
from .maps.collect import Collected
from .models.device import choose_device
from .preflight import check_before
from .preprocessing.space.grid import to_scan_grid
from .preprocessing.space.placement import Placement, fit_placement
from .runtime import progress
from .training.logits import place

logger = logging.getLogger(__name__)
SCHEMA = "explain/1"
_AVERAGED = 40  # scans in the mean image that finds the template
_STEP = 1 / 1024  # maps are written in steps of their maximum: the files are a quarter
_LIBRARIES = ("torch", "numpy", "nibabel", "nilearn", "scipy")
Section = dict[str, Any]


def run(config: RunConfig) -> Iterator[Path]:
    """Explain every test person, test the maps, and write them with figures and tables.

    Yields:
        Figures and view of each class, ``maps.csv``, group maps, regions, ``grade.png`` and
        ``explain.json``.

    Raises:
        CheckpointError: There is no checkpoint: maps of untrained weights mean nothing.
        ConfigError: A method, layer, class or atlas that does not fit.
    """
    check_before(config, "gradcam")
    context = _open(config)
    atlas = _atlas(config)
    cases = find_cases(context.trained, _device(context), config.explain.target)
    placement = find_template(context, cases)
    collected = None if placement.reason else Collected(placement, atlas, context.classes)
    _clear(context.folder)
    explained, scores = _explain_all(context, cases, collected)
    phantom = _against_truth(context, cases, scores)
    grade = _grade(context, cases, phantom)
    yield from write_people(context, explained, grade)
    sections: dict[str, Section] = {}
    if collected is None:
        logger.warning("no group maps and no regions: %s", placement.reason)
        absent = {"available": False, "reason": placement.reason}
        sections = {"groups": absent, "regions": absent}
    else:
        sections["groups"], files = write_groups(context, collected, grade)
        sections["regions"], more = write_regions(context, collected, grade)
        yield from (*files, *more)
    if grade is not None:
        logger.info("maps graded: %s; grade.png shows every test", grade["verdict"])
        yield grade_figure(
            context.folder / "grade.png", grade, context.trained.run_name, context.caption(),
            stamps=context.stamps(grade),
        )  # fmt: skip
    yield _write_json(context, cases, sections | {"phantom": phantom, "grade": grade})


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


def _open(config: RunConfig) -> Context:
    trained = open_trained(config)
    device, reason = choose_device(config.device)
    logger.info("device: %s (%s)", device, reason)
    trained = replace(trained, model=place(trained.model, device).eval())
    options = config.explain
    context = Context(config, trained, Attribution(trained.model, options.method, options.layer))
    logger.info("maps: %s of %s; target: %s", options.method, context.layers, options.target)
    return context


def _device(context: Context) -> torch.device:
    return next(context.trained.model.parameters()).device


def _atlas(config: RunConfig) -> Atlas:
    """Return the regions; a user's atlas is read before anything is computed."""
    file, labels = config.explain.atlas, config.explain.atlas_labels
    return read_atlas(file, labels) if file and labels else coarse_atlas()


def _clear(folder: Path) -> None:
    """Remove what an earlier run left, perhaps of other classes or another method."""
    for pattern in ("*.png", "*_view.html", "maps.csv", "regions.csv", "explain.json"):
        for stale in folder.glob(pattern):
            stale.unlink()
    for name in ("maps", "groups"):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)


def _explain_all(
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


def _against_truth(
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


def _grade(context: Context, cases: Sequence[Case], phantom: Section | None) -> Section | None:
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


def _write_json(context: Context, cases: Sequence[Case], sections: dict[str, Any]) -> Path:
    """Write ``explain.json``, the last file: with it, the folder is whole."""
    content = {
        "schema": SCHEMA,
        "run": context.trained.run_name,
        "dataset": context.data.name,
        "checkpoint": context.trained.path.name,
        "trained": {part: context.trained.settings.get(part) for part in ("model", "train")},
        "stamps": list(context.data.manifest.stamps),
        "method": context.attribution.method,
        "layers": list(context.attribution.layers),
        "target": context.config.explain.target,
        "cell": list(context.attribution.resolution(context.data[0][0].shape[1:])),
        "side_known": context.side_known,
        "n_people": len({case.subject for case in cases}),
        "n_maps": len(cases),
        **sections,
        "settings": config_to_dict(context.config),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    return write_json(context.folder / "explain.json", content)
