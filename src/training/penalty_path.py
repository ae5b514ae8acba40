"""Linear heads of fixed features, from the strongest penalty of their weights to weaker ones.

Arrays: features ``(P, F)`` of P people; K classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..models.classifier import OrdinalHead
from .optimisation import make_loss

#: Penalties of the squared weights, strongest first, for features whose rows have mean length 1.
STRENGTHS = tuple(float(value) for value in 10.0 ** np.arange(0.5, -4.1, -0.5))
INNER_FOLDS = 5


def inner_folds(
    labels: NDArray[np.int64], seed: int
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (fit, left out): stratified; classes with fewer people than folds are dealt out."""
    order = np.random.default_rng(seed).permutation(len(labels))
    count = min(INNER_FOLDS, len(labels) // 2)
    part = np.empty(len(labels), dtype=np.int64)
    part[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % count
    for fold in range(count):
        yield np.flatnonzero(part != fold), np.flatnonzero(part == fold)


class PenaltyPath:
    """Heads of one set of people, from the strongest penalty to weaker ones.

    With fewer people than features the weights lie in the span of the people, so the problem is
    rotated to as many dimensions as there are people: the same solution, a tenth of the work.
    """

    def __init__(
        self,
        features: NDArray[np.float64],
        labels: NDArray[np.int64],
        weights: NDArray[np.float64],
        loss: str,
    ) -> None:
        self.centre = features.mean(axis=0)
        centred = features - self.centre
        self.length = max(float(np.sqrt((centred**2).sum(axis=1).mean())), 1e-12)
        left, values, self.rotation = np.linalg.svd(centred / self.length, full_matrices=False)
        self.rows = torch.tensor(left * values)
        self.labels, self.k, self.ordinal = torch.tensor(labels), len(weights), loss == "ordinal"
        self.loss_of = make_loss(loss, torch.tensor(weights))

    def heads(self, strengths: Iterable[float] = STRENGTHS) -> Iterable[nn.Module]:
        """Yield the head of each strength, for features as they are; each starts from the last."""
        width = self.rows.shape[1]
        head: nn.Module = OrdinalHead(width, self.k) if self.ordinal else nn.Linear(width, self.k)
        head = head.double()
        matrix = head.get_parameter("score.weight" if self.ordinal else "weight")
        for parameter in [matrix] if self.ordinal else list(head.parameters()):
            nn.init.zeros_(parameter)
        for strength in strengths:
            self._minimise(head, matrix, strength)
            yield self._unrotated(head)

    def _minimise(self, head: nn.Module, matrix: Tensor, strength: float) -> None:
        solver = torch.optim.LBFGS(
            head.parameters(), max_iter=200, tolerance_grad=1e-6, tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def objective() -> Tensor:
            solver.zero_grad()
            value = (
                self.loss_of(head(self.rows), self.labels) + strength / 2 * matrix.square().sum()
            )
            value.backward()  # type: ignore[no-untyped-call]
            return value

        solver.step(objective)  # type: ignore[no-untyped-call]

    def _unrotated(self, head: nn.Module) -> nn.Module:
        """Return the head for features that are neither centred, scaled nor rotated."""
        turn = torch.tensor(self.rotation / self.length)
        shift = turn @ torch.tensor(self.centre)
        width = len(self.centre)
        with torch.no_grad():
            if isinstance(head, OrdinalHead):
                whole: nn.Module = OrdinalHead(width, self.k).double()
                whole.load_state_dict(
                    {
                        "score.weight": head.score.weight @ turn,
                        # score' = score + w.shift, so the thresholds move with it.
                        "first": head.first + head.score.weight @ shift,
                        "gaps": head.gaps,
                    }
                )
                return whole
            assert isinstance(head, nn.Linear)
            whole = nn.Linear(width, self.k).double()
            whole.load_state_dict(
                {"weight": head.weight @ turn, "bias": head.bias - head.weight @ shift}
            )
            return whole
