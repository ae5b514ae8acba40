"""Stage ``crossval``: repeated cross-validation by person; each fold can run alone and resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..auditing.before_training import refuse_leaks
from ..config import CrossvalConfig, RunConfig
from ..data.class_people import require_classes
from ..data.split_files import write_split
from ..data.splits import folds_table, with_fold
from ..errors import ManifestError, counted
from ..evaluation.cross_validation import Study
from ..evaluation.fold_training import FoldTraining, train_folds
from ..evaluation.learning_curve import learning_curve
from ..evaluation.out_of_fold import collect_units
from ..evaluation.pretrained_people import refuse_pretrained_on
from ..evaluation.result_files import require_whole, write_results
from ..evaluation.shuffled_labels import permutation_test
from .preflight import check_before

logger = logging.getLogger(__name__)


def run(config: RunConfig) -> Iterator[Path]:
    """Train and score folds; when all are there, join them and report.

    Yields:
        ``folds.csv``, ``split.csv``, the files of the folds, and after the last one
        ``metrics.json``, ``people.csv``, ``predictions.csv``, documents and figures.

    Raises:
        LeakageError: The data set was split with the same people on both sides, or ``--weights``
            were learnt on its people.
        AuditFailed: The first fold has the same file, or, of unknown people, one head on two sides.
        ConfigError: The folder holds folds of other settings.
        ManifestError: ``--collect``, and folds are missing.
    """
    started = time.monotonic()
    if not config.crossval.collect:
        check_before(config, "crossval")
    study = Study(config)
    # Asked before results are joined, too: they carry the stamp.
    study.data = refuse_pretrained_on(
        *(config.model.weights, study.data, study.data.subjects), allowed=config.train.allow_leaks
    )
    if not config.crossval.collect:
        _check_people(study)
    training = FoldTraining(config, study.data, study.name, study.unrated)
    folder = config.results_dir / study.name
    yield study.write_folds(folder)
    yield write_split(folder, folds_table(study.folds), study.everyone)
    yield study.write_settings(folder)
    if not config.crossval.collect:
        yield from train_folds(study, training, folder)
    if (config.crossval.fold, config.crossval.repeat) != (None, None):
        # Two tasks of an array that end together must not both write the study's results.
        logger.info("when all folds are there, the same command with --collect joins them")
        return
    read = [study.read(folder, fold, seed) for fold, seed in study.jobs(every=True)]
    units = [unit for unit in read if unit]
    missing = len(read) - len(units)
    if missing:
        raise ManifestError(
            f"{missing} of {counted(len(read), 'fold is', 'folds are')} missing in "
            f"{folder / 'folds'}",
            hint="run the same command without --collect, or with --fold and --repeat",
        )
    answers, crossval = collect_units(units, study.folds, study.data)
    wanted = config.crossval
    answers = replace(
        answers,
        harmonised=wanted.harmonise is not None,
        placed=training.placed_features(),
    )
    crossval |= {"hold_out": wanted.hold_out} if wanted.hold_out else {}
    crossval |= {"harmonised": harmonised_words(wanted)} if wanted.harmonise else {}
    count = config.evaluate.permute_labels
    permutation = permutation_test(study, training, folder, units, count)
    bootstrap = config.evaluate.bootstrap
    curve = (
        learning_curve(study, training, folder, units, bootstrap) if wanted.learning_curve else None
    )
    context = {
        "kind": "crossval",
        "run": study.name,
        "settings": study.settings(),
        "crossval": crossval,
        "permutation": permutation,
        "learning_curve": curve,
        "seconds": time.monotonic() - started,
    }
    figures = config.results_dir / "figures" / study.name
    results, files = write_results(
        *(folder, figures, answers, context, bootstrap), together=config.evaluate.ensemble
    )
    yield from files
    require_whole(results)


def harmonised_words(wanted: CrossvalConfig) -> str:
    """Return what was done to features and measures, for the result."""
    new = (
        "; a held-out site's from its own people, without labels (transductive)"
        if wanted.hold_out
        else ""
    )
    return f"ComBat by site: shifts and scales from development people, without labels{new}"


def _check_people(study: Study) -> None:
    """Refuse one class alone, and folds that are not honest: the first stands for all.

    Raises:
        ManifestError: All people are of one class.
        AuditFailed: A check of the first fold fails.
    """
    people, config = study.data.manifest, study.config
    require_classes(people, study.data.scheme, held_out=())
    first = with_fold(people, study.folds[0])
    logger.info("the first of %s is looked at before training", counted(len(study.folds), "fold"))
    allowed, seed = config.train.allow_leaks, config.data.seed
    refuse_leaks(first, allowed=allowed, seed=seed, leaks_only=True)
