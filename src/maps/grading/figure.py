"""One figure of the grade of a run's maps: what each check found, and the verdict.

Draws the dict of `grade_maps`: sections that are not available are panels with the reason.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...auditing.verdicts import FAIL, NOT_KNOWN, PASS, WARN
from ...report.canvas import plain, write_figure
from .similarity import mean_of
from .thresholds import THRESHOLDS

Section = Mapping[str, Any]
_COLOURS = {PASS: "#0a7d4b", WARN: "#b86b00", FAIL: "#c1121f", NOT_KNOWN: "0.45"}
_MAP, _RANDOM, _CENTRE = "#0173b2", "0.45", "#de8f05"
_SIZE = (13.0, 10.4)


def grade_figure(
    path: Path,
    grade: Mapping[str, Any],
    title: str,
    caption: str = "",
    *,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw every check of a grade.

    Args:
        path: PNG to write.
        grade: As `grade_maps` returns it.
        title: Above the figure; the verdict is added.
        caption: Below it.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    figure = Figure(figsize=_SIZE, layout="constrained")
    checks = grade["checks"]
    rows = figure.add_gridspec(3, 1, height_ratios=(3, 3, 0.42 * len(checks) + 0.3))
    upper = rows[0].subgridspec(1, 4, width_ratios=(2, 1, 1.1, 0.6))
    lower = rows[1].subgridspec(1, 3, width_ratios=(1.5, 1.5, 1.4))
    draws: list[tuple[Any, str, str, Callable[[Any, Section], None]]] = [
        (upper[0], "weights", "Weights made random, from the head down", _weights),
        (upper[1], "labels", "Labels shuffled", _labels),
        (upper[2], "stability", "Image moved, with noise", _stability),
        (upper[3], "outside", "Outside the brain", _outside),
        (lower[0], "faithfulness", "Deletion", _curves("deletion")),
        (lower[1], "faithfulness", "Insertion", _curves("insertion")),
        (lower[2], "agreement", "Agreement of methods", _agreement),
    ]
    for place, name, heading, draw in draws:
        _panel(figure.add_subplot(place), grade.get(name), heading, draw)
    _table(figure.add_subplot(rows[2]), checks)
    return write_figure(figure, path, f"{title}: maps {grade['verdict']}", caption, stamps)


def _panel(
    axes: Any, section: Section | None, heading: str, draw: Callable[[Any, Section], None]
) -> None:
    """Draw a section, or why there is none."""
    axes.set_title(heading, fontsize=10.5, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)
    if section and section.get("available", True):
        draw(axes, section)
        return
    axes.set_axis_off()
    reason = str((section or {}).get("reason") or "not part of this grade")
    lines = [plain(line, 44) for line in textwrap.wrap(f"not known: {reason}", 34)[:6]]
    axes.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", fontsize=9, color="0.35")


def _weights(axes: Any, section: Section) -> None:
    """Draw the similarity of each person by what is random, their mean, and the limits."""
    stages = section["stages"]
    people = _numbers([stage["similarity"] for stage in stages])  # (stages, P)
    x = np.arange(len(stages))
    axes.plot(x, people, color=_MAP, linewidth=0.8, alpha=0.35)
    means = [mean_of(stage["similarity"]) for stage in stages]
    axes.plot(x, _numbers(means), "o-", color=_MAP, linewidth=2, label="rank correlation, mean")
    ssim = _numbers([mean_of(stage["ssim"]) for stage in stages])
    axes.plot(x, ssim, "s:", color=_CENTRE, linewidth=1.2, markersize=4, label="SSIM, mean")
    baseline = mean_of(section["between_people"])
    if baseline is not None:
        axes.axhline(baseline, color="0.3", linestyle="-.", linewidth=1, label="between people")
    _limits(axes, "weights")
    names = [plain(str(stage["layer"]).removeprefix("features."), 14) for stage in stages]
    axes.set_xticks(x, names, rotation=35, ha="right", fontsize=8)
    axes.set_xlabel("random down to this block", fontsize=9)
    axes.set_ylabel("likeness to the trained model's map", fontsize=9)
    axes.set_ylim(min(-0.35, float(np.nanmin(people, initial=0)) - 0.05), 1.05)
    axes.legend(fontsize=8, frameon=False, loc="best")


def _labels(axes: Any, section: Section) -> None:
    """Draw each person's two similarities, joined."""
    pairs = _numbers([section["refitted"], section["shuffled"]])
    axes.plot([0, 1], pairs, "o-", color=_MAP, linewidth=0.9, alpha=0.6, markersize=4)
    means = _numbers([mean_of(section["refitted"]), mean_of(section["shuffled"])])
    axes.plot([0, 1], means, "_", color="black", markersize=26, markeredgewidth=2)
    axes.set_xticks([0, 1], ["head fitted\nto the labels", "to shuffled\nlabels"], fontsize=8.5)
    axes.set_xlim(-0.4, 1.4)
    axes.set_ylim(min(-0.35, float(np.nanmin(pairs, initial=0)) - 0.05), 1.05)
    axes.set_ylabel("rank correlation", fontsize=9)


