"""What a checkpoint holds beside weights, and what a resumed run must share with the stopped one.

Nothing here names a person: people are hashed, and validation people are labels and logits.
"""

from __future__ import annotations

from typing import Any

import torch

from ..cohorts.people_names import hash_subjects
from ..config import TrainConfig
from ..data.dataset import MriDataset
from ..models.classifier import Classifier
from ..predictions import Predictions
from .arrival import Arrival
from .compared_people import compare_people
from .shared_grid import TrainingFrame, training_frame

BEST = "best_model.pth"
#: Settings that a resumed run may change: they do not change its result.
FREE = ("resume", "compile", "activation_checkpointing", "tensorboard", "mlflow")


def checkpoint_content(
    model: Classifier,
    train: MriDataset,
    val: MriDataset,
    *,
    epoch: int,
    settings: dict[str, Any],
    validation: Predictions | None,
) -> dict[str, Any]:
    """Return what evaluation needs, and nothing that names a person.

    Args:
        model: With the weights, calibration and prediction sets to keep.
        train: Training people.
        val: Those who chose the epoch.
        epoch: Whose weights these are; 0 of a head that was fitted without epochs.
        settings: The whole run's config.
        validation: What the model says of validation people.
    """
    return {
        "model": model.state_dict(),
        "epoch": epoch,
        "config": settings,
        "preprocessing": train.settings,
        "image_shape": list(train.image_shape),
        "classes": list(train.scheme.classes),
        "backbone": model.backbone,
        "dim": model.dim,
        "ordinal": model.ordinal,
        "pool": model.pooling,
        "network": model.network,
        "tasks": list(model.task_heads.names) if model.task_heads else [],
        "calibration": model.calibration.to_dict() if model.calibration else None,
        "conformal": model.conformal.to_dict() if model.conformal else None,
        "validation": _anonymous(validation),
        "dataset": train.name,
        "train_counts": train.people_per_class().tolist(),
        "subjects": hash_subjects([*train.subjects, *val.subjects]),
        "learnt_from": model.learnt_from.to_dict() if model.learnt_from else None,
        "stamps": list(train.manifest.stamps),
    }


def content_for_new_scans(
    model: Classifier, train: MriDataset, val: MriDataset, device: torch.device
) -> dict[str, Any]:
    """Return what predictions on new scans need more than evaluation.

    Returns:
        ``frame``, the grid of training scans; ``look`` of their images, and ``reference``, how
        training people look to the model, or None of too few people.
    """
    frame = training_frame(train)
    arrival = None if "reason" in frame else Arrival.of(train, TrainingFrame.from_dict(frame))
    look, reference = compare_people(model, train, val, device, arrival)
    return {
        "frame": frame,
        "look": look.to_dict() if look else None,
        "reference": reference.to_dict() if reference else None,
    }


def run_identity(
    model: Classifier, train: MriDataset, config: TrainConfig, **more: Any
) -> dict[str, Any]:
    """Return what a resumed run must share with the stopped one for the same result.

    Args:
        model: What is trained.
        train: Training people.
        config: Settings, of which those that change no result are left out.
        more: Values that the config leaves open, as they were resolved.
    """
    kept = {name: value for name, value in config.identity.items() if name not in FREE}
    return {
        "backbone": model.backbone,
        **({} if model.network is None else {"network": model.network}),
        # None, as runs from before there were others tell nothing.
        "pool": None if model.pooling == "mean" else model.pooling,
        "classes": list(train.scheme.classes),
        "training people": hash_subjects(train.subjects),
        "preprocessing": train.settings,
        "learnt from": model.learnt_from.to_dict() if model.learnt_from else None,
        **kept,
        **more,
    }


def _anonymous(people: Predictions | None) -> dict[str, Any] | None:
    """Return labels and logits without names, for the drift of scores on other data."""
    if people is None:
        return None
    return {"labels": people.labels.tolist(), "logits": people.logits.tolist()}
