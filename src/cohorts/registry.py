"""The cohorts that can be preprocessed, by the name that ``--dataset`` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import DATASETS
from ..config.data import name_cohort
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
            (`ratings.COLUMNS`), and ``day`` counts as that of scans. None where nobody is rated but
            with a scan.
        rates_apart: Where there are `ratings`: whether the index gives scans no label, as people
            are rated at other visits than they are scanned, and which rating counts is a setting.
            Else each scan comes with its own rating, and `ratings` tell what became of a person.
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
    rates_apart: bool = True


COHORT_REGISTRY: Registry[Cohort] = Registry("cohort")


def register_cohort(
    name: str, *, homepage: str, axes: str | None, side_known: bool, **more: Any
) -> Callable[[Index], Index]:
    """Register a study: the decorated function lists the scans of its folder.

    From then on, ``--dataset`` and `preprocess` take it, in this process. A cell of a notebook may
    be run again.

    Args:
        name: Of the study, of its folder below ``data_root`` and, with ``_2d`` or ``_3d`` behind
            it, of its processed data sets.
        homepage: Where the data come from.
        axes: Orientation of the stored axes, as three of ``RLAPSI``; None where each file's header
            says it (NIfTI).
        side_known: Whether left and right can be told apart.
        more: Any other attribute of `Cohort`: ``raw=True`` for heads with their skull,
            ``same_people_as``, ``limits``, ``source``, ``reference``.

    Returns:
        A decorator. Its function takes the folder and returns a `Manifest`, a row for every scan.

    Raises:
        ConfigError: The name cannot begin the names of data sets.
        KeyError: By the decorator: another function has registered that name.

    Example:
        >>> @register_cohort("clinic", homepage="", axes=None, side_known=True)
        ... def index_clinic(root): ...
        >>> preprocess("clinic_2d")
    """
    name_cohort(name)

    def register(index: Index) -> Index:
        cohort = Cohort(name, index, homepage, axes, side_known, **more)
        COHORT_REGISTRY.add(name, cohort, again=_is_again(name, index))
        return index

    return register


def _is_again(name: str, index: Index) -> bool:
    """Return whether `name` is registered by the same function, as it was written before."""
    if name not in COHORT_REGISTRY:
        return False
    before = COHORT_REGISTRY.get(name).index
    here, there = ((one.__module__, one.__qualname__) for one in (index, before))
    return here == there


def cohort_of(name: str, settings: Mapping[str, Any]) -> str | None:
    """Return the cohort that a data set was made from; None of a folder of the user's own.

    Args:
        name: Of the data set.
        settings: Its ``preprocessing.json``.
    """
    if name in DATASETS:
        return DATASETS[name][0]
    cohort = str(settings.get("cohort"))
    return cohort if cohort in COHORT_REGISTRY else None


#: Cohorts that any study can be: two data sets of one of them need not be of the same people.
OPEN = ("bids", "scans", "phantom")


def same_people(one: str, other: str) -> bool:
    """Return whether two cohorts are, or may be, of the same people under other names."""
    if one == other:
        return one not in OPEN
    a, b = COHORT_REGISTRY.get(one), COHORT_REGISTRY.get(other)
    return other in a.same_people_as or one in b.same_people_as
