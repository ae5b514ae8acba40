"""How a training went: losses by epoch, or by the penalty of a frozen model's head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..canvas import COLOURS, new_figure, write_figure
from ..titles import TITLES

#: The second line is drawn upon the first, which still shows beside it where both are one.
_LOOKS: tuple[dict[str, Any], ...] = (
    {"marker": "o", "linestyle": "-", "linewidth": 2.6, "markersize": 6, "color": COLOURS[0]},
    {"marker": "s", "linestyle": "--", "linewidth": 1.3, "markersize": 3.5, "color": COLOURS[1]},
)


def training_figure(
    path: Path,
    history: Mapping[str, Any],
    title: str = "Training",
    *,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw loss and validation score by epoch, and mark the epoch that was kept.

    Args:
        path: PNG to write.
        history: Lists ``epoch``, ``train_loss``, ``val_loss``, ``val_balanced_accuracy``,
            ``val_accuracy`` (None where unknown; all but the first two may be missing), and the
            number ``best_epoch``, one of ``epoch``. Without the scores, as of a network that does
            not learn the stage, there is no panel of them.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    losses = [("train_loss", "training"), ("val_loss", "validation")]
    scores = [(f"val_{name}", TITLES[name]) for name in ("balanced_accuracy", "accuracy")]
    panels = [losses, scores] if any(history.get(key) for key, _ in scores) else [losses]
    figure = Figure(figsize=(4.75 * len(panels), 3.8), layout="constrained")
    drawn = figure.subplots(1, len(panels), squeeze=False)[0]
    epoch = list(history["epoch"])
    for axes, lines in zip(drawn, panels, strict=True):
        for (key, name), look in zip(lines, _LOOKS, strict=True):
            _history_line(axes, epoch, history.get(key), name, look)
        if history.get("best_epoch") in epoch:
            best = history["best_epoch"]
            axes.axvline(best, color="0.4", linestyle=":", zorder=1, label=f"best epoch: {best}")
        axes.set_xlabel("epoch", fontsize=11)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_xlim(min(epoch, default=0) - 0.5, max(epoch, default=1) + 0.5)
        axes.grid(color="0.9")
        if axes.lines:
            axes.legend(fontsize=9)
    drawn[0].set_ylabel("loss", fontsize=11)
    for score in drawn[1:]:
        score.set_ylabel("validation, per person", fontsize=11)
        score.set_ylim(-0.05, 1.05)  # a mark at 0 or 1 is drawn whole
    return write_figure(figure, path, title, "", stamps)


def penalty_figure(
    path: Path,
    history: Mapping[str, Any],
    title: str = "Head of a frozen backbone",
    *,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw the loss of people left out by the penalty of the head's weights, and mark the choice.

    Args:
        path: PNG to write.
        history: Lists ``strength`` and ``val_loss``, and ``best_strength``, one of them.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    figure, axes = new_figure(5.6, 3.8)
    axes.plot(history["strength"], history["val_loss"], "o-", markersize=4, color=COLOURS[1])
    best = history["best_strength"]
    axes.axvline(best, color="0.4", linestyle=":", zorder=1, label=f"chosen: {best:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("penalty of the weights", fontsize=11)
    axes.set_ylabel("loss of people left out", fontsize=11)
    axes.grid(color="0.9")
    axes.legend(fontsize=9)
    return write_figure(figure, path, title, "", stamps)


def _history_line(
    axes: Any,
    epoch: list[int],
    values: Sequence[float | None] | None,
    name: str,
    look: Mapping[str, Any],
) -> None:
    if values:
        axes.plot(epoch[: len(values)], values, label=name, **look)
