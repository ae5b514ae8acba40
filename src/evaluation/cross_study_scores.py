"""What a model of one study is worth at another: every cell of the matrix, scored.

Beside a score stands what it must be read against: the tested study's own cross-validation, on the
same people; the training study's own, which is what was promised; and the rivals, who learn from
the same people and answer the same people.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..config.own_files import check_own
from ..data.splits import Division
from ..errors import counted
from ..models.calibration import fit_calibration
from ..predictions import FEW_PEOPLE, Predictions, take_rows
from .analyses.dark_voxels import PREFIX, same_length
from .analyses.drift import moved
from .analyses.image_measures import CSF_GREY, stored_image_measures
from .analyses.rivals import people_table, rival_scores
from .cross_study import PAIR, WITHIN, Cell, CrossStudy
from .metrics.intervals import Metric, estimate_and_resample, interval
from .metrics.reliability import CALIBRATION_METRICS
from .metrics.scores import METRICS, score
from .metrics.significance import paired_bootstrap
from .out_of_fold import Unit, joined

logger = logging.getLogger(__name__)
SCHEMA = "crossdata/1"
#: What a cell is told apart by.
SCORES = ("balanced_accuracy", "macro_auc", "auc_demented")
_PROBABILITIES = ("log_loss", "ece_demented", "slope", "intercept")
_RIVALS = ("age_sex", "table", "dark_voxels", "csf_grey", "tissue_maps")
_APART = "maps of several studies have other grids, and are not laid on each other"
_DRAWS = 20  # of the people who calibrate


class Answered:
    """The answers of one cell.

    Args:
        cell: Which.
        units: What its folds answered.

    Attributes:
        raw: Logits as the models gave them, one row per person.
        said: The same, calibrated by validation people of the training side.
    """

    def __init__(self, cell: Cell, units: Sequence[Unit]) -> None:
        self.cell = cell
        self.raw = joined([unit.people for unit in units])
        self.said = joined([unit.calibration.apply(unit.people) for unit in units])


def score_cells(
    study: CrossStudy, answered: dict[str, Answered], n_bootstrap: int
) -> list[dict[str, Any]]:
    """Return the entry of every cell, refused ones with their reason.

    Args:
        study: All cells.
        answered: Name of a cell -> its answers, of every cell that is not refused.
        n_bootstrap: Resamples of people behind every interval.
    """
    measured = _measured(study)
    table = people_table(study.data.manifest)
    labels = study.data.manifest.people()["label"].map(study.data.scheme.index).astype(int)
    entries = []
    for cell in study.cells:
        entry: dict[str, Any] = {
            "name": cell.name,
            "kind": cell.kind,
            "trained_on": list(cell.trained_on),
            "tested_on": cell.tested_on,
            "refused": cell.refused or None,
            "dropped": len(cell.dropped),
            "twice": len(cell.twice),
        }
        if not cell.refused:
            logger.info("scoring %s", cell.name)
            said = answered[cell.name]
            entry |= _scored(study, said, n_bootstrap)
            entry["rivals"] = _rivals(study, cell, table, measured, labels, n_bootstrap)
            entry["drift"] = _drift(cell, answered, n_bootstrap)
            entry["recalibrated"] = recalibrated(
                said, study.config.crossdata.calibrate_on, study.config.data.seed
            )
        entries.append(entry)
    return entries


def whole(study: CrossStudy, entries: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return what ``crossdata.json`` holds, checked."""
    found = {
        "schema": SCHEMA,
        "kind": "crossdata",
        "run": study.name,
        "backbone": study.config.backbone,
        "classes": list(study.data.scheme.classes),
        "stamps": list(study.data.manifest.stamps),
        "studies": [_described(study, name) for name in study.studies],
        "cells": entries,
        "settings": study.settings(),
        "seconds": seconds,
    }
    check_own(found, "crossdata")
    return found


