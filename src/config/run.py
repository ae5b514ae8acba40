"""All settings of one run, of which every stage takes what it needs.

Defaults < ``--config run.json`` < flags. A name that stands in two parts (``seed``) is one flag
that sets both.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ConfigError, UnknownNameError
from ..labels import class_scheme
from .data import (
    DataConfig,
    PhantomConfig,
    PreprocessConfig,
    ScanConfig,
    kind_of_dataset,
)
from .evaluation import (
    CrossdataConfig,
    CrossvalConfig,
    EvalConfig,
    ExplainConfig,
    PredictConfig,
    StressConfig,
)
from .flags import refuse_unread
from .modes import EVERY, ON_A_RUN, TRAINING
from .options import build_config, checked, option, part, settings_from_args
from .ranges import Range, require
from .tasks import LEARNT
from .training import (
    BACKBONES,
    DEFAULT_BACKBONE,
    DEFAULT_BATCH_SIZE,
    IN_MNI,
    ModelConfig,
    TrainConfig,
    require_augment,
)


def name_run(dataset: str, backbone: str, classes: int = 4) -> str:
    """Return the folder name of a run that was given none.

    Runs of other classes are other runs: ``kaggle_2d_resnet18``, but
    ``kaggle_2d_resnet18_3classes``. With ``--official_split`` it is the data set's name that tells.

    Args:
        dataset: Name of the processed data set.
        backbone: Name of the network, or ``package.module:name`` of what makes it.
        classes: How many; the most that the kind of label has is the default, and not told.
    """
    name, most = (
        backbone.rpartition(":")[2],
        len(class_scheme(kind=kind_of_dataset(dataset)).classes),
    )
    return f"{dataset}_{name}" + ("" if classes == most else f"_{classes}classes")


_LONGEST_RUN = 100  # bytes: names of files are made of it, and 255 are the most


@checked
@dataclass(frozen=True)
class RunConfig:
    """The run: its name, its folders, where it happens, and its parts."""

    data: DataConfig = part(DataConfig, ON_A_RUN)
    phantom: PhantomConfig = part(PhantomConfig, ("preprocess",))
    preprocess: PreprocessConfig = part(PreprocessConfig, ("preprocess",))
    scan: ScanConfig = part(ScanConfig, ("preprocess", "predict"))
    model: ModelConfig = part(ModelConfig, TRAINING)
    train: TrainConfig = part(TrainConfig, TRAINING)
    evaluate: EvalConfig = part(EvalConfig, ("evaluate", "crossval"))
    crossval: CrossvalConfig = part(CrossvalConfig, ("crossval",))
    crossdata: CrossdataConfig = part(CrossdataConfig, ("crossdata",))
    explain: ExplainConfig = part(ExplainConfig, ("gradcam",))
    stress: StressConfig = part(StressConfig, ("stress",))
    predict: PredictConfig = part(PredictConfig, ("predict",))
    runs: tuple[str, ...] = ()  # of --mode compare; named without a flag
    run: str | None = option(
        None,
        "name of the run (default: <dataset>_<backbone>, _3classes added with --classes 3)",
        modes=ON_A_RUN,
    )
    device: str | None = option(
        None, "cuda, cuda:1, mps or cpu (default: the best there is)", modes=ON_A_RUN
    )
    workers: int | None = option(
        None,
        "parallel processes for preprocessing, and for loading on a GPU (default: all cores)",
        within=Range(1, 1024),
        modes=("preprocess", *TRAINING, "stress", "predict"),
    )
    dask: str | None = option(
        None,
        "address of a running Dask scheduler, such as tcp://host:8786, whose workers preprocess "
        "scans and compute features",
        modes=("preprocess", *TRAINING, "stress", "predict"),
    )
    keep_memory: bool = option(
        True,
        "keep freed memory in the process, which is faster; on Linux with glibc only",
        modes=EVERY,
    )
    checkpoint_dir: Path = option(Path("checkpoints"), "folder for checkpoints", modes=ON_A_RUN)
    results_dir: Path = option(
        Path("results"), "folder for metrics, predictions and figures", modes=EVERY
    )
    report: bool = option(
        True,
        "end evaluate, crossval, crossdata, predict and full with report.html, one page that shows "
        "all",
        modes=("evaluate", "crossval", "crossdata", "predict"),
    )

    def __post_init__(self) -> None:
        bad = self.run is not None and (
            not self.run.strip(".") or "/" in self.run or "\\" in self.run
        )
        require(not bad, f"--run {self.run!r} is no plain folder name")
        name = self.run or ""
        require(name.isprintable(), f"--run {self.run!a} holds characters that cannot be printed")
        require(
            len(name.encode("utf-8", "surrogateescape")) <= _LONGEST_RUN,
            f"--run {name[:20]}... has more than {_LONGEST_RUN} bytes",
        )
        require(
            self.crossval.harmonise is None or self.model.freeze_backbone,
            f"--harmonise {self.crossval.harmonise} needs --freeze_backbone: the features of a "
            "network that still learns are not there before it has learnt",
        )
        if self.model.pool != "mean" and self.data.model_dim == "3d":
            raise ConfigError(
                f"--pool {self.model.pool} weighs slices, and a volume is one image",
                hint="leave --pool out, or take slices: --dataset "
                + self.data.name.replace("3d", "2d"),
            )
        require(
            self.crossval.harmonise is None or not self.train.beside,
            f"--tasks {self.train.tasks} does not go with --harmonise {self.crossval.harmonise}, "
            "which fits the stage's head alone",
        )
        require(
            self.train.task_weights == LEARNT or not self.model.freeze_backbone,
            f"--task_weights {self.train.task_weights} has no use with --freeze_backbone: each "
            "head is fitted alone",
        )
        require_augment(self.train.augment, self.model.freeze_backbone)
        if not self.train.learns_stage and self.model.freeze_backbone:
            raise ConfigError(
                f"--tasks {self.train.tasks} teaches the backbone, and --freeze_backbone lets it "
                "learn nothing",
                hint=f"--tasks stage,{self.train.tasks} fits each head alone, so the stage changes "
                "nothing of the others; or leave --freeze_backbone out",
            )
        require(
            self.model.pool == "mean" or not self.train.beside or self.model.freeze_backbone,
            f"--tasks {self.train.tasks} takes the mean of a person's slices, and --pool "
            f"{self.model.pool} weighs them; --freeze_backbone does both",
        )
        for flag, given in (
            ("--checkpoint", self.evaluate.checkpoint),
            ("--split", self.data.split),
        ):
            require(
                not self.explain.out_of_fold or given is None,
                f"--out_of_fold takes models and people of a cross-validation: it takes no {flag}",
            )
        if self.model.backbone is not None:
            _check_backbone(self.model.backbone, self.data.model_dim)

    @property
    def backbone(self) -> str:
        """The backbone asked for, or the default of the dimension."""
        return self.model.backbone or DEFAULT_BACKBONE[self.data.model_dim]

    @property
    def own_network(self) -> str | None:
        """What makes a network of the user's own, ``package.module:name``; None of a backbone."""
        return self.model.backbone if ":" in (self.model.backbone or "") else None

    @property
    def loss(self) -> str:
        """The loss asked for, or ordinal for a frozen backbone and cross-entropy otherwise."""
        return self.train.loss or ("ordinal" if self.model.freeze_backbone else "ce")

    @property
    def batch_size(self) -> int:
        """The batch size asked for, or the default of the dimension."""
        return self.train.batch_size or DEFAULT_BATCH_SIZE[self.data.model_dim]

    @property
    def audit_dir(self) -> Path:
        """Folder of what an audit found, named after what was looked at."""
        data, first = self.data, self.evaluate.checkpoint or self.data.data_dir
        name = _place_name(first) if first else data.name
        name += f"_vs_{_place_name(data.against)}" if data.against else ""
        return self.results_dir / (self.run or name or "audit") / "audit"

    @property
    def run_name(self) -> str:
        """Folder name of the run's checkpoints and results."""
        return self.run or name_run(self.data.name, self.backbone, self.data.num_classes)


