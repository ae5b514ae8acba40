"""Files of the ``gradcam`` stage that speak of people together: group maps and regions.

Arrays: ``X Y Z`` voxels of the template's 2 mm grid.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic_file
from ..preprocessing.io import write_nifti
from ..preprocessing.space.placement import Placement
from ..preprocessing.space.template import EDGE, template
from ..report.map_figures.groups import GroupMap, group_figure
from ..report.map_figures.regions import region_figure
from .groups import Collected, RunningMean
from .map_run import MapRun, Section
from .regions.shares import row_names
from .regions.table import region_table

logger = logging.getLogger(__name__)


def write_together(
    run: MapRun, placement: Placement, collected: Collected | None
) -> tuple[dict[str, Section], list[Path]]:
    """Write group maps and regions, where the scans' place in the template is known.

    Args:
        run: Graded: a FAIL stands on every figure.
        placement: Of the scans.
        collected: Every map; None where `placement` cannot be used.

    Returns:
        The sections ``groups`` and ``regions`` of ``explain.json``, and the files.
    """
    if collected is None:
        logger.warning("no group maps and no regions: %s", placement.reason)
        absent = {"available": False, "reason": placement.reason}
        return {"groups": absent, "regions": absent}, []
    groups, files = write_groups(run, collected)
    regions, more = write_regions(run, collected)
    return {"groups": groups, "regions": regions}, [*files, *more]


def write_groups(run: MapRun, collected: Collected) -> tuple[Section, list[Path]]:
    """Write each group's mean and standard deviation as NIfTI in MNI space, and their figures.

    Args:
        run: Of the maps.
        collected: Groups with their sums.

    Returns:
        What ``explain.json`` says of groups, and the figures.
    """
    affine, rows = template().affine, []
    for name, group in sorted(collected.groups.items(), key=_order(collected.classes)):
        stem, files = name.replace(", ", "_"), {}
        for kind, values in (("mean", group.mean), ("sd", group.sd)):
            path = run.folder / "groups" / f"{stem}_{kind}.nii.gz"
            write_nifti(path, np.nan_to_num(values), affine, description="times the average")
            files[kind] = path.relative_to(run.folder).as_posix()
        rows.append({"name": name, "n_people": group.n_people, **files})
    figures = [
        _draw(run, run.folder / f"{stem}.png", chosen, collected)
        for stem, chosen in _chosen(collected).items()
        if chosen
    ]
    section = {
        "available": True,
        "space": "MNI (ICBM152 2009), 2 mm",
        "placement": collected.placement.record(),
        "maps": rows,
        "empty_maps": sorted(collected.empty),
    }
    return section, figures


def write_regions(run: MapRun, collected: Collected) -> tuple[Section, list[Path]]:
    """Write how much of the maps each region holds, as a table and a figure.

    Args:
        run: Of the maps.
        collected: Shares of each map.

    Returns:
        What ``explain.json`` says of regions, and the files.
    """
    if not collected.subjects:
        return {"available": False, "reason": "every map is empty"}, []
    table = region_table(
        np.array(collected.shares),
        np.array(collected.volumes),
        collected.subjects,
        collected.labels,
        collected.classes,
        row_names(collected.atlas),
        n_bootstrap=run.config.evaluate.bootstrap,
        seed=run.config.data.seed,
    )
    path = run.folder / "regions.csv"
    with atomic_file(path, "w") as file:
        table.frame().to_csv(file, index=False, float_format="%.6g")
    title = f"{run.name}: what regions hold"
    figure = region_figure(
        run.folder / "regions.png", table.rows, title,
        f"{run.caption} Regions: {collected.atlas.source}.", stamps=run.stamps,
    )  # fmt: skip
    section = {
        "available": True,
        "atlas": collected.atlas.source,
        "rows": table.rows,
        "differences_between_classes": table.tests,
    }
    return section, [path, figure]


def _draw(run: MapRun, path: Path, groups: Sequence[RunningMean], collected: Collected) -> Path:
    return group_figure(
        path,
        [GroupMap(one.name, one.n_people, one.mean, one.sd) for one in groups],
        collected.background,
        (EDGE,) * 3,
        f"{run.name}: mean maps",
        run.caption,
        side_known=run.side_known,
        affine=template().affine,
        stamps=run.stamps,
    )


def _chosen(collected: Collected) -> dict[str, list[RunningMean]]:
    """Return file stem -> groups: the classes together, then each class right against wrong."""
    groups = collected.groups
    both = [
        groups[f"{name}, {mark}"]
        for name in collected.classes
        for mark in ("correct", "wrong")
        if f"{name}, {mark}" in groups
    ]
    whole = [groups[name] for name in collected.classes if name in groups]
    return {"groups": whole, "groups_correct_wrong": both}


def _order(classes: Sequence[str]) -> Callable[[tuple[str, Any]], tuple[int, str]]:
    ranks = {name: i for i, name in enumerate(classes)}
    return lambda item: (ranks[item[0].split(", ")[0]], item[0])
