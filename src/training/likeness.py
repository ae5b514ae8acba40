"""What training people looked like to a model: how a new scan is told from what it has seen.

Two questions are asked of a new scan. Is it far, in the space of the model's features, from the
people it was trained on? And does it look, coarsely, as they do on average? Each is answered by
the share of people that are as far off and belong here: a conformal p-value, so the rate at which
people like these are flagged by mistake is known. Names of people are not kept.

Axes: P people, F features, n images of one person.

Sources: Sun et al. (2022), arXiv:2204.06507 (distance to the k-th nearest neighbour among
normalised features); Bates et al. (2023), doi:10.1214/22-AOS2244 (conformal p-values of outliers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..errors import CheckpointError, ImageError
from ..models.engine import Pass
from .company import Company, cosines
from .logits import inference_batch

Float = NDArray[np.float32]
Array = NDArray[np.float64]

#: Which neighbour's distance counts.
NEIGHBOUR = 5
#: Share of people like the validation people that both tests together may flag by mistake.
FLAG_RATE = 0.05
_TESTS = 2
_REACH = 0.05  # share of changed people who must be as strange as a scan that is excused
_COARSE = {"2d": (8, 28, 28), "3d": (16, 16, 16)}  # (slices, H, W) or X, Y, Z of a coarse image
_AGAIN = "train again, or copy the checkpoint again"


@dataclass(frozen=True)
class Likeness:
    """How far a scan is from what the model has seen.

    Attributes:
        distance: To the `NEIGHBOUR`-th nearest training person, between normalised features, 0
            to 2.
        p_distance: Share of people that belong here and are as far.
        similarity: Correlation of the coarse image with the mean training image, -1 to 1.
        p_similarity: Share of people that belong here and are as unlike.
        limit: A p-value up to this is a flag.
        error_rate: Share of people that belong here that one of the two flags.
        n_people: People that the p-values were counted on.
        like_changed: Changes (`changes`): one in twenty of the people changed so is as far off,
            and one in twenty as unlike.
    """

    distance: float
    p_distance: float
    similarity: float
    p_similarity: float
    limit: float
    error_rate: float
    n_people: int
    like_changed: frozenset[str] = frozenset()

    @property
    def far(self) -> bool:
        """Whether its features are further off than those of people that belong here."""
        return self.p_distance <= self.limit + 1e-9

    @property
    def unlike(self) -> bool:
        """Whether it looks less like the mean image than people that belong here."""
        return self.p_similarity <= self.limit + 1e-9


@dataclass(frozen=True, eq=False)
class Changed:
    """Validation people whose images were changed in one of the known ways (`changes`).

    Attributes:
        distances: Ascending, of their features.
        similarities: Of the same people's images, ascending.
        same_stage: How many keep the stage that the model gave them.
        accuracy: Balanced accuracy of their unchanged and of their changed images, 0 to 1.
        chance: Balanced accuracy of a guess.
    """

    distances: Array
    similarities: Array
    same_stage: int
    accuracy: tuple[float, float]
    chance: float

    def reaches(self, distance: float, similarity: float) -> bool:
        """Return whether one in twenty of them is as far off, and one in twenty as unlike.

        A model that only guesses where people are changed so has no answer there: then never.
        """
        if self.accuracy[1] <= self.chance:
            return False
        far = np.quantile(self.distances, 1 - _REACH)
        unlike = np.quantile(self.similarities, _REACH)
        return bool(distance <= far and similarity >= unlike)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, and no name."""
        return {
            "distances": self.distances.tolist(),
            "similarities": self.similarities.tolist(),
            "same_stage": self.same_stage,
            "accuracy": list(self.accuracy),
            "chance": self.chance,
        }


