"""What is said of a scan: plain words and numbers, for people and machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import counted
from ..files import atomic_file
from ..models.task_values import TASK_COLUMNS, TaskValues
from ..report.estimates import beside_in_words
from ..training.changes import CHANGES, changes_of
from .ensemble import OLDER, Ensemble, Said, combined
from .inputs import Input
from .prepare import Prepared

OUTSIDE = "outside what this model has seen"
#: Flag of a scan whose answer is memory.
TRAINED_ON = "the model was trained or chosen on a person of this name"
Answer = dict[str, Any]
#: What can be said beside the stage, in years and points: the age known, gaps, probability of M.
_BESIDE = (
    *("age_predicted", "age", "age_gap", "age_gap_corrected"),
    *("mmse_predicted", "p_sex_M"),
)
_MEASURED = {
    "detail": "finest detail",
    "grey": "grey matter's brightness",
    "ventricles": "fluid in the middle",
}


def make_answer(ensemble: Ensemble, prepared: Prepared, said: Said) -> Answer:
    """Return one entry of ``predictions.json``; no stage where the scan is unlike training's."""
    classes = ensemble.classes
    like = _likeness(said)
    kinds = changes_of(prepared.unusual)
    reasons = _reasons(like, kinds)
    outside = bool(reasons)
    probabilities = {name: round(float(p), 4) for name, p in zip(classes, said.probabilities)}  # noqa: B905
    held = [name for name, one in zip(classes, said.held, strict=True) if one]
    spread = None
    if said.spread is not None:
        pairs = zip(classes, said.spread, strict=True)
        spread = {name: round(float(sd), 4) for name, sd in pairs}
    best = classes[int(said.probabilities.argmax())]
    return {
        **_who(prepared.item),
        "stage": None if outside else best,
        "probabilities": None if outside else probabilities,
        "prediction_set": None if outside else held,
        "tasks": None if outside or said.tasks is None else _beside(said.tasks, prepared.item.age),
        "outside": outside,
        "reasons": reasons,
        "differs": [] if outside else kinds,
        "caution": [] if outside else [_caution(ensemble, prepared, kind) for kind in kinds],
        **like,
        "unusual": {name: round(sd, 2) for name, sd in prepared.unusual.items()},
        "quality": prepared.standard.quality.values if prepared.standard else {},
        "flags": _flags(ensemble, prepared),
        "side_known": prepared.side_known,
        "map": None,
        "n_images": len(prepared.images),
        "n_checkpoints": len(ensemble.members),
        "spread": None if outside else spread,
    }


def _beside(said: TaskValues, age: float | None) -> dict[str, float]:
    """Return what is said beside the stage, named as in ``people.csv``.

    Args:
        said: Of one scan.
        age: The true one in years, where it is known; then the brain-age gap is told, too.
    """
    found = {TASK_COLUMNS[name]: round(float(said.column(name)[0]), 2) for name in said.names}
    if "age" in said.names and age is not None:
        gap = float(said.column("age")[0]) - age
        intercept, slope = said.lines[0]
        found |= {"age": round(age, 2), "age_gap": round(gap, 2)}
        if np.isfinite(intercept):
            found["age_gap_corrected"] = round(gap - float(intercept + slope * age), 2)
    return found


def _caution(ensemble: Ensemble, prepared: Prepared, kind: str) -> str:
    """Return in which known way a scan differs, and what answers lose where people differ so."""
    change = CHANGES[kind]
    off = change.off(prepared.unusual)
    measure = _MEASURED[max(change.told_by, key=lambda one: prepared.unusual[one[0]] * one[1])[0]]
    told = (
        f"like the training people, but {change.word}: its {measure} is {off:.1f} standard "
        "deviations from theirs"
    )
    counts = [
        member.reference.changed[kind]
        for member in ensemble.members
        if member.reference is not None and kind in member.reference.changed
    ]
    if not counts:
        return told
    n, same = (sum(values) for values in zip(*((len(c.distances), c.same_stage) for c in counts)))  # noqa: B905
    before, after = np.mean([one.accuracy for one in counts], axis=0)
    of = counted(n, "validation person", "validation people")
    return (
        f"{told}. Of {of} changed in this way, {n - same} get another stage, and balanced "
        f"accuracy goes from {before:.2f} to {after:.2f}"
    )