def answers_table(study: CrossStudy, answered: dict[str, Answered]) -> pd.DataFrame:
    """Return a row for every cell and person: ``cell, study, subject, class, predicted, p_...``."""
    classes = study.data.scheme.classes
    parts = []
    for name, one in answered.items():
        rows = one.said
        said = {f"p_{label}": rows.probabilities[:, k] for k, label in enumerate(classes)}
        part = {
            "cell": name,
            "study": one.cell.tested_on,
            "subject": rows.subjects.astype(str),
            "class": [classes[k] for k in rows.labels],
            "predicted": [classes[k] for k in rows.predicted],
        }
        parts.append(pd.DataFrame(part | said))
    return pd.concat(parts, ignore_index=True)


def _described(study: CrossStudy, name: str) -> dict[str, Any]:
    people = study.joined.people_of(name)
    manifest = study.data.manifest
    rows = manifest.where(manifest.table["subject"].isin(people))
    labels = rows.people()["label"].map(study.data.scheme.names)
    ages = rows.people()["age"].dropna()
    return {
        "name": name,
        "cohort": study.cohorts[name],
        "n_people": len(people),
        "n_images": len(rows),
        "classes": {one: int((labels == one).sum()) for one in study.data.scheme.classes},
        "age": [float(ages.min()), float(ages.median()), float(ages.max())] if len(ages) else None,
    }


def _scored(study: CrossStudy, one: Answered, n_bootstrap: int) -> dict[str, Any]:
    train = _train_counts(study, one.cell)
    found = score(one.said, study.data.scheme.classes, train, n_bootstrap)
    values = estimate_and_resample(
        one.said, [{name: CALIBRATION_METRICS[name] for name in _PROBABILITIES}], n_bootstrap, 0
    )
    return {
        "n_trained": int(np.mean([len(fold.development) for fold in one.cell.folds])),
        "n_people": one.said.n_people,
        "metrics": {name: found["metrics"][name] for name in SCORES},
        "per_class": {name: values["n_people"] for name, values in found["per_class"].items()},
        "probabilities": {name: interval(*values[name]) for name in _PROBABILITIES},
    }


def _train_counts(study: CrossStudy, cell: Cell) -> list[int]:
    labels = study.data.manifest.people()["label"].map(study.data.scheme.index)
    learnt = sorted({name for fold in cell.folds for name in fold.development})
    counts = np.bincount(labels[learnt].astype(int), minlength=len(study.data.scheme.classes))
    return [int(count) for count in counts]


def _measured(study: CrossStudy) -> pd.DataFrame:
    """Return what every study's images measure, dark fractions of one length; without maps."""
    tables = []
    for name, part in study.parts.items():
        found = stored_image_measures(part.manifest, part.cache)
        tables.append(found.rename(index=study.joined.named[name]))
    dark = [table.filter(regex=f"^{PREFIX}") for table in tables]
    return same_length(dark).join(pd.concat([table[CSF_GREY] for table in tables]))


def _rivals(
    study: CrossStudy,
    cell: Cell,
    table: pd.DataFrame,
    measured: pd.DataFrame,
    labels: pd.Series,
    n_bootstrap: int,
) -> list[dict[str, Any]]:
    divisions = [Division(fold.development, fold.test) for fold in cell.folds]
    found, _ = rival_scores(
        *(table, measured, labels, divisions, list(study.data.scheme.classes)),
        *(_train_counts(study, cell), n_bootstrap),
    )
    return [
        {
            "name": rival["name"],
            "title": rival["title"],
            "reason": _APART if rival["name"] == "tissue_maps" else rival.get("reason"),
            "metrics": {name: rival["metrics"][name] for name in SCORES}
            if rival["available"]
            else None,
        }
        for rival in found
        if rival["name"] in _RIVALS
    ]


