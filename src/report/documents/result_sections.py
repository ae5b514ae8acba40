"""What stands beside the scores of a result, each part as a heading, sentences and a table.

A part that was not available says why; numbers on under ten people stand in parentheses.
"""

from __future__ import annotations

from typing import Any

from ...predictions import FEW_PEOPLE
from ..estimates import NOT_ESTIMABLE
from ..titles import TITLES
from .markdown import escape, estimate, number, p_value, people, table
from .run_facts import available

#: Blocks of lines, with an empty line between two of them.
Blocks = list[list[str]]
_OF_GROUP = ("balanced_accuracy", "auc_demented", "accuracy")
_TOGETHER = ("balanced_accuracy", "macro_auc", "auc_demented")
_OF_CURVE = ("balanced_accuracy", "macro_auc")
_SIDES = {"model": "model", "dark_voxels": "dark voxels"}
_MOVED = ("validation", "here", "difference")
#: Begins the text of a part that could not be estimated.
ABSENT = "Not available: "
_NONE = "-"  # has no value here, for a reason the text gives


def increment(results: dict[str, Any]) -> Blocks:
    """Return what the image adds to a clinical table."""
    section = results["increment"]
    if not available(section):
        return _absent("Does the image add to the table?", section)
    ratio, n = section["likelihood_ratio"], people(section["n_people"])
    columns = ", ".join(escape(name) for name in section["columns"])
    tested = f"{number(ratio['chi2'])} ({ratio['df']} df, {p_value(ratio['p'])})"
    if ratio["p"] is None:
        tested = f"{NOT_ESTIMABLE} ({escape(ratio.get('reason') or 'no fit', 200)})"
    text = (
        f"Logistic regression on {columns}, without and with the image's score ({n}): AUC "
        f"{estimate(section['auc_table'])} and {estimate(section['auc_both'])}, difference "
        f"{estimate(section['auc_difference'])}; Brier difference "
        f"{estimate(section['brier_difference'])}; likelihood ratio {tested}. "
        f"{escape(section['sentence'], 500)}"
    )
    return [["## Does the image add to the table?"], [text]]


def ensemble(results: dict[str, Any]) -> Blocks:
    """Return what the network adds to the rivals of the image; nothing where it was not asked."""
    section, title = results.get("ensemble"), "Does the network add to the rivals?"
    if section is None:
        return []
    if not available(section):
        return _absent(title, section)
    names = {one["name"]: one["title"] for one in results["rivals"]}
    together = " and ".join(escape(names.get(name, name)) for name in section["members"])
    rows = [
        [what, *(estimate(section[side][name]) for name in _TOGETHER)]
        for side, what in (("without", together), ("with", f"{together}, and the network"))
    ]
    apart = section["difference"]
    tested = [f"{estimate(apart[name])}, {p_value(apart[name]['p'])}" for name in _TOGETHER]
    head = [people(section["n_people"]), *(TITLES[name] for name in _TOGETHER)]
    text = (
        "Means of calibrated log-probabilities, each member with the same weight. "
        f"{escape(section['sentence'], 500)}"
    )
    return [[f"## {title}"], [text], table(head, [*rows, ["difference", *tested]])]


def calibration(results: dict[str, Any]) -> Blocks:
    """Return how far probabilities can be believed, before and after calibration."""
    section = results["calibration"]
    if not available(section):
        return _absent("Calibration", section)
    names = {"ece": "ECE", "ece_demented": "ECE of CDR 0 v > 0"}
    names |= {name: TITLES[name] for name in ("brier", "log_loss")}
    names |= {"slope": "slope", "intercept": "intercept"}
    rows = [
        [title, estimate(section["before"][name]), estimate(section["after"][name])]
        for name, title in names.items()
    ]
    n = people(results["person"]["n_people"])
    applied = section["applied"] or {}
    text = f"Applied: {escape(applied.get('method') or 'as the checkpoint says')}"
    if applied.get("n_people"):
        text += f", fitted on {people(applied['n_people'])} of validation"
    if applied.get("reason"):
        text += f" ({escape(applied['reason'], 200)})"
    text += f"; scored on {n}. {escape(section['sentence'], 500)}"
    return [["## Calibration"], [text], table([n, "before", "after"], rows)]


