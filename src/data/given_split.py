"""A split from a file laid over a data set, in place of the seed's: one split, or folds.

Whoever of the data set is not named has no side, and is counted; so are names that nobody has.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from ..cohorts.people_names import hash_subject
from ..errors import LeakageError, ManifestError, counted
from ..manifest import SAME_PEOPLE, SPLITS, Manifest
from .split_files import SplitFile, once_each
from .splits import Fold, cut_validation

logger = logging.getLogger(__name__)
_VALIDATION = 0.15  # of the training people, where a file has nobody for it


def with_split(manifest: Manifest, given: SplitFile, *, seed: int = 0) -> Manifest:
    """Return the manifest with the sides of a file; people that it does not name have none.

    Where the file has nobody for validation, a share of the training people is cut off. A row
    without a label is on no side.

    Args:
        manifest: Any rows; their own ``split`` is not read.
        given: From `read_split`.
        seed: Of the validation people, where the file has none.

    Raises:
        ManifestError: The file is of folds, or names nobody of this data set.
        LeakageError: It puts a person on two sides, under two spellings; or the data set keeps a
            split of images with the same people on both sides.
    """
    if SAME_PEOPLE in manifest.stamps:
        raise LeakageError(
            f"{manifest.root} keeps a split of images that has the same people on both sides",
            hint="leave --split out, or use the data set that was made without --official_split",
        )
    if given.of_folds:
        raise ManifestError(
            f"{given.path} holds the folds of a cross-validation, and this takes one split",
            hint="use it with --mode crossval, or name a table with columns subject and split",
        )
    rated = manifest.table["label"].notna()
    rows = _of_people(given, manifest.table.loc[rated, "subject"], manifest.root)
    side = dict(zip(rows["subject"], rows["side"], strict=True))
    split = manifest.table["subject"].map(side).where(rated)
    divided = manifest.with_columns(split=split)
    if not (divided.table["split"] == "val").any():
        divided = cut_validation(divided, fraction=_VALIDATION, seed=seed)
        chosen = divided.in_split("val").table["subject"].nunique()
        logger.info(
            "%s has nobody for validation: %s cut from its training people by seed %d",
            *(given.path, counted(chosen, "person is", "people are"), seed),
        )
    return divided


def folds_of(given: SplitFile, manifest: Manifest) -> list[Fold]:
    """Return the folds of a file, of the people of a data set.

    Raises:
        ManifestError: The file holds one split, names nobody here, or does not test everyone that
            it names once in each repeat.
        LeakageError: It puts a person on two sides of a fold.
    """
    if not given.of_folds:
        raise ManifestError(
            f"{given.path} divides people once, and a cross-validation takes folds",
            hint="use it with --mode train and evaluate, or name a table with the columns repeat, "
            "fold, subject and side, such as folds.csv of a cross-validation",
        )
    rows = _of_people(given, manifest.table["subject"], manifest.root)
    folds = []
    for (repeat, fold), part in rows.groupby(["repeat", "fold"], sort=True):
        people = {side: tuple(sorted(part.loc[part["side"] == side, "subject"])) for side in SPLITS}
        if empty := [side for side in SPLITS if not people[side]]:
            raise ManifestError(
                f"{given.path}: fold {fold} of repeat {repeat} has no {empty[0]} people of "
                f"{manifest.root}",
                hint="use the data set that the folds were made of",
            )
        folds.append(Fold(int(repeat), int(fold), people["train"], people["val"], people["test"]))
    _check_folds(folds, given.path)
    return folds


def _check_folds(folds: list[Fold], path: Path) -> None:
    """Check that folds are counted from 0 and test each of the same people once in a repeat."""
    repeats = sorted({fold.repeat for fold in folds})
    everyone = sorted({*folds[0].development, *folds[0].test})
    count = sum(fold.repeat == repeats[0] for fold in folds)
    for repeat in repeats:
        own = [fold for fold in folds if fold.repeat == repeat]
        tested = sorted(name for fold in own for name in fold.test)
        same = all(sorted((*fold.development, *fold.test)) == everyone for fold in own)
        if repeats != [*range(len(repeats))] or [fold.fold for fold in own] != [*range(count)]:
            raise ManifestError(
                f"{path}: its repeats or folds are not 0, 1, 2, ..., as many in each repeat",
                hint="take the file as the cross-validation wrote it",
            )
        if tested != everyone or not same:
            raise ManifestError(
                f"{path}: repeat {repeat} does not test each of its {len(everyone)} people once "
                f"and use all the others",
                hint="take the file as the cross-validation wrote it",
            )


def _of_people(given: SplitFile, subjects: pd.Series, root: Path) -> pd.DataFrame:
    """Return the file's rows with ``subject``; tell who of the data set is not in it, and back."""
    people, meant = set(subjects), given.match(subjects)
    named = given.rows["name"].nunique()
    if not meant:
        raise _nobody(given, sorted(people), root)
    rows = given.rows.assign(subject=given.rows["name"].map(meant)).dropna(subset=["subject"])
    folds = ["repeat", "fold"] if given.of_folds else []
    rows = once_each(rows, [*folds, "subject"], given.path)
    found = rows["subject"].nunique()
    logger.info(
        "%s: %d of %s of %s on its sides; %d not named in it and left without a side; %d of its %d "
        "names nobody's here",
        *(given.path, found, counted(len(people), "person", "people"), root),
        *(len(people) - found, named - len(meant), named),
    )
    return rows


def _nobody(given: SplitFile, people: list[str], root: Path) -> ManifestError:
    theirs = ", ".join(repr(name[:40]) for name in sorted(given.rows["name"])[:3])
    ours = ", ".join(repr(name[:40]) for name in people[:3])
    hint = "name a file of these people, with the ids that the data set's manifest.csv has"
    if given.salt is not None:
        hashes = ", ".join(hash_subject(name, given.salt) for name in people[:3])
        ours = f"{ours} ({hashes} with its salt {given.salt!r})"
        hint = "take the file as it was written: with another salt or other ids nobody is found"
    return ManifestError(
        f"{given.path} names nobody of {root}: {theirs} there, {ours} here", hint=hint
    )
