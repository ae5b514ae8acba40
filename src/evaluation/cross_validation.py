"""One cross-validation by person: its data, its folds, and the files of those that are done.

One split of a few hundred people decides little. Here every rated person is tested once in every
repeat, by a model that never saw the person; what chooses (epoch, penalty, temperature) are other
people inside the fold. A fold's answers are one file, so a stopped run continues and a cluster's
job array can share the work.

`fold_training` trains the folds, `out_of_fold` joins their answers, `shuffled_labels` tells what
chance gives.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import RunConfig
from ..config.options import config_to_dict
from ..config.own_files import in_short
from ..data.dataset import MriDataset
from ..data.given_split import folds_of
from ..data.run_data import as_made, open_run_data
from ..data.split_files import SplitFile, read_split
from ..data.splits import Fold, folds_by, folds_hash, folds_table, make_folds, of_one
from ..errors import CheckpointError, ConfigError, LeakageError, ManifestError, counted
from ..files import FileError, atomic_file, read_bytes, read_json, write_json
from ..manifest import SAME_PEOPLE, Manifest
from .out_of_fold import Unit, check_unit

logger = logging.getLogger(__name__)
#: What reading a damaged file of a fold gives.
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
#: Of a fold -> the flag that says how many there are.
_COUNTED = {"fold": "folds", "repeat": "repeats"}
FOLDS = "folds.csv"
#: Settings of a training that change nothing of what it learns.
NO_MATTER = ("resume", "allow_leaks", "tensorboard", "mlflow")
VERSION = 1  # raise it when the same settings would give other answers


class Study:
    """One cross-validation: data, folds and settings.

    Args:
        config: Of the run.

    Attributes:
        name: Folder name of its results.
        data: All rated people, as one split.
        folds: Of every repeat.
        given: The same where ``--split`` named a file of them; else empty.
        everyone: All people of the data set, rated or not.
        unrated: Rows without a rating, where tasks beside the stage may learn from them.
    """

    given: tuple[Fold, ...] = ()
    unrated: Manifest | None = None

    def __init__(self, config: RunConfig) -> None:
        wanted = config.crossval
        held_out = f"_hold_out_{wanted.hold_out}" if wanted.hold_out else ""
        combat = f"_{wanted.harmonise}" if wanted.harmonise else ""
        self.name = config.run or f"{config.run_name}_crossval{held_out}{combat}"
        opened = open_run_data(config, split=None)
        if SAME_PEOPLE in opened.manifest.stamps:
            raise LeakageError(
                f"{opened.name} keeps a split with the same people on both sides",
                hint="leave --official_split out: crossval divides people itself",
            )
        self.config = config
        self.data = _of_known(opened.everyone("train"), wanted.column)
        _require_sites(self.data.manifest, config)
        self.everyone = sorted(set(opened.manifest.table["subject"]))
        self.unrated = _unrated(opened.manifest) if config.train.beside else None
        if config.data.split is not None:
            if wanted.hold_out:
                raise ConfigError(
                    f"--split gives the folds, and --hold_out {wanted.hold_out} others",
                    hint="leave one of the two out",
                )
            self._take_folds(read_split(config.data.split))
        self.folds = self.divide(self.data.manifest)
        last = max(fold.fold for fold in self.folds)
        if wanted.fold is not None and wanted.fold > last:
            raise ConfigError(
                f"--fold {wanted.fold} is not in 0 to {last}: there is one for each "
                f"{wanted.hold_out}",
                hint=f"--fold {last} is the last",
            )

    def _take_folds(self, split: SplitFile) -> None:
        """Take the folds of a file, and of the people those whom it names.

        Raises:
            ConfigError: Another number of folds or repeats was asked for.
        """
        manifest, asked = self.data.manifest, self.config.crossval
        self.given = tuple(folds_of(split, manifest))
        counts = {name: 1 + max(getattr(one, name) for one in self.given) for name in _COUNTED}
        for name, count in counts.items():
            flag = _COUNTED[name]
            if getattr(asked, flag) not in (count, getattr(type(asked)(), flag)):
                raise ConfigError(
                    f"--{flag} {getattr(asked, flag)}, and {split.path} has {count}",
                    hint=f"leave --{flag} out, or give --{flag} {count}",
                )
        changed = {_COUNTED[name]: count for name, count in counts.items()}
        self.config = replace(self.config, crossval=replace(asked, **changed))
        named = {*self.given[0].development, *self.given[0].test}
        self.data = self.data.with_manifest(
            manifest.where(manifest.table["subject"].isin(named)), "train"
        )

    def divide(self, manifest: Manifest, repeats: int | None = None) -> list[Fold]:
        """Return the folds of people with these labels; None takes the config's repeats.

        Those of a file stay as they are, whatever the labels.
        """
        if self.given:
            return [one for one in self.given if repeats is None or one.repeat < repeats]
        wanted, data = self.config.crossval, self.config.data
        times = repeats or wanted.times
        drawn: dict[str, Any] = {"val_fraction": data.val_fraction, "seed": data.seed}
        if wanted.hold_out:
            return folds_by(manifest, wanted.hold_out, repeats=times, **drawn)
        return make_folds(manifest, folds=wanted.parts, repeats=times, **drawn)

    def jobs(self, *, every: bool = False) -> list[tuple[Fold, int]]:
        """Return the (fold, seed) pairs asked for, or every one of the study."""
        wanted = self.config.crossval
        return [
            (fold, seed)
            for fold in self.folds
            for seed in range(wanted.seeds)
            if every or (wanted.fold in (None, fold.fold) and wanted.repeat in (None, fold.repeat))
        ]

    def keeps_model_of(self, fold: Fold, seed: int) -> bool:
        """Return whether a fold's checkpoint is kept.

        Folds of a frozen backbone differ in the head only, and what a checkpoint must know for new
        scans takes longer than the head: those of the first repeat are kept where that is asked.
        """
        asked = self.config.crossval.keep_models and fold.repeat == seed == 0
        return asked or not self.config.model.freeze_backbone

    def write_folds(self, folder: Path) -> Path:
        """Write ``folds.csv``: who trains, chooses and is tested in each fold.

        A damaged one is written again.

        Raises:
            ConfigError: Some folds were trained, and are others.
        """
        people = counted(len(set(self.data.subjects)), "person")
        logger.info("folds: %s, hash %s", people, folds_hash(self.folds))
        path = folder / FOLDS
        text = folds_table(self.folds).to_csv(index=False, lineterminator="\n")
        if path.is_file() and not _holds(path, text):
            if _trained_with_others(folder, folds_hash(self.folds)):
                raise ConfigError(
                    f"{path} was made with other settings: folds",
                    hint=_elsewhere(folder),
                )
            logger.warning("%s is not of these folds: it is written again", path)
        return keep(path, text)

    def write_settings(self, folder: Path) -> Path:
        """Write ``config.json``, the same whichever folds this call trains."""
        text = json.dumps(self.settings(), indent=2, ensure_ascii=False) + "\n"
        return keep(folder / "config.json", text)

    def settings(self) -> dict[str, Any]:
        """Return the study's settings: without which part this call does, and with whose help."""
        config = self.config
        whole = replace(config.crossval, fold=None, repeat=None, collect=False)
        data = replace(config.data, cache_dir=None)
        settings = config_to_dict(
            replace(config, crossval=whole, data=data, dask=None, workers=None, keep_memory=True)
        )
        return as_made(settings, self.data.settings)

    def write(self, folder: Path, fold: Fold, unit: Unit) -> Path:
        """Write a finished fold's answers, as one file that `read` reads."""
        content = {"identity": self.identity_of(fold), **unit.to_dict()}
        return write_json(_unit_file(folder, fold, unit.seed), content)

    def read(self, folder: Path, fold: Fold, seed: int) -> Unit | None:
        """Return a finished fold's answers, or None.

        Raises:
            ConfigError: It was trained with other settings, people or images.
            ManifestError: The file is damaged.
        """
        path = _unit_file(folder, fold, seed)
        if not path.is_file():
            return None
        own = self.identity_of(fold)
        try:
            content = read_json(path)
            stored = dict(content["identity"])
            different = sorted(name for name in own if own[name] != stored.get(name))
            if not different:
                unit = Unit.from_dict(content, self.data.scheme)
                check_unit(unit, fold, seed, self.data)
        except (*_DAMAGED, CheckpointError) as error:
            if isinstance(error, FileError):
                raise
            raise ManifestError(
                f"{path} is damaged: {in_short(error)}", hint=f"remove {path}"
            ) from None
        if different:
            raise ConfigError(
                f"{path} was made with other settings: {', '.join(different)}",
                hint=_elsewhere(folder),
            )
        return unit

    def identity_of(self, fold: Fold) -> dict[str, Any]:
        """Return what the answers of a fold depend on: here, what all of them share."""
        return self.identity()

    def _answers_identity(self) -> str | None:
        """Return a hash of the answers beside the stage, and whose; None of the stage alone."""
        tasks = self.config.train.beside
        if not tasks:
            return None
        tables = [self.data.rows, *([] if self.unrated is None else [self.unrated.table])]
        known = pd.concat(tables)[["fingerprint", *tasks]].sort_values(["fingerprint", *tasks])
        text = known.to_csv(index=False, lineterminator="\n")
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def identity(self) -> dict[str, Any]:
        """Return what all folds of a study must share."""
        config = self.config
        prints = sorted(self.data.rows["fingerprint"].astype("str"))
        train = {k: v for k, v in config.train.identity.items() if k not in NO_MATTER}
        model = config_to_dict(config)["model"]
        if model["pool"] == "mean":  # folds from before there were others tell nothing
            model["pool"] = None
        return {
            "version": VERSION,
            "folds": folds_hash(self.folds),
            "images": hashlib.blake2b("".join(prints).encode(), digest_size=8).hexdigest(),
            "classes": list(self.data.scheme.classes),
            **model,
            **train,
            "backbone": config.backbone,
            "loss": config.loss,
            "answers of tasks": self._answers_identity(),
            **({"harmonise": config.crossval.harmonise} if config.crossval.harmonise else {}),
        }


