"""Stage ``train``."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ..auditing.before_training import refuse_leaks
from ..cohorts.people_names import hash_subjects
from ..config import RunConfig
from ..config.options import config_to_dict
from ..config.own_files import read_own
from ..data.class_people import require_classes
from ..data.dataset import MriDataset, has_slices, make_loader
from ..data.loaders import reader_workers
from ..data.run_data import as_made, open_run_data
from ..data.split_files import split_rows, write_split
from ..errors import ConfigError
from ..evaluation.pretrained_people import refuse_pretrained_on
from ..evaluation.result_files import remove_results
from ..files import atomic_file, write_json
from ..maps.map_run import clear_maps
from ..models.create import create_model
from ..models.device import open_accelerator, seed_everything
from ..predictions import Predictions
from ..report.score_figures.training import penalty_figure, training_figure
from ..training.checkpoint_content import BEST
from ..training.features import dataset_features
from ..training.history import History
from ..training.laying import lay_in_mni
from ..training.processes import main_first, others_needed
from ..training.replaced import replaces
from ..training.search import search
from ..training.state import HISTORY, LAST
from ..training.tracking import open_tracker
from ..training.trainer import Trainer
from .preflight import check_before

logger = logging.getLogger(__name__)
SEARCH = "search.json"


def run(config: RunConfig) -> Iterator[Path]:
    """Train on the processed data set that `config` names.

    Under ``torchrun``, process 0 writes the files, and the others yield none.

    Yields:
        The resolved config, ``split.csv``, the best checkpoint, its copy as the newest run's, the
        history and the training curves.
    """
    check_before(config, "train")
    data = open_run_data(config)
    require_classes(data.manifest, data.scheme)
    refuse_leaks(data.manifest, allowed=config.train.allow_leaks, seed=config.data.seed)
    tested = data.with_split("test").subjects
    allowed = config.train.allow_leaks
    data = refuse_pretrained_on(config.model.weights, data, tested, allowed=allowed)
    accelerator = open_accelerator(config.device, config.train.precision)
    if config.train.search:
        config, found = _searched(config, data, accelerator)
        yield found
    with others_needed(lambda: 0):
        trainer = _open_trainer(config, data, accelerator)
    settings = as_made(config_to_dict(config), data.settings)
    if accelerator.is_main_process:
        if not config.train.resume and (replaced := replaces(config, settings)):
            logger.info("%s; --run NAME would keep both", replaced)
        results = config.results_dir / config.run_name
        yield write_json(results / "config.json", settings)
        yield write_split(results, split_rows(data.manifest), data.manifest.table["subject"])
    folder = config.checkpoint_dir / config.run_name
    if not accelerator.is_main_process:
        trainer.train(save_dir=folder)
    else:
        with open_tracker(config, config.run_name) as tracker:
            trainer.on_epoch = tracker.epoch
            with _scores_go_with_their_model(config):
                history = trainer.train(save_dir=folder)
            written = list(_written(config, history, data.manifest.stamps))
            tracker.trained(history, written)
        yield from (*written, *tracker.files)
    accelerator.end_training()


def _searched(
    config: RunConfig, data: MriDataset, accelerator: Accelerator
) -> tuple[RunConfig, Path]:
    """Return the settings that validation people choose, and the file of what was tried.

    The file lies beside the checkpoint; what it holds of the same search is not trained again with
    ``--resume``.
    """
    if accelerator.num_processes > 1:
        raise ConfigError(
            f"--search trains in one process, and torchrun started {accelerator.num_processes}",
            hint="search without torchrun, and train with the settings that it prints",
        )
    path = config.checkpoint_dir / config.run_name / SEARCH
    people = data.with_split("train").subjects, data.with_split("val").subjects
    identity = {
        "settings": as_made(
            config_to_dict(replace(config, train=replace(config.train, resume=False))),
            data.settings,
        ),
        "people": [hash_subjects(side) for side in people],
    }
    tried: list[dict[str, Any]] = []
    if config.train.resume and path.is_file():
        stored = read_own(path, "search", hint=f"remove {path}, or leave --resume out")
        if stored["identity"] == json.loads(json.dumps(identity)):
            tried = stored["tried"]
        else:
            logger.warning("%s is of another search: candidates are trained again", path)

    def keep(found: list[dict[str, Any]]) -> None:
        write_json(path, {"identity": identity, "tried": found})

    def fit(one: RunConfig) -> Predictions:
        alone = replace(one, train=replace(one.train, resume=False))
        trainer = _open_trainer(alone, data, accelerator)
        trainer.train()
        assert trainer.validation is not None
        return trainer.validation

    slices = all(has_slices(data.with_split(split)) for split in ("train", "val"))
    chosen, tried = search(config, fit, config.train.seed, tried, keep, slices=slices)
    keep(tried)
    last = config.checkpoint_dir / config.run_name / LAST
    resume = config.train.resume and last.is_file()  # a search may have been stopped before it
    train = replace(chosen.train, resume=resume, search=config.train.search)
    return replace(chosen, train=train), path


def _open_trainer(config: RunConfig, data: MriDataset, accelerator: Accelerator) -> Trainer:
    """Return the Trainer of a run, with what is made once: downloaded weights, the image cache."""
    seed_everything(config.train.seed)
    with main_first(accelerator):
        data.cache.build()
        model = create_model(
            config.data.model_dim,
            config.backbone,
            config.data.num_classes,
            weights=config.model.weights,
            dropout=config.model.dropout,
            freeze_backbone=config.model.freeze_backbone,
            ordinal=config.loss == "ordinal",
            seed=config.train.seed,
            pool=config.model.pool,
        )
        if model.frozen and config.dask:  # from here on they are read from their cache
            lay_in_mni(model, data)
            for split in ("train", "val"):
                part = data.with_split(split)
                dataset_features(model, part, torch.device("cpu"), dask=config.dask)
    loader = make_loader(
        data, config.batch_size, seed=config.train.seed, workers=reader_workers(config.workers)
    )
    return Trainer(
        model,
        loader,
        config=config.train,
        run_settings=as_made(config_to_dict(config), data.settings),
        accelerator=accelerator,
    )


@contextmanager
def _scores_go_with_their_model(config: RunConfig) -> Iterator[None]:
    """Remove scores, figures and maps of a model that was replaced, though training was stopped."""
    name, results = config.run_name, config.results_dir
    best = config.checkpoint_dir / name / BEST
    before = best.stat().st_mtime_ns if best.is_file() else None
    try:
        yield
    finally:
        if best.is_file() and best.stat().st_mtime_ns != before:
            _clear(results, name)


def _clear(results: Path, name: str) -> None:
    if remove_results(results / name, results / "figures" / name):
        logger.info("the scores of the model before are removed; --mode evaluate scores this one")
    clear_maps(results / "gradcam" / name)


def _written(config: RunConfig, history: History, stamps: Sequence[str]) -> Iterator[Path]:
    """Yield what training wrote, and what is made of it."""
    folder, newest = config.checkpoint_dir / config.run_name, config.checkpoint_dir / BEST
    yield folder / BEST
    yield folder / HISTORY
    with (folder / BEST).open("rb") as source, atomic_file(newest) as target:
        shutil.copyfileobj(source, target)
    yield newest
    figure = config.results_dir / "figures" / config.run_name / "training_curves.png"
    draw = penalty_figure if "strength" in history else training_figure
    draw(figure, history, title=config.run_name, stamps=stamps)
    yield figure
