"""One figure of ``stress.json``: what a model answers to disease, and to what is no disease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from .canvas import COLOURS, plain, wrapped, write_figure

Section = Mapping[str, Any]
_ALL = "all together"
_GREY = "0.45"
_SIZE = (13.5, 8.2)
_STYLES = (("o", "-"), ("s", "--"), ("^", ":"))
_FAINT = 0.15  # share of the largest value under which a map is not drawn
_EDGE = 0.35  # of the largest difference, where its outline is drawn
_FLIPS = (0.05, 0.15)  # where the verdict changes


def stress_figure(path: str | Path, content: Section) -> Path:
    """Draw what known changes of scans did to the answers.

    Args:
        path: PNG to write.
        content: As ``stress.json`` holds it.
    """
    figure = Figure(figsize=_SIZE, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1), height_ratios=(1, 1))
    _curves(figure.add_subplot(grid[0, 0]), content)
    _structures(figure.add_subplot(grid[1, 0]), content)
    _nuisance(figure.add_subplot(grid[:, 1]), content)
    title = f"{content['run']}: known changes of scans: {content['verdict']}"
    caption = (
        f"{content['n_people']} test people, {content['n_healthy']} of them healthy; changed: the "
        f"{content['changed']}. Bars are 95 % intervals over people. A dose of 1 is the full "
        "disease: see docs/stress.md. It is a question to the model, not to the people."
    )
    return write_figure(figure, path, plain(title, 200), caption, content["stamps"])


def maps_figure(path: str | Path, pictures: Sequence[Mapping[str, Any]], content: Section) -> Path:
    """Draw one person's maps, changed on one side and then on the other.

    Args:
        path: PNG to write.
        pictures: ``title``, ``subject``, and ``image``, ``map`` and ``difference`` ``(H, W)``, row
            0 on top.
        content: As ``stress.json`` holds it.
    """
    figure = Figure(figsize=(3.3 * len(pictures), 3.9), layout="constrained")
    for axes, one in zip(
        figure.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True
    ):
        axes.imshow(one["image"], cmap="gray", vmin=0, vmax=1)
        shown = np.ma.masked_less(one["map"], _FAINT)
        axes.imshow(shown, cmap="inferno", vmin=0, vmax=1, alpha=0.55)
        difference = ndimage.gaussian_filter(one["difference"], 1.0)
        if difference.max() > 0:
            axes.contour(
                difference, levels=[_EDGE * difference.max()], colors="#00e5ff", linewidths=1.2
            )
        axes.set_title(plain(one["title"]), fontsize=11)
        axes.set_axis_off()
    caption = (
        f"{plain(pictures[0]['subject'])}, a healthy test person whose scan was changed; the slice "
        "that differs most. Blue: where the images differ from the unchanged ones. Hot: the map of "
        "demented. Right and left are of template space."
    )
    title = f"{content['run']}: do maps follow the change?"
    return write_figure(figure, path, plain(title, 200), caption, content["stamps"])


def _curves(axes: Any, content: Section) -> None:
    """Draw P(demented) over the dose of all structures together."""
    drawn = False
    for reader, colour, (marker, line) in zip(
        content["readers"], COLOURS, (*_STYLES, _STYLES[0]), strict=False
    ):
        for kind, who, hollow in (("disease", "healthy", False), ("younger", "demented", True)):
            curve = _find(reader[kind])
            if curve is None or curve["reason"] or (hollow and reader is not content["readers"][0]):
                continue
            x = [one["dose"] for one in curve["doses"]]
            middle = [one["p"]["value"] for one in curve["doses"]]
            low, high = ([one["p"][end] or 0 for one in curve["doses"]] for end in ("low", "high"))
            away = "disease taken back" if hollow else "disease added"
            label = f"{reader['title']}: {who} people, {away} (n = {curve['n']})"
            axes.plot(
                x, middle, marker=marker, linestyle=line, color=colour, label=label,
                markerfacecolor="white" if hollow else colour, markersize=5,
            )  # fmt: skip
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
            drawn = True
    if not drawn:
        _nothing(axes, f"Disease: {_reason(content['readers'][0]['disease'])}")
        return
    axes.set(xlabel="dose, of the full disease", ylabel="mean P(demented)", ylim=(-0.02, 1.02))
    axes.set_title("All structures together", fontsize=11, loc="left")
    axes.legend(fontsize=8, frameon=False, loc="best")
    axes.spines[["top", "right"]].set_visible(False)


def _structures(axes: Any, content: Section) -> None:
    """Draw the rise of P(demented) at the full dose of each structure, and of ageing."""
    reader = content["readers"][0]
    rows = [*reader["disease"], *(one | {"name": "ageing, 30 years"} for one in reader["ageing"])]
    if not rows:
        _nothing(axes, "One structure at a time: not asked")
        return
    for place, one in enumerate(rows):
        y = len(rows) - 1 - place
        if one["reason"]:
            axes.text(0.0, y, f"  {plain(one['reason'], 70)}", va="center", fontsize=8, color=_GREY)
            continue
        rise = one["rise"]
        colour = _GREY if one["name"].startswith("ageing") else COLOURS[0]
        axes.plot([rise["low"], rise["high"]], [y, y], color=colour, linewidth=2)
        axes.plot(rise["value"], y, "o", color=colour)
        axes.annotate(
            f"{rise['value']:+.2f}", (rise["value"], y), xytext=(0, 6),
            textcoords="offset points", ha="center", fontsize=8, color=colour,
        )  # fmt: skip
    axes.axvline(0, color="0.8", linewidth=1, zorder=0)
    names = [_with_volume(one["name"], content) for one in rows]
    axes.set_yticks(range(len(rows)), labels=names[::-1], fontsize=9)
    axes.set_ylim(-0.6, len(rows) - 0.3)
    axes.set_xlabel("rise of P(demented) of healthy people at the full dose")
    axes.set_title(f"One structure at a time: {plain(reader['title'])}", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _with_volume(name: str, content: Section) -> str:
    for one in content["structures"]:
        if one["name"] == name:
            return f"{name} ({one['change_percent']:+.0f} % of volume)"
    return name


def _nuisance(axes: Any, content: Section) -> None:
    """Draw the share of stages that change under each nuisance, for every reader."""
    reader = content["readers"][0]
    rows = reader["nuisance"]
    if not rows:
        _nothing(axes, "What is no disease: not asked")
        return
    for number, (each, colour) in enumerate(zip(content["readers"], COLOURS, strict=False)):
        named = {one["name"]: one for one in each["nuisance"]}
        marker, label = _STYLES[number % 3][0], each["title"]
        for place, row in enumerate(rows):
            y = len(rows) - 1 - place - 0.2 * number + 0.2
            one = named.get(row["name"])
            if one is None or one["reason"]:
                if number == 0 and one is not None:
                    told = plain(one["reason"], 60)
                    axes.text(0.0, y, f"  {told}", va="center", fontsize=8, color=_GREY)
                continue
            for at, strength in enumerate(one["strengths"]):
                usual = at == one["usual"]
                axes.plot(
                    strength["flips"]["value"], y, marker, color=colour,
                    markersize=4 + 2 * at, markerfacecolor=colour if usual else "white",
                    label=label if usual else None,
                )  # fmt: skip
                label = None if usual else label  # a reader is named once
    for level, colour in zip(_FLIPS, ("#b86b00", "#c1121f"), strict=True):
        axes.axvline(level, color=colour, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), labels=[_named(one) for one in rows][::-1], fontsize=9)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlim(-0.02, max(0.3, axes.get_xlim()[1]))
    axes.set_xlabel("share of people whose stage changes; filled: usual strength, verdict")
    axes.set_title("What is no disease", fontsize=11, loc="left")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def _named(one: Section) -> str:
    if one["reason"] or not one["unit"]:
        return plain(one["title"])
    strengths = ", ".join(f"{each['strength']:g}" for each in one["strengths"])
    return f"{plain(one['title'])}\n{strengths} {one['unit']}"


def _find(curves: list[Section]) -> Section | None:
    return next((one for one in curves if one["name"] == _ALL), None)


def _reason(curves: list[Section]) -> str:
    curve = _find(curves)
    return "not asked" if curve is None else str(curve["reason"])


def _nothing(axes: Any, reason: str) -> None:
    axes.clear()
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, "\n".join(wrapped(reason, 4.5, 9)), transform=axes.transAxes,
        ha="center", va="center", fontsize=9, color=_GREY,
    )  # fmt: skip
