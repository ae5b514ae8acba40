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
    "rollout",
)
#: What ``crossval`` may hold out, as the manifest's columns are called.
HELD_OUT = ("site", "scanner", "manufacturer")
MAP_TARGETS = ("predicted", "true", "demented")


@checked
@dataclass(frozen=True)
class EvalConfig:
    """How a checkpoint is scored."""

    checkpoint: Path | None = option(
        None,
        "checkpoint to evaluate, explain or predict with (default: the newest of the data "
        "set); predict takes a folder of several, whose answers are averaged",
        modes=("evaluate", "gradcam", "stress", "predict", "export", "audit"),
    )
    bootstrap: int = option(
        2000,
        "resamples of people for the 95 %% intervals",
        within=Range(100, 100_000),
        modes=("evaluate", "gradcam", "stress", "crossval", "crossdata", "compare"),
    )
    permute_labels: int = option(
        0,
        "shuffle the labels among people this often, for the scores that chance gives",
        within=Range(0, 100_000),
    )
    ensemble: bool = option(
        False,
        "also score the rivals of the image together, with and without the network: does it add "
        "anything to them?",
    )


@checked
@dataclass(frozen=True)
class CrossvalConfig:
    """Repeated cross-validation by person."""

    folds: int | None = option(
        None,
        "crossval: parts the people are divided into; each is tested once (default: 5)",
        within=Range(2, 100),
        modes=("crossval", "crossdata"),
    )
    repeats: int | None = option(
        None, "crossval: divisions (default: 5; 1 with --hold_out)", within=Range(1, 100)
    )
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
    keep_models: bool = option(
        False,
        "crossval, with --freeze_backbone: keep the checkpoints of the first repeat, for predict "
        "and gradcam --out_of_fold; it takes minutes (networks that learn are kept in any case)",
    )
    learning_curve: bool = option(
        False,
        "crossval: also train every fold on one to four fifths of its people, for the score over "
        "the number of people",
    )
    hold_out: str | None = option(
        None,
        f"crossval: test one {', '.join(HELD_OUT)} after the other, each by a model that never saw "
        "it, instead of parts at random",
        HELD_OUT,
    )
    harmonise: str | None = option(
        None,
        "crossval, with --freeze_backbone: bring the features of sites, and the rivals' measures, "
        "to one mean and spread; fitted to training people without their labels",
        ("combat",),
    )

    def __post_init__(self) -> None:
        require(
            self.hold_out is None or self.folds is None,
            f"--hold_out {self.hold_out} makes a fold of each: it takes no --folds",
        )
        require(
            self.harmonise is None or self.hold_out in (None, "site"),
            f"--harmonise {self.harmonise} goes by site: it takes no --hold_out {self.hold_out}",
        )
        require(
            not (self.keep_models and self.harmonise),
            f"--harmonise {self.harmonise} keeps no checkpoint: it takes no --keep_models",
        )
        # As many as are usual, where none were asked for.
        if self.hold_out is None:
            object.__setattr__(self, "folds", self.folds or 5)
        object.__setattr__(self, "repeats", self.repeats or (1 if self.hold_out else 5))
        require(
            self.fold is None or self.folds is None or 0 <= self.fold < self.folds,
            f"--fold {self.fold} is not in 0 to {(self.folds or 0) - 1}, the last of --folds "
            f"{self.folds}",
        )
        require(
            self.repeat is None or 0 <= self.repeat < self.times,
            f"--repeat {self.repeat} is not in 0 to {self.times - 1}",
        )
        require(
            not (self.collect and (self.fold is not None or self.repeat is not None)),
            "--collect joins all folds: it takes no --fold and no --repeat",
        )

    @property
    def parts(self) -> int:
        """Into how many parts people are divided at random."""
        return self.folds or 5

    @property
    def times(self) -> int:
        """How often the people are divided."""
        assert self.repeats is not None  # `__post_init__` filled it in
        return self.repeats

    @property
    def column(self) -> str | None:
        """The column of the manifest that everyone must have: what is held out, or harmonised."""
        return self.hold_out or ("site" if self.harmonise else None)


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
        modes=("gradcam", "stress", "predict"),
    )
    layer: str = option(
        "AUTO",
        "maps: layer to explain, or several joined by + to fuse them; AUTO: the best known",
        modes=("gradcam", "stress", "predict"),
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
    out_of_fold: bool = option(
        False,
        "maps: of everyone in a cross-validation, which --run names, each by the fold's model that "
        "never saw the person",
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
class StressConfig:
    """Which known changes of scans are asked of a model."""

    doses: int = option(10, "stress: steps from none to the full disease", within=Range(2, 100))
    people: int = option(
        50,
        "stress: test people whose scans are changed, the first of each class by name; 0 takes all",
        within=Range(0, 1_000_000),
    )
    changes: str | None = option(
        None,
        "stress: names of changes with commas between, such as disease,noise,blur (default: all)",
    )
    raw_dir: Path | None = option(
        None,
        "stress: folder of the raw files that the data set was made of (default: where preprocess "
        "looks for them)",
    )


@checked
@dataclass(frozen=True)
class PredictConfig:
    """What is said of new scans."""

    input: Path | None = option(
        None, "predict: a scan, a DICOM series, or a folder of scans, raw or prepared"
    )
    maps: bool = option(True, "predict: make a map of every scan")
