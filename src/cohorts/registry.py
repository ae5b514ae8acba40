"""The cohorts that can be preprocessed, by the name that ``--dataset`` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..manifest import Manifest
from ..registry import Registry

Index = Callable[[Path], Manifest]


@dataclass(frozen=True)
class Cohort:
    """How to list a raw folder, and what is known of its images.

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
    """

    name: str
    index: Index
    homepage: str
    axes: str | None
    side_known: bool
    layout: str
    raw: bool = False


COHORT_REGISTRY: Registry[Cohort] = Registry("cohort")


def register_cohort(
    name: str,
    *,
    homepage: str,
    axes: str | None,
    side_known: bool,
    layout: str = "volume",
    raw: bool = False,
) -> Callable[[Index], Index]:
    """Register the decorated function as the index of cohort `name`."""

    def register(index: Index) -> Index:
        COHORT_REGISTRY.add(name, Cohort(name, index, homepage, axes, side_known, layout, raw))
        return index

    return register
