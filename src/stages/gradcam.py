"""Stage ``gradcam``: maps of test people in the brain's space, tested before they are shown.

With ``--out_of_fold`` everyone of a cross-validation is a test person, each of one fold's model.

The people in the figures are the first by name, not those that came out well. A map that fails its
tests says so on every figure.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..config.options import config_to_dict
from ..data.run_data import as_made
from ..files import write_json
from ..maps.explain import against_truth, explain_all, find_template, grade_some
from ..maps.grading.figure import grade_figure
from ..maps.group_files import write_together
from ..maps.groups import Collected
from ..maps.map_run import MapRun, clear_maps, open_maps
from ..maps.people_files import write_people
from ..maps.regions.atlas import Atlas, coarse_atlas, read_atlas
from ..report.map_figures.drawing import convention
from .preflight import check_before

logger = logging.getLogger(__name__)
SCHEMA = "explain/1"
_FIRST = "Tested: the model of fold 0, on its own test people."
_LIBRARIES = ("torch", "numpy", "nibabel", "nilearn", "scipy")


def run(config: RunConfig) -> Iterator[Path]:
    """Explain every test person, test the maps, and write them with figures and tables.

    Yields:
        Figures of each class, ``maps.csv``, group maps, regions, ``grade.png`` and
        ``explain.json``.

    Raises:
        CheckpointError: There is no checkpoint: maps of untrained weights mean nothing.
        ConfigError: A method, layer, class or atlas that does not fit.
    """
    check_before(config, "gradcam")
    with convention(config.explain.convention):
        yield from _explain(config)


def _explain(config: RunConfig) -> Iterator[Path]:
    atlas = _atlas(config)
    maps = open_maps(config)
    placement = find_template(maps)
    collected = None if placement.reason else Collected(placement, atlas, maps.classes)
    clear_maps(maps.folder)
    explained = explain_all(maps, collected)
    phantom = against_truth(maps, explained)
    maps = replace(maps, grade=grade_some(maps, phantom))
    yield from write_people(maps, explained)
    sections, files = write_together(maps, placement, collected)
    yield from files
    if maps.grade is not None:
        logger.info("maps graded: %s; grade.png shows every test", maps.grade["verdict"])
        path = maps.folder / "grade.png"
        caption = f"{maps.caption} {_FIRST}" if maps.out_of_fold else maps.caption
        yield grade_figure(path, maps.grade, maps.name, caption, stamps=maps.stamps)
    yield _write_json(maps, sections | {"phantom": phantom, "grade": maps.grade})


def _atlas(config: RunConfig) -> Atlas:
    """Return the regions; a user's atlas is read before anything is computed."""
    file, labels = config.explain.atlas, config.explain.atlas_labels
    return read_atlas(file, labels) if file and labels else coarse_atlas()


def _write_json(maps: MapRun, sections: dict[str, Any]) -> Path:
    """Write ``explain.json``, the last file: with it, the folder is whole."""
    content = {
        "schema": SCHEMA,
        "run": maps.name,
        "dataset": maps.data.name,
        "checkpoint": maps.trained.path.name,
        "trained": {part: maps.trained.settings.get(part) for part in ("model", "train")},
        "stamps": list(maps.data.manifest.stamps),
        "method": maps.attribution.method,
        "layers": list(maps.attribution.layers),
        "target": maps.config.explain.target,
        "cell": list(maps.attribution.resolution(maps.data[0][0].shape[1:])),
        "side_known": maps.side_known,
        "n_models": len(maps.models),
        "n_people": len({case.subject for case in maps.cases}),
        "n_maps": len(maps.cases),
        **sections,
        "settings": as_made(config_to_dict(maps.config), maps.data.settings),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    return write_json(maps.folder / "explain.json", content)
