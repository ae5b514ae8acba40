"""The cohorts that can be preprocessed, by the name that ``--dataset`` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..manifest import Manifest
from ..registry import Registry

Index = Callable[[Path], Manifest]
#: How people are rated, for `Cohort.reference`.
RATED = "the Clinical Dementia Rating (doi:10.1212/WNL.43.11.2412-a)"


@dataclass(frozen=True)
class Limit:
    """Something that speaks against trusting scores of a cohort.

    Attributes:
        text: A sentence in which ``{n}`` stands for the people scored, such as "40 people".
        under_age: It holds only where people younger than this, in years, are not left out.
    """

    text: str
    under_age: float | None = None


@dataclass(frozen=True)
class Cohort:
    """How to list a raw folder, what is known of its images, and what documents say of it.

    Texts are Markdown that is safe to paste.

    Attributes:
        name: What ``--dataset`` takes.
        index: Folder -> manifest of scans (or slices); opens no volume.
        homepage: Where the data come from.
        axes: Orientation that the stored axes have, as three of ``RLAPSI``, when the header
            cannot be trusted (Analyze 7.5, JPG); None where the header says it (NIfTI).
        side_known: Whether left and right can be told apart.
        layout: ``"volume"`` for one file per scan; ``"slice"`` for one 8-bit image per axial slice.
        raw: Whether the scans are as the scanner made them: a head with its skull, in any place.
            They are brought to a standard first, and people without a rating are kept.
        source: What the data are, for model card and checklists; empty leaves it to the author.
        reference: How people are rated.
        synthetic: Whether nobody was scanned.
        limits: What speaks against trusting scores of these people.
        same_people_as: Cohorts whose people these are, or may be, under other names: none is an
            external test of a model that was trained on the other.
        ratings: Folder -> every rating of these people, with a scan or without
            (`ratings.COLUMNS`). The index of such a cohort gives scans their ``day`` and no label:
            which rating counts is a setting. None where each scan comes with its rating.
    """

    name: str
    index: Index
    homepage: str
    axes: str | None
    side_known: bool
    layout: str = "volume"
    raw: bool = False
    source: str = ""
    reference: str = f"class folders or a table of the data set, taken as {RATED}"
    synthetic: bool = False
    limits: tuple[Limit, ...] = ()
    same_people_as: tuple[str, ...] = ()
    ratings: Callable[[Path], pd.DataFrame] | None = None


COHORT_REGISTRY: Registry[Cohort] = Registry("cohort")


def register_cohort(
    name: str, *, homepage: str, axes: str | None, side_known: bool, **more: Any
) -> Callable[[Index], Index]:
    """Register the decorated function as the index of cohort `name`.

    Args: as the attributes of `Cohort`.
    """

    def register(index: Index) -> Index:
        COHORT_REGISTRY.add(name, Cohort(name, index, homepage, axes, side_known, **more))
        return index

    return register


#: Cohorts that any study can be: two data sets of one of them need not be of the same people.
OPEN = ("bids", "scans", "phantom")


def same_people(one: str, other: str) -> bool:
    """Return whether two cohorts are, or may be, of the same people under other names."""
    if one == other:
        return one not in OPEN
    a, b = COHORT_REGISTRY.get(one), COHORT_REGISTRY.get(other)
    return other in a.same_people_as or one in b.same_people_as
