"""Figures of groups of people: subgroups, the age shortcut, and the same people twice.

Each draws one section of ``metrics.json``; where it is not available nothing is written and None is
returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...predictions import FEW_PEOPLE
from ..canvas import COLOURS, write_figure
from .forest import (
    GREY,
    Panel,
    Row,
    Section,
    as_interval,
    caption_of,
    forest_figure,
    missing,
    people,
    said,
    shortened,
    tidy,
)

_PANELS = (
    Panel("auc_demented", 0.5),
    Panel("balanced_accuracy"),
)
#: Where each class has the same weight, however few its people.
_AVERAGED = ("balanced_accuracy",)
_NO_PAIRS = {"balanced_accuracy": "does not apply"}


def subgroup_figure(
    path: Path,
    subgroups: Section,
    confounding: Section,
    title: str,
    *,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw the scores of every sex and age group, and what is left of them at equal age.

    Args:
        path: PNG to write.
        subgroups: ``groups`` and ``gaps``; groups of few people are grey.
        confounding: ``all_ages``, ``at_least_60``, ``age_matched`` and ``age_alone_auc``.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where neither section is available, or no group has enough people. A
        metric that no group has is left out.
    """
    if missing(subgroups) and missing(confounding):
        return None
    rows, notes = [], ["Bars: 95 % intervals of people"]
    if subgroups and not missing(subgroups):
        rows += _group_rows(subgroups["groups"])
        notes += [_over_note(subgroups), _gap_note(subgroups.get("gaps") or {})]
        if any(group["few_people"] for group in subgroups["groups"]):
            notes += [f"Grey: under {FEW_PEOPLE} people, too few to judge"]
    if confounding and not missing(confounding):
        rows += _age_rows(confounding)
        notes += _age_notes(confounding)
    if any(row.doubtful for row in rows):
        notes += [f"Hollow: a class of under {FEW_PEOPLE} people weighs as much as the others"]
    panels = [panel for panel in _PANELS if any(_has(row, panel.metric) for row in rows)]
    if not panels:
        return None
    return write_figure(forest_figure(rows, panels), path, title, caption_of(notes), stamps)


def retest_figure(
    path: Path, retest: Section, title: str, *, stamps: Sequence[str] = ()
) -> Path | None:
    """Draw the scores of the same people on two days: one against the other, and Bland-Altman.

    Args:
        path: PNG to write.
        retest: ``pairs`` of log-odds of "demented", ``bias``, ``limits``, ``icc`` and more.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where the section is not available.

    Source:
        Bland & Altman (1986), doi:10.1016/S0140-6736(86)90837-8.
    """
    if missing(retest):
        return None
    assert retest is not None
    known = [pair for pair in retest["pairs"] if pair is not None and None not in pair]
    if not known:
        return None
    pairs = np.array(known, dtype=float)
    figure = Figure(figsize=(9.2, 4.1), layout="constrained")
    scatter, difference = figure.subplots(1, 2)
    few = len(pairs) < FEW_PEOPLE
    look = {
        "marker": "o", "linestyle": "none", "markersize": 6, "markeredgewidth": 1.3,
        "color": GREY if few else COLOURS[0], "markerfacecolor": "none",
    }  # fmt: skip
    _draw_scatter(scatter, pairs, look)
    scatter.set_title(f"ICC(2,1) {said(retest.get('icc'), ' to ')}", fontsize=10)
    _draw_difference(difference, pairs, retest, look)
    caption = caption_of(
        (
            people(retest["n_people"]) + (": too few to judge" if few else ""),
            "Scores are log-odds of demented",
            f"Within-person standard deviation {said(retest.get('within_sd'), ' to ')}",
            f"Same class on both days: {said(retest.get('agreement'))}, "
            f"kappa {said(retest.get('kappa'), ' to ')}",
        )
    )
    return write_figure(figure, path, title, caption, stamps)


def _has(row: Row, metric: str) -> bool:
    return as_interval(row.values.get(metric))["value"] is not None


