"""Folds: a person has one place in each, and the same people get the same folds anywhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.data.splits import folds_hash, folds_table, make_folds, with_fold
from src.errors import ConfigError
from src.labels import STAGES
from src.manifest import Manifest


def people(counts=(23, 14, 7, 2), sessions: int = 2, unrated: int = 3) -> Manifest:
    labels = [stage for stage, n in zip(STAGES, counts, strict=True) for _ in range(n)]
    labels += [None] * unrated
    rows = [
        {"subject": f"P{i:03d}", "session": f"MR{s}", "path": f"P{i:03d}_{s}.npy", "label": label}
        for i, label in enumerate(labels)
        for s in range(1, sessions + 1)
    ]
    return Manifest(pd.DataFrame(rows), Path())


def make(manifest: Manifest, **changes):
    settings = {"folds": 5, "repeats": 3, "val_fraction": 0.15, "seed": 0} | changes
    return make_folds(manifest, **settings)


def test_everyone_rated_is_tested_once_in_each_repeat():
    manifest = people()
    rated = set(manifest.people()["label"].dropna().index)
    for repeat in range(3):
        tested = [s for fold in make(manifest) if fold.repeat == repeat for s in fold.test]
        assert len(tested) == len(set(tested)) == 46
        assert set(tested) == rated


def test_a_person_has_one_side_in_a_fold():
    for fold in make(people()):
        sides = [set(fold.train), set(fold.val), set(fold.test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 46
        assert fold.development == tuple(sorted(sides[0] | sides[1]))
        assert all(sides)


def test_folds_are_stratified_and_even():
    manifest = people()
    label = manifest.people()["label"]
    for fold in make(manifest):
        assert len(fold.test) in (9, 10)
        for stage, count in zip(STAGES, (23, 14, 7, 2), strict=True):
            n = (label[list(fold.test)] == stage).sum()
            assert abs(n - count / 5) < 1
        assert (label[list(fold.val)] == STAGES[0]).sum() == 3  # 15 % of 18 or 19
    first, second = make(manifest, repeats=1)[:2]
    assert not {s for s in first.test if label[s] == STAGES[3]} & set(second.test)


def test_the_order_of_rows_does_not_matter_but_the_seed_does():
    manifest = people()
    shuffled = Manifest(manifest.table.sample(frac=1, random_state=3), Path())
    assert make(manifest) == make(shuffled)
    assert folds_hash(make(manifest)) == folds_hash(make(shuffled))
    assert folds_hash(make(manifest)) != folds_hash(make(manifest, seed=1))


def test_a_repeat_is_the_same_however_many_there_are():
    assert make(people(), repeats=3)[:5] == make(people(), repeats=1)
    assert make(people())[0].test != make(people())[5].test


def test_the_manifest_of_a_fold_has_its_sides_and_keeps_unrated_people_out():
    manifest = people()
    fold = make(manifest)[7]
    table = with_fold(manifest, fold).table
    for side in ("train", "val", "test"):
        assert set(table.loc[table["split"] == side, "subject"]) == set(getattr(fold, side))
    assert table.loc[table["label"].isna(), "split"].isna().all()
    assert (table["fold"] == fold.fold).all()


def test_the_table_lists_each_person_and_fold():
    table = folds_table(make(people()))
    assert list(table.columns) == ["repeat", "fold", "subject", "side"]
    assert len(table) == 46 * 15
    assert np.array_equal(table.groupby(["repeat", "fold"]).size().to_numpy(), [46] * 15)


def test_too_few_people_are_refused():
    with pytest.raises(ConfigError, match="5 folds of 8 rated people"):
        make(people((4, 2, 1, 1)))