def prediction_sets(results: dict[str, Any]) -> Blocks:
    """Return how often a set of classes holds the true one, and how large it is."""
    section, names = results["prediction_sets"], results["classes"]
    if not available(section):
        return _absent("Prediction sets", section)
    rows = []
    for level, values in section["levels"].items():
        each = [_coverage(values["per_class"].get(name)) for name in names]
        sizes = [estimate(values[key]) for key in ("coverage", "mean_size", "singletons")]
        rows.append([escape(level).lstrip("0"), *sizes, str(values["empty"]), *each])
    head = ["aim", "coverage", "classes in a set", "sets of one", "empty sets"]
    head += [f"coverage of {escape(name)}" for name in names]
    n = people(results["person"]["n_people"])
    return [["## Prediction sets"], [f"Conformal within each class, for {n}."], table(head, rows)]


def _coverage(values: dict[str, Any] | None) -> str:
    if values is None or not available(values):
        return NOT_ESTIMABLE
    if values["n_people"] < FEW_PEOPLE:
        return f"{people(values['n_people'])}: {NOT_ESTIMABLE}"
    return f"{estimate(values['coverage'])}, {people(values['n_people'])}"


def abstention(results: dict[str, Any]) -> Blocks:
    """Return the scores of those whom the model is surest about."""
    section = results["abstention"]
    if not available(section):
        return _absent("Answering only when sure", section)
    rows = []
    for step in section["curve"]:
        cells = [number(step["coverage"]), str(step["n_people"])]
        cells += [estimate(step[name]) for name in ("accuracy", "balanced_accuracy")]
        rows.append(_doubtful(cells, step, 3))
    n = people(results["person"]["n_people"])
    text = f"Area under accuracy by coverage: {estimate(section['area'])} in {n}. "
    text += escape(section["sentence"], 500)
    head = ["share answered", "people", "accuracy", "balanced accuracy"]
    return [["## Answering only when sure"], [text], table(head, rows)]


def decision_curve(results: dict[str, Any]) -> Blocks:
    """Return where acting on the model gains more than acting on everyone or no one."""
    section = results["decision_curve"]
    if not available(section):
        return _absent("Decision curve", section)
    n, at = people(results["person"]["n_people"]), section["thresholds"]
    text = f"Net benefit for CDR 0 v > 0 in {n}, thresholds {number(at[0])} to {number(at[-1])}."
    return [["## Decision curve"], [f"{text} {escape(section['sentence'], 500)}"]]


def subgroups(results: dict[str, Any]) -> Blocks:
    """Return the scores by sex and age."""
    section = results["subgroups"]
    if not available(section):
        return _absent("Subgroups", section)
    rows = []
    for group in section["groups"]:
        cells = [f"{escape(group['factor'])} {escape(group['group'])}"]
        cells += [str(group["n_people"]), str(group["n_demented"])]
        cells += [estimate(group["metrics"].get(name)) for name in _OF_GROUP]
        few = group["few_people"] or bool(group.get("few_classes"))
        rows.append(_doubtful(cells, group | {"few_people": few}, 3))
    head = ["group", "people", "of them CDR > 0", *(TITLES[name] for name in _OF_GROUP)]
    return [["## Subgroups"], table(head, rows), _gaps(section)]


def _gaps(section: dict[str, Any]) -> list[str]:
    """Return the largest differences between groups, one factor a line."""
    lines = []
    for factor, gaps in section["gaps"].items():
        known = {name: gap for name, gap in (gaps or {}).items() if gap is not None}
        if known:
            n = sum(g["n_people"] for g in section["groups"] if g["factor"] == factor)
            each = ", ".join(f"{TITLES.get(k, escape(k))} {_gap(v)}" for k, v in known.items())
            lines.append(f"Largest difference by {escape(factor)} ({people(n)}): {each}.")
    return lines


def _gap(values: dict[str, Any]) -> str:
    if values.get("gap_if_equal") is None:
        return estimate(values)
    return f"{estimate(values)} where chance alone gives {number(values['gap_if_equal'])}"


