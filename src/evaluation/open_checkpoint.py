"""Open a trained checkpoint with the test people it may be shown.

Nothing is scored or explained without passing here: the checkpoint must fit the images, and neither
it nor the weights it started from may have been trained on the people it is tested on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..cohorts.people_names import hash_subjects, spellings
from ..cohorts.registry import cohort_of, same_people
from ..config import RunConfig, dataset_flags, name_run, people_of_dataset
from ..config.data import made_with
from ..data.dataset import MriDataset, require_people
from ..data.run_data import as_made, open_run_data
from ..errors import CheckpointError, LeakageError, counted
from ..labels import kind_of_classes
from ..manifest import SAME_PEOPLE
from ..models.calibration import Calibration
from ..models.checkpoint import load_checkpoint, load_weights
from ..models.classifier import Classifier, Origin
from ..models.conformal import Conformal
from ..models.create import backbone_entry
from ..models.made_again import Maker
from ..models.registry import MODEL_REGISTRY, ModelEntry
from ..models.weight_card import WeightCard
from ..models.wrap import wrapped_again
from ..predictions import Predictions
from ..training.laying import lay_in_mni
from .find_checkpoint import find_checkpoint
from .pretrained_people import refuse_known

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A checkpoint and the test people it may be shown.

    Attributes:
        path: The checkpoint's file.
        run_name: Folder name of its results.
        model: Ready to score, on the CPU.
        data: The test split, with the checkpoint's classes; of another data set, everyone.
        settings: The config of the training run.
        train_counts: People of each class that it was trained on.
        trained_on: The data set it was trained on.
        validation: Raw logits of its validation people, without their names.
    """

    path: Path
    run_name: str
    model: Classifier
    data: MriDataset
    settings: dict[str, Any]
    train_counts: list[int]
    trained_on: str
    validation: Predictions

    @property
    def external(self) -> bool:
        """Whether the data are others than those it was trained on."""
        return self.data.name != self.trained_on


def open_trained(config: RunConfig) -> Trained:
    """Open the checkpoint and the people that `config` names, and check that they fit.

    Of the data set it was trained on, these are the test people; of another one, everyone who is
    rated: external validation. With ``--split`` they are the test people of that file either way.

    Raises:
        CheckpointError: No checkpoint, a damaged one, or one whose images were made otherwise.
        ConfigError: Its network sees MNI space, and another study's volumes cannot be laid there.
        LeakageError: People were trained on, or may have been, by it or by its first weights.
    """
    path = find_checkpoint(config)
    model, content = load_trained(path, config.data.model_dim, config.own_network)
    opened = open_as_trained(config, content)
    external = opened.name != content["dataset"]
    own = content["config"].get("data", {}).get("split")
    if own and config.data.split is None and not external:
        logger.info("people are divided as for the training, by %s", own)
        opened = open_as_trained(config, content, split=own)
    every = external and config.data.split is None
    data = opened.everyone("test") if every else opened.with_split("test")
    return allowed_on(data, model, content, config)


def open_as_trained(config: RunConfig, content: dict[str, Any], **overrides: Any) -> MriDataset:
    """Open the data set that `config` names with the classes and ages of a checkpoint.

    Args:
        config: Of the run.
        content: The checkpoint's, of `load_trained`.
        overrides: ``split``, in place of the config's.
    """
    min_age = config.data.min_age or content["config"].get("data", {}).get("min_age", 0)
    asked = {"classes": len(content["classes"]), "min_age": min_age}
    return open_run_data(config, **asked, **overrides)


def allowed_on(
    data: MriDataset, model: Classifier, content: dict[str, Any], config: RunConfig
) -> Trained:
    """Return a model with people that it may be shown, after checking that it may.

    Args:
        data: The people, as one split.
        model: Of `load_trained`.
        content: Of `load_trained`.
        config: Of the run.

    Raises:
        CheckpointError: The images were made otherwise, or have other classes.
        LeakageError: People were trained on, or may have been, by it or by its first weights.
    """
    assert model.origin is not None
    path, trained_on = model.origin.path, content["dataset"]
    external = data.name != trained_on
    require_people(data)
    if external:
        _refuse_same_origin(data, content, path)
    _check_fit(data, content, path)
    if external:
        lay_in_mni(model, data, anew=True)  # another study has a frame of its own
    data = refuse_known(
        *(model.learnt_from, f"what {path} started from", data, data.subjects),
        allowed=config.train.allow_leaks,
        hint="test other people, or train from weights of others; or --allow_leaks to go on",
    )
    fallback = name_run(trained_on, content["backbone"], len(content["classes"]))
    name = config.run or content["config"].get("run") or fallback
    return Trained(
        path,
        f"{name}_on_{data.name}" if external and not config.run else name,
        model,
        data,
        settings=as_made(content["config"], content["preprocessing"]),
        train_counts=content["train_counts"],
        trained_on=trained_on,
        validation=_anonymous(content["validation"], path),
    )


