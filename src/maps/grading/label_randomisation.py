"""Whether maps depend on the labels: the head is fitted again, to labels dealt out at random.

Arrays: images ``(P, 1, ...)`` and maps ``(P, ...)`` of P graded people; features ``(n, F)`` of n
images of training people.

Source: Adebayo et al. (2018), arXiv:1810.03292: data randomisation.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.dataset import MriDataset
from ...errors import ConfigError
from ...evaluation.metrics.scores import METRICS
from ...models.classifier import Classifier
from ...predictions import Predictions, unweighted
from ...runtime import progress
from ...training.frozen_head import fit_head, gather_people
from ...training.frozen_people import People
from ..attribution import Target, computing
from .explainer import Explainer, Maps, maps_of, settle_target, with_model
from .similarity import brain_masks, mean_of, rank_correlation

#: Training people whose features are computed, and images: under a minute on one core.
MOST_PEOPLE, MOST_IMAGES = 80, 1600
#: Times the labels are dealt out.
DRAWS = 3
_CAP = 10.0  # largest ratio of two class weights of the fitted heads


def label_randomisation(
    explainer: Explainer, x: Tensor, target: Target, training: People, *, seed: int = 0
) -> dict[str, Any]:
    """Compare maps of the model with its head fitted to true labels and to shuffled ones.

    The head is fitted to people's mean features, twice in the same way; only the labels differ,
    shuffled among the people. The backbone stays: it was trained with the true labels and keeps
    what it learnt from them. So a map that does not change shows that the method does not heed what
    the head says; but one that changes does not show that the backbone's part is sound, and places
    that all of its features share stay marked whatever the labels.

    Args:
        explainer: Of a `Classifier`, which is copied, never changed.
        x: One image or volume of each graded person.
        target: As `Attribution.raw_maps`; predicted classes are settled before the head changes.
        training: People the model was trained on; see `training_people`.
        seed: Of the shuffles.

    Returns:
        ``refitted``: rank correlation of each person's map with the model's, head fitted to true
        labels; ``shuffled``: of the maps of true and shuffled labels, mean over `DRAWS`;
        ``auc_true`` and ``auc_shuffled``: AUC of demented against not, of training people that a
        fit left out; ``n_people``, ``draws`` and ``note``. Not available with a model other than a
        `Classifier`, or too few training people.
    """
    if not isinstance(explainer.model, Classifier):
        return {"available": False, "reason": "the model has no head that could be fitted alone"}
    settled = settle_target(explainer.model, x, target)
    brains, rng = brain_masks(x[:, 0].cpu().numpy()), np.random.default_rng(seed)
    orders = [rng.permutation(len(training.labels)) for _ in range(DRAWS)]
    dealt = [
        replace(training, labels=training.labels[o], stages=training.stages[o]) for o in orders
    ]
    try:
        fits = [
            _refit(explainer, x, settled, people, seed)
            for people in progress([training, *dealt], total=DRAWS + 1, desc="shuffled labels")
        ]
    except ConfigError as error:
        return {"available": False, "reason": error.message}
    (true, auc), *shuffled = fits
    own = maps_of(explainer, x, settled)
    return {
        "available": True,
        "refitted": [rank_correlation(*three) for three in zip(own, true, brains, strict=True)],
        "shuffled": [
            mean_of([rank_correlation(one, other, brain) for other in others])
            for one, brain, *others in zip(true, brains, *[m for m, _ in shuffled], strict=True)
        ],
        "auc_true": auc,
        "auc_shuffled": [value for _, value in shuffled],
        "n_people": len(training.labels),
        "draws": DRAWS,
    }


def training_people(
    model: Classifier, training: MriDataset, device: torch.device, *, seed: int = 0
) -> tuple[People, str]:
    """Return some of the training people with their features, and a sentence on who they are.

    At most `MOST_PEOPLE`, fewer where each has many slices (`MOST_IMAGES`); drawn at random, class
    by class in turn, so that rare classes are among them.

    Args:
        model: On `device`.
        training: The people it was trained on.
        device: Where the model is.
        seed: Of the draw.
    """
    rows = training.rows.assign(number=training.labels)
    people = rows.groupby("subject")["number"].first().sample(frac=1, random_state=seed)
    per_person = len(rows) / len(people)
    most = max(min(MOST_PEOPLE, int(MOST_IMAGES / per_person)), 1)
    turn = people.groupby(people).cumcount()
    chosen = turn.sort_values(kind="stable").index[:most]
    manifest = training.manifest.where(training.manifest.table["subject"].isin(chosen))
    some = training.with_manifest(manifest, training.split)
    with computing(model, torch.empty(0)):
        # Heads of mean features: what weighs slices has no part in the map of one image.
        found = replace(gather_people(model, [some], device), pool="mean")
    return found, f"Heads were fitted to {len(chosen)} of {len(people)} training people."


def _refit(
    explainer: Explainer, x: Tensor, settled: Any, people: People, seed: int
) -> tuple[Maps, float | None]:
    """Return the maps of a copy with its head fitted to `people`, and the AUC of those left out."""
    model = copy.deepcopy(explainer.model)
    assert isinstance(model, Classifier)
    fit = fit_head(model, people, loss="ordinal" if model.ordinal else "ce", cap=_CAP, seed=seed)
    return maps_of(with_model(explainer, model), x, settled), auc_demented(fit.validation)


def auc_demented(answers: Predictions) -> float | None:
    """Return the AUC of demented against not, None where one of them is absent."""
    value = float(METRICS["auc_demented"](unweighted(answers))[0])
    return value if np.isfinite(value) else None
