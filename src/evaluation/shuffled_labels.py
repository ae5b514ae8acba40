"""What chance gives: one repeat of a cross-validation, with labels shuffled among people."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config.own_files import read_own
from ..data.splits import with_fold
from ..errors import ManifestError
from ..files import write_json
from ..runtime import progress, said_once
from .cross_validation import Study
from .fold_training import SETUP, FoldTraining
from .out_of_fold import Unit, fold_scores, joined

logger = logging.getLogger(__name__)


def permutation_test(
    study: Study, training: FoldTraining, folder: Path, units: Sequence[Unit], count: int
) -> dict[str, Any] | None:
    """Train one repeat again with labels shuffled among people, `count` times.

    What was done is kept in ``permutation.json``, and a later call adds to it.

    Args:
        study: Whose people and folds.
        training: Of the study.
        folder: Of its results.
        units: Its answers; those of the first repeat and seed are compared with chance.
        count: How often.

    Returns:
        The section ``permutation`` of ``metrics.json``: the first repeat's scores, those of
        shuffled labels, and p = (1 + how many are as good) / (1 + count). None without `count`.
    """
    if not count:
        return None
    path, config = folder / "permutation.json", study.config
    null = _read_null(path, study.identity())
    if not config.model.freeze_backbone:
        logger.warning(
            "--permute_labels trains %d networks", count * len({fold.fold for fold in study.folds})
        )
    with said_once(*SETUP):
        for number in progress(range(len(null), count), desc="shuffled labels"):
            null.append(_shuffled_score(study, training, number))
            write_json(path, {"identity": study.identity(), "null": null})
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


def _shuffled_score(study: Study, training: FoldTraining, number: int) -> dict[str, float]:
    """Return the scores of one repeat in which labels were dealt to people by chance."""
    manifest = study.data.manifest
    people = manifest.people()["label"]
    rng = np.random.default_rng([study.config.data.seed, 1 + number])
    labels = pd.Series(rng.permutation(people.to_numpy()), index=people.index)
    shuffled = manifest.with_columns(label=manifest.table["subject"].map(labels))
    parts = [
        training.fit(with_fold(shuffled, fold), fold, 0, keep=False).people
        for fold in study.divide(shuffled, repeats=1)
    ]
    return fold_scores(joined(parts))


def _read_null(path: Path, identity: dict[str, Any]) -> list[dict[str, float]]:
    """Return the scores of shuffled labels that an earlier call of the same study left."""
    if not path.is_file():
        return []
    try:
        content = read_own(path, "permutation", hint="")
    except ManifestError as error:
        logger.warning("%s; labels are shuffled again from the first time", error.message)
        return []
    return list(content["null"]) if content["identity"] == identity else []
