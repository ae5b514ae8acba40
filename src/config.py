"""Every setting: frozen dataclasses whose fields are the command line's flags.

A field's metadata makes its flag and its help; ``__post_init__`` checks ranges, so a config that
exists is a config that can run. Defaults < ``--config run.json`` < flags. A name that stands in
two parts (``seed``) is one flag that sets both.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path

from .config_data import (
    COHORTS,
    DATASETS,
    DataConfig,
    PhantomConfig,
    PreprocessConfig,
    ScanConfig,
    dataset_flags,
    require,
)
from .config_model import (
    BACKBONES,
    DEFAULT_BACKBONE,
    DEFAULT_BATCH_SIZE,
    LOSSES,
    ModelConfig,
    TrainConfig,
)
from .errors import ConfigError, UnknownNameError
from .labels import class_scheme
from .options import build_config, checked, option, settings_from_args

__all__ = [
    "BACKBONES",
    "COHORTS",
    "DATASETS",
    "DEFAULT_BACKBONE",
    "DEFAULT_BATCH_SIZE",
    "LOSSES",
    "MAP_METHODS",
    "MAP_TARGETS",
    "CrossvalConfig",
    "DataConfig",
    "EvalConfig",
    "ExplainConfig",
    "ModelConfig",
    "PhantomConfig",
    "PredictConfig",
    "PreprocessConfig",
    "RunConfig",
    "ScanConfig",
    "TrainConfig",
    "config_from_args",
    "dataset_flags",
]

MAP_METHODS = ("gradcam", "gradcam++", "layercam", "hirescam", "ig", "occlusion")
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


@checked
@dataclass(frozen=True)
class RunConfig:
    """All parts, and where the run happens."""

    data: DataConfig = field(default_factory=DataConfig)
    phantom: PhantomConfig = field(default_factory=PhantomConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvalConfig = field(default_factory=EvalConfig)
    crossval: CrossvalConfig = field(default_factory=CrossvalConfig)
    explain: ExplainConfig = field(default_factory=ExplainConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    runs: tuple[str, ...] = ()  # of --mode compare; named without a flag
    run: str | None = option(None, "name of the run (default: <dataset>_<backbone>)")
    device: str | None = option(None, "cuda, cuda:1, mps or cpu (default: the best there is)")
    workers: int | None = option(
        None,
        "parallel processes for preprocessing, and for loading on a GPU (default: all cores)",
    )
    dask: str | None = option(
        None,
        "address of a running Dask scheduler, such as tcp://host:8786, whose workers preprocess "
        "scans and compute features",
    )
    checkpoint_dir: Path = option(Path("checkpoints"), "folder for checkpoints")
    results_dir: Path = option(Path("results"), "folder for metrics, predictions and figures")
    report: bool = option(
        True, "end evaluate, crossval, predict and full with report.html, one page that shows all"
    )

    def __post_init__(self) -> None:
        bad = self.run is not None and (
            not self.run.strip(".") or "/" in self.run or "\\" in self.run
        )
        require(not bad, f"--run {self.run!r} is no plain folder name")
        if self.model.backbone is not None:
            _check_backbone(self.model.backbone, self.data.model_dim)
        require(
            self.workers is None or 1 <= self.workers <= 1024,
            f"--workers {self.workers} is not in 1 to 1024",
        )

    @property
    def backbone(self) -> str:
        """The backbone asked for, or the default of the dimension."""
        return self.model.backbone or DEFAULT_BACKBONE[self.data.model_dim]

    @property
    def loss(self) -> str:
        """The loss asked for, or ordinal for a frozen backbone and cross-entropy otherwise."""
        return self.train.loss or ("ordinal" if self.model.freeze_backbone else "ce")

    @property
    def batch_size(self) -> int:
        """The batch size asked for, or the default of the dimension."""
        return self.train.batch_size or DEFAULT_BATCH_SIZE[self.data.model_dim]

    @property
    def run_name(self) -> str:
        """Folder name of the run's checkpoints and results."""
        return self.run or f"{self.data.name}_{self.backbone}"


def config_from_args(args: argparse.Namespace) -> RunConfig:
    """Return the checked config: defaults, then ``--config``, then the flags given.

    Raises:
        DataNotFoundError: ``--config`` names no file.
        ConfigError: The file is no settings file, or a value is out of range.
    """
    config = build_config(RunConfig, settings_from_args(args))
    return replace(config, runs=tuple(args.runs)) if getattr(args, "runs", None) else config


def _check_backbone(name: str, dim: str) -> None:
    if name not in BACKBONES["2d"] + BACKBONES["3d"]:
        raise UnknownNameError(f"{dim} backbone", name, BACKBONES[dim])
    if name not in BACKBONES[dim]:
        raise ConfigError(
            f"backbone {name} does not take {dim} images",
            hint=f"--backbone {DEFAULT_BACKBONE[dim]}, or another of {', '.join(BACKBONES[dim])}",
        )
