"""How a comparison of runs is shown: in sentences, as a table and as a forest plot.

All read what ``compare.json`` holds, where anything may be None. Sizes are in inches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .canvas import plain, write_figure
from .estimates import ends_of, written
from .titles import LESS_IS_BETTER, TITLES

METHODS = {
    "delong": "DeLong",
    "mcnemar": "exact McNemar",
    "bootstrap": "people resampled",
    "corrected_t": "corrected t over folds",
}
_HEADINGS = ("metric", "A", "B", "A - B (95 % interval)", "p", "p (Holm)", "test")
#: Told apart and not: by fill as well as colour, so a grey print can be read.
_CLEAR, _UNCLEAR = "#0173b2", "0.35"
_ROW = 0.3  # inches


def sentence(row: Mapping[str, Any], pair: Mapping[str, Any], n_people: int) -> str:
    """Say what a row of a comparison means: who is better by how much, or what it would take.

    Args:
        row: One of the pair's ``comparisons``, but for its ``sentence``.
        pair: With the names ``a`` and ``b``, and whether one of them is ``doubtful``.
        n_people: People of the comparison.
    """
    a, b, difference, title = pair["a"], pair["b"], row["difference"], _title(row)
    value = difference["value"]
    if value is None:
        return f"{title}: not defined on these people"
    if not row["better"]:
        text = f"{title}: cannot tell {a} and {b} apart: difference {_interval(difference)}"
        if row["p_holm"] is None:
            return f"{text}, with no variance to judge it by"
        needed = row["people_needed"]
        if needed is None:
            return f"{text}, {_p_holm(row)}"
        about = f"about {_rounded(needed)} people" if needed > n_people else "a few more people"
        return f"{text}, {_p_holm(row)}; to see a true one of this size would take {about}"
    better, worse = (a, b) if row["better"] == "a" else (b, a)
    by = _interval(_turned(difference) if value < 0 else difference)
    less = " (less is better)" if row["metric"] in LESS_IS_BETTER else ""
    doubt = "; but see the warnings" if pair["doubtful"] else ""
    return f"{title}: {better} is better than {worse} by {by}{less}, {_p_holm(row)}{doubt}"


def markdown(result: Mapping[str, Any]) -> str:
    """Return a comparison as Markdown: warnings, runs, and each pair's table and sentences."""
    lines = [f"# {' v '.join(_cell(run['name']) for run in result['runs'])}", ""]
    lines += [f"> **Warning:** {_cell(text)}\n" for text in result["warnings"]]
    lines += [_people(result), ""]
    lines += _table(("run", "data set", "result", "people", "answers", "classes"), _runs(result))
    for pair in result["pairs"]:
        lines += ["", f"## A = {_cell(pair['a'])}, B = {_cell(pair['b'])}", ""]
        lines += _table(_HEADINGS, [_cells(row) for row in pair["comparisons"]])
        lines += ["", *(f"- {_cell(row['sentence'])}" for row in pair["comparisons"])]
        if not pair["by_fold"]["available"]:
            lines.append(f"- not compared fold by fold: {pair['by_fold']['reason']}")
    return "\n".join([*lines, "", *(f"- Note: {_cell(text)}" for text in _notes(result)), ""])


