"""Features of a frozen backbone, computed once: an epoch then costs a matrix product per batch.

Arrays: ``(n, V, F)`` features of n images in V views (as it is, and mirrored left-right).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import Dataset

from .augment import mirror, to_unit
from .classifier import Classifier
from .dataset import MriDataset, make_loader
from .inference import inference_batch
from .runtime import progress


class FeatureDataset(Dataset[tuple[torch.Tensor, int]]):
    """Features ``(V, F)`` and class of each image.

    Args:
        features: ``(n, V, F)``.
        labels: n class indices.
    """

    def __init__(self, features: torch.Tensor, labels: list[int]) -> None:
        self.features, self.labels = features, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.features[index], self.labels[index]


class Head(nn.Module):
    """The trainable part of a frozen classifier: ``(B, F)`` features to logits ``(B, K)``."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.dropout, self.head = model.dropout, model.head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(B, K)``."""
        logits: torch.Tensor = self.head(self.dropout(features))
        return logits


@torch.no_grad()
def compute_features(
    model: Classifier, dataset: MriDataset, device: torch.device, *, mirrored: bool
) -> FeatureDataset:
    """Run the backbone over every image once.

    Args:
        model: On `device`; put into evaluation mode.
        dataset: Images.
        device: Where the model is.
        mirrored: Also make the left-right mirror view.
    """
    model.eval()
    parts = []
    loader = make_loader(dataset, inference_batch(model.dim, device))
    for images, _ in progress(loader, desc=f"features of {dataset.split}"):
        unit = to_unit(images.to(device))
        views = [unit, mirror(unit)] if mirrored else [unit]
        parts.append(torch.stack([model.embed(view).float().cpu() for view in views], dim=1))
    return FeatureDataset(torch.cat(parts), dataset.labels.tolist())


def pick_view(features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return one random view of each image: ``(B, V, F)`` -> ``(B, F)``."""
    view = torch.randint(features.shape[1], (len(features),), generator=generator)
    return features[torch.arange(len(features), device=features.device), view.to(features.device)]
