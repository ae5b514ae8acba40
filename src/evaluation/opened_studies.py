"""The data sets that a run names by ``--datasets``: opened and checked, and who is in two."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..auditing.two_studies import shared_people
from ..config import RunConfig, kind_of_dataset
from ..data.class_people import people_of
from ..data.dataset import MriDataset
from ..data.joined import JoinedStudies
from ..data.loaders import open_dataset
from ..errors import ConfigError, DataNotFoundError, LeakageError, counted
from ..labels import class_scheme
from ..manifest import PEOPLE_UNKNOWN, SAME_PEOPLE

logger = logging.getLogger(__name__)


def open_studies(config: RunConfig) -> dict[str, MriDataset]:
    """Open the processed data sets that a run names: everyone rated, by the study's name.

    Raises:
        ConfigError: Under two, one twice, or labels of different kinds.
        DataNotFoundError: There is no such processed data set.
        LeakageError: One keeps a split with the same people on both sides.
    """
    names = config.data.datasets
    if len(names) < 2:
        raise ConfigError(
            f"--datasets names {counted(len(names), 'data set')}, and two or more are needed",
            hint="python main.py --mode crossdata --datasets oasis3_2d aibl_2d",
        )
    folders = [_folder(config, name) for name in names]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("--datasets names one data set twice", hint="name each once")
    kinds = {folder: kind_of_dataset(folder.name) for folder in folders}
    first = kinds[folders[0]]
    for folder, kind in kinds.items():
        if kind != first:
            raise ConfigError(
                f"{folders[0].name} is labelled by {first} and {folder.name} by {kind}: no label "
                "of the one is one of the other",
                hint=f"preprocess both with --label {first}",
            )
    scheme = class_scheme(config.data.classes, first)
    opened = {}
    for name, folder in zip(_study_names(folders), folders, strict=True):
        part = open_dataset(
            *(folder, config.data.model_dim, scheme),
            min_age=config.data.min_age,
            seed=config.data.seed,
            allow_leaks=config.train.allow_leaks,
            cache_dir=config.data.cache_dir,
        )
        _check_study(name, part)
        opened[name] = part.everyone("train")
    return opened


def _folder(config: RunConfig, name: str) -> Path:
    """Return the folder of a data set that was named, or named by its path."""
    below = config.data.data_root / name
    folder = below if below.is_dir() else Path(name)
    if not folder.is_dir():
        there = sorted(path.parent.name for path in config.data.data_root.glob("*/manifest.csv"))
        hint = f"there are: {', '.join(there)}" if there else "preprocess it first"
        raise DataNotFoundError(below, hint=hint)
    return folder


def _study_names(folders: list[Path]) -> list[str]:
    """Return a name of each study: its folder's without the dimension, or with the one above."""
    stems = [folder.resolve().name.rsplit("_2d")[0].rsplit("_3d")[0] for folder in folders]
    if len(set(stems)) == len(stems):
        return stems
    longer = [
        f"{folder.resolve().parent.name}-{stem}"
        for folder, stem in zip(folders, stems, strict=True)
    ]
    if len(set(longer)) < len(longer):
        raise ConfigError(
            f"two data sets are called {stems[0]}, and so are the folders above them",
            hint="preprocess them with --study NAME, which names them apart",
        )
    return longer


def _check_study(name: str, part: MriDataset) -> None:
    if SAME_PEOPLE in part.manifest.stamps:
        raise LeakageError(
            f"{name} keeps a split with the same people on both sides",
            hint="leave --official_split out: crossdata divides people itself",
        )
    if PEOPLE_UNKNOWN in part.manifest.stamps:
        logger.warning(
            "%s: %s: whether a person of it is in another study cannot be told by name",
            *(name, PEOPLE_UNKNOWN),
        )
    counts = people_of(part.everyone("train").manifest, part.scheme)
    told = ", ".join(f"{sides['train']} {label}" for label, sides in counts.items())
    logger.info("%s: %s", name, told)


def shared_among(parts: Mapping[str, MriDataset], joined: JoinedStudies) -> dict[str, set[str]]:
    """Return person -> who it is in other studies, by the names of the joined data.

    Args:
        parts: Study -> its people.
        joined: The same as one.
    """
    met: dict[str, set[str]] = {}
    names = list(parts)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            found: pd.DataFrame = shared_people(parts[one].manifest, parts[other].manifest)
            for a, b, why in zip(found["subject_a"], found["subject_b"], found["why"], strict=True):
                left, right = joined.named[one][a], joined.named[other][b]
                logger.warning("%s of %s is %s of %s: %s", a, one, b, other, why)
                met.setdefault(left, set()).add(right)
                met.setdefault(right, set()).add(left)
    return met
