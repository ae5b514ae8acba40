"""How an estimate and its 95 % interval are written: in the log, documents, figures and the page.

An interval whose ends are equal is none. It comes from people who are too few, or too alike, for
resampling to show what chance does, and it would read as certainty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import counted
from ..predictions import FEW_PEOPLE

NOT_ESTIMABLE = "not estimable"
#: Follows an estimate that rests on under `FEW_PEOPLE` people, where no italics can be had.
FEW_MARK = "*"
FEW_NOTE = f"{FEW_MARK} rests on a class of under {FEW_PEOPLE} people: it can be luck"
_NO_WIDTH = 1e-9  # equal ends differ by rounding only
#: Metrics that every person moves alike; others are averages over classes, or rank two groups.
_OF_EVERYONE = ("accuracy", "within_one", "mae_stages", "brier", "log_loss")
#: Class -> number of its people, mildest first; a class without any is not counted.
Counts = Mapping[str, int]


def ends_of(values: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the ends of an interval; None where there is none, or one of no width."""
    low, high = values.get("low"), values.get("high")
    if low is None or high is None or high - low < _NO_WIDTH:
        return None
    return float(low), float(high)


def written(
    values: Any,
    number: Callable[[float], str] = "{:.3f}".format,
    *,
    between: str = " to ",
    brackets: str = "()",
    why: str = "",
) -> str:
    """Return an interval as text: ``0.512 (0.412 to 0.598)``.

    Args:
        values: ``value``, ``low`` and ``high``, any of them None; or one bare number, which has no
            interval to speak of.
        number: Writes one number.
        between: Stands between the ends.
        brackets: Stand around them.
        why: Why there is no interval, where that is known: ``1 person of MildDemented``.
    """
    if not isinstance(values, Mapping):
        return NOT_ESTIMABLE if values is None else number(values)
    if values.get("value") is None:
        return NOT_ESTIMABLE
    ends = ends_of(values)
    inside = f"interval {NOT_ESTIMABLE}: {why}" if why else "no interval"
    if ends is not None:
        inside = f"{number(ends[0])}{between}{number(ends[1])}"
    return f"{number(values['value'])} {brackets[0]}{inside}{brackets[1]}"


def smallest_group(metric: str, counts: Counts) -> tuple[int, str]:
    """Return the people of the smallest group that a metric rests on, and their number in words.

    An average over classes rests on the smallest of them, an AUC of demented against not on the
    fewer of the two, a share of people on all.
    """
    there = {name: n for name, n in counts.items() if n}
    healthy = next(iter(counts), "")
    groups = {f" of {name}": n for name, n in there.items()}
    if metric in _OF_EVERYONE:
        groups = {"": sum(there.values())}
    elif metric == "auc_demented":
        n = there.get(healthy, 0)
        groups = {f" of {healthy}": n, " above CDR 0": sum(there.values()) - n}
    words = min(groups, key=lambda name: groups[name], default="")
    n = groups.get(words, 0)
    return n, f"{counted(n, 'person')}{words}"


def rests_on_few(metric: str, counts: Counts) -> bool:
    """Return whether a group that a metric rests on has under `FEW_PEOPLE` people."""
    return smallest_group(metric, counts)[0] < FEW_PEOPLE


def is_doubtful(metric: str, values: Any, counts: Counts) -> bool:
    """Return whether there is an estimate, and it rests on few people."""
    known = isinstance(values, Mapping) and values.get("value") is not None
    return known and rests_on_few(metric, counts)


def of_majority(person: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of the answer that is always one class.

    Its balanced accuracy is one over the number of classes, whoever is scored: a bare number.
    """
    majority = person["majority"]
    value = float(majority["balanced_accuracy"]["value"])
    return {"balanced_accuracy": value, "accuracy": majority["accuracy"]}


def counts_of(person: Mapping[str, Any]) -> dict[str, int]:
    """Return the people of each class that a score of ``metrics.json`` was made of."""
    return {name: int(values["n_people"]) for name, values in person["per_class"].items()}


def of_metric(
    metric: str,
    values: Mapping[str, Any] | float | None,
    counts: Counts,
    number: Callable[[float], str] = "{:.3f}".format,
    *,
    short: bool = False,
) -> str:
    """Return a metric's estimate as text, which says of whom there are too few for an interval.

    A bare number is what it is whoever is scored, as in `of_majority`.
    `short` leaves out who they are, where a table has no room.

    One person's class has none, whatever resampling gave: its people are never drawn otherwise.
    """
    if isinstance(values, float):
        return f"{number(values)} (by definition)"
    if values is None or values.get("value") is None:
        return written(values)
    n, who = smallest_group(metric, counts)
    if n < 2:
        values = {"value": values["value"], "low": None, "high": None}
    return written(values, number, why=who if n < FEW_PEOPLE and not short else "")


def marked(text: str, few: bool) -> str:
    """Return `text` with `FEW_MARK`, where it rests on few people."""
    return f"{text}{FEW_MARK}" if few else text


def beside_in_words(tasks: Mapping[str, float]) -> str:
    """Return ``age 71.3 years (known: 68.0, gap +3.3, corrected +1.2); MMSE 27.1 points``.

    Args:
        tasks: As an answer has them.
    """
    parts = []
    if "age_predicted" in tasks:
        known = ""
        if "age_gap" in tasks:
            known = f" (known: {tasks['age']:.1f}, gap {tasks['age_gap']:+.1f}"
            if "age_gap_corrected" in tasks:
                known += f", corrected {tasks['age_gap_corrected']:+.1f}"
            known += ")"
        parts.append(f"age {tasks['age_predicted']:.1f} years{known}")
    if "mmse_predicted" in tasks:
        parts.append(f"MMSE {tasks['mmse_predicted']:.1f} points")
    if "p_sex_M" in tasks:
        p = tasks["p_sex_M"]
        parts.append(f"sex {'M' if p >= 0.5 else 'F'} (p = {max(p, 1 - p):.2f})")
    return "; ".join(parts)
