"""Age, MMSE and sex beside the stage, as sentences and tables; and whether they help the stage."""

from __future__ import annotations

import re
from typing import Any

from ..answer import learnt_instead
from ..titles import TASK_NAMES
from .markdown import escape, estimate, number, people, table
from .result_sections import ABSENT, Blocks
from .run_facts import available, main_scores, setting

_SCORES = {"mae": "MAE", "r2": "R2", "r": "r", "bias": "bias"}
_TITLE = "## Beside the stage"
_ALONE = "## Learnt without the stage"
_NONE = "-"
_OF_STAGE = ("balanced_accuracy", "macro_auc")
_HELPS = "**Does the second task help the first?**"


def tasks(results: dict[str, Any]) -> Blocks:
    """Return what was said beside the stage, or in its place; nothing of the stage alone."""
    section = results.get("tasks")
    if section is None:
        return []
    title = _ALONE if learnt_instead(results) else _TITLE
    if not available(section):
        return [[title], [f"{ABSENT}{escape(section['reason'], 300).rstrip('.')}."]]
    known = [one for one in section["tasks"] if one["available"]]
    absent = [one for one in section["tasks"] if not one["available"]]
    lines = [escape(one["sentence"], 400) for one in known if "sentence" in one]
    lines += [_sex(one) for one in known if one["name"] == "sex"]
    lines += [f"{escape(TASK_NAMES[one['name']])}: {escape(one['reason'], 200)}." for one in absent]
    return [
        [title],
        lines,
        *_scores([one for one in known if one["name"] != "sex"]),
        *_gap(next((one["gap"] for one in known if "gap" in one), None)),
        [_stage_from_tasks(results) if learnt_instead(results) else _second_task(results)],
    ]


def _scores(known: list[dict[str, Any]]) -> Blocks:
    """Return the table of what is a number, rivals below each."""
    rows = []
    for one in known:
        name = TASK_NAMES[one["name"]]
        said = f"**{name} [{one['unit']}]**, {people(one['n_people'])}"
        rows.append([said, *(estimate(one["metrics"][key]) for key in _SCORES), _NONE])
        for rival in one["rivals"]:
            title = escape(rival["title"])
            if not rival["available"]:
                why = f"{title}: {escape(rival['reason'], 200)}"
                rows.append([why, *[_NONE] * len(_SCORES), _NONE])
                continue
            cells = [estimate(rival["metrics"][key]) for key in _SCORES]
            rows.append([title, *cells, estimate(rival["difference"]["mae"])])
    if not rows:
        return []
    words = (
        "MAE is the mean absolute error; R2 compares with the scored people's own mean; bias is "
        "the slope of the error (said minus true) by the true value: 0 at best, -1 of whoever says "
        "one number of everyone. Rivals learnt from the same rated people."
    )
    head = ["said by", *_SCORES.values(), "network's MAE minus this"]
    return [table(head, rows), [words]]


def _sex(one: dict[str, Any]) -> str:
    text = f"Sex: AUC of M {estimate(one['metrics']['auc'])} in {people(one['n_people'])}"
    for rival in one["rivals"]:
        if rival["available"]:
            text += f"; {escape(rival['title'])}: {estimate(rival['metrics']['auc'])}"
    return f"{text}."


def _gap(gap: dict[str, Any] | None) -> Blocks:
    """Return the brain-age gap by class."""
    if gap is None:
        return []
    rows = []
    for group in gap["groups"]:
        cells = [escape(group["class"]), str(group["n_people"]), estimate(group["raw"])]
        cells.append(estimate(group["corrected"]) if "corrected" in group else _NONE)
        rows.append([f"*({cell})*" for cell in cells] if group["few_people"] else cells)
    if gap["corrected"]:
        line = gap["line"]
        text = (
            "Brain-age gap: age said minus true age, in years. Corrected: less "
            f"{number(line['intercept'])} and {number(line['slope'])} for each year of true age, "
            "the line of validation people "
            "(Beheshti et al. 2019, doi:10.1016/j.nicl.2019.102063; de Lange and Cole 2020, "
            "doi:10.1016/j.nicl.2020.102229). Without it the gap tells the age again. A gap is a "
            "difference between groups, no answer about one person."
        )
    else:
        text = f"Brain-age gap: age said minus true age, in years; {escape(gap['reason'], 200)}."
    head = ["stage", "people", "gap", "corrected gap"]
    return [table(head, rows), [text]]


def _second_task(results: dict[str, Any]) -> str:
    """Say how it is known whether the tasks beside the stage help it: by a run without them."""
    if setting(results, "model", "freeze_backbone"):
        return (
            f"{_HELPS} Here it cannot: the backbone is frozen and each head is fitted alone, so "
            "the stage is answered as with `--tasks stage`. Without `--freeze_backbone` it can."
        )
    commands = _commands_of_the_stage(results)
    return (
        f"{_HELPS} This run alone cannot say. The same people learnt from for the stage alone, "
        f"and the two runs told apart: {commands}. The difference in balanced "
        "accuracy, with its interval, is the answer."
    )


def _stage_from_tasks(results: dict[str, Any]) -> str:
    """Say what the stage's scores are worth where the stage taught the network nothing."""
    learnt = escape(learnt_instead(results))
    majority = results["person"]["majority"]
    return (
        f"**Is the stage told from features learnt for {learnt}?** The network learnt {learnt} "
        "alone, from its first weights on. The stage's head was fitted afterwards to its features "
        "of rated training people, so every score of the stage here answers this question: "
        f"{main_scores(results, _OF_STAGE)}; always answering "
        f"{escape(majority['class'])} reaches balanced accuracy "
        f"{number(majority['balanced_accuracy']['value'])}. Compare with the same network, "
        f"learning the stage: {_commands_of_the_stage(results)}."
    )


def _commands_of_the_stage(results: dict[str, Any]) -> str:
    """Return the commands that learn the stage alone from the same people, and compare."""
    run = str(results["run"])
    run = run if re.fullmatch(r"[\w.+-]+", run) else "RUN"
    modes = ("crossval",) if results["kind"] == "crossval" else ("train", "evaluate")
    other = f"{run}_stage"
    commands = [
        f"`python main.py --mode {mode} --config results/{run}/config.json"
        f"{' --tasks stage' if mode != 'evaluate' else ''} --run {other}`"
        for mode in modes
    ]
    commands.append(f"`python main.py --mode compare {run} {other}`")
    return ", then ".join(commands)