def _group_rows(groups: Sequence[Mapping[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    factor = None
    for group in groups:
        if group["factor"] != factor:
            factor = group["factor"]
            rows.append(Row(str(factor), heading=True))
        n = f"{people(group['n_people'])}, {group['n_demented']} demented"
        few = group["few_people"]
        rows.append(
            Row(
                str(group["group"]),
                f"{n} (few)" if few else n,
                group["metrics"],
                colour=GREY if few else COLOURS[0],
                hollow=bool(few),
                doubtful=_AVERAGED if group.get("few_classes") else (),
            )
        )
    return rows


def _age_rows(confounding: Mapping[str, Any]) -> list[Row]:
    """Return the rows that take the age shortcut away step by step."""
    rows = [Row("confounding by age", heading=True)]
    names = (("all_ages", "all ages"), ("at_least_60", "60 years and older"))
    for key, name in (*names, ("age_matched", "pairs matched by age")):
        entry = confounding.get(key)
        if not entry or missing(entry):
            unknown = dict.fromkeys((panel.metric for panel in _PANELS), "not available")
            rows.append(Row(name, said=unknown, colour=GREY))
        elif key == "age_matched":
            values = {"auc_demented": entry["auc_demented"]}
            pairs = f"n = {entry['n_pairs']} pairs"
            rows.append(Row(name, pairs, values, _NO_PAIRS, "^", COLOURS[2]))
        else:
            doubtful = _AVERAGED if entry.get("few_people") else ()
            n = people(entry["n_people"])
            rows.append(Row(name, n, entry, marker="D", colour=COLOURS[2], doubtful=doubtful))
    alone = confounding.get("age_alone_auc")
    if alone:
        values = {"auc_demented": alone}
        rows.append(Row("age alone, no image", "", values, _NO_PAIRS, "s", COLOURS[1]))
    return rows


def _over_note(subgroups: Mapping[str, Any]) -> str:
    names = ", ".join(shortened(name, 24) for name in subgroups.get("balanced_over") or ())
    return f"Balanced accuracy of a group: over {names}" if names else ""


def _gap_note(gaps: Mapping[str, Any]) -> str:
    """Say how far groups are apart, and how far groups that do not differ would be."""
    known = []
    for factor, metrics in gaps.items():
        gap = (metrics or {}).get("auc_demented")
        if as_interval(gap)["value"] is not None:
            equal = gap.get("gap_if_equal") if isinstance(gap, Mapping) else None
            chance = "" if equal is None else f" (by chance {equal:.2f})"
            known.append(f"{shortened(factor, 20)} {said(gap)}{chance}")
    return f"Largest gap in AUC: {', '.join(known)}" if known else ""


def _age_notes(confounding: Mapping[str, Any]) -> list[str]:
    notes = []
    for key, name in (("at_least_60", "60 years and older"), ("age_matched", "matched by age")):
        entry = confounding.get(key)
        if entry and missing(entry):
            notes.append(f"Not available, {name}: {shortened(missing(entry), 110)}")
    matched = confounding.get("age_matched")
    if matched and not missing(matched):
        two = "accuracy_demented" in matched
        accuracy = said(matched["accuracy_demented" if two else "accuracy"])
        notes.append(
            f"Matched pairs: within {matched['caliper_years']:g} years, accuracy "
            f"{'of CDR 0 against > 0' if two else 'over all classes'} {accuracy}"
        )
        if "age_alone_auc" in matched:
            notes.append(f"Age alone tells them apart with AUC {said(matched['age_alone_auc'])}")
    return notes


def _draw_scatter(axes: Any, pairs: Any, look: Mapping[str, Any]) -> None:
    tidy(axes)
    low, high = float(pairs.min()), float(pairs.max())
    pad = 0.08 * (high - low) or 1.0
    ends = [low - pad, high + pad]
    axes.plot(ends, ends, ":", color="0.4", linewidth=1.2, zorder=1)
    axes.plot(pairs[:, 0], pairs[:, 1], **look)
    axes.set(xlim=ends, ylim=ends, box_aspect=1)
    axes.set_xlabel("first scan", fontsize=10)
    axes.set_ylabel("second scan (dotted: the same)", fontsize=10)


def _draw_difference(
    axes: Any, pairs: Any, retest: Mapping[str, Any], look: Mapping[str, Any]
) -> None:
    """Draw difference against mean, with the bias and the limits of agreement on the right."""
    tidy(axes)
    axes.plot(pairs.mean(axis=1), pairs[:, 1] - pairs[:, 0], **look)
    low, high = retest.get("limits") or (None, None)
    bias = as_interval(retest.get("bias"))["value"]
    lines = ((high, "upper limit", "--"), (bias, "bias", "-"), (low, "lower limit", "--"))
    for value, name, style in lines:
        if value is None:
            continue
        axes.axhline(value, color="black", linestyle=style, linewidth=1.3, zorder=2)
        axes.text(
            1.02, value, f"{name} {value:.2f}", transform=axes.get_yaxis_transform(), fontsize=9,
            va="center",
        )  # fmt: skip
    axes.axhline(0, color="0.6", linestyle=":", linewidth=1, zorder=1)
    bias = retest.get("bias_interval") or retest.get("bias")
    axes.set_title(f"Bland-Altman: bias {said(bias, ' to ')}", fontsize=10)
    axes.set_xlabel("mean of the two scans", fontsize=10)
    axes.set_ylabel("second scan - first scan", fontsize=10)
