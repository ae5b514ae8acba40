"""Does something that is no anatomy give the class away: size, format, header, background, light?

For each attribute alone, classes are guessed from its values: a person is given the class whose
other people share these values most. Guesses are cross-validated by person, and compared with those
for labels that were shuffled among people.

Axes: U units (people, or what stands for them), A values of an attribute, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..labels import LABELS
from ..report.canvas import plain
from .verdicts import FAIL, NOT_KNOWN, PASS, WARN, Check

#: Attributes that no illness changes; a class they give away makes the set useless as it is.
OF_FORMAT = {
    "size": "image size",
    "mode": "pixel type",
    "format": "file format",
    "header": "header fields",
    "background": "background level",
}
#: Attributes that anatomy changes too: atrophy is dark, and compresses differently.
OF_LIGHT = {"file_size": "file size", "brightness": "mean brightness"}
#: Well above chance: a quarter of the way to certainty, where chance is 0.
SKILL, P_LABEL = 0.25, 0.01
_FOLDS, _PERMUTATIONS = 5, 499
_MOST_VALUES = 16
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def check_metadata(rows: pd.DataFrame, seed: int = 0) -> Check:
    """Guess the class from each attribute alone.

    Args:
        rows: ``path, label, unit, known, damaged`` and a column for each attribute of
            `OF_FORMAT` and `OF_LIGHT`.
        seed: Seed of folds and shuffles.
    """
    name = "metadata"
    read = rows[(rows["damaged"] == "") & rows["label"].notna()]
    label = _most_frequent(read)
    counts = label.value_counts()
    classes = [stage for stage in LABELS if counts.get(stage, 0) >= 2]
    if len(classes) < 2:
        return Check(name, NOT_KNOWN, "there are no two classes of two people or more")
    label = label[label.isin(classes)]
    read = read[read["unit"].isin(label.index)]
    truth = np.array([classes.index(stage) for stage in label], dtype=np.int64)
    found = {
        attribute: _guess(read, attribute, label.index, truth, seed)
        for attribute in (*OF_FORMAT, *OF_LIGHT)
    }
    numbers = {"units": len(label), "classes": classes, "attributes": found}
    # Where images stand for people, a person's own noise would be learnt as a class's.
    alone = bool((read["unit"] == read["path"]).all()) and not read["known"].all()
    noisy = alone and found["background"]["values"] > _MOST_VALUES
    fatal = set(OF_FORMAT) - ({"background"} if noisy else set())
    return _judged(name, numbers, read, fatal)


def _most_frequent(read: pd.DataFrame) -> pd.Series:
    """Return the label that each unit has most often; the first by name of several such."""
    counts = read.groupby(["unit", "label"]).size().rename("images").reset_index()
    counts = counts.sort_values(["unit", "images", "label"], ascending=[True, False, True])
    return counts.drop_duplicates("unit").set_index("unit")["label"]


def _judged(name: str, numbers: dict[str, Any], read: pd.DataFrame, fatal: set[str]) -> Check:
    found, titles = numbers["attributes"], {**OF_FORMAT, **OF_LIGHT}
    telling = [a for a, values in found.items() if values["gives_away"]]
    examples = [f"{titles[a]}: {_by_class(read, a)}" for a in telling]
    if not telling:
        varied = [titles[a] for a, values in found.items() if values["values"] > 1]
        said = f"of {', '.join(varied)}, none tells the class" if varied else "all files are alike"
        return Check(name, PASS, said, numbers)
    chance = 1 / len(numbers["classes"])
    said = "; ".join(
        f"the class follows from {titles[a]} alone (balanced accuracy "
        f"{found[a]['balanced_accuracy']:.2f}, chance {chance:.2f}, p {found[a]['p']:.3f})"
        for a in telling
    )
    return Check(name, FAIL if set(telling) & fatal else WARN, said, numbers, examples)


def _guess(
    read: pd.DataFrame, attribute: str, units: pd.Index, truth: Integers, seed: int
) -> dict[str, Any]:
    """Return the balanced accuracy of guessing by one attribute, and p where it is high."""
    codes, count = _coded(read[attribute])
    found: dict[str, Any] = {"values": int(read[attribute].nunique()), "gives_away": False}
    k = int(truth.max()) + 1
    if count < 2:
        return found | {"balanced_accuracy": 1 / k, "p": None}
    held = np.zeros((len(units), count))
    np.add.at(held, (units.get_indexer(read["unit"]), codes), 1)
    held /= held.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    observed = _balanced_accuracy(held, truth, k, rng)
    found["balanced_accuracy"] = observed
    if (observed - 1 / k) / (1 - 1 / k) < SKILL:
        return found | {"p": None}
    shuffled = [
        _balanced_accuracy(held, rng.permutation(truth), k, rng) for _ in range(_PERMUTATIONS)
    ]
    p = (1 + sum(value >= observed for value in shuffled)) / (1 + _PERMUTATIONS)
    return found | {"p": p, "gives_away": bool(p < P_LABEL)}


def _coded(values: pd.Series) -> tuple[Integers, int]:
    """Return a number for each value, and how many: rare texts and near numbers share one."""
    if values.nunique() <= _MOST_VALUES:
        codes, names = pd.factorize(values)
    elif pd.api.types.is_numeric_dtype(values):
        codes, names = pd.factorize(pd.qcut(values, _MOST_VALUES, duplicates="drop"))
    else:
        common = values.value_counts().index[: _MOST_VALUES - 1]
        codes, names = pd.factorize(values.where(values.isin(common), "another"))
    return np.asarray(codes, dtype=np.int64), len(names)


def _balanced_accuracy(held: Floats, truth: Integers, k: int, rng: np.random.Generator) -> float:
    """Return the mean recall of guesses, each made from the units of the other folds.

    `held` (U, A) is the share of a unit's images with each value.
    """
    fold = _folds(truth, k, rng)
    right = np.zeros(len(truth), dtype=bool)
    for number in range(int(fold.max()) + 1):
        test, train = fold == number, fold != number
        seen = np.eye(k)[truth[train]].T @ held[train] + 1e-3
        seen /= seen.sum(axis=1, keepdims=True)  # every class counts alike
        guess = (held[test] @ (seen / seen.sum(axis=0)).T).argmax(axis=1)
        right[test] = guess == truth[test]
    return float(np.mean([right[truth == c].mean() for c in range(k)]))


def _folds(truth: Integers, k: int, rng: np.random.Generator) -> Integers:
    """Deal the units of each class out over folds, at random."""
    fold = np.zeros(len(truth), dtype=np.int64)
    for c in range(k):
        members = rng.permutation(np.flatnonzero(truth == c))
        fold[members] = np.arange(len(members)) % _FOLDS
    return fold


def _by_class(read: pd.DataFrame, attribute: str) -> str:
    """Return the most frequent value, or the median, of each class."""
    parts = []
    for stage in LABELS:
        values = read.loc[read["label"] == stage, attribute]
        if values.empty:
            continue
        numeric = pd.api.types.is_numeric_dtype(values) and values.nunique() > 3
        middle = f"{values.median():.4g}" if numeric else str(values.mode().iloc[0])
        parts.append(f"{stage} {plain(middle, 40)}")
    return ", ".join(parts)
