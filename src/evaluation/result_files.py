"""The files of a scored run: metrics, documents, tables of people and images, figures.

In every table `label` is a stage, as in the manifest, and `class` the class of the scheme that the
stage belongs to: with ``--classes 2`` a MildDemented person is of class Demented.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import MriError, counted
from ..files import atomic_file, read_json, write_json
from ..models.task_values import TASK_COLUMNS, TaskValues
from ..predictions import Predictions
from ..report.answer import answer
from ..report.documents.write import DOCUMENTS, write_documents
from ..report.estimates import (
    FEW_MARK,
    FEW_NOTE,
    Counts,
    counts_of,
    is_doubtful,
    marked,
    of_majority,
    of_metric,
)
from ..report.failures import FAILURES
from ..report.metrics_schema import check_metrics
from ..report.score_figures.classification import confusion_figure, roc_figure
from ..report.score_figures.write import FIGURES, write_score_figures
from ..report.titles import TITLES
from .answers import Answers
from .judge import judge
from .metrics.scores import format_table

logger = logging.getLogger(__name__)
METRICS, PEOPLE, IMAGES = "metrics.json", "people.csv", "predictions.csv"
CONFUSION, ROC = "confusion_matrix.png", "roc.png"
#: Columns of the table in the log.
_BESIDE = ("balanced_accuracy", "macro_auc", "auc_demented")


def write_results(
    folder: Path,
    figures: Path,
    answers: Answers,
    context: dict[str, Any],
    n_bootstrap: int = 2000,
    permutations: int = 0,
    together: bool = False,
) -> tuple[dict[str, Any], list[Path]]:
    """Judge answers, log the table, and write every file of a run.

    Args:
        folder: Of the run's results.
        figures: Of its figures.
        answers: Out-of-sample answers.
        context: Sections of ``metrics.json`` that the stage knows: kind, run, settings.
        n_bootstrap: Resamples of people.
        permutations: Shuffles of the scored people's labels.
        together: Also score the rivals and the model together.

    Returns:
        What ``metrics.json`` holds, and the paths of it, the documents, ``people.csv``,
        ``predictions.csv`` and the figures.
    """
    judged = judge(answers, n_bootstrap=n_bootstrap, permutations=permutations, together=together)
    results = judged | {name: value for name, value in context.items() if value is not None}
    check_metrics(results)
    classes = answers.scheme.classes
    for stamp in results["stamps"]:
        logger.warning("STAMPED: %s", stamp)
    table = format_table(results["person"], classes, "answers")
    logger.info("per person, %s:\n%s\n%s", answers.split, table, format_rivals(results))
    rows = _image_rows(answers)
    files = [
        write_json(folder / METRICS, results),
        *write_documents(folder, results),
        _write_people(folder / PEOPLE, answers, rows),
        _write_images(folder / IMAGES, answers, rows),
        *_write_figures(figures, answers, results),
    ]
    return results, files


def require_whole(results: dict[str, Any]) -> None:
    """Refuse a result of which a part failed, once everything else of it was written.

    Raises:
        MriError: With each part, and why.
    """
    failed = results.get("failed") or {}
    if failed:
        each = "; ".join(f"{part} failed: {reason}" for part, reason in failed.items())
        raise MriError(each, hint="all else of this result is written; tell the authors of this")


def remove_results(folder: Path, figures: Path) -> bool:
    """Remove the scores of a run whose model is no more; those of a cross-validation stay.

    Returns:
        Whether there were any.
    """
    try:
        scored = read_json(folder / METRICS)["kind"] == "evaluate"
    except (OSError, ValueError, KeyError, TypeError):
        scored = False
    if not scored:
        return False
    for name in (METRICS, *DOCUMENTS, PEOPLE, IMAGES, "report.html", FAILURES):
        (folder / name).unlink(missing_ok=True)
    for name in (CONFUSION, ROC, *(figure.file for figure in FIGURES)):
        (figures / name).unlink(missing_ok=True)
    return True


def format_rivals(results: dict[str, Any]) -> str:
    """Return the model beside its rivals, and the main sentences, as aligned text for the log."""
    majority = results["person"]["majority"]["class"]
    counts = counts_of(results["person"])
    rows = [("this model", results["person"]["metrics"])]
    rows += [(f"always {majority}", of_majority(results["person"]))]
    rows += [(_title(rival), rival.get("metrics")) for rival in results["rivals"]]
    lines = [f"  {answer(results)}"] if answer(results) else []
    lines += _in_columns(
        [
            ["", *(TITLES[name] for name in _BESIDE)],
            *([title, *_cells(metrics, counts)] for title, metrics in rows),
        ]
    )
    if any(FEW_MARK in line for line in lines):
        lines.append(f"  {FEW_NOTE}")
    lines += [
        f"  {name}: {results[name].get('sentence') or results[name].get('reason')}"
        for name in ("increment", "ensemble", "calibration", "external")
        if results.get(name)
    ]
    if results["permutation"]:
        shuffled = results["permutation"]
        told = ", ".join(f"{name} p = {p:.3g}" for name, p in shuffled["p"].items())
        lines.append(f"  {shuffled['n']} times {shuffled['kind']}: {told}")
    if "crossval" in results:
        lines += _format_spread(results["crossval"])
    lines.append(f"  audit of the split, cheap checks: {results['audit']['verdict']}")
    return "\n".join(lines)


def _format_spread(section: dict[str, Any]) -> list[str]:
    lines = []
    for name, spread in section["spread"].items():
        parts = [
            f"{what} {spread[key]:.3f}"
            for key, what in (("sd_repeats", "over divisions"), ("sd_seeds", "over seeds"))
            if spread[key] is not None
        ]
        by_fold = section["corrected"][name]
        if by_fold["low"] is not None:
            parts.append(
                f"mean of folds {by_fold['value']:.3f}, corrected interval "
                f"{by_fold['low']:.3f} to {by_fold['high']:.3f}"
            )
        if parts:
            lines.append(f"  {TITLES[name]}: standard deviation {'; '.join(parts)}")
    return lines


def _title(rival: dict[str, Any]) -> str:
    return f"{rival['title']} (upper reference)" if rival["upper_reference"] else rival["title"]


def _cells(metrics: dict[str, Any] | None, counts: Counts) -> list[str]:
    """Return the scores of one row of the table; `metrics` is None where it has none."""
    if metrics is None:
        return ["unknown", *[""] * (len(_BESIDE) - 1)]
    return [_cell(name, metrics.get(name), counts) for name in _BESIDE]


def _cell(name: str, found: Any, counts: Counts) -> str:
    if found is None or (isinstance(found, dict) and found["value"] is None):
        return "-"
    return marked(of_metric(name, found, counts, short=True), is_doubtful(name, found, counts))


def _in_columns(rows: list[list[str]]) -> list[str]:
    """Return rows as lines of aligned text."""
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    cells = ((f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)
    return [f"  {''.join(row).rstrip()}" for row in cells]


def _image_rows(answers: Answers) -> pd.DataFrame:
    """Return the manifest's row of every scored image."""
    key = ["subject", "session", "slice"]
    rows = answers.image_rows.reset_index(drop=True)
    return rows.merge(answers.manifest.table, on=key, how="left", validate="one_to_one")


