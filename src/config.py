"""Every setting: frozen dataclasses whose fields are the command line's flags.

A field's metadata makes its flag and its help; ``__post_init__`` checks ranges, so a config that
exists is a config that can run. Defaults < ``--config run.json`` < flags. A name that stands in
two parts (``seed``) is one flag that sets both.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path

from .errors import ConfigError, UnknownNameError
from .labels import class_scheme
from .options import build_config, option, settings_from_args

#: Raw cohort -> the first part of the name of its processed data sets.
COHORTS = {
    "oasis": "oasis",
    "kaggle_orig": "kaggle",
    "kaggle_nifti": "kaggle_nifti",
    "phantom": "phantom",
}
#: Processed data set -> (raw cohort, dimension).
DATASETS = {f"{stem}_{dim}": (raw, dim) for raw, stem in COHORTS.items() for dim in ("2d", "3d")}
BACKBONES = {
    "2d": ("resnet18", "resnet50", "efficientnet_b0", "densenet121", "efficientnet_lite0"),
    "3d": ("simple", "resnet", "resnet_small"),
}
DEFAULT_BACKBONE = {"2d": "efficientnet_lite0", "3d": "simple"}
LOSSES = ("ce", "focal", "ordinal")
MAP_METHODS = ("gradcam", "gradcam++", "layercam", "hirescam", "ig", "occlusion")
MAP_TARGETS = ("predicted", "true", "demented")
DEFAULT_BATCH_SIZE = {"2d": 32, "3d": 4}


def _require(good: bool, what: str) -> None:
    if not good:
        raise ConfigError(what, hint="python main.py --help lists every flag and its range")


@dataclass(frozen=True)
class DataConfig:
    """Which images, which people, which classes."""

    dataset: str = option(
        "phantom_2d",
        f"raw cohort ({', '.join(COHORTS)}) or processed data set ({', '.join(DATASETS)})",
    )
    dim: str | None = option(
        None,
        "2d slices or 3d volumes, when --dataset names a raw cohort (default: 2d)",
        ("2d", "3d"),
    )
    data_root: Path = option(Path("data"), "folder that holds all data sets")
    data_dir: Path | None = option(
        None, "folder that the stage reads: raw files for preprocess and full, else processed files"
    )
    cache_dir: Path | None = option(
        None, "folder of the image cache (default: .cache in the processed data set)"
    )
    classes: int = option(4, "4 stages, 3 (CDR >= 1 together) or 2 (CDR 0 against > 0)", (4, 3, 2))
    min_age: float = option(0.0, "leave out people younger than this, in years")
    official_split: bool = option(
        False, "keep the Kaggle train/test split, which has the same people on both sides"
    )
    val_fraction: float = option(0.15, "share of people for validation")
    test_fraction: float = option(0.2, "share of people for test")
    seed: int = option(0, "seed of phantom, split and training")

    def __post_init__(self) -> None:
        if self.dataset not in COHORTS and self.dataset not in DATASETS:
            raise UnknownNameError("dataset", self.dataset, [*COHORTS, *DATASETS])
        named = DATASETS.get(self.dataset, ("", None))[1]
        _require(self.dim in (None, "2d", "3d"), f"--dim {self.dim!r} is neither 2d nor 3d")
        _require(
            not (named and self.dim and named != self.dim),
            f"--dataset {self.dataset} contradicts --dim {self.dim}",
        )
        class_scheme(self.classes)
        _require(0 <= self.min_age <= 125, f"--min_age {self.min_age:g} is not in 0 to 125 years")
        _require(
            0 < self.val_fraction < 0.5,
            f"--val_fraction {self.val_fraction:g} is not between 0 and 0.5",
        )
        _require(
            0 < self.test_fraction < 0.5,
            f"--test_fraction {self.test_fraction:g} is not between 0 and 0.5",
        )
        _require(0 <= self.seed < 2**32, f"--seed {self.seed} is not in 0 to 2^32 - 1")
        _require(
            not self.official_split or self.cohort == "kaggle_orig",
            f"--official_split: {self.cohort} has no official split",
        )

    @property
    def cohort(self) -> str:
        """Raw cohort: ``kaggle_2d`` -> ``kaggle_orig``."""
        return DATASETS[self.dataset][0] if self.dataset in DATASETS else self.dataset

    @property
    def model_dim(self) -> str:
        """``"2d"`` or ``"3d"``."""
        return DATASETS[self.dataset][1] if self.dataset in DATASETS else (self.dim or "2d")

    @property
    def name(self) -> str:
        """Name of the processed data set: ``oasis`` with ``--dim 3d`` -> ``oasis_3d``."""
        return f"{COHORTS[self.cohort]}_{self.model_dim}" + (
            "_official" if self.official_split else ""
        )

    @property
    def raw_dir(self) -> Path:
        """Folder of the raw cohort."""
        return self.data_dir or self.data_root / self.cohort

    @property
    def processed_dir(self) -> Path:
        """Folder that preprocessing writes to, and training reads by default."""
        return self.data_root / self.name


@dataclass(frozen=True)
class PhantomConfig:
    """The synthetic cohort that needs no download."""

    phantom_subjects: int = option(
        80, "rated people, 50 / 25 / 15 / 10 %% of them at CDR 0 / 0.5 / 1 / 2"
    )
    phantom_voxel: float = option(2.0, "voxel size in mm")
    phantom_effect: float = option(
        1.0, "strength of the planted atrophy; 0 plants none, and labels are noise"
    )
    phantom_cause: str = option(
        "disease",
        "what labels follow: the planted atrophy, or age alone, which opens ventricles too",
        ("disease", "age"),
    )

    def __post_init__(self) -> None:
        _require(
            8 <= self.phantom_subjects <= 9000,
            f"--phantom_subjects {self.phantom_subjects} is not in 8 to 9000",
        )
        _require(
            1 <= self.phantom_voxel <= 4,
            f"--phantom_voxel {self.phantom_voxel:g} is not in 1 to 4 mm",
        )
        _require(
            0 <= self.phantom_effect <= 1,
            f"--phantom_effect {self.phantom_effect:g} is not in 0 to 1 (above, space would fold)",
        )


@dataclass(frozen=True)
class PreprocessConfig:
    """How voxels become processed files."""

    num_slices: int = option(20, "2D: slices per volume, spread over the brain")
    slice_axis: str = option("axial", "2D: plane of the slices", ("axial", "coronal", "sagittal"))
    image_size: int = option(224, "2D: width and height of a slice, in pixels")
    volume_size: int = option(128, "3D: edge of the volume, in voxels")

    def __post_init__(self) -> None:
        _require(1 <= self.num_slices <= 512, f"--num_slices {self.num_slices} is not in 1 to 512")
        _require(
            32 <= self.image_size <= 1024, f"--image_size {self.image_size} is not in 32 to 1024"
        )
        _require(
            32 <= self.volume_size <= 512, f"--volume_size {self.volume_size} is not in 32 to 512"
        )


@dataclass(frozen=True)
class ModelConfig:
    """Which network, from which weights."""

    backbone: str | None = option(
        None,
        f"2D: {', '.join(BACKBONES['2d'])}; 3D: {', '.join(BACKBONES['3d'])} "
        f"(default: {' or '.join(DEFAULT_BACKBONE.values())})",
    )
    weights: str | None = option(
        None, "imagenet, none, or a weight file (default: imagenet in 2D, none in 3D)"
    )
    freeze_backbone: bool = option(
        False, "train the classifier only, on features that are computed once"
    )
    dropout: float = option(0.2, "dropout before the classifier")

    def __post_init__(self) -> None:
        _require(0 <= self.dropout < 1, f"--dropout {self.dropout:g} is not in 0 to 1")


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained."""

    epochs: int = option(30, "passes over the training people")
    batch_size: int | None = option(None, "images per step (default: 32 in 2D, 4 in 3D)")
    lr: float | None = option(None, "peak learning rate (default: by what is trained, and logged)")
    weight_decay: float = option(0.01, "AdamW's decoupled weight decay")
    warmup_epochs: float = option(1.0, "epochs over which the learning rate rises from zero")
    patience: int = option(
        10, "stop after this many epochs without a better validation score; 0 never stops"
    )
    grad_clip: float = option(1.0, "largest norm of the gradient")
    class_weight_cap: float = option(
        10.0, "largest ratio between two class weights; 1 turns weighting off"
    )
    augment: bool = option(
        True, "flip left-right, rotate, shift, scale and vary intensity while training"
    )
    loss: str | None = option(
        None,
        "cross-entropy, focal, or ordinal: one score with ordered thresholds "
        "(default: ordinal with --freeze_backbone, else ce)",
        LOSSES,
    )
    calibration: str = option(
        "temperature",
        "how validation people turn scores into probabilities; vector needs 20 people a class",
        ("temperature", "vector", "none"),
    )
    allow_leaks: bool = option(False, "train although the audit of the split fails")
    precision: str = option(
        "auto", "fp32, bf16, or what the device does well", ("auto", "fp32", "bf16")
    )
    accumulate: int = option(
        1, "parts that each batch is computed in, for a batch that does not fit into memory"
    )
    activation_checkpointing: bool = option(
        False,
        "3D: keep few activations and compute them again; saves under a tenth of the peak here "
        "(docs/performance.md)",
    )
    compile: bool = option(False, "compile the network with torch.compile; slow to start")
    resume: bool = option(
        False, "continue a stopped run, with the same result as if it had not stopped"
    )
    seed: int = option(0, "seed of phantom, split and training")

    def __post_init__(self) -> None:
        _require(1 <= self.epochs <= 10_000, f"--epochs {self.epochs} is not in 1 to 10000")
        _require(
            self.batch_size is None or 1 <= self.batch_size <= 4096,
            f"--batch_size {self.batch_size} is not in 1 to 4096",
        )
        _require(
            not (self.compile and self.activation_checkpointing),
            "--compile does not go with --activation_checkpointing",
        )
        _require(
            1 <= self.accumulate <= 4096, f"--accumulate {self.accumulate} is not in 1 to 4096"
        )
        _require(self.lr is None or 0 < self.lr < 10, f"--lr {self.lr} is not between 0 and 10")
        _require(self.weight_decay >= 0, f"--weight_decay {self.weight_decay:g} is negative")
        _require(self.warmup_epochs >= 0, f"--warmup_epochs {self.warmup_epochs:g} is negative")
        _require(self.patience >= 0, f"--patience {self.patience} is negative")
        _require(self.grad_clip > 0, f"--grad_clip {self.grad_clip:g} is not positive")
        _require(
            self.class_weight_cap >= 1, f"--class_weight_cap {self.class_weight_cap:g} is under 1"
        )


