"""One epoch of training on a processed data set of `conftest`, for the tests that need a model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from src.config import RunConfig
from src.config.options import build_config
from src.stages import train


def run_config(processed: Path, root: Path, **settings: Any) -> RunConfig:
    """Return the settings of a small run that reads `processed` and writes under `root`."""
    small = {"epochs": 1, "classes": 2, "weights": "none", "bootstrap": 100, "samples": 1}
    places = {
        "dataset": processed.name,
        "data_root": processed.parent,
        "checkpoint_dir": root / "checkpoints",
        "results_dir": root / "results",
    }
    return build_config(RunConfig, {**small, **places, "device": "cpu", **settings})


def train_once(processed: Path, root: Path, **settings: Any) -> Path:
    """Train as the stage does, and return the run's best checkpoint."""
    written = list(train.run(run_config(processed, root, **settings)))
    return next(path for path in written if path.suffix == ".pth")


@contextmanager
def kept_loggers() -> Iterator[None]:
    """Undo `configure_logging` at the end, so that later tests can read the log."""
    loggers = [logging.getLogger(name) for name in ("main", "debug", "src")]
    before = [(one.handlers[:], one.level, one.propagate) for one in loggers]
    try:
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
