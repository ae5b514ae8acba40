"""Out-of-sample answers of a model, with all that is needed to judge them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..data.image_cache import ImageStore
from ..data.splits import Division
from ..labels import ClassScheme
from ..manifest import Manifest
from ..models.calibration import Calibration
from ..models.conformal import Sets
from ..models.task_values import TaskValues
from ..predictions import Predictions


@dataclass(frozen=True)
class Neighbours:
    """Training people whom scored people are most like (`neighbours`).

    Attributes:
        section: Of ``metrics.json``: how many they are, or why there are none.
        table: Index ``subject``, columns as in ``people.csv``; None where there are none.
    """

    section: dict[str, Any]
    table: pd.DataFrame | None = None


@dataclass(frozen=True)
class Answers:
    """What a model said of people that it never saw.

    Attributes:
        raw: Logits as the model gave them: one row per person, or one per person, repeat and seed.
        calibrated: The same rows as a user gets them.
        sets: Level -> (n, K) prediction set of each row.
        estimable: Level -> whether each class had enough validation people for it.
        calibration: What led from `raw` to `calibrated`.
        images: Calibrated logits, one row per image.
        image_rows: ``subject, session, slice`` of the images.
        keys: ``repeat, fold, seed`` of each row; None without folds.
        divisions: Who was learnt from and who was answered; together the rows of `raw`, in order.
        train_counts: People of each class that the model learnt from; they name the majority.
        manifest: All rated people and their tables.
        cache: Their images.
        scheme: How stages become classes.
        name: Of the data set.
        split: "test" or "out-of-fold".
        neighbours: Training people most like each person; None out of fold.
        harmonised: Whether what was measured was harmonised by site.
        placed: Features of a frozen backbone that keep their place (`placed_features`), if known.
        tasks: What was said beside the stage, of the rows of `raw`; None of the stage alone.
        image_tasks: The same of the rows of `images`.
    """

    raw: Predictions
    calibrated: Predictions
    sets: dict[float, Sets]
    estimable: dict[float, list[bool]]
    calibration: Calibration
    images: Predictions
    image_rows: pd.DataFrame
    keys: pd.DataFrame | None
    divisions: list[Division]
    train_counts: list[int]
    manifest: Manifest
    cache: ImageStore
    scheme: ClassScheme
    name: str
    split: str
    neighbours: Neighbours | None = None
    harmonised: bool = False
    placed: pd.DataFrame | None = None
    tasks: TaskValues | None = None
    image_tasks: TaskValues | None = None
