"""Scored runs side by side: find them, read them, keep the people all have, say how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config.own_files import Column, read_table
from ..data.splits import hash_of_table
from ..errors import ConfigError, DataNotFoundError, counted
from ..manifest import SPLITS
from ..predictions import FEW_PEOPLE, Predictions, as_binary, per_person, take_rows
from ..report.find_run import how_to_have, is_crossdata
from ..report.metrics_schema import ResultError, read_metrics
from ..report.own_results import read_people

#: Fewer shared people than this are not compared at all.
FEWEST_PEOPLE = 10
_FOLDS = "the same --mode crossval command writes it again"
_AGAIN = "python main.py --mode evaluate writes it (--mode crossval for a cross-validation)"


@dataclass(frozen=True)
class ScoredRun:
    """What a run left in its folder of results.

    Attributes:
        name: As it is called in words, tables and figures.
        folder: Where it lies.
        result: What ``metrics.json`` holds.
        rows: Logarithms of the calibrated probabilities, which all scores of a run are of: one row
            per person, or one per person, repeat and seed.
    """

    name: str
    folder: Path
    result: dict[str, Any]
    rows: Predictions

    @cached_property
    def people(self) -> Predictions:
        """One row per person, in order of their names: the mean log-odds over the person's rows."""
        people = per_person(self.rows)
        return take_rows(people, people.subjects.argsort())

    @property
    def audit_failed(self) -> bool:
        """Whether an audit of the run was made and ended in FAIL."""
        return (self.result["audit"] or {}).get("verdict") == "FAIL"

    @property
    def is_doubtful(self) -> bool:
        """Whether the run's scores may be better than what it would do for new people."""
        return self.audit_failed or bool(self.result["stamps"])

    def of(self, subjects: Sequence[str], *, binary: bool) -> ScoredRun:
        """Return the run as if it had scored no one else; `binary` merges all classes above 0."""
        rows = take_rows(self.rows, np.isin(self.rows.subjects, subjects))
        return replace(self, rows=as_binary(rows) if binary else rows)


def find_run(results_dir: str | Path, name: str) -> Path:
    """Return the folder of a run: a name below `results_dir`, or a path.

    Raises:
        DataNotFoundError: There is no such run; the message names the nearest ones.
    """
    results_dir = Path(results_dir)
    for folder in (results_dir / name, Path(name)):
        if (folder / "metrics.json").is_file():
            return folder
    if is_crossdata(results_dir / name):
        raise DataNotFoundError(
            results_dir / name / "metrics.json",
            hint=f"{name} compares its models itself: python main.py --mode report --run {name}",
        )
    known = [path.parent.name for path in results_dir.glob("*/metrics.json")]
    hint = how_to_have(results_dir, name, known) or _AGAIN
    raise DataNotFoundError(results_dir / name / "metrics.json", hint=hint)