def _of_known(data: MriDataset, column: str | None) -> MriDataset:
    """Leave out people whose site is not known, or who were scanned at several; count them.

    Raises:
        ConfigError: Nobody is left.
    """
    if column is None:
        return data
    manifest, none, several = of_one(data.manifest, column)
    for count, why in ((none, f"no {column}"), (several, f"scans of more than one {column}")):
        if count:
            logger.warning("left out: %s with %s", counted(count, "person"), why)
    if not len(manifest):
        raise ConfigError(
            f"nobody of {data.manifest.root} has a {column} that is known and one",
            hint=f"fill the column {column} of the cohort's table and preprocess again, or leave "
            "--hold_out and --harmonise out",
        )
    return data.with_manifest(manifest, "train")


def _unrated(manifest: Manifest) -> Manifest | None:
    """Return the rows without a rating, on no side; None where there are none."""
    found = manifest.where(manifest.table["label"].isna())
    return found.with_columns(split=None) if len(found) else None


def _require_sites(manifest: Manifest, config: RunConfig) -> None:
    """Refuse to harmonise people of one site."""
    sites = manifest.table["site"].dropna().unique()
    if config.crossval.harmonise and len(sites) < 2:
        raise ConfigError(
            f"everyone of {manifest.root} is of one site, {sites[0]}: nothing to harmonise",
            hint="leave --harmonise out",
        )


def _unit_file(folder: Path, fold: Fold, seed: int) -> Path:
    return folder / "folds" / f"{fold.name}_seed{seed}.json"


def _trained_with_others(folder: Path, hashed: str) -> bool:
    """Return whether a fold in the folder says that it is one of other folds than `hashed`."""
    for path in (folder / "folds").glob("*.json"):
        try:
            if read_json(path)["identity"]["folds"] != hashed:
                return True
        except _DAMAGED:
            continue  # named when it is read
    return False


def _elsewhere(folder: Path) -> str:
    return f"--run NAME for another folder, or remove {folder}"


def keep(path: Path, text: str) -> Path:
    """Write a file that all tasks of an array share, unless it says the same already."""
    if not _holds(path, text):
        with atomic_file(path, "w") as file:
            file.write(text)
    return path


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and read_bytes(path) == text.encode()  # it may be no text
