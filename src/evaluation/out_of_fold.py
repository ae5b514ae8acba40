"""Answers of folds: kept as one file each, joined into out-of-fold answers of everyone.

Axes: U units (repeat, fold, seed), n rows (a person per repeat and seed), K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..config.own_files import check_own, short
from ..data.dataset import MriDataset
from ..data.splits import Division, Fold, folds_hash
from ..files import LARGEST_WHOLE
from ..labels import ClassScheme
from ..models.calibration import Calibration
from ..models.conformal import LEVELS, Conformal, Sets, estimable, prediction_sets
from ..models.task_values import TaskValues, joined_values
from ..predictions import Array, Predictions, per_person, take_rows, unweighted
from .answers import Answers
from .metrics.scores import METRICS
from .metrics.significance import corrected_interval

#: What is told of every fold.
FOLD_METRICS = ("balanced_accuracy", "macro_auc")


@dataclass(frozen=True)
class Unit:
    """What one trained model said of its fold's test people.

    Attributes:
        repeat: From 0.
        fold: From 0.
        seed: From 0.
        people: Raw logits, one row per person.
        images: Raw logits, one row per image.
        rows: ``subject, session, slice`` of the images.
        calibration: Fitted on the fold's validation people.
        conformal: Likewise.
        tried: What the fold's search tried; empty without one.
        tasks: What was said of the images beside the stage; None of the stage alone.
    """

    repeat: int
    fold: int
    seed: int
    people: Predictions
    images: Predictions
    rows: pd.DataFrame
    calibration: Calibration
    conformal: Conformal
    tried: list[dict[str, Any]] = field(default_factory=list)
    tasks: TaskValues | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values that `from_dict` reads."""
        return {
            **{name: getattr(self, name) for name in ("repeat", "fold", "seed")},
            "people": packed(self.people),
            "images": packed(self.images),
            "sessions": [None if pd.isna(value) else str(value) for value in self.rows["session"]],
            "slices": [None if pd.isna(value) else int(value) for value in self.rows["slice"]],
            "calibration": self.calibration.to_dict(),
            "conformal": self.conformal.to_dict(),
            **({"search": self.tried} if self.tried else {}),
            **({"tasks": self.tasks.to_dict()} if self.tasks else {}),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any], scheme: ClassScheme) -> Unit:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: Or KeyError or TypeError: it is damaged.
        """
        k = len(scheme.classes)
        images = unpacked(content["images"], k)
        rows = pd.DataFrame(
            {
                "subject": images.subjects,
                "session": pd.Series(_texts(content["sessions"], empty=True), dtype="str"),
                "slice": pd.Series(
                    [one if one is None else _whole(one, "slices") for one in content["slices"]],
                    dtype="Int64",
                ),
            }
        )
        return cls(
            **{name: _whole(content[name], name) for name in ("repeat", "fold", "seed")},
            people=unpacked(content["people"], k),
            images=images,
            rows=rows,
            calibration=Calibration.from_dict(content["calibration"], k),
            conformal=Conformal.from_dict(content["conformal"], k),
            tried=_checked_search(content.get("search", [])),
            tasks=TaskValues.from_dict(content.get("tasks"), len(images.labels)),
        )


def _checked_search(tried: Any) -> list[dict[str, Any]]:
    """Return what a search tried, as it was stored; one of it was chosen."""
    check_own({"tried": tried}, "search")
    if tried and [one["chosen"] for one in tried].count(True) != 1:
        raise ValueError("its search chose none of what it tried, or several")
    return list(tried)


def check_unit(unit: Unit, fold: Fold, seed: int, data: MriDataset) -> None:
    """Check that a unit is of this fold: each of its test people once, every image, every class.

    Raises:
        ValueError: It is not.
    """
    if (unit.repeat, unit.fold, unit.seed) != (fold.repeat, fold.fold, seed):
        raise ValueError("it is of another fold")
    tested = np.isin(data.subjects, fold.test)
    rows = data.rows[tested]
    there = pd.MultiIndex.from_frame(unit.rows.astype(object).fillna(-1))
    wanted = pd.MultiIndex.from_frame(
        rows[["subject", "session", "slice"]].astype(object).fillna(-1)
    )
    if sorted(unit.people.subjects) != sorted(fold.test):
        raise ValueError("its people are not each of the fold's test people once")
    if len(there) != len(wanted) or not there.sort_values().equals(wanted.sort_values()):
        raise ValueError("its images are not each of the fold's test images once")
    label = dict(zip(wanted, data.labels[tested], strict=True))
    if [label[image] for image in there] != unit.images.labels.tolist():
        raise ValueError("a label of an image is not the data set's")
    of_images = per_person(unit.images)
    place = {name: row for row, name in enumerate(of_images.subjects)}
    of_images = take_rows(of_images, np.array([place[name] for name in unit.people.subjects]))
    if not np.array_equal(of_images.labels, unit.people.labels):
        raise ValueError("a label of a person is not that of the images")
    # Each was rounded to six decimals.
    if not np.allclose(of_images.logits, unit.people.logits, rtol=1e-6, atol=3e-6):
        raise ValueError("an answer on a person is not the mean of those on the images")


def collect_units(
    units: Sequence[Unit], folds: Sequence[Fold], data: MriDataset
) -> tuple[Answers, dict[str, Any]]:
    """Join the answers of all folds.

    Args:
        units: Every (repeat, fold, seed) of a study.
        folds: Of every repeat.
        data: All rated people.

    Returns:
        Everyone's answers, and the section ``crossval`` of ``metrics.json``.
    """
    raw = joined([unit.people for unit in units])
    calibrated = joined([unit.calibration.apply(unit.people) for unit in units])
    first = [unit for unit in units if unit.repeat == unit.seed == 0]
    keys = [(unit.repeat, unit.fold, unit.seed) for unit in units for _ in unit.people.labels]
    by_fold = {(fold.repeat, fold.fold): fold for fold in folds}
    answers = Answers(
        raw=raw,
        calibrated=calibrated,
        sets={level: _sets(units, level) for level in LEVELS},
        estimable={
            level: np.all([estimable(unit.conformal, level) for unit in units], axis=0).tolist()
            for level in LEVELS
        },
        calibration=mean_calibration([unit.calibration for unit in units]),
        images=joined([unit.calibration.apply(unit.images) for unit in first]),
        image_rows=pd.concat([unit.rows for unit in first], ignore_index=True),
        keys=pd.DataFrame(keys, columns=["repeat", "fold", "seed"]),
        divisions=[
            Division(by_fold[unit.repeat, unit.fold].development, tuple(unit.people.subjects))
            for unit in units
        ],
        train_counts=data.people_per_class().tolist(),
        manifest=data.manifest,
        cache=data.cache,
        scheme=data.scheme,
        name=data.name,
        split="out-of-fold",
        tasks=_tasks(units, by_person=True),
        image_tasks=_tasks(first, by_person=False),
    )
    return answers, _describe(units, folds)


def _tasks(units: Sequence[Unit], *, by_person: bool) -> TaskValues | None:
    """Return what units say beside the stage, in the order of their people or images."""
    known = [unit for unit in units if unit.tasks is not None]
    if len(known) < len(units):
        return None
    parts = []
    for unit in known:
        assert unit.tasks is not None
        if not by_person:
            parts.append(unit.tasks)
            continue
        said = unit.tasks.per_person(unit.images.subjects)
        names = dict.fromkeys(map(str, unit.images.subjects))
        place = {name: row for row, name in enumerate(names)}
        parts.append(said.rows([place[str(name)] for name in unit.people.subjects]))
    return joined_values(parts)


def fold_scores(people: Predictions) -> dict[str, float]:
    """Return `FOLD_METRICS` of some people; NaN where a class is missing."""
    return {name: float(METRICS[name](unweighted(people))[0]) for name in FOLD_METRICS}


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the rows of all parts, one after the other.

    Where some parts weigh rows and others take the mean, as folds do whose search chose between
    the two, each row of these counts one of its person's rows: that is what the mean does.
    """
    return Predictions(
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.subjects for part in parts]),
        _joined_weights(parts),
    )


