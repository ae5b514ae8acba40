"""Repeated, stratified folds by person, with a validation part inside: who trains, who is tested.

In every repeat each rated person is tested once. Stratified by the four stages, so one set of
folds serves every class scheme, and a table of folds can be kept, hashed and shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from .errors import ConfigError, counted
from .labels import STAGES
from .manifest import Manifest


@dataclass(frozen=True)
class Fold:
    """One division of people: what trains, what chooses, what is tested.

    Attributes:
        repeat: Number of the repeat, from 0.
        fold: Number of the fold in it, from 0.
        train: Subjects, sorted; disjoint from the others.
        val: Subjects that choose the epoch, the regularisation and the temperature.
        test: Subjects whose predictions are kept.
    """

    repeat: int
    fold: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def name(self) -> str:
        """``repeat0_fold3``, as its files are named."""
        return f"repeat{self.repeat}_fold{self.fold}"

    @property
    def development(self) -> tuple[str, ...]:
        """Train and val together: everyone whose label the fold may look at."""
        return tuple(sorted((*self.train, *self.val)))


class Division(NamedTuple):
    """Whose labels a model may have looked at, and whom it answered."""

    development: Sequence[str]
    test: Sequence[str]


def make_folds(
    manifest: Manifest, *, folds: int, repeats: int, val_fraction: float, seed: int
) -> list[Fold]:
    """Divide the rated people of `manifest` `repeats` times into `folds` parts.

    The people of a stage are dealt out one after the other, from a fold that moves on with the
    stage: the folds differ by one person in each stage and in total. A repeat's division depends on
    (seed, repeat), the people and `folds` only, so one fold can be run alone, anywhere.

    Args:
        manifest: Any rows; ``split`` is not read.
        folds: At least 2.
        repeats: At least 1.
        val_fraction: Share of the people outside the test part that become validation, (0, 1).
        seed: Same seed, same people, same folds, whatever the order of rows.

    Raises:
        ConfigError: There are fewer people than folds, or under two people of any stage in train.
    """
    people = manifest.people()["label"].dropna()
    if len(people) < 2 * folds:
        raise ConfigError(
            f"{folds} folds of {counted(len(people), 'rated person')} in {manifest.root}",
            hint="fewer --folds, or more people",
        )
    made = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        part = _deal(people, folds, rng)
        for fold in range(folds):
            test = part.index[part == fold]
            rest = people.drop(test)
            val = _choose(rest, val_fraction, rng)
            train = rest.index.difference(val)
            made.append(Fold(repeat, fold, *(tuple(sorted(names)) for names in (train, val, test))))
    return made


def with_fold(manifest: Manifest, fold: Fold) -> Manifest:
    """Return the manifest with ``split`` and ``fold`` of one fold; others have no split."""
    side = {subject: name for name in ("train", "val", "test") for subject in getattr(fold, name)}
    return manifest.with_columns(split=manifest.table["subject"].map(side), fold=fold.fold)


def folds_table(folds: list[Fold]) -> pd.DataFrame:
    """Return one row per person and fold: ``repeat, fold, subject, side``."""
    rows = [
        (fold.repeat, fold.fold, subject, side)
        for fold in folds
        for side in ("train", "val", "test")
        for subject in getattr(fold, side)
    ]
    return pd.DataFrame(rows, columns=["repeat", "fold", "subject", "side"])


def folds_hash(folds: list[Fold]) -> str:
    """Return 16 hexadecimal digits that change with any person's place in any fold."""
    text = folds_table(folds).to_csv(index=False, lineterminator="\n")
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _deal(people: pd.Series, folds: int, rng: np.random.Generator) -> pd.Series:
    """Return the fold of each person."""
    part = pd.Series(-1, index=people.index)
    start = 0
    for stage in STAGES:
        names = sorted(people.index[people == stage])
        rng.shuffle(names)
        part[names] = (start + np.arange(len(names))) % folds
        start += len(names)
    return part


def _choose(people: pd.Series, fraction: float, rng: np.random.Generator) -> list[str]:
    """Return a share of each stage's people; a stage of one person stays whole."""
    chosen: list[str] = []
    for stage in STAGES:
        names = sorted(people.index[people == stage])
        rng.shuffle(names)
        chosen += names[: max(round(len(names) * fraction), int(len(names) >= 3))]
    return chosen
