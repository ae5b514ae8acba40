"""Settings of the network and its training."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from .options import checked, option, require

BACKBONES = {
    "2d": (
        "resnet18",
        "resnet50",
        "efficientnet_b0",
        "densenet121",
        "efficientnet_lite0",
    ),
    "3d": (
        "simple",
        "resnet",
        "resnet_small",
    ),
}
DEFAULT_BACKBONE = {"2d": "efficientnet_lite0", "3d": "simple"}
LOSSES = ("ce", "focal", "ordinal")
DEFAULT_BATCH_SIZE = {"2d": 32, "3d": 4}


@checked
@dataclass(frozen=True)
class ModelConfig:
    """Which network, from which weights."""

    backbone: str | None = option(
        None,
        f"2D: {', '.join(BACKBONES['2d'])}; 3D: {', '.join(BACKBONES['3d'])}; or a network of "
        "your own, package.module:function, which is called with num_classes "
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
        require(0 <= self.dropout < 1, f"--dropout {self.dropout:g} is not in 0 to 1")


@checked
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
    tensorboard: bool = option(
        False, "train, evaluate: write TensorBoard logs to results/<run>/tensorboard"
    )
    mlflow: str | None = option(
        None,
        "train, evaluate: MLflow tracking URI, such as sqlite:///mlflow.db or http://host:5000",
    )
    seed: int = option(0, "seed of phantom, split and training")

    def __post_init__(self) -> None:
        require(1 <= self.epochs <= 10_000, f"--epochs {self.epochs} is not in 1 to 10000")
        require(
            self.batch_size is None or 1 <= self.batch_size <= 4096,
            f"--batch_size {self.batch_size} is not in 1 to 4096",
        )
        require(
            not (self.compile and self.activation_checkpointing),
            "--compile does not go with --activation_checkpointing",
        )
        require(1 <= self.accumulate <= 4096, f"--accumulate {self.accumulate} is not in 1 to 4096")
        require(self.lr is None or 0 < self.lr < 10, f"--lr {self.lr} is not between 0 and 10")
        require(self.weight_decay >= 0, f"--weight_decay {self.weight_decay:g} is negative")
        require(self.warmup_epochs >= 0, f"--warmup_epochs {self.warmup_epochs:g} is negative")
        require(self.patience >= 0, f"--patience {self.patience} is negative")
        require(self.grad_clip > 0, f"--grad_clip {self.grad_clip:g} is not positive")
        require(
            self.class_weight_cap >= 1, f"--class_weight_cap {self.class_weight_cap:g} is under 1"
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
