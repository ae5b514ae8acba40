"""Scores by sex, age band and site, and what is left when age cannot help. Pure functions.

A group is a set of people: all rows of a person belong to it, and intervals resample people.

Axes: B resamples, S shuffles, n rows, P people, K classes (mildest first).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from ...errors import counted
from ...predictions import (
    FEW_PEOPLE,
    Array,
    Integers,
    Predictions,
    Weighted,
    as_binary,
    per_person,
    take_rows,
    unweighted,
)
from ..metrics.intervals import Interval, Metric, estimate_and_resample, interval, wilson_interval
from ..metrics.scores import METRICS, recall

#: Years at which the next age band begins.
AGE_LIMITS = (60, 70, 80)
AGE_BANDS = ("under 60", "60-69", "70-79", "80 and over")
UNKNOWN = "unknown"
#: What sites are that are not listed: of few people, or after the largest ones.
OTHER_SITES = "other sites"
#: Factor -> its groups, in the order in which they are listed; sites come from the data.
FACTORS = {"sex": ("F", "M"), "age": AGE_BANDS}
_OLD, _MOST_SITES = 60, 12  # years; sites that are listed
_SHUFFLES = 200


@dataclass(frozen=True)
class _Scored:
    """Rows, their people, and how their scores are made.

    Attributes:
        rows: n predictions.
        people: One line per person, in the order of ``rows.people``.
        over: Classes that balanced accuracy is the mean recall of.
        n_bootstrap: Resamples of people.
        seed: Of the resamples and shuffles.
    """

    rows: Predictions
    people: pd.DataFrame
    over: Integers
    n_bootstrap: int
    seed: int


def subgroup_scores(
    predictions: Predictions,
    table: pd.DataFrame,
    classes: Sequence[str],
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score each sex, age band and site, and the gap between the best and the worst of them.

    Balanced accuracy is over the classes that have ten or more people in all (``balanced_over``),
    so that it means the same in every group; it is undefined where a group lacks one of them. A
    group with few people of such a class names it in ``few_classes``.

    A gap, the largest minus the smallest estimate, is positive even where groups do not differ, and
    so is its interval. Beside it stands ``gap_if_equal``: the mean gap when people of the same
    class swap their groups at random, which keeps every group's number of people in every class. A
    gap near it is what chance and the groups' classes give. Unknown is listed, not compared; so are
    sites of under ten people, and those after the twelve largest, as one group. Of one site, or of
    none, ``site`` is no factor.

    Args:
        predictions: One row per person, or several.
        table: Indexed by subject: ``age`` [years], ``sex`` (F or M) and, if it is there, ``site``;
            each may be missing.
        classes: K names, mildest first.
        n_bootstrap: Resamples of people.
        seed: Same seed, same intervals.

    Returns:
        ``available``, ``balanced_over``, ``groups`` (one entry for each that has people) and
        ``gaps``: factor -> metric -> interval with ``gap_if_equal``, or None without two groups.

    Raises:
        ValueError: A subject stands in `table` twice, or names and logits differ in number.
    """
    if len(classes) != predictions.num_classes:
        raise ValueError(f"{len(classes)} classes for {predictions.num_classes} logits")
    people = _describe(predictions, table)
    factors = FACTORS | _sites(people["site"])
    if all((people[factor] == UNKNOWN).all() for factor in factors):
        return {"available": False, "reason": "neither age nor sex is known of any scored person"}
    listed = people["site"].isin([*factors.get("site", ()), UNKNOWN])
    people["site"] = people["site"].where(listed, OTHER_SITES)
    over = np.flatnonzero(np.bincount(people["label"], minlength=len(classes)) >= FEW_PEOPLE)
    scored = _Scored(predictions, people, over, n_bootstrap, seed)
    groups = [
        _score_group(scored, factor, name, classes)
        for factor, names in factors.items()
        for name in (*names, UNKNOWN)
        if (people[factor] == name).any()
    ]
    return {
        "available": True,
        "balanced_over": [classes[int(c)] for c in over],
        "groups": groups,
        "gaps": {factor: _score_gaps(scored, factor, groups) for factor in factors},
    }


