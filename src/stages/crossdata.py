"""Stage ``crossdata``: models of one study are tested on the people of others, each way."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from ..auditing.before_training import refuse_leaks
from ..config import RunConfig
from ..data.splits import with_fold
from ..errors import ManifestError, counted
from ..evaluation.cross_study import WITHIN, CrossStudy
from ..evaluation.cross_study_scores import Answered, answers_table, score_cells, whole
from ..evaluation.fold_training import FoldTraining, train_folds
from ..files import atomic_file, write_json
from ..report.cross_study import (
    FILE,
    in_short,
    markdown,
    matrix_figure,
    matrix_table,
    sentences,
)
from .preflight import check_before

logger = logging.getLogger(__name__)


def run(config: RunConfig) -> Iterator[Path]:
    """Train and score every cell of the matrix; when all are there, join and report them.

    Yields:
        ``folds.csv``, ``config.json``, the files of the cells' folds, and after the last one
        ``crossdata.json``, ``crossdata.md``, ``people.csv`` and the matrix as a figure.

    Raises:
        ConfigError: Under two studies, or studies whose images or labels do not go together.
        LeakageError: ``--cell`` names one that is refused.
        ManifestError: ``--collect``, and folds are missing.
    """
    started = time.monotonic()
    study = CrossStudy(config)
    if not config.crossval.collect:
        check_before(config, "crossdata")
        _check_people(study)
    folder = config.results_dir / study.name
    for cell in study.cells:
        logger.info("cell %s%s", cell.name, f": refused, {cell.refused}" if cell.refused else "")
    study.jobs()  # refuses a cell that is none before anything is written
    yield study.write_folds(folder)
    yield study.write_settings(folder)
    if not config.crossval.collect:
        yield from train_folds(study, FoldTraining(config, study.data, study.name), folder)
    if config.crossdata.cell is not None:
        logger.info("when all cells are there, the same command with --collect joins them")
        return
    answered = _collected(study, folder)
    entries = score_cells(study, answered, config.evaluate.bootstrap)
    result = whole(study, entries, time.monotonic() - started)
    head, rows = matrix_table(result)
    logger.info("%s", "\n".join("  ".join(f"{text:<28}" for text in row) for row in [head, *rows]))
    for line in filter(None, (*sentences(result), in_short(result))):
        logger.info("%s", line)
    yield write_json(folder / FILE, result)
    with atomic_file(folder / "crossdata.md", "w") as file:
        file.write(markdown(result))
    yield folder / "crossdata.md"
    with atomic_file(folder / "people.csv", "w") as file:
        answers_table(study, answered).to_csv(file, index=False, float_format="%.6g")
    yield folder / "people.csv"
    yield matrix_figure(config.results_dir / "figures" / study.name / "crossdata.png", result)


def _collected(study: CrossStudy, folder: Path) -> dict[str, Answered]:
    """Return the answers of every cell that is not refused.

    Raises:
        ManifestError: Folds are missing.
    """
    read = {fold.name: study.read(folder, fold, seed) for fold, seed in study.jobs(every=True)}
    missing = [name for name, unit in read.items() if unit is None]
    if missing:
        raise ManifestError(
            f"{len(missing)} of {counted(len(read), 'fold is', 'folds are')} missing in "
            f"{folder / 'folds'}, such as {missing[0]}",
            hint="run the same command without --collect, or with --cell",
        )
    found = {}
    for cell in study.cells:
        units = [unit for fold in cell.folds if (unit := read[fold.name]) is not None]
        if units:
            found[cell.name] = Answered(cell, units)
    return found


def _check_people(study: CrossStudy) -> None:
    """Refuse a study whose folds are not honest: the first of each stands for all."""
    config = study.config
    for cell in study.cells:
        if cell.kind == WITHIN and cell.folds:
            rows, people = study.data.manifest, study.joined.people_of(cell.tested_on)
            own = rows.where(rows.table["subject"].isin(people))
            logger.info("%s is looked at before training", cell.tested_on)
            refuse_leaks(
                with_fold(own, cell.folds[0]),
                allowed=config.train.allow_leaks,
                seed=config.data.seed,
                leaks_only=True,
            )
