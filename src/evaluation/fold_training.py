"""Training on one fold after the other, and what each model says of its fold's test people."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import RunConfig
from ..config.options import config_to_dict
from ..data.dataset import MriDataset, make_loader
from ..data.loaders import reader_workers
from ..data.run_data import as_made
from ..data.splits import Fold, with_fold
from ..manifest import Manifest
from ..models.calibration import fit_calibration
from ..models.classifier import Classifier
from ..models.combat import fit_combat
from ..models.conformal import fit_conformal
from ..models.create import create_model
from ..models.device import choose_device, seed_everything
from ..predictions import Predictions, per_person
from ..runtime import progress, said_once
from ..training.features import dataset_features
from ..training.frozen_head import fit_head, gather_people, predict_features
from ..training.logits import place, predict
from ..training.optimisation import make_optimizer
from ..training.state import LAST
from ..training.trainer import Trainer
from .analyses.placed_features import placed_features
from .cross_validation import Study
from .out_of_fold import Unit

logger = logging.getLogger(__name__)
#: What lives in modules that say the same of every fold.
SETUP = (create_model, choose_device, predict_features, make_optimizer)


class FoldTraining:
    """Trains the folds of one study.

    Args:
        config: Of the study.
        data: All its people.
        name: Folder name of its checkpoints.
    """

    def __init__(self, config: RunConfig, data: MriDataset, name: str) -> None:
        self.config, self.data, self.name = config, data, name
        self.device, _ = choose_device(config.device)
        self._frozen: Classifier | None = None

    def fit(self, manifest: Manifest, fold: Fold, seed: int, *, keep: bool = True) -> Unit:
        """Train on one fold and answer its test people.

        Args:
            manifest: With the fold's ``split``; its labels are the ones learnt.
            fold: Names the folder of the checkpoints.
            seed: Added to the config's.
            keep: Keep the checkpoint.
        """
        data = self.data.with_manifest(manifest, "train")
        test = data.with_split("test")
        if self.config.crossval.harmonise:
            model, images = self._harmonised(data, test, seed)
        else:
            model = self._train(data, fold, seed, keep=keep)
            images = self._predict(model, test)
        assert model.calibration is not None
        assert model.conformal is not None
        return Unit(
            *(fold.repeat, fold.fold, seed),
            people=per_person(images),
            images=images,
            rows=test.rows[["subject", "session", "slice"]],
            calibration=model.calibration,
            conformal=model.conformal,
        )

    def placed_features(self) -> pd.DataFrame | None:
        """Return what a frozen backbone says of groups of neighbouring slices; else None."""
        config = self.config
        if not config.model.freeze_backbone or config.data.model_dim != "2d":
            return None
        features = dataset_features(self._model(config.train.seed), self.data, self.device)
        return placed_features(features, self.data.rows)

    def _train(self, data: MriDataset, fold: Fold, seed: int, *, keep: bool) -> Classifier:
        """Return the model that the fold's training and validation people give."""
        config, train = self.config, self.config.train
        folder = config.checkpoint_dir / self.name / f"{fold.name}_seed{seed}"
        resume = keep and not config.model.freeze_backbone and (folder / LAST).is_file()
        train = replace(train, seed=train.seed + seed, resume=resume)
        seed_everything(train.seed)
        model = self._model(train.seed)
        workers = reader_workers(config.workers)
        loader = make_loader(data, config.batch_size, seed=train.seed, workers=workers)
        settings = as_made(config_to_dict(config), data.settings)
        trainer = Trainer(model, loader, None, config.device, config=train, run_settings=settings)
        trainer.train(save_dir=folder if keep else None)
        (folder / LAST).unlink(missing_ok=True)  # a finished fold is never resumed
        return model

    def _harmonised(
        self, data: MriDataset, test: MriDataset, seed: int
    ) -> tuple[Classifier, Predictions]:
        """Fit a head to harmonised features; no checkpoint is kept, as it would not know them.

        A site's change is fitted to the mean features of development people, without their labels;
        one that they are not of, to those of its test people.
        """
        config = self.config.train
        model = self._model(config.seed + seed)
        people = gather_people(model, [data, data.with_split("val")], self.device)
        site = self.data.manifest.people()["site"]
        combat = fit_combat(people.means, site[people.subjects].tolist())
        own = site[people.subjects].to_numpy()[people.person]
        made = combat.apply(people.images, own.tolist()).astype(np.float32)
        people = replace(people, images=made)
        cap, loss = config.class_weight_cap, self.config.loss
        fit = fit_head(model, people, loss=loss, cap=cap, seed=config.seed + seed)
        model.calibration = fit_calibration(fit.validation, config.calibration)
        model.conformal = fit_conformal(model.calibration.apply(fit.validation))
        features = dataset_features(model, test, self.device)
        theirs = pd.DataFrame(features, dtype=np.float64).groupby(test.subjects).mean()
        combat = combat.with_new_sites(theirs.to_numpy(), site[theirs.index].tolist())
        if combat.unchanged:
            logger.info("sites of too few people, not harmonised: %s", ", ".join(combat.unchanged))
        made = combat.apply(features, site[test.subjects].tolist()).astype(np.float32)
        return model, predict_features(model, made, test)

    def _predict(self, model: Classifier, test: MriDataset) -> Predictions:
        if model.frozen:
            return predict_features(model, dataset_features(model, test, self.device), test)
        return predict(model, test, self.device)

    def _model(self, seed: int) -> Classifier:
        """Return a fresh model, its weights drawn from `seed`.

        A frozen backbone is built once, as only its head changes.
        """
        if self._frozen is not None:
            return self._frozen
        config = self.config
        model = create_model(
            *(config.data.model_dim, config.backbone, config.data.num_classes),
            weights=config.model.weights,
            dropout=config.model.dropout,
            freeze_backbone=config.model.freeze_backbone,
            ordinal=config.loss == "ordinal",
            seed=seed,
        )
        if model.frozen:
            self._frozen = place(model, self.device)
            dataset_features(model, self.data, self.device, dask=config.dask)  # of all, once
        return model


def train_folds(study: Study, training: FoldTraining, folder: Path) -> Iterator[Path]:
    """Train and score every fold asked for that has no file yet.

    Args:
        study: Whose folds.
        training: Of the study.
        folder: Of its results.

    Yields:
        The files of the folds.
    """
    jobs = study.jobs()
    todo = [job for job in jobs if study.read(folder, *job) is None]
    if len(todo) < len(jobs):
        logger.info("%d of %d folds are there already", len(jobs) - len(todo), len(jobs))
    with said_once(*SETUP):
        for fold, seed in progress(todo, desc="folds"):
            keep = study.keeps_model_of(fold, seed)
            unit = training.fit(with_fold(study.data.manifest, fold), fold, seed, keep=keep)
            yield study.write(folder, fold, unit)
