"""Scans of one person, answered together within a visit; visits stay apart.

A person's stage can change from one visit to the next, so visits are listed beside each other and
never averaged. Scans of one visit are joined as a person's images are when a model is scored: by
the mean of the logits over all images, which is calibrated then (`predictions.per_person`).

Axes: M checkpoints, K classes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import counted
from .answer_records import GivenAnswer
from .answers import OUTSIDE, Answer
from .ensemble import Ensemble
from .inputs import Input

Person = dict[str, Any]


def join_people(
    ensemble: Ensemble,
    items: Sequence[Input],
    answers: Mapping[str, Answer],
    given: Mapping[str, GivenAnswer],
) -> list[Person]:
    """Return what is said of each person whom a data set or a name tells.

    Args:
        ensemble: What answered.
        items: All scans.
        answers: Of all scans, by name.
        given: The same with logits, of those that have some.

    Returns:
        ``{"subject": .., "sessions": [..]}`` by subject. A scan whose visit is not told stands
        alone: it may be of any day. A session without a stage has no scan that can be used.
    """
    people: dict[str, dict[tuple[str, str], list[Input]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        if item.subject is not None:
            visit = ("", item.name) if item.visit is None else (item.visit, "")
            people[item.subject][visit].append(item)
    return [
        {
            "subject": subject,
            "sessions": [
                _session(ensemble, visits[key], answers, given)
                for key in sorted(visits, key=_order)
            ],
        }
        for subject, visits in sorted(people.items())
    ]


def has_several(person: Person) -> bool:
    """Return whether more than one scan of a person was given."""
    return sum(len(one["scans"]) + len(one["left_out"]) for one in person["sessions"]) > 1


def person_in_words(person: Person) -> str:
    """Return one line for the log."""
    sessions = person["sessions"]
    said = "; ".join(map(_session_in_words, sessions))
    visits = f" ({len(sessions)} visits or days, not averaged)" if len(sessions) > 1 else ""
    return f"{person['subject']}{visits}: {said}"


def _session(
    ensemble: Ensemble,
    items: Sequence[Input],
    answers: Mapping[str, Answer],
    given: Mapping[str, GivenAnswer],
) -> dict[str, Any]:
    """Join the scans of one visit that are not outside."""
    classes = ensemble.classes
    used = [item.name for item in items if answers[item.name]["probabilities"] is not None]
    content: dict[str, Any] = {
        "session": items[0].visit or None,
        "scans": used,
        "left_out": [item.name for item in items if item.name not in used],
        **dict.fromkeys(("stage", "probabilities", "prediction_set", "spread_between_scans")),
        "n_images": sum(answers[name]["n_images"] for name in used),
    }
    if not used:
        return content
    logits = np.stack([given[name].logits for name in used])
    weights = [answers[name]["n_images"] for name in used]
    p = ensemble.probabilities(np.average(logits, axis=0, weights=weights))
    held = {name for scan in used for name in answers[scan]["prediction_set"]}
    content["stage"] = classes[int(p.argmax())]
    content["probabilities"] = _by_class(classes, p)
    content["prediction_set"] = [name for name in classes if name in held]
    if len(used) > 1:
        apart = np.stack([ensemble.probabilities(one) for one in logits])
        content["spread_between_scans"] = _by_class(classes, apart.std(axis=0))
    return content


def _by_class(classes: Sequence[str], values: Any) -> dict[str, float]:
    pairs = zip(classes, values, strict=True)
    return {name: round(float(value), 4) for name, value in pairs}


def _session_in_words(session: dict[str, Any]) -> str:
    used, left_out = session["scans"], session["left_out"]
    name = session["session"] or (" and ".join([*used, *left_out][:1]))
    few = [f"{counted(len(used), 'scan')} together"] if len(used) > 1 else []
    few += [f"{len(left_out)} left out"] if left_out and used else []
    about = f"{name} ({', '.join(few)})" if few else name
    if session["stage"] is None:
        return f"{about}: {OUTSIDE}"
    return f"{about}: {session['stage']} (p = {session['probabilities'][session['stage']]:.2f})"


def _order(visit: tuple[str, str]) -> list[tuple[int, int, str]]:
    """Return what sorts ``ses-2`` before ``ses-10``, and scans without a visit first, by name."""
    parts = re.findall(r"\d+|\D+", "/".join(visit))
    return [(0, int(one), "") if one.isdecimal() else (1, 0, one) for one in parts]