def log_table(result: Mapping[str, Any]) -> str:
    """Return a comparison as aligned text, with its sentences."""
    lines = [_people(result)]
    for pair in result["pairs"]:
        rows = [_HEADINGS, *(_cells(row) for row in pair["comparisons"])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines.append(f"A = {pair['a']}, B = {pair['b']}")
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(f"  {'  '.join(cells).rstrip()}")
        lines += [f"  {row['sentence']}" for row in pair["comparisons"]]
    return "\n".join([*lines, *(f"note: {text}" for text in _notes(result))])


def difference_figure(path: Path, result: Mapping[str, Any]) -> Path:
    """Draw every difference with its interval, turned so that the better run is to the right.

    Args:
        path: PNG to write.
        result: What ``compare.json`` holds.

    Returns:
        `path`.
    """
    n_rows = sum(len(pair["comparisons"]) + 2 for pair in result["pairs"])
    figure = Figure(figsize=(9.5, max(1.8, _ROW * n_rows + 0.7)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.55", linewidth=1, zorder=1)
    at, reach = 0.0, 0.01
    for pair in result["pairs"]:
        _head(axes, at, pair)
        for row in pair["comparisons"]:
            at -= 1
            reach = max(reach, _draw_row(axes, at, row))
        at -= 2
    axes.set(xlim=(-1.08 * reach, 1.08 * reach), ylim=(at + 1.3, 0.9), yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(6, symmetric=True))
    axes.set_xlabel("A - B, with 95 % interval", fontsize=11)
    axes.tick_params(labelsize=10)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["left", "right", "top"]].set_visible(False)
    names = [run["name"] for run in result["runs"]]
    title = f"{plain(names[0], 30)} v {plain(names[1], 30)}" if len(names) == 2 else "All pairs"
    named = f"A: {names[0]}; B: {names[1]}. " if len(names) == 2 else ""
    settings = result["settings"]
    caption = (
        f"{named}{_people(result)} Filled: told apart, p under {settings['alpha']:g} after "
        f"Holm's adjustment for {settings['family']} comparisons. Open: cannot be told "
        "apart. Squares: by fold. Intervals are not adjusted."
    )
    return write_figure(figure, path, title, caption, result["warnings"])


def _head(axes: Any, at: float, pair: Mapping[str, Any]) -> None:
    """Write above a pair's rows which side is whose."""
    style = {"fontsize": 10, "fontweight": "bold", "va": "center"}
    sides = (
        (0.48, "right", f"← {plain(pair['b'], 32)} (B) is better"),
        (0.52, "left", f"{plain(pair['a'], 32)} (A) is better →"),
    )
    for x, side, text in sides:
        axes.text(x, at + 0.15, text, transform=axes.get_yaxis_transform(), ha=side, **style)


def _draw_row(axes: Any, at: float, row: Mapping[str, Any]) -> float:
    """Draw one difference, in A's favour to the right; return how far it reaches from 0."""
    less = row["metric"] in LESS_IS_BETTER
    shown = _turned(row["difference"]) if less else row["difference"]
    style = {"va": "center", "fontsize": 10}
    across = axes.get_yaxis_transform()  # x from 0 to 1 over the plot, y at the row
    name = _title(row) + (" (B - A)" if less else "")
    axes.text(-0.02, at, name, ha="right", transform=across, **style)
    bold = style | {"fontweight": "bold" if row["better"] else None}
    said = "" if row["p_holm"] is None else _p_holm(row)
    for text, points in ((_interval(shown), 8), (said, 168)):
        axes.annotate(text, (1, at), (points, 0), across, "offset points", **bold)
    if shown["value"] is None:
        return 0.0
    colour = _CLEAR if row["better"] else _UNCLEAR
    ends = ends_of(shown) or ()
    axes.plot(ends, [at] * len(ends), color=colour, linewidth=1.8, zorder=3)
    axes.plot(
        shown["value"], at, "s" if row["method"] == "corrected_t" else "o", markersize=7,
        color=colour, markerfacecolor=colour if row["better"] else "white",
        markeredgewidth=1.5, zorder=4,
    )  # fmt: skip
    return float(max(map(abs, [shown["value"], *ends])))


def _turned(difference: Mapping[str, Any]) -> dict[str, Any]:
    """Return the difference with its sign reversed."""
    value, low, high = (
        None if difference[end] is None else -difference[end] for end in ("value", "low", "high")
    )
    return {"value": value, "low": high, "high": low}


def _title(row: Mapping[str, Any]) -> str:
    return TITLES[row["metric"]] + (", by fold" if row["method"] == "corrected_t" else "")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one comparison as the cells of a table under `_HEADINGS`."""
    values = ["-" if row[key] is None else f"{row[key]:.3f}" for key in ("value_a", "value_b")]
    p_values = [_p(row["p"]), _p(row["p_holm"])]
    test = METHODS[row["method"]]
    if row["method"] == "mcnemar":
        test += f" ({row['only_a']} v {row['only_b']})"
    name = _title(row) + (" (few people)" if row["few_people"] else "")
    return (name, *values, _interval(row["difference"]), *p_values, test)


def _runs(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for run in result["runs"]:
        answers = f"{run['n_rows'] / run['n_people']:.3g} per person"
        classes = str(len(run["classes"]))
        yield run["name"], run["dataset"], run["kind"], str(run["n_people"]), answers, classes


def _table(headings: tuple[str, ...], rows: Any) -> list[str]:
    lines = [headings, ("---",) * len(headings), *rows]
    return [f"| {' | '.join(map(_cell, line))} |" for line in lines]


def _people(result: Mapping[str, Any]) -> str:
    n, demented = result["n_people"], result["n_demented"]
    return f"{n} people that all runs scored, {n - demented} at CDR 0 and {demented} above."


def _notes(result: Mapping[str, Any]) -> list[str]:
    many = f"{result['settings']['family']} comparisons are one family for Holm's adjustment"
    return [many, "intervals are of 95 % each, not adjusted", *result["notes"]]


def _interval(values: Mapping[str, Any]) -> str:
    return "not defined" if values["value"] is None else written(values)


def _p(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _p_holm(row: Mapping[str, Any]) -> str:
    text = _p(row["p_holm"])
    return f"p (Holm) {text if text.startswith('<') else f'= {text}'}"


def _rounded(n: int) -> str:
    """Return two digits of a number of people: 12,345 -> ``12,000``."""
    return f"{float(f'{n:.2g}'):,.0f}"


def _cell(text: str) -> str:
    """Return text that cannot break out of its line or its cell in a table."""
    return " ".join(text.split()).replace("|", "\\|")
