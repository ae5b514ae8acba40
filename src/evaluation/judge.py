"""Everything that stands beside a score: made by default, on the same people, in the same run."""

from __future__ import annotations

import importlib.metadata
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ..auditing.table_checks import cheap_audit
from ..data.splits import Division
from ..manifest import Manifest
from ..predictions import Predictions
from ..report.metrics_schema import SCHEMA
from .analyses.abstention import abstention
from .analyses.calibration import calibration_report
from .analyses.decision_curve import decision_curve
from .analyses.ensemble import ensemble
from .analyses.image_measures import stored_image_measures
from .analyses.increment import increment
from .analyses.permutation import permutation_test
from .analyses.prediction_sets import score_sets
from .analyses.retest import retest_report
from .analyses.rivals import RIVALS, columns_of, people_table, rival_scores
from .analyses.subgroups import confounding, subgroup_scores
from .analyses.tasks import task_report
from .answers import Answers
from .metrics.scores import METRICS, score
from .metrics.significance import paired_bootstrap

logger = logging.getLogger(__name__)
_LIBRARIES = ("torch", "numpy", "pandas", "scipy", "scikit-learn", "statsmodels")
#: What shuffled labels are scored by, and what a rival is compared in.
PERMUTED = ("balanced_accuracy", "macro_auc")
ENDS = ("value", "low", "high")


