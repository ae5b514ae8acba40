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

from ..atomic import write_json
from ..config import RunConfig
from ..config.options import config_to_dict
from ..errors import ConfigError, ImageError, counted
from ..inference.answers import (
    OUTSIDE,
    in_words,
    make_answer,
    no_answer,
    seen_in_training,
    write_table,
)
from ..inference.derivatives import write_derivatives
from ..inference.ensemble import LEVEL, Ensemble, open_ensemble, run_name_of
from ..inference.inputs import find_inputs, is_bids
from ..inference.map_files import write_answer_map
from ..inference.prepare import Preparer
from ..maps.attribution import Attribution
from ..models.device import choose_device
from ..runtime import progress, usable_cores
from ..training.likeness import FLAG_RATE
from .preflight import check_before

logger = logging.getLogger(__name__)
SCHEMA = "predict/1"
NOTICE = (
    "What a research model says of an image. It is no diagnosis, it is not a medical device, and "
    "it must not be used to decide about a person."
)
_LIBRARIES = ("torch", "numpy", "nibabel", "nilearn", "scipy")


def run(config: RunConfig) -> Iterator[Path]:
    """Answer every scan at ``--input``.

    Yields:
        Maps and figures, ``predictions.csv`` and ``predictions.json`` in
        ``results/<run>/predict/``.

    Raises:
        ConfigError: ``--input`` is missing.
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
    _clear(folder)
    workers = config.workers or min(usable_cores(), len(items))
    options = config.explain
    attribution = Attribution(ensemble.members[0].model, options.method, options.layer)
    prepared, failed, _ = Preparer(ensemble, config, folder).prepare(items, workers)
    answers = {
        item.name: no_answer(item, failed[item.name], len(ensemble.members))
        for item in items
        if item.name in failed
    }
    for one in progress(prepared, total=len(prepared), desc="answers"):
        said = ensemble.answer(one.images)
        answer = answers[one.item.name] = make_answer(ensemble, one, said)
        if config.predict.maps and not answer["outside"]:
            target = int(said.probabilities.argmax())
            yield from write_answer_map(folder, answer, one, attribution, target)
    ordered = [answers[item.name] for item in items]
    for answer in ordered[:20]:
        logger.info("%s", in_words(answer))
    seen = seen_in_training(ordered)
    if seen:
        logger.warning("%s", seen)
    model = _described(ensemble)
    content = {
        "schema": SCHEMA,
        "notice": NOTICE,
        "model": model,
        "answers": ordered,
        "settings": config_to_dict(config),
        "seconds": round(time.monotonic() - started, 1),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
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


def _clear(folder: Path) -> None:
    """Remove an earlier answer's files; standard scans and images stay, to be used again."""
    for name in ("maps", "derivatives"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("predictions.csv", "predictions.json"):
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
        "train_counts": content["train_counts"],
        "stamps": content.get("stamps", []),
        "side_known": bool(content["preprocessing"].get("side_known")),
        "preprocess": content["preprocessing"].get("preprocess"),
        "prediction_set_level": LEVEL,
        "in_every_set": ensemble.always_held(),
        "outside_rate_wanted": FLAG_RATE,
        "outside_means": OUTSIDE,
    }