def name_runs(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder: its own, with its parent's where two are alike.

    Raises:
        ConfigError: A folder is given twice.
    """
    places = [folder.resolve() for folder in folders]
    for place in places:
        if places.count(place) > 1:
            raise ConfigError(f"{place.name} is given twice", hint="name two different runs")
    short = [place.name for place in places]
    long = [f"{place.parent.name}/{place.name}" for place in places]
    if len(set(long)) < len(long):
        long = [str(place) for place in places]
    return short if len(set(short)) == len(short) else long


def read_run(folder: str | Path, name: str) -> ScoredRun:
    """Read ``metrics.json`` and ``people.csv`` of a run.

    Raises:
        DataNotFoundError: One of them is missing.
        ResultError: One of them is damaged or too old, or gives a person two classes.
    """
    folder = Path(folder)
    result, path = read_metrics(folder / "metrics.json"), folder / "people.csv"
    if not path.is_file():
        raise DataNotFoundError(path, hint=_AGAIN)
    rows = _as_predictions(read_people(path, result), result["classes"])
    return ScoredRun(name, folder, result, rows)


def _as_predictions(table: pd.DataFrame, classes: Sequence[str]) -> Predictions:
    labels = table["class"].map({name: c for c, name in enumerate(classes)}).to_numpy(dtype=int)
    p = table[[f"p_{name}" for name in classes]].to_numpy(dtype=float)
    logs = np.log(np.maximum(p, np.finfo(float).tiny))  # a p of 0 is one too small to write
    return Predictions(labels, logs, table["subject"].to_numpy(dtype=str))


def read_folds(path: str | Path, hashed: str) -> pd.DataFrame:
    """Read ``folds.csv``: ``repeat, fold, subject, side``.

    Args:
        path: Of the file.
        hashed: What ``metrics.json`` says of it: any change of any row gives another.

    Raises:
        ResultError: It is damaged, or of other folds.
    """
    columns = dict.fromkeys(("repeat", "fold"), Column("whole", low=0))
    columns |= {"subject": Column(), "side": Column(among=SPLITS)}
    key = ("repeat", "fold", "subject")
    table = read_table(path, columns, hint=_FOLDS, key=key, error=ResultError)
    if hash_of_table(table) != hashed:
        raise ResultError(f"{path} has other folds than metrics.json", hint=_FOLDS)
    return table


def share_people(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """Return the runs with the people that all have, as CDR 0 v > 0 where their classes differ.

    Raises:
        ConfigError: Under `FEWEST_PEOPLE` people are in all runs.
        ResultError: Two runs disagree on a person's class.
    """
    binary = len({tuple(run.result["classes"]) for run in runs}) > 1
    if len({run.result["classes"][0] for run in runs}) > 1:
        raise ConfigError("the runs' mildest classes differ", hint="compare runs of one task")
    shared = sorted(set.intersection(*(set(run.rows.subjects.tolist()) for run in runs)))
    if len(shared) < FEWEST_PEOPLE:
        raise ConfigError(
            f"{counted(len(shared), 'person is', 'people are')} in all of "
            f"{', '.join(run.name for run in runs)}; "
            f"under {FEWEST_PEOPLE} tell nothing apart",
            hint="compare runs on the same people, such as two cross-validations of one data set",
        )
    kept = [run.of(shared, binary=binary) for run in runs]
    for run in kept[1:]:
        differs = np.flatnonzero(run.people.labels != kept[0].people.labels)
        if differs.size:
            subject = shared[differs[0]]
            both = f"{kept[0].name} and {run.name}"
            raise ResultError(
                f"{both} disagree on the class of {counted(differs.size, 'person')}, such as "
                f"{subject}",
                hint="score both on the same table",
            )
    return kept


def warnings_about(runs: Sequence[ScoredRun]) -> list[str]:
    """Return sentences on what makes the comparison of these runs unfair or doubtful."""
    found = [
        f"{run.name} carries the stamp: {stamp}" for run in runs for stamp in run.result["stamps"]
    ]
    found += [f"the audit of {run.name} failed" for run in runs if run.audit_failed]
    found += _split_differently(runs)
    answers = {run.name: round(len(run.rows.labels) / run.rows.n_people) for run in runs}
    if len(set(answers.values())) > 1:
        said = ", ".join(f"{name} {n}" for name, n in answers.items())
        found.append(
            f"answers per person differ ({said}): AUC and accuracy are of the person's mean "
            "answer, and the mean of several is better than one"
        )
    return found


def notes_about(runs: Sequence[ScoredRun], shared: Sequence[ScoredRun]) -> list[str]:
    """Return sentences on how these runs are compared; `shared` is what `share_people` made."""
    notes, people = [], shared[0].people
    for run in runs:
        left = run.rows.n_people - len(people.labels)
        if left:
            notes.append(
                f"{left} of {run.rows.n_people} people of {run.name} are not in all runs: left out"
            )
    if any(not run.rows.by_person for run in shared):
        notes.append(
            "AUC and accuracy are of one answer per person, the mean log-odds over the person's "
            "rows; the other metrics are of all rows"
        )
    if shared[0].rows.num_classes < max(len(run.result["classes"]) for run in runs):
        notes.append("the runs' classes differ: compared as CDR 0 against > 0 only")
    for name, count in zip(classes_of(runs), np.bincount(people.labels), strict=False):
        if 0 < count < FEW_PEOPLE:
            notes.append(f"{name}: {count} of the people; averages over classes rest on few")
    return notes


def classes_of(runs: Iterable[ScoredRun]) -> list[str]:
    """Return the classes in which these runs are compared."""
    schemes = [run.result["classes"] for run in runs]
    alike = all(scheme == schemes[0] for scheme in schemes)
    return list(schemes[0]) if alike else [schemes[0][0], "Demented"]


def _split_differently(runs: Sequence[ScoredRun]) -> list[str]:
    """Say which runs do not learn from, or are not tested on, the same people."""
    groups: dict[Any, list[str]] = {}
    for run in runs:
        groups.setdefault(_split_of(run), []).append(run.name)
    if len(groups) < 2:
        return []
    kinds, parts, _ = (len(set(values)) for values in zip(*groups, strict=True))
    why = "not the same numbers of training people"
    if kinds > 1:
        why = "some are tested out of fold, others on one test part"
    elif parts > 1:
        crossval = runs[0].result["kind"] == "crossval"
        why = "not the same folds" if crossval else "not the same test people"
    return [f"people were split differently ({why}): {' | '.join(map(', '.join, groups.values()))}"]


def _split_of(run: ScoredRun) -> tuple[str, str, str]:
    """Return the kind of result, who is tested and how many trained, as far as a result tells."""
    kind = run.result["kind"]
    if kind == "crossval":
        return kind, run.result["crossval"]["folds_hash"], ""
    tested = "\n".join(sorted(set(run.rows.subjects.tolist())))
    if run.result.get("external"):  # its people are all tested, and none of them trained it
        return kind, tested, f"of {run.result['external']['trained_on']}"
    counts = run.result["people"]["train"]
    trained = f"{counts.get(run.result['classes'][0])} of {sum(counts.values())}"
    return kind, tested, trained
