"""Settings of scores, folds, maps and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UnknownNameError
from ..labels import class_scheme
from .options import checked, option, require

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
    )
    bootstrap: int = option(2000, "resamples of people for the 95 %% intervals")
    permute_labels: int = option(
        0, "shuffle the labels among people this often, for the scores that chance gives"
    )

    def __post_init__(self) -> None:
        require(
            0 <= self.permute_labels <= 100_000,
            f"--permute_labels {self.permute_labels} is not in 0 to 100000",
        )
        require(
            100 <= self.bootstrap <= 100_000,
            f"--bootstrap {self.bootstrap} is not in 100 to 100000",
        )


@checked
@dataclass(frozen=True)
class CrossvalConfig:
    """Repeated cross-validation by person."""

    folds: int = option(5, "crossval: parts the people are divided into; each is tested once")
    repeats: int = option(5, "crossval: divisions")
    seeds: int = option(1, "crossval: trainings per fold that differ in their seed only")
    fold: int | None = option(None, "crossval: train this fold only, from 0 (for a job array)")
    repeat: int | None = option(None, "crossval: train this repeat only, from 0")
    collect: bool = option(False, "crossval: train nothing, join the folds that are there")

    def __post_init__(self) -> None:
        require(2 <= self.folds <= 100, f"--folds {self.folds} is not in 2 to 100")
        require(1 <= self.repeats <= 100, f"--repeats {self.repeats} is not in 1 to 100")
        require(1 <= self.seeds <= 100, f"--seeds {self.seeds} is not in 1 to 100")
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
class ExplainConfig:
    """Which maps are made, and how they are tested."""

    method: str = option(
        "hirescam", f"maps: {', '.join(MAP_METHODS)} (docs/maps.md compares them)", MAP_METHODS
    )
    layer: str = option(
        "AUTO", "maps: layer to explain, or several joined by + to fuse them; AUTO: the best known"
    )
    target: str = option(
        "predicted",
        f"maps: what is explained: {', '.join(MAP_TARGETS)}, or the name of a class; "
        "demented is any stage against none",
    )
    samples: int = option(4, "maps: people per class in the figures")
    graded: int = option(8, "maps: people whose maps are tested; 0 tests none")
    convention: str = option(
        "neurological",
        "maps: which side of a picture shows the person's left; neurological: the left, "
        "radiological: the right; letters say it",
        ("neurological", "radiological"),
    )
    atlas: Path | None = option(None, "maps: NIfTI of numbered regions in MNI space")
    atlas_labels: Path | None = option(None, "maps: the atlas's numbers and names, a text table")

    def __post_init__(self) -> None:
        classes = dict.fromkeys(name for k in (4, 3, 2) for name in class_scheme(k).classes)
        known = (*MAP_TARGETS, *classes)
        if self.target not in known:
            raise UnknownNameError("target", self.target, known)
        require(1 <= self.samples <= 100, f"--samples {self.samples} is not in 1 to 100")
        require(0 <= self.graded <= 1000, f"--graded {self.graded} is not in 0 to 1000")
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
