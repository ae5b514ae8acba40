"""What training minimises and how: class weights, the loss, AdamW, the learning rate over a run.

Arrays: logits ``(B, K)``, labels ``(B,)``, class weights ``(K,)``. K classes are ordered, mildest
first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from ..config import TrainConfig

logger = logging.getLogger(__name__)
#: Peak learning rate by what is trained.
DEFAULT_LR = {"pretrained": 3e-4, "scratch": 5e-4}
#: Focusing parameter of the focal loss, as published.
FOCUS = 2.0
Loss = Callable[[Tensor, Tensor], Tensor]


def class_weights(counts: NDArray[np.int64], cap: float) -> NDArray[np.float64]:
    """Return a weight per class, inverse to its training count, mean 1 over the images.

    Args:
        counts: Training images of each class, mildest first.
        cap: Largest ratio between two weights, so that two people cannot weigh 50 times. A class
            without training images gets weight 0.

    Returns:
        ``(K,)`` weights.
    """
    present = counts > 0
    inverse = np.where(present, 1.0 / np.maximum(counts, 1), 0.0)
    inverse = np.minimum(inverse, cap * inverse[present].min())
    return np.asarray(inverse * counts.sum() / (inverse * counts).sum())


def make_optimizer(
    net: nn.Module, kind: str, config: TrainConfig, epochs: int, steps: int
) -> tuple[torch.optim.AdamW, LambdaLR]:
    """Return AdamW, and a schedule by step: linear warm-up, then half a cosine to zero.

    Norms and biases are not decayed.

    Args:
        net: Its parameters that require a gradient are trained.
        kind: A key of `DEFAULT_LR`.
        config: Learning rate, weight decay and warm-up.
        epochs: Length of the run.
        steps: Steps per epoch.
    """
    lr = config.lr or DEFAULT_LR[kind]
    logger.info("learning rate: %g (%s)", lr, "asked for" if config.lr else f"default for {kind}")
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=lr, fused=True)  # one pass over a weight, not ten
    warmup, total = config.warmup_epochs * steps, epochs * steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / max(total - warmup, 1), 1)))

    return optimizer, LambdaLR(optimizer, factor)


def make_loss(kind: str, weights: Tensor, reduction: str = "mean") -> Loss:
    """Return the class-weighted loss of a batch.

    Args:
        kind: ``"ce"``; ``"focal"`` (Lin et al. 2017, doi:10.1109/ICCV.2017.324), which turns down
            what is already right; ``"ordinal"``, the likelihood of an `OrdinalHead`.
        weights: Of the classes; a weight of zero leaves a class out.
        reduction: ``"mean"`` over the class weights in the batch, or ``"sum"``.

    Returns:
        Maps logits and labels to the weighted mean or sum.
    """
    if kind != "focal":
        return nn.CrossEntropyLoss(weights, reduction=reduction)

    def focal(logits: Tensor, labels: Tensor) -> Tensor:
        entropy = functional.cross_entropy(logits, labels, reduction="none")
        weight = weights[labels]
        total = (weight * (1 - torch.exp(-entropy)) ** FOCUS * entropy).sum()
        if reduction == "sum":
            return total
        return total / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)

    return focal
