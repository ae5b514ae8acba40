"""One cross-validation by person: its data, its folds, their training, and the permutation test.

One split of a few hundred people decides little. Here every rated person is tested once in every
repeat, by a model that never saw the person; what chooses (epoch, penalty, temperature) are other
people inside the fold. A fold's answers are one file, so a stopped run continues and a cluster's
job array can share the work.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..atomic import atomic_file, write_json
from ..config import RunConfig
from ..config.options import config_to_dict
from ..data.dataset import make_loader
from ..data.loaders import open_run_data, reader_workers
from ..data.splits import Fold, folds_hash, folds_table, make_folds, with_fold
from ..errors import ConfigError, LeakageError, ManifestError, counted
from ..manifest import SAME_PEOPLE, Manifest, read_settings
from ..models.classifier import Classifier
from ..models.create import create_model
from ..models.device import choose_device, seed_everything
from ..predictions import per_person
from ..runtime import progress, said_once
from ..training.features import dataset_features
from ..training.frozen_head import predict_features
from ..training.logits import place, predict
from ..training.optimisation import make_optimizer
from ..training.trainer import Trainer
from .out_of_fold import Unit, fold_scores, joined

logger = logging.getLogger(__name__)
#: What lives in modules that say the same of every fold.
_SETUP = (Classifier, choose_device, predict_features, make_optimizer)
VERSION = 1  # raise it when the same settings would give other answers


class Study:
    """One cross-validation: data, folds and settings.

    Attributes:
        name: Folder name of its results.
        data: All rated people, as one split.
        folds: Of every repeat.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.name = config.run or f"{config.run_name}_crossval"
        opened = open_run_data(config)
        if SAME_PEOPLE in opened.manifest.stamps:
            raise LeakageError(
                f"{opened.name} keeps a split with the same people on both sides",
                hint="leave --official_split out: crossval divides people itself",
            )
        self.data = opened.everyone("train")
        self.folds = self._make_folds(self.data.manifest)
        self.device, _ = choose_device(config.device)
        self._frozen: Classifier | None = None

    def jobs(self, *, every: bool = False) -> list[tuple[Fold, int]]:
        """Return the (fold, seed) pairs asked for, or every one of the study."""
        wanted = self.config.crossval
        return [
            (fold, seed)
            for fold in self.folds
            for seed in range(wanted.seeds)
            if every or (wanted.fold in (None, fold.fold) and wanted.repeat in (None, fold.repeat))
        ]

    def write_folds(self, folder: Path) -> Path:
        """Write ``folds.csv``: who trains, chooses and is tested in each fold.

        Raises:
            ConfigError: Other folds are there, and some of them were trained.
        """
        people = counted(len(self._people()), "person")
        logger.info("folds: %s, hash %s", people, folds_hash(self.folds))
        path, text = (
            folder / "folds.csv",
            folds_table(self.folds).to_csv(index=False, lineterminator="\n"),
        )
        if not _holds(path, text) and path.is_file() and any((folder / "folds").glob("*.json")):
            raise ConfigError(
                f"{path} was made with other settings: folds",
                hint=f"--run NAME for another folder, or remove {folder}",
            )
        return _keep(path, text)

    def write_settings(self, folder: Path) -> Path:
        """Write ``config.json``, the same whichever folds this call trains."""
        text = json.dumps(self.settings(), indent=2, ensure_ascii=False) + "\n"
        return _keep(folder / "config.json", text)

    def settings(self) -> dict[str, Any]:
        """Return the study's settings: without which part this call does, and with whose help."""
        config = self.config
        whole = replace(config.crossval, fold=None, repeat=None, collect=False)
        data = replace(config.data, cache_dir=None)
        return config_to_dict(replace(config, crossval=whole, data=data, dask=None, workers=None))

    def train(self, folder: Path) -> Iterator[Path]:
        """Train and score every fold asked for that has no file yet."""
        jobs = self.jobs()
        todo = [job for job in jobs if self.read(folder, *job) is None]
        if len(todo) < len(jobs):
            logger.info("%d of %d folds are there already", len(jobs) - len(todo), len(jobs))
        with said_once(*_SETUP):
            for fold, seed in progress(todo, desc="folds"):
                unit = self.fit(with_fold(self.data.manifest, fold), fold, seed)
                yield write_json(
                    _unit_file(folder, fold, seed), {"identity": self.identity(), **unit.to_dict()}
                )

    def fit(self, manifest: Manifest, fold: Fold, seed: int, *, keep: bool = True) -> Unit:
        """Train on one fold and answer its test people.

        Args:
            manifest: With the fold's ``split``; its labels are the ones learnt.
            fold: Names the folder of the checkpoints.
            seed: Added to the config's.
            keep: Keep the checkpoint; of frozen backbones, whose folds differ in the head only,
                those of the first repeat.
        """
        config, train = self.config, self.config.train
        data = self.data.with_manifest(manifest, "train")
        folder = config.checkpoint_dir / self.name / f"{fold.name}_seed{seed}"
        resume = keep and not config.model.freeze_backbone and (folder / "last.pth").is_file()
        train = replace(train, seed=train.seed + seed, resume=resume)
        seed_everything(train.seed)
        model = self.model()
        loader = make_loader(
            data, config.batch_size, seed=train.seed, workers=reader_workers(config.workers)
        )
        settings = config_to_dict(config)
        trainer = Trainer(model, loader, None, config.device, config=train, run_settings=settings)
        kept = keep and (not model.frozen or fold.repeat == seed == 0)
        trainer.train(save_dir=folder if kept else None)
        (folder / "last.pth").unlink(missing_ok=True)  # a finished fold is never resumed
        test = data.with_split("test")
        if model.frozen:
            images = predict_features(model, dataset_features(model, test, self.device), test)
        else:
            images = predict(model, test, self.device)
        assert trainer.validation is not None
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

    def model(self) -> Classifier:
        """Return a fresh model; a frozen backbone is built once, as only its head changes."""
        if self._frozen is not None:
            return self._frozen
        config = self.config
        model = create_model(
            *(config.data.model_dim, config.backbone, config.data.classes),
            weights=config.model.weights,
            dropout=config.model.dropout,
            freeze_backbone=config.model.freeze_backbone,
            ordinal=config.loss == "ordinal",
        )
        if model.frozen:
            self._frozen = place(model, self.device)
            dataset_features(model, self.data, self.device, dask=config.dask)  # of all, once
        return model

    def read(self, folder: Path, fold: Fold, seed: int) -> Unit | None:
        """Return a finished fold's answers, or None.

        Raises:
            ConfigError: It was trained with other settings, people or images.
            ManifestError: The file is damaged.
        """
        path = _unit_file(folder, fold, seed)
        if not path.is_file():
            return None
        hint = f"--run NAME for another folder, or remove {folder}"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            stored = content["identity"]
            unit = Unit.from_dict(content, self.data.scheme)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestError(
                f"{path} is damaged: {type(error).__name__} {error}", hint=f"remove {path}"
            ) from None
        own = self.identity()
        different = sorted(name for name in own if own[name] != stored.get(name))
        if different:
            raise ConfigError(
                f"{path} was made with other settings: {', '.join(different)}", hint=hint
            )
        return unit

    def identity(self) -> dict[str, Any]:
        """Return what all folds of a study must share."""
        config = self.config
        prints = sorted(self.data.rows["fingerprint"].astype("str"))
        ignored = ("resume", "allow_leaks", "tensorboard", "mlflow")
        train = {k: v for k, v in asdict(config.train).items() if k not in ignored}
        model = config_to_dict(config)["model"]
        return {
            "version": VERSION,
            "folds": folds_hash(self.folds),
            "images": hashlib.blake2b("".join(prints).encode(), digest_size=8).hexdigest(),
            "classes": list(self.data.scheme.classes),
            **model,
            **train,
            "backbone": config.backbone,
            "loss": config.loss,
        }

    def permuted(self, folder: Path, units: list[Unit], count: int) -> dict[str, Any] | None:
        """Train one repeat again with labels shuffled among people, `count` times.

        What was done is kept in ``permutation.json``, and a later call adds to it.

        Returns:
            The section ``permutation`` of ``metrics.json``: the first repeat's scores, those of
            shuffled labels, and p = (1 + how many are as good) / (1 + count). None without `count`.
        """
        if not count:
            return None
        path = folder / "permutation.json"
        null = _read_null(path, self.identity())
        if not self.config.model.freeze_backbone:
            logger.warning(
                "--permute_labels trains %d networks", count * self.config.crossval.folds
            )
        with said_once(*_SETUP):
            for number in progress(range(len(null), count), desc="shuffled labels"):
                null.append(self._shuffled_score(number))
                write_json(path, {"identity": self.identity(), "null": null})
        first = [unit.people for unit in units if unit.repeat == unit.seed == 0]
        observed = fold_scores(joined(first))
        return {
            "kind": "labels shuffled among people before training; every fold trained again",
            "n": count,
            "observed": observed,
            "null": {name: [round(row[name], 4) for row in null[:count]] for name in observed},
            "p": {
                name: (1 + sum(row[name] >= value for row in null[:count])) / (1 + count)
                for name, value in observed.items()
            },
        }

    def _shuffled_score(self, number: int) -> dict[str, float]:
        """Return the scores of one repeat in which labels were dealt to people by chance."""
        manifest = self.data.manifest
        people = manifest.people()["label"]
        rng = np.random.default_rng([self.config.data.seed, 1 + number])
        labels = pd.Series(rng.permutation(people.to_numpy()), index=people.index)
        shuffled = manifest.with_columns(label=manifest.table["subject"].map(labels))
        parts = [
            self.fit(with_fold(shuffled, fold), fold, 0, keep=False).people
            for fold in self._make_folds(shuffled, repeats=1)
        ]
        return fold_scores(joined(parts))

    def _make_folds(self, manifest: Manifest, repeats: int | None = None) -> list[Fold]:
        config = self.config
        return make_folds(
            manifest,
            folds=config.crossval.folds,
            repeats=repeats or config.crossval.repeats,
            val_fraction=config.data.val_fraction,
            seed=config.data.seed,
        )

    def _people(self) -> set[str]:
        return set(self.data.subjects)


def _unit_file(folder: Path, fold: Fold, seed: int) -> Path:
    return folder / "folds" / f"{fold.name}_seed{seed}.json"


def _keep(path: Path, text: str) -> Path:
    """Write a file that all tasks of an array share, unless it says the same already."""
    if not _holds(path, text):
        with atomic_file(path, "w") as file:
            file.write(text)
    return path


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _read_null(path: Path, identity: dict[str, Any]) -> list[dict[str, float]]:
    """Return the scores of shuffled labels that an earlier call of the same study left."""
    if not path.is_file():
        return []
    content = read_settings(path)
    null = content.get("null")
    return null if content.get("identity") == identity and isinstance(null, list) else []
