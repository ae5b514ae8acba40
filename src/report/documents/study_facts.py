"""What a result says about its own study: the facts that the model card and the checklists share.

Every value is Markdown that is safe to paste; what the run cannot know is left to the author.
"""

from __future__ import annotations

from typing import Any

from ...cohorts.registry import Cohort
from ...manifest import PEOPLE_UNKNOWN, SAME_PEOPLE
from ..answer import learnt_instead
from ..titles import TITLES
from .markdown import escape, p_value, people
from .run_facts import (
    AUTHOR,
    NOT_DONE,
    available,
    cohort,
    counts,
    dimension,
    limits,
    main_scores,
    model_name,
    pooled_by,
    rivals,
    setting,
)

_CDR = {
    4: "CDR 0, 0.5, 1 and 2 or more",
    3: "CDR 0, 0.5 and 1 or more",
    2: "CDR 0 against more than 0",
}


def facts(results: dict[str, Any]) -> dict[str, str]:
    """Return every fact that an item of a checklist may ask for, by its key."""
    return {**_study(results), **_data(results), **_model(results), **_scores(results)}


def _study(results: dict[str, Any]) -> dict[str, str]:
    k, n = len(results["classes"]), people(results["person"]["n_people"])
    names = ", ".join(escape(name) for name in results["classes"])
    doing = (
        "one split into train, val and test" if results["kind"] == "evaluate" else _folds(results)
    )
    source = cohort(results)
    synthetic = source is not None and source.synthetic
    reference = source.reference if source else Cohort.reference
    return {
        "technique": f"deep learning, {model_name(results)}",
        "goal": f"development and internal testing of a classifier of {k} classes; {doing}; {n}",
        "source": (source.source if source else "") or AUTHOR,
        "design": "synthetic data" if synthetic else "retrospective: the images were there before",
        "deidentification": (
            "no person is behind the data"
            if synthetic
            else "by the data's provider; tables hold its codes of people, checkpoints only hashes"
        ),
        "reference": f"{reference}, {_CDR.get(k, 'merged')}: {names}",
        "external": _external(results),
        "limits": " ".join(limits(results)),
        "versions": ", ".join(f"{escape(k)} {escape(v)}" for k, v in results["versions"].items()),
    }


def _external(results: dict[str, Any]) -> str:
    if "external" not in results:
        return f"{NOT_DONE}: all people are of one data set"
    trained_on, sentence = results["external"]["trained_on"], results["external"]["sentence"]
    return f"trained on {escape(trained_on)}; {escape(sentence, 500)}"


def _data(results: dict[str, Any]) -> dict[str, str]:
    min_age, imputed = (
        setting(results, "data", "min_age"),
        max((r["imputed"] for r in rivals(results)), default=0),
    )
    return {
        "eligibility": (
            "rated people with a readable scan"
            + (f", aged {min_age:g} or more" if min_age else ", of any age")
            + "; scans left out are in rejected.csv with the reason"
        ),
        "preprocessing": _settings(results, "preprocess") + "; in full in preprocessing.json",
        "missing": (
            "people without a CDR may count as healthy (stamped)"
            if any("unrated" in stamp for stamp in results["stamps"])
            else "people without a CDR are left out, never counted as healthy"
        )
        + (f"; missing values of {people(imputed)} were imputed in a rival" if imputed else ""),
        "partition": _partition(results),
        "disjoint": _disjoint(results),
        "counts": counts(results),
        "size": f"{NOT_DONE}: no calculation; all eligible people were used",
        "demographics": _demographics(results),
    }


def _model(results: dict[str, Any]) -> dict[str, str]:
    default = "random" if dimension(results) == "3d" else "imagenet"
    start = escape(setting(results, "model", "weights") or default)
    frozen = setting(results, "model", "freeze_backbone")
    cap = setting(results, "train", "class_weight_cap")
    loss = setting(results, "train", "loss") or ("ordinal" if frozen else "ce")
    ordinal = "one score with ordered thresholds (cumulative link)"
    return {
        "model": (
            f"{model_name(results)}, pooling, "
            f"{ordinal if loss == 'ordinal' else 'one linear layer'} for "
            f"{len(results['classes'])} classes{'; backbone frozen' if frozen else ''}"
        ),
        "initialisation": f"weights: {start}",
        "training": _training(results, frozen, loss),
        "selection": _selection(results, frozen),
        "ensembling": f"{NOT_DONE}: one model answers; a person's answer is: {pooled_by(results)}",
        "imbalance": (
            f"{NOT_DONE}: classes have the same weight"
            if cap == 1
            else f"class weights in the loss, largest ratio {escape(cap or AUTHOR)}"
        ),
        "output": f"probabilities of {len(results['classes'])} classes; the most probable is the "
        "answer, no threshold was tuned",
    }