def confounding(results: dict[str, Any]) -> Blocks:
    """Return the scores without the help of age."""
    section = results["confounding"]
    if not available(section):
        return _absent("Age as a shortcut", section)
    rows = []
    for name, title in (("all_ages", "all ages"), ("at_least_60", "60 and over")):
        part = section[name]
        if available(part):
            scores = [estimate(part[key]) for key in ("balanced_accuracy", "auc_demented")]
            rows.append(_doubtful([title, people(part["n_people"]), *scores, _NONE], part, 2))
        else:
            rows.append([title, _NONE, escape(part["reason"], 200), _NONE, _NONE])
    matched = section["age_matched"]
    if available(matched):
        pairs = f"{matched['n_pairs']} pairs, {matched['caliper_years']:g} years apart at most"
        scores = [estimate(matched[key]) for key in ("auc_demented", "accuracy")]
        rows.append(_doubtful(["age-matched", pairs, _NONE, *scores], matched))
    else:
        rows.append(["age-matched", _NONE, escape(matched["reason"], 200), _NONE, _NONE])
    n = people(results["person"]["n_people"])
    text = f"Age alone tells CDR 0 from >0 with AUC {estimate(section['age_alone_auc'])} ({n})"
    if matched.get("age_alone_auc"):
        text += f", in the matched pairs with AUC {estimate(matched['age_alone_auc'])}"
    text += "."
    head = ["people", "n", *(TITLES[name] for name in _OF_GROUP)]
    return [["## Age as a shortcut"], [text], table(head, rows)]


def retest(results: dict[str, Any]) -> Blocks:
    """Return how much the answer changes when the person does not."""
    section = results["retest"]
    if not available(section):
        return _absent("Test and retest", section)
    limits = section["limits"] or [None, None]
    bias = section.get("bias_interval") or section["bias"]
    text = (
        f"Log-odds of CDR > 0 from two scans of {people(section['n_people'])}: ICC "
        f"{estimate(section['icc'])}, within-person standard deviation "
        f"{estimate(section['within_sd'])}, mean difference {estimate(bias)}, limits of "
        f"agreement {number(limits[0])} to {number(limits[1])}; the same class twice: "
        f"{estimate(section['agreement'])}, kappa {estimate(section['kappa'])}."
    )
    return [["## Test and retest"], [text]]


def permutation(results: dict[str, Any]) -> Blocks:
    """Return how often chance does as well."""
    section = results["permutation"]
    if not available(section):
        return _absent("Against chance", section)
    each = "; ".join(
        f"{TITLES.get(name, escape(name))} {number(section['observed'].get(name))}, {p_value(p)}"
        for name, p in section["p"].items()
    )
    n = people(results["person"]["n_people"])
    text = f"{section['n']} permutations ({escape(section['kind'])}) in {n}: {each}."
    return [["## Against chance"], [text]]


def learning_curve(results: dict[str, Any]) -> Blocks:
    """Return the score over the number of people who train; nothing where it was not asked for."""
    section = results.get("learning_curve")
    if section is None:
        return []
    names = [name for name in _OF_CURVE if name in section["points"][0]["model"]]
    sides = [side for side in _SIDES if side in section["points"][0]]
    rows = [
        [f"{point['n_people']:.0f}", *(estimate(point[s][name]) for name in names for s in sides)]
        for point in section["points"]
    ]
    words = {key: section[f"{key}per_doubling"] for key in ("", "late_")}
    late = f"{100 * section['late_share']:.0f} % of the people on"
    for key, title in (("", "per doubling"), ("late_", f"per doubling, from {late}")):
        rows.append([title, *(estimate(words[key][s][name]) for name in names for s in sides)])
    spread = section["sd_repeats"].get("macro_auc")
    text = (
        f"{escape(section['sentence'], 800)}. Intervals resample the "
        f"{people(section['n_people'])} tested, the same ones at every size; other people to learn "
        "from would widen them"
    )
    text += "." if spread is None else f" (SD of the last row over repeats: {number(spread)})."
    if "reason_dark_voxels" in section:
        text += f" Dark voxels: {escape(section['reason_dark_voxels'], 200)}."
    head = [f"{TITLES[name]}, {_SIDES[s]}" for name in names for s in sides]
    return [["## More people"], [text], table(["people to learn from", *head], rows)]


def external(results: dict[str, Any]) -> Blocks:
    """Return how far scores moved on people of another study; nothing without one."""
    section = results.get("external")
    if section is None:
        return []
    rows = [
        [TITLES.get(name, escape(name)), *(estimate(moved[key]) for key in _MOVED)]
        for name, moved in section["drift"].items()
    ]
    text = (
        f"Trained on {escape(section['trained_on'])}; compared with its "
        f"{people(section['n_validation'])} of validation: {escape(section['sentence'], 500)}."
    )
    return [["## Another study"], [text], table(["metric", *_MOVED], rows)]


