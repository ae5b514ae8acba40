"""One shape of network for every backbone: normalise, features, pool, dropout, head.

Arrays: images ``(B, 1, H, W)`` or volumes ``(B, 1, X, Y, Z)``, uint8 in [0, 255] or floating point
in [0, 1]; feature maps ``(B, F, ...)``; embeddings ``(B, F)``; logits ``(B, K)``, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ConfigError
from ..predictions import Predictions
from .calibration import Calibration
from .conformal import Conformal
from .pooling import Bags, GatedAttention, pooled
from .registry import Dim, ModelEntry
from .task_heads import TaskHeads
from .weight_card import WeightCard, card_of_checkpoint, joined

_AXES = {"2d": "(B, {}, H, W)", "3d": "(B, {}, X, Y, Z)"}


class OrdinalHead(nn.Module):
    """One score, K - 1 ordered thresholds: embeddings ``(B, F)`` to log-probabilities ``(B, K)``.

    Cumulative link model: P(y <= k) = sigmoid(threshold_k - score). Its output are logarithms of
    probabilities, so softmax gives these back, and cross-entropy on them is its likelihood. A
    stage further is always further along the one score, which a linear head need not learn.

    Source: McCullagh (1980), doi:10.1111/j.2517-6161.1980.tb01109.x.

    Args:
        width: F.
        num_classes: K, at least 2.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.normal_(self.score.weight, std=0.01)
        # Equal probabilities at a score of zero: thresholds at the logits of 1/K, 2/K, ...
        cumulative = torch.arange(1, num_classes) / num_classes
        start = torch.logit(cumulative)
        self.first = nn.Parameter(start[:1].clone())
        # softplus keeps the gaps positive, so the thresholds stay in order.
        self.gaps = nn.Parameter(torch.log(torch.expm1(start.diff())))

    def thresholds(self) -> Tensor:
        """Return the ``(K - 1,)`` increasing thresholds."""
        steps = torch.cat([self.first, functional.softplus(self.gaps)])
        return steps.cumsum(0)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the log-probabilities ``(B, K)``."""
        above = self.thresholds() - self.score(embedding)  # logit of P(y <= k), (B, K - 1)
        upper, lower = above[:, 1:], above[:, :-1]
        # log(sigmoid(u) - sigmoid(l)) without cancellation, for u > l.
        gap = torch.log(-torch.expm1(lower - upper))
        middle = functional.logsigmoid(upper) + functional.logsigmoid(-lower) + gap
        ends = functional.logsigmoid(above[:, :1]), functional.logsigmoid(-above[:, -1:])
        return torch.cat([ends[0], middle, ends[1]], dim=1)


class Normalise(nn.Module):
    """Grey values to the range a backbone was trained on; refuses input of another kind.

    Args:
        dim: ``"2d"`` or ``"3d"``.
        mean: Subtracted, for grey values in [0, 1]; of each channel, where a backbone takes
            several: a grey image is then shown in all of them.
        std: Divided by, in the same way.
        size: Edges that images are resized to; empty leaves them as they come.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dim: Dim,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        size: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.dim, self.size = dim, tuple(size)
        self.channels = len(mean) if isinstance(mean, Sequence) else 1
        for name, value in (("mean", mean), ("std", std)):
            # (C, 1, 1) or (C, 1, 1, 1) of several channels, else one number
            shape = (len(value), *[1] * int(dim[0])) if isinstance(value, Sequence) else ()
            self.register_buffer(name, torch.tensor(value).reshape(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` as floating point, (grey - mean) / std.

        Raises:
            ConfigError: `x` has other axes, more channels, or another kind of number.
        """
        axes = _AXES[self.dim].format(1)
        if x.ndim != axes.count(",") + 1 or x.shape[1] not in (1, self.channels):
            several = f", or {_AXES[self.dim].format(self.channels)}" * (self.channels > 1)
            raise ConfigError(
                f"this {self.dim} model takes {axes}{several}, got {tuple(x.shape)}",
                hint="give one grey channel; --dim and --backbone must agree",
            )
        if not (x.is_floating_point() or x.dtype == torch.uint8):
            raise ConfigError(f"expected uint8 or floating-point grey values, got {x.dtype}")
        scale = 255.0 if x.dtype == torch.uint8 else 1.0
        x = x.to(self.mean.dtype)
        if self.size and tuple(x.shape[2:]) != self.size:
            mode = "bilinear" if self.dim == "2d" else "trilinear"
            x = functional.interpolate(x, self.size, mode=mode, antialias=self.dim == "2d")
        return (x - self.mean * scale) / (self.std * scale)


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


@dataclass(frozen=True)
class Origin:
    """The checkpoint that a model was saved to or loaded from.

    Attributes:
        path: Its file.
        content: What it holds beside weights (`models.checkpoint`).
    """

    path: Path
    content: dict[str, Any]


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
        width: Features of an image.
        pretrained: Whether weights were loaded, so that training is fine-tuning.
        cam_layer: Dotted name of the layer that Grad-CAM explains; None where no layer gives a map.
        pooling: How a person's slices become one answer: ``"mean"``, ``"max"``, ``"attention"``.
        attention: What scores slices for the last of these, else None.
        fine_layers: Layers whose maps are fused where a method weighs every place by itself.
        network: How a network of the user's own is wrapped again (`src.models.wrap`); None of a
            registered backbone.
        origin: The checkpoint that it was saved to or loaded from; None of a model without.
        learnt_from: Whom its first weights had seen; None where that is not known.
        calibration: How logits become probabilities; fitted on validation people by training.
        conformal: Validation people's scores behind prediction sets; None before training.
    """

    calibration: Calibration | None = None
    conformal: Conformal | None = None
    network: dict[str, Any] | None = None
    origin: Origin | None = None
    learnt_from: WeightCard | None = None
    cam_layer: str | None
    pool: nn.Module
    pooling: str = "mean"
    more_heads: TaskHeads

    def __init__(
        self, entry: ModelEntry, num_classes: int, dropout: float = 0.2, *, ordinal: bool = False
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"a classifier needs 2 classes or more, not {num_classes}")
        self.backbone, self.dim, self.num_classes = entry.name, entry.dim, num_classes
        self.frozen = self.pretrained = False
        self.cam_layer, self.fine_layers = entry.cam_layer, entry.fine_layers
        self.normalise = Normalise(entry.dim, entry.mean, entry.std)
        self._declared = torch.tensor([entry.mean, entry.std])
        self.features, width = entry.build()
        usual, features = (GlobalAverage, 1) if entry.dim == "2d" else (GlobalMeanAndMax, 2)
        self.pool = (entry.pool or usual)()
        self.dropout = nn.Dropout(dropout)
        self.width = width = width * (entry.per_channel if entry.pool else features)
        self.head: nn.Module = (
            OrdinalHead(width, num_classes) if ordinal else _linear_head(width, num_classes)
        )
        self.attention: GatedAttention | None = None

    @property
    def ordinal(self) -> bool:
        """Whether the head is an `OrdinalHead`."""
        return isinstance(self.head, OrdinalHead)

    def made_of(self) -> Iterator[bytes]:
        """Yield what features depend on beside weights: grey values, if others than declared."""
        now = torch.stack([self.normalise.mean, self.normalise.std]).detach().float().cpu()
        if not torch.equal(now, self._declared):
            yield now.numpy().tobytes()

    def embed(self, x: Tensor) -> Tensor:
        """Return the pooled features ``(B, F)`` of images or volumes."""
        pooled: Tensor = self.pool(self.features(self.normalise(x)))
        return pooled

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits ``(B, K)`` of embeddings ``(B, F)``."""
        logits: Tensor = self.head(self.dropout(embedding))
        return logits

    def forward(self, x: Tensor, bags: Bags | None = None) -> Tensor:
        """Return the logits ``(B, K)`` of images or volumes; of bags of slices, ``(G, K)``."""
        embedding = self.embed(x)
        logits = self.classify(embedding)
        if bags is None:
            return logits
        scores = self.attention(embedding, bags.place) if self.attention is not None else None
        return pooled(logits, scores, bags)

    def pool_slices(self, pool: str) -> None:
        """Let a person's slices become one answer by `pool`, one of `config.training.POOLS`."""
        first = next(self.head.parameters())
        self.pooling = pool
        self.attention = None
        if pool == "attention":
            self.attention = GatedAttention(self.width).to(first.device)

    def with_scores(self, logits: Tensor, embedding: Tensor, place: Tensor) -> Tensor:
        """Return logits ``(B, K)`` with the scores of the slices as one more column, if any.

        Args:
            logits: Of `embedding`.
            embedding: ``(B, F)``.
            place: ``(B,)`` of the slices in their scans, 0 to 1.
        """
        if self.attention is None:
            return logits
        weight = self.attention.score.weight
        score = self.attention(embedding.to(weight.dtype), place.to(weight.device))
        return torch.cat([logits, score[:, None].to(logits.dtype)], dim=1)

    @property
    def task_heads(self) -> TaskHeads | None:
        """The heads of tasks beside the stage, if it has any."""
        return getattr(self, "more_heads", None)

    def add_tasks(self, names: Sequence[str]) -> TaskHeads:
        """Give it fresh heads beside the stage's, in place of any that it has."""
        self.more_heads = TaskHeads(names, self.width).to(next(self.parameters()).device)
        return self.more_heads

    def answer_tasks(self, embedding: Tensor) -> Tensor:
        """Return age [years], MMSE [points] and log-odds of M, ``(B, T)``, of its tasks' heads.

        Raises:
            ConfigError: It has none.
        """
        if self.task_heads is None:
            raise ConfigError(
                "this model knows the stage alone", hint="train with --tasks stage,age"
            )
        return self.task_heads.answer(embedding)

    def calibrated(self, people: Predictions) -> Predictions:
        """Return answers with the probabilities that validation people taught, if any did."""
        return self.calibration.apply(people) if self.calibration else people

    def _repr_html_(self) -> str:
        """Show what the model is, in a notebook."""
        content = self.origin.content if self.origin else {}
        counts = content.get("train_counts")
        classes = content.get("classes") or [f"{self.num_classes} classes"]
        rows = {
            "backbone": f"{self.backbone}, {self.dim}",
            "parameters": f"{sum(one.numel() for one in self.parameters()):,}",
            "classes": ", ".join(classes),
            "trained on": content.get("dataset", "not known here"),
            "people of each class": ", ".join(map(str, counts)) if counts else "not known here",
            "probabilities": self.calibration.method if self.calibration else "not calibrated",
            "prediction sets": "yes" if self.conformal else "no",
            "checkpoint": str(self.origin.path) if self.origin else "none",
        }
        cells = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
        return f"<table>{''.join(cells)}</table>"

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


def card_of(model: Classifier) -> WeightCard | None:
    """Return whom a model has seen so far, for a training that starts from it; None of nobody.

    The head that is fitted to a frozen backbone is always fitted anew, so the people whom the one
    before was fitted to do not count.
    """
    content = model.origin.content if model.origin else None
    if content is None or (model.frozen and content["epoch"] == 0):
        return model.learnt_from
    card = card_of_checkpoint(content)
    return card if model.learnt_from is None else joined(card, model.learnt_from)


def _linear_head(width: int, num_classes: int) -> nn.Linear:
    """Small and unbiased: training starts from equal probabilities, whatever the features."""
    head = nn.Linear(width, num_classes)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head
