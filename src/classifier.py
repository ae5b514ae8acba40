"""One shape of network for every backbone: normalise, features, pool, dropout, head.

Arrays: images ``(B, 1, H, W)`` or volumes ``(B, 1, X, Y, Z)``, uint8 in [0, 255] or floating point
in [0, 1]; feature maps ``(B, F, ...)``; embeddings ``(B, F)``; logits ``(B, K)``, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from .calibration import Calibration
from .conformal import Conformal
from .errors import ConfigError, require_kind
from .losses import OrdinalHead
from .predictions import Predictions
from .registry import Registry
from .weights import Rename, load_features, load_weight_file

Dim = Literal["2d", "3d"]
Build = Callable[[], tuple[nn.Module, int]]
B = TypeVar("B", bound=Build)
_AXES = {"2d": "(B, 1, H, W)", "3d": "(B, 1, X, Y, Z)"}

logger = logging.getLogger(__name__)


class Normalise(nn.Module):
    """Grey values to the range a backbone was trained on; refuses input of another kind.

    Args:
        dim: ``"2d"`` or ``"3d"``.
        mean: Subtracted, for grey values in [0, 1].
        std: Divided by.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: Dim, mean: float, std: float) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` as floating point, (grey - mean) / std.

        Raises:
            ConfigError: `x` has other axes, more than one channel, or another kind of number.
        """
        axes = _AXES[self.dim]
        if x.ndim != axes.count(",") + 1 or x.shape[1] != 1:
            raise ConfigError(
                f"this {self.dim} model takes {axes}, got {tuple(x.shape)}",
                hint="give one grey channel; --dim and --backbone must agree",
            )
        if not (x.is_floating_point() or x.dtype == torch.uint8):
            raise ConfigError(f"expected uint8 or floating-point grey values, got {x.dtype}")
        scale = 255.0 if x.dtype == torch.uint8 else 1.0
        return (x.to(self.mean.dtype) - self.mean * scale) / (self.std * scale)


class GlobalAverage(nn.Module):
    """Mean over all places of a map: ``(B, F, ...)`` to ``(B, F)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over every axis after the second."""
        return x.flatten(2).mean(dim=2)


class GlobalMeanAndMax(nn.Module):
    """Mean and largest value over all places of a map: ``(B, F, ...)`` to ``(B, 2 F)``.

    A volume's map has hundreds of places and a lesion shows in few of them. The maximum carries its
    gradient to those: on phantoms of 64 voxels an edge, networks with the mean alone were at chance
    for ten epochs, with both for three.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean, then the maximum, over every axis after the second."""
        flat = x.flatten(2)
        return torch.cat([flat.mean(dim=2), flat.amax(dim=2)], dim=1)


class Classifier(nn.Module):
    """A backbone with a linear or an ordinal head.

    Args:
        entry: The backbone.
        num_classes: Outputs of the head, at least 2.
        dropout: Share of the embedding that is dropped while training.
        ordinal: One score with ordered thresholds instead of a score per class.

    Attributes:
        backbone: Registered name.
        dim: ``"2d"`` or ``"3d"``.
        num_classes: Outputs of the head.
        frozen: Whether only the head trains.
        pretrained: Whether weights were loaded, so that training is fine-tuning.
        calibration: How logits become probabilities; fitted on validation people by training.
        conformal: Validation people's scores behind prediction sets; None before training.
    """

    calibration: Calibration | None = None
    conformal: Conformal | None = None

    def __init__(
        self, entry: ModelEntry, num_classes: int, dropout: float = 0.2, *, ordinal: bool = False
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"a classifier needs 2 classes or more, not {num_classes}")
        self.backbone, self.dim, self.num_classes = entry.name, entry.dim, num_classes
        self.frozen = self.pretrained = False
        self.normalise = Normalise(entry.dim, entry.mean, entry.std)
        self.features, width = entry.build()
        self.pool = GlobalAverage() if entry.dim == "2d" else GlobalMeanAndMax()
        self.dropout = nn.Dropout(dropout)
        width = width if entry.dim == "2d" else 2 * width
        self.head: nn.Module = (
            OrdinalHead(width, num_classes) if ordinal else _linear_head(width, num_classes)
        )

    @property
    def ordinal(self) -> bool:
        """Whether the head is an `OrdinalHead`."""
        return isinstance(self.head, OrdinalHead)

    def embed(self, x: Tensor) -> Tensor:
        """Return the pooled features ``(B, F)`` of images or volumes."""
        pooled: Tensor = self.pool(self.features(self.normalise(x)))
        return pooled

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits ``(B, K)`` of embeddings ``(B, F)``."""
        logits: Tensor = self.head(self.dropout(embedding))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(B, K)`` of images or volumes."""
        return self.classify(self.embed(x))

    def calibrated(self, people: Predictions) -> Predictions:
        """Return answers with the probabilities that validation people taught, if any did."""
        return self.calibration.apply(people) if self.calibration else people

    def freeze_backbone(self) -> None:
        """Train the head only; the features keep their weights and their running statistics."""
        self.frozen = True
        self.features.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Classifier:
        """Set the training mode; frozen features stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self


def _linear_head(width: int, num_classes: int) -> nn.Linear:
    """Small and unbiased: training starts from equal probabilities, whatever the features."""
    head = nn.Linear(width, num_classes)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head


def require_classifier(model: Any, call: str) -> None:
    """Refuse what is no model of this project, such as the name of one.

    Args:
        model: What was given.
        call: Who takes it: ``"Trainer"``.

    Raises:
        ConfigError: With how to make one.
    """
    hint = "model = create_model(model_dim='2d')"
    if isinstance(model, str) and model in MODEL_REGISTRY:
        hint = f"create_model(model_dim={MODEL_REGISTRY.get(model).dim!r}, backbone={model!r})"
    wanted = "a model that create_model made"
    require_kind(f"{call}(model=...)", model, Classifier, wanted, hint)


@dataclass(frozen=True)
class ModelEntry:
    """A registered backbone and what it expects.

    Attributes:
        name: Name on the command line.
        dim: ``"2d"`` or ``"3d"``.
        build: Returns the features, whose output is the last spatial map, and its channels.
        input_size: Edge it was made for, in pixels or voxels; other sizes work.
        mean: Of grey values in [0, 1].
        std: Of grey values in [0, 1].
        cam_layer: Dotted name, in a `Classifier`, of the layer that Grad-CAM explains.
        fine_layers: Layers whose maps are fused where a method weighs every place by itself;
            empty takes `cam_layer`.
        imagenet_file: Returns the local file of its ImageNet weights, fetched on first use.
        rename: Reads a state dict of the published network.
    """

    name: str
    dim: Dim
    build: Build
    input_size: int
    mean: float
    std: float
    cam_layer: str
    fine_layers: tuple[str, ...] = ()
    imagenet_file: Callable[[], Path] | None = None
    rename: Rename | None = None


MODEL_REGISTRY: Registry[ModelEntry] = Registry("backbone")


def register_model(
    name: str,
    dim: Dim,
    *,
    input_size: int,
    mean: float,
    std: float,
    cam_layer: str,
    fine_layers: tuple[str, ...] = (),
    imagenet_file: Callable[[], Path] | None = None,
    rename: Rename | None = None,
) -> Callable[[B], B]:
    """Return a decorator that registers a function ``() -> (features, channels)`` as a backbone.

    Args: as the attributes of `ModelEntry`.
    """

    def register(build: B) -> B:
        MODEL_REGISTRY.add(
            name,
            ModelEntry(
                *(name, dim, build, input_size, mean, std, cam_layer, fine_layers),
                *(imagenet_file, rename),
            ),
        )
        return build

    return register


def build_classifier(
    entry: ModelEntry,
    num_classes: int,
    *,
    weights: str | None = None,
    dropout: float = 0.2,
    freeze_backbone: bool = False,
    ordinal: bool = False,
) -> Classifier:
    """Build a backbone with a fresh head, load its weights and log what was built.

    Args:
        entry: From `MODEL_REGISTRY`.
        num_classes: Outputs of the head.
        weights: ``"imagenet"``, ``"none"`` or the path of a weight file; None takes ImageNet
            weights where there are any.
        dropout: Share of the embedding that is dropped while training.
        freeze_backbone: Train the head only.
        ordinal: Give it an `OrdinalHead`.

    Returns:
        The model, on the CPU, in training mode.

    Raises:
        ConfigError: ImageNet weights are asked for where there are none.
        CheckpointError: The weights cannot be had, or do not fit.
    """
    model = Classifier(entry, num_classes, dropout, ordinal=ordinal)
    origin = load_initial_weights(model, entry, weights)
    model.pretrained = not origin.startswith("none")
    if freeze_backbone:
        model.freeze_backbone()
    count = sum(parameter.numel() for parameter in model.parameters())
    logger.info(
        "backbone: %s, %s, %.1f M parameters%s; weights: %s",
        *(entry.name, entry.dim, count / 1e6, " (head only is trained)" * freeze_backbone, origin),
    )
    return model


def load_initial_weights(model: Classifier, entry: ModelEntry, weights: str | None) -> str:
    """Load what `weights` names, as for `build_classifier`, and return what that was."""
    if weights is None and entry.imagenet_file is None:
        return f"none, trained from scratch: there are no ImageNet weights of {entry.name}"
    if weights == "none":
        return "none, trained from scratch as asked"
    if weights not in (None, "imagenet"):
        return load_weight_file(model, Path(str(weights)), entry.rename)
    if entry.imagenet_file is None or entry.rename is None:
        raise ConfigError(
            f"--weights imagenet: there are none of {entry.name} ({entry.dim})",
            hint="--weights none, or the path of a checkpoint",
        )
    path = entry.imagenet_file()
    load_features(model.features, path, entry.rename)
    return f"imagenet ({path.name})"