def config_from_args(args: argparse.Namespace) -> RunConfig:
    """Return the checked config: defaults, then ``--config``, then the flags given.

    Raises:
        DataNotFoundError: ``--config`` names no file.
        ConfigError: The mode does not read a flag that was given, the file is no settings file, or
            a value is out of range.
    """
    if hasattr(args, "mode"):
        refuse_unread(args, RunConfig)
    settings = settings_from_args(args)
    try:
        config = build_config(RunConfig, settings)
    except ConfigError as error:
        if args.config:
            error.hint = f"{error.hint}; settings that are no flags are of {args.config}"
        raise
    return replace(config, runs=tuple(args.runs)) if getattr(args, "runs", None) else config


def _place_name(path: Path) -> str:
    """Return what a file or folder is called by: of a run's files, the run."""
    path = path.resolve()
    of_a_run = path.name in ("split.csv", "folds.csv", "best_model.pth", "manifest.csv")
    return path.parent.name if of_a_run else path.stem if path.is_file() else path.name


def _check_backbone(name: str, dim: str) -> None:
    if ":" in name:
        require(
            re.fullmatch(r"\w+(\.\w+)*:\w+", name) is not None,
            f"--backbone {name!r} is not package.module:name, which makes a network",
        )
        return
    known = {"2d": BACKBONES["2d"], "3d": BACKBONES["3d"] + IN_MNI}
    if name not in known["2d"] + known["3d"]:
        raise UnknownNameError(f"{dim} backbone", name, known[dim])
    if name not in known[dim]:
        raise ConfigError(
            f"backbone {name} does not take {dim} images",
            hint=f"--backbone {DEFAULT_BACKBONE[dim]}, or another of {', '.join(known[dim])}",
        )