def no_answer(item: Input, reason: str, n_checkpoints: int) -> Answer:
    """Return the entry of a scan that cannot be used, with the reason."""
    empty = dict.fromkeys(
        ("distance", "p_distance", "similarity", "p_similarity", "error_rate", "n_compared")
    )
    return {
        **_who(item),
        **dict.fromkeys(("stage", "probabilities", "prediction_set", "tasks")),
        "outside": True,
        "reasons": [reason],
        "differs": [],
        "caution": [],
        **empty,
        "unusual": {},
        "quality": {},
        "flags": [],
        "side_known": False,
        "map": None,
        "n_images": 0,
        "n_checkpoints": n_checkpoints,
        "spread": None,
    }


def in_words(answer: Answer) -> str:
    """Return one line for the log."""
    if answer["stage"] is None:
        return f"{answer['name']}: {OUTSIDE}: {'; '.join(answer['reasons'])}"
    p = answer["probabilities"][answer["stage"]]
    held = " or ".join(answer["prediction_set"]) or "no class"
    but = "".join(f"; {one}" for one in answer["caution"])
    beside = f"; {beside_in_words(answer['tasks'])}" if answer["tasks"] else ""
    return (
        f"{answer['name']}: most probable stage {answer['stage']} (p = {p:.2f}); set: {held}"
        f"{beside}{but}"
    )


def seen_in_training(answers: list[Answer]) -> str:
    """Return a sentence on the scans whose people the model was trained on; empty for none."""
    seen = [answer for answer in answers if TRAINED_ON in answer["flags"]]
    if not seen:
        return ""
    names = ", ".join(answer["name"] for answer in seen[:3])
    return (
        f"{len(seen)} of {counted(len(answers), 'scan is', 'scans are')} of a person on whom the "
        f"model was trained or chosen, such as {names}: what it says of them is memory, no test"
    )


def _who(item: Input) -> Answer:
    return {
        "name": item.name,
        "source": _shown(item.source),
        "subject": item.subject,
        "session": item.session,
    }