def load_trained(
    path: str | Path, dim: str | None = None, network: nn.Module | Maker | str | None = None
) -> tuple[Classifier, dict[str, Any]]:
    """Return the model of a checkpoint, ready to score, and the checkpoint without its weights.

    Args:
        path: The checkpoint.
        dim: Of the images it shall score; None takes the checkpoint's own.
        network: Of a network of the user's own: it, or what makes it (`wrap`).

    Raises:
        CheckpointError: The file is damaged, or takes other images.
    """
    path = Path(path)
    content = load_checkpoint(path)
    entry = entry_of(content, path, dim)
    k = len(content["classes"])
    if entry is None:
        classifier = wrapped_again(content, path, network)
    else:
        sized = entry.like(content["model"])
        classifier = Classifier(sized, k, ordinal=content["ordinal"])
    classifier.pool_slices(content.get("pool", "mean"))
    if content.get("tasks"):
        classifier.add_tasks(content["tasks"])
    load_weights(classifier, content.pop("model"), path)
    classifier.calibration = Calibration.from_dict(content["calibration"], k)
    classifier.conformal = Conformal.from_dict(content["conformal"], k)
    classifier.origin = Origin(path, content)
    if (seen := content.get("learnt_from")) is not None:
        classifier.learnt_from = WeightCard.from_dict(seen)
    logger.info("checkpoint: %s (%s, epoch %d)", path, content["backbone"], content["epoch"])
    return classifier.eval(), content


def entry_of(content: dict[str, Any], path: Path, dim: str | None = None) -> ModelEntry | None:
    """Return the backbone of a checkpoint; None where it is a network of the user's own.

    Args:
        content: The checkpoint.
        path: Its file.
        dim: Of the images it shall score; None takes the checkpoint's own.

    Raises:
        CheckpointError: It takes other images, or its backbone is not registered.
    """
    if dim not in (None, content["dim"]):
        raise CheckpointError(
            f"{path} is a {content['dim']} model, trained on {content['dataset']}; the data are "
            f"{dim}",
            hint=f"{dataset_flags(content['dataset'], content['preprocessing'].get('cohort'))}, or "
            "another --checkpoint",
        )
    if content.get("network") is not None:
        return None
    if content["backbone"] not in MODEL_REGISTRY:
        raise CheckpointError(
            f"{path} is of a backbone that is not registered here: {content['backbone']!r} "
            f"(known: {', '.join(MODEL_REGISTRY)})",
            hint="use the version that it was trained with, or add the backbone (CONTRIBUTING.md)",
        )
    return backbone_entry(content["backbone"])


def _anonymous(content: dict[str, Any], path: Path) -> Predictions:
    """Return the stored answers of validation people, whose names are not known."""
    try:
        labels, logits = np.array(content["labels"]), np.array(content["logits"])
        return Predictions(labels, logits, np.arange(len(labels)))
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: what is stored of validation people is damaged: {error}",
            hint="train again, or copy the file again",
        ) from None


def _refuse_same_origin(data: MriDataset, content: dict[str, Any], path: Path) -> None:
    """Refuse an external test on what are, or may be, the same people."""
    name, trained_on = data.name, content["dataset"]
    if people_of_dataset(name) == people_of_dataset(trained_on):
        raise LeakageError(
            f"{path} was trained on {trained_on}: {name} is another split of the same people",
            hint="train on the split that is to be tested",
        )
    cohorts = [cohort_of(name, data.settings), cohort_of(trained_on, content["preprocessing"])]
    if None not in cohorts and same_people(*map(str, cohorts)):
        told = " and ".join(sorted({str(cohort) for cohort in cohorts}))
        raise LeakageError(
            f"{path} was trained on {trained_on}: {name} is no external test of it, since "
            f"{told} are, or may be, of the same people under other names",
            hint="test on people of another study",
        )


def _check_fit(data: MriDataset, content: dict[str, Any], path: Path) -> None:
    """Check that the checkpoint saw images made the same way, and none of the test people."""
    both = content["preprocessing"].get("preprocess"), data.settings.get("preprocess")
    trained, here = (made_with(one) if one else one for one in both)
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
    if tuple(content["classes"]) != data.scheme.classes:
        kind = kind_of_classes(content["classes"])
        raise CheckpointError(
            f"{path} tells {', '.join(content['classes'])}; these people are labelled "
            f"{', '.join(data.scheme.classes)}",
            hint=f"use people labelled as it was trained: preprocess with --label {kind}",
        )
    people = sorted(set(data.subjects))
    known = set(content["subjects"])
    # However the data set spells a person: sub-OAS30010 is OAS30010.
    seen = [name for name in people if known.intersection(hash_subjects(spellings(name)))]
    if seen and SAME_PEOPLE not in data.manifest.stamps:
        raise LeakageError(
            f"{path} was trained or chosen on {len(seen)} of "
            f"{counted(len(people), 'test person')}, such as {seen[0]}",
            hint="train again on the present split",
        )