def _joined_weights(parts: Sequence[Predictions]) -> Array | None:
    if all(part.weights is None for part in parts):
        return None
    return np.concatenate([_equal(one) if one.weights is None else one.weights for one in parts])


def _equal(part: Predictions) -> Array:
    """Return the weights (n,) of a mean over each person's rows; of a person they sum to 1."""
    return np.asarray(1 / np.bincount(part.people)[part.people])


def mean_calibration(calibrations: Sequence[Calibration]) -> Calibration:
    """Return the mean of several folds' calibrations, which stands for them in a report."""
    scale = np.mean([calibration.scale for calibration in calibrations], axis=0)
    shift = np.mean([calibration.shift for calibration in calibrations], axis=0)
    return Calibration(
        method=calibrations[0].method,
        scale=tuple(map(float, scale)),
        shift=tuple(map(float, shift)),
        n_people=round(float(np.mean([calibration.n_people for calibration in calibrations]))),
        reason=f"each fold by its own validation people; here the mean of {len(calibrations)}",
    )


def _describe(units: Sequence[Unit], folds: Sequence[Fold]) -> dict[str, Any]:
    scores = [fold_scores(unit.people) for unit in units]
    searched = [
        {**{name: getattr(unit, name) for name in ("repeat", "fold", "seed")}, "tried": unit.tried}
        for unit in units
        if unit.tried
    ]
    held_out = {fold.fold: {"held_out": fold.held_out} for fold in folds if fold.held_out}
    whole = _scores_by_division(units)
    n_test = float(np.mean([len(fold.test) for fold in folds]))
    n_train = float(np.mean([len(fold.development) for fold in folds]))
    return {
        "folds": 1 + max(fold.fold for fold in folds),
        "repeats": 1 + max(fold.repeat for fold in folds),
        "seeds": 1 + max(unit.seed for unit in units),
        "folds_hash": folds_hash(list(folds)),
        "per_fold": [
            {
                **{name: getattr(unit, name) for name in ("repeat", "fold", "seed")},
                **held_out.get(unit.fold, {}),
                "n_people": unit.people.n_people,
                "metrics": {k: None if np.isnan(v) else v for k, v in row.items()},
            }
            for unit, row in zip(units, scores, strict=True)
        ],
        **({"search": searched} if searched else {}),
        "spread": {name: _spread(whole[name]) for name in FOLD_METRICS},
        "corrected": {
            name: corrected_interval([row[name] for row in scores], n_train, n_test)
            for name in FOLD_METRICS
        },
    }