def _sites(site: pd.Series) -> dict[str, tuple[str, ...]]:
    """Return the factor ``site`` and the sites that are listed, where there are two."""
    count = site[site != UNKNOWN].sort_values().value_counts(sort=False)
    count = count.sort_values(ascending=False, kind="stable")
    if len(count) < 2:
        return {}
    return {"site": (*map(str, count.index[count >= FEW_PEOPLE][:_MOST_SITES]), OTHER_SITES)}


def confounding(
    predictions: Predictions,
    table: pd.DataFrame,
    n_bootstrap: int = 2000,
    seed: int = 0,
    caliper_years: float = 3.0,
) -> dict[str, Any]:
    """Score without the help of age: people of 60 and over only, and pairs of the same age.

    A model that reads age from an image looks as if it read disease where the young are all
    healthy. Each demented person is matched with one who is not, as in `match_ages`; what the model
    still tells apart, age does not explain. Who of several people of one age is matched is
    arbitrary, but does not depend on the order of rows.

    Args:
        predictions: One row per person, or several.
        table: Indexed by subject, with ``age`` [years], which may be missing.
        n_bootstrap: Resamples of people, in ``age_matched`` of pairs.
        seed: Same seed, same intervals.
        caliper_years: Largest difference of age within a pair.

    Returns:
        ``all_ages`` and ``at_least_60`` (both over the classes of all ages; ``few_people``: one of
        these has under ten), ``age_matched`` and ``age_alone_auc``. In ``age_matched``, accuracy is
        over K classes, ``accuracy_demented`` over the two sides of a pair, where guessing gives .5,
        and ``age_difference`` is the mean of demented minus not, in years.

    Raises:
        ValueError: A subject stands in `table` twice.
    """
    people = _describe(predictions, table)
    scored = _Scored(predictions, people, np.unique(people["label"]), n_bootstrap, seed)
    known = people.dropna(subset="years")
    age_alone = _undefined()
    if _smaller_side(known) >= FEW_PEOPLE:
        ages = _age_as_score(known, known.index.to_numpy())
        age_alone = _resample(ages, {"auc": METRICS["auc_demented"]}, n_bootstrap, seed)["auc"]
    return {
        "all_ages": _score_ages(scored),
        "at_least_60": _score_old(scored),
        "age_matched": _score_matched(scored, caliper_years),
        "age_alone_auc": age_alone,
    }


def match_ages(first: Array, second: Array, caliper_years: float) -> Integers:
    """Pair people of two groups: as many pairs as possible, then the least total difference of age.

    Args:
        first: (a,) years.
        second: (b,) years.
        caliper_years: Largest difference within a pair.

    Returns:
        (pairs, 2) positions in `first` and in `second`; nobody is in two pairs.
    """
    apart = np.abs(first[:, None] - second)
    allowed = apart <= caliper_years + 1e-9
    # One forbidden pair costs more than all allowed ones together, so as few as possible are made.
    forbidden = (caliper_years + 1) * (min(apart.shape) + 1)
    chosen = linear_sum_assignment(np.where(allowed, apart, forbidden))
    pairs: Integers = np.stack(chosen, axis=1)[allowed[chosen]]
    return pairs


def _describe(predictions: Predictions, table: pd.DataFrame) -> pd.DataFrame:
    """Return one line per person, in the order of ``predictions.people``; unknown stays unknown."""
    one = per_person(predictions)
    known = table.reindex(index=one.subjects, columns=["age", "sex", "site"])
    years = pd.to_numeric(known["age"]).to_numpy(dtype=np.float64, na_value=np.nan)
    band = np.array(AGE_BANDS)[np.searchsorted(AGE_LIMITS, years, side="right")]
    return pd.DataFrame(
        {
            "subject": one.subjects,
            "label": one.labels,
            "years": years,
            "age": np.where(np.isnan(years), UNKNOWN, band),
            "sex": known["sex"].where(known["sex"].isin(FACTORS["sex"]), UNKNOWN).to_numpy(),
            "site": known["site"].astype("str").fillna(UNKNOWN).to_numpy(),
        }
    )


