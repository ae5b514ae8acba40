"""Settings of the network and its training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ConfigError
from .modes import EVERY, ON_A_RUN, ON_IMAGES, TRAINING
from .options import checked, option
from .ranges import Range, require
from .tasks import LEARNT, NO_TASKS, STAGE, read_task_weights, read_tasks

BACKBONES = {
    "2d": (
        "resnet18",
        "resnet50",
        "efficientnet_b0",
        "densenet121",
        "efficientnet_lite0",
        "vit_b_16",
        "vit_conv",
    ),
    "3d": (
        "simple",
        "resnet",
        "resnet_small",
        "sfcn",
        "resnet18_3d",
        "resnet50_3d",
    ),
}
#: Backbones that see volumes in MNI space, where training lays them: they need a data set.
IN_MNI = ("qiu2022",)
DEFAULT_BACKBONE = {"2d": "efficientnet_lite0", "3d": "simple"}
LOSSES = ("ce", "focal", "ordinal")
AUGMENTATIONS = ("none", "mild", "scanner")
POOLS = ("mean", "max", "attention")
DEFAULT_BATCH_SIZE = {"2d": 32, "3d": 4}


@checked
@dataclass(frozen=True)
class ModelConfig:
    """Which network, from which weights."""

    backbone: str | None = option(
        None,
        f"2D: {', '.join(BACKBONES['2d'])}; 3D: {', '.join(BACKBONES['3d'] + IN_MNI)}; or one of "
        "your own, package.module:function, which is called with num_classes "
        f"(default: {' or '.join(DEFAULT_BACKBONE.values())})",
        modes=ON_A_RUN,
    )
    weights: str | None = option(
        None,
        "imagenet, none, a weight file, or the folder of qiu2022's (default: imagenet in 2D, none "
        "in 3D)",
    )
    freeze_backbone: bool = option(
        False, "train the classifier only, on features that are computed once"
    )
    dropout: float = option(
        0.2, "dropout before the classifier", within=Range(0, 1, open_high=True)
    )
    pool: str = option(
        "mean",
        "2D: how a person's slices become one answer: their mean, the most demented one, or "
        "weights that are learnt",
        POOLS,
    )


@checked
@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained."""

    epochs: int = option(30, "passes over the training people", within=Range(1, 10_000))
    batch_size: int | None = option(
        None,
        "images per step (default: 32 in 2D, 4 in 3D)",
        within=Range(1, 4096),
        modes=(*TRAINING, "evaluate"),
    )
    lr: float | None = option(
        None,
        "peak learning rate (default: by what is trained, and logged)",
        within=Range(0, 10, open_low=True, open_high=True),
    )
    weight_decay: float = option(0.01, "AdamW's decoupled weight decay", within=Range(0))
    warmup_epochs: float = option(
        1.0, "epochs over which the learning rate rises from zero", within=Range(0)
    )
    patience: int = option(
        10,
        "stop after this many epochs without a better validation score; 0 never stops",
        within=Range(0),
    )
    grad_clip: float = option(1.0, "largest norm of the gradient", within=Range(0, open_low=True))
    class_weight_cap: float = option(
        10.0, "largest ratio between two class weights; 1 turns weighting off", within=Range(1)
    )
    augment: str = option(
        "mild",
        "how training images are varied: flipped left-right, rotated, shifted, scaled, intensity "
        "changed; scanner: also as by other scanners, with a bias field, gamma, noise, blur and "
        "thick slices",
        AUGMENTATIONS,
        switch=("none", "mild"),
    )
    loss: str | None = option(
        None,
        "cross-entropy, focal, or ordinal: one score with ordered thresholds "
        "(default: ordinal with --freeze_backbone, else ce)",
        LOSSES,
    )
    search: int | None = option(
        None,
        "train this many candidates, the settings as they are and drawn ones, and keep what "
        "validation people choose; learning rate, weight decay and dropout, or with "
        "--freeze_backbone the loss; and of several slices their mean or attention",
        within=Range(2, 1000),
    )
    calibration: str = option(
        "temperature",
        "how validation people turn scores into probabilities; vector needs 20 people a class",
        ("temperature", "vector", "none"),
    )
    allow_leaks: bool = option(
        False,
        "train although the audit of the split fails",
        modes=(*ON_IMAGES, "crossdata"),
    )
    precision: str = option(
        "auto", "fp32, bf16, or what the device does well", ("auto", "fp32", "bf16")
    )
    accumulate: int = option(
        1,
        "parts that each batch is computed in, for a batch that does not fit into memory",
        within=Range(1, 4096),
    )
    activation_checkpointing: bool = option(
        False,
        "3D: keep few activations and compute them again; saves under a tenth of the peak here "
        "(docs/performance.md)",
    )
    compile: bool = option(False, "compile the network with torch.compile; slow to start")
    resume: bool = option(
        False,
        "continue a stopped run, with the same result as if it had not stopped",
        modes=("train",),
    )
    tensorboard: bool = option(
        False,
        "train, evaluate: write TensorBoard logs to results/<run>/tensorboard",
        modes=("train", "evaluate"),
    )
    mlflow: str | None = option(
        None,
        "train, evaluate: MLflow tracking URI, such as sqlite:///mlflow.db or http://host:5000",
        modes=("train", "evaluate"),
    )
    tasks: str = option(
        "stage",
        "what one network learns together, joined by commas: any of stage, age, mmse, sex; where a "
        "value is missing, it is left out of the loss",
        modes=("train", "crossval"),
    )
    task_weights: str = option(
        LEARNT,
        "how much the losses beside the stage's weigh: learnt, or numbers, such as age=0.5,mmse=1",
        modes=("train", "crossval"),
    )
    seed: int = option(
        0, "seed of phantom, split and training", within=Range(0, 2**32 - 1), modes=EVERY
    )

    def __post_init__(self) -> None:
        tasks = read_tasks(self.tasks)
        object.__setattr__(self, "tasks", ",".join(tasks))
        read_task_weights(self.task_weights, tasks)
        require(
            self.task_weights == LEARNT or len(tasks) > 1,
            f"--task_weights weighs tasks against each other, and --tasks names {tasks[0]} alone",
        )
        require(
            self.learns_stage or self.search is None,
            f"--search chooses by the stage, which --tasks {self.tasks} leaves out",
        )
        require(
            not (self.compile and self.activation_checkpointing),
            "--compile does not go with --activation_checkpointing",
        )

    @property
    def beside(self) -> tuple[str, ...]:
        """The tasks beside the stage, in the order of `tasks.BESIDE`."""
        return tuple(name for name in read_tasks(self.tasks) if name != STAGE)

    @property
    def learns_stage(self) -> bool:
        """Whether the network learns the stage; else its head is fitted to finished features."""
        return STAGE in read_tasks(self.tasks)

    @property
    def weights_beside(self) -> dict[str, float] | None:
        """The weight of each of them; None where weights are learnt."""
        return read_task_weights(self.task_weights, read_tasks(self.tasks))

    @property
    def identity(self) -> dict[str, Any]:
        """Settings by name, as a kept training holds them; older versions told the same so."""
        kept = asdict(self)
        if self.augment != "scanner":  # it was on or off
            kept["augment"] = self.augment == "mild"
        return kept if self.beside else kept | NO_TASKS


def require_augment(augment: str, frozen: bool) -> None:
    """Refuse changes of images that a frozen backbone would never see.

    Its features are computed once, of images as they are. ``mild``, the default, asks for nothing.

    Raises:
        ConfigError: ``scanner`` was asked for.
    """
    if augment == "scanner" and frozen:
        raise ConfigError(
            "--augment scanner has no use with --freeze_backbone: features are computed once, of "
            "images as they are",
            hint="leave --augment out, or train the whole network: --no-freeze_backbone",
        )


def require_dim(model_dim: str) -> None:
    """Refuse a dimension that is neither ``2d`` nor ``3d``.

    Raises:
        ConfigError: It is neither.
    """
    if model_dim not in DEFAULT_BACKBONE:
        raise ConfigError(
            f"model_dim {model_dim!r} is neither '2d' nor '3d'",
            hint="model_dim='2d' for slices, model_dim='3d' for volumes",
        )
