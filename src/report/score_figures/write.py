"""All figures of a result: what each draws, when it can be drawn, and where the report shows it.

Every function draws one section of ``metrics.json``. Where that is not available, nothing is
written and None is returned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .calibration import decision_curve_figure, reliability_figure
from .coverage import abstention_figure, prediction_sets_figure
from .forest import NOT_ASKED, missing, shortened
from .learning_curve import learning_curve_figure
from .resampling import crossval_figure, permutation_figure, permutation_missing
from .rivals import rivals_figure, rivals_missing
from .subgroups import retest_figure, subgroup_figure
from .tasks import gap_figure, gap_missing, tasks_figure, tasks_missing

logger = logging.getLogger(__name__)
#: What ``metrics.json`` holds.
Results = Mapping[str, Any]


@dataclass(frozen=True)
class ScoreFigure:
    """One figure of a result.

    Attributes:
        file: Name of the PNG.
        subject: Begins its title.
        part: Part of the report that it stands in, a key of `page.scores.PARTS`.
        shows: What it shows, for people who cannot see it.
        why_not: Returns why it cannot be drawn; empty where it can.
        draw: Draws it from path and results, with ``title`` and ``stamps``; returns the path, or
            None where nothing was in it.
    """

    file: str
    subject: str
    part: str
    shows: str
    why_not: Callable[[Results], str]
    draw: Callable[..., Path | None]


FIGURES = (
    ScoreFigure(
        "rivals.png",
        "Model and rivals",
        part="models",
        shows="Scores of the model and its rivals, with intervals",
        why_not=lambda r: rivals_missing(r.get("rivals")),
        draw=lambda path, r, **more: rivals_figure(path, r["person"], r["rivals"], **more),
    ),
    ScoreFigure(
        "calibration.png",
        "Calibration",
        part="calibration",
        shows="Observed by predicted share of demented people, before and after calibration",
        why_not=lambda r: missing(r.get("calibration")),
        draw=lambda path, r, **more: reliability_figure(
            path, r["calibration"], n_people=_n_people(r), **more
        ),
    ),
    ScoreFigure(
        "decision_curve.png",
        "Decision curve",
        part="decision",
        shows="Net benefit by threshold of acting on the model, on everyone and on no one",
        why_not=lambda r: missing(r.get("decision_curve")),
        draw=lambda path, r, **more: decision_curve_figure(
            path, r["decision_curve"], n_people=_n_people(r), **more
        ),
    ),
    ScoreFigure(
        "abstention.png",
        "Abstention",
        part="abstention",
        shows="Scores by the share who are answered",
        why_not=lambda r: missing(r.get("abstention")),
        draw=lambda path, r, **more: abstention_figure(path, r["abstention"], **more),
    ),
    ScoreFigure(
        "prediction_sets.png",
        "Prediction sets",
        part="sets",
        shows="Coverage and size of the sets",
        why_not=lambda r: missing(r.get("prediction_sets")),
        draw=lambda path, r, **more: prediction_sets_figure(
            path, r["prediction_sets"], r["classes"], **more
        ),
    ),
    ScoreFigure(
        "subgroups.png",
        "Subgroups and age",
        part="subgroups",
        shows="Scores by sex and age, with intervals",
        why_not=lambda r: missing(r.get("subgroups")) and missing(r.get("confounding")),
        draw=lambda path, r, **more: subgroup_figure(
            path, r.get("subgroups"), r.get("confounding"), **more
        ),
    ),
    ScoreFigure(
        "retest.png",
        "Test and retest",
        part="retest",
        shows="Two scans of the same people",
        why_not=lambda r: missing(r.get("retest")),
        draw=lambda path, r, **more: retest_figure(path, r["retest"], **more),
    ),
    ScoreFigure(
        "tasks.png",
        "Beside the stage",
        part="tasks",
        shows="Age and MMSE said of each person against what is true",
        why_not=lambda r: tasks_missing(r.get("tasks")),
        draw=lambda path, r, **more: tasks_figure(path, r["tasks"], r["classes"], **more),
    ),
    ScoreFigure(
        "brain_age_gap.png",
        "Brain-age gap by stage",
        part="tasks",
        shows="Age said minus true age of each person, by stage, with means and intervals",
        why_not=lambda r: gap_missing(r.get("tasks")),
        draw=lambda path, r, **more: gap_figure(path, r["tasks"], r["classes"], **more),
    ),
    ScoreFigure(
        "permutation.png",
        "Shuffled labels",
        part="chance",
        shows="Scores under shuffled labels",
        why_not=lambda r: permutation_missing(r.get("permutation")),
        draw=lambda path, r, **more: permutation_figure(
            path, r["permutation"], n_people=_n_people(r), **more
        ),
    ),
    ScoreFigure(
        "learning_curve.png",
        "Learning curve",
        part="learning",
        shows="Scores of the model and of dark voxels by the number of people they learnt from",
        why_not=lambda r: missing(r.get("learning_curve")),
        draw=lambda path, r, **more: learning_curve_figure(
            path, r["learning_curve"], r["person"], **more
        ),
    ),
    ScoreFigure(
        "crossval.png",
        "Cross-validation",
        part="folds",
        shows="Scores by fold, repeat and seed",
        why_not=lambda r: missing(r.get("crossval")),
        draw=lambda path, r, **more: crossval_figure(path, r["crossval"], r["person"], **more),
    ),
)


def write_score_figures(folder: Path, results: Results, title: str) -> list[Path]:
    """Draw every figure of a result, and remove those of an earlier one that no longer apply.

    Args:
        folder: Where the PNG files go.
        results: Content of ``metrics.json``.
        title: Of the result: data set, people. Each figure puts its subject before it.

    Returns:
        The files written. Why those that were asked for are not is logged, in one line.
    """
    written, absent = [], []
    for figure in FIGURES:
        path = folder / figure.file
        made, why_not = None, figure.why_not(results)
        if not why_not:
            named = {"title": f"{figure.subject}: {title}", "stamps": results.get("stamps") or ()}
            made = figure.draw(path, results, **named)
        if made is None:
            path.unlink(missing_ok=True)  # of an earlier result
            if why_not != NOT_ASKED:
                why_not = shortened(why_not or "too few people for any estimate", 160)
                absent.append(f"{figure.file} ({why_not.rstrip('.')})")
        else:
            written.append(made)
    if absent:
        logger.info("not drawn: %s", "; ".join(absent))
    return written


def _n_people(results: Results) -> int:
    return int(results["person"]["n_people"])
