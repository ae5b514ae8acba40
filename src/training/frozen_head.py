"""The head of a frozen backbone, fitted to the features of people's images.

A linear head's mean logit over a person's images is its logit of their mean features (an ordinal
head's nearly so). So the head is fitted to one row per person by a convex solver, with the strength
of the penalty chosen by cross-validation among the people it may look at, and needs no epochs,
batches or learning rate. Where slices are weighed (`frozen_pool`), it is fitted to weighted means.

Arrays: ``(n, F)`` features of n images, ``(P, F)`` means of P people; K classes; L strengths.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from ..data.dataset import MriDataset, require_slices
from ..errors import ConfigError, counted
from ..labels import class_scheme, kind_of_label
from ..models.classifier import Classifier, OrdinalHead
from ..predictions import Predictions
from .features import Floats, dataset_features
from .frozen_people import People
from .frozen_pool import PENALTIES, SliceWeigher, levelled
from .logits import as_predictions
from .optimisation import class_weights, make_loss
from .penalty_path import STRENGTHS, PenaltyPath, inner_folds

logger = logging.getLogger(__name__)
#: Weaker penalties are not tried after this many that are worse than the best.
PATIENCE = 2


@dataclass(frozen=True)
class HeadFit:
    """A fitted head, and what chose its penalty.

    Attributes:
        strength: The penalty chosen, one of `STRENGTHS`.
        losses: Mean class-weighted loss of people left out, for each of `STRENGTHS` tried.
        validation: Each person's logits by the inner fold that left the person out.
        attention: State of the `GatedAttention` that was fitted with it, if one was.
    """

    strength: float
    losses: list[float]
    validation: Predictions
    attention: dict[str, torch.Tensor] | None = None

    @property
    def history(self) -> dict[str, Any]:
        """What ``history.json`` says of the fit."""
        return {
            "strength": list(STRENGTHS[: len(self.losses)]),
            "val_loss": self.losses,
            "best_strength": self.strength,
            "val_balanced_accuracy": self.validation.balanced_accuracy,
        }


def gather_people(
    model: Classifier, datasets: Sequence[MriDataset], device: torch.device
) -> People:
    """Return the people of some data sets with the features of their images.

    Args:
        model: On `device`.
        datasets: No person in two of them.
        device: Where the model is.
    """
    for data in datasets:
        require_slices(data, model.pooling)
    weighted = "" if model.pooling == "mean" else f", slices weighed by {model.pooling}"
    logger.info(
        "backbone frozen: the head is fitted to the mean features of each person%s", weighted
    )
    features = np.concatenate([dataset_features(model, data, device) for data in datasets])
    return people_of(datasets, features, model.pooling)


def people_of(datasets: Sequence[MriDataset], features: Floats, pool: str) -> People:
    """Return the people of some data sets with features ``(n, F)`` of all their images, in order.

    Args:
        datasets: No person in two of them.
        features: Of the images of the first, then of the next.
        pool: How the images of a person become one answer.
    """
    rows = pd.concat([data.rows for data in datasets], ignore_index=True)
    labels = np.concatenate([data.labels for data in datasets])
    names, first, person = np.unique(
        rows["subject"].to_numpy(dtype=str), return_index=True, return_inverse=True
    )
    kind = kind_of_label(str(rows["label"].iloc[0]))
    scheme = class_scheme(3 if kind == "stage" else None, kind)
    stages = np.array([scheme.index(stage) for stage in rows["label"].iloc[first]])
    people = People(features, person, labels[first], names, stages, pool)
    if pool == "mean":
        return people
    sessions = rows.groupby(["subject", "session"], dropna=False, sort=False).ngroup()
    places = np.concatenate([data.places.double().numpy() for data in datasets])
    return replace(people, scans=sessions.to_numpy(np.int64), places=places)


def fit_head(model: Classifier, people: People, *, loss: str, cap: float, seed: int) -> HeadFit:
    """Fit the model's head to people, its penalty chosen by inner cross-validation.

    An ordinal head of two classes learns more from the stages behind them: how far beyond the
    threshold a person is. It is fitted to those, and keeps the first threshold.

    Args:
        model: Its head is replaced by the fitted one.
        people: Everyone whose label may be looked at.
        loss: ``ce``, ``focal`` or ``ordinal``.
        cap: Largest ratio of two class weights.
        seed: Of the inner folds.

    Raises:
        ConfigError: There are under four people, or under two classes.
    """
    fit = fit_people(model.head, people, model.num_classes, loss=loss, cap=cap, seed=seed)
    if fit.attention is not None:
        assert model.attention is not None
        model.attention.load_state_dict(fit.attention)
    return fit


def fit_people(
    head: nn.Module, people: People, k: int, *, loss: str, cap: float, seed: int
) -> HeadFit:
    """Fit a head, as `fit_head` fits that of a model.

    Args:
        head: Linear or ordinal, F to K; its weights are replaced.
        people: As `fit_head`.
        k: K.
        loss: As `fit_head`.
        cap: As `fit_head`.
        seed: As `fit_head`.

    Raises:
        ConfigError: As `fit_head`.
    """
    labels = people.labels
    if len(labels) < 4 or len(np.unique(labels)) < 2:
        raise ConfigError(
            f"a head cannot be fitted to {counted(len(labels), 'person')} of "
            f"{counted(len(np.unique(labels)), 'class', 'classes')}",
            hint="preprocess more people",
        )
    weights = class_weights(np.bincount(labels, minlength=k), cap)
    learnt = labels
    if loss == "ordinal" and k == 2 and people.stages.max() > 1:
        # The two sides weigh the same, so that the first threshold stays between them.
        learnt, weights = people.stages, weights[[0, *[1] * int(people.stages.max())]]
    folds, given = list(inner_folds(learnt, seed)), (learnt, weights, k, loss)
    losses, left_out = _validate([people] * len(folds), folds, *given)
    attention = None
    if people.pool == "attention":  # with no weights yet, this was the mean
        weigher = SliceWeigher(people, learnt, weights, loss, STRENGTHS[int(np.argmin(losses))])
        tried = []
        for penalty in PENALTIES:
            views = [weigher.weigh(inner, penalty, seed)[0] for inner, _ in folds]
            tried.append(_validate(views, folds, *given))
        chosen = int(np.argmin([min(found) for found, _ in tried]))
        losses, left_out = tried[chosen]
        everyone = np.arange(len(labels))
        people, attention = weigher.weigh(everyone, PENALTIES[chosen], seed)
    best = int(np.argmin(losses))
    *_, found = PenaltyPath(people.means, learnt, weights, loss).heads(STRENGTHS[: best + 1])
    found = levelled(found, people, np.arange(len(labels)), learnt, weights)
    head.load_state_dict(_merged(found, k).state_dict())
    validation = Predictions(labels, left_out[best], people.subjects)
    return HeadFit(STRENGTHS[best], losses, validation, attention)


def _validate(
    views: Sequence[People],
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    learnt: NDArray[np.int64],
    weights: NDArray[np.float64],
    k: int,
    loss: str,
) -> tuple[list[float], list[NDArray[np.float64]]]:
    """Return for each strength tried the loss and the logits ``(P, K)`` of people left out.

    A person's logits are the mean over the images, as they will be of anyone later: of an ordinal
    head these are not the logits of the mean features. `views` are the people, once for each of
    `folds`, with images weighed as the fold's own people taught.
    """
    loss_of = make_loss("ce" if loss == "focal" else loss, torch.tensor(weights))
    paths = [
        PenaltyPath(people.means[inner], learnt[inner], weights, loss).heads()
        for people, (inner, _) in zip(views, folds, strict=True)
    ]
    losses: list[float] = []
    left_out: list[NDArray[np.float64]] = []
    for heads in zip(*paths, strict=True):
        said, kept = np.zeros((len(learnt), len(weights))), np.zeros((len(learnt), k))
        for head, people, (inner, outer) in zip(heads, views, folds, strict=True):
            levelled(head, people, inner, learnt, weights)
            said[outer] = people.mean_logits(head, outer)
            kept[outer] = people.mean_logits(_merged(head, k), outer)
        losses.append(float(loss_of(torch.tensor(said), torch.tensor(learnt))))
        left_out.append(kept)
        if len(losses) - 1 - int(np.argmin(losses)) >= PATIENCE:
            break
    return losses, left_out


def _merged(head: nn.Module, k: int) -> nn.Module:
    """Return an ordinal head of more than `k` classes with its first k - 1 thresholds only."""
    if not isinstance(head, OrdinalHead) or len(head.gaps) + 2 == k:
        return head
    merged = OrdinalHead(head.score.in_features, k).double()
    state = head.state_dict()
    merged.load_state_dict(state | {"gaps": state["gaps"][: k - 2]})
    return merged


@torch.no_grad()
def predict_features(model: Classifier, features: Floats, dataset: MriDataset) -> Predictions:
    """Return what `predict` returns, from features that are there already."""
    model.eval()
    weight = next(model.head.parameters())
    logits = model.classify(torch.from_numpy(features).to(weight.device, weight.dtype))
    if model.attention is not None:
        own = torch.from_numpy(features).to(weight.device)
        logits = model.with_scores(logits, own, dataset.places)
    return as_predictions(dataset, [logits.float().cpu()], model.pooling)
