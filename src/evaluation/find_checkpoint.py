"""Find the checkpoint that a command means: by its file, its run, or its data set and classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..config import BACKBONES, CLASSES, RunConfig, dataset_flags, name_run
from ..errors import CheckpointError
from ..models.checkpoint import load_checkpoint
from ..training.checkpoint_content import BEST

logger = logging.getLogger(__name__)


def find_checkpoint(config: RunConfig) -> Path:
    """Return the checkpoint to open: the one named, the run's, or the data set's newest.

    Unless ``--checkpoint`` or ``--run`` names it, it has as many classes as `config` asks for.

    Raises:
        CheckpointError: There is none; maps and scores of untrained weights are not made.
    """
    if config.evaluate.checkpoint:
        return config.evaluate.checkpoint
    if config.run:
        found = next(iter(_newest_first(config, [config.run])), None)
    else:
        found = _newest_fitting(config)
    if found is None:
        raise _none_found(config)
    return found


def _newest_fitting(config: RunConfig) -> Path | None:
    """Return the newest checkpoint of the data set and the classes; None where there is none.

    Names did not always tell the classes: a run of three had the name of one of four. Such a one is
    taken where no other is there.
    """
    name, classes = config.data.name, config.data.num_classes
    # A name such as kaggle_2d_official_resnet18 must not answer for kaggle_2d.
    named, unnamed = (
        [name_run(name, backbone, told) for backbone in _backbones(config)] for told in (classes, 4)
    )
    newest = [] if config.model.backbone else [""]  # the copy of the newest run of any data set
    for path in _newest_first(config, named + newest):
        content = load_checkpoint(path)
        ours = path.parent.name in named or content["dataset"] == name
        if ours and len(content["classes"]) == classes:
            return path
    for path in _newest_first(config, unnamed):
        if len(load_checkpoint(path)["classes"]) == classes:
            logger.info("%s has %d classes, which its name does not tell", path, classes)
            return path
    return None


def _none_found(config: RunConfig) -> CheckpointError:
    """Say that no checkpoint fits, and which flag would find one."""
    data, train = config.data, f"python main.py --mode train {_flags(config)}"
    names = [name_run(data.name, b, classes) for b in _backbones(config) for classes in CLASSES]
    others = [] if config.run else _newest_first(config, names)
    missing = f"no checkpoint of {data.name} under {config.checkpoint_dir}"
    if not others:
        return CheckpointError(missing, hint=train + _or_another(config))
    told = len(load_checkpoint(others[0])["classes"])
    return CheckpointError(
        f"{missing} has {data.classes} classes; {others[0]} has {told}",
        hint=f"--classes {told}, or {train}",
    )


def _or_another(config: RunConfig) -> str:
    """Return the checkpoints of such images that are there, as words after a hint."""
    every = sorted(config.checkpoint_dir.glob(f"*/{BEST}"))
    found = [path for path in every if _takes(path, config.data.model_dim)]
    if not found:
        return ", or --checkpoint FILE"
    others = f" (or of {', '.join(path.parent.name for path in found[1:10])})"
    return f", or --checkpoint {found[0]}{others if len(found) > 1 else ''}"


def _takes(path: Path, dim: str) -> bool:
    """Return whether a checkpoint opens and takes such images: others are not worth naming."""
    try:
        return bool(load_checkpoint(path)["dim"] == dim)
    except CheckpointError:
        return False


def _flags(config: RunConfig) -> str:
    """Return the flags that name the run to be trained."""
    data = config.data
    flags = [dataset_flags(data.name, data.cohort)]
    flags += [f"--backbone {config.model.backbone}"] if config.model.backbone else []
    flags += [f"--run {config.run}"] if config.run else []
    return " ".join([*flags, f"--classes {data.classes}"])


def _backbones(config: RunConfig) -> tuple[str, ...]:
    """Return the backbone asked for, or every one that takes such images."""
    asked = config.model.backbone
    return (asked,) if asked else BACKBONES[config.data.model_dim]


def _newest_first(config: RunConfig, runs: Sequence[str]) -> list[Path]:
    """Return the checkpoints that these runs have left."""
    paths = [config.checkpoint_dir / run / BEST for run in dict.fromkeys(runs)]
    there = [path for path in paths if path.is_file()]
    return sorted(there, key=lambda path: path.stat().st_mtime, reverse=True)
