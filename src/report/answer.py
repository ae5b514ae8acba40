"""What a result comes to, in one sentence: is the network better than what needs none?

Held against the answer that is always the most frequent class, and against counting dark voxels.
Two intervals side by side do not tell two models apart, so a claim rests on the interval of the
difference between them, of the same resampled people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config.tasks import STAGE
from ..errors import counted
from ..predictions import FEW_PEOPLE
from .estimates import counts_of, ends_of, of_metric, smallest_group
from .titles import TASK_NAMES, TITLES

METRIC = "balanced_accuracy"
STRONGEST = "dark_voxels"
_BETTER, _WORSE, _SAME = "is better than", "is worse than", "is not told apart from"
Results = Mapping[str, Any]


def answer(results: Results) -> str:
    """Return the sentence; empty where no balanced accuracy is defined.

    Args:
        results: What ``metrics.json`` holds; one that was written before differences were is
            answered with both scores and no claim.
    """
    person = results["person"]
    own, counts = person["metrics"][METRIC], counts_of(person)
    if own["value"] is None:
        return ""
    who = counted(person["n_people"], "person")
    always = f"always answering {person['majority']['class']}"
    n_fewest, fewest = smallest_group(METRIC, counts)
    if n_fewest < 2:
        return (
            f"On {who} nothing can be told: {TITLES[METRIC]} is {_short(own['value'])}, and an "
            f"average over classes cannot rest on {fewest}."
        )
    constant = float(person["majority"][METRIC]["value"])
    beyond = {end: None if own[end] is None else own[end] - constant for end in own}
    instead = learnt_instead(results)
    network = (
        f"the network, which learnt {instead} and not the stage," if instead else "the network"
    )
    said = f"On {who} {network} {_held(own, constant, beyond, always, TITLES[METRIC])}"
    luck = f"; with {fewest}, this can be luck" if n_fewest < FEW_PEOPLE else ""
    return f"{said}{_dark_voxels(results, own)}{luck}."


def learnt_instead(results: Results) -> str:
    """Return what a network learnt that did not learn the stage: ``age and MMSE``; else nothing."""
    train = (results.get("settings") or {}).get("train")
    tasks = train.get("tasks") if isinstance(train, dict) else None
    names = str(tasks or STAGE).split(",")
    return "" if STAGE in names else " and ".join(TASK_NAMES.get(name, name) for name in names)


def _dark_voxels(results: Results, own: Mapping[str, Any]) -> str:
    """Return the half of the sentence on counting dark voxels, as far as it was scored."""
    rival = next((r for r in results["rivals"] or [] if r["name"] == STRONGEST), None)
    scored = rival is not None and rival["available"] and rival["metrics"][METRIC]["value"]
    if rival is None or not scored:
        return "; counting dark voxels was not scored"
    theirs = rival["metrics"][METRIC]
    difference = (rival.get("difference") or {}).get(METRIC)
    if difference is None:
        both = [of_metric(METRIC, one, {"": FEW_PEOPLE}, _short) for one in (own, theirs)]
        return (
            f"; whether it is better than counting dark voxels was not tested: {both[0]} against "
            f"{both[1]}"
        )
    return f"; it {_held(own, theirs['value'], difference, 'counting dark voxels')}"


def _held(
    own: Mapping[str, Any],
    theirs: float,
    difference: Mapping[str, Any],
    rival: str,
    title: str = "",
) -> str:
    """Return who is better by how much, and how sure that is."""
    ends = ends_of(difference)
    scores = f"{title} {_short(own['value'])} against {_short(theirs)}".strip()
    if ends is None:
        return f"{_SAME} {rival}: {scores}, a difference without an interval"
    word = _BETTER if ends[0] > 0 else _WORSE if ends[1] < 0 else _SAME
    amount, low, high = (_signed(value) for value in (difference["value"], *ends))
    return f"{word} {rival}: {scores}, difference {amount} ({low} to {high})"


def _short(value: float) -> str:
    """Return ``.56``, or ``1.00``."""
    return f"{value:.2f}".removeprefix("0") if value >= 0 else f"{value:.2f}"


def _signed(value: float) -> str:
    """Return ``+.09`` or ``-.10``; what rounds to nothing has no sign."""
    text = f"{abs(value):.2f}".removeprefix("0")
    return text if text == ".00" else f"{'-' if value < 0 else '+'}{text}"