def _drift(cell: Cell, answered: dict[str, Answered], n_bootstrap: int) -> dict[str, Any] | None:
    """Return how far a cell lies from the tested study's own answers, and from what was promised.

    ``home``: minus the cross-validation of the tested study, on the people both answered.
    ``promised``: minus the cross-validation of the training study, whose people are others.
    """
    if cell.kind == WITHIN:
        return None
    measures: dict[str, Metric] = {name: METRICS[name] for name in SCORES}
    said = answered[cell.name].said
    found: dict[str, Any] = {"home": None, "promised": None}
    home = answered.get(f"{cell.tested_on}_within")
    if home is not None:
        here, there = _same_people(said, home.said)
        compared = paired_bootstrap(here, there, measures, n_bootstrap)
        found["home"] = {name: _ends(compared[name]) for name in SCORES}
    promised = answered.get(f"{cell.trained_on[0]}_within") if cell.kind == PAIR else None
    if promised is not None:
        apart = moved(promised.said, said, measures, n_bootstrap)
        found["promised"] = {name: apart[name]["difference"] for name in SCORES}
    return found


def _ends(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("value", "low", "high")}


def _same_people(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions]:
    """Return the rows of the people whom both answered."""
    both = np.intersect1d(a.subjects.astype(str), b.subjects.astype(str))
    here, there = (
        take_rows(rows, np.flatnonzero(np.isin(rows.subjects.astype(str), both))) for rows in (a, b)
    )
    return here, there


def recalibrated(one: Answered, n_people: int | None, seed: int) -> dict[str, Any] | None:
    """Calibrate anew on a few people of the tested study, and score the others.

    Args:
        one: Answers of a cell.
        n_people: Who calibrate, drawn class by class; None does nothing.
        seed: Of the draws.

    Returns:
        ``n_people``, ``draws``, ``method``, and for each measure of probabilities ``as_it_came``
        and ``recalibrated``: mean, 2.5th and 97.5th percentile over draws, each on the people left.
        None where nothing was asked for, or in a cell of one study; a ``reason`` where too few
        people are there.
    """
    if n_people is None or one.cell.kind == WITHIN:
        return None
    rows = one.raw
    if rows.n_people < n_people + FEW_PEOPLE:
        reason = (
            f"{counted(rows.n_people, 'person')} of {one.cell.tested_on}; {FEW_PEOPLE} must be left"
        )
        return {"n_people": n_people, "reason": reason}
    rng = np.random.default_rng([seed, 1])
    before: list[dict[str, float]] = []
    after: list[dict[str, float]] = []
    methods = set()
    for _ in range(_DRAWS):
        chosen = _drawn(rows.labels, n_people, rng)
        rest = np.setdiff1d(np.arange(len(rows.labels)), chosen)
        calibration = fit_calibration(take_rows(rows, chosen), "vector")
        methods.add(calibration.method)
        before.append(_trust(take_rows(one.said, rest)))
        after.append(_trust(calibration.apply(take_rows(rows, rest))))
    return {
        "n_people": n_people,
        "draws": _DRAWS,
        "method": " or ".join(sorted(methods)),
        "as_it_came": _over_draws(before),
        "recalibrated": _over_draws(after),
    }


def _drawn(labels: Any, count: int, rng: np.random.Generator) -> Any:
    """Return `count` rows, as many of each label as its share asks for."""
    order = rng.permutation(len(labels))
    ranked = order[np.argsort(labels[order], kind="stable")]
    return ranked[np.linspace(0, len(ranked) - 1, count).round().astype(int)]


def _trust(rows: Predictions) -> dict[str, float]:
    values = estimate_and_resample(
        rows, [{name: CALIBRATION_METRICS[name] for name in _PROBABILITIES}], 0, 0
    )
    return {name: float(values[name][0]) for name in _PROBABILITIES}


def _over_draws(found: list[dict[str, float]]) -> dict[str, Any]:
    return {
        name: interval(np.nanmean(values), np.asarray(values))
        for name in _PROBABILITIES
        if np.isfinite(values := [one[name] for one in found]).any()
    }
