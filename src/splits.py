"""Grouped, stratified, repeatable splits: a person is on one side only.

Stratified by the four stages, so one split serves every class scheme.
"""

from __future__ import annotations

import numpy as np

from .labels import STAGES
from .manifest import SAME_PEOPLE, Manifest


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
    for stage in STAGES:
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
    for stage in STAGES:
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
    for stage in STAGES:
        names = sorted(people.index[people == stage])
        rng.shuffle(names)
        chosen |= set(names[: _share(len(names), fraction, at_least=len(names) >= 2)])
    split = manifest.table["split"]
    moved = (split == "train") & manifest.table["subject"].isin(chosen)
    return manifest.with_columns(split=split.mask(moved, "val"))
