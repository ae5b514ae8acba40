"""A network that learns other tasks and not the stage, such as a brain-age regression.

Validation people choose its epoch by its own tasks. The stage's head is fitted afterwards, to
features that the stage has not taught, so its score tells whether age tells the stage.

Arrays: features ``(n, F)`` of n images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.dataset import MriDataset
from ..errors import ManifestError
from ..models.classifier import Classifier
from ..models.task_values import SEX
from .frozen_head import fit_head, people_of
from .logits import predict
from .task_answers import TaskSight, people_targets


def require_judges(val: MriDataset, names: tuple[str, ...]) -> None:
    """Refuse validation people who cannot choose an epoch: none has an answer to a task.

    Raises:
        ManifestError: With the task.
    """
    known = np.isfinite(people_targets(val, names))
    for place, name in enumerate(names):
        if not known[:, place].any():
            raise ManifestError(
                f"--tasks {name}: no validation person has a known {name}, in {val.manifest.root}, "
                "and without the stage these choose the epoch",
                hint=f"--tasks stage,{','.join(names)}, or fill the column {name} of the cohort's "
                "table and preprocess again",
            )


def validation_loss(
    model: Classifier, val: MriDataset, device: torch.device, weights: Mapping[str, float] | None
) -> float:
    """Return the weighted sum of the tasks' mean losses of validation people.

    Args:
        model: With heads beside the stage's, on `device`.
        val: Validation people, some of whom have an answer to each task.
        device: Where the model is.
        weights: Of the tasks; None, where they are learnt, counts each once: what is learnt on
            training people must not change how epochs are told apart.

    Returns:
        Of age and MMSE half the squared error in standard deviations of training people, of sex
        the log-loss: what `TaskStep` makes small, of people instead of images.
    """
    assert model.task_heads is not None
    sight = TaskSight(model)
    predict(model, val, device, sight.add)
    said = sight.values.per_person(val.subjects)
    truth, scale = people_targets(val, said.names), model.task_heads.scale.tolist()
    total = 0.0
    for place, name in enumerate(said.names):
        own, true = said.values[:, place], truth[:, place]
        if name == SEX:
            losses = np.logaddexp(0, np.where(true > 0.5, -own, own))
        else:
            losses = ((own - true) / scale[place]) ** 2 / 2
        total += (weights or {}).get(name, 1.0) * float(losses[np.isfinite(true)].mean())
    return total


def fit_stage_head(
    model: Classifier, train: MriDataset, device: torch.device, *, loss: str, cap: float, seed: int
) -> None:
    """Fit the stage's head to features as they are, as that of a frozen backbone is fitted.

    Validation people have no part in it: they calibrate what it says.

    Args:
        model: On `device`; only its head changes.
        train: Rated training people.
        device: Where the model is.
        loss: ``ce``, ``focal`` or ``ordinal``.
        cap: Largest ratio of two class weights.
        seed: Of the inner folds that choose the penalty.

    Raises:
        ConfigError: There are under four people, or under two classes.
    """
    parts: list[NDArray[np.float32]] = []
    predict(model, train, device, parts.append)
    people = people_of([train], np.concatenate(parts), model.pooling)
    fit_head(model, people, loss=loss, cap=cap, seed=seed)
