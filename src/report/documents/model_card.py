"""Model card of a result: what the model is, is for, was trained on, and how far to trust it.

The sections are those of Mitchell et al. (2019), doi:10.1145/3287560.3287596.
"""

from __future__ import annotations

from typing import Any

from .markdown import escape, join_lines, people
from .run_facts import AUTHOR, available, limits, main_scores, model_name, rivals, stamped
from .study_facts import facts


def model_card(results: dict[str, Any], checkpoint_info: dict[str, Any] | None = None) -> str:
    """Return the model card as Markdown.

    Args:
        results: What ``metrics.json`` holds.
        checkpoint_info: What a checkpoint says of itself, without its weights: any of ``backbone``,
            ``dim``, ``dataset``, ``classes``, ``epoch``, ``format``, ``subjects``, ``versions``.
    """
    known = facts(results)
    sections = (
        ("Model details", _details(results, checkpoint_info or {}, known)),
        ("Intended use", _use()),
        ("Factors", _factors(known)),
        ("Metrics", _metrics(known)),
        ("Evaluation data", _evaluation(results, known)),
        ("Training data", _training(results, known)),
        ("Quantitative analyses", _analyses(results, known)),
        ("Ethical considerations", _ethics(known)),
        ("Caveats and recommendations", _caveats(results)),
    )
    title = [f"# Model card: {model_name(results)} on {escape(results['dataset'])}"]
    source = ["After Mitchell et al. (2019), doi:10.1145/3287560.3287596."]
    blocks = [title, *stamped(results), source]
    for name, lines in sections:
        blocks += [[f"## {name}"], [f"- {line}" for line in lines]]
    return join_lines(blocks)


def _details(results: dict[str, Any], info: dict[str, Any], known: dict[str, str]) -> list[str]:
    lines = [f"Run: {escape(results['run'])}; {known['technique']}; {known['goal']}."]
    if "checkpoint" in results:
        lines.append(f"Checkpoint: {escape(results['checkpoint'], 200)}.")
    named = [
        f"{name} {escape(info[name])}"
        for name in ("backbone", "dim", "dataset", "epoch", "format")
        if info.get(name) is not None
    ]
    if info.get("subjects"):
        named.append(f"seen in training: {people(len(info['subjects']))}, kept as hashes only")
    if named:
        lines.append(f"The checkpoint says: {', '.join(named)}.")
    lines.append(f"Model: {known['model']}; {known['initialisation']}.")
    lines.append(f"Training: {known['training']}. Chosen: {known['selection']}.")
    lines.append(f"Versions: {known['versions'] or AUTHOR}.")
    return [*lines, f"Developers, date, licence of the weights, contact: {AUTHOR}."]


def _use() -> list[str]:
    return [
        "**Research only. Not a medical device, and no basis for a diagnosis.**",
        "For: comparing methods of staging dementia from MRI, by readers of intervals.",
        "Not for: any decision about a person, screening, or scans of another kind or source.",
    ]


def _factors(known: dict[str, str]) -> list[str]:
    return [
        f"Sex and age: {known['demographics']}.",
        f"Scores by group: {known['subgroups']}. Age as a shortcut: {known['confounding']}.",
        f"Scanner, site, ethnicity, education: not examined; {AUTHOR}.",
    ]


def _metrics(known: dict[str, str]) -> list[str]:
    return [
        f"{known['metrics']}.",
        f"{known['uncertainty']}.",
        f"Decision: {known['output']}.",
        "Accuracy never stands alone: classes differ in size, so balanced accuracy comes first.",
    ]


def _evaluation(results: dict[str, Any], known: dict[str, str]) -> list[str]:
    return [
        f"Data: {escape(results['dataset'])}; source: {known['source']}.",
        f"Scored: {people(results['person']['n_people'])}; {known['eligibility']}.",
        f"Division: {known['partition']}. Disjoint by {known['disjoint']}.",
        f"Preprocessing: {known['preprocessing']}.",
        f"Reference standard: {known['reference']}.",
    ]


def _training(results: dict[str, Any], known: dict[str, str]) -> list[str]:
    if results["kind"] == "crossval":
        return [f"Each fold trains on the others' people: {known['counts']}."]
    return [f"The same source and preprocessing: {known['counts']}."]


def _analyses(results: dict[str, Any], known: dict[str, str]) -> list[str]:
    lines = [f"The model: {main_scores(results)}."]
    for rival in rivals(results, upper=True):
        mark = " (upper reference, no rival)" if rival["upper_reference"] else ""
        scores = main_scores(results, ("balanced_accuracy", "macro_auc"), rival)
        lines.append(f"Without the network, {escape(rival['title'])}{mark}: {scores}.")
    if not rivals(results, upper=True):
        lines.append(f"No rival could be scored on these {people(results['person']['n_people'])}.")
    if available(results["increment"]):
        lines.append(escape(results["increment"]["sentence"], 500))
    lines.append(f"Calibration: {known['calibration']}. Clinical use: {known['utility']}.")
    return lines


def _ethics(known: dict[str, str]) -> list[str]:
    return [
        f"De-identification: {known['deidentification']}.",
        "A wrong stage can frighten or falsely reassure; no answer may be told to a person.",
        f"Consent and approval are those of the data's provider; the run's own: {AUTHOR}.",
    ]


def _caveats(results: dict[str, Any]) -> list[str]:
    return [
        *limits(results),
        "Compare with the rivals before believing; test on people of another site before using.",
    ]
