"""Figures of chance and of folds: shuffled labels, cross-validation.

Each draws one section of ``metrics.json``; where it is not available nothing is written and None is
returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..canvas import COLOURS, write_figure
from ..titles import TITLES
from .forest import (
    METRICS,
    Section,
    caption_of,
    chance_of,
    legend_below,
    mark,
    missing,
    notes_of,
    people,
    said,
    shortened,
    tidy,
)


def permutation_figure(
    path: Path,
    permutation: Section,
    title: str,
    *,
    n_people: int | None = None,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw what shuffled labels score, and the observed score with its p.

    Args:
        path: PNG to write.
        permutation: ``kind``, ``n``, and per metric ``observed``, ``null`` and ``p``. Balanced
            accuracy and macro AUC are drawn, those that are there.
        title: Above the figure.
        n_people: People whose labels were shuffled.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where there is no null distribution.
    """
    if permutation_missing(permutation):
        return None
    assert permutation is not None
    names = [name for name in METRICS if _null(permutation, name).size]
    figure = Figure(figsize=(0.6 + 4.2 * len(names), 3.3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _draw_null(axes, permutation, name)
    figure.get_axes()[0].set_ylabel("shuffles", fontsize=10)
    legend_below(figure, 3)
    kind = shortened(permutation.get("kind") or "", 120)
    caption = caption_of(
        (
            people(n_people),
            f"{permutation['n']} shuffles" + (f": {kind}" if kind else ""),
            "p = (1 + shuffles at least as high) / (1 + shuffles)",
        )
    )
    return write_figure(figure, path, title, caption, stamps)


def permutation_missing(permutation: Section) -> str:
    """Return why no null distribution can be drawn; empty where one can."""
    if missing(permutation):
        return missing(permutation)
    assert permutation is not None
    known = any(_null(permutation, name).size for name in METRICS)
    return "" if known else "no shuffle has a score"


def crossval_figure(
    path: Path,
    crossval: Section,
    person: Mapping[str, Any],
    title: str,
    *,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw every fold and the mean of every repeat, and the two intervals of the whole.

    Resampled people say how the score would vary with other people to test; the corrected interval
    also has the variation of training, and counts that training sets overlap.

    Args:
        path: PNG to write.
        crossval: ``per_fold``, ``corrected``, ``spread``, ``folds`` and ``repeats``.
        person: Scores of all out-of-fold answers, per person.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where there are no folds.

    Source:
        Nadeau & Bengio (2003), doi:10.1023/A:1024068626366.
    """
    if missing(crossval) or not (crossval or {}).get("per_fold"):
        return None
    assert crossval is not None
    figure = Figure(figsize=(9.2, 4.2), layout="constrained")
    chance = chance_of(person)
    for axes, name in zip(figure.subplots(1, 2), METRICS, strict=True):
        whole, corrected = person["metrics"].get(name), crossval.get("corrected", {}).get(name)
        _draw_folds(axes, crossval["per_fold"], name, (whole, corrected))
        axes.axhline(
            chance[name], color="0.4", linestyle=":", linewidth=1.2, zorder=1, label="chance"
        )
        axes.set_title(
            f"{TITLES[name]}\nresampled people: {said(whole)}\ncorrected: {said(corrected)}",
            fontsize=10,
        )
    legend_below(figure, 2)
    return write_figure(figure, path, title, _crossval_caption(crossval, person), stamps)


def _null(permutation: Mapping[str, Any], name: str) -> Any:
    values = permutation.get("null", {}).get(name) or []
    return np.array([value for value in values if value is not None], dtype=float)


def _draw_null(axes: Any, permutation: Mapping[str, Any], name: str) -> None:
    """Draw one histogram, its 95 % quantile and the observed score."""
    tidy(axes, "y")
    null = _null(permutation, name)
    observed, p = (permutation.get(key, {}).get(name) for key in ("observed", "p"))
    axes.hist(
        null, bins=min(30, max(5, null.size // 10)), color="0.8", edgecolor="0.5", linewidth=0.6,
        label="shuffled labels",
    )  # fmt: skip
    top = float(np.percentile(null, 95))
    axes.axvline(
        top, color="0.25", linestyle="--", linewidth=1.2, label="95 % of shuffles are lower"
    )
    heading = TITLES[name]
    if observed is not None:
        axes.axvline(observed, color=COLOURS[0], linewidth=2.5, label="true labels")
        heading += f": {observed:.2f}" + ("" if p is None else f", p = {p:.2g}")
    axes.set_title(heading, fontsize=10)
    axes.set_xlabel(TITLES[name], fontsize=10)


def _draw_folds(
    axes: Any, folds: Sequence[Mapping[str, Any]], name: str, whole: tuple[Any, Any]
) -> None:
    """Draw the folds of each repeat, their mean, and on the right the two intervals."""
    tidy(axes, "y")
    repeats = sorted({fold["repeat"] for fold in folds})
    for x, repeat in enumerate(repeats):
        scores = [fold["metrics"].get(name) for fold in folds if fold["repeat"] == repeat]
        known = np.array([value for value in scores if value is not None], dtype=float)
        if not known.size:
            continue
        jitter = np.linspace(-0.22, 0.22, known.size) if known.size > 1 else np.zeros(1)
        axes.plot(
            x + jitter, known, "o", color=COLOURS[0], alpha=0.55, markersize=4.5, label="one fold",
            markeredgewidth=0,
        )  # fmt: skip
        label = "mean of a repeat's folds"
        axes.plot([x - 0.3, x + 0.3], [known.mean()] * 2, color="black", linewidth=2, label=label)
    edge, room = len(repeats) - 0.4, max(0.6, len(repeats) / 10)
    axes.axvline(edge, color="0.75", linewidth=0.8)
    names = "all answers, interval of resampled people", "mean of folds, corrected interval"
    for i, (value, label) in enumerate(zip(whole, names, strict=True)):
        mark(
            axes, edge + room * (0.8 + i), value, colour=COLOURS[i + 1], marker="sD"[i],
            upright=True, hollow=bool(i), label=label,
        )  # fmt: skip
    every = -(-len(repeats) // 12)  # at most 12 numbers stand side by side
    axes.set_xticks(range(0, len(repeats), every), [str(repeat) for repeat in repeats[::every]])
    axes.set_xlim(-0.6, edge + 2.6 * room)
    axes.set_xlabel("repeat", fontsize=10)


def _crossval_caption(crossval: Mapping[str, Any], person: Mapping[str, Any]) -> str:
    sizes = [fold["n_people"] for fold in crossval["per_fold"]]
    few = f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else str(max(sizes))
    spread = [
        f"{values['sd_repeats']:.3f} ({TITLES[name]})"
        for name, values in (crossval.get("spread") or {}).items()
        if name in METRICS and values.get("sd_repeats") is not None
    ]
    return caption_of(
        (
            f"{people(person['n_people'])}, {few} in a fold",
            "95 % intervals: of resampled people, and corrected for overlapping training sets "
            "(Nadeau and Bengio)",
            notes_of(person),
            f"Standard deviation between repeats: {', '.join(spread)}" if spread else "",
        )
    )
