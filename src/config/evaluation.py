"""Settings of scores, folds, maps and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UnknownNameError
from ..labels import CLASS_NAMES
from .options import checked, option
from .ranges import Range, require

MAP_METHODS = (
    "gradcam",
    "gradcam++",
    "layercam",
    "hirescam",
    "ig",
    "occlusion",
)
MAP_TARGETS = ("predicted", "true", "demented")


@checked
@dataclass(frozen=True)
class EvalConfig:
    """How a checkpoint is scored."""

    checkpoint: Path | None = option(
        None,
        "checkpoint to evaluate, explain or predict with (default: the newest of the data "
        "set); predict takes a folder of several, whose answers are averaged",
        modes=("evaluate", "gradcam", "predict", "export", "audit"),
    )
    bootstrap: int = option(
        2000,
        "resamples of people for the 95 %% intervals",
        within=Range(100, 100_000),
        modes=("evaluate", "gradcam", "crossval", "crossdata", "compare"),
    )
    permute_labels: int = option(
        0,
        "shuffle the labels among people this often, for the scores that chance gives",
        within=Range(0, 100_000),
    )


@checked
@dataclass(frozen=True)
class CrossvalConfig:
    """Repeated cross-validation by person."""

    folds: int = option(
        5,
        "crossval: parts the people are divided into; each is tested once",
        within=Range(2, 100),
        modes=("crossval", "crossdata"),
    )
    repeats: int = option(5, "crossval: divisions", within=Range(1, 100))
    seeds: int = option(
        1, "crossval: trainings per fold that differ in their seed only", within=Range(1, 100)
    )
    fold: int | None = option(
        None, "crossval: train this fold only, from 0 (for a job array)", within=Range(0)
    )
    repeat: int | None = option(None, "crossval: train this repeat only, from 0", within=Range(0))
    collect: bool = option(
        False,
        "crossval: train nothing, join the folds that are there",
        modes=("crossval", "crossdata"),
    )

    def __post_init__(self) -> None:
        require(
            self.fold is None or 0 <= self.fold < self.folds,
            f"--fold {self.fold} is not in 0 to {self.folds - 1}, the last of --folds {self.folds}",
        )
        require(
            self.repeat is None or 0 <= self.repeat < self.repeats,
            f"--repeat {self.repeat} is not in 0 to {self.repeats - 1}",
        )
        require(
            not (self.collect and (self.fold is not None or self.repeat is not None)),
            "--collect joins all folds: it takes no --fold and no --repeat",
        )


@checked
@dataclass(frozen=True)
class CrossdataConfig:
    """Models of one study on the people of another."""

    cell: str | None = option(
        None, "crossdata: do this part alone, such as oasis3_to_aibl (for a job array)"
    )
    calibrate_on: int | None = option(
        None,
        "crossdata: also calibrate on this many people of the tested study, drawn several times, "
        "and score the others",
        within=Range(10, 100_000),
    )


@checked
@dataclass(frozen=True)
class ExplainConfig:
    """Which maps are made, and how they are tested."""

    method: str = option(
        "hirescam",
        f"maps: {', '.join(MAP_METHODS)} (docs/maps.md compares them)",
        MAP_METHODS,
        modes=("gradcam", "predict"),
    )
    layer: str = option(
        "AUTO",
        "maps: layer to explain, or several joined by + to fuse them; AUTO: the best known",
        modes=("gradcam", "predict"),
    )
    target: str = option(
        "predicted",
        f"maps: what is explained: {', '.join(MAP_TARGETS)}, or the name of a class; "
        "demented is any stage against none",
    )
    samples: int = option(4, "maps: people per class in the figures", within=Range(1, 100))
    graded: int = option(
        8, "maps: people whose maps are tested; 0 tests none", within=Range(0, 1000)
    )
    convention: str = option(
        "neurological",
        "maps: which side of a picture shows the person's left; neurological: the left, "
        "radiological: the right; letters say it",
        ("neurological", "radiological"),
        modes=("gradcam", "predict"),
    )
    atlas: Path | None = option(None, "maps: NIfTI of numbered regions in MNI space")
    atlas_labels: Path | None = option(None, "maps: the atlas's numbers and names, a text table")

    def __post_init__(self) -> None:
        known = (*MAP_TARGETS, *CLASS_NAMES)
        if self.target not in known:
            raise UnknownNameError("target", self.target, known)
        require(
            (self.atlas is None) == (self.atlas_labels is None),
            "--atlas and --atlas_labels belong together",
        )


@checked
@dataclass(frozen=True)
class PredictConfig:
    """What is said of new scans."""

    input: Path | None = option(
        None, "predict: a scan, a DICOM series, or a folder of scans, raw or prepared"
    )
    maps: bool = option(True, "predict: make a map of every scan")
