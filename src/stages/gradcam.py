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

import torch

from ..atomic import write_json
from ..config import RunConfig
from ..config.options import config_to_dict
from ..evaluation.open_checkpoint import open_trained
from ..maps.attribution import Attribution
from ..maps.cases import Case, find_cases
from ..maps.context import Context, Section
from ..maps.explain import against_truth, explain_all, find_template, grade_cases
from ..maps.grading.figure import grade_figure
from ..maps.group_files import write_groups, write_regions
from ..maps.groups import Collected
from ..maps.people_files import write_people
from ..maps.regions.atlas import Atlas, coarse_atlas, read_atlas
from ..models.device import choose_device
from ..training.logits import place
from .preflight import check_before

logger = logging.getLogger(__name__)
SCHEMA = "explain/1"
_LIBRARIES = ("torch", "numpy", "nibabel", "nilearn", "scipy")


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
    explained, scores = explain_all(context, cases, collected)
    phantom = against_truth(context, cases, scores)
    grade = grade_cases(context, cases, phantom)
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
