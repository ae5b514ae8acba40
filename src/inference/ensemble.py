"""One checkpoint or several that answer together, and what they were trained on.

Axes: M checkpoints, n images of a scan, F features, K classes.

Sources: Gasparin and Ramdas (2024), arXiv:2401.09379 (majority vote of prediction sets: its
coverage error is at most twice that of one set); Vovk and Wang (2020), doi:10.1093/biomet/asaa027
(twice the mean of p-values is a p-value).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import PreprocessConfig, RunConfig, ScanConfig, name_run
from ..config.options import build_config
from ..errors import CheckpointError, ConfigError
from ..evaluation.find_checkpoint import find_checkpoint
from ..evaluation.open_checkpoint import load_trained
from ..models.classifier import Classifier
from ..models.conformal import estimable, prediction_sets
from ..models.engine import Pass
from ..models.pooling import slice_places, slice_weights
from ..models.task_values import TaskValues, joined_values
from ..models.weight_card import card_of_checkpoint, known_to
from ..predictions import Predictions
from ..training.checkpoint_content import BEST
from ..training.likeness import Likeness, Reference, embed_images
from ..training.logits import place
from ..training.task_answers import task_values

logger = logging.getLogger(__name__)
#: Of the prediction set: of 100 people of a class, this share have a set that holds it.
LEVEL = 0.90
#: Said of a checkpoint that was made before raw scans were brought to the look of training images.
OLDER = (
    "keeps neither mask, coding nor detail of its training images, nor people who came as new "
    "scans: raw scans will often be told outside of what it has seen; train it again"
)
_COMING = 128  # images to expect, so that how many scans there are does not decide who computes
_SHARED = ("classes", "dim", "dataset")


@dataclass(frozen=True, eq=False)
class Member:
    """One checkpoint.

    Attributes:
        path: Its file.
        model: Ready to score.
        content: What it holds beside weights.
        reference: How its training people look to it; None where it does not know.
    """

    path: Path
    model: Classifier
    content: dict[str, Any]
    reference: Reference | None


@dataclass(frozen=True, eq=False)
class Said:
    """What the checkpoints say of one scan.

    Attributes:
        probabilities: (K,) calibrated, the mean over checkpoints.
        spread: (K,) standard deviation over checkpoints; None of one.
        members: (M, K) of each checkpoint.
        held: (K,) whether each class is in the prediction set.
        likeness: Of each checkpoint that can tell.
        logits: (M, K) of each checkpoint, not calibrated, pooled over the images.
        tasks: One row of what is said beside the stage, the mean over images and checkpoints; None
            of models that know the stage alone.
    """

    probabilities: NDArray[np.float64]
    spread: NDArray[np.float64] | None
    members: NDArray[np.float64]
    held: NDArray[np.bool_]
    likeness: tuple[Likeness, ...]
    logits: NDArray[np.float64]
    tasks: TaskValues | None = None


class Ensemble:
    """Checkpoints of one data set and one way of preprocessing.

    Attributes:
        members: One or more.
        device: Where they are.
        source: The file or folder that they were found at.
    """

    def __init__(self, members: list[Member], device: torch.device, source: Path) -> None:
        self.members, self.device, self.source = members, device, source

    @cached_property
    def _passes(self) -> list[Pass]:
        return [Pass(member.model, _COMING) for member in self.members]

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the checkpoints say beside the stage."""
        heads = self.members[0].model.task_heads
        return heads.names if heads is not None else ()

    @property
    def content(self) -> dict[str, Any]:
        """The first checkpoint's; what is read of it all of them share."""
        return self.members[0].content

    @property
    def classes(self) -> tuple[str, ...]:
        """K names, mildest first."""
        return tuple(self.content["classes"])

    @property
    def dim(self) -> str:
        """``"2d"`` or ``"3d"``."""
        return str(self.content["dim"])

    @cached_property
    def preprocess(self) -> PreprocessConfig:
        """How the training images were made.

        Raises:
            CheckpointError: The checkpoint does not say.
        """
        stored = self.content["preprocessing"].get("preprocess")
        try:
            return PreprocessConfig(**stored)
        except (TypeError, ConfigError):
            raise CheckpointError(
                f"{self.members[0].path} does not say how its training images were made: it was "
                "trained on a bare folder of pictures",
                hint="train on a data set that --mode preprocess made",
            ) from None

    def scan_settings(self, given: ScanConfig) -> ScanConfig:
        """Return how raw scans are brought to the standard: as for training, where that was done.

        Args:
            given: From the command line; names that are let in are always taken from here.
        """
        stored = self.content["preprocessing"].get("scan")
        if not isinstance(stored, dict):
            return given
        return build_config(ScanConfig, {**stored, "let_in": given.let_in})

    def trained_on(self, subject: str) -> bool:
        """Return whether any checkpoint, or its first weights, learnt from a person of this name.

        A person counts as the same however data sets spell the name.
        """
        return any(known_to(card_of_checkpoint(one.content), subject) for one in self.members)

    @torch.no_grad()
    def answer(self, images: Tensor, slices: Sequence[int] = ()) -> Said:
        """Answer one scan.

        Args:
            images: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` in [0, 1].
            slices: Slice number of each image; without, they are taken to lie in this order.

        Raises:
            CheckpointError: Scores are not finite.
        """
        rows, votes, likeness, means = [], [], [], []
        beside: list[TaskValues] = []
        for member, run in zip(self.members, self._passes, strict=True):
            features = embed_images(run, images, self.device)
            logits = member.model.classify(torch.from_numpy(features).to(self.device)).float()
            mean = _pooled(member.model, logits, features, slices).cpu().double().numpy()
            if not np.isfinite(mean).all():
                raise CheckpointError(
                    f"{member.path}: its scores are not finite", hint="train again"
                )
            person = _calibrated(member, mean)
            means.append(mean[0])
            rows.append(person.probabilities[0])
            if member.model.conformal is not None:
                votes.append(prediction_sets(member.model.conformal, person, LEVEL)[0])
            told = task_values(member.model, features)
            if told is not None:
                beside.append(told)
            if member.reference is not None:
                likeness.append(member.reference.judge(features, images))
        members = np.stack(rows)
        held = np.mean(votes, axis=0) > 0.5 if votes else np.ones(members.shape[1], bool)
        spread = members.std(axis=0) if len(members) > 1 else None
        mean_row = members.mean(axis=0)
        said = joined_values(beside) if beside else None
        return Said(
            *(mean_row, spread, members, held, tuple(likeness), np.stack(means)),
            tasks=said.per_person(["new"] * len(said.values)) if said else None,
        )

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (K,) calibrated probabilities of mean logits (M, K), the mean over checkpoints."""
        rows = [
            _calibrated(member, row[None]).probabilities[0]
            for member, row in zip(self.members, logits, strict=True)
        ]
        return np.asarray(np.mean(rows, axis=0))

    def always_held(self) -> list[str]:
        """Return the classes that are in every set, as too few validation people have them."""
        enough = [
            estimable(member.model.conformal, LEVEL)
            for member in self.members
            if member.model.conformal is not None
        ]
        share = np.mean(enough, axis=0) if enough else np.zeros(len(self.classes))
        return [name for name, one in zip(self.classes, share, strict=True) if one <= 0.5]


def _pooled(
    model: Classifier, logits: Tensor, features: NDArray[np.float32], slices: Sequence[int]
) -> Tensor:
    """Return the logits (1, K) of a scan from those (n, K) of its images."""
    if model.pooling == "mean":
        return logits.mean(dim=0, keepdim=True)
    one = np.zeros(len(logits), dtype=np.int64)
    place = torch.from_numpy(slice_places(one, slices or range(len(logits)))).float()
    own = torch.from_numpy(features).to(logits.device)
    said = model.with_scores(logits, own, place).cpu().double().numpy()
    scores = said[:, -1] if model.attention is not None else None
    rows = said[:, : model.num_classes]
    weights = slice_weights(model.pooling, rows, one, one, scores)
    assert weights is not None
    return torch.from_numpy(weights @ rows)[None]


def _calibrated(member: Member, logits: NDArray[np.float64]) -> Predictions:
    """Return one calibrated answer of logits (1, K)."""
    return member.model.calibrated(Predictions(np.zeros(1, np.int64), logits, np.array(["new"])))


def combined(p_values: list[float]) -> float:
    """Return one p-value of several that may depend on each other: twice their mean."""
    return min(1.0, float(np.mean(p_values)) * (2 if len(p_values) > 1 else 1))


def open_ensemble(config: RunConfig, device: torch.device) -> Ensemble:
    """Open the checkpoint that `config` names, or all of the folder that it names.

    Of a folder they are its own ``best_model.pth``, else those of its subfolders, as
    cross-validation leaves them.

    Raises:
        CheckpointError: There is none, one is damaged, or two of them do not belong together.
    """
    source = find_checkpoint(config)
    opened = [load_trained(path, network=config.own_network)[0] for path in checkpoints_in(source)]
    return ensemble_of(opened, device, source)


def ensemble_of(models: Sequence[Classifier], device: torch.device, source: Path) -> Ensemble:
    """Let models that were loaded or saved answer together.

    Args:
        models: One or more; each has an `origin`.
        device: Where they are put.
        source: Where they were found.

    Raises:
        CheckpointError: Two of them do not belong together, or one is damaged.
    """
    members = [_member(model, device) for model in models]
    first = members[0]
    for other in members[1:]:
        different = [key for key in _SHARED if other.content[key] != first.content[key]]
        asked = [one.content.get("tasks", []) for one in (first, other)]
        different += ["tasks"] if asked[0] != asked[1] else []
        ways = [one.content["preprocessing"].get("preprocess") for one in (first, other)]
        different += ["preprocessing"] if ways[0] != ways[1] else []
        if different:
            raise CheckpointError(
                f"{other.path} and {first.path} do not belong together: {', '.join(different)}",
                hint="name one checkpoint, or a folder with the folds of one study",
            )
    if len(members) > 1:
        logger.info("%d checkpoints answer together", len(members))
    if any(member.reference is None for member in members):
        logger.warning(
            "%s does not know how its training people look (its training was stopped, or had too "
            "few people): scans unlike them cannot be told",
            next(member.path for member in members if member.reference is None),
        )
    older = [member.path for member in members if "look" not in member.content]
    if older:
        logger.warning("%s %s", older[0], OLDER)
    return Ensemble(members, device, source)


def _member(model: Classifier, device: torch.device) -> Member:
    assert model.origin is not None
    path, content = model.origin.path, model.origin.content
    model = place(model, device).eval()
    width = int(model.embed(_blank(content).to(device)).shape[1])
    stored = content.get("reference")
    reference = Reference.from_dict(stored, width) if stored is not None else None
    return Member(path, model, content, reference)


def run_name_of(config: RunConfig, ensemble: Ensemble) -> str:
    """Return the name of the folder for what these say: ``--run``, or that of their training."""
    given = config.evaluate.checkpoint
    content = ensemble.content
    if config.run:
        return config.run
    if given is not None and given.is_dir() and given.resolve().name:
        return given.resolve().name
    named = name_run(content["dataset"], content["backbone"], len(content["classes"]))
    return content["config"].get("run") or named


def checkpoints_in(path: Path) -> list[Path]:
    """Return a checkpoint itself; of a folder its own, else those of its folders.

    Raises:
        CheckpointError: The folder has none.
    """
    if not path.is_dir():
        return [path]
    own = path / BEST
    found = [own] if own.is_file() else sorted(path.glob(f"*/{BEST}"))
    if not found:
        raise CheckpointError(
            f"no checkpoint in {path}", hint=f"a folder with {BEST}, or with folders that have one"
        )
    return found


def _blank(content: dict[str, Any]) -> Tensor:
    """Return an empty image, large enough for every backbone: its features are counted."""
    return torch.zeros((1, 1, 64, 64) if content["dim"] == "2d" else (1, 1, 32, 32, 32))
