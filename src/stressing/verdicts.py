"""PASS, WARN or FAIL of a reader that was asked known changes; every threshold, and why.

A model is held to be of use where it rises with disease; to be fair where it stays flat under what
is no disease; and to look at brains where it knows nothing without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .plan import ALL

PASS, WARN, FAIL, UNKNOWN = "PASS", "WARN", "FAIL", "not estimable"
#: Rise of P(demented) of healthy people at the full dose: what a model of any use has at least, and
#: what is wanted. One that was trained on labels without any cause in the image moves by less, once
#: it is calibrated: it says nearly the same of everyone.
LEAST_RISE, WANTED_RISE = 0.10, 0.25
#: Share of people whose stage may change under a nuisance of usual strength. Two sessions of one
#: person on one scanner change the stage of about one in twenty.
FEW_FLIPS, MANY_FLIPS = 0.05, 0.15
#: Share of healthy people whom 20 years of ageing alone may make ill.
FEW_AGED, MANY_AGED = 0.10, 0.25
_AGED = 20.0  # years
_CHANCE = 0.5
Section = dict[str, Any]


def verdicts_of(reader: Mapping[str, Any]) -> list[Section]:
    """Return the verdicts of one reader: ``name``, ``verdict`` and ``reason``."""
    made = (_rises(reader), _younger(reader), _ageing(reader), _flat(reader), _blind(reader))
    return [one for one in made if one is not None]


def overall(verdicts: list[Section]) -> str:
    """Return the worst of some verdicts; what cannot be told counts for nothing."""
    given = {one["verdict"] for one in verdicts}
    return next((one for one in (FAIL, WARN, PASS) if one in given), UNKNOWN)


def _said(name: str, verdict: str, reason: str) -> Section:
    return {"name": name, "verdict": verdict, "reason": reason}


def _rises(reader: Mapping[str, Any]) -> Section | None:
    name = "rises with disease"
    curve = next((one for one in reader["disease"] if one["name"] == ALL), None)
    if curve is None:
        return None
    if curve["reason"]:
        return _said(name, UNKNOWN, curve["reason"])
    slope, rise, half = curve["slope"], curve["rise"], curve["half"]
    told = (
        f"the full dose moves P(demented) of {curve['n']} healthy people by {rise['value']:+.2f} "
        f"({rise['low']:+.2f} to {rise['high']:+.2f})"
    )
    if slope["low"] <= 0 or rise["value"] < LEAST_RISE:
        return _said(name, FAIL, f"{told}; at least {LEAST_RISE:.2f} is wanted of any use")
    if not curve["monotone"]:
        return _said(name, WARN, f"{told}, but it falls between some doses")
    if half is None or rise["value"] < WANTED_RISE:
        never = "no dose makes half of them ill" if half is None else "it rises little"
        return _said(name, WARN, f"{told}, and {never}")
    return _said(name, PASS, f"{told}; from a dose of {half:.2f} on half of them are called ill")


def _younger(reader: Mapping[str, Any]) -> Section | None:
    name = "falls when disease is taken back"
    curve = next((one for one in reader["younger"] if one["name"] == ALL), None)
    if curve is None:
        return None
    if curve["reason"]:
        return _said(name, UNKNOWN, curve["reason"])
    rise = curve["rise"]
    told = (
        f"P(demented) of {curve['n']} demented people goes by {rise['value']:+.2f} "
        f"({rise['low']:+.2f} to {rise['high']:+.2f})"
    )
    if rise["high"] >= 0:
        return _said(name, FAIL, told)
    return _said(name, PASS if rise["value"] < -LEAST_RISE else WARN, told)


def _ageing(reader: Mapping[str, Any]) -> Section | None:
    name = "tells disease from ageing"
    curve = next(iter(reader["ageing"]), None)
    if curve is None:
        return None
    if curve["reason"]:
        return _said(name, UNKNOWN, curve["reason"])
    at = min(curve["doses"], key=lambda one: abs(one["dose"] - _AGED))
    before, after = curve["doses"][0]["called_ill"]["value"], at["called_ill"]["value"]
    more = after - before
    told = (
        f"{at['dose']:.0f} years of ageing alone call {100 * abs(more):.0f} % "
        f"{'fewer' if more < 0 else 'more'} of {curve['n']} healthy people ill"
    )
    verdict = PASS if more <= FEW_AGED else WARN if more <= MANY_AGED else FAIL
    return _said(name, verdict, told)


def _flat(reader: Mapping[str, Any]) -> Section | None:
    name = "flat under what is no disease"
    if not reader["nuisance"]:
        return None
    known = [one for one in reader["nuisance"] if not one["reason"]]
    if not known:
        return _said(name, UNKNOWN, reader["nuisance"][0]["reason"])
    flips = {one["title"]: one["strengths"][one["usual"]]["flips"]["value"] for one in known}
    worst = sorted(flips, key=lambda title: -flips[title])
    over = [title for title in worst if flips[title] > FEW_FLIPS]
    verdict = PASS if not over else FAIL if flips[worst[0]] > MANY_FLIPS else WARN
    if not over:
        return _said(name, PASS, f"at most {100 * flips[worst[0]]:.0f} % of stages change")
    told = ", ".join(f"{title} ({100 * flips[title]:.0f} %)" for title in over[:4])
    more = f", and {len(over) - 4} more" if len(over) > 4 else ""
    return _said(name, verdict, f"stages change under {told}{more}, at usual strengths")


def _blind(reader: Mapping[str, Any]) -> Section | None:
    name = "knows nothing without a brain"
    if not reader["blind"]:
        return None
    known = [one for one in reader["blind"] if not one["reason"]]
    if not known:
        return _said(name, UNKNOWN, reader["blind"][0]["reason"])
    verdict, told = PASS, []
    for one in known:
        auc = one["auc"]
        if auc["value"] is None:
            continue
        told.append(
            f"{one['name']}: AUC {auc['value']:.2f} ({auc['low']:.2f} to {auc['high']:.2f})"
        )
        if auc["low"] > _CHANCE:
            verdict = FAIL if one["name"] == "background alone" or verdict == FAIL else WARN
    return _said(name, verdict if told else UNKNOWN, "; ".join(told) or "one class only")
