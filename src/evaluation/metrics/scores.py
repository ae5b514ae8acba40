"""Scores of ordinal classes with intervals from resampled people. Pure NumPy.

All rows of a person are drawn together. Every metric is a function of `Weighted` predictions, so
the estimate and its resamples are one computation.

Axes: B resamples, n rows (slices or people), P people, K classes (mildest first, one stage apart).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import counted
from ...predictions import (
    FEW_PEOPLE,
    Array,
    Integers,
    Predictions,
    Weighted,
    as_binary,
    ratio,
    unweighted,
)
from ...report.estimates import (
    FEW_MARK,
    FEW_NOTE,
    Counts,
    counts_of,
    is_doubtful,
    marked,
    of_majority,
    of_metric,
    written,
)
from .intervals import Metric, estimate_and_resample, interval, wilson_interval


def recall(sample: Weighted) -> Array:
    """(B, K) share of a class that is found; undefined (NaN) for an absent class."""
    return ratio(_hits(sample), sample.confusion.sum(axis=2))


def precision(sample: Weighted) -> Array:
    """(B, K) share of a class's predictions that are right; NaN when it is never predicted."""
    return ratio(_hits(sample), sample.confusion.sum(axis=1))


def f1(sample: Weighted) -> Array:
    """(B, K) harmonic mean of recall and precision; NaN for an absent class."""
    truth, said = sample.confusion.sum(axis=2), sample.confusion.sum(axis=1)
    return np.where(truth > 0, ratio(2 * _hits(sample), truth + said), np.nan)


def quadratic_kappa(sample: Weighted) -> Array:
    """(B,) Cohen's kappa with squared distances in stages; NaN where chance makes no error.

    Source: Cohen (1968), doi:10.1037/h0026256.
    """
    confusion = sample.confusion
    squared = _distance(confusion.shape[1]) ** 2
    by_chance = np.einsum(
        "bi,ij,bj->b", confusion.sum(axis=2), squared, confusion.sum(axis=1)
    ) / confusion.sum(axis=(1, 2))
    return 1 - ratio((confusion * squared).sum(axis=(1, 2)), by_chance)


def auc_demented(sample: Weighted) -> Array:
    """(B,) AUC of CDR 0 (class 0) against > 0: of two classes, the AUC of either."""
    if sample.predictions.num_classes == 2:
        return sample.auc[:, 1]
    return Weighted(as_binary(sample.predictions), sample.weights).auc[:, 1]


def brier(sample: Weighted) -> Array:
    """(B,) squared distance between probabilities and truth, summed over classes: 0 to 2."""
    probabilities = sample.predictions.probabilities
    truth = np.eye(probabilities.shape[1])[sample.predictions.labels]
    return sample.mean(((probabilities - truth) ** 2).sum(axis=1))


def _cross_entropy(sample: Weighted) -> Array:
    own = np.take_along_axis(
        sample.predictions.log_probabilities, sample.predictions.labels[:, None], axis=1
    )
    return sample.mean(-own[:, 0])


def _share_within(sample: Weighted, stages: int) -> Array:
    near = _distance(sample.confusion.shape[1]) <= stages
    return ratio((sample.confusion * near).sum(axis=(1, 2)), sample.confusion.sum(axis=(1, 2)))


def _error_in_stages(sample: Weighted) -> Array:
    far = sample.confusion * _distance(sample.confusion.shape[1])
    return ratio(far.sum(axis=(1, 2)), sample.confusion.sum(axis=(1, 2)))


#: Name -> (B,) metric. An entry added here is scored, resampled and printed like the others.
METRICS: dict[str, Metric] = {
    "balanced_accuracy": lambda sample: _mean_over_classes(recall(sample), sample),
    "macro_auc": lambda sample: _mean_over_classes(sample.auc, sample),
    "auc_demented": lambda sample: auc_demented(sample),
    "quadratic_kappa": quadratic_kappa,
    "macro_f1": lambda sample: _mean_over_classes(f1(sample), sample),
    "accuracy": lambda sample: _share_within(sample, 0),
    "within_one": lambda sample: _share_within(sample, 1),
    "mae_stages": _error_in_stages,
    "brier": brier,
    "log_loss": _cross_entropy,
}
#: Name -> (B, K) metric of each class.
PER_CLASS: dict[str, Metric] = {
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "auc": lambda sample: sample.auc,
}
#: Metrics that are a share of people: with one row per person their interval is Wilson's.
PROPORTIONS = ("accuracy", "within_one")