def crossval(results: dict[str, Any]) -> Blocks:
    """Return the spread over folds, repeats and seeds; nothing for a single split."""
    section = results.get("crossval")
    if section is None:
        return []
    metrics, rows = results["person"]["metrics"], []
    for name in section["corrected"]:
        found = [fold["metrics"].get(name) for fold in section["per_fold"]]
        known = [value for value in found if value is not None]
        spread = section["spread"].get(name, {})
        rows.append(
            [
                TITLES.get(name, escape(name)),
                estimate(metrics.get(name)),
                f"{number(min(known))} to {number(max(known))}" if known else NOT_ESTIMABLE,
                *(
                    _NONE if spread.get(key) is None else number(spread[key])
                    for key in ("sd_repeats", "sd_seeds")
                ),
                estimate(section["corrected"][name]),
            ]
        )
    seeds = section["seeds"] if isinstance(section["seeds"], int) else len(section["seeds"])
    n = people(results["person"]["n_people"])
    text = (
        f"{section['folds']} folds x {section['repeats']} repeats x {seeds} seeds over {n}, folds "
        f"{escape(section['folds_hash'])}. A score of one fold rests on few people. The last "
        "column corrects for training sets that overlap (Nadeau and Bengio 2003, "
        "doi:10.1023/A:1024068626366)."
    )
    text += _held_out_words(section)
    head = ["metric", "all answers", "single folds", "SD over repeats", "SD over seeds"]
    summary = table([*head, "mean over folds, corrected"], rows)
    return [["## Cross-validation"], [text], summary, *_held_out(section), *_searched(section)]


def _searched(section: dict[str, Any]) -> Blocks:
    """Return what the search inside each fold tried and chose; nothing without one."""
    searched = section.get("search")
    if not searched:
        return []
    rows = []
    for fold in searched:
        best = next(one for one in fold["tried"] if one["chosen"])
        found = [one["balanced_accuracy"] for one in fold["tried"]]
        settings = ", ".join(
            f"{escape(name)} {'as usual' if value is None else escape(str(value))}"
            for name, value in best["settings"].items()
        )
        rows.append(
            [
                f"{fold['repeat']} / {fold['fold']} / {fold['seed']}",
                str(len(found)),
                settings,
                f"{number(best['balanced_accuracy'])} ({people(best['n_people'])})",
                f"{number(min(found))} to {number(max(found))}",
            ]
        )
    text = (
        "Settings were searched inside every fold: validation people chose among the candidates. "
        "The scores above are those of search and training together."
    )
    head = ["repeat / fold / seed", "tried", "chosen"]
    head += ["balanced accuracy of validation people", "of all candidates"]
    return [[text], table(head, rows)]


def _held_out_words(section: dict[str, Any]) -> str:
    """Return how a study was divided that was not divided at random, and what was harmonised."""
    what, harmonised = section.get("hold_out"), section.get("harmonised")
    said = (
        f" Folds are not at random: one {escape(what)} left out at a time, whose people a model "
        "never saw."
        if what
        else ""
    )
    return said + (f" Harmonised: {escape(harmonised, 300)}." if harmonised else "")


def _held_out(section: dict[str, Any]) -> Blocks:
    """Return the scores of each site that was left out."""
    if not section.get("hold_out"):
        return []
    names = list(section["corrected"])
    rows = [
        [
            escape(fold["held_out"]),
            people(fold["n_people"]),
            *(number(fold["metrics"].get(name)) for name in names),
        ]
        for fold in section["per_fold"]
    ]
    head = [f"{escape(section['hold_out'])} left out", "tested"]
    return [table([*head, *(TITLES.get(name, escape(name)) for name in names)], rows)]


def _doubtful(cells: list[str], part: dict[str, Any], over_classes: int = 0) -> list[str]:
    """Mark a row that rests on few people; else, in it, the average over a class with few."""
    if part.get("n_people", part.get("n_pairs", 0)) < FEW_PEOPLE:
        return [f"*({cell})*" for cell in cells]
    if over_classes and part.get("few_people"):
        return [f"*({cell})*" if i == over_classes else cell for i, cell in enumerate(cells)]
    return cells


def _absent(title: str, section: Any) -> Blocks:
    reason = section["reason"] if section else "not computed in this run"
    return [[f"## {title}"], [f"{ABSENT}{escape(reason, 300).rstrip('.')}."]]
