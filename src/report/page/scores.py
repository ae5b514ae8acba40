"""The scored part of a report: the answer first, then what stands behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from ..documents import result_sections as sections
from ..documents.markdown import estimate
from ..documents.result_sections import Blocks
from ..documents.run_facts import TITLES, available, rivals
from ..documents.write import classes_table, confusion_table, models_table
from .gather import RunFiles
from .pictures import Picture, picture
from .text import blocks_html, shown

HEADLINE = ("balanced_accuracy", "macro_auc", "auc_demented")
_PART = Callable[[dict[str, Any]], Blocks]
#: Identifier -> what makes the text, and the figure below it with what that shows.
_PARTS: dict[str, tuple[_PART, str, str]] = {
    "models": (models_table, "rivals.png", "Scores of the model and its rivals, with intervals"),
    "confusion": (confusion_table, "confusion_matrix.png", "The table as a picture"),
    "classes": (classes_table, "roc.png", "ROC curves of each class against the rest"),
    "increment": (sections.increment, "", ""),
    "calibration": (
        sections.calibration,
        "calibration.png",
        "Observed by predicted share of demented people, before and after calibration",
    ),
    "sets": (sections.prediction_sets, "prediction_sets.png", "Coverage and size of the sets"),
    "abstention": (sections.abstention, "abstention.png", "Scores by the share who are answered"),
    "decision": (
        sections.decision_curve,
        "decision_curve.png",
        "Net benefit by threshold of acting on the model, on everyone and on no one",
    ),
    "subgroups": (sections.subgroups, "subgroups.png", "Scores by sex and age, with intervals"),
    "age": (sections.confounding, "", ""),
    "retest": (sections.retest, "retest.png", "Two scans of the same people"),
    "chance": (sections.permutation, "permutation.png", "Scores under shuffled labels"),
    "external": (sections.external, "", ""),
    "folds": (sections.crossval, "crossval.png", "Scores by fold, repeat and seed"),
}


@dataclass
class Section:
    """A section of the page.

    Attributes:
        id: Its anchor.
        title: Heading.
        html: Text and tables.
        pictures: Below them.
    """

    id: str
    title: str
    html: Markup
    pictures: list[Picture] = field(default_factory=list)


def headline(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the scores that the page begins with, and the verdict on the split."""
    person, audit = metrics["person"], metrics["audit"]
    majority = person["majority"]
    always = {"balanced_accuracy": estimate(majority["balanced_accuracy"]["value"])}
    rows = [("this model", "model", [estimate(person["metrics"][name]) for name in HEADLINE])]
    cells = [always.get(name, ".500" if "auc" in name else "") for name in HEADLINE]
    rows.append((f"always {shown(majority['class'])}", "majority", cells))
    for rival in rivals(metrics, upper=True):
        kind = "upper" if rival["upper_reference"] else "rival"
        title = shown(rival["title"]) + (" (upper reference)" if kind == "upper" else "")
        rows.append((title, kind, [estimate(rival["metrics"].get(name)) for name in HEADLINE]))
    verdict = shown(audit["verdict"]) if available(audit) else "not run"
    return {
        "n_people": person["n_people"],
        "names": [TITLES[name] for name in HEADLINE],
        "rows": rows,
        "audit": verdict,
        "audit_good": verdict == "PASS",
        "sentences": _sentences(metrics),
    }


def _sentences(metrics: dict[str, Any]) -> list[str]:
    """Return what the scores mean beside the best of the rivals, metric by metric."""
    scored = rivals(metrics)
    if not scored:
        said = ["No rival could be scored on these people; the table below says why."]
    else:
        lines = (_beside(metrics, name) for name in ("balanced_accuracy", "macro_auc"))
        said = [line for line in lines if line]
    few = [n for n, values in metrics["person"]["per_class"].items() if values["few_people"]]
    if few:
        names = ", ".join(map(shown, few))
        said.append(f"Under 10 people of {names}: these numbers can be luck, intervals included.")
    if available(metrics["increment"]):
        said.append(shown(metrics["increment"]["sentence"], 500))
    return said


def _beside(metrics: dict[str, Any], name: str) -> str:
    """Return how the model's score stands to the best rival's; empty where one is undefined."""
    own = metrics["person"]["metrics"][name]
    known = [rival for rival in rivals(metrics) if rival["metrics"][name]["value"] is not None]
    if not known or own["value"] is None:
        return ""
    best = max(known, key=lambda rival: float(rival["metrics"][name]["value"]))
    theirs, title = best["metrics"][name]["value"], shown(best["title"])
    what = f"{TITLES[name][0].upper()}{TITLES[name][1:]}"
    if own["value"] <= theirs:
        return f"{what}: without the network, {title} scores as high or higher."
    if own["low"] is not None and own["low"] > theirs:
        return f"{what}: the model's interval lies above the score of its best rival, {title}."
    return (
        f"{what}: the model scores above its best rival, {title}, whose score lies within the "
        "model's interval: no gain is shown."
    )


def score_sections(files: RunFiles, width: int) -> list[Section]:
    """Return every part of the scores, with its figures.

    Args:
        files: Of the run; its ``metrics`` are there.
        width: Of the figures, in pixels at most.
    """
    assert files.metrics is not None
    found = []
    for name, (make, file, alt) in _PARTS.items():
        blocks = make(files.metrics)
        if not blocks:
            continue
        title = blocks[0][0].removeprefix("## ")
        if title.startswith("Table "):
            title = title.partition(". ")[2]
        path, pictures = files.figures / file, []
        if file and path.is_file():
            pictures.append(picture(path, f"{alt}.", width))
        found.append(Section(name, title, blocks_html(blocks[1:], title), pictures))
    curves = files.figures / "training_curves.png"
    if curves.is_file() and files.metrics["kind"] == "evaluate":
        shows = picture(curves, "Loss and scores of training and validation by epoch.", width)
        found.append(Section("training", "Training", Markup(""), [shows]))
    return found