def _scores_by_division(units: Sequence[Unit]) -> dict[str, pd.Series]:
    """Return for each metric the score of everyone, indexed by (repeat, seed)."""
    keys = sorted({(unit.repeat, unit.seed) for unit in units})
    rows = [
        fold_scores(joined([unit.people for unit in units if (unit.repeat, unit.seed) == key]))
        for key in keys
    ]
    index = pd.MultiIndex.from_tuples(keys, names=["repeat", "seed"])
    return dict(pd.DataFrame(rows, index=index).items())


def _spread(scores: pd.Series) -> dict[str, float | None]:
    """Tell apart what the division of people does and what the seed of training does."""
    by_repeat = scores.groupby("repeat")
    repeats = by_repeat.mean().std(ddof=1)
    seeds = np.sqrt(by_repeat.var(ddof=1).mean())
    return {
        "sd_repeats": None if np.isnan(repeats) else float(repeats),
        "sd_seeds": None if np.isnan(seeds) else float(seeds),
    }


def _sets(units: Sequence[Unit], level: float) -> Sets:
    """Return each row's prediction set, made by its own fold's validation people."""
    parts = [
        prediction_sets(unit.conformal, unit.calibration.apply(unit.people), level)
        for unit in units
    ]
    return np.concatenate(parts)


def packed(predictions: Predictions) -> dict[str, Any]:
    """Return JSON values that `unpacked` reads, logits with six decimals."""
    weights = predictions.weights
    return {
        "subjects": [str(name) for name in predictions.subjects],
        "labels": predictions.labels.tolist(),
        "logits": predictions.logits.round(6).tolist(),
        # Nine decimals: of many slices each weighs little.
        **({} if weights is None else {"weights": weights.round(9).tolist()}),
    }


def unpacked(content: dict[str, Any], classes: int) -> Predictions:
    """Read what `packed` wrote.

    Raises:
        ValueError: Or KeyError or TypeError: it is damaged.
    """
    subjects = np.array(_texts(content["subjects"]), dtype=object)
    labels = np.array([_whole(one, "labels") for one in content["labels"]])
    logits = np.array(content["logits"])
    if logits.dtype.kind not in "fi" or logits.shape != (len(labels), classes):
        raise ValueError(f"logits are not {classes} numbers for each of {len(labels)} rows")
    weights = np.array(content["weights"]) if "weights" in content else None
    if weights is not None and weights.dtype.kind not in "fi":
        raise ValueError("weights are no numbers")
    return Predictions(labels, logits, subjects, weights)


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or abs(value) > LARGEST_WHOLE:
        raise ValueError(f"{name} has {short(value)}, which is no whole number")
    return value


def _texts(values: Any, *, empty: bool = False) -> list[str]:
    if not isinstance(values, list):
        raise TypeError(f"{short(values)} is no list of texts")
    for value in values:
        if not isinstance(value, str) and not (empty and value is None):
            raise ValueError(f"{short(value)} is no text")
    return values
