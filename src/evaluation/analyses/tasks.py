"""Age, MMSE and sex beside the stage: how far off, beside rivals, and the brain-age gap by stage.

Every interval is of resampled people, all rows of a person together. Rivals learn from the same
development people: their mean, and a ridge of the shares of dark voxels.

Axes: B resamples, n rows (a person, or one per person, repeat and seed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ...data.splits import Division
from ...errors import counted
from ...models.task_values import LEAST_FOR_LINE, SEX, person_means
from ...predictions import FEW_PEOPLE, Array, Integers, Predictions
from ...report.titles import TASK_NAMES
from ..answers import Answers
from ..metrics.intervals import Interval, estimate_and_resample, interval, resample_people
from ..metrics.significance import paired_bootstrap
from .dark_voxels import PREFIX
from .rivals import missing_reason, people_table, rival_predictions

#: Unit of each task's error; of sex there is none.
UNITS = {"age": "years", "mmse": "points"}
#: Strengths of the ridge to choose from, for standardised columns.
_ALPHAS = tuple(10.0**power for power in np.arange(-2, 4.1, 0.5))
_CHUNK = 1_000_000  # weights held at once
_MEAN, _DARK = "mean", "dark_voxels"
_TITLES = {_MEAN: "mean of training people", _DARK: "{} from dark voxels"}


def task_report(
    answers: Answers, measured: pd.DataFrame, n_bootstrap: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Judge what was said beside the stage.

    Args:
        answers: With ``tasks``.
        measured: From `measure_images`.
        n_bootstrap: Resamples of people.
        seed: Same seed, same intervals.

    Returns:
        Section ``tasks`` of ``metrics.json``: an entry for each task, available or not.
    """
    assert answers.tasks is not None
    subjects = answers.raw.subjects.astype(str)
    table, truth = people_table(answers.manifest), _truth(answers)
    rest: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed}
    found = []
    for name in answers.tasks.names:
        own = truth[name].reindex(subjects).to_numpy(dtype=np.float64)
        known = np.isfinite(own)
        entry: dict[str, Any] = {"name": name}
        people = len(set(subjects[known]))
        if people < 2 or np.ptp(own[known]) == 0:
            what = "is known" if people < 2 else "is the same"
            reason = f"{name} {what} of {counted(people, 'scored person')}"
            found.append(entry | {"available": False, "reason": reason})
            continue
        rivals = _rivals(name, table, measured, answers.divisions)
        judged = _sex if name == SEX else _number
        entry |= {"available": True, "n_people": people, "few_people": people < FEW_PEOPLE}
        entry["left_out"] = len(set(subjects)) - people
        entry |= judged(name, answers, own, known, rivals, **rest)
        found.append(entry)
    return {"available": True, "tasks": found}


def _truth(answers: Answers) -> pd.DataFrame:
    """Return the answers of scored people, indexed by subject: means over their scored images."""
    key = ["subject", "session", "slice"]
    rows = answers.image_rows.merge(answers.manifest.table, on=key, how="left")
    rows["sex"] = rows["sex"].map({"F": 0.0, "M": 1.0})
    names = ("age", "mmse", "sex")
    values = np.stack(
        [rows[name].astype("Float64").to_numpy(np.float64, na_value=np.nan) for name in names], 1
    )
    people = list(dict.fromkeys(rows["subject"].astype(str)))
    return pd.DataFrame(person_means(values, rows["subject"]), people, list(names))


def _rivals(
    name: str, table: pd.DataFrame, measured: pd.DataFrame, divisions: Sequence[Division]
) -> dict[str, Array | str]:
    """Return what each rival says of the rows, or why it says nothing."""
    columns = [column for column in measured if str(column).startswith(PREFIX)]
    everyone = sorted({name for division in divisions for side in division for name in side})
    found: dict[str, Array | str] = {}
    if name != SEX:
        found[_MEAN] = _by_division(table[name], divisions, lambda y, *_: y.mean())
    reason = missing_reason(measured, columns, everyone)
    if reason is not None:
        found[_DARK] = reason
    elif name == SEX:
        found[_DARK] = _sex_from(measured[columns], table[SEX], divisions)
    else:
        found[_DARK] = _by_division(
            table[name],
            divisions,
            lambda y, train, test: _ridge(
                measured.loc[train, columns], y, measured.loc[test, columns]
            ),
        )
    return found


def _by_division(
    target: pd.Series, divisions: Sequence[Division], fit: Callable[..., Any]
) -> Array | str:
    """Return what `fit` says of all test people, from development people whose answer is known."""
    said = []
    for development, test in divisions:
        known = target.reindex(list(development)).dropna()
        if len(known) < LEAST_FOR_LINE:
            return f"{counted(len(known), 'training person')} with a known {target.name}"
        values = fit(known.to_numpy(dtype=np.float64), list(known.index), list(test))
        said.append(np.broadcast_to(values, len(test)))
    return np.concatenate(said).astype(np.float64)