@dataclass(frozen=True, eq=False)
class Reference:
    """Training people as a model sees them.

    Attributes:
        features: ``(P, F)`` normalised mean features of training people.
        mean: The mean of their coarse images.
        distances: Ascending, of people that belong here and did not train the features.
        similarities: Of the same people, ascending.
        arrived: Whether these people were sent the way of new scans.
        changed: Name of a change -> people changed so.
        company: Classes of the training people; None of a checkpoint that did not keep them.
    """

    features: Float
    mean: Float
    distances: Array
    similarities: Array
    arrived: bool = False
    changed: Mapping[str, Changed] = field(default_factory=dict)
    company: Company | None = None

    def judge(self, features: Float, images: Tensor) -> Likeness:
        """Compare one scan with the training people.

        Args:
            features: ``(n, F)`` of its images.
            images: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` in [0, 1].

        Raises:
            ImageError: The images have another number of axes than the training people's.
        """
        distance = float(kth_distance(person_row(features)[None], self.features)[0])
        coarse = coarse_image(images)
        if coarse.shape != self.mean.shape:
            raise ImageError(f"the images have {images.ndim - 2} axes, those of training others")
        similarity = correlation(coarse, self.mean)
        n = len(self.distances)
        limit = max(FLAG_RATE / _TESTS, 1 / (n + 1))
        return Likeness(
            distance,
            (1 + int((self.distances >= distance).sum())) / (n + 1),
            similarity,
            (1 + int((self.similarities <= similarity).sum())) / (n + 1),
            limit,
            min(1.0, _TESTS * math.floor(limit * (n + 1) + 1e-9) / (n + 1)),
            n,
            frozenset(k for k, one in self.changed.items() if one.reaches(distance, similarity)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads: tensors and plain values, and no name."""
        return {
            "features": torch.from_numpy(self.features).half(),
            "mean": torch.from_numpy(self.mean).half(),
            "distances": self.distances.tolist(),
            "similarities": self.similarities.tolist(),
            "arrived": self.arrived,
            "changed": {name: one.to_dict() for name, one in self.changed.items()},
            "company": self.company.to_dict() if self.company else None,
        }

    @classmethod
    def from_dict(cls, content: Any, width: int, classes: int | None = None) -> Reference:
        """Read what `to_dict` wrote for features of `width`; a file is not trusted.

        Args:
            content: What was stored.
            width: F.
            classes: How many there are; None does not check the people's classes.

        Raises:
            CheckpointError: A part is missing, of another shape or not finite.
        """
        try:
            features, mean = (content[name].float().numpy() for name in ("features", "mean"))
            known = [np.array(content[name], float) for name in ("distances", "similarities")]
            shapes = features.ndim == 2 and features.shape[1] == width and mean.ndim == 3
            sizes = len(features) > NEIGHBOUR and known[0].shape == known[1].shape
            arrays = (features, mean, *known)
            sound = shapes and sizes and known[0].ndim == 1 and len(known[0]) > 0
            if not (sound and all(np.isfinite(array).all() for array in arrays)):
                raise ValueError("shapes or values that cannot be")
            changed = {str(k): _changed(v) for k, v in content.get("changed", {}).items()}
            told = content.get("company")
            company = None if told is None else Company.from_dict(told, features, classes)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"what is stored of how training people look is damaged: {error}", hint=_AGAIN
            ) from None
        arrived = bool(content.get("arrived"))
        return cls(features, mean, known[0], known[1], arrived, changed, company)


def _changed(content: Any) -> Changed:
    known = [np.array(content[name], float) for name in ("distances", "similarities")]
    plain, changed, chance = (float(v) for v in (*content["accuracy"], content["chance"]))
    for values in known:
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise ValueError("distances or similarities that cannot be")
    if not all(0 <= value <= 1 for value in (plain, changed, chance)):
        raise ValueError("an accuracy that cannot be")
    return Changed(known[0], known[1], int(content["same_stage"]), (plain, changed), chance)


def coarse_image(images: Tensor) -> Float:
    """Return a person's images shrunk to one small array, (8, 28, 28) or (16, 16, 16).

    Args:
        images: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` float in [0, 1].
    """
    if images.ndim == 4:
        stack = functional.adaptive_avg_pool2d(images, _COARSE["2d"][1:])[:, 0]
        small = functional.interpolate(
            stack[None, None], size=_COARSE["2d"], mode="trilinear", align_corners=True
        )
    else:
        small = functional.adaptive_avg_pool3d(images, _COARSE["3d"])
    return np.asarray(small[0, 0].float().numpy())


def embed_images(run: Pass, images: Tensor, device: torch.device) -> Float:
    """Return features ``(n, F)`` of images in [0, 1], in batches."""
    parts = torch.split(images, inference_batch(run.model.dim, device))
    found = [run.embed(part.to(device)).float().cpu() for part in parts]
    return np.asarray(torch.cat(found).numpy())


def person_row(features: Float) -> Float:
    """Return the mean of a person's features, of length 1."""
    mean = features.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def kth_distance(rows: Float, among: Float, skip: int = 0) -> Array:
    """Return each row's distance to its k-th nearest of `among`; `skip` 1 leaves itself out."""
    squared = 2 - 2 * cosines(rows, among)
    return np.asarray(np.sqrt(np.sort(squared, axis=1)[:, NEIGHBOUR - 1 + skip]))


def correlation(first: Float, second: Float) -> float:
    """Return r of two images of one shape, -1 to 1; 0 where one is constant."""
    a, b = (image.ravel() - image.mean(dtype=np.float64) for image in (first, second))
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
