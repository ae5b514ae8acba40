"""Who reads the changed scans: the model, and rivals without a network that see the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax, logsumexp

from ..data.splits import Division
from ..evaluation.analyses.dark_voxels import PREFIX
from ..evaluation.analyses.image_measures import CSF_GREY, stored_image_measures
from ..evaluation.analyses.rivals import RIVALS, rival_predictions
from ..evaluation.open_checkpoint import Trained
from .answers import profiles
from .plan import NONE
from .summary import Reader

_KEYS = ["name", "subject", "label", "kind", "change", "strength", "reason"]
_ASKED = (PREFIX, CSF_GREY)  # rivals by what their columns start with


@dataclass(frozen=True, eq=False)
class Readers:
    """All of them.

    Attributes:
        table: A row per reader, scan and change.
        each: The readers, the model first, of a person's first session.
        unchanged: The model's rows of unchanged scans, all sessions.
    """

    table: pd.DataFrame
    each: list[Reader]
    unchanged: pd.DataFrame


def readers_of(
    rows: Sequence[Mapping[str, Any]], trained: Trained, n_bootstrap: int, seed: int
) -> Readers:
    """Return what the model and its rivals said.

    Args:
        rows: From `answers.ask`.
        trained: Model, and people; those on its training side teach the rivals.
        n_bootstrap: Resamples of people.
        seed: Of the resampling.
    """
    model = pd.DataFrame(rows)
    for name in ("log_odds", "stage", "set_size"):
        if name not in model:
            model[name] = np.nan
    model = model[[*_KEYS, "log_odds", "stage", "set_size"]].assign(reader="model")
    tables = {("model", "the model"): model}
    if not trained.external:
        tables |= _rivals([row for row in rows if not row["reason"]], trained)
    each = [Reader(*key, _first(table), n_bootstrap, seed) for key, table in tables.items()]
    every = pd.concat(list(tables.values()), ignore_index=True)
    return Readers(every, each, model[(model["kind"] == NONE) & model["reason"].isna()])


def _first(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each person's first session."""
    first = table.groupby("subject")["name"].transform("min")
    return table[table["name"] == first]


def _rivals(
    rows: Sequence[Mapping[str, Any]], trained: Trained
) -> dict[tuple[str, str], pd.DataFrame]:
    """Fit rivals to the model's development people, and ask them every changed image."""
    data = trained.data
    sides = [data.with_split(split) for split in ("train", "val")]
    stage: dict[str, int] = {}
    for side in sides:
        stage |= {
            str(name): int(label) for name, label in zip(side.subjects, side.labels, strict=True)
        }
    measured = stored_image_measures(data.manifest, data.cache)
    dark = [name for name in measured if str(name).startswith(PREFIX)]
    given = pd.DataFrame(profiles(rows, len(dark)), columns=dark)
    given[CSF_GREY] = [np.nan if row["csf"] is None else row["csf"] for row in rows]
    given.index = pd.Index([f"row {number}" for number in range(len(rows))])
    development = sorted(stage)
    labels = pd.Series(
        [*(stage[name] for name in development), *(row["label"] for row in rows)],
        index=[*development, *given.index],
    )
    found = {}
    for rival in RIVALS:
        if rival.measured not in _ASKED:
            continue
        columns = [name for name in given if str(name).startswith(rival.measured)]
        covariates = pd.concat([measured.loc[development, columns], given[columns]])
        division = Division(tuple(development), tuple(given.index))
        said = rival_predictions(covariates, labels, [division], len(data.scheme.classes))
        log_p = log_softmax(said.logits, axis=1)
        table = pd.DataFrame(rows)[_KEYS].assign(
            log_odds=logsumexp(log_p[:, 1:], axis=1) - log_p[:, 0],
            stage=said.predicted,
            reader=rival.name,
        )
        found[rival.name, rival.title] = table
    return found