def _ridge(x: pd.DataFrame, y: Array, x_test: pd.DataFrame) -> Array:
    steps = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        RidgeCV(alphas=_ALPHAS),
    )
    fitted = steps.fit(x.to_numpy(), y)
    return np.asarray(fitted.predict(x_test.to_numpy()), dtype=np.float64)


def _sex_from(x: pd.DataFrame, sex: pd.Series, divisions: Sequence[Division]) -> Array | str:
    """Return the log-odds of M of all test people; those of unknown sex are not read."""
    known = sex.dropna().astype(int)
    learnt = [
        Division([name for name in one.development if name in known.index], one.test)
        for one in divisions
    ]
    if any(len(set(known.loc[list(one.development)])) < 2 for one in learnt):
        return "training people of one sex only"
    said = rival_predictions(x, sex.fillna(0).astype(int), learnt, 2)
    return said.logits[:, 1] - said.logits[:, 0]


def _number(
    name: str,
    answers: Answers,
    truth: Array,
    known: Any,
    rivals: dict[str, Array | str],
    **rest: int,
) -> dict[str, Any]:
    """Judge years or points."""
    assert answers.tasks is not None
    said = answers.tasks.column(name)
    people = pd.factorize(answers.raw.subjects.astype(str)[known])[0]
    sides = {"model": said} | {k: v for k, v in rivals.items() if not isinstance(v, str)}
    drawn = [_scores(truth[known], side[known], people, **rest) for side in sides.values()]
    scores = dict(zip(sides, drawn, strict=True))
    entry: dict[str, Any] = {"unit": UNITS[name], "metrics": _intervals(scores["model"])}
    entry["rivals"] = []
    for key, value in rivals.items():
        one: dict[str, Any] = {"name": key, "title": _TITLES[key].format(TASK_NAMES[name])}
        if isinstance(value, str):
            entry["rivals"].append(one | {"available": False, "reason": value})
            continue
        apart = {"mae": scores["model"]["mae"] - scores[key]["mae"]}
        entry["rivals"].append(
            one
            | {"available": True, "metrics": _intervals(scores[key])}
            | {"difference": _intervals(apart)}
        )
    entry["sentence"] = _sentence(name, entry, len(set(people)))
    labels = answers.raw.labels
    entry["points"] = _of_people(answers, known, truth, said)
    entry["classes"] = [int(labels[row]) for row in _first_rows(answers, known)]
    if name == "age":
        entry["gap"] = _gap(answers, truth, known, said, **rest)
    return entry


def _sex(
    name: str,
    answers: Answers,
    truth: Array,
    known: Any,
    rivals: dict[str, Array | str],
    **rest: int,
) -> dict[str, Any]:
    """Judge the log-odds of M by the area under the ROC curve."""
    assert answers.tasks is not None
    odds = answers.tasks.values[:, answers.tasks.names.index(name)]
    metrics = {"auc": lambda rows: rows.auc[:, 1]}

    def seen(values: Array) -> Predictions:
        logits = np.stack([np.zeros(int(known.sum())), values[known]], axis=1)
        return Predictions(truth[known].astype(int), logits, answers.raw.subjects[known])

    auc = estimate_and_resample(seen(odds), [metrics], rest["n_bootstrap"], rest["seed"])["auc"]
    entry: dict[str, Any] = {"metrics": {"auc": interval(auc[0], auc[1])}, "rivals": []}
    for key, value in rivals.items():
        one: dict[str, Any] = {"name": key, "title": _TITLES[key].format(TASK_NAMES[name])}
        if isinstance(value, str):
            entry["rivals"].append(one | {"available": False, "reason": value})
            continue
        own = estimate_and_resample(seen(value), [metrics], rest["n_bootstrap"], rest["seed"])
        apart = paired_bootstrap(seen(odds), seen(value), metrics, **rest)["auc"]
        entry["rivals"].append(
            one
            | {"available": True, "metrics": {"auc": interval(*own["auc"])}}
            | {"difference": {"auc": {end: apart[end] for end in ("value", "low", "high")}}}
        )
    return entry


