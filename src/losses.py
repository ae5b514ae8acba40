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
