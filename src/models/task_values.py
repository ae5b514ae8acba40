"""What a network says beside the stage: age in years, MMSE in points, log-odds of being male.

Arrays: values ``(n, T)`` of n rows (images or people) and T tasks, in the order of their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ..config.tasks import BESIDE

Floats = NDArray[np.float64]
Line = tuple[float, float]
#: The only task that is yes or no: its value is the log-odds of M against F.
SEX = "sex"
#: People under whom a line through gaps and ages is luck.
LEAST_FOR_LINE = 10
#: Columns of ``people.csv`` and ``predictions.csv``: years, points, probability of M.
TASK_COLUMNS = {"age": "age_predicted", "mmse": "mmse_predicted", "sex": "p_sex_M"}
_RANGES = {"age": (0.0, 125.0), "mmse": (0.0, 30.0)}


@dataclass(frozen=True, eq=False)
class TaskValues:
    """What a network says of rows, beside the stage.

    Attributes:
        names: Of the tasks, of `BESIDE`.
        values: (n, T) years, points, log-odds.
        lines: (n, 2) intercept and slope of the brain-age gap by age, as the validation people of
            the network that spoke of a row have it (`gap_line`); NaN where they were too few.

    Raises:
        ValueError: Names, values and lines do not fit each other, or a value is not finite.
    """

    names: tuple[str, ...]
    values: Floats
    lines: Floats

    def __post_init__(self) -> None:
        if not self.names or [name for name in BESIDE if name in self.names] != [*self.names]:
            raise ValueError("its tasks are none, or in another order")
        shape = (len(self.lines), len(self.names))
        if self.values.shape != shape or self.lines.shape != (len(self.values), 2):
            raise ValueError("it has not a value of each task for each row")
        if not np.isfinite(self.values).all() or np.isinf(self.lines).any():
            raise ValueError("a value of a task is not finite")

    def column(self, name: str) -> Floats:
        """Return a task's (n,) values: years, points from 0 to 30, or probability of M."""
        values = self.values[:, self.names.index(name)]
        if name == SEX:
            return np.asarray(expit(values))
        return np.clip(values, *_RANGES[name])

    def per_person(self, subjects: Sequence[Any] | NDArray[Any]) -> TaskValues:
        """Return one row per person, in order of first appearance: the mean over the rows."""
        return TaskValues(
            self.names, person_means(self.values, subjects), person_means(self.lines, subjects)
        )

    def rows(self, chosen: Sequence[int] | NDArray[Any]) -> TaskValues:
        """Return the rows of these numbers, in their order."""
        return TaskValues(self.names, self.values[chosen], self.lines[chosen])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values that `from_dict` reads; its rows share one line."""
        line = self.lines[0].tolist()
        return {
            "names": list(self.names),
            "values": self.values.round(6).tolist(),
            "line": None if np.isnan(line).any() else line,
        }

    @classmethod
    def from_dict(cls, content: Any, rows: int) -> TaskValues | None:
        """Read what `to_dict` wrote; None gives None.

        Raises:
            ValueError: Or KeyError or TypeError: it is damaged, or of another number of rows.
        """
        if content is None:
            return None
        values, line = np.array(content["values"]), content["line"]
        if values.dtype.kind not in "fi" or len(values) != rows:
            raise ValueError(f"values of tasks are not numbers for each of {rows} rows")
        pair = np.array([np.nan, np.nan] if line is None else line)
        if pair.dtype.kind not in "fi" or pair.shape != (2,):
            raise ValueError("the line of the gap by age is not two numbers")
        lines = np.tile(pair.astype(np.float64), (rows, 1))
        return cls(tuple(content["names"]), values.astype(np.float64), lines)


def person_means(values: Floats, subjects: Sequence[Any] | NDArray[Any]) -> Floats:
    """Return the means ``(P, D)`` of each person's rows, in order of first appearance.

    Args:
        values: ``(n, D)``; NaN is left out of a mean, which is NaN where nothing is known.
        subjects: ``(n,)`` person of each row.
    """
    names = np.asarray(subjects, dtype=str)
    _, first, number = np.unique(names, return_index=True, return_inverse=True)
    person = first.argsort().argsort()[number]
    sums, counts = np.zeros((2, len(first), values.shape[1]))
    known = np.isfinite(values)
    np.add.at(sums, person, np.where(known, values, 0.0))
    np.add.at(counts, person, known.astype(np.float64))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def joined_values(parts: Sequence[TaskValues]) -> TaskValues:
    """Return the rows of all parts, one after the other."""
    return TaskValues(
        parts[0].names,
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.lines for part in parts]),
    )


def gap_line(age: Floats, predicted: Floats) -> Line | None:
    """Fit a line through the brain-age gap, predicted minus true age, by true age.

    Every regression says too much of the young and too little of the old, so a gap without this
    line taken away tells the age again. It is fitted to validation people of all stages.

    Sources: Beheshti et al. (2019), doi:10.1016/j.nicl.2019.102063; de Lange & Cole (2020),
    doi:10.1016/j.nicl.2020.102229.

    Args:
        age: (P,) true age in years, NaN where it is not known.
        predicted: (P,) in years.

    Returns:
        Intercept [years] and slope [years per year]; None of under `LEAST_FOR_LINE` people, or of
        people of one age.
    """
    known = np.isfinite(age)
    age, gap = age[known], (predicted - age)[known]
    if len(age) < LEAST_FOR_LINE or np.ptp(age) == 0:
        return None
    slope, intercept = np.polyfit(age, gap, 1)
    return float(intercept), float(slope)