def judge(
    answers: Answers,
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    permutations: int = 0,
    together: bool = False,
) -> dict[str, Any]:
    """Score answers, and what a sceptic asks of the score.

    Args:
        answers: Out-of-sample answers.
        n_bootstrap: Resamples of people behind every interval.
        seed: Same seed, same intervals.
        permutations: Shuffles of the scored people's labels; 0 makes none.
        together: Also score the rivals and the model together (`ensemble`).

    Returns:
        The sections of ``metrics.json``, described in ``docs/metrics.md``.
    """
    classes, manifest = list(answers.scheme.classes), answers.manifest
    with_intervals: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed}
    counts = answers.train_counts
    table = people_table(manifest)
    shown = manifest.people()[["age", "sex", "site"]]
    said = answers.calibrated
    extras = _Extras()
    analyses: dict[str, Callable[[], Any]] = {
        "increment": lambda: increment(
            table, answers.raw, out_of_fold=answers.keys is not None, **with_intervals
        ),
        "calibration": lambda: calibration_report(
            answers.raw, said, answers.calibration, **with_intervals
        ),
        "prediction_sets": lambda: score_sets(
            answers.sets, answers.estimable, said, classes, **with_intervals
        ),
        "abstention": lambda: abstention(said, **with_intervals),
        "decision_curve": lambda: decision_curve(said, **with_intervals),
        "subgroups": lambda: subgroup_scores(said, shown, classes, **with_intervals),
        "confounding": lambda: confounding(said, shown, **with_intervals),
        "retest": lambda: retest_report(answers.image_rows, answers.images, classes),
    }
    if answers.tasks is not None:
        analyses["tasks"] = lambda: task_report(
            answers, stored_image_measures(manifest, answers.cache), **with_intervals
        )
    beside = {part: extras.make(part, analysis) for part, analysis in analyses.items()}
    shuffled = (
        permutation_test(said, {name: METRICS[name] for name in PERMUTED}, permutations, seed)
        if permutations
        else None
    )
    measured = _measured(answers)
    rivals, rows_of = _rivals(answers, table, measured, **with_intervals)
    if together:
        beside["ensemble"] = extras.make(
            "ensemble", lambda: _together(answers, rows_of, measured, **with_intervals)
        )
    results = {
        "schema": SCHEMA,
        "dataset": answers.name,
        "split": answers.split,
        "classes": classes,
        "stamps": list(manifest.stamps),
        "person": score(said, classes, counts, n_bootstrap, seed),
        "image": score(answers.images, classes, counts, n_bootstrap, seed),
        "rivals": rivals,
        **beside,
        "permutation": shuffled,
        "audit": _audit(answers),
        "people": _count_people(answers),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    return results | ({"failed": extras.failed} if extras.failed else {})


class _Extras:
    """What is made beside the score: one part that fails takes nothing from the others.

    Attributes:
        failed: Part -> why it failed, and where in the code.
    """

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    def make(self, part: str, analysis: Callable[[], Any]) -> Any:
        """Return what an analysis finds; where it fails, a section that is not available."""
        try:
            return analysis()
        except Exception as error:  # noqa: BLE001 - the score stands without it, and it is said
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind, where = type(error).__name__, f"{Path(place.filename).name}:{place.lineno}"
            self.failed[part] = " ".join(f"{kind}: {error} ({where})".split())
            logger.error("%s failed: %s; the rest is made", part, self.failed[part])
            return {"available": False, "reason": f"it failed: {self.failed[part]}"}


def _measured(answers: Answers) -> pd.DataFrame:
    """Return what rivals see of the images."""
    measured = stored_image_measures(answers.manifest, answers.cache)
    return measured if answers.placed is None else measured.join(answers.placed)


def _rivals(
    answers: Answers, table: pd.DataFrame, measured: pd.DataFrame, **with_intervals: Any
) -> tuple[list[dict[str, Any]], dict[str, Predictions]]:
    """Return every rival's scores, and how much more the model scores; and the answers."""
    rivals, rows_of = rival_scores(
        *(table, measured, _labels(answers)),
        *(answers.divisions, list(answers.scheme.classes), answers.train_counts),
        **with_intervals,
        harmonised=answers.harmonised,
    )
    for rival in rivals:
        if rival["name"] in rows_of:
            rows = rows_of[rival["name"]]
            rival["difference"] = _difference(answers.calibrated, rows, **with_intervals)
    return rivals, rows_of


def _together(
    answers: Answers,
    rows_of: dict[str, Predictions],
    measured: pd.DataFrame,
    **with_intervals: Any,
) -> dict[str, Any]:
    known = {rival.name: columns_of(rival, measured) for rival in RIVALS if rival.measured}
    return ensemble(
        *(answers.calibrated, rows_of, {name: measured[own] for name, own in known.items()}),
        *(_labels(answers), answers.divisions),
        *(list(answers.scheme.classes), answers.train_counts),
        site=answers.manifest.people()["site"] if answers.harmonised else None,
        **with_intervals,
    )


def _difference(said: Predictions, rival: Predictions, **with_intervals: Any) -> dict[str, Any]:
    """Return the model's scores minus a rival's, with intervals of the same resampled people."""
    metrics = {name: METRICS[name] for name in PERMUTED}
    found = paired_bootstrap(said, rival, metrics, **with_intervals)
    return {name: {end: one[end] for end in ENDS} for name, one in found.items()}


def _audit(answers: Answers) -> dict[str, Any]:
    """Return the cheap audit of the split; of folds, that of the first one that fails, if any."""
    if answers.keys is None:
        return cheap_audit(answers.manifest)
    audits = (
        cheap_audit(with_division(answers.manifest, division)) for division in answers.divisions
    )
    first = next(audits)
    return next((audit for audit in audits if audit["verdict"] == "FAIL"), first)


def with_division(manifest: Manifest, division: Division) -> Manifest:
    """Return the manifest with the learnt from as train and the answered as test."""
    side = dict.fromkeys(division.development, "train") | dict.fromkeys(division.test, "test")
    return manifest.with_columns(split=manifest.table["subject"].map(side))


def _labels(answers: Answers) -> pd.Series:
    """Return the class index of every rated person."""
    stages = answers.manifest.people()["label"].dropna()
    return stages.map(answers.scheme.index).astype(int)


def _count_people(answers: Answers) -> dict[str, dict[str, int]]:
    """Return side -> class -> number of people."""
    table = answers.manifest.table.dropna(subset=["label"])
    side = table["split"] if answers.keys is None else pd.Series("all", index=table.index)
    first = table.assign(side=side).dropna(subset=["side"]).drop_duplicates(["subject", "side"])
    classes = first["label"].map(answers.scheme.names)
    counts = pd.crosstab(first["side"], classes).reindex(
        columns=list(answers.scheme.classes), fill_value=0
    )
    return {str(name): {str(k): int(v) for k, v in row.items()} for name, row in counts.iterrows()}
