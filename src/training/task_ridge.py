"""Heads beside the stage's for a frozen backbone: ridge regression, and for sex a logistic one.

Each head is fitted alone, to one row per person, with a penalty chosen by inner folds: so no task
changes another, and none changes the stage's head.

Arrays: mean features ``(P, F)`` of P people; targets ``(P,)``; L penalties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..data.dataset import MriDataset
from ..data.task_data import TaskDataset
from ..models.classifier import Classifier
from ..models.task_values import SEX, Floats, TaskValues, person_means
from .features import dataset_features
from .penalty_path import INNER_FOLDS, PenaltyPath
from .task_answers import people_targets

#: Penalties of squared weights, as shares of the features' mean squared length.
PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(1, -5.1, -0.5))


def fit_task_heads(
    model: Classifier, train: TaskDataset, val: MriDataset, device: torch.device, *, seed: int
) -> tuple[TaskValues, Floats]:
    """Fit the heads beside the stage's to training and validation people.

    Args:
        model: With such heads, on `device`; they are replaced by the fitted ones.
        train: Training people, unrated ones among them.
        val: Validation people.
        device: Where the model is.
        seed: Of the inner folds.

    Returns:
        What is said of each rated person by the inner fold that left the person out (where no
        answer is known, by the final head), and their targets ``(P, T)``, NaN where not known.
    """
    assert model.task_heads is not None
    heads = model.task_heads
    sides = [(data, dataset_features(model, data, device)) for data in (train, val)]
    means = np.concatenate([person_means(own.astype(float), data.subjects) for data, own in sides])
    targets = np.concatenate([people_targets(data, heads.names) for data, _ in sides])
    known_stage = {name for data, _ in sides for name in data.subjects[data.labels >= 0]}
    everyone = [name for data, _ in sides for name in dict.fromkeys(data.subjects)]
    rated = np.array([name in known_stage for name in everyone])
    said = np.empty(targets.shape)
    for place, name in enumerate(heads.names):
        known = np.isfinite(targets[:, place])
        own = (means[known], targets[known, place], rated[known])
        fit = fit_linear(*own, seed=seed, logistic=name == SEX)
        said[:, place] = means @ fit.weight + fit.bias
        said[known, place] = fit.left_out
        _set(heads.heads[name], fit)
    with torch.no_grad():  # the fitted heads speak in years and points themselves
        heads.centre.zero_()
        heads.scale.fill_(1.0)
    no_lines = np.full((int(rated.sum()), 2), np.nan)
    return TaskValues(heads.names, said[rated], no_lines), targets[rated]


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A linear model of one target, its penalty chosen by people left out.

    Attributes:
        weight: ``(F,)``.
        bias: Added to it.
        left_out: ``(P,)`` what is said of each person by the fold that left the person out.
        penalty: The one chosen.
    """

    weight: Floats
    bias: float
    left_out: Floats
    penalty: float


def fit_linear(
    features: Floats,
    targets: Floats,
    judges: NDArray[np.bool_],
    *,
    seed: int,
    logistic: bool = False,
) -> LinearFit:
    """Fit a ridge, or a logistic regression, whose penalty inner folds choose.

    Source: Hoerl & Kennard (1970), doi:10.1080/00401706.1970.10488634, for ridge regression.

    Args:
        features: ``(P, F)``.
        targets: ``(P,)``, all known; 0 and 1 of a logistic regression.
        judges: ``(P,)`` whose errors choose the penalty: rated people, as those who are scored;
            where nobody is one, everyone.
        seed: Of the folds.
        logistic: Log-odds instead of values.
    """
    path = _logistics if logistic else _ridges
    order = np.random.default_rng(seed).permutation(len(targets))
    order = order[np.argsort(targets[order], kind="stable")]  # every fold has all of the range
    part = np.empty(len(targets), dtype=np.int64)
    part[order] = np.arange(len(targets)) % min(INNER_FOLDS, len(targets) // 2)
    said = np.empty((len(PENALTIES), len(targets)))
    for fold in range(part.max() + 1):
        out = part == fold
        for place, (weight, bias) in enumerate(path(features[~out], targets[~out])):
            said[place, out] = features[out] @ weight + bias
    if logistic:
        losses = np.logaddexp(0, np.where(targets > 0, -said, said))
    else:
        losses = (said - targets) ** 2
    judges = judges if judges.any() else np.ones_like(judges)
    best = int(np.argmin(losses[:, judges].mean(axis=1)))
    weight, bias = path(features, targets)[best]
    return LinearFit(weight, bias, said[best], PENALTIES[best])


def _ridges(features: Floats, targets: Floats) -> list[tuple[Floats, float]]:
    """Return weights and intercept for each of `PENALTIES`, of one decomposition."""
    centre, mean = features.mean(axis=0), float(targets.mean())
    left, values, right = np.linalg.svd(features - centre, full_matrices=False)
    turned = left.T @ (targets - mean)
    size = max(float((values**2).sum()), 1e-12)
    found = []
    for penalty in PENALTIES:
        weight = right.T @ (turned * values / (values**2 + penalty * size))
        found.append((weight, mean - float(centre @ weight)))
    return found


def _logistics(features: Floats, targets: Floats) -> list[tuple[Floats, float]]:
    """Return the same of 0 and 1: the heads of two classes that weigh as often as they occur."""
    labels = targets.round().astype(np.int64)
    found = []
    for head in PenaltyPath(features, labels, np.ones(2), "ce").heads(PENALTIES):
        weight, bias = (head.get_parameter(name).detach() for name in ("weight", "bias"))
        found.append(((weight[1] - weight[0]).numpy(), float(bias[1] - bias[0])))
    return found


@torch.no_grad()
def _set(head: nn.Module, fit: LinearFit) -> None:
    assert isinstance(head, nn.Linear)
    head.weight.copy_(torch.from_numpy(fit.weight)[None])
    head.bias.fill_(fit.bias)
