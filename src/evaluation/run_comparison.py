"""Two or more scored runs told apart, on the people that all of them scored.

Compared is what a user gets: calibrated probabilities. AUC and labels are judged on one answer per
person (the mean log-odds over a person's rows), other metrics by resampling people with all their
rows, and folds by the corrected t test where both runs have the same ones. All p of a comparison
are one family for Holm's adjustment.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..files import atomic_file, write_json
from ..predictions import FEW_PEOPLE, Integers, as_binary, unweighted
from ..report.comparison import difference_figure, log_table, markdown, sentence
from ..report.titles import LESS_IS_BETTER
from .metrics.scores import METRICS
from .metrics.significance import (
    delong,
    holm,
    mcnemar,
    nadeau_bengio,
    paired_bootstrap,
    people_needed,
)
from .scored_runs import (
    ScoredRun,
    classes_of,
    name_runs,
    notes_about,
    read_folds,
    read_run,
    share_people,
    warnings_about,
)

logger = logging.getLogger(__name__)
SCHEMA = "compare/1"
ALPHA = 0.05
_RESAMPLED = ("balanced_accuracy", "macro_auc", "quadratic_kappa", "brier")
_BY_FOLD = ("balanced_accuracy", "macro_auc")
_WIDTH = 2 * 1.959963984540054  # of a 95 % interval, in standard errors


def compare_runs(
    folders: Sequence[str | Path], out: str | Path, n_bootstrap: int = 2000, seed: int = 0
) -> Iterator[Path]:
    """Compare the runs in `folders`, log the table, and write what comes out into `out`.

    Args:
        folders: Two or more folders of results, each with ``metrics.json`` and ``people.csv``.
        out: Folder to write.
        n_bootstrap: Resamples of people.
        seed: Of the resampling.

    Yields:
        ``compare.json``, ``compare.md`` and ``compare.png``.
    """
    out, places = Path(out), [Path(one) for one in folders]
    names = name_runs(places)
    runs = [read_run(folder, name) for folder, name in zip(places, names, strict=True)]
    result = compare(runs, n_bootstrap, seed)
    for warning in result["warnings"]:
        logger.warning("WARNING: %s", warning)
    logger.info("%s", log_table(result))
    yield write_json(out / "compare.json", result)
    with atomic_file(out / "compare.md", "w") as file:
        file.write(markdown(result))
    yield out / "compare.md"
    yield difference_figure(out / "compare.png", result)


def compare(runs: Sequence[ScoredRun], n_bootstrap: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Compare every pair of runs on the people that all have.

    Returns:
        What ``compare.json`` holds; differences are the pair's ``a`` minus ``b``.
    """
    shared = share_people(runs)
    labels = shared[0].people.labels
    pairs: list[dict[str, Any]] = []
    for a, b in itertools.combinations(shared, 2):
        by_fold, fold_rows = _compare_folds(a, b)
        rows = [*_compare_people(a, b, n_bootstrap, seed)]
        rows += [*_compare_resampled(a, b, n_bootstrap, seed), *fold_rows]
        pair = {"a": a.name, "b": b.name, "doubtful": a.is_doubtful or b.is_doubtful}
        pairs.append(pair | {"by_fold": by_fold, "comparisons": rows})
    every = [(pair, row) for pair in pairs for row in pair["comparisons"]]
    p_values = [row["p"] for _, row in every]
    family = sum(p is not None for p in p_values)
    for (pair, row), p in zip(every, holm(p_values), strict=True):
        row |= {"p_holm": p, "few_people": _rests_on_few(labels, row["metric"])}
        _conclude(row, pair, len(labels), family)
    return {
        "schema": SCHEMA,
        "runs": [_describe(one) for one in runs],
        "n_people": len(labels),
        "n_demented": int((labels > 0).sum()),
        "classes": classes_of(runs),
        "warnings": [*warnings_about(runs), *_too_few_resamples(n_bootstrap, family)],
        "notes": notes_about(runs, shared),
        "pairs": pairs,
        "settings": {"family": family, "alpha": ALPHA, "n_bootstrap": n_bootstrap, "seed": seed},
    }


