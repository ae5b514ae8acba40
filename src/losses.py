"""What training minimises, and the ordinal head.

Arrays: logits ``(B, K)``, labels ``(B,)``, class weights ``(K,)``, embeddings ``(B, F)``. K classes
are ordered, mildest first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Focusing parameter of the focal loss, as published.
FOCUS = 2.0
Loss = Callable[[Tensor, Tensor], Tensor]


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
