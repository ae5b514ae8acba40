"""Models of one study at another, as sentences, a table and a figure.

All read what ``crossdata.json`` holds, where any number may be None. Sizes are in inches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..config.own_files import read_own
from ..errors import counted
from .canvas import plain, write_figure
from .documents.markdown import escape
from .documents.markdown import table as markdown_table
from .estimates import FEW_NOTE, ends_of, is_doubtful, marked, of_metric, written
from .titles import TITLES

FILE = "crossdata.json"
METRIC = "balanced_accuracy"
_HINT = "--mode crossdata writes it again"
_BY_DARK = "dark_voxels"
_SHADE = "Blues"
#: What two columns of the table of cells are.
COLUMNS_NOTE = (
    "Minus home: less the tested study's own cross-validation, on the same people. Minus promised: "
    "less the training study's own, whose people are others."
)
#: In words, what a cell's model learnt from.
_ALL_OTHERS = "all other studies"


def read_crossdata(path: str | Path) -> dict[str, Any]:
    """Read ``crossdata.json``.

    Raises:
        ManifestError: It is damaged.
    """
    return read_own(path, "crossdata", hint=_HINT)


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Return what every cell between studies comes to, refused ones with their reason."""
    return [_sentence(cell, result) for cell in result["cells"] if cell["kind"] != "within"]


def in_short(result: Mapping[str, Any]) -> str:
    """Return in a sentence what scores are worth away from home; empty where no pair has both."""
    home, away = _means(result, None)
    if home is None or away is None:
        return ""
    told = f"The model's mean {TITLES[METRIC]} is {home:.3f} at home and {away:.3f} away"
    dark_home, dark_away = _means(result, _BY_DARK)
    if dark_home is not None and dark_away is not None:
        told += f"; that of dark voxels {dark_home:.3f} and {dark_away:.3f}"
    return f"{told}."


def _means(result: Mapping[str, Any], rival: str | None) -> tuple[float | None, float | None]:
    """Return the mean score of cross-validations, and of pairs, that have one."""
    found = []
    for kind in ("within", "pair"):
        cells = [c for c in result["cells"] if c["kind"] == kind and not c["refused"]]
        scores = [value for cell in cells if (value := _value(cell, rival)) is not None]
        known = [one["value"] for one in scores if one["value"] is not None]
        found.append(float(np.mean(known)) if known else None)
    return found[0], found[1]


