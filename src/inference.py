"""Logits of every image of a data set, in the order of its rows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .augment import to_unit
from .classifier import Classifier
from .dataset import MriDataset, make_loader
from .predictions import Predictions
from .runtime import progress


@torch.no_grad()
def predict(
    model: Classifier, dataset: MriDataset, device: torch.device, batch_size: int
) -> Predictions:
    """Run the model over a split, once, without changing it.

    Args:
        model: On `device`.
        dataset: The split.
        device: Where the model is.
        batch_size: Largest batch.

    Returns:
        One row per image, float32 logits: half precision is for training only.
    """
    was_training = model.training
    model.eval()
    parts = []
    try:
        for images, _ in progress(
            make_loader(dataset, batch_size), desc=f"predict {dataset.split}"
        ):
            parts.append(model(to_unit(images.to(device))).float().cpu())
    finally:
        model.train(was_training)
    logits: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return Predictions(dataset.labels, logits, dataset.subjects)
