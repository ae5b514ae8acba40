"""The confusion matrix and the ROC curves of a result.

K classes. Sizes are in inches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.transforms import ScaledTranslation

from ...predictions import FEW_PEOPLE
from ..canvas import COLOURS, DRAWING, new_figure, plain, write_figure
from ..estimates import written

Array = npt.NDArray[Any]
_APART = 0.04  # inches
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (7, 2, 1, 2)))


def confusion_figure(
    path: Path,
    confusion: Array,
    classes: Sequence[str],
    title: str,
    *,
    unit: str = "people",
    n_people: Sequence[int] | None = None,
    stamps: Sequence[str] = (),
) -> Path:
    """Draw counts, and the share of the true class where it has enough people.

    Args:
        path: PNG to write.
        confusion: (K, K) counts; rows are the truth.
        classes: K names.
        title: Above the figure.
        unit: What is counted: "people" or "images".
        n_people: People of each true class; default: the rows' sums.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`.
    """
    import seaborn

    confusion = np.asarray(confusion, dtype=int)
    k, totals = len(classes), confusion.sum(axis=1)
    people = totals if n_people is None else np.asarray(n_people)
    share = confusion / np.maximum(totals, 1)[:, None]
    text = np.empty((k, k), dtype=object)
    for i in range(k):
        for j in range(k):
            percent = f"\n{100 * share[i, j]:.0f} %" if people[i] >= FEW_PEOPLE else ""
            text[i, j] = f"{confusion[i, j]}{percent}"
    size = 3.0 + 0.8 * k  # as large as it is shown, so that letters can be read
    figure, axes = new_figure(size, size - 1.3)
    names = [_broken(name) for name in classes]
    with DRAWING:
        seaborn.heatmap(
            share, vmin=0, vmax=1, cmap="Blues", annot=text, fmt="", ax=axes, square=True,
            linewidths=1, linecolor="white", annot_kws={"fontsize": 11},
            cbar_kws={"label": "share of the true class", "shrink": 0.8},
            xticklabels=names,
            yticklabels=[f"{name}\nn = {n}" for name, n in zip(names, totals, strict=True)],
        )  # fmt: skip
    axes.set_xlabel(f"predicted ({unit})", fontsize=11)
    axes.set_ylabel(f"true ({unit})", fontsize=11)
    axes.tick_params(labelsize=10, length=0, rotation=0)
    few = ((people > 0) & (people < FEW_PEOPLE)).any()
    note = f"under {FEW_PEOPLE} people: counts only" if few else ""
    return write_figure(figure, path, title, note, stamps)


def roc_figure(
    path: Path,
    labels: Array,
    probabilities: Array,
    classes: Sequence[str],
    per_class: Mapping[str, Mapping[str, Any]],
    title: str,
    *,
    stamps: Sequence[str] = (),
) -> Path | None:
    """Draw one ROC curve per class against the rest; of two classes, the second one's.

    Curves on the same path can be told apart: each has dashes of its own, and stands a little to
    the right of and below the one before.

    Args:
        path: PNG to write.
        labels: (n,) true class, 0 to K-1.
        probabilities: (n, K).
        classes: K names.
        per_class: As `score` returns it: name -> ``n_people`` and ``auc`` (value, low, high). A
            class without AUC value is a thin line, and listed as not estimable.
        title: Above the figure.
        stamps: Warnings, drawn in red above the title.

    Returns:
        `path`, or None where no class has an AUC.
    """
    if all(per_class[name]["auc"]["value"] is None for name in classes):
        return None
    figure, axes = new_figure(5.6, 5.6 + 0.24 * len(classes))
    inches = figure.dpi_scale_trans
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":", label="chance")
    for c, name in enumerate(classes):
        if len(classes) == 2 and c == 0:
            continue  # the mirror image of the other
        rate = _roc(np.asarray(labels) == c, np.asarray(probabilities)[:, c])
        values = per_class[name]
        auc, n = values["auc"], values["n_people"]
        estimable = auc["value"] is not None
        said = f"not estimable (n = {n})"
        if estimable:
            text = written(auc, "{:.2f}".format, between="-", brackets="[]")
            said = f"AUC {text}, n = {n}"
        axes.plot(
            *rate,
            color=COLOURS[c % len(COLOURS)],
            linestyle=_DASHES[c % len(_DASHES)],
            linewidth=2 if estimable else 0.8,
            clip_on=False,
            transform=axes.transData + ScaledTranslation(_APART * c, -_APART * c, inches),
            label=f"{plain(name)}: {said}",
        )
    axes.set(xlim=(-0.01, 1.04), ylim=(-0.04, 1.01), aspect="equal")
    axes.set_xlabel("1 - specificity", fontsize=11)
    axes.set_ylabel("sensitivity", fontsize=11)
    axes.grid(color="0.9")
    figure.legend(
        loc="outside lower center", fontsize=10, frameon=False, handlelength=4,
        title="[95 % interval], n = people of the class;\ncurves are drawn a little apart, so that "
        "none hides another", title_fontsize=9,
    )  # fmt: skip
    return write_figure(figure, path, title, "", stamps)


def _roc(is_class: Array, probability: Array) -> tuple[Array, Array]:
    """Return false and true positive rates at every threshold; empty where undefined."""
    from sklearn.metrics import roc_curve

    if is_class.all() or not is_class.any():
        return np.empty(0), np.empty(0)
    false_rate, true_rate, _ = roc_curve(is_class, probability)
    return false_rate, true_rate


def _broken(name: str) -> str:
    """``VeryMildDemented`` -> two lines, broken before the last word."""
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z]*$)", "\n", plain(name, 24))
