"""A frozen network with a head of people's stages, as a scikit-learn classifier.

Arrays: ``X`` is n images ``(n, H, W)`` or volumes ``(n, X, Y, Z)``, uint8 in [0, 255] or floating
point in [0, 1]; or ``(n, F)`` features, to which the head alone is fitted. K classes.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from ..data.image_cache import ImageCache
from ..errors import ConfigError, ImageError
from ..labels import STAGES
from ..manifest import Manifest
from ..models.calibration import fit_calibration
from ..models.classifier import Classifier, OrdinalHead
from ..models.create import create_model
from ..models.device import choose_device
from ..models.engine import Pass, digest
from ..predictions import Predictions
from ..training.features import Floats
from ..training.frozen_head import fit_people
from ..training.frozen_people import People
from ..training.logits import inference_batch, place

logger = logging.getLogger(__name__)
_KEPT = 200_000  # rows of features that fits of the same network find again
_features: OrderedDict[tuple[str, bytes], Floats] = OrderedDict()


class StageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fit what ``--freeze_backbone`` fits, with scikit-learn's methods.

    One row of people is fitted, the mean features of each; the penalty of the head is chosen by
    inner folds, and probabilities are calibrated on people whom an inner fold left out. Features of
    an image are computed once in a process, so that a search over settings repeats none.

    `fit` must be told whose images they are, and cross-validation must keep a person on one side:
    ``GroupKFold`` with the same groups. It cannot know without. scikit-learn hands the groups of a
    search to the folds alone, and a person's images then count as people of their own in each fit,
    unless ``sklearn.set_config(enable_metadata_routing=True)`` was called before.

    Args:
        backbone: A registered network, ``"package.module:function"``, or a network; its weights
            stay as they are.
        loss: ``"ordinal"``, ``"ce"`` or ``"focal"``; None takes ordinal where all labels are
            stages of ``src.labels.STAGES``, else cross-entropy.
        class_weight_cap: Largest ratio of two class weights; 1 weighs all people alike.
        calibration: ``"temperature"``, ``"vector"`` or ``"none"``.
        weights: As `create_model` takes them; None takes ImageNet's in 2D.
        seed: Of the inner folds.
        device: None takes the best there is.

    Attributes:
        classes_: (K,) labels: stages by severity, others sorted.
        strength_: The penalty that was chosen.
        n_people_: People that the head was fitted to.

    Example:
        >>> model = StageClassifier().fit(images, stages, groups=people)
        >>> sklearn.set_config(enable_metadata_routing=True)
        >>> folds = {"cv": GroupKFold(5), "params": {"groups": people}}
        >>> cross_val_predict(StageClassifier(), images, stages, **folds)
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}  # read by scikit-learn

    def __init__(
        self,
        backbone: Any = "efficientnet_lite0",
        loss: str | None = None,
        class_weight_cap: float = 10.0,
        calibration: str = "temperature",
        weights: str | None = None,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.backbone, self.loss, self.class_weight_cap = backbone, loss, class_weight_cap
        self.calibration, self.weights, self.seed, self.device = calibration, weights, seed, device

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> StageClassifier:
        """Fit the head.

        Args:
            X: Images, volumes or features; or a `Manifest`, which holds labels and people.
            y: (n,) labels; left out of a manifest.
            groups: (n,) the person of each row; None takes every row for a person of its own.

        Returns:
            This classifier.

        Raises:
            ConfigError: There are under 4 people or 2 classes, or a setting is none.
            ValueError: Lengths differ, a value is not finite, or a person has two labels.
        """
        if isinstance(X, Manifest):
            if y is not None or groups is not None:
                hint = "fit(manifest), without them"
                raise ConfigError("a manifest holds labels and people", hint=hint)
            X, y, groups = arrays(X)
        if y is None:
            raise ValueError("fit requires y to be passed, but the target y is None")
        features, y = self._validated(X, y)
        check_classification_targets(y)
        labels = np.asarray(y)
        self.classes_ = _ordered(labels)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class alone: {self.classes_[0]}")
        loss = self.loss or ("ordinal" if set(self.classes_) <= set(STAGES) else "ce")
        if loss not in ("ordinal", "ce", "focal"):
            raise ConfigError(f"loss {loss!r} is none", hint="loss='ordinal', 'ce' or 'focal'")
        if groups is None and isinstance(X, np.ndarray) and X.ndim == 3:
            logger.warning(
                "no groups were given: each of %d slices counts as a person. fit(X, y, groups=...) "
                "names the people; a search hands them on after "
                "sklearn.set_config(enable_metadata_routing=True)",
                len(X),
            )
        people = _people(features, _numbers(labels, self.classes_), groups)
        k, width = len(self.classes_), features.shape[1]
        self.head_: nn.Module = OrdinalHead(width, k) if loss == "ordinal" else nn.Linear(width, k)
        fit = fit_people(
            self.head_, people, k, loss=loss, cap=float(self.class_weight_cap), seed=self.seed
        )
        self.strength_, self.n_people_ = fit.strength, len(people.labels)
        self.calibration_ = fit_calibration(fit.validation, self.calibration)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (n, K) calibrated probabilities of each row.

        Args:
            X: As `fit` takes it.
        """
        check_is_fitted(self)
        if isinstance(X, Manifest):
            X = _images_of(X, X.table["path"])
        features, _ = self._validated(X)
        with torch.no_grad():
            logits = self.head_(torch.from_numpy(features).to(_dtype(self.head_))).double().numpy()
        nobody = Predictions(np.zeros(len(logits), np.int64), logits, np.arange(len(logits)))
        return np.asarray(self.calibration_.apply(nobody).probabilities)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (n,) the most probable class of each row."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _validated(self, X: Any, y: Any = None) -> tuple[Floats, Any]:
        """Return the features of X, and y, of the same length."""
        shown = X if isinstance(X, np.ndarray) and X.ndim > 2 else None
        named = {"y": y} if y is not None else {}
        if shown is None:
            checked = validate_data(self, X, reset=y is not None, dtype=np.float32, **named)
            rows, y = checked if y is not None else (checked, None)
            return np.asarray(rows, np.float32), y
        flat = shown.reshape(len(shown), -1)
        checked = validate_data(
            self, flat, reset=y is not None, dtype=None, ensure_all_finite=True, **named
        )
        y = checked[1] if y is not None else None
        return self._features(shown), y

    def _features(self, images: NDArray[Any]) -> Floats:
        """Return ``(n, F)`` features, each image's computed once in this process."""
        _check_range(images)
        model = self._network(f"{images.ndim - 1}d")
        key = digest(model) + model.backbone
        names = [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in images]
        first = {name: place for place, name in reversed(list(enumerate(names)))}
        unknown = sorted(place for name, place in first.items() if (key, name) not in _features)
        device = next(model.parameters()).device
        run, size = Pass(model, len(unknown)), inference_batch(model.dim, device)
        for start in range(0, len(unknown), size):
            places = unknown[start : start + size]
            batch = torch.from_numpy(np.ascontiguousarray(images[places]))[:, None].to(device)
            unit = batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()
            for place_of, row in zip(places, run.embed(unit).float().cpu().numpy(), strict=True):
                _features[key, names[place_of]] = row
        found = np.stack([_features[key, name] for name in names])
        while len(_features) > _KEPT:
            _features.popitem(last=False)
        return found

    def _network(self, dim: str) -> Classifier:
        """Return the frozen network, in evaluation mode, on its device."""
        device, _ = choose_device(self.device)
        if isinstance(self.backbone, nn.Module):
            from ..models.wrap import wrap

            return place(wrap(self.backbone), device).eval()
        if dim == "3d" and self.weights is None and ":" not in str(self.backbone):
            raise ConfigError(
                "volumes need a network that was trained: those of this project begin at random",
                hint="StageClassifier(load_model('...')), trained on other people",
            )
        made = create_model(dim, self.backbone, 2, weights=self.weights, freeze_backbone=True)
        return place(made, device).eval()


