"""Documents of a result that can be pasted into a paper: ``metrics.md`` and what stands beside it.

Everything is read from what ``metrics.json`` holds; nothing is computed here but counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...files import atomic_file
from ...predictions import FEW_PEOPLE
from ..answer import answer
from ..estimates import NOT_ESTIMABLE, Counts, counts_of, of_majority, rests_on_few
from ..titles import COLUMNS, TITLES
from . import result_sections as sections
from .checklists import claim_markdown, tripod_markdown
from .markdown import escape, estimate, join_lines, people, score_cell, table
from .model_card import model_card
from .result_sections import Blocks
from .run_facts import available, main_scores, model_name, pooled_by, stamped
from .task_section import tasks

__all__ = ["metrics_markdown", "model_card", "write_documents"]
#: Files that `write_documents` writes.
DOCUMENTS = ("metrics.md", "model_card.md", "claim_2024.md", "tripod_ai.md")
_NONE = "-"  # has no value here, for a reason the text gives


def write_documents(
    folder: Path, results: dict[str, Any], checkpoint_info: dict[str, Any] | None = None
) -> list[Path]:
    """Write the documents of a result into `folder`, each whole or not at all.

    Args:
        folder: The run's results folder.
        results: What ``metrics.json`` holds.
        checkpoint_info: What a checkpoint says of itself, without its weights.

    Returns:
        The paths of ``metrics.md``, ``model_card.md``, ``claim_2024.md`` and ``tripod_ai.md``.
    """
    texts = (
        *(metrics_markdown(results), model_card(results, checkpoint_info)),
        *(claim_markdown(results), tripod_markdown(results)),
    )
    for name, text in zip(DOCUMENTS, texts, strict=True):
        with atomic_file(folder / name, "w") as file:
            file.write(text)
    return [folder / name for name in DOCUMENTS]


def metrics_markdown(results: dict[str, Any]) -> str:
    """Return the scores as tables and sentences, each with n people and 95 % intervals."""
    parts = (
        *(_head, models_table, classes_table, confusion_table),
        *(sections.increment, sections.ensemble, sections.calibration),
        *(sections.prediction_sets, sections.abstention, sections.decision_curve),
        *(sections.subgroups, sections.confounding, sections.retest, tasks),
        *(sections.permutation, sections.learning_curve, sections.external, sections.crossval),
    )
    return join_lines(block for part in parts for block in part(results))


def _head(results: dict[str, Any]) -> Blocks:
    person, audit = results["person"], results["audit"]
    kind = "one split, test people" if results["kind"] == "evaluate" else "out-of-fold people"
    verdict = f"**{escape(audit['verdict'])}**" if available(audit) else "not run"
    title = (
        f"Run {escape(results['run'])}, data set {escape(results['dataset'])}, {kind}: "
        f"{people(person['n_people'])}. Leakage audit: {verdict}."
    )
    answers = person["n_rows"] // person["n_people"]
    repeated = f"; {answers} answers for each, one per repeat and seed" if answers > 1 else ""
    shares = "" if answers > 1 else ", Wilson's for shares of people"
    how = (
        f"Scores are per person ({pooled_by(results)}{repeated}), with 95 % intervals "
        f"in parentheses: percentiles over resampled people{shares}. "
        "In italics and parentheses: under 10 people of a group or of a class, no estimate. "
        "Research use only; not a medical device."
    )
    said = [[f"**{escape(answer(results), 600)}**"]] if answer(results) else []
    blocks = [["# Results"], *stamped(results), *said, [title], [how]]
    if results["image"]:
        image, names = results["image"], ("balanced_accuracy", "macro_auc", "accuracy")
        scores = main_scores({"person": image}, names)
        blocks.append([f"Per image ({image['n_rows']} images, second to the above): {scores}."])
    return blocks


def models_table(results: dict[str, Any]) -> Blocks:
    """Table 1: the model beside the majority and every rival."""
    person, majority = results["person"], results["person"]["majority"]
    rivals = results["rivals"] or []
    counts = counts_of(person)
    rows = [_model_row(f"**{model_name(results)}**", person, counts)]
    rows.append(
        _model_row(
            f"always {escape(majority['class'])}",
            {"n_people": person["n_people"], "metrics": of_majority(person)},
            counts,
        )
    )
    for rival in (r for r in rivals if available(r)):
        mark = " (upper reference)" if rival["upper_reference"] else ""
        rows.append(_model_row(f"{escape(rival['title'])}{mark}", rival, counts))
    head = ["model", "people", *(TITLES[name] for name in COLUMNS)]
    blocks = [["## Table 1. The model and its rivals"], table(head, rows)]
    notes = [f"- Note: {escape(note, 300).rstrip('.')}." for note in person["notes"]]
    if any(rests_on_few(name, counts) for name in COLUMNS):
        notes.append(f"- In italics: rests on a class of under {FEW_PEOPLE} people; can be luck.")
    reasons: dict[str, list[str]] = {}
    for rival in (r for r in rivals if not available(r)):
        reasons.setdefault(rival["reason"], []).append(escape(rival["title"]))
    notes += [
        f"- Not available: {'; '.join(titles)}. Reason: {escape(reason, 300).rstrip('.')}."
        for reason, titles in reasons.items()
    ]
    if any(rival["upper_reference"] and available(rival) for rival in rivals):
        notes.append(
            "- Upper reference: CDR is assigned from an interview, as the MMSE is, so that row is "
            "no rival of an image."
        )
    return [*blocks, notes]


def _model_row(title: str, scored: dict[str, Any], counts: Counts) -> list[str]:
    values = scored["metrics"]
    cells = [score_cell(n, values[n], counts) if n in values else _NONE for n in COLUMNS]
    return [title, str(scored["n_people"]), *cells]


def classes_table(results: dict[str, Any]) -> Blocks:
    """Table 2: every class, with its people; under ten they are only counted."""
    splits, rows = list(results["people"]), []
    for name, values in results["person"]["per_class"].items():
        scores = [_recall(results, name, values)]
        scores.append(NOT_ESTIMABLE if values["few_people"] else estimate(values["auc"]))
        people_of = [str(results["people"][split].get(name, 0)) for split in splits]
        rows.append([escape(name), *people_of, *scores])
    head = ["class", *(f"people, {split}" for split in splits), "recall", "AUC v rest"]
    return [["## Table 2. Classes"], table(head, rows)]


def _recall(results: dict[str, Any], name: str, values: dict[str, Any]) -> str:
    place = results["classes"].index(name)
    found, of = results["person"]["confusion"][place][place], values["n_rows"]
    if values["few_people"]:
        return f"{found} of {of}: {NOT_ESTIMABLE}"
    return f"{found} of {of}: {estimate(values['recall'])}"


def confusion_table(results: dict[str, Any]) -> Blocks:
    """Table 3: counts, truth in rows."""
    person, names = results["person"], [escape(name) for name in results["classes"]]
    n_rows, n_people = person["n_rows"], person["n_people"]
    what = people(n_people) if n_rows == n_people else f"{n_rows} answers about {people(n_people)}"
    rows = [
        [f"**{name}**", *map(str, row)]
        for name, row in zip(names, person["confusion"], strict=True)
    ]
    title = f"## Table 3. Confusion of {what}"
    return [[title], table(["truth, in rows", *(f"said {name}" for name in names)], rows)]
