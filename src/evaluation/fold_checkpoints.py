"""Open the models of a cross-validation, each with the people whom its fold left out.

They are those of one repeat, which tests everyone once: together they have an answer, or a map, for
each person, by a model that never saw the person.
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..data.given_split import folds_of
from ..data.split_files import SplitFile, read_split
from ..data.splits import with_fold
from ..errors import CheckpointError, ConfigError, ManifestError, counted
from ..files import read_json
from ..report.find_run import is_crossdata
from ..training.checkpoint_content import BEST
from .cross_validation import FOLDS, NO_MATTER
from .open_checkpoint import Trained, allowed_on, load_trained, open_as_trained

logger = logging.getLogger(__name__)
_FIRST = "repeat0_fold{}_seed0"  # of a frozen backbone, others are not kept
#: What a search may choose anew in each fold.
_SEARCHED = ("search", "loss", "pool", "lr", "weight_decay", "dropout")


def find_folds(config: RunConfig) -> tuple[SplitFile, list[Path]]:
    """Return the folds of the cross-validation that `config` names, and the first repeat's models.

    Args:
        config: Its ``run`` is the cross-validation's name; None takes the usual one.

    Raises:
        CheckpointError: There is no such cross-validation, or checkpoints of it are missing.
        ConfigError: It keeps none, as its features were harmonised.
    """
    folder = config.results_dir / _name(config)
    if not _is_crossval(folder):
        every = sorted(path.parent for path in config.results_dir.glob(f"*/{FOLDS}"))
        found = [one.name for one in every if _is_crossval(one)]
        there = f"--run NAME, of {', '.join(found[:10])}; or " if found else ""
        raise CheckpointError(
            f"{folder} holds no cross-validation",
            hint=f"{there}--mode crossval comes first",
        )
    given = read_split(folder / FOLDS)
    if not given.of_folds or not (given.rows["repeat"] == 0).any():
        raise ManifestError(f"{given.path} has no folds of repeat 0", hint=_again(folder))
    numbers = sorted(set(given.rows.loc[given.rows["repeat"] == 0, "fold"]))
    kept = config.checkpoint_dir / folder.name
    paths = [kept / _FIRST.format(number) / BEST for number in numbers]
    missing = [path for path in paths if not path.is_file()]
    if not missing:
        return given, paths
    if _settings(folder)["crossval"].get("harmonise"):
        raise ConfigError(
            f"{folder} was made with --harmonise, which keeps no checkpoints",
            hint="cross-validate without --harmonise, under another --run",
        )
    raise CheckpointError(
        f"checkpoints are missing for {len(missing)} of {counted(len(paths), 'fold')} of {folder}, "
        f"such as {missing[0]}",
        hint=_again(folder),
    )


def open_folds(config: RunConfig) -> list[Trained]:
    """Open the model of each fold of the first repeat, with the people whom that fold tests.

    Returns:
        By the number of the fold; `run_name` and `settings` are those of the cross-validation.

    Raises:
        CheckpointError: Checkpoints are missing, or are of another data set or other settings.
        LeakageError: A model was trained, or chosen, on people whom its fold tests.
        ManifestError: The folds are of other people.
    """
    given, paths = find_folds(config)
    folder = given.path.parent
    settings = _settings(folder)
    everyone, opened = None, []
    for number, path in enumerate(paths):
        model, content = load_trained(path, config.data.model_dim, config.own_network)
        _check_of_study(settings, content, path, _again(folder))
        if everyone is None:
            everyone = open_as_trained(config, content, split=None).everyone("train")
            folds = {one.fold: one for one in folds_of(given, everyone.manifest) if not one.repeat}
        if content["dataset"] != everyone.name:
            raise CheckpointError(
                f"{path} was trained on {content['dataset']}, and the data are {everyone.name}",
                hint=f"--run NAME of a cross-validation of {everyone.name}",
            )
        data = everyone.with_manifest(with_fold(everyone.manifest, folds[number]), "test")
        trained = allowed_on(data, model, content, config)
        opened.append(replace(trained, run_name=folder.name, settings=settings))
    logger.info("each person has the model of the fold that left the person out: %d", len(opened))
    return opened


def _is_crossval(folder: Path) -> bool:
    return (folder / FOLDS).is_file() and not is_crossdata(folder)


def _name(config: RunConfig) -> str:
    return config.run or f"{config.run_name}_crossval"


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings that the cross-validation was made with."""
    try:
        settings = dict(read_json(folder / "config.json"))
        return settings | {part: dict(settings[part]) for part in ("model", "train", "crossval")}
    except (ValueError, TypeError, KeyError):
        raise CheckpointError(
            f"{folder / 'config.json'} is damaged",
            hint="--mode crossval with the same flags writes it again",
        ) from None


def _check_of_study(
    settings: dict[str, Any], content: dict[str, Any], path: Path, again: str
) -> None:
    """Refuse a checkpoint that an earlier cross-validation of the same name has left.

    Raises:
        CheckpointError: It was trained with other settings than the results tell.
    """
    open_to = (*NO_MATTER, *(_SEARCHED if settings["train"].get("search") else ()))
    different = [
        name
        for part in ("model", "train")
        for name, value in content["config"].get(part, {}).items()
        if name not in open_to and not _same(settings[part].get(name, value), value)
    ]
    if different:
        raise CheckpointError(
            f"{path} was trained with other settings than the results: {', '.join(different)}",
            hint=f"remove {path.parents[1]}, then: {again}",
        )


def _same(asked: object, value: object) -> bool:
    """Compare two settings; what an older version told as on or off says nothing of a name."""
    return asked == value or (isinstance(value, bool) and not isinstance(asked, bool))


def _again(folder: Path) -> str:
    """Return the command that trains folds without a checkpoint, and keeps them."""
    words = ("python", "main.py", "--mode", "crossval", "--config", str(folder / "config.json"))
    return shlex.join((*words, "--run", folder.name, "--keep_models"))
