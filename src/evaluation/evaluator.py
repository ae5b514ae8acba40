"""The Evaluator: the one place that opens the test people.

Every score is per person first (mean logit over a person's images), then per image, each with n
people, a 95 % interval and the majority class beside it.
"""

from __future__ import annotations

import logging
import time
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from ..data.dataset import MriDataset, own_dataset, require_people
from ..data.splits import Division, make_folds
from ..errors import ConfigError, require_kind
from ..models.calibration import Calibration
from ..models.conformal import LEVELS, Conformal, estimable, prediction_sets
from ..models.device import choose_device
from ..models.wrap import as_classifier
from ..predictions import Predictions, per_person
from ..training.logits import place, predict
from ..training.task_answers import TaskSight
from .analyses.drift import drift
from .answers import Answers
from .neighbours import PeopleSeen, company_of, neighbours
from .open_checkpoint import Trained
from .result_files import write_results
from .results import Results

logger = logging.getLogger(__name__)


class Evaluator:
    """Score a model on one split, per person and per image.

    Args:
        model: A trained classifier, or any network that maps images to logits (`wrap`).
        test_loader: From `create_data_loaders`; its order does not matter.
        device: ``cuda``, ``mps``, ``cpu`` or None for the best there is.
        n_bootstrap: Resamples of people behind each interval.
        permutations: Shuffles of the labels of the scored people; 0 makes none.
        ensemble: Also score the rivals of the image with and without the model.
    """

    def __init__(
        self,
        model: nn.Module,
        test_loader: DataLoader[Any],
        device: str | torch.device | None = None,
        *,
        n_bootstrap: int = 2000,
        permutations: int = 0,
        ensemble: bool = False,
    ) -> None:
        self.data = own_dataset(test_loader)
        classes = self.data.scheme.classes
        model = as_classifier(model, "Evaluator", len(classes), self.data.image_shape)
        require_people(self.data)
        for word, number, least in (
            ("n_bootstrap", n_bootstrap, 100),
            ("permutations", permutations, 0),
        ):
            hint = f"{word}={2000 if least else 0}"
            require_kind(f"Evaluator({word}=...)", number, Integral, "a whole number", hint)
            if number < least:
                raise ConfigError(f"Evaluator({word}={number}) is under {least}", hint=hint)
        self.device, reason = choose_device(None if device is None else str(device))
        logger.info("device: %s (%s)", self.device, reason)
        self.model = place(model, self.device)
        self.n_bootstrap, self.permutations, self.together = n_bootstrap, permutations, ensemble
        if len(classes) != model.num_classes:
            raise ConfigError(
                f"the model has {model.num_classes} classes, the data {len(classes)}",
                hint="give create_model and create_data_loaders the same num_classes",
            )

    def full_evaluation(
        self,
        save_dir: str | Path,
        *,
        figure_dir: str | Path | None = None,
        context: dict[str, Any] | None = None,
        trained: Trained | None = None,
        started: float | None = None,
    ) -> Results:
        """Score, judge, and write every table, document and figure.

        Args:
            save_dir: Folder for ``metrics.json``, the documents, ``people.csv`` (per person) and
                ``predictions.csv`` (per image).
            figure_dir: Folder for figures; None takes ``save_dir/figures``.
            context: Kept in ``metrics.json``: run, checkpoint, settings.
            trained: The checkpoint, when one was opened: for people of another data set the drift
                of scores is told.
            started: `time.monotonic` at the start of the run.

        Returns:
            What ``metrics.json`` holds, and ``files``, the paths written; with tables and figures.
        """
        started = time.monotonic() if started is None else started
        folder = Path(save_dir)
        external = trained is not None and trained.external
        answers = self._answers(external, trained)
        known: dict[str, Any] = {"kind": "evaluate", "run": folder.resolve().name, "settings": {}}
        if self.model.pooling != "mean":  # the documents tell how slices became one answer
            known["settings"] = {"model": {"pool": self.model.pooling}}
        known |= {"neighbours": answers.neighbours.section} if answers.neighbours else {}
        known |= context or {}
        if external and trained:
            known["external"] = drift(
                *(trained.validation, trained.trained_on, answers, self.n_bootstrap)
            )
        known["seconds"] = time.monotonic() - started
        results, files = write_results(
            *(folder, Path(figure_dir or folder / "figures"), answers, known),
            n_bootstrap=self.n_bootstrap,
            permutations=self.permutations,
            together=self.together,
        )
        return Results(results | {"files": [str(path) for path in files]})

    def _answers(self, external: bool, trained: Trained | None) -> Answers:
        """Run the model over the split, once."""
        data, model = self.data, self.model
        k = model.num_classes
        calibration = model.calibration or Calibration.none(k, "the model was not calibrated")
        conformal = model.conformal or Conformal(tuple(() for _ in range(k)))
        company = company_of(model)
        seen = PeopleSeen(data, model.width)
        sight = TaskSight(model) if model.task_heads else None

        def look(features: NDArray[np.float32]) -> None:
            seen.add(features)
            if sight is not None:
                sight.add(features)

        images = predict(model, data, self.device, look)
        told = sight.values if sight is not None else None
        raw = per_person(images)
        said = calibration.apply(raw)
        return Answers(
            raw=raw,
            calibrated=said,
            sets={level: prediction_sets(conformal, said, level) for level in LEVELS},
            estimable={level: estimable(conformal, level) for level in LEVELS},
            calibration=calibration,
            images=calibration.apply(images),
            image_rows=data.rows[["subject", "session", "slice"]],
            keys=None,
            divisions=_inside(data) if external else [_division(data, raw)],
            train_counts=(
                trained.train_counts
                if external and trained
                else data.with_split("train").people_per_class().tolist()
            ),
            manifest=data.manifest,
            cache=data.cache,
            scheme=data.scheme,
            name=data.name,
            split=data.split,
            neighbours=neighbours(company, seen, data.scheme.classes),
            tasks=told.per_person(data.subjects) if told else None,
            image_tasks=told,
        )


def _division(data: MriDataset, raw: Predictions) -> Division:
    """Return training and validation people, from whose labels rivals may learn, and the scored."""
    others = [data.with_split(split) for split in ("train", "val") if split != data.split]
    known = sorted({str(name) for other in others for name in other.subjects})
    return Division(tuple(known), tuple(str(name) for name in raw.subjects))


def _inside(data: MriDataset) -> list[Division]:
    """Return folds of the scored people: rivals of a model from elsewhere learn here."""
    folds = make_folds(data.manifest, folds=5, repeats=1, val_fraction=0.15, seed=0)
    return [Division(fold.development, fold.test) for fold in folds]
