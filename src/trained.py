"""Find a trained checkpoint, and open it with the test people it may be shown.

Nothing is scored or explained without passing here: the checkpoint must fit the images, and must
not have been trained on the people it is tested on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .api import open_run_data
from .checkpoint import hash_subjects, load_checkpoint, load_weights
from .classifier import MODEL_REGISTRY, Classifier
from .config import RunConfig
from .dataset import MriDataset, require_people
from .errors import CheckpointError, LeakageError
from .manifest import SAME_PEOPLE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A checkpoint and the test people it may be shown.

    Attributes:
        path: The checkpoint's file.
        run_name: Folder name of its results.
        model: Ready to score, on the CPU.
        data: The test split, with the checkpoint's classes.
    """

    path: Path
    run_name: str
    model: Classifier
    data: MriDataset


def open_trained(config: RunConfig) -> Trained:
    """Open the checkpoint and the test split that `config` names, and check that they fit.

    Raises:
        CheckpointError: No checkpoint, a damaged one, or one of other data.
        LeakageError: Test people were trained on.
    """
    path = find_checkpoint(config)
    model, content = load_trained(path, config)
    stored = content["config"].get("data", {})
    min_age = config.data.min_age or stored.get("min_age", 0)
    data = open_run_data(config, classes=len(content["classes"]), min_age=min_age).with_split(
        "test"
    )
    require_people(data)
    _check_fit(data, content, path)
    fallback = f"{data.name}_{content['backbone']}"
    name = config.run or content["config"].get("run") or fallback
    return Trained(path, name, model, data)


def find_checkpoint(config: RunConfig) -> Path:
    """Return the checkpoint to evaluate: the one named, the run's, or the data set's newest.

    Raises:
        CheckpointError: There is none; maps and scores of untrained weights are not made.
    """
    if config.evaluate.checkpoint:
        return config.evaluate.checkpoint
    folder, name = config.checkpoint_dir, config.data.name
    if config.run or config.model.backbone:
        found = [folder / config.run_name / "best_model.pth"]
    else:
        # A name such as kaggle_2d_official_resnet18 must not answer for kaggle_2d.
        found = [folder / f"{name}_{backbone}" / "best_model.pth" for backbone in MODEL_REGISTRY]
        found += [folder / "best_model.pth"] if _newest_is_of(folder, name) else []
    found = sorted(
        (path for path in found if path.is_file()), key=lambda path: path.stat().st_mtime
    )
    if not found:
        raise CheckpointError(
            f"no checkpoint of {name} under {folder}",
            hint=f"python main.py --mode train --dataset {config.data.name}, or --checkpoint FILE",
        )
    return found[-1]


def load_trained(path: Path, config: RunConfig) -> tuple[Classifier, dict[str, Any]]:
    """Return the model of a checkpoint, ready to score, and the checkpoint without its weights.

    Raises:
        CheckpointError: The file is damaged, or was trained on another data set.
    """
    content = load_checkpoint(path)
    if content["dataset"] != config.data.name and not config.data.data_dir:
        trained_on = content["dataset"]
        raise CheckpointError(
            f"{path} was trained on {trained_on}, not {config.data.name}",
            hint=f"--dataset {trained_on.removesuffix('_official')}, or another --checkpoint",
        )
    if content["dim"] != config.data.model_dim:
        raise CheckpointError(
            f"{path} is a {content['dim']} model, the data are {config.data.model_dim}"
        )
    entry = MODEL_REGISTRY.get(content["backbone"])
    classifier = Classifier(entry, len(content["classes"]))
    load_weights(classifier, content.pop("model"), path)
    logger.info("checkpoint: %s (%s, epoch %d)", path, content["backbone"], content["epoch"])
    return classifier.eval(), content


def _newest_is_of(folder: Path, dataset: str) -> bool:
    newest = folder / "best_model.pth"
    return newest.is_file() and load_checkpoint(newest)["dataset"] == dataset


def _check_fit(data: MriDataset, content: dict[str, Any], path: Path) -> None:
    """Check that the checkpoint saw images made the same way, and none of the test people."""
    trained, here = content["preprocessing"].get("preprocess"), data.settings.get("preprocess")
    if trained != here:
        names = [
            k
            for k in {**(trained or {}), **(here or {})}
            if (trained or {}).get(k) != (here or {}).get(k)
        ]
        raise CheckpointError(
            f"{path} was trained on images made otherwise: {', '.join(sorted(names))} differ",
            hint="preprocess with the settings it was trained with, or train again",
        )
    people = sorted(set(data.subjects))
    known = set(content["subjects"])
    seen = [name for name in people if known.issuperset(hash_subjects([name]))]
    if seen and SAME_PEOPLE not in data.manifest.stamps:
        raise LeakageError(
            f"{path} was trained or chosen on {len(seen)} of {len(people)} test people, "
            f"such as {seen[0]}",
            hint="train again on the present split",
        )