def _part(scored: _Scored, member: pd.Series) -> _Scored:
    """Return the same of some of the people."""
    rows = take_rows(scored.rows, member.to_numpy()[scored.rows.people])
    return replace(scored, rows=rows, people=scored.people[member].reset_index(drop=True))


def _metrics(scored: _Scored) -> dict[str, Metric]:
    """Return what a group is scored by."""

    def balanced_accuracy(sample: Weighted) -> Array:
        found = recall(sample)[:, scored.over]
        mean: Array = found.mean(axis=1) if scored.over.size else np.full(len(found), np.nan)
        return mean

    return {
        "balanced_accuracy": balanced_accuracy,
        "auc_demented": METRICS["auc_demented"],
        "accuracy": METRICS["accuracy"],
    }


def _estimates(scored: _Scored) -> dict[str, Interval]:
    """Score a group; what it has too few people for is undefined."""
    rows = scored.rows
    found = _resample(rows, _metrics(scored), scored.n_bootstrap, scored.seed)
    if len(scored.people) < FEW_PEOPLE:
        found = {name: _undefined() for name in found}
    if _smaller_side(scored.people) < FEW_PEOPLE:
        found["auc_demented"] = _undefined()
    share, n_people = float((rows.labels == rows.predicted).mean()), len(scored.people)
    if rows.by_person or share in (0, 1):  # resampling people who are all alike shows no doubt
        found["accuracy"] = wilson_interval(round(share * n_people), n_people)
    return found


def _score_group(scored: _Scored, factor: str, name: str, classes: Sequence[str]) -> dict[str, Any]:
    part = _part(scored, scored.people[factor] == name)
    counts = np.bincount(part.people["label"], minlength=len(classes))
    return {
        "factor": factor,
        "group": name,
        "n_people": len(part.people),
        "n_demented": int(counts[1:].sum()),
        "few_people": len(part.people) < FEW_PEOPLE,
        "few_classes": [classes[int(c)] for c in scored.over if counts[c] < FEW_PEOPLE],
        "metrics": _estimates(part),
    }


def _score_gaps(
    scored: _Scored, factor: str, groups: list[dict[str, Any]]
) -> dict[str, Interval | None]:
    gaps: dict[str, Interval | None] = {}
    for name, metric in _metrics(scored).items():
        compared = [
            group["group"]
            for group in groups
            if group["factor"] == factor
            and group["group"] not in (UNKNOWN, OTHER_SITES)
            and not group["few_people"]
            and group["metrics"][name]["value"] is not None
        ]
        number = pd.Index(compared).get_indexer(scored.people[factor])  # -1: not compared
        gaps[name] = _gap(scored, metric, number) if len(compared) > 1 else None
    return gaps


def _gap(scored: _Scored, metric: Metric, number: Integers) -> Interval:
    """Return largest minus smallest value over groups; `number` (P,) is each person's group."""

    def gap(weights: Array, number: Integers) -> Array:
        group = number[..., scored.rows.people]
        values = np.stack(
            [metric(Weighted(scored.rows, weights * (group == g))) for g in range(number.max() + 1)]
        )
        spread: Array = values.max(axis=0) - values.min(axis=0)
        return spread

    metrics: dict[str, Metric] = {"gap": lambda sample: gap(sample.weights, number)}
    found = _resample(scored.rows, metrics, scored.n_bootstrap, scored.seed)["gap"]
    by_chance = gap(unweighted(scored.rows).weights, _shuffle(scored, number))
    return {**found, "gap_if_equal": float(by_chance.mean())}


def _shuffle(scored: _Scored, number: Integers) -> Integers:
    """Return (S, P) groups, swapped among the compared people of each class."""
    rng = np.random.default_rng(scored.seed)
    labels = scored.people["label"].to_numpy()
    shuffled = np.tile(number, (_SHUFFLES, 1))
    for label in np.unique(labels):
        same = np.flatnonzero((labels == label) & (number >= 0))
        shuffled[:, same] = rng.permuted(shuffled[:, same], axis=1)
    return shuffled


