"""The score over the number of people who train: folds trained again on fewer of their people.

Every fold is trained on nested shares of its development people, each inside the next, and answers
the same test people each time. Dark voxels are fitted to the same people. The answers are kept as
one file, so a stopped run continues.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config.own_files import read_own
from ..data.splits import Division, Fold, with_fold
from ..errors import ManifestError
from ..files import write_json
from ..predictions import Predictions
from ..runtime import progress, said_once
from .analyses.dark_voxels import PREFIX
from .analyses.growth import Point, growth
from .analyses.image_measures import stored_image_measures
from .analyses.rivals import missing_reason, rival_predictions
from .cross_validation import Study
from .fold_training import SETUP, FoldTraining
from .out_of_fold import Unit, joined, packed, unpacked

logger = logging.getLogger(__name__)
#: Of a fold's development people; the last one is the study itself.
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
_LEAST = 2  # people of each stage who train, where there are as many
#: Answers of one fold by the model of one share of its people.
Done = dict[tuple[int, int, float], Predictions]


def learning_curve(
    study: Study, training: FoldTraining, folder: Path, units: Sequence[Unit], n_bootstrap: int
) -> dict[str, Any]:
    """Train every fold again on shares of its development people.

    What was done is kept in ``learning_curve.json``, and a later call adds to it.

    Args:
        study: Whose people and folds.
        training: Of the study.
        folder: Of its results.
        units: Its answers; those of the first seed are the curve's last point.
        n_bootstrap: Resamples of people.

    Returns:
        The section ``learning_curve`` of ``metrics.json``.
    """
    done = _train(study, training, folder)
    for unit in units:
        if unit.seed == 0:
            done[unit.repeat, unit.fold, 1.0] = unit.calibration.apply(unit.people)
    stages = study.data.manifest.people()["label"].dropna()
    nested = [nested_folds(fold, stages, study.config.data.seed) for fold in study.folds]
    rival, reason = _dark_voxels(study)
    points = []
    for number, share in enumerate(SHARES):
        own = [folds[number] for folds in nested]
        points.append(
            Point(
                share=share,
                n_people=float(np.mean([len(fold.development) for fold in own])),
                model=joined([done[fold.repeat, fold.fold, share] for fold in own]),
                dark_voxels=None if rival is None else _rival_answers(study, rival, own),
                repeat=np.repeat([fold.repeat for fold in own], [len(fold.test) for fold in own]),
            )
        )
    return growth(points, study.data.scheme.classes, n_bootstrap, reason=reason)


def nested_folds(
    fold: Fold, stages: pd.Series, seed: int, shares: Sequence[float] = SHARES
) -> list[Fold]:
    """Return a fold with shares of its train and val people: those of a smaller in a larger one.

    Each stage gives its share of either side, and two people of train at least where it has as
    many: no class of the fold is lost. The test people are the same.

    Args:
        fold: Of the study.
        stages: Stage of each person, indexed by subject.
        seed: Same seed, same fold, same people.
        shares: In (0, 1].
    """
    rng = np.random.default_rng([seed, fold.repeat, fold.fold, len(fold.test)])
    chosen: dict[str, list[list[str]]] = {}
    for side, least in (("train", _LEAST), ("val", 1)):
        own = stages[list(getattr(fold, side))]
        chosen[side] = [[] for _ in shares]
        for _, people in own.groupby(own, sort=True):
            names = rng.permutation(sorted(people.index)).tolist()
            for names_of, share in zip(chosen[side], shares, strict=True):
                names_of += names[: max(round(share * len(names)), least)]
    return [
        replace(fold, train=tuple(sorted(train)), val=tuple(sorted(val)))
        for train, val in zip(chosen["train"], chosen["val"], strict=True)
    ]


def _train(study: Study, training: FoldTraining, folder: Path) -> Done:
    """Train what an earlier call did not, on all shares but the last."""
    path, manifest = folder / "learning_curve.json", study.data.manifest
    classes = len(study.data.scheme.classes)
    done = _read_done(path, study)
    stages = manifest.people()["label"].dropna()
    todo = [
        (fold, number)
        for fold, number in product(study.folds, range(len(SHARES) - 1))
        if (fold.repeat, fold.fold, SHARES[number]) not in done
    ]
    if todo and not study.config.model.freeze_backbone:
        logger.warning("--learning_curve trains %d networks", len(todo))
    with said_once(*SETUP):
        for fold, number in progress(todo, desc="learning curve"):
            smaller = nested_folds(fold, stages, study.config.data.seed)[number]
            unit = training.fit(with_fold(manifest, smaller), smaller, 0, keep=False)
            said = unpacked(packed(unit.calibration.apply(unit.people)), classes)
            done[fold.repeat, fold.fold, SHARES[number]] = said
            _write_done(path, study, done)
    return done


def _write_done(path: Path, study: Study, done: Done) -> None:
    parts = [
        {"repeat": repeat, "fold": fold, "share": share, **packed(said)}
        for (repeat, fold, share), said in done.items()
    ]
    write_json(path, {"identity": study.identity(), "digest": _digest(parts), "parts": parts})


def _read_done(path: Path, study: Study) -> Done:
    """Return the answers that an earlier call of the same study left."""
    if not path.is_file():
        return {}
    try:
        content = read_own(path, "learning_curve", hint="")
        if content["digest"] != _digest(content["parts"]):
            raise ManifestError(f"{path} is damaged: its answers are not those that were written")
    except ManifestError as error:
        logger.warning("%s; the learning curve is trained again", error.message)
        return {}
    if content["identity"] != study.identity():
        logger.warning("%s is of other settings; the learning curve is trained again", path)
        return {}
    classes = len(study.data.scheme.classes)
    return {
        (part["repeat"], part["fold"], part["share"]): unpacked(part, classes)
        for part in content["parts"]
    }


def _digest(parts: list[dict[str, Any]]) -> str:
    """Return what changes with any answer: a number that was edited would be scored unseen."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _dark_voxels(study: Study) -> tuple[pd.DataFrame | None, str | None]:
    """Return the rival's measures of everyone; or None, and why."""
    dark = stored_image_measures(study.data.manifest, study.data.cache)
    columns = [] if dark is None else [name for name in dark if str(name).startswith(PREFIX)]
    people = sorted({name for fold in study.folds for name in (*fold.development, *fold.test)})
    reason = missing_reason(dark, columns, people)
    if dark is None or reason:
        return None, reason
    return dark.loc[people, columns], None


def _rival_answers(study: Study, measures: pd.DataFrame, folds: Sequence[Fold]) -> Predictions:
    """Return what the rival says that was fitted to each fold's development people."""
    people, scheme = study.data.manifest.people(), study.data.scheme
    labels = people["label"].dropna().map(scheme.index).astype(int)
    divisions = [Division(fold.development, fold.test) for fold in folds]
    site = people["site"] if study.config.crossval.harmonise else None
    return rival_predictions(measures, labels, divisions, len(scheme.classes), site)
