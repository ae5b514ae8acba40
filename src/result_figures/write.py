"""The model beside its rivals, and all figures of a result.

Every function draws one section of ``metrics.json``. Where that is not available, nothing is
written and None is returned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..canvas import write_figure
from ..figures import COLOURS
from ..forest import (
    GREY,
    METRICS,
    NOT_ASKED,
    Panel,
    Row,
    caption_of,
    chance_of,
    forest_figure,
    missing,
    notes_of,
    people,
    shortened,
)
from .calibration import decision_curve_figure, reliability_figure
from .coverage import abstention_figure, prediction_sets_figure
from .resampling import crossval_figure, permutation_figure, permutation_missing
from .subgroups import retest_figure, subgroup_figure

__all__ = [
    "abstention_figure",
    "crossval_figure",
    "decision_curve_figure",
    "permutation_figure",
    "prediction_sets_figure",
    "reliability_figure",
    "retest_figure",
    "rivals_figure",
    "subgroup_figure",
    "write_score_figures",
]

logger = logging.getLogger(__name__)


def rivals_figure(
    path: Path,
    person: Mapping[str, Any],
    rivals: Sequence[Mapping[str, Any]] | None,
    title: str,
    *,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw the model, the majority's answer and every rival, with intervals and chance.

    Args:
        path: PNG to write.
        person: Scores per person, as `score` returns them.
        rivals: One section per rival; those not available are named in the caption.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where no rival is available.
    """
    if rivals_missing(rivals):
        return None
    assert rivals is not None
    majority = person["majority"]
    n = people(person["n_people"])
    by_definition = {"balanced_accuracy": majority["balanced_accuracy"]["value"], "macro_auc": 0.5}
    rows = [
        Row("this model", n, person["metrics"]),
        Row(
            f"always {majority['class']}",
            n,
            {name: {"value": value} for name, value in by_definition.items()},
            said={name: f"{value:.2f} (by definition)" for name, value in by_definition.items()},
            marker="D",
            colour="black",
            hollow=True,
        ),
        *(_rival_row(rival) for rival in rivals if not missing(rival)),
    ]
    absent = [
        f"{shortened(rival.get('title') or rival.get('name'), 40)} "
        f"({shortened(missing(rival).rstrip('.'), 90)})"
        for rival in rivals
        if missing(rival)
    ]
    caption = caption_of(
        (
            "Bars: 95 % intervals of people",
            notes_of(person),
            f"Not available: {'; '.join(absent)}" if absent else "",
        )
    )
    chance = chance_of(person)
    panels = [Panel(name, words, chance[name]) for name, words in METRICS.items()]
    return write_figure(forest_figure(rows, panels), path, title, caption, stamps)


def rivals_missing(rivals: Sequence[Mapping[str, Any]] | None) -> str:
    """Return why no rival can be drawn; empty where one can."""
    if not rivals:
        return NOT_ASKED
    if not all(missing(rival) for rival in rivals):
        return ""
    return "; ".join(
        f"{rival.get('title') or rival.get('name')}: {missing(rival)}" for rival in rivals
    )


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


def _rival_row(rival: Mapping[str, Any]) -> Row:
    upper = bool(rival.get("upper_reference"))
    name = str(rival.get("title") or rival["name"])
    below = people(rival["n_people"])
    if rival.get("imputed"):
        below += f", {rival['imputed']} imputed"
    if upper:
        return Row(
            name,
            f"upper reference, {below}",
            rival["metrics"],
            marker="^",
            colour=GREY,
            hollow=True,
        )
    return Row(name, below, rival["metrics"], marker="s", colour=COLOURS[1])