def _score_ages(scored: _Scored) -> dict[str, Any]:
    found = _estimates(scored)
    counts = np.bincount(scored.people["label"], minlength=scored.rows.num_classes)
    return {
        "available": True,
        "n_people": len(scored.people),
        "few_people": bool((counts[scored.over] < FEW_PEOPLE).any()),
        "balanced_accuracy": found["balanced_accuracy"],
        "auc_demented": found["auc_demented"],
    }


def _score_old(scored: _Scored) -> dict[str, Any]:
    old = scored.people["years"] >= _OLD
    if old.sum() < FEW_PEOPLE:
        known = counted(int(old.sum()), "person is", "people are")
        reason = f"{known} known to be {_OLD} or older; {FEW_PEOPLE} are needed"
        return {"available": False, "reason": reason}
    return _score_ages(_part(scored, old))


def _score_matched(scored: _Scored, caliper_years: float) -> dict[str, Any]:
    pair = _pair_numbers(scored.people, caliper_years)
    n_pairs = int(pair.max()) + 1
    if n_pairs < FEW_PEOPLE:
        found = counted(n_pairs, "pair")
        reason = f"{found} within {caliper_years:g} years; {FEW_PEOPLE} are needed"
        return {"available": False, "reason": reason}
    matched = pd.Series(pair >= 0)
    part, pair = _part(scored, matched), pair[pair >= 0]
    # Pairs take the place of people: they are what is resampled.
    rows = replace(part.rows, subjects=pair[part.rows.people])
    ages = _age_as_score(part.people, pair)
    by_image: dict[str, Metric] = {
        "auc_demented": METRICS["auc_demented"],
        "accuracy": METRICS["accuracy"],
        "accuracy_demented": _accuracy_demented,
    }
    signed = np.where(ages.labels == 1, 2.0, -2.0) * ages.logits[:, 1]  # their mean: the difference
    by_age: dict[str, Metric] = {
        "age_difference": lambda sample: sample.mean(signed),
        "age_alone_auc": METRICS["auc_demented"],
    }
    return {
        "available": True,
        "n_pairs": n_pairs,
        "caliper_years": float(caliper_years),
        **_resample(ages, by_age, scored.n_bootstrap, scored.seed),
        **_resample(rows, by_image, scored.n_bootstrap, scored.seed),
    }


def _accuracy_demented(sample: Weighted) -> Array:
    """(B,) share of rows whose side, demented or not, is the more probable one."""
    return METRICS["accuracy"](Weighted(as_binary(sample.predictions), sample.weights))


def _pair_numbers(people: pd.DataFrame, caliper_years: float) -> Integers:
    """Return (P,) the pair that each person is in, -1 for none."""
    known = people.dropna(subset="years").sort_values(["years", "subject"])
    demented, others = known[known["label"] > 0], known[known["label"] == 0]
    pairs = match_ages(demented["years"].to_numpy(), others["years"].to_numpy(), caliper_years)
    number = np.full(len(people), -1)
    number[demented.index[pairs[:, 0]]] = np.arange(len(pairs))
    number[others.index[pairs[:, 1]]] = np.arange(len(pairs))
    return number


def _age_as_score(people: pd.DataFrame, subjects: Integers) -> Predictions:
    """Return the answer "the older, the more demented", one row per person."""
    years = people["years"].to_numpy()
    logits = np.stack([np.zeros(len(years)), years], axis=1)
    return Predictions((people["label"] > 0).to_numpy(), logits, subjects)


def _smaller_side(people: pd.DataFrame) -> int:
    """Return the number of demented people or of the others, whichever is smaller."""
    demented = int((people["label"] > 0).sum())
    return min(demented, len(people) - demented)


def _resample(
    rows: Predictions, metrics: dict[str, Metric], n_bootstrap: int, seed: int
) -> dict[str, Interval]:
    values = estimate_and_resample(rows, [metrics], n_bootstrap, seed)
    return {name: interval(*values[name]) for name in metrics}


def _undefined() -> Interval:
    return interval(np.nan, np.empty(0))