def score(
    predictions: Predictions,
    classes: Sequence[str],
    train_counts: Sequence[int] | Integers,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score rows, with 95 % intervals from resampled people.

    With one row per person (`per_person`), shares of people have Wilson's interval; all else has
    the percentile interval of the bootstrap. Averages over classes are over those that have people
    here; a resample that misses one of them measures something else and is left out.

    Args:
        predictions: One row per person, or several.
        classes: K names, mildest first.
        train_counts: (K,) people of each class in training, which name the majority class.
        n_bootstrap: Resamples of people.
        seed: Same seed, same intervals.

    Returns:
        Values that JSON can hold, None where something is undefined: ``n_people``, ``n_rows``,
        ``metrics``, ``per_class``, ``confusion`` (rows: truth), ``majority`` and ``notes``.
    """
    k, n_rows = predictions.num_classes, len(predictions.labels)
    if len(classes) != k or len(train_counts) != k:
        raise ValueError(f"{len(classes)} classes and {len(train_counts)} counts for {k} logits")
    values = estimate_and_resample(predictions, [METRICS, PER_CLASS], n_bootstrap, seed)
    confusion = unweighted(predictions).confusion[0].astype(int)
    metrics = {name: interval(*values[name]) for name in METRICS}
    for name in PROPORTIONS if predictions.by_person else ():
        metrics[name] = wilson_interval(round(metrics[name]["value"] * n_rows), n_rows)
    per_class = {
        name: _score_class(predictions, values, confusion[c], c) for c, name in enumerate(classes)
    }
    majority = int(np.argmax(train_counts))
    return {
        "n_people": predictions.n_people,
        "n_rows": n_rows,
        "metrics": metrics,
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "majority": {
            "class": classes[majority],
            **_score_constant(predictions, majority, n_bootstrap, seed),
        },
        "notes": _notes(per_class, confusion),
    }


def format_table(result: dict[str, Any], classes: Sequence[str], unit: str = "images") -> str:
    """Return a result of `score` as aligned text for the log; `unit` is what several rows are."""
    n_people, n_rows, counts = result["n_people"], result["n_rows"], counts_of(result)
    images = "" if n_rows == n_people else f"{n_rows} {unit} of "
    lines = [f"scored on {images}{counted(n_people, 'person')}, with 95 % intervals"]
    for name, values in result["metrics"].items():
        if not (name == "within_one" and len(classes) == 2):  # two classes are never further apart
            lines.append(f"  {name:<20}{_in_log(name, values, counts)}")
    lines.append(f"  always {result['majority']['class']}, the most frequent in training")
    for name, values in of_majority(result).items():
        lines.append(f"    {name:<18}{_in_log(name, values, counts)}")
    width = max(map(len, classes)) + 2
    for c, name in enumerate(classes):
        row = result["confusion"][c]
        lines.append(f"  {name:<{width}}{_format_class(result['per_class'][name], row[c])}")
    if any(line.endswith(FEW_MARK) for line in lines):
        lines.append(f"  {FEW_NOTE}")
    return "\n".join([*lines, *(f"  note: {note}" for note in result["notes"])])


def _format_class(values: dict[str, Any], correct: int) -> str:
    if not values["n_rows"]:
        return str(values["note"])
    text = f"recall {correct}/{values['n_rows']}"
    low, high = values["recall"]["low"], values["recall"]["high"]
    if low is not None:
        text += f" ({100 * low:.0f}-{100 * high:.0f} %)"
    if values["few_people"]:
        return f"{text}, {counted(values['n_people'], 'person')}, too few: AUC not estimable"
    return f"{text}, AUC {written(values['auc'])}"


def _in_log(name: str, values: Any, counts: Counts) -> str:
    return marked(of_metric(name, values, counts), is_doubtful(name, values, counts))


def _score_class(
    predictions: Predictions, values: dict[str, tuple[Array, Array]], row: Integers, c: int
) -> dict[str, Any]:
    """Return one class's entry; with few people only the counts and Wilson's interval remain.

    `row` is the class's row of the confusion matrix.
    """
    n_rows, correct = int(row.sum()), int(row[c])
    n_people = len(np.unique(predictions.people[predictions.labels == c]))
    few = n_people < FEW_PEOPLE
    undefined = interval(np.nan, np.empty(0))
    scores = {
        name: undefined if few else interval(values[name][0][c], values[name][1][:, c])
        for name in PER_CLASS
    }
    if predictions.n_people - n_people < FEW_PEOPLE:
        scores["auc"] = undefined  # it compares with the others, who are as few
    if predictions.by_person and n_rows:
        scores["recall"] = wilson_interval(correct, n_rows)
    unit = "people" if predictions.by_person else f"images of {counted(n_people, 'person')}"
    note = f"{correct} of {n_rows} {unit}; under {FEW_PEOPLE}: not estimable" if few else ""
    return {
        "n_people": n_people,
        "n_rows": n_rows,
        **scores,
        "few_people": few,
        "note": note if n_people else "no people in test",
    }


def _score_constant(
    predictions: Predictions, c: int, n_bootstrap: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Score the answer "everyone is of class `c`" on the same people."""
    always = np.tile(np.eye(predictions.num_classes)[c], (len(predictions.labels), 1))
    rows = replace(predictions, logits=always)
    measure = {name: METRICS[name] for name in ("accuracy", "balanced_accuracy")}
    values = estimate_and_resample(rows, [measure], n_bootstrap, seed)
    scores = {name: interval(*values[name]) for name in measure}
    if rows.by_person:
        scores["accuracy"] = wilson_interval(int((rows.labels == c).sum()), len(rows.labels))
    return scores


def _notes(per_class: dict[str, dict[str, Any]], confusion: Integers) -> list[str]:
    few = [
        f"{name} ({values['n_people']})"
        for name, values in per_class.items()
        if 0 < values["n_people"] < FEW_PEOPLE
    ]
    notes = []
    if few:
        notes.append(
            f"few people were scored of {', '.join(few)}; an average over classes weighs every "
            "class alike, so a few people move it far"
        )
    notes += [f"{name}: {v['note']}" for name, v in per_class.items() if not v["n_people"]]
    if np.trace(confusion) == confusion.sum():
        notes.append("no error was made: resampling cannot tell how rare errors are")
    return notes


def _hits(sample: Weighted) -> Array:
    hits: Array = np.diagonal(sample.confusion, axis1=1, axis2=2)
    return hits


def _distance(k: int) -> Integers:
    """(K, K) distance between two classes, in stages."""
    distance: Integers = np.abs(np.arange(k)[:, None] - np.arange(k))
    return distance


def _mean_over_classes(values: Array, sample: Weighted) -> Array:
    """(B, K) -> (B,) mean over the classes of the rows; NaN for a resample that misses one."""
    mean: Array = values[:, np.unique(sample.predictions.labels)].mean(axis=1)
    return mean
