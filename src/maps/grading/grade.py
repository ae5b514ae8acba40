"""All checks of maps on some people, and the verdict: can these maps be trusted?

Arrays: images ``(P, 1, H, W)`` or volumes ``(P, 1, X, Y, Z)`` float in [0, 1], one of each of P
people; maps ``(P, ...)`` on their grid.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ...data.dataset import MriDataset
from ...errors import MriError
from ...evaluation.metrics.intervals import estimate_and_resample, interval
from ...evaluation.metrics.scores import METRICS
from ...models.classifier import Classifier
from ...predictions import Predictions, per_person
from ..attribution import Attribution, Target
from ..methods import CAM_METHODS
from .explainer import Explainer, Settled, device_of, maps_of, settle_target
from .faithfulness import faithfulness
from .label_randomisation import label_randomisation, training_people
from .outside import outside_brain
from .randomisation import cascade
from .similarity import brain_masks
from .stability import agreement, stability
from .verdicts import judge

logger = logging.getLogger(__name__)
Section = dict[str, Any]


def grade_maps(
    explainer: Explainer,
    x: Tensor,
    target: Target = None,
    *,
    training: MriDataset | None = None,
    validation: Predictions | None = None,
    others: Mapping[str, Explainer] | None = None,
    phantom: Mapping[str, Any] | None = None,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Check the maps of some people.

    Args:
        explainer: An `Attribution`; its model is left as it was found.
        x: About eight people, one image or volume each: in 2D the slice that speaks most.
        target: As `Attribution.raw_maps`.
        training: The people it was trained on; None where they are not at hand.
        validation: What the model said of people it was not trained on.
        others: Name -> another method for the same model; None takes the other class-activation
            methods.
        phantom: The scores of these maps against a planted change (see `src.maps.truth`), or why
            there are none; None where the people are no phantoms.
        n_bootstrap: Resamples of people.
        seed: Of everything that is random.

    Returns:
        ``verdict`` and ``checks`` as `judge` returns them; ``method``, ``target``, ``n_people`` and
        ``cell``; and each check's section: ``model``, ``weights``, ``labels``, ``faithfulness``,
        ``stability``, ``outside``, ``agreement`` and, of phantoms, ``phantom``.
    """
    settled = settle_target(explainer.model, x, target)
    sections = {
        "model": _model(validation, n_bootstrap, seed),
        "weights": _try(lambda: cascade(explainer, x, settled, seed=seed)),
        "labels": _try(lambda: _labels(explainer, x, settled, training, seed)),
        "faithfulness": _try(lambda: faithfulness(explainer, x, settled, seed=seed)),
        "stability": _try(lambda: stability(explainer, x, settled, seed=seed)),
        "outside": _try(lambda: _outside(explainer, x, settled)),
        "agreement": _try(lambda: _agreement(explainer, x, settled, others)),
    }
    if phantom is not None:
        sections["phantom"] = dict(phantom)
    return {
        **judge(sections, n_bootstrap=n_bootstrap, seed=seed),
        "method": explainer.method,
        "target": settled,
        "n_people": len(x),
        "cell": [float(edge) for edge in explainer.resolution(x.shape[2:])],
        **sections,
    }


def _try(check: Callable[[], Section]) -> Section:
    """Return what a check finds, or why it could not be made."""
    try:
        return check()
    except MriError as error:
        logger.warning("a check of the maps is left out: %s", error.message)
        return {"available": False, "reason": error.message}


def _model(validation: Predictions | None, n_bootstrap: int, seed: int) -> Section:
    """Return the AUC of demented against not, of people the model was not trained on."""
    if validation is None:
        return {"available": False, "reason": "no answers for people it was not trained on"}
    metrics = [{"auc": METRICS["auc_demented"]}]
    found = estimate_and_resample(validation, metrics, n_bootstrap, seed)["auc"]
    demented = np.bincount(per_person(validation).labels > 0, minlength=2)
    return {
        "available": True,
        "auc": interval(*found),
        "n_people": validation.n_people,
        "n_fewest": int(demented.min()),  # an AUC rests on the fewer of the two
    }


def _labels(
    explainer: Explainer, x: Tensor, target: Settled, training: MriDataset | None, seed: int
) -> Section:
    if training is None or not len(training):
        return {"available": False, "reason": "the people it was trained on are not at hand"}
    model = explainer.model
    if not isinstance(model, Classifier):
        return {"available": False, "reason": "the model has no head that could be fitted alone"}
    people, note = training_people(model, training, device_of(model), seed=seed)
    return label_randomisation(explainer, x, target, people, seed=seed) | {"note": note}


def _outside(explainer: Explainer, x: Tensor, target: Settled) -> Section:
    brains = brain_masks(x[:, 0].cpu().numpy())
    return outside_brain(maps_of(explainer, x, target), brains, explainer.resolution(x.shape[2:]))


def _agreement(
    explainer: Explainer, x: Tensor, target: Settled, others: Mapping[str, Explainer] | None
) -> Section:
    if others is None:
        names = [name for name in CAM_METHODS if name != explainer.method]
        others = {name: Attribution(explainer.model, name) for name in names}
    every = {explainer.method: explainer, **others}
    maps = {name: maps_of(other, x, target) for name, other in every.items()}
    cells = {name: other.resolution(x.shape[2:]) for name, other in every.items()}
    return agreement(maps, brain_masks(x[:, 0].cpu().numpy()), cells)
