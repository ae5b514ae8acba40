"""Processed data sets of studies of their own, for the tests of several together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import make_processed

from src.files import read_json, write_json
from src.manifest import Manifest


def make_study(
    folder: Path, people: Any, seed: int, *, cohort: str = "bids", prefix: str = "", **settings: Any
) -> Path:
    """Write a data set with its own names, looks and settings: `prefix` stands before numbers."""
    make_processed(folder, people=people, images=2, seed=seed)
    table = Manifest.read(folder).table
    named = prefix + table["subject"].str.removeprefix("PHAN_")
    Manifest(table.assign(subject=named, cohort=cohort), folder).write(folder)
    path = folder / "preprocessing.json"
    more = {"dataset": folder.name, "cohort": cohort, **settings}
    write_json(path, {**read_json(path), **more})
    return folder
