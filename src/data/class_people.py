"""Which classes have people on which side: told, or refused, before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ..errors import ManifestError, counted
from ..labels import (
    ClassScheme,
    class_scheme,
    kind_of_classes,
    labels_like,
    numbers_of_classes,
)
from ..manifest import MANIFEST, SETTINGS, SPLITS, Manifest

logger = logging.getLogger(__name__)
_SIDES = {"val": "validation", "test": "test"}


def people_of(manifest: Manifest, scheme: ClassScheme) -> dict[str, dict[str, int]]:
    """Return the people of each class (mildest first) on each side."""
    rows = manifest.table.dropna(subset=["split", "label"]).drop_duplicates(["subject", "split"])
    named = rows["label"].map(scheme.names)
    return {
        name: {side: int(((named == name) & (rows["split"] == side)).sum()) for side in SPLITS}
        for name in scheme.classes
    }


def require_classes(
    manifest: Manifest, scheme: ClassScheme, held_out: Sequence[str] = ("val", "test")
) -> None:
    """Refuse a training set of one class; tell the classes that lack people on a side.

    Args:
        manifest: Rows of all sides.
        scheme: Stages -> classes.
        held_out: The sides beside train that are asked about.

    Raises:
        ManifestError: Training people are of one class only.
    """
    people = people_of(manifest, scheme)
    trained = [name for name, sides in people.items() if sides["train"]]
    absent = [name for name in people if name not in trained]
    if len(trained) == 1:
        raise ManifestError(
            f"all training people of {manifest.root} are {trained[0]}: one class leaves nothing "
            f"to tell apart; nobody is {', '.join(absent)}",
            hint=_how_to_add(manifest, scheme.names, absent),
        )
    if absent and trained:
        logger.warning(
            "no training person is %s, so the model cannot learn to name that class%s",
            *(" or ".join(absent), _fewer_classes(manifest, scheme)),
        )
    for side in held_out:
        why = _SIDES[side]
        without = [name for name in trained if not people[name][side]]
        if without:
            logger.warning(
                "no %s person is %s: %s", why, " or ".join(without), f"{why} says nothing of it"
            )


def _how_to_add(manifest: Manifest, names: dict[str, str], absent: list[str]) -> str:
    """Return how people of another class come into a folder, as it was made."""
    if (manifest.root / SETTINGS).is_file():
        return "add people of another class to the raw data, then preprocess again"
    if (manifest.root / MANIFEST).is_file():
        return f"add people of another class to the training side of {manifest.root / MANIFEST}"
    stage = next(stage for stage, name in names.items() if name in absent)
    return f"put images of other people into {manifest.root / 'train' / stage}"


def tell_one_class(manifest: Manifest) -> None:
    """Warn where all rated people have one stage, as nothing can be trained on them."""
    people = manifest.people()["label"].dropna()
    stages = list(manifest.table["label"].dropna().unique())  # of every visit
    if len(stages) == 1:
        others = ", ".join(name for name in labels_like(stages) if name != stages[0])
        said = counted(len(people), "rated person is", "rated people are")
        logger.warning(
            "%s %s, and nobody %s: --mode train needs two classes", said, stages[0], others
        )


def _fewer_classes(manifest: Manifest, scheme: ClassScheme) -> str:
    """Return the flag that joins a class without people with one that has some, if any does."""
    kind = kind_of_classes(scheme.classes)
    for count in numbers_of_classes(kind):
        if count < len(scheme.classes):
            joined = people_of(manifest, class_scheme(count, kind))
            if np.all([sides["train"] > 0 for sides in joined.values()]):
                return f"; --classes {count} joins it with its neighbour"
    return ""
