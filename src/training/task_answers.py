"""What the heads beside the stage's say of people, and the line that corrects a brain-age gap.

Arrays: features ``(n, F)`` of n images; values ``(n, T)`` of T tasks.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.dataset import MriDataset
from ..data.task_data import targets_of
from ..errors import CheckpointError, counted
from ..models.classifier import Classifier
from ..models.task_values import SEX, Floats, TaskValues, gap_line, person_means
from .logits import predict

logger = logging.getLogger(__name__)
_LINE = "more_heads.line"
_UNITS = {"age": " years", "mmse": " points"}


class TaskSight:
    """Answers the tasks of images, batch by batch, in the order in which features come.

    Args:
        model: With heads beside the stage's, in evaluation mode.
    """

    def __init__(self, model: Classifier) -> None:
        assert model.task_heads is not None
        self.model, self.heads = model, model.task_heads
        self._parts: list[Floats] = []

    @torch.no_grad()
    def add(self, features: NDArray[np.float32]) -> None:
        """Take the features ``(B, F)`` of the next images."""
        place = self.heads.centre
        said = self.model.answer_tasks(torch.from_numpy(features).to(place.device, place.dtype))
        self._parts.append(said.cpu().double().numpy())

    @property
    def values(self) -> TaskValues:
        """What was said of all images so far.

        Raises:
            CheckpointError: A value is not finite: the weights have diverged.
        """
        values = np.concatenate(self._parts)
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"the model's {' or '.join(self.heads.names)} is not finite for some images",
                hint="train again with a lower --lr, or --precision fp32",
            )
        line = self.heads.gap_line or (np.nan, np.nan)
        return TaskValues(self.heads.names, values, np.tile(line, (len(values), 1)))


def task_values(model: Classifier, features: NDArray[np.float32]) -> TaskValues | None:
    """Return what a model says of images by their features; None where it knows the stage alone."""
    if model.task_heads is None:
        return None
    sight = TaskSight(model.eval())
    sight.add(features)
    return sight.values


def fit_gap_line(model: Classifier, val: MriDataset, device: torch.device) -> None:
    """Let validation people say how the gap goes with age, and tell how far answers are off.

    Args:
        model: With heads beside the stage's, on `device`; it keeps the line.
        val: Validation people.
        device: Where the model is.
    """
    sight = TaskSight(model)
    predict(model, val, device, sight.add)
    said = sight.values.per_person(val.subjects)
    keep_gap_line(model, said, people_targets(val, said.names))


def people_targets(data: MriDataset, names: tuple[str, ...]) -> Floats:
    """Return the answers ``(P, T)`` of people, in order of first appearance: means over images."""
    return person_means(targets_of(data.rows, names), data.subjects)


def keep_gap_line(model: Classifier, said: TaskValues, truth: Floats) -> None:
    """Fit the line of the brain-age gap and keep it in the model; log errors of validation people.

    Args:
        model: With heads beside the stage's.
        said: Of people who did not train the heads.
        truth: ``(P, T)`` their answers, NaN where not known.
    """
    assert model.task_heads is not None
    for place, name in enumerate(said.names):
        known = np.isfinite(truth[:, place])
        if name == SEX or not known.any():
            continue
        off = np.abs(said.column(name) - truth[:, place])[known].mean()
        people = counted(int(known.sum()), "validation person")
        logger.info("%s: off by %.2f%s on average, of %s", name, off, _UNITS[name], people)
        if name == "age":
            line = gap_line(truth[:, place], said.column(name))
            model.task_heads.keep_line(line, int(known.sum()))
            if line is None:
                logger.info("too few of them for the line that corrects a brain-age gap")


def line_state(model: Classifier) -> dict[str, Tensor]:
    """Return the part of a model's state dict that holds its line; empty without such heads."""
    kept = {name: value for name, value in model.state_dict().items() if name == _LINE}
    return {name: value.detach().cpu().clone() for name, value in kept.items()}
