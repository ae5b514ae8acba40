"""Training images with what is asked beside the stage, and people who are not rated among them.

An unrated person has no stage and is never scored, but has an age: on the training side the image
teaches that. Batches: images ``(n, 1, ...)`` and answers ``(n, 1 + T)`` float32: the class index,
-1 where not rated; then years, points, and 0 F or 1 M of T tasks, NaN where not known.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ..errors import LeakageError, ManifestError, counted
from ..manifest import SAME_PEOPLE, Manifest
from ..models.task_values import LEAST_FOR_LINE, SEX
from .dataset import Batch, MriDataset

logger = logging.getLogger(__name__)
Floats = NDArray[np.float64]
_UNRATED = -1
_LEAST = LEAST_FOR_LINE  # people under whom a task has nothing to learn from


class TaskDataset(MriDataset):
    """The training side with answers of several tasks, and its unrated people at the end.

    Args:
        rated: The rated training people; its manifest knows the others.
        tasks: Names of the tasks beside the stage.

    Attributes:
        targets: ``(n, T)`` answers beside the stage, NaN where not known.

    Raises:
        ManifestError: Under ten training people have an answer to a task.
        LeakageError: An unrated person's file is one of a validation or test person.
    """

    def __init__(self, rated: MriDataset, tasks: Sequence[str]) -> None:
        others = unrated_for_training(rated.manifest, tasks)
        # What `MriDataset` keeps, of more rows: it would give each a class.
        self.manifest, self.split, self.scheme = rated.manifest, rated.split, rated.scheme
        self.settings, self.cache = rated.settings, rated.cache
        self.rows = pd.concat([rated.rows, others.table], ignore_index=True)
        self._places = self.cache.rows(self.rows["path"])
        self.labels = np.concatenate([rated.labels, np.full(len(others), _UNRATED)])
        self.subjects = self.rows["subject"].to_numpy(dtype=object)
        self.targets = targets_of(self.rows, tasks)
        _require_answers(self, tasks)
        if len(others):
            logger.info(
                "%s without a rating: learnt from for %s, never for the stage",
                counted(others.table["subject"].nunique(), "training person", "training people"),
                " and ".join(name for name in tasks if others.table[name].notna().any()),
            )

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return a batch of images and answers."""
        rows = np.asarray(indices, dtype=np.int64)
        answers = np.concatenate([self.labels[rows, None], self.targets[rows]], axis=1)
        return self.read_rows(rows), torch.from_numpy(answers.astype(np.float32))

    def class_counts(self) -> NDArray[np.int64]:
        """Return the number of rated rows of each class."""
        rated = self.labels[self.labels != _UNRATED]
        return np.bincount(rated, minlength=len(self.scheme.classes))


def unrated_for_training(manifest: Manifest, tasks: Sequence[str]) -> Manifest:
    """Return the rows without a rating that may teach `tasks`: those of nobody held out.

    Args:
        manifest: Rows of all sides; unrated ones are on none.
        tasks: Names; a row that answers none of them is left out.

    Raises:
        LeakageError: A file of such a row is one of a validation or test person.
    """
    table = manifest.table
    held_out = table[table["split"].isin(["val", "test"])]
    known = table[list(tasks)].notna().any(axis=1)
    wanted = table["label"].isna() & known & ~table["subject"].isin(held_out["subject"])
    found = manifest.where(wanted)
    prints = found.table["fingerprint"]
    same = prints.notna() & prints.isin(held_out["fingerprint"].dropna())
    if same.any() and SAME_PEOPLE not in manifest.stamps:
        first = found.table[same].iloc[0]
        raise LeakageError(
            f"{first['path']} of {first['subject']}, who is not rated and would train, is also a "
            f"file of a validation or test person in {manifest.root}",
            hint="remove the copy and preprocess again, or train with --tasks stage",
        )
    return found


def targets_of(rows: pd.DataFrame, tasks: Sequence[str]) -> Floats:
    """Return the answers ``(n, T)`` of a manifest's rows: years, points, 0 F and 1 M; else NaN."""
    columns = [
        (rows[name].map({"F": 0.0, "M": 1.0}) if name == SEX else rows[name])
        .astype("Float64")
        .to_numpy(dtype=np.float64, na_value=np.nan)
        for name in tasks
    ]
    return np.stack(columns, axis=1)


def _require_answers(data: TaskDataset, tasks: Sequence[str]) -> None:
    """Refuse a task that too few training people have an answer to, or that all answer alike."""
    for place, name in enumerate(tasks):
        answers = data.targets[:, place]
        known = np.isfinite(answers)
        people = len(set(data.subjects[known]))
        why = ""
        if people < _LEAST:
            have = counted(people, "training person has", "training people have")
            why = f"{have} a known {name}, and {_LEAST} are needed"
        elif np.ptp(answers[known]) == 0:
            why = f"all {people} training people have one {name}"
        if why:
            raise ManifestError(
                f"--tasks {name}: {why}, in {data.manifest.root}",
                hint=f"leave {name} out of --tasks, or fill the column {name} of the cohort's "
                "table and preprocess again",
            )
