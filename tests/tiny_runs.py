"""One epoch of training on a processed data set of `conftest`, for the tests that need a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from src import train
from src.config import RunConfig
from src.options import build_config


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