def _compare_people(
    a: ScoredRun, b: ScoredRun, n_bootstrap: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Compare AUC and accuracy on one answer per person."""
    odds = [as_binary(one.people).logits for one in (a, b)]
    # Equal odds that differ by rounding errors are ties, as they are in every AUC of a run.
    scores = [(logits[:, 1] - logits[:, 0]).round(9) for logits in odds]
    auc = delong(a.people.labels > 0, *scores)
    values = (auc["auc_a"]["value"], auc["auc_b"]["value"])
    yield _row("auc_demented", "delong", values, auc["difference"], auc["p"], z=auc["z"])
    right = [one.people.predicted == one.people.labels for one in (a, b)]
    only = mcnemar(*right)
    accuracy = {"accuracy": METRICS["accuracy"]}
    found = paired_bootstrap(a.people, b.people, accuracy, n_bootstrap, seed)["accuracy"]
    yield _row("accuracy", "mcnemar", [float(one.mean()) for one in right], found, **only)


def _compare_resampled(
    a: ScoredRun, b: ScoredRun, n_bootstrap: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Compare metrics of all rows."""
    metrics = {name: METRICS[name] for name in _RESAMPLED}
    if a.rows.num_classes == 2:
        del metrics["macro_auc"]  # of two classes it is the AUC that DeLong's test compares
    found = paired_bootstrap(a.rows, b.rows, metrics, n_bootstrap, seed)
    for name, difference in found.items():
        values = [float(metrics[name](unweighted(one.rows))[0]) for one in (a, b)]
        yield _row(name, "bootstrap", values, difference, difference["p"])


def _compare_folds(a: ScoredRun, b: ScoredRun) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compare scores fold by fold; return what was done, or why nothing was, and the rows."""
    reason = _unlike_folds(a, b)
    sizes = None if reason else _fold_sizes(a) or _fold_sizes(b)
    if sizes is None:
        reason = reason or "there is no folds.csv that says how many train and are tested"
    if reason or sizes is None:
        return {"available": False, "reason": reason}, []
    scores, rows = [_fold_scores(one) for one in (a, b)], []
    for name in _BY_FOLD:
        both = pd.concat([table[name] for table in scores], axis=1).dropna()
        if len(both) > 1:
            first, second = (both.iloc[:, side].to_numpy(dtype=float) for side in (0, 1))
            found = nadeau_bengio(first - second, *sizes)
            values = (float(first.mean()), float(second.mean()))
            difference = {"value": found["mean"], "low": found["low"], "high": found["high"]}
            more = {"t": found["t"], "n_folds": len(both)}
            rows.append(_row(name, "corrected_t", values, difference, found["p"], **more))
    return {"available": True, "n_train": sizes[0], "n_test": sizes[1]}, rows


def _unlike_folds(a: ScoredRun, b: ScoredRun) -> str:
    """Return why the folds of two runs cannot be compared; empty where they can."""
    if {one.result["kind"] for one in (a, b)} != {"crossval"}:
        return "only two cross-validations have folds to compare"
    if a.result["crossval"]["folds_hash"] != b.result["crossval"]["folds_hash"]:
        return "the folds are not the same"
    if a.result["classes"] != b.result["classes"]:
        return "scores of folds are of different classes"
    return ""


def _fold_sizes(one: ScoredRun) -> tuple[float, float] | None:
    """Return the mean number of people of a fold who are learnt from and who are tested, if known.

    Those who choose the epoch are learnt from too.

    Raises:
        ResultError: ``folds.csv`` is not the one of the result.
    """
    path = one.folder / "folds.csv"
    if not path.is_file():
        return None
    table = read_folds(path, one.result["crossval"]["folds_hash"])
    tested = table["side"] == "test"
    n_folds = len(table[["repeat", "fold"]].drop_duplicates())
    if not tested.any() or tested.all():
        return None
    return float((~tested).sum() / n_folds), float(tested.sum() / n_folds)


def _fold_scores(one: ScoredRun) -> pd.DataFrame:
    """Return the scores of each repeat and fold, the mean over the seeds; NaN where undefined."""
    rows = [
        {"repeat": fold["repeat"], "fold": fold["fold"], **fold["metrics"]}
        for fold in one.result["crossval"]["per_fold"]
    ]
    table = pd.DataFrame(rows, columns=["repeat", "fold", *_BY_FOLD]).astype(float)
    return table.groupby(["repeat", "fold"]).mean()


def _row(
    metric: str,
    method: str,
    values: Sequence[float | None],
    difference: dict[str, Any],
    p: float | None,
    **more: Any,
) -> dict[str, Any]:
    first, second = (None if v is None or not math.isfinite(v) else v for v in values)
    return {
        "metric": metric,
        "method": method,
        "value_a": first,
        "value_b": second,
        "difference": {end: difference[end] for end in ("value", "low", "high")},
        "p": p,
        **more,
    }


def _rests_on_few(labels: Integers, metric: str) -> bool:
    """Return whether a class that the metric is an average or a ranking of has few people."""
    if metric in ("accuracy", "brier"):
        return False
    counts = np.bincount(labels > 0 if metric == "auc_demented" else labels)
    return bool(counts[counts > 0].min() < FEW_PEOPLE)


def _conclude(row: dict[str, Any], pair: dict[str, Any], n_people: int, family: int) -> None:
    """Add to a row who is better, if anyone, how many people it would take, and a sentence."""
    value, low, high = (row["difference"][end] for end in ("value", "low", "high"))
    told_apart = row["p_holm"] is not None and row["p_holm"] < ALPHA
    a_is_better = value is not None and (value > 0) != (row["metric"] in LESS_IS_BETTER)
    row["better"] = ("a" if a_is_better else "b") if told_apart else None
    row["people_needed"] = None
    if not told_apart and low is not None and row["method"] != "corrected_t":
        # The level that the smallest p of the family has to reach, whatever its rank.
        error, level = (high - low) / _WIDTH, ALPHA / max(family, 1)
        row["people_needed"] = people_needed(value, error, n_people, alpha=level)
    row["sentence"] = sentence(row, pair, n_people)


def _too_few_resamples(n_bootstrap: int, family: int) -> list[str]:
    """Warn where the smallest p that resampling can give would not outlast the adjustment."""
    if 2 / (1 + n_bootstrap) * family <= ALPHA:
        return []
    enough = math.ceil(4 * family / ALPHA / 1000) * 1000
    return [
        f"{n_bootstrap} resamples are few for {family} comparisons: a resampled p may stay above "
        f"{ALPHA} whatever the difference; --bootstrap {enough} is enough"
    ]


def _describe(one: ScoredRun) -> dict[str, Any]:
    result = one.result
    person = result["person"]
    return {
        "name": one.name,
        "folder": str(one.folder),
        **{key: result[key] for key in ("run", "dataset", "kind", "classes", "stamps")},
        "n_people": one.rows.n_people,
        "n_rows": len(one.rows.labels),
        "audit": (result["audit"] or {}).get("verdict"),
        "metrics": person["metrics"],
    }
