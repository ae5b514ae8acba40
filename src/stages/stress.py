"""Stage ``stress``: does a model answer to disease, and not to the scanner?

Known changes are made to the scans of test people, before the model's own preprocessing where that
can be done, and every answer is kept. Rivals without a network are asked the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..config import RunConfig
from ..config.options import config_to_dict
from ..data.run_data import as_made
from ..evaluation.open_checkpoint import open_trained
from ..files import atomic_file, read_text, write_json
from ..inference.ensemble import ensemble_of
from ..maps.attribution import Attribution
from ..models.device import choose_device
from ..models.engine import digest
from ..report.stress import FIGURE, FILE, MAPS_FIGURE, with_stress
from ..report.stress_figure import maps_figure, stress_figure
from ..stressing.answers import Changer, ask
from ..stressing.maps import follow, pictures_of, summed_up
from ..stressing.people import choose_people, frame_of
from ..stressing.plan import map_changes, plan
from ..stressing.readers import readers_of
from ..stressing.scans import opener_of
from ..stressing.summary import retest_sd
from ..stressing.told import told, with_maps
from .preflight import check_before

CARD = "model_card.md"
logger = logging.getLogger(__name__)


def run(config: RunConfig) -> Iterator[Path]:
    """Change scans of test people in known ways, and say what the model makes of it.

    Yields:
        ``stress.csv``, a row per reader, scan and change; ``stress.png``; and ``stress.json``.

    Raises:
        CheckpointError: There is no checkpoint, or it does not fit the images.
        UnknownNameError: A change is none.
        ImageError: A scan cannot be opened, or images were made of another.
    """
    named = _names(config.stress.changes)
    changes, on_maps = plan(config.stress.doses, named), map_changes(named)
    check_before(config, "stress")
    trained = open_trained(config)
    device, why = choose_device(config.device)
    logger.info("device: %s (%s)", device, why)
    data, model = trained.data, trained.model
    opener = opener_of(config, data)
    if opener.reason:
        logger.warning("processed images are changed, not stored scans: %s", opener.reason)
    sessions = choose_people(data, config.stress.people)
    frame, placement = frame_of(opener, sessions)
    if frame.reason:
        logger.warning("disease cannot be laid on these scans: %s", frame.reason)
    folder = config.results_dir / "stress" / trained.run_name
    about = [digest(model), opener.changed, data.settings, placement]
    changer, ensemble = Changer(frame), ensemble_of([model], device, trained.path)
    rows = ask(
        *(opener, sessions, changes, changer, ensemble),
        folder / "scans",
        hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest(),
    )
    bootstrap, seed = config.evaluate.bootstrap, config.data.seed
    readers = readers_of(rows, trained, bootstrap, seed)
    with atomic_file(folder / "stress.csv", "w") as file:
        readers.table.to_csv(file, index=False, float_format="%.6g")
    yield folder / "stress.csv"
    content = told(readers, trained, opener, placement, retest_sd(readers.unchanged), sessions)
    attribution = Attribution(model, config.explain.method, config.explain.layer)
    followed, reasons = follow(opener, sessions, on_maps, changer, attribution)
    with_maps(content, summed_up(followed, reasons, bootstrap, seed), attribution)
    content["settings"] = as_made(config_to_dict(config), data.settings)
    logger.info("stress: %s", content["verdict"])
    for one in content["readers"][0]["verdicts"]:
        logger.info("%s: %s (%s)", one["verdict"], one["name"], one["reason"])
    if followed:
        yield maps_figure(folder / MAPS_FIGURE, pictures_of(followed), content)
    yield stress_figure(folder / FIGURE, content)
    card = config.results_dir / trained.run_name / CARD
    if card.is_file():
        with atomic_file(card, "w") as file:
            file.write(with_stress(read_text(card), content))
    yield write_json(folder / FILE, content)
    shutil.rmtree(folder / "scans")


def _names(given: str | None) -> list[str]:
    return [] if given is None else [name.strip() for name in given.split(",") if name.strip()]