def _training(results: dict[str, Any], frozen: bool | None, loss: str) -> str:
    settings = _settings(results, "train")
    if settings == AUTHOR:
        return AUTHOR
    if frozen:
        seed = escape(setting(results, "train", "seed"))
        return (
            f"head fitted by L-BFGS to the mean features of each person, loss {escape(loss)}, "
            f"seed {seed}"
        )
    instead = learnt_instead(results)
    if instead:
        return (
            f"backbone learns {escape(instead)} alone; then the stage's head is fitted by L-BFGS "
            f"to the mean features of each training person, loss {escape(loss)}; {settings}"
        )
    return f"loss {escape(loss)}; {settings}"


def _selection(results: dict[str, Any], frozen: bool | None) -> str:
    if SAME_PEOPLE in results["stamps"]:
        return "by the score of validation images; test images are of the same people"
    instead = learnt_instead(results)
    if instead:
        return f"by the loss of {escape(instead)} of validation people; test people had no part"
    if frozen:
        return "penalty by inner folds of training and validation people; test people had no part"
    return "by the score of validation people; test people had no part"


def _scores(results: dict[str, Any]) -> dict[str, str]:
    n, resamples = people(results["person"]["n_people"]), setting(results, "evaluate", "bootstrap")
    trace = sum(row[c] for c, row in enumerate(results["person"]["confusion"]))
    rows = results["person"]["n_rows"]
    permutation, scored = results["permutation"], rivals(results, upper=True)
    names = ", ".join(TITLES.get(name, escape(name)) for name in results["person"]["metrics"])
    beside = ", ".join(escape(rival["title"]) for rival in scored) or "no rival, for want of data"
    return {
        "metrics": f"{names}; beside the majority class and {beside}",
        "uncertainty": (
            f"95 % intervals: percentiles of {escape(resamples or 'many')} resamples of people"
            + (", Wilson's for shares of people" if rows == results["person"]["n_people"] else "")
            + ("; Nadeau-Bengio over folds" if "crossval" in results else "")
            + (f"; {_permuted(results)}" if available(permutation) else "; permutation: not done")
        ),
        "internal": main_scores(results),
        "performance": f"{main_scores(results)}; all of them in metrics.md",
        "per_class": f"recall and AUC of each class with n people in metrics.md, Table 2 ({n})",
        "failures": f"{rows - trace} of {rows} answers about {n} were wrong; who stands in "
        f"people.csv, what for what in metrics.md; why: {AUTHOR}",
        "calibration": _section(results, "calibration", "before and after, in metrics.md"),
        "subgroups": _section(results, "subgroups", "by sex and age, with n, in metrics.md"),
        "confounding": _section(results, "confounding", "60 and over, and age-matched pairs"),
        "retest": _section(results, "retest", "repeated scans"),
        "utility": _section(results, "decision_curve", "net benefit, in metrics.md"),
    }


def _section(results: dict[str, Any], name: str, what: str) -> str:
    section = results[name]
    if available(section):
        return what
    reason = section["reason"] if section else "not part of this run"
    return f"{NOT_DONE}: {escape(reason, 200).rstrip('.')}"


def _permuted(results: dict[str, Any]) -> str:
    permutation = results["permutation"]
    each = ", ".join(
        f"{TITLES.get(k, escape(k))} {p_value(p)}" for k, p in permutation["p"].items()
    )
    return f"{permutation['n']} permutations of labels among people: {each}"


def _settings(results: dict[str, Any], part: str) -> str:
    values = results["settings"].get(part)
    if not isinstance(values, dict) or not values:
        return AUTHOR
    return ", ".join(
        f"{escape(name)} {'default' if value is None else escape(value)}"
        for name, value in values.items()
    )


def _folds(results: dict[str, Any]) -> str:
    cv = results["crossval"]
    seeds = cv["seeds"] if isinstance(cv["seeds"], int) else len(cv["seeds"])
    return (
        f"cross-validation of {cv['folds']} folds x {cv['repeats']} repeats x {seeds} seeds, "
        f"folds {escape(cv['folds_hash'])}"
    )


def _partition(results: dict[str, Any]) -> str:
    if SAME_PEOPLE in results["stamps"]:
        return f"the official split of the data set; {counts(results)}"
    if results["kind"] == "crossval":
        what = results["crossval"].get("hold_out")
        how = "at random by person, stratified by stage"
        return f"{f'one {escape(what)} left out at a time' if what else how}: {_folds(results)}"
    unit = "person, or what stands for one" if PEOPLE_UNKNOWN in results["stamps"] else "person"
    return f"at random by {unit}, stratified by stage; {counts(results)}"


def _disjoint(results: dict[str, Any]) -> str:
    if SAME_PEOPLE in results["stamps"]:
        return "image: the same people are in train and test, so the scores are no generalisation"
    if PEOPLE_UNKNOWN in results["stamps"]:
        return "not assured: the files do not name people"
    return "person: nobody and no file content is on two sides; checked at every load"


def _demographics(results: dict[str, Any]) -> str:
    if not available(results["subgroups"]):
        return f"{NOT_DONE}: age and sex are not known to this run; {counts(results)}"
    groups = [
        f"{escape(group['factor'])} {escape(group['group'])}: {people(group['n_people'])}"
        for group in results["subgroups"]["groups"]
    ]
    return f"scored people: {', '.join(groups)}; per split {AUTHOR} (manifest.csv)"
