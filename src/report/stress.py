"""Known changes of scans as sentences and tables: what ``stress.json`` holds, for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.own_files import read_own
from ..errors import counted
from .documents.markdown import escape
from .documents.markdown import table as markdown_table

FILE, FIGURE, MAPS_FIGURE = "stress.json", "stress.png", "stress_maps.png"
_HINT = "--mode stress writes it again"
_HEADING = "## Known changes of scans"
Section = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]


def read_stress(path: str | Path) -> dict[str, Any]:
    """Read ``stress.json``.

    Raises:
        ManifestError: It is damaged.
    """
    return read_own(path, "stress", hint=_HINT)


def about(content: Section) -> str:
    """Return who was asked about, and what was changed."""
    told = (
        f"{counted(content['n_people'], 'test person', 'test people')}, "
        f"{content['n_healthy']} of them healthy. Changed: the {content['changed']}"
    )
    why = content["why_not_stored"]
    told += f", since {why}." if why else ", before the model's own preprocessing."
    if content["retest"] is not None:
        told += (
            f" Two unchanged scans of one person differ by {content['retest']['sd']:.2f} in their "
            f"log-odds (standard deviation, {counted(content['retest']['n'], 'person')})."
        )
    return told


def verdict_table(content: Section) -> Table:
    """Return a row per question, with the verdict on every reader, and the model's reason."""
    readers = content["readers"]
    named = [{one["name"]: one for one in reader["verdicts"]} for reader in readers]
    rows = [
        [name, *(of.get(name, {}).get("verdict", "") for of in named), one["reason"]]
        for name, one in named[0].items()
    ]
    return ["Question", *(reader["title"] for reader in readers), "Of the model"], rows


def disease_table(content: Section) -> Table:
    """Return a row per structure: what the full dose does to it, and to the answers."""
    reader = content["readers"][0]
    size = {one["name"]: one for one in content["structures"]}
    rows = []
    for one in (*reader["disease"], *reader["younger"], *reader["ageing"]):
        known = size.get(one["name"])
        amount = _amount(known) if known else ""
        if one["reason"]:
            rows.append([_title(one, reader), str(one["n"]), amount, one["reason"], "", ""])
            continue
        per_ml = ""
        if known:
            share = one["rise"]["value"] / abs(known["after_ml"] - known["before_ml"])
            per_ml = f"{share:+.3f}"
        half = "never" if one["half"] is None else f"{one['half']:.2f}"
        rows.append(
            [_title(one, reader), str(one["n"]), amount, _interval(one["rise"]), per_ml, half]
        )
    head = [
        *("Change", "People", "Volume in the template", "Rise of P(demented) at the end"),
        *("Rise per mL", "Half have changed sides at"),
    ]
    return head, rows


def nuisance_table(content: Section) -> Table:
    """Return a row per nuisance at its usual strength, for every reader."""
    readers = content["readers"]
    head = ["What is no disease", "Usual strength"]
    head += [f"Stages that change: {reader['title']}" for reader in readers]
    head += ["Log-odds move by", "As much as a dose of disease of"]
    named = [{one["name"]: one for one in reader["nuisance"]} for reader in readers]
    rows = []
    for name, one in named[0].items():
        if one["reason"]:
            rows.append([one["title"], *[""] * len(readers), one["reason"], "", ""])
            continue
        strength = one["strengths"][one["usual"]]
        flips = [_share(of.get(name), one["usual"]) for of in named]
        worth = readers[0]["worth"].get(name)
        rows.append(
            [
                *(one["title"], f"{strength['strength']:g} {one['unit']}".strip(), *flips),
                f"{strength['moved']['value']:.2f}",
                "" if worth is None else f"{worth:.2f}",
            ]
        )
    return head, rows


def region_table(content: Section) -> Table:
    """Return a row per region that was replaced, and per scan without a brain."""
    reader = content["readers"][0]
    rows = []
    for one in (*reader["regions"], *reader["blind"]):
        if one["reason"]:
            rows.append([one["name"], one["reason"], "", ""])
            continue
        row = [one["name"], *(_interval(one[key]) for key in ("auc", "lost", "shift"))]
        rows.append(row)
    return [
        "Replaced by the mean of healthy people, or left alone",
        "AUC",
        "AUC lost",
        "Shift",
    ], rows


def maps_table(content: Section) -> Table:
    """Return a row per structure and dose: how much of the map lies in what was changed."""
    rows = []
    for one in (content["maps"] or {}).get("structures", []):
        if one["reason"]:
            rows.append([one["name"], str(one["n"]), one["reason"], "", "", ""])
            continue
        for dose in one["doses"]:
            side = "" if dose["side"] is None else _interval(dose["side"])
            told = [_interval(dose[key]) for key in ("before", "ratio")]
            rows.append([one["name"], str(one["n"]), f"{dose['dose']:g}", *told, side])
    head = [
        *("Changed", "People", "Dose", "Energy ratio of the unchanged scan's map"),
        *("Of the changed scan's map", "More than on the other side"),
    ]
    return head, rows


def as_markdown(table: Table) -> list[str]:
    """Return a table as lines of Markdown, names from files escaped."""
    head, rows = table
    return markdown_table(
        [escape(one) for one in head], [[escape(one, 400) for one in row] for row in rows]
    )


def with_stress(card: str, content: Section) -> str:
    """Return a model card with the verdicts on known changes, which replace earlier ones."""
    before = re.split(rf"^{re.escape(_HEADING)}$", card, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [
        f"- {one['verdict']}: {escape(one['name'])}. {escape(one['reason'], 400)}."
        for one in content["readers"][0]["verdicts"]
    ]
    return "\n".join(
        [before.rstrip(), "", _HEADING, "", escape(about(content), 600), "", *lines, ""]
    )


def _title(one: Section, reader: Section) -> str:
    if one in reader["younger"]:
        return f"{one['name']}, taken back from demented people"
    if one in reader["ageing"]:
        return "ageing alone, 30 years"
    return str(one["name"])


def _amount(known: Section) -> str:
    return (
        f"{known['before_ml']:.1f} to {known['after_ml']:.1f} mL ({known['change_percent']:+.0f} %)"
    )


def _share(one: Section | None, usual: int) -> str:
    if one is None or one["reason"]:
        return ""
    flips = one["strengths"][usual]["flips"]
    return f"{100 * flips['value']:.0f} % ({100 * flips['low']:.0f} to {100 * flips['high']:.0f})"


def _interval(one: Section) -> str:
    if one["value"] is None:
        return ""
    if one["low"] is None:
        return f"{one['value']:.2f}"
    return f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