def _stability(axes: Any, section: Section) -> None:
    """Draw each person's rank correlation under both changes, and the limits."""
    rows = _numbers([section["shift"], section["noise"]])
    for at, values in enumerate(rows):
        aside = np.linspace(-0.12, 0.12, len(values))
        axes.plot(at + aside, values, "o", color=_MAP, alpha=0.6, markersize=4.5)
    means = _numbers([mean_of(section["shift"]), mean_of(section["noise"])])
    axes.plot([0, 1], means, "_", color="black", markersize=34, markeredgewidth=2)
    _limits(axes, "shift")
    noise = f"noise, {section['noise_sd']:.0%}\nof the grey range"
    axes.set_xticks([0, 1], ["moved by\n1 and 2 places", noise], fontsize=8.5)
    axes.set_xlim(-0.5, 1.5)
    axes.set_ylim(min(-0.05, float(np.nanmin(rows, initial=0)) - 0.05), 1.05)
    axes.set_ylabel("rank correlation", fontsize=9)


def _outside(axes: Any, section: Section) -> None:
    """Draw how much of each person's map is outside the brain, and the limits."""
    values = _numbers(section["ratio"])
    axes.plot(
        np.linspace(-0.2, 0.2, len(values)), values, "o", color=_MAP, alpha=0.6, markersize=4.5
    )
    axes.plot(
        [0],
        _numbers([mean_of(section["ratio"])]),
        "_",
        color="black",
        markersize=30,
        markeredgewidth=2,
    )
    _limits(axes, "outside")
    axes.set_xticks([0], ["the map's, over\nan even map's"], fontsize=8.5)
    axes.set_xlim(-0.5, 0.5)
    axes.set_ylim(-0.05, max(1.05, float(np.nanmax(values, initial=0)) + 0.05))
    axes.set_ylabel("ratio of shares", fontsize=9)


def _curves(way: str) -> Callable[[Any, Section], None]:
    """Return what draws deletion or insertion: the mean over people of each order."""

    def draw(axes: Any, section: Section) -> None:
        done = np.asarray(section["deleted"])
        lines = (("map", _MAP, "o-"), ("centre", _CENTRE, "^--"), ("random", _RANDOM, "s:"))
        names = {"map": "the map", "centre": "from the centre", "random": "random"}
        for name, colour, style in lines:
            mean = np.mean(section[way][name], axis=0)
            axes.plot(
                100 * done, mean, style, color=colour, markersize=4, linewidth=1.6,
                label=names[name],
            )  # fmt: skip
        axes.set_xlabel(f"% of the brain {'blurred' if way == 'deletion' else 'restored'}")
        axes.set_ylabel("explained log-odds, mean of people", fontsize=9)
        axes.xaxis.label.set_size(9)
        axes.legend(fontsize=8, frameon=False, title="in the order of", title_fontsize=8)

    return draw


def _agreement(axes: Any, section: Section) -> None:
    """Draw the matrix of rank correlations, with numbers."""
    names = [plain(str(name), 14) for name in section["methods"]]
    matrix = _numbers(section["matrix"])
    axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
    for (row, column), value in np.ndenumerate(matrix):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=8.5,
            color="white" if abs(value) > 0.6 else "black",
        )  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8.5)
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(length=0)


def _table(axes: Any, checks: Sequence[Section]) -> None:
    """Write each check's verdict, title and sentence."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(checks), -0.2))
    for row, check in enumerate(checks):
        y = row + 0.25
        axes.text(
            0, y, check["verdict"], color=_COLOURS[check["verdict"]], fontweight="bold",
            fontsize=9.5, va="center",
        )  # fmt: skip
        axes.text(0.085, y, plain(check["title"], 44), fontsize=9, va="center", fontweight="bold")
        lines = textwrap.wrap(str(check["sentence"]), 124)
        text = "\n".join(plain(line, 130) for line in lines[:3])
        axes.text(0.345, y, text + ("…" if len(lines) > 3 else ""), fontsize=8, va="center")


def _limits(axes: Any, name: str) -> None:
    """Draw the thresholds of a check."""
    check = THRESHOLDS[name]
    axes.axhline(check.passes, color=_COLOURS[PASS], linestyle="--", linewidth=1)
    if check.fails is not None:
        axes.axhline(check.fails, color=_COLOURS[FAIL], linestyle="--", linewidth=1)


def _numbers(values: Sequence[Any]) -> Any:
    """Return an array, NaN for None."""
    return np.array(values, dtype=float)
