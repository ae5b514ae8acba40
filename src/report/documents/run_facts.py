"""Reading a result: its parts, its people, its scores and the limits of what they prove.

Every text returned is Markdown that is safe to paste.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...cohorts.registry import COHORT_REGISTRY, Cohort
from ...config import COHORTS, DEFAULT_BACKBONE
from ..estimates import counts_of
from ..titles import TITLES
from .markdown import escape, estimate, number, people, score_cell

AUTHOR = "for the author"
NOT_DONE = "not done"


def available(section: Any) -> bool:
    """Return whether a section of a result holds anything."""
    return isinstance(section, dict) and section.get("available") is not False


def setting(results: dict[str, Any], part: str, name: str) -> Any:
    """Return a setting of the run, or None where it is not known."""
    values = results["settings"].get(part)
    return values.get(name) if isinstance(values, dict) else None


def cohort(results: dict[str, Any]) -> Cohort | None:
    """Return the cohort whose data sets have names that begin as this one's; None for others."""
    names = (str(results["dataset"]), str(setting(results, "data", "dataset") or ""))
    stems = sorted(COHORTS.items(), key=lambda item: len(item[1]), reverse=True)
    found = (raw for name in names for raw, stem in stems if name.startswith(stem))
    raw = next(found, None)
    return COHORT_REGISTRY.get(raw) if raw else None


def model_name(results: dict[str, Any]) -> str:
    """Return the backbone's name."""
    return escape(setting(results, "model", "backbone") or DEFAULT_BACKBONE[dimension(results)])


def pooled_by(results: dict[str, Any]) -> str:
    """Return how a person's images became one answer."""
    words = {
        "max": "the logit of a person's most demented slice",
        "attention": "mean logit over a person's slices, weighted by gated attention",
    }
    mean = "mean logit over a person's images"
    searched = (results.get("crossval") or {}).get("search") or []
    tried = [one for fold in searched for one in fold["tried"] if one["chosen"]]
    chosen = [str(one["settings"].get("pool")) for one in tried]
    if len(set(chosen)) > 1:
        each = (f"{words.get(pool, mean)} in {chosen.count(pool)}" for pool in sorted(set(chosen)))
        return f"as the search of each of {len(chosen)} trainings chose: {'; '.join(each)}"
    pool = chosen[0] if chosen else str(setting(results, "model", "pool"))
    return words.get(pool, mean)


def dimension(results: dict[str, Any]) -> str:
    """Return ``"2d"`` or ``"3d"``, by the data set's name."""
    return "3d" if "3d" in str(results["dataset"]).split("_") else "2d"


def counts(results: dict[str, Any]) -> str:
    """Return ``train 119 people (60 NonDemented, ...); val ...``."""
    parts = []
    for split, of_class in results["people"].items():
        each = ", ".join(f"{n} {escape(name)}" for name, n in of_class.items())
        parts.append(f"{split} {people(sum(of_class.values()))} ({each})")
    return "; ".join(parts)


def main_scores(
    results: dict[str, Any], names: Sequence[str] = (), rival: dict[str, Any] | None = None
) -> str:
    """Return the scores per person in a sentence, with n people; a rival's where one is given."""
    person, of_class = rival or results["person"], counts_of(results["person"])
    chosen = names or ("balanced_accuracy", "macro_auc", "quadratic_kappa", "accuracy")
    texts = [
        f"{TITLES.get(name, name)} {score_cell(name, person['metrics'][name], of_class)}"
        for name in chosen
    ]
    return f"{', '.join(texts)} in {people(person['n_people'])}"


def rivals(results: dict[str, Any], upper: bool = False) -> list[dict[str, Any]]:
    """Return the rivals that were scored, without (or with) upper references."""
    scored = [rival for rival in results["rivals"] or [] if available(rival)]
    return [rival for rival in scored if upper or not rival["upper_reference"]]


def stamped(results: dict[str, Any]) -> list[list[str]]:
    """Return the stamps in bold, a paragraph each."""
    return [[f"**STAMPED: {escape(stamp, 300)}**"] for stamp in results["stamps"]]


def limits(results: dict[str, Any]) -> list[str]:
    """Return what speaks against trusting the scores, most serious first."""
    n = people(results["person"]["n_people"])
    found = [f"Stamped: {escape(stamp, 300)} ({n})." for stamp in results["stamps"]]
    audit = results["audit"]
    if available(audit) and str(audit["verdict"]).upper() not in ("PASS", "PASSED", "OK"):
        found.append(f"The leakage audit ended with {escape(audit['verdict'])} ({n}).")
    few = [
        f"{escape(name)} ({people(values['n_people'])})"
        for name, values in results["person"]["per_class"].items()
        if values["few_people"]
    ]
    if few:
        found.append(f"Under 10 people, so nothing is estimated of: {', '.join(few)}.")
    own = results["person"]["metrics"]["balanced_accuracy"]["value"]
    for rival in rivals(results):
        theirs = rival["metrics"]["balanced_accuracy"]
        if own is not None and theirs["value"] is not None and theirs["value"] >= own:
            found.append(
                f"Without the network, {escape(rival['title'])} reaches balanced accuracy "
                f"{estimate(theirs)} in {people(rival['n_people'])}; the network {number(own)}."
            )
    return [*found, *_design_limits(results, n)]


def _design_limits(results: dict[str, Any], n: str) -> list[str]:
    found = []
    if results["kind"] == "evaluate":
        found.append(
            f"One split, {n} in test: models that differ by less than the width of the intervals "
            "cannot be told apart."
        )
    else:
        found.append(
            f"Out-of-fold answers come from several trainings, so they describe the procedure "
            f"rather than one model ({n})."
        )
    source, min_age = cohort(results), setting(results, "data", "min_age") or 0
    found += [
        limit.text.format(n=n)
        for limit in (source.limits if source else ())
        if limit.under_age is None or min_age < limit.under_age
    ]
    if not available(results["subgroups"]):
        found.append(f"Sex and age of the {n} were not used, so fairness was not examined.")
    if "external" in results:
        trained_on = escape(results["external"]["trained_on"])
        return [*found, f"Trained on {trained_on}: these {n} are of another data set."]
    return [
        *found,
        f"No external data: all {n} are of one data set ({escape(results['dataset'])}).",
    ]