def _write_people(path: Path, answers: Answers, image_rows: pd.DataFrame) -> Path:
    """Write one row per person, or per person, repeat and seed."""
    classes, rows = answers.scheme.classes, answers.calibrated
    table = pd.DataFrame({"subject": rows.subjects.astype(str)})
    if answers.keys is not None:
        table = pd.concat([table, answers.keys], axis=1)
    # A person counts with the first row's stage, as in `per_person`.
    stages = image_rows.drop_duplicates("subject").set_index("subject")["label"]
    table["label"] = table["subject"].map(stages)
    table = pd.concat([table, _columns(rows, answers.raw, classes)], axis=1)
    for level, held in answers.sets.items():
        # A set is written as its classes, so that it can be read without this file's header.
        table[f"set_{100 * level:.0f}"] = [
            "|".join(name for name, inside in zip(classes, row, strict=True) if inside)
            for row in held
        ]
    table = pd.concat([table, _of_tasks(answers.tasks)], axis=1)
    table = pd.concat([table, _gap_columns(answers, image_rows)], axis=1)
    if answers.neighbours is not None and answers.neighbours.table is not None:
        table = table.join(answers.neighbours.table, on="subject")
    return _write_csv(path, table)


def _write_images(path: Path, answers: Answers, image_rows: pd.DataFrame) -> Path:
    """Write the manifest's rows of every scored image, with what the model said of it."""
    said = _columns(answers.images, None, answers.scheme.classes)
    if answers.images.weights is not None:
        said["weight"] = answers.images.weights  # of a person's slices, these sum to 1
    return _write_csv(path, pd.concat([image_rows, said, _of_tasks(answers.image_tasks)], axis=1))