@dataclass(frozen=True)
class EvalConfig:
    """How a checkpoint is scored."""

    checkpoint: Path | None = option(
        None, "checkpoint to evaluate or explain (default: the newest of the data set)"
    )
    bootstrap: int = option(2000, "resamples of people for the 95 %% intervals")
    permute_labels: int = option(
        0, "shuffle the labels among people this often, for the scores that chance gives"
    )

    def __post_init__(self) -> None:
        _require(
            0 <= self.permute_labels <= 100_000,
            f"--permute_labels {self.permute_labels} is not in 0 to 100000",
        )
        _require(
            100 <= self.bootstrap <= 100_000,
            f"--bootstrap {self.bootstrap} is not in 100 to 100000",
        )


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
        _require(2 <= self.folds <= 100, f"--folds {self.folds} is not in 2 to 100")
        _require(1 <= self.repeats <= 100, f"--repeats {self.repeats} is not in 1 to 100")
        _require(1 <= self.seeds <= 100, f"--seeds {self.seeds} is not in 1 to 100")
        _require(
            self.fold is None or 0 <= self.fold < self.folds,
            f"--fold {self.fold} is not in 0 to {self.folds - 1}, the last of --folds {self.folds}",
        )
        _require(
            self.repeat is None or 0 <= self.repeat < self.repeats,
            f"--repeat {self.repeat} is not in 0 to {self.repeats - 1}",
        )
        _require(
            not (self.collect and (self.fold is not None or self.repeat is not None)),
            "--collect joins all folds: it takes no --fold and no --repeat",
        )


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
        _require(1 <= self.samples <= 100, f"--samples {self.samples} is not in 1 to 100")
        _require(0 <= self.graded <= 1000, f"--graded {self.graded} is not in 0 to 1000")
        _require(
            (self.atlas is None) == (self.atlas_labels is None),
            "--atlas and --atlas_labels belong together",
        )


@dataclass(frozen=True)
class RunConfig:
    """All parts, and where the run happens."""

    data: DataConfig = field(default_factory=DataConfig)
    phantom: PhantomConfig = field(default_factory=PhantomConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvalConfig = field(default_factory=EvalConfig)
    crossval: CrossvalConfig = field(default_factory=CrossvalConfig)
    explain: ExplainConfig = field(default_factory=ExplainConfig)
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

    def __post_init__(self) -> None:
        bad = self.run is not None and (
            not self.run.strip(".") or "/" in self.run or "\\" in self.run
        )
        _require(not bad, f"--run {self.run!r} is no plain folder name")
        if self.model.backbone is not None:
            _check_backbone(self.model.backbone, self.data.model_dim)
        _require(
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
        raise UnknownNameError("backbone", name, BACKBONES["2d"] + BACKBONES["3d"])
    if name not in BACKBONES[dim]:
        fitting = ", ".join(BACKBONES[dim])
        raise ConfigError(
            f"backbone {name} does not take {dim} images", hint=f"--backbone {fitting}"
        )
