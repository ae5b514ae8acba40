"""Were scans of one stage set aside more often than those of another?

An error that goes with the label is a bias: who is left is then no fair picture of that stage.

Source: Freeman & Halton (1951), doi:10.1093/biomet/38.1-2.141 (Fisher's exact test of more than
two groups).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import MonteCarloMethod, fisher_exact

from ...labels import LABELS
from ..metrics.intervals import wilson_interval

_TABLES = 19_999  # drawn to find p where there are more than two stages


def set_aside_by_stage(kept: pd.DataFrame, aside: pd.DataFrame) -> dict[str, Any]:
    """Return how many people of each stage had a scan that was set aside.

    People are counted, not scans, since scans of one person are not independent. A person who was
    rated differently at two visits counts at both stages.

    Args:
        kept: ``subject`` and ``label`` (a stage; empty where not rated) of scans that are used.
        aside: The same of scans that are not.

    Returns:
        ``stages``: stage -> ``aside``, ``n``, and the share as ``value``, ``low`` and ``high``
        (Wilson's 95 % interval). ``p``: of Fisher's exact test that the stages do not differ; None
        where fewer than two stages have people, or none or all were set aside.
    """
    people = pd.concat([kept.assign(aside=False), aside.assign(aside=True)])
    rated = people[people["label"].isin(LABELS)]
    any_aside = rated.groupby(["label", "subject"])["aside"].any()
    counts = {
        stage: (int(any_aside[stage].sum()), len(any_aside[stage]))
        for stage in LABELS
        if stage in any_aside.index.get_level_values("label")
    }
    stages = {
        stage: {"aside": out, "n": n, **wilson_interval(out, n)}
        for stage, (out, n) in counts.items()
    }
    return {"stages": stages, "p": _p(list(counts.values()))}


def _p(counts: list[tuple[int, int]]) -> float | None:
    table = np.array([[out, n - out] for out, n in counts])
    if len(table) < 2 or not table.sum(axis=0).all():
        return None
    if len(table) == 2:
        return float(fisher_exact(table).pvalue)
    drawn = MonteCarloMethod(n_resamples=_TABLES, rng=np.random.default_rng(0))
    return float(fisher_exact(table, method=drawn).pvalue)
