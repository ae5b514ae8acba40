"""Networks and maps small enough to grade by hand, shared by the tests of `src.maps.grading`."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn

from src.models.classifier import Classifier
from src.models.registry import ModelEntry


class Net(nn.Module):
    """Two convolutional blocks under ``features``, a pooling and a head, for slices."""

    def __init__(self, k: int = 3, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.features = features()
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(6, k)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.features(x)).flatten(1))


def features() -> nn.Sequential:
    first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(4, 6, 3, 2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    return nn.Sequential(OrderedDict(first=first, act=nn.Identity(), second=second))


def tiny_classifier(k: int = 3, *, ordinal: bool = False, seed: int = 0) -> Classifier:
    """Return a real `Classifier` around the same blocks."""
    entry = ModelEntry("tiny", "2d", lambda: (features(), 6), 16, 0.4, 0.2, "features.second")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(entry, k, ordinal=ordinal).eval()


class Maker:
    """An explainer whose map is any function of (model, images, target), which it remembers."""

    def __init__(self, model: nn.Module, function: Any, *, method: str = "own", cell: float = 2.0):
        self.model, self.function, self.method, self.cell = model, function, method, cell
        self.seen: list[tuple[nn.Module, np.ndarray, Any]] = []

    def raw_maps(self, x: torch.Tensor, target: Any = None) -> np.ndarray:
        images = x[:, 0].numpy()
        self.seen.append((self.model, images, target))
        return np.asarray(self.function(self.model, images, target), dtype=np.float32)

    def resolution(self, shape: Any) -> tuple[float, ...]:
        return (self.cell,) * len(shape)


def the_image(model: nn.Module, images: np.ndarray, target: Any) -> np.ndarray:
    """A map that knows nothing of the model."""
    return images


def brains(count: int = 3, shape: tuple[int, ...] = (18, 22), seed: int = 0) -> torch.Tensor:
    """Return ellipsoids of noise in an empty margin, ``(count, 1, ...)`` in [0, 1]."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    images = []
    for number in range(count):
        inside = sum((axis / (0.6 + 0.05 * (number % 3))) ** 2 for axis in axes) < 1
        images.append(np.where(inside, rng.uniform(0.2, 0.9, shape), 0))
    return torch.from_numpy(np.stack(images)[:, None].astype(np.float32))
