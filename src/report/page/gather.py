"""What a run left on disk, read once and checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...config import RunConfig
from ...config.options import build_config
from ...errors import DataNotFoundError, ManifestError, MriError
from ..cross_study import FILE as CROSSDATA
from ..cross_study import read_crossdata
from ..failures import failures_in
from ..find_run import how_to_have
from ..metrics_schema import read_metrics
from ..own_results import read_explained, read_maps, read_people, read_predicted
from ..stress import FILE as STRESS
from ..stress import read_stress

METRICS, PREDICTIONS = "metrics.json", "predict/predictions.json"
#: Any of these makes a folder one of results.
_RESULTS = (METRICS, PREDICTIONS, CROSSDATA)


@dataclass(frozen=True)
class RunFiles:
    """The files of a run.

    Attributes:
        folder: ``results/<run>``.
        figures: Folder of its figures.
        maps: Folder of its maps.
        stress: Folder of known changes of scans.
        metrics: What ``metrics.json`` holds, or None.
        people: ``people.csv``, checked, or None.
        explained: What ``explain.json`` holds, or None.
        map_rows: ``maps.csv``, checked, or None.
        predicted: What ``predictions.json`` holds, or None.
        crossed: What ``crossdata.json`` holds, or None.
        stressed: What ``stress.json`` holds, or None.
        config: The run's settings, or None where they cannot be read by this version.
        notes: What was left out, and why.
        failed: Stages that failed, and why.
    """

    folder: Path
    figures: Path
    maps: Path
    stress: Path
    metrics: dict[str, Any] | None
    people: pd.DataFrame | None
    explained: dict[str, Any] | None
    map_rows: pd.DataFrame | None
    predicted: dict[str, Any] | None
    crossed: dict[str, Any] | None
    stressed: dict[str, Any] | None
    config: RunConfig | None
    notes: tuple[str, ...]
    failed: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.resolve().name


def gather(folder: str | Path) -> RunFiles:
    """Read the files of a run.

    Args:
        folder: ``results/<run>``; figures and maps stand in ``figures/<run>`` and
            ``gradcam/<run>`` beside it, or figures in ``figures`` within it.

    Raises:
        DataNotFoundError: Nothing was scored or predicted in this run.
        ResultError: ``metrics.json`` breaks its contract.
        ManifestError: Another file is damaged.
    """
    folder = Path(folder)
    scored, said, crossing = (folder / name for name in _RESULTS)
    if not any(path.is_file() for path in (scored, said, crossing)):
        raise DataNotFoundError(scored, hint=_hint(folder))
    metrics = read_metrics(scored) if scored.is_file() else None
    predicted = read_predicted(said) if said.is_file() else None
    crossed = read_crossdata(crossing) if crossing.is_file() else None
    name, beside = folder.resolve().name, folder.parent
    own = folder / "figures"
    figures = own if own.is_dir() else beside / "figures" / name
    maps, notes = beside / "gradcam" / name, []
    stress = beside / "stress" / name
    stressed = read_stress(stress / STRESS) if (stress / STRESS).is_file() else None
    if stressed is not None and stressed["dataset"] != (metrics or {}).get("dataset"):
        notes.append("Known changes of scans were left out: they are of another data set.")
        stressed = None
    told, rows = maps / "explain.json", maps / "maps.csv"
    explained = read_explained(told) if told.is_file() else None
    failed = failures_in(folder)
    if explained is not None and "gradcam" in failed:
        explained = None  # of an earlier run
    if explained is not None and (why := _foreign(explained, metrics)):
        notes.append(f"Maps were left out: {why}.")
        explained = None
    settings = (metrics or predicted or crossed or {}).get("settings") or {}
    answers, config = folder / "people.csv", None
    try:
        config = build_config(RunConfig, settings)
    except MriError as error:
        notes.append(f"The settings cannot be read by this version: {error.message}.")
    return RunFiles(
        *(folder, figures, maps, stress, metrics),
        people=read_people(answers, metrics) if metrics and answers.is_file() else None,
        explained=explained,
        map_rows=_map_rows(rows, metrics, explained),
        predicted=predicted,
        crossed=crossed,
        stressed=stressed,
        config=config,
        notes=tuple(notes),
        failed=failed,
    )


def classes_in(folder: Path) -> int | None:
    """Return of how many classes the answers in a folder of results are; None if it has none.

    Raises:
        ResultError: ``metrics.json`` breaks its contract.
        ManifestError: The predictions are damaged.
    """
    if (folder / METRICS).is_file():
        return len(read_metrics(folder / METRICS)["classes"])
    said = folder / PREDICTIONS
    return len(read_predicted(said)["model"]["classes"]) if said.is_file() else None


def _map_rows(
    path: Path, metrics: dict[str, Any] | None, explained: dict[str, Any] | None
) -> pd.DataFrame | None:
    """Return ``maps.csv`` where there are maps of the scored model."""
    if metrics is None or explained is None or not path.is_file():
        return None
    return read_maps(path, metrics["classes"], explained["n_maps"])


def _foreign(explained: dict[str, Any], metrics: dict[str, Any] | None) -> str:
    """Return why maps are not of the scored model; empty where nothing speaks against it."""
    if metrics is None:
        return "the run was not scored"
    classes = (explained.get("settings") or {}).get("data", {}).get("classes")
    if classes != len(metrics["classes"]):
        return f"they are of {classes} classes, the scores of {len(metrics['classes'])}"
    if explained.get("dataset") != metrics["dataset"]:
        return "they are of another data set"
    trained = explained.get("trained") or {}
    scored = {part: metrics["settings"].get(part) for part in trained}
    if trained != scored:
        return "they are of a model that was trained with other settings; run --mode gradcam again"
    return ""


def _hint(folder: Path) -> str:
    found = [path.parent for path in sorted(folder.parent.glob(f"*/{METRICS}"))]
    found += [path.parent.parent for path in sorted(folder.parent.glob(f"*/{PREDICTIONS}"))]
    found += [path.parent for path in sorted(folder.parent.glob(f"*/{CROSSDATA}"))]
    hint = how_to_have(folder.parent, folder.name, {path.name for path in found}, "--run")
    return hint or "--mode evaluate, crossval or predict comes first"


def inside(folder: Path, name: str) -> Path:
    """Return a path that a file names, which must stay in its folder.

    Raises:
        ManifestError: It leads out.
    """
    path = folder / name
    try:
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):  # or a loop
            path.is_file()  # so that nobody stumbles over a name that is too long
            return path
    except (OSError, ValueError):  # ValueError: a NUL in the name
        raise ManifestError(
            f"{name[:80]!r} is no file's name", hint="run the stage again"
        ) from None
    raise ManifestError(f"{name[:80]!r} leads out of {folder}", hint="run the stage again")