def _resamples(people: Integers, n_bootstrap: int, seed: int) -> Iterator[Array]:
    """Yield (b, n) row weights: first of ones, then of resampled people."""
    yield np.ones((1, len(people)))
    count = int(people.max()) + 1
    if count > 1:
        for drawn in resample_people(count, n_bootstrap, seed, max(1, _CHUNK // len(people))):
            yield drawn[:, people]


def _scores(
    truth: Array, said: Array, people: Integers, n_bootstrap: int, seed: int
) -> dict[str, Array]:
    """Return each score of the rows, then of every resample: ``(1 + B,)``.

    ``mae``: mean absolute error. ``r2``: 1 minus squared error over the spread of the truth around
    its own mean. ``r``: Pearson's correlation, NaN of a constant. ``bias``: slope of the error
    (said minus true) by the true value, 0 at best; a rival that says one number has -1.
    ``mean_error``: said minus true.
    """
    truth_, said_ = truth - truth.mean(), said - truth.mean()  # small numbers: no cancellation
    parts: list[dict[str, Array]] = []
    for weight in _resamples(people, n_bootstrap, seed):
        total = weight.sum(axis=1)

        def mean(values: Array, weight: Array = weight, total: Array = total) -> Array:
            return np.asarray(weight @ values / total)

        t, p = mean(truth_), mean(said_)
        var_t, var_p = mean(truth_**2) - t**2, mean(said_**2) - p**2
        cov = mean(truth_ * said_) - t * p
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.where(var_t > 1e-12, var_t, np.nan)
            parts.append(
                {
                    "mae": mean(np.abs(said_ - truth_)),
                    "r2": 1 - mean((said_ - truth_) ** 2) / spread,
                    "r": cov / np.sqrt(spread * np.where(var_p > 1e-9, var_p, np.nan)),
                    "bias": cov / spread - 1,
                    "mean_error": p - t,
                }
            )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _intervals(scores: dict[str, Array]) -> dict[str, Interval]:
    return {name: interval(values[0], values[1:]) for name, values in scores.items()}


def _first_rows(answers: Answers, known: Any) -> list[int]:
    """Return the first row of each person whose answer is known, in order of appearance."""
    rows = np.flatnonzero(known)
    subjects = answers.raw.subjects[rows].astype(str)
    return [int(rows[place]) for place in np.sort(np.unique(subjects, return_index=True)[1])]


def _of_people(answers: Answers, known: Any, *values: Array) -> list[list[float]]:
    """Return the mean of each of some values over a person's rows, rounded, one line a person."""
    stacked = np.stack([value[known] for value in values], axis=1)
    lines: list[list[float]] = person_means(stacked, answers.raw.subjects[known]).round(3).tolist()
    return lines


def _gap(
    answers: Answers, truth: Array, known: Any, said: Array, n_bootstrap: int, seed: int
) -> dict[str, Any]:
    """Return the brain-age gap by class: predicted minus true age, as it is and corrected.

    Corrected by the line that validation people gave (`gap_line`), whose age is the true one, so a
    corrected gap is no prediction: it needs the age.
    """
    assert answers.tasks is not None
    lines, names = answers.tasks.lines[known], answers.scheme.classes
    age, raw = truth[known], (said - truth)[known]
    corrected = raw - (lines[:, 0] + lines[:, 1] * age)
    labels = answers.raw.labels[known]
    people = pd.factorize(answers.raw.subjects.astype(str)[known])[0]
    usable = bool(np.isfinite(corrected).all())
    groups = []
    for number, name in enumerate(names):
        own = labels == number
        if not own.any():
            continue
        n = len(set(people[own]))
        group: dict[str, Any] = {"class": name, "n_people": n, "few_people": n < FEW_PEOPLE}
        for key, values in (("raw", raw), ("corrected", corrected)):
            if key == "raw" or usable:
                means = _group_means(values, own, people, n_bootstrap, seed)
                group[key] = interval(means[0], means[1:])
        groups.append(group)
    gap: dict[str, Any] = {"corrected": usable, "groups": groups}
    if not usable:
        least = f"under {LEAST_FOR_LINE} validation people of known age"
        return gap | {"reason": f"not corrected: {least}"}
    shown = np.full(len(known), np.nan)
    shown[known] = corrected
    points = [one for (one,) in _of_people(answers, known, shown)]
    line = {"intercept": float(lines[:, 0].mean()), "slope": float(lines[:, 1].mean())}
    return gap | {"line": line, "points": points}


def _group_means(values: Array, own: Any, people: Integers, n_bootstrap: int, seed: int) -> Array:
    """Return the mean of some rows, then of every resample; NaN where none was drawn."""
    means = []
    for weight in _resamples(people, n_bootstrap, seed):
        part = weight[:, own]
        with np.errstate(invalid="ignore"):
            means.append(part @ values[own] / part.sum(axis=1))
    return np.concatenate(means)


def _sentence(name: str, entry: dict[str, Any], n: int) -> str:
    """Say how far off the model is and whether it gains on its best rival."""
    off, title = f"{entry['metrics']['mae']['value']:.2f} {entry['unit']}", TASK_NAMES[name]
    text = f"{title[0].upper()}{title[1:]} is off by {off} on average in {counted(n, 'person')}"
    known = [rival for rival in entry["rivals"] if rival["available"]]
    if not known:
        return f"{text}; no rival could be fitted."
    best = min(known, key=lambda rival: float(rival["metrics"]["mae"]["value"]))
    text += f"; the best without a network, {best['title']}, by "
    text += f"{best['metrics']['mae']['value']:.2f}"
    high = best["difference"]["mae"]["high"]
    if high is not None and high < 0:
        return f"{text}: the network gains on it."
    return f"{text}: no gain of the network is shown."
