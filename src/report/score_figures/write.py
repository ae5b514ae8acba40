"""All figures of a result.

Every function draws one section of ``metrics.json``. Where that is not available, nothing is
written and None is returned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .calibration import decision_curve_figure, reliability_figure
from .coverage import abstention_figure, prediction_sets_figure
from .forest import (
    NOT_ASKED,
    missing,
    shortened,
)
from .resampling import crossval_figure, permutation_figure, permutation_missing
from .rivals import rivals_figure, rivals_missing
from .subgroups import retest_figure, subgroup_figure

logger = logging.getLogger(__name__)


def write_score_figures(folder: Path, results: Mapping[str, Any], title: str) -> list[Path]:
    """Draw every figure of a result, and remove those of an earlier one that no longer apply.

    Args:
        folder: Where the PNG files go.
        results: Content of ``metrics.json``.
        title: Of the result: data set, people. Each figure puts its subject before it.

    Returns:
        The files written. Why one that was asked for is not is logged.
    """
    written = []
    for file, (subject, why_not, draw) in _plans(results).items():
        path = folder / file
        made = None
        if not why_not:
            made = draw(path, title=f"{subject}: {title}", stamps=results.get("stamps") or ())
        if made is None:
            path.unlink(missing_ok=True)  # of an earlier result
            if why_not != NOT_ASKED:
                logger.info(
                    "%s is not drawn: %s", file, shortened(why_not or "there is nothing in it", 300)
                )
        else:
            written.append(made)
    return written


def _plans(results: Mapping[str, Any]) -> dict[str, tuple[str, str, Callable[..., Path | None]]]:
    """Return file name -> subject, why it cannot be drawn (or nothing), and what draws it."""
    person, n = results["person"], results["person"]["n_people"]
    sets, chance = results.get("prediction_sets"), results.get("permutation")
    rivals, folds = results.get("rivals"), results.get("crossval")
    groups, age = results.get("subgroups"), results.get("confounding")
    reliability, curve = results.get("calibration"), results.get("decision_curve")
    unsure, twice = results.get("abstention"), results.get("retest")
    return {
        "rivals.png": (
            "Model and rivals",
            rivals_missing(rivals),
            partial(rivals_figure, person=person, rivals=rivals),
        ),
        "calibration.png": (
            "Calibration",
            missing(reliability),
            partial(reliability_figure, calibration=reliability, n_people=n),
        ),
        "decision_curve.png": (
            "Decision curve",
            missing(curve),
            partial(decision_curve_figure, decision_curve=curve, n_people=n),
        ),
        "abstention.png": (
            "Abstention",
            missing(unsure),
            partial(abstention_figure, abstention=unsure),
        ),
        "prediction_sets.png": (
            "Prediction sets",
            missing(sets),
            partial(prediction_sets_figure, prediction_sets=sets, classes=results["classes"]),
        ),
        "subgroups.png": (
            "Subgroups and age",
            missing(groups) and missing(age),
            partial(subgroup_figure, subgroups=groups, confounding=age),
        ),
        "retest.png": ("Test and retest", missing(twice), partial(retest_figure, retest=twice)),
        "permutation.png": (
            "Shuffled labels",
            permutation_missing(chance),
            partial(permutation_figure, permutation=chance, n_people=n),
        ),
        "crossval.png": (
            "Cross-validation",
            missing(folds),
            partial(crossval_figure, crossval=folds, person=person),
        ),
    }
