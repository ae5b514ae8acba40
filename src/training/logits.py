"""Logits of every image of a data set, in the order of its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.augment import to_unit
from ..data.dataset import MriDataset, make_loader
from ..errors import CheckpointError, counted
from ..models.classifier import Classifier
from ..models.engine import Pass
from ..models.pooling import slice_weights
from ..predictions import Predictions
from ..runtime import keep_memory, progress


def place(model: Classifier, device: torch.device) -> Classifier:
    """Move a model to a device, with channels last in memory.

    Training on a CPU takes 1.2 to 1.6 times as long without. The process keeps its memory from here
    on, unless that was decided before.
    """
    keep_memory()
    last = torch.channels_last if model.dim == "2d" else torch.channels_last_3d
    return model.to(device, memory_format=last)  # type: ignore[call-overload, no-any-return]


def inference_batch(dim: str, device: torch.device) -> int:
    """Return how many images to run at once when no gradient is needed.

    On a CPU, the activations of larger batches fall out of its cache: a slice of 64 takes twice
    the time of a slice of 8. A volume alone takes twice the time of one of a pair: for batches of
    one, torch chooses a convolution that is not vectorised.
    """
    on_cpu = device.type == "cpu"
    if dim == "2d":
        return 8 if on_cpu else 128
    return 2 if on_cpu else 8


@torch.no_grad()
def predict(
    model: Classifier,
    dataset: MriDataset,
    device: torch.device,
    look: Callable[[NDArray[np.float32]], None] | None = None,
) -> Predictions:
    """Run the model over a split, once, without changing it.

    Args:
        model: On `device`.
        dataset: The split.
        device: Where the model is.
        look: Is given the features ``(B, F)`` behind the logits, batch by batch, in order.

    Returns:
        One row per image, float32 logits: half precision is for training only.
    """
    was_training = model.training
    model.eval()
    run, parts, start = Pass(model, len(dataset)), [], 0
    loader = make_loader(dataset, inference_batch(model.dim, device))
    try:
        for images, _ in progress(loader, desc=f"predict {dataset.split}"):
            # Left on the device, so that nobody waits for it while the next images are read.
            shown = to_unit(images.to(device, non_blocking=True))
            if look is None and model.attention is None:
                parts.append(run.logits(shown).float())
                continue
            features, logits = run.both(shown)
            if model.attention is not None:
                place = dataset.places[start : start + len(images)]
                logits, start = model.with_scores(logits, features, place), start + len(images)
            parts.append(logits.float())
            if look is not None:
                look(features.float().cpu().numpy())
    finally:
        model.train(was_training)
    return as_predictions(dataset, parts, model.pooling)


def as_predictions(
    dataset: MriDataset, parts: list[torch.Tensor], pool: str = "mean"
) -> Predictions:
    """Return the logits of a data set's rows, and what each weighs in its person's answer.

    Args:
        dataset: The rows.
        parts: Their logits as batches in order; with attention, scores are their last column.
        pool: How slices become one answer.

    Raises:
        CheckpointError: A logit is not finite: the weights have diverged.
    """
    logits: NDArray[np.float64] = torch.cat(parts).cpu().double().numpy()
    bad = int((~np.isfinite(logits)).any(axis=1).sum())
    if bad:
        raise CheckpointError(
            f"the model's scores are not finite for {bad} of {counted(len(logits), 'image')}",
            hint="train again with a lower --lr, or --precision fp32",
        )
    scores = None
    if pool == "attention":
        logits, scores = logits[:, :-1], logits[:, -1]
    said = Predictions(dataset.labels, logits, dataset.subjects)
    if pool == "mean":
        return said
    return replace(said, weights=slice_weights(pool, logits, dataset.scans, said.people, scores))