def _shown(path: Path) -> str:
    """Return a path as text that every writer can encode."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def _likeness(said: Said) -> Answer:
    """Join what the checkpoints say of how far the scan is from their training people."""
    like = said.likeness
    if not like:
        keys = ("distance", "p_distance", "similarity", "p_similarity", "error_rate", "n_compared")
        return dict.fromkeys(keys)
    factor = 2 if len(like) > 1 else 1
    return {
        "distance": round(float(np.mean([one.distance for one in like])), 4),
        "p_distance": round(combined([one.p_distance for one in like]), 4),
        "similarity": round(float(np.mean([one.similarity for one in like])), 4),
        "p_similarity": round(combined([one.p_similarity for one in like]), 4),
        "like_changed": sorted(
            kind for kind in CHANGES if np.mean([kind in one.like_changed for one in like]) > 0.5
        ),
        "error_rate": round(min(1.0, factor * max(one.error_rate for one in like)), 4),
        "n_compared": min(one.n_people for one in like),
        "limit": round(factor * max(one.limit for one in like), 4),
    }


def _reasons(like: Answer, kinds: list[str]) -> list[str]:
    """Return why a scan is unlike the training people; empty where it is like them.

    One that is further off or less alike, but differs in a known way and is no stranger than
    people who were changed so, gets a caution.
    """
    if like.get("distance") is None:
        return []
    limit, n = like["limit"] + 1e-4, like["n_compared"]
    reasons = []
    known = bool(set(kinds) & set(like["like_changed"]))
    if like["p_distance"] <= limit and not known:
        reasons.append(
            f"its features are {like['distance']:.2f} from those of training people, further than "
            f"of people like them (p = {like['p_distance']:.3f}, {n} compared)"
        )
    if like["p_similarity"] <= limit and not known:
        reasons.append(
            f"it correlates with the mean training image by {like['similarity']:.2f}, less than "
            f"people like them do (p = {like['p_similarity']:.3f}, {n} compared)"
        )
    return reasons


def _flags(ensemble: Ensemble, prepared: Prepared) -> list[str]:
    flags = list(prepared.record.notes) if prepared.record else []
    flags += prepared.standard.quality.flags if prepared.standard else ()
    if prepared.standard and prepared.standard.quality.failures:
        flags += [f"let in although {why}" for why in prepared.standard.quality.failures]
    if prepared.item.kind == "picture":
        flags.append("one slice: the model was validated on all slices of a person")
    item = prepared.item
    if any(ensemble.trained_on(name) for name in (item.subject, item.name) if name):
        flags.append(TRAINED_ON)
    if not any(member.reference for member in ensemble.members):
        flags.append("whether this scan is like the training people cannot be told")
    if prepared.standard and any("look" not in member.content for member in ensemble.members):
        flags.append(f"the checkpoint is older: it {OLDER}")
    return flags


def table_of(answers: list[Answer], classes: tuple[str, ...]) -> pd.DataFrame:
    """Return a row per scan, as ``predictions.csv`` has it.

    What is said beside the stage has columns where it is said of a scan.
    """
    told = [answer["tasks"] or {} for answer in answers]
    beside = [name for name in _BESIDE if any(name in one for one in told)]
    rows = []
    for answer in answers:
        probabilities = answer["probabilities"] or {}
        held = answer["prediction_set"]
        rows.append(
            {
                **{key: answer[key] or "" for key in ("name", "source", "subject", "session")},
                "stage": answer["stage"] or "",
                **{f"p_{name}": probabilities.get(name) for name in classes},
                "prediction_set": "" if held is None else " ".join(held),
                **{name: (answer["tasks"] or {}).get(name) for name in beside},
                "outside": answer["outside"],
                "reasons": "; ".join(answer["reasons"]),
                "differs": "; ".join(answer["differs"]),
                **{key: answer[key] for key in ("distance", "p_distance", "similarity")},
                "p_similarity": answer["p_similarity"],
                "flags": "; ".join(answer["flags"]),
                "map": answer["map"] or "",
                "n_checkpoints": answer["n_checkpoints"],
                "largest_spread": max((answer["spread"] or {"": None}).values(), default=None),
            }
        )
    return pd.DataFrame(rows)


def write_table(path: Path, answers: list[Answer], classes: tuple[str, ...]) -> Path:
    """Write a row per scan; a cell that a spreadsheet would run is written as text."""
    table = table_of(answers, classes)
    for name in ("name", "source", "subject", "session", "reasons", "flags"):
        table[name] = table[name].map(_text)
    with atomic_file(path, "w") as file:
        table.to_csv(file, index=False, lineterminator="\n")
    return path


def write_people(path: Path, people: list[dict[str, Any]], classes: tuple[str, ...]) -> Path:
    """Write a row per person and visit, as `joined.join_people` gives them."""
    rows = []
    for person in people:
        for one in person["sessions"]:
            probabilities, held = one["probabilities"] or {}, one["prediction_set"]
            spread = one["spread_between_scans"] or {"": None}
            rows.append(
                {
                    "subject": _text(person["subject"]),
                    "session": _text(one["session"]),
                    "n_scans": len(one["scans"]),
                    "stage": one["stage"] or "",
                    **{f"p_{name}": probabilities.get(name) for name in classes},
                    "prediction_set": "" if held is None else " ".join(held),
                    "largest_spread": max(spread.values(), default=None),
                    "scans": _text(" ".join(one["scans"])),
                    "left_out": _text(" ".join(one["left_out"])),
                }
            )
    with atomic_file(path, "w") as file:
        pd.DataFrame(rows).to_csv(file, index=False, lineterminator="\n")
    return path


def _text(value: str | None) -> str:
    text = value or ""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