def _sentence(cell: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    start = f"{_trained(cell)} to {cell['tested_on']}"
    if cell["refused"]:
        return f"{start}: refused, {cell['refused']}."
    score, counts = cell["metrics"][METRIC], cell["per_class"]
    told = f"{start}: {TITLES[METRIC]} {of_metric(METRIC, score, counts)}"
    told += f" of {counted(cell['n_people'], 'person')}"
    parts = [told, *_beside_home(cell), *_beside_dark(cell), *_trust(cell), *_again(cell)]
    if cell["dropped"]:
        dropped = counted(cell["dropped"], "person is", "people are")
        parts.append(f"{dropped} in both studies and did not train")
    if cell.get("twice"):
        parts.append(f"{counted(cell['twice'], 'person')} of two training studies trained once")
    return "; ".join(parts) + "."


def _trained(cell: Mapping[str, Any]) -> str:
    names = " and ".join(cell["trained_on"])
    return f"{_ALL_OTHERS} ({names})" if cell["kind"] == "others" else names


def _beside_home(cell: Mapping[str, Any]) -> list[str]:
    home = (cell["drift"] or {}).get("home")
    if not home or home[METRIC]["value"] is None:
        return []
    found = home[METRIC]
    return [f"{_less_or_more(found)} a model of {cell['tested_on']} itself{_sure(found)}"]


def _less_or_more(found: Mapping[str, Any]) -> str:
    value = f"{abs(found['value']):.3f}"
    if value == "0.000":
        return "as much as"
    return f"{value} {'less' if found['value'] < 0 else 'more'} than"


def _sure(found: Mapping[str, Any]) -> str:
    ends = ends_of(found)
    if ends is None:
        return ""
    tell = "" if ends[0] <= 0 <= ends[1] else ", beyond chance"
    told = f" (difference {ends[0]:+.3f} to {ends[1]:+.3f}{tell})"
    return told if tell else f"{told}, which chance can give"


def _beside_dark(cell: Mapping[str, Any]) -> list[str]:
    dark = _metrics_of(cell, _BY_DARK)
    if not dark or dark[METRIC]["value"] is None:
        return []
    return [f"dark voxels, learnt from the same people, {written(dark[METRIC])}"]


def _metrics_of(cell: Mapping[str, Any], rival: str) -> Any:
    return next((one["metrics"] for one in cell["rivals"] if one["name"] == rival), None)


def _trust(cell: Mapping[str, Any]) -> list[str]:
    slope = cell["probabilities"].get("slope", {"value": None})
    ends = ends_of(slope)
    if ends is None or ends[0] <= 1 <= ends[1]:
        return []
    word = "over-confident" if slope["value"] < 1 else "under-confident"
    return [f"probabilities are {word} there (slope {slope['value']:.2f})"]


def _again(cell: Mapping[str, Any]) -> list[str]:
    found = cell["recalibrated"]
    if not found:
        return []
    if "reason" in found:
        return [f"not calibrated again: {found['reason']}"]
    before, after = (found[name]["log_loss"]["value"] for name in ("as_it_came", "recalibrated"))
    n = counted(found["n_people"], "person")
    return [f"calibrated on {n} of it, log-loss {before:.3f} becomes {after:.3f}"]


def markdown(result: Mapping[str, Any]) -> str:
    """Return the whole as Markdown: studies, matrix, every cell, sentences."""
    lines = [f"# {escape(result['run'])}", ""]
    lines += [f"> **Warning:** {escape(stamp, 300)}\n" for stamp in result["stamps"]]
    lines += [*_safe_table(*studies_table(result)), ""]
    lines += [f"{_title()}; rows: trained on, columns: tested on.", ""]
    lines += [*_safe_table(*matrix_table(result)), ""]
    lines += [*_safe_table(*cells_table(result)), ""]
    lines += [in_short(result), ""]
    lines += [f"- {escape(line, 1000)}" for line in sentences(result)]
    lines += ["", COLUMNS_NOTE]
    if any("*" in text for row in matrix_table(result)[1] for text in row):
        lines += ["", FEW_NOTE]
    return "\n".join([*lines, ""])


def _safe_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return markdown_table([escape(one) for one in head], [[escape(c) for c in row] for row in rows])


def _title() -> str:
    return TITLES[METRIC][:1].upper() + TITLES[METRIC][1:]


def studies_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of studies."""
    head = ["study", "cohort", "people", *result["classes"], "age: least, median, most"]
    rows = [
        [
            *(one["name"], one["cohort"] or "", str(one["n_people"])),
            *(str(one["classes"].get(name, 0)) for name in result["classes"]),
            ", ".join(f"{age:.0f}" for age in one["age"]) if one["age"] else "unknown",
        ]
        for one in result["studies"]
    ]
    return head, rows


def matrix_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the matrix: a cross-validation where both studies are the same."""
    names, trained = _axes(result)
    rows = [
        [row, *(_cell_text(cell) if (cell := _cell(result, row, name)) else "" for name in names)]
        for row in trained
    ]
    return ["trained on", *names], rows


def cells_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of all cells that are not refused."""
    measures = list(next((c["metrics"] for c in result["cells"] if not c["refused"]), {}))
    if len(result["classes"]) == 2:  # one and the same
        measures = [name for name in measures if name != "auc_demented"]
    head = ["cell", "trained on n", "tested on n", *(TITLES[name] for name in measures)]
    head += ["dark voxels", "minus home", "minus promised", "slope", "log-loss"]
    rows = []
    for cell in result["cells"]:
        if cell["refused"]:
            continue
        dark = _metrics_of(cell, _BY_DARK)
        drift = cell["drift"] or {"home": None, "promised": None}
        rows.append(
            [
                *(cell["name"], str(cell["n_trained"]), str(cell["n_people"])),
                *(_estimate(name, cell) for name in measures),
                written(dark[METRIC]) if dark else "unknown",
                *(written(drift[key][METRIC], _signed) if drift[key] else "" for key in drift),
                *(written(cell["probabilities"][name]) for name in ("slope", "log_loss")),
            ]
        )
    return head, rows


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text


def _estimate(name: str, cell: Mapping[str, Any]) -> str:
    values, counts = cell["metrics"][name], cell["per_class"]
    return marked(of_metric(name, values, counts, short=True), is_doubtful(name, values, counts))


def _axes(result: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the columns and the rows of the matrix."""
    names = [one["name"] for one in result["studies"]]
    more = [_ALL_OTHERS] if any(cell["kind"] == "others" for cell in result["cells"]) else []
    return names, [*names, *more]


def _cell(result: Mapping[str, Any], row: str, column: str) -> Mapping[str, Any] | None:
    kind = "others" if row == _ALL_OTHERS else "within" if row == column else "pair"
    for cell in result["cells"]:
        same = kind == "others" or cell["trained_on"] == [row]
        if cell["kind"] == kind and cell["tested_on"] == column and same:
            return dict(cell)
    return None


def _cell_text(cell: Mapping[str, Any]) -> str:
    return "refused" if cell["refused"] else _estimate(METRIC, cell)


def matrix_figure(path: Path, result: Mapping[str, Any]) -> Path:
    """Draw the matrix of balanced accuracy, and beside it that of dark voxels.

    Args:
        path: PNG to write.
        result: What ``crossdata.json`` holds.

    Returns:
        `path`.
    """
    names, trained = _axes(result)
    width = 1.6 * len(names) + 1.6
    figure = Figure(figsize=(2 * width, 0.75 * len(trained) + 1.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    chance = 1 / len(result["classes"])
    for axes, (title, rival) in zip(
        panels, (("the model", None), ("dark voxels", _BY_DARK)), strict=True
    ):
        _draw_matrix(axes, result, names, trained, rival, chance)
        axes.set_title(title, fontsize=11)
    panels[0].set_ylabel("trained on", fontsize=11)
    panels[0].set_yticks(range(len(trained)), [plain(name, 18) for name in trained], fontsize=10)
    caption = (
        f"{_title()} per person with 95 % interval; chance is {chance:.2f}. Framed: the study's "
        "own cross-validation. Hatched: refused, as it would be no external test. "
        "In a column all answer the same people."
    )
    title = f"Trained on one study, tested on another: {result['backbone']}"
    return write_figure(figure, path, title, caption, result["stamps"])


def _draw_matrix(
    axes: Any,
    result: Mapping[str, Any],
    names: Sequence[str],
    trained: Sequence[str],
    rival: str | None,
    chance: float,
) -> None:
    shown = np.full((len(trained), len(names)), np.nan)
    for y, row in enumerate(trained):
        for x, name in enumerate(names):
            cell = _cell(result, row, name)
            found = None if cell is None or cell["refused"] else _value(cell, rival)
            if found is not None and found["value"] is not None:
                shown[y, x] = found["value"]
                _write(axes, x, y, found, chance)
            else:
                text = "refused" if cell is not None and cell["refused"] else ""
                hatch = "////" if text else ""
                axes.add_patch(_box(x, y, hatch=hatch, edgecolor="0.7"))
                axes.text(x, y, text, ha="center", va="center", fontsize=9, color="0.35")
            if row == name:
                axes.add_patch(_box(x, y, inset=0.04, edgecolor="black", linewidth=1.6))
    axes.imshow(shown, vmin=min(chance, 0.5), vmax=1, cmap=_SHADE, aspect="auto")
    axes.set_xticks(range(len(names)), [plain(name, 16) for name in names], fontsize=10)
    axes.set_xlabel("tested on", fontsize=11)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(trained) - 0.5, -0.5))


def _value(cell: Mapping[str, Any], rival: str | None) -> Any:
    metrics = cell["metrics"] if rival is None else _metrics_of(cell, rival)
    return metrics[METRIC] if metrics else None


def _write(axes: Any, x: int, y: int, found: Mapping[str, Any], chance: float) -> None:
    ends = ends_of(found)
    inside = f"\n({ends[0]:.2f} to {ends[1]:.2f})" if ends else "\n(no interval)"
    dark = found["value"] > (1 + min(chance, 0.5)) / 2
    colour = "white" if dark else "black"
    axes.text(
        x, y, f"{found['value']:.2f}{inside}", ha="center", va="center", fontsize=9, color=colour
    )


def _box(x: int, y: int, inset: float = 0.0, **look: Any) -> Rectangle:
    size = 1 - 2 * inset
    return Rectangle((x - size / 2, y - size / 2), size, size, fill=False, zorder=3, **look)
