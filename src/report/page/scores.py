"""The scored part of a report: what stands behind the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from ..documents import result_sections as sections
from ..documents.markdown import estimate
from ..documents.result_sections import ABSENT, Blocks
from ..documents.run_facts import available, rivals
from ..documents.task_section import tasks
from ..documents.write import classes_table, confusion_table, models_table
from ..estimates import ends_of
from ..score_figures.write import FIGURES
from ..titles import TITLES
from .gather import RunFiles
from .pictures import Picture, picture
from .text import blocks_html, line_html, shown

_Make = Callable[[dict[str, Any]], Blocks]
#: Identifier of a part -> what makes its text. A part without text is left out.
PARTS: dict[str, _Make] = {
    "models": models_table,
    "confusion": confusion_table,
    "classes": classes_table,
    "increment": sections.increment,
    "ensemble": sections.ensemble,
    "calibration": sections.calibration,
    "sets": sections.prediction_sets,
    "abstention": sections.abstention,
    "decision": sections.decision_curve,
    "subgroups": sections.subgroups,
    "age": sections.confounding,
    "retest": sections.retest,
    "tasks": tasks,
    "chance": sections.permutation,
    "learning": sections.learning_curve,
    "external": sections.external,
    "folds": sections.crossval,
}
#: Part, file and what it shows: figures of every answer, which ``metrics.json`` does not hold.
_OF_ANSWERS = (
    ("confusion", "confusion_matrix.png", "The table as a picture"),
    ("classes", "roc.png", "ROC curves of each class against the rest"),
)


_NARROW = ("confusion", "classes", "abstention")


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

    @property
    def beside(self) -> bool:
        """Whether the picture stands beside the words: both are narrow."""
        return self.id in _NARROW and bool(self.pictures)


def sentences(metrics: dict[str, Any]) -> list[str]:
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
    if "ensemble" in metrics and available(metrics["ensemble"]):
        said.append(shown(metrics["ensemble"]["sentence"], 500))
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
    difference = (best.get("difference") or {}).get(name)
    above = f"{what}: the model scores above its best rival, {title}"
    if difference is None:
        return f"{above}; whether by more than chance was not tested."
    ends, by = ends_of(difference), estimate(difference)
    if ends is not None and ends[0] > 0:
        return f"{what}: the model is better than its best rival, {title}, by {by}."
    return f"{above}, by {by}: no gain is shown."


def score_sections(files: RunFiles, width: int) -> tuple[list[Section], list[Markup]]:
    """Return every part of the scores with its figures, and what is not available, with reasons.

    Args:
        files: Of the run; its ``metrics`` are there.
        width: Of the figures, in pixels at most.
    """
    assert files.metrics is not None
    found: list[Section] = []
    absent: list[Markup] = []
    figures = [*_OF_ANSWERS, *((one.part, one.file, one.shows) for one in FIGURES)]
    for name, make in PARTS.items():
        blocks = make(files.metrics)
        if not blocks:
            continue
        title = blocks[0][0].removeprefix("## ")
        if title.startswith("Table "):
            title = title.partition(". ")[2]
        own = [(files.figures / file, shows) for part, file, shows in figures if part == name]
        pictures = [picture(path, f"{shows}.", width) for path, shows in own if path.is_file()]
        if not pictures and blocks[1][0].startswith(ABSENT):
            reason = blocks[1][0].removeprefix(ABSENT).rstrip(".")
            absent.append(line_html(f"{title} ({reason})"))
            continue
        found.append(Section(name, title, blocks_html(blocks[1:], title), pictures))
    curves = files.figures / "training_curves.png"
    if curves.is_file() and files.metrics["kind"] == "evaluate":
        shows = picture(curves, "Loss and scores of training and validation by epoch.", width)
        found.append(Section("training", "Training", Markup(""), [shows]))
    return found, absent