def _of_tasks(said: TaskValues | None) -> pd.DataFrame:
    """Return what was said beside the stage: years, points, the probability of M."""
    if said is None:
        return pd.DataFrame()
    return pd.DataFrame({TASK_COLUMNS[name]: said.column(name) for name in said.names})


def _gap_columns(answers: Answers, image_rows: pd.DataFrame) -> pd.DataFrame:
    """Return each person's brain-age gap in years, as it is and corrected; empty without ages."""
    said = answers.tasks
    if said is None or "age" not in said.names:
        return pd.DataFrame()
    ages = (
        image_rows.assign(age=image_rows["age"].astype("Float64")).groupby("subject")["age"].mean()
    )
    subjects = answers.calibrated.subjects.astype(str)
    age = ages.reindex(subjects).to_numpy(dtype=float, na_value=float("nan"))
    gap = said.column("age") - age
    corrected = gap - (said.lines[:, 0] + said.lines[:, 1] * age)
    return pd.DataFrame({"age_gap": gap, "age_gap_corrected": corrected})


def _columns(rows: Predictions, raw: Predictions | None, classes: tuple[str, ...]) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "class": [classes[k] for k in rows.labels],
        "predicted": [classes[k] for k in rows.predicted],
    }
    columns |= {f"p_{name}": rows.probabilities[:, k] for k, name in enumerate(classes)}
    if raw is not None:
        columns |= {f"logit_{name}": raw.logits[:, k] for k, name in enumerate(classes)}
    return pd.DataFrame(columns)


def _write_csv(path: Path, table: pd.DataFrame) -> Path:
    with atomic_file(path, "w") as file:
        table.to_csv(file, index=False, float_format="%.6g")
    return path


def _write_figures(folder: Path, answers: Answers, results: dict[str, Any]) -> Iterator[Path]:
    classes, stamps, person = answers.scheme.classes, results["stamps"], results["person"]
    title = f"{results['run']}, {counted(person['n_people'], f'{answers.split} person')}"
    rows = answers.calibrated
    counts = [values["n_people"] for values in person["per_class"].values()]
    unit = "people" if rows.by_person else f"answers, {len(rows.labels) // rows.n_people} a person"
    path = folder / CONFUSION
    yield confusion_figure(
        path, person["confusion"], classes, title, unit=unit, n_people=counts, stamps=stamps
    )
    roc = roc_figure(
        *(folder / ROC, rows.labels, rows.probabilities, classes, person["per_class"]),
        title=title,
        stamps=stamps,
    )
    if roc is None:
        (folder / ROC).unlink(missing_ok=True)  # of an earlier result
    else:
        yield roc
    yield from write_score_figures(folder, results, title)
