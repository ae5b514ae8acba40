"""Who learns and who is tested: one split, or repeated folds, by person.

A person is on one side only. Splits and folds are stratified by the four stages, so they serve
every class scheme; in every repeat of the folds each rated person is tested once, and a table of
folds can be kept, hashed and shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import ConfigError, counted
from ..labels import LABELS
from ..manifest import SAME_PEOPLE, Manifest


def split_by_person(
    manifest: Manifest, *, val_fraction: float, test_fraction: float, seed: int
) -> Manifest:
    """Give every rated person to train, val or test, stage by stage.

    Rows of a person without any rating keep an empty ``split``. All rows of a person, rated or
    not, go to the same side. A stage of one person goes to train, of two to train and test, of
    three or more to all sides.

    Args:
        manifest: Any rows; only ``subject`` and ``label`` are read.
        val_fraction: Share of people for val, in (0, 1).
        test_fraction: Share of people for test, in (0, 1).
        seed: Same seed and same people give the same split, whatever the order of rows.
    """
    rng = np.random.default_rng(seed)
    people = manifest.people()["label"].dropna()
    side: dict[str, str] = {}
    for stage in LABELS:
        names = sorted(people.index[people == stage])
        rng.shuffle(names)
        n_test = _share(len(names), test_fraction, at_least=len(names) >= 2)
        n_val = _share(len(names), val_fraction, at_least=len(names) >= 3)
        sides = ["test"] * n_test + ["val"] * n_val
        side |= dict(zip(names, sides + ["train"] * (len(names) - len(sides)), strict=True))
    return manifest.with_columns(split=manifest.table["subject"].map(side))


def keep_official_split(manifest: Manifest, *, val_fraction: float, seed: int) -> Manifest:
    """Keep the train and test that the files came with, and cut val from train, image by image.

    This is what most published code does. Where people are on both sides, which the result is
    stamped with, its scores measure memory of people, not staging.

    Args:
        manifest: Rows whose ``split`` is "train" or "test" as downloaded.
        val_fraction: Share of the training images of each stage for val, in (0, 1).
        seed: Same seed, same choice.
    """
    rng = np.random.default_rng(seed)
    split = manifest.table["split"].copy()
    for stage in LABELS:
        rows = np.flatnonzero((split == "train") & (manifest.table["label"] == stage))
        chosen = rng.permutation(rows)[: _share(len(rows), val_fraction, at_least=len(rows) >= 2)]
        split.iloc[chosen] = "val"
    return manifest.with_columns(split=split).with_stamps(SAME_PEOPLE)


def _share(n: int, fraction: float, *, at_least: bool) -> int:
    return max(round(n * fraction), int(at_least))


def cut_validation(manifest: Manifest, *, fraction: float, seed: int) -> Manifest:
    """Move a share of the training people of each stage to val; test stays as it is.

    Args:
        manifest: Rows with ``split`` train or test.
        fraction: Share of the training people, in (0, 1).
        seed: Same seed, same choice.
    """
    rng = np.random.default_rng(seed)
    people = manifest.in_split("train").people()["label"]
    chosen: set[str] = set()
    for stage in LABELS:
        names = sorted(people.index[people == stage])
        rng.shuffle(names)
        chosen |= set(names[: _share(len(names), fraction, at_least=len(names) >= 2)])
    split = manifest.table["split"]
    moved = (split == "train") & manifest.table["subject"].isin(chosen)
    return manifest.with_columns(split=split.mask(moved, "val"))


@dataclass(frozen=True)
class Fold:
    """One division of people: what trains, what chooses, what is tested.

    Attributes:
        repeat: Number of the repeat, from 0.
        fold: Number of the fold in it, from 0.
        train: Subjects, sorted; disjoint from the others.
        val: Subjects that choose the epoch, the regularisation and the temperature.
        test: Subjects whose predictions are kept.
        label: What the fold is called, where it is no part of a division by chance.
        held_out: What the test people have in common and nobody else has, such as a site's name;
            empty of parts at random.
    """

    repeat: int
    fold: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    label: str = ""
    held_out: str = ""

    @property
    def name(self) -> str:
        """``repeat0_fold3``, or its label, as its files are named."""
        return self.label or f"repeat{self.repeat}_fold{self.fold}"

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
            learnt, chosen, tested = (tuple(sorted(names)) for names in (train, val, test))
            made.append(Fold(repeat, fold, learnt, chosen, tested))
    return made


def folds_by(
    manifest: Manifest, column: str, *, repeats: int, val_fraction: float, seed: int
) -> list[Fold]:
    """Test the rated people of one site after the other, and train on those of all other sites.

    A fold's number is the place of its site by name. Repeats differ in who of the others chooses.

    Args:
        manifest: Any rows whose `column` is known, and one for each person.
        column: Text column: ``site``, ``scanner`` or ``manufacturer``.
        repeats: At least 1.
        val_fraction: Share of each stage's people of the other sites that become validation.
        seed: Same seed, same people, same folds, whatever the order of rows.

    Raises:
        ConfigError: There is one site only, or without one nobody has another label.
    """
    people = manifest.people()[["label", column]].dropna()
    sites = sorted(people[column].unique())
    if len(sites) < 2:
        known = f"is of one {column}, {sites[0]}" if sites else f"has no {column}"
        raise ConfigError(
            f"everyone of {manifest.root} {known}: nobody is left to train on",
            hint=f"leave --hold_out {column} out",
        )
    made = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        for number, site in enumerate(sites):
            test = people.index[people[column] == site]
            rest = people["label"].drop(test)
            if rest.nunique() < 2:
                raise ConfigError(
                    f"without the {column} {site} everyone is {rest.iloc[0]}: nothing is left to "
                    "learn",
                    hint=f"leave --hold_out {column} out",
                )
            val = _choose(rest, val_fraction, rng)
            train = rest.index.difference(val)
            learnt, chosen, tested = (tuple(sorted(names)) for names in (train, val, test))
            made.append(Fold(repeat, number, learnt, chosen, tested, held_out=str(site)))
    return made


def of_one(manifest: Manifest, column: str) -> tuple[Manifest, int, int]:
    """Keep the people whose `column` is known and one over all their scans.

    Returns:
        Their rows; how many rated people have none; how many have several.
    """
    table = manifest.table
    values = table.groupby("subject")[column].nunique()
    rated = table.dropna(subset=["label"]).groupby("subject").size().index
    known = table[column].groupby(table["subject"]).transform("count") > 0
    several = table["subject"].isin(values.index[values > 1])
    filled = table[column].fillna(table.groupby("subject")[column].transform("first"))
    kept = manifest.with_columns(**{column: filled}).where(known & ~several)
    counts = values.reindex(rated)
    return kept, int((counts == 0).sum()), int((counts > 1).sum())


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
    return hash_of_table(folds_table(folds))


def hash_of_table(table: pd.DataFrame) -> str:
    """Return the same of what `folds_table` returns."""
    text = table.to_csv(index=False, lineterminator="\n")
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def choose_validation_people(people: pd.Series, fraction: float, seed: int) -> list[str]:
    """Return a share of each label's people, to choose the epoch by.

    Args:
        people: Label of each person, indexed by subject.
        fraction: Share, in (0, 1); a label of under three people gives none.
        seed: Same seed, same people, same choice.
    """
    return _choose(people.dropna(), fraction, np.random.default_rng(seed))


def _deal(people: pd.Series, folds: int, rng: np.random.Generator) -> pd.Series:
    """Return the fold of each person."""
    part = pd.Series(-1, index=people.index)
    start = 0
    for stage in LABELS:
        names = sorted(people.index[people == stage])
        rng.shuffle(names)
        part[names] = (start + np.arange(len(names))) % folds
        start += len(names)
    return part


def _choose(people: pd.Series, fraction: float, rng: np.random.Generator) -> list[str]:
    """Return a share of each stage's people; a stage of one person stays whole."""
    chosen: list[str] = []
    for stage in LABELS:
        names = sorted(people.index[people == stage])
        rng.shuffle(names)
        chosen += names[: max(round(len(names) * fraction), int(len(names) >= 3))]
    return chosen
