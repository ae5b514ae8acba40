"""Training on one fold after the other, and what each model says of its fold's test people."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import RunConfig
from ..config.options import config_to_dict
from ..data.dataset import MriDataset, has_slices, make_loader
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
from ..models.task_values import TaskValues
from ..predictions import Predictions, per_person
from ..runtime import progress, said_once
from ..training.checkpoint_content import BEST
from ..training.features import dataset_features
from ..training.frozen_head import fit_head, gather_people, predict_features
from ..training.laying import lay_in_mni
from ..training.logits import place, predict
from ..training.optimisation import make_optimizer
from ..training.search import search
from ..training.state import LAST
from ..training.task_answers import TaskSight, task_values
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
        unrated: Rows of people without a rating, who may train tasks beside the stage; None uses
            nobody's.
    """

    def __init__(
        self, config: RunConfig, data: MriDataset, name: str, unrated: Manifest | None = None
    ) -> None:
        self.config, self.data, self.name, self.unrated = config, data, name, unrated
        self.device, _ = choose_device(config.device)
        self._frozen: dict[tuple[str, str], Classifier] = {}

    def fit(self, manifest: Manifest, fold: Fold, seed: int, *, keep: bool = True) -> Unit:
        """Train on one fold and answer its test people.

        Args:
            manifest: With the fold's ``split``; its labels are the ones learnt.
            fold: Names the folder of the checkpoints.
            seed: Added to the config's.
            keep: Keep the checkpoint.
        """
        if self.unrated is not None:  # on no side: they may train other tasks than the stage
            manifest = manifest.with_rows_of(self.unrated)
        data = self.data.with_manifest(manifest, "train")
        test = data.with_split("test")
        config, tried = self.config, list[dict[str, Any]]()
        if config.train.search:
            config, tried = search(
                config,
                lambda one: self._validated(one, data, fold, seed),
                config.train.seed + seed,
                slices=all(has_slices(part) for part in (data, data.with_split("val"))),
            )
        if config.crossval.harmonise:
            model, images, _ = self._harmonised(config, data, test, seed)
        else:
            model = self._train(config, data, fold, seed, keep=keep)
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
            tried=tried,
            tasks=self._tasks(model, test),
        )

    def _tasks(self, model: Classifier, test: MriDataset) -> TaskValues | None:
        """Return what a model says of test images beside the stage; None of the stage alone."""
        if model.task_heads is None:
            return None
        if model.frozen:
            return task_values(model, dataset_features(model, test, self.device))
        sight = TaskSight(model)
        predict(model, test, self.device, sight.add)
        return sight.values

    def _validated(self, config: RunConfig, data: MriDataset, fold: Fold, seed: int) -> Predictions:
        """Return what a candidate says of the fold's validation people; nothing is kept of it."""
        if config.crossval.harmonise:
            *_, validation = self._harmonised(config, data, data.with_split("val"), seed)
            return validation
        trained = self._trainer(config, data, seed)
        trained.train()
        assert trained.validation is not None
        return trained.validation

    def placed_features(self) -> pd.DataFrame | None:
        """Return what a frozen backbone says of groups of neighbouring slices; else None."""
        config = self.config
        if not config.model.freeze_backbone or config.data.model_dim != "2d":
            return None
        features = dataset_features(self._model(config, config.train.seed), self.data, self.device)
        return placed_features(features, self.data.rows)

    def has_model_of(self, fold: Fold, seed: int, study: Study) -> bool:
        """Return whether the checkpoint of a fold is there, or is not to be kept."""
        return not study.keeps_model_of(fold, seed) or (self._folder(fold, seed) / BEST).is_file()

    def _folder(self, fold: Fold, seed: int) -> Path:
        return self.config.checkpoint_dir / self.name / f"{fold.name}_seed{seed}"

    def _train(
        self, config: RunConfig, data: MriDataset, fold: Fold, seed: int, *, keep: bool
    ) -> Classifier:
        """Return the model that the fold's training and validation people give."""
        folder = self._folder(fold, seed)
        resume = keep and not config.model.freeze_backbone and (folder / LAST).is_file()
        trainer = self._trainer(config, data, seed, resume=resume)
        trainer.train(save_dir=folder if keep else None)
        (folder / LAST).unlink(missing_ok=True)  # a finished fold is never resumed
        return trainer.model

    def _trainer(
        self, config: RunConfig, data: MriDataset, seed: int, *, resume: bool = False
    ) -> Trainer:
        train = replace(config.train, seed=config.train.seed + seed, resume=resume)
        seed_everything(train.seed)
        model = self._model(config, train.seed)
        workers = reader_workers(config.workers)
        loader = make_loader(data, config.batch_size, seed=train.seed, workers=workers)
        settings = as_made(config_to_dict(config), data.settings)
        return Trainer(model, loader, None, config.device, config=train, run_settings=settings)

    def _harmonised(
        self, config: RunConfig, data: MriDataset, test: MriDataset, seed: int
    ) -> tuple[Classifier, Predictions, Predictions]:
        """Fit a head to harmonised features; no checkpoint is kept, as it would not know them.

        A site's change is fitted to the mean features of development people, without their labels;
        one that they are not of, to those of its test people.

        Returns:
            The model, its answers on test people, and those on people whom inner folds left out.
        """
        train = config.train
        model = self._model(config, train.seed + seed)
        people = gather_people(model, [data, data.with_split("val")], self.device)
        site = self.data.manifest.people()["site"]
        combat = fit_combat(people.means, site[people.subjects].tolist())
        own = site[people.subjects].to_numpy()[people.person]
        made = combat.apply(people.images, own.tolist()).astype(np.float32)
        people = replace(people, images=made)
        cap, loss = train.class_weight_cap, config.loss
        fit = fit_head(model, people, loss=loss, cap=cap, seed=train.seed + seed)
        model.calibration = fit_calibration(fit.validation, train.calibration)
        model.conformal = fit_conformal(model.calibration.apply(fit.validation))
        features = dataset_features(model, test, self.device)
        theirs = pd.DataFrame(features, dtype=np.float64).groupby(test.subjects).mean()
        combat = combat.with_new_sites(theirs.to_numpy(), site[theirs.index].tolist())
        if combat.unchanged:
            logger.info("sites of too few people, not harmonised: %s", ", ".join(combat.unchanged))
        made = combat.apply(features, site[test.subjects].tolist()).astype(np.float32)
        return model, predict_features(model, made, test), fit.validation

    def _predict(self, model: Classifier, test: MriDataset) -> Predictions:
        if model.frozen:
            return predict_features(model, dataset_features(model, test, self.device), test)
        return predict(model, test, self.device)

    def _model(self, config: RunConfig, seed: int) -> Classifier:
        """Return a fresh model, its weights drawn from `seed`.

        A frozen backbone is built once for each kind of head, as only its weights change.
        """
        kind = (config.loss, config.model.pool)
        if kind in self._frozen:
            return self._frozen[kind]
        model = create_model(
            *(config.data.model_dim, config.backbone, config.data.num_classes),
            weights=config.model.weights,
            dropout=config.model.dropout,
            freeze_backbone=config.model.freeze_backbone,
            ordinal=config.loss == "ordinal",
            seed=seed,
            pool=config.model.pool,
        )
        if model.frozen:
            lay_in_mni(model, self.data)  # one map of the cohort, from images without labels
            self._frozen[kind] = place(model, self.device)
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
    todo = [
        job
        for job in jobs
        if study.read(folder, *job) is None
        or (study.config.crossval.keep_models and not training.has_model_of(*job, study))
    ]
    if len(todo) < len(jobs):
        logger.info("%d of %d folds are there already", len(jobs) - len(todo), len(jobs))
    with said_once(*SETUP):
        for fold, seed in progress(todo, desc="folds"):
            keep = study.keeps_model_of(fold, seed)
            unit = training.fit(with_fold(study.data.manifest, fold), fold, seed, keep=keep)
            yield study.write(folder, fold, unit)
