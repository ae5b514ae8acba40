"""Stage ``predict``: what a trained model says of new scans, and whether it should say anything.

It is a research model's answer about an image, with its uncertainty. It is no diagnosis, and no
medical device.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..config.options import config_to_dict
from ..errors import ConfigError, ImageError, counted
from ..files import require_writable, write_json
from ..inference.answer_records import AnswerRecords, GivenAnswer
from ..inference.answers import (
    OUTSIDE,
    Answer,
    in_words,
    make_answer,
    no_answer,
    seen_in_training,
    write_people,
    write_table,
)
from ..inference.derivatives import write_derivatives
from ..inference.ensemble import LEVEL, Ensemble, open_ensemble, run_name_of
from ..inference.inputs import Input, find_inputs, is_bids
from ..inference.joined import Person, has_several, join_people, person_in_words
from ..inference.map_files import shares_of, write_answer_map
from ..inference.prepare import Preparer
from ..maps.attribution import Attribution
from ..models.device import choose_device
from ..report.map_figures.drawing import convention
from ..runtime import progress, usable_cores
from ..training.likeness import FLAG_RATE
from .preflight import check_before

logger = logging.getLogger(__name__)
SCHEMA = "predict/1"
NOTICE = (
    "What a research model says of an image. It is no diagnosis, it is not a medical device, and "
    "it must not be used to decide about a person."
)
_WRITTEN = ("answers", "maps", "standard", "images")  # folders beside the tables
_TOLD = 20  # scans, and people, that the log speaks of
_LIBRARIES = ("torch", "numpy", "nibabel", "nilearn", "scipy")


def run(config: RunConfig) -> Iterator[Path]:
    """Answer every scan at ``--input``.

    Yields:
        Maps and figures, ``people.csv``, ``predictions.csv`` and ``predictions.json`` in
        ``results/<run>/predict/``. A stopped run goes on: what was answered is not answered again.

    Raises:
        ConfigError: ``--input`` is missing.
        FileError: A folder of results cannot be written, or its disk is full.
        DataNotFoundError: There is no scan.
        CheckpointError: There is no checkpoint, or it cannot be used.
        ImageError: None of the scans could be read.
    """
    if config.predict.input is None:
        raise ConfigError("--mode predict needs --input PATH", hint="a scan, or a folder of scans")
    started = time.monotonic()
    check_before(config, "predict")
    device, reason = choose_device(config.device)
    logger.info("device: %s (%s)", device, reason)
    items = find_inputs(config.predict.input)
    ensemble = open_ensemble(config, device)
    folder = config.results_dir / run_name_of(config, ensemble) / "predict"
    for place in (folder, *(folder / name for name in _WRITTEN)):
        require_writable(place)
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    records = AnswerRecords(folder, ensemble, config, versions)
    given = records.read(items)
    _clear(folder)
    records.remove_others(given)
    if given:
        logger.info(
            "%d of %s answered before", len(given), counted(len(items), "scan was", "scans were")
        )
    n_kept = len(given)
    failed: dict[str, str] = {}
    with convention(config.explain.convention):
        yield from _answer_others(ensemble, config, items, records, given, failed)
    answers = {name: one.answer for name, one in given.items()}
    for item in items:
        if item.name in failed:
            answers[item.name] = no_answer(item, failed[item.name], len(ensemble.members))
    ordered = [answers[item.name] for item in items]
    people = join_people(ensemble, items, answers, given)
    _tell(ordered, people)
    model = _described(ensemble)
    content = {
        "schema": SCHEMA,
        "notice": NOTICE,
        "model": model,
        "answers": ordered,
        "people": people,
        "settings": config_to_dict(config),
        "seconds": round(time.monotonic() - started, 1),
        "answered_before": n_kept,
        "versions": versions,
    }
    if people:
        yield write_people(folder / "people.csv", people, ensemble.classes)
    yield write_table(folder / "predictions.csv", ordered, ensemble.classes)
    yield write_json(folder / "predictions.json", content)
    if is_bids(config.predict.input):
        yield from write_derivatives(folder, ordered, source=config.predict.input, model=model)
    if len(failed) == len(items):
        first = items[0]
        raise ImageError(
            f"of {counted(len(items), 'scan')}, none can be answered; {first.name}: "
            f"{failed[first.name]}",
            hint=f"every reason stands in {folder / 'predictions.csv'}",
        )


def _answer_others(
    ensemble: Ensemble,
    config: RunConfig,
    items: list[Input],
    records: AnswerRecords,
    given: dict[str, GivenAnswer],
    failed: dict[str, str],
) -> Iterator[Path]:
    """Answer scan after scan what is not among `given`; images of one are in memory at a time.

    Answers are added to `given`, and reasons to `failed`. Yields the files of maps.
    """
    options, folder = config.explain, records.folder
    attribution = Attribution(ensemble.members[0].model, options.method, options.layer)
    workers = config.workers or min(usable_cores(), len(items))
    done = {name: one.was_raw for name, one in given.items()}
    prepared = Preparer(ensemble, config, folder).prepare(items, workers, done)
    for item, made in progress(prepared, total=len(items) - len(done), desc="answers"):
        if isinstance(made, str):
            failed[item.name] = made
            continue
        said = ensemble.answer(made.images, made.slices)
        answer = make_answer(ensemble, made, said)
        files: list[Path] = []
        if config.predict.maps and not answer["outside"]:
            target = int(said.probabilities.argmax())
            shares = shares_of(made, attribution, target)
            method, stage = attribution.method, ensemble.classes[target]
            files = list(write_answer_map(folder, answer, made, shares, method, stage))
        given[item.name] = GivenAnswer(answer, said.logits, made.standard is not None)
        records.write(item, given[item.name], files)
        yield from files


def _tell(answers: list[Answer], people: list[Person]) -> None:
    """Log what is said, the first of many."""
    for answer in answers[:_TOLD]:
        logger.info("%s", in_words(answer))
    several = [person for person in people if has_several(person)]
    for person in several[:_TOLD]:
        logger.info("%s", person_in_words(person))
    for what, count, table in (
        ("scans", len(answers), "predictions.csv"),
        ("people with several scans", len(several), "people.csv"),
    ):
        if count > _TOLD:
            logger.info("and %d more %s, in %s", count - _TOLD, what, table)
    seen = seen_in_training(answers)
    if seen:
        logger.warning("%s", seen)


def _clear(folder: Path) -> None:
    """Remove an earlier run's tables; scans, images and answers stay, to be used again."""
    shutil.rmtree(folder / "derivatives", ignore_errors=True)
    for name in ("predictions.csv", "predictions.json", "people.csv"):
        (folder / name).unlink(missing_ok=True)


def _described(ensemble: Ensemble) -> dict[str, Any]:
    content = ensemble.content
    return {
        "checkpoints": [str(member.path) for member in ensemble.members],
        "asked_for": str(ensemble.source),
        "trained_on": content["dataset"],
        "backbone": content["backbone"],
        "dim": content["dim"],
        "classes": list(ensemble.classes),
        "tasks": list(ensemble.tasks),
        "train_counts": content["train_counts"],
        "stamps": content.get("stamps", []),
        "side_known": bool(content["preprocessing"].get("side_known")),
        "preprocess": content["preprocessing"].get("preprocess"),
        "prediction_set_level": LEVEL,
        "in_every_set": ensemble.always_held(),
        "outside_rate_wanted": FLAG_RATE,
        "outside_means": OUTSIDE,
    }
