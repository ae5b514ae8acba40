"""Heads beside the stage's: one linear layer a task, on the same features.

Arrays: embeddings ``(B, F)``; outputs ``(B, T)`` of T tasks, in the order of their names: age and
MMSE in standard deviations of training people around their mean, sex as log-odds of M.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..config.tasks import BESIDE
from .task_values import SEX, Line


class TaskHeads(nn.Module):
    """A linear head for each task beside the stage.

    They begin at zero, which says the mean of training people of everyone, and draw no random
    numbers: what the stage's head and its training draw is the same with and without them.

    Args:
        names: Of the tasks, of `BESIDE`.
        width: F.

    Attributes:
        centre: (T,) mean of training people: years, points; 0 of sex.
        scale: (T,) their standard deviation; 1 of sex.
        log_variances: (1 + T,) of the stage, then of each task: how uncertain each answer is. A
            loss weighs exp(-log_variance).
        line: Intercept, slope and people of the gap by age (`gap_line`); no people: none.
    """

    centre: Tensor
    scale: Tensor
    line: Tensor

    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(name for name in BESIDE if name in names)
        with torch.random.fork_rng(devices=[]):
            self.heads = nn.ModuleDict({name: nn.Linear(width, 1) for name in self.names})
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)
        self.log_variances = nn.Parameter(torch.zeros(1 + len(self.names)))
        self.register_buffer("centre", torch.zeros(len(self.names)))
        self.register_buffer("scale", torch.ones(len(self.names)))
        self.register_buffer("line", torch.zeros(3))

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the outputs ``(B, T)`` of embeddings ``(B, F)``."""
        return torch.cat([self.heads[name](embedding) for name in self.names], dim=1)

    def answer(self, embedding: Tensor) -> Tensor:
        """Return ``(B, T)`` years, points, and log-odds of M."""
        said: Tensor = self(embedding)
        return said.float() * self.scale + self.centre

    @property
    def gap_line(self) -> Line | None:
        """The line through the brain-age gap of validation people, if one was fitted."""
        intercept, slope, people = self.line.tolist()
        return (intercept, slope) if people else None

    @torch.no_grad()
    def centre_on(self, targets: Tensor) -> None:
        """Take mean and standard deviation of training people.

        Args:
            targets: ``(n, T)`` years, points, and 0 F, 1 M; NaN where not known.
        """
        for place, name in enumerate(self.names):
            known = targets[:, place][targets[:, place].isfinite()].double()
            if name == SEX:
                continue
            spread = float(known.std(correction=0))
            self.centre[place] = float(known.mean())
            self.scale[place] = spread if spread > 0 else 1.0

    @torch.no_grad()
    def keep_line(self, line: Line | None, people: int) -> None:
        """Keep the line through the gap of so many validation people; None keeps none."""
        self.line.copy_(self.line.new_tensor([*(line or (0.0, 0.0)), people if line else 0]))