def _ordered(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the classes, stages by severity and others sorted."""
    found = np.unique(labels)
    if set(found.tolist()) <= set(STAGES):
        return np.array([stage for stage in STAGES if stage in found])
    return np.asarray(found)


def _numbers(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    place_of = {one: number for number, one in enumerate(classes.tolist())}
    return np.array([place_of[one] for one in labels.tolist()], np.int64)


def _people(features: Floats, labels: NDArray[np.int64], groups: Any) -> People:
    """Return the people of some rows; a person's label is that of all rows."""
    names = np.arange(len(labels)) if groups is None else np.asarray(groups)
    if len(names) != len(labels):
        raise ValueError(f"groups names {len(names)} people's rows, X has {len(labels)}")
    subjects, first, person = np.unique(names, return_index=True, return_inverse=True)
    of_people = labels[first]
    wrong = np.flatnonzero(of_people[person] != labels)
    if len(wrong):
        raise ValueError(f"the person {names[wrong[0]]} has two labels; a person has one stage")
    return People(features, person, of_people, subjects, of_people)


def arrays(manifest: Manifest) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return what scikit-learn takes, of the rows of a processed data set that are rated.

    Args:
        manifest: From `preprocess`, or ``Manifest.read`` of its folder.

    Returns:
        X ``(n, H, W)`` uint8 or ``(n, X, Y, Z)`` float16, y (n,) stages, groups (n,) people.

    Raises:
        ImageError: A file is not what the manifest says.

    Example:
        >>> X, y, people = arrays(preprocess("phantom_2d"))
        >>> StageClassifier().fit(X, y, groups=people)
    """
    rows = manifest.table[manifest.table["label"].notna()]
    stages, people = (rows[name].to_numpy(str) for name in ("label", "subject"))
    return _images_of(manifest, rows["path"]), stages, people


def _images_of(manifest: Manifest, paths: pd.Series) -> NDArray[Any]:
    cache = ImageCache(manifest)  # of everyone, so that it is the one that training made
    return np.asarray(cache.read(cache.rows(paths)))


def _check_range(images: NDArray[Any]) -> None:
    if images.dtype == np.uint8:
        return
    if images.dtype.kind != "f" or images.min() < 0 or images.max() > 1:
        raise ImageError(
            f"images are uint8, or floating point in [0, 1]; found {images.dtype} of "
            f"{images.min():.3g} to {images.max():.3g}",
            hint="X.astype('uint8') of grey levels to 255, or X / X.max()",
        )


def _dtype(head: nn.Module) -> torch.dtype:
    return next(head.parameters()).dtype
