"""What is tried on every scan, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import UnknownNameError
from ..maps.regions.coarse_atlas import REGIONS
from .acquisition import NUISANCES
from .fields import FULL, SHELL, SIDES, STRUCTURES, WIDEST, YEAR

#: Kinds of changes, as tables name them.
NONE, DISEASE, YOUNGER, AGEING = "unchanged", "disease", "younger", "ageing"
NUISANCE, REGION, BLIND, MAPS = "nuisance", "region", "blind", "maps"
ALL = "all together"
YEARS = (10.0, 20.0, 30.0)  # of ageing
OUTLINE, BACKGROUND = "outline alone", "background alone"
HEALTHY, DEMENTED, EVERYONE = "healthy", "demented", "everyone"
#: What `--changes` may name.
NAMES = (DISEASE, YOUNGER, AGEING, *NUISANCES, REGION, BLIND, MAPS)


@dataclass(frozen=True)
class Change:
    """One change of a scan.

    Attributes:
        kind: One of those above.
        name: Structure, nuisance or region.
        strength: In the unit of its kind: of disease a dose in (0, 1], of ageing years.
        who: Whose scans are changed so.
    """

    kind: str
    name: str
    strength: float
    who: str

    @property
    def amplitudes(self) -> dict[str, float]:
        """Field -> amplitude, of disease and ageing."""
        if self.kind == AGEING:
            return {"ventricles": YEAR * self.strength}
        names = STRUCTURES if self.name == ALL else (self.name,)
        sign = -1 if self.kind == YOUNGER else 1
        return {name: sign * self.strength * most(name) for name in names}

    @property
    def structure(self) -> str:
        """Name in `STRUCTURES` of what is changed, also on one side alone; else its own name."""
        whole = {"ventricle": "ventricles", "hippocampus": "hippocampi"}
        return (
            whole.get(self.name.rpartition(" ")[2], self.name) if self.kind == MAPS else self.name
        )

    def counts(self, label: int) -> bool:
        """Return whether a person of this class is changed so."""
        return self.who == EVERYONE or (label > 0) == (self.who == DEMENTED)


def most(field: str) -> float:
    """Return the amplitude of a field at the full dose."""
    return WIDEST if field in SHELL else FULL


def map_changes(wanted: Sequence[str] = ()) -> list[Change]:
    """Return what maps have to follow: one structure on one side, dose by dose.

    Args:
        wanted: As `plan` takes them.
    """
    if wanted and MAPS not in wanted:
        return []
    return [
        Change(MAPS, f"{side} {structure}", dose, HEALTHY)
        for structure in ("ventricle", "hippocampus")
        for side in SIDES
        for dose in (0.5, 1.0)
    ]


def plan(doses: int, wanted: Sequence[str] = ()) -> list[Change]:
    """Return the changes to try, the unchanged scan first.

    Args:
        doses: Steps from none to the full disease; single structures take half of them.
        wanted: Of `NAMES`; empty takes all.

    Raises:
        UnknownNameError: A name is none of them.
    """
    for name in wanted:
        if name not in NAMES:
            raise UnknownNameError("change in --changes", name, NAMES)
    every = [one for one in _every(doses) if not wanted or _named(one) in wanted]
    return [Change(NONE, "", 0.0, EVERYONE), *every]


def _named(change: Change) -> str:
    return change.name if change.kind == NUISANCE else change.kind


def _every(doses: int) -> Iterator[Change]:
    steps, few = (_steps(count) for count in (doses, -(-doses // 2)))
    for name in STRUCTURES:
        yield from (Change(DISEASE, name, dose, HEALTHY) for dose in few)
    yield from (Change(DISEASE, ALL, dose, HEALTHY) for dose in steps)
    yield from (Change(YOUNGER, ALL, dose, DEMENTED) for dose in few)
    yield from (Change(AGEING, "ageing", years, HEALTHY) for years in YEARS)
    for name, one in NUISANCES.items():
        yield from (Change(NUISANCE, name, strength, EVERYONE) for strength in one.strengths)
    yield from (Change(REGION, name, 1.0, EVERYONE) for name in REGIONS)
    yield from (Change(BLIND, name, 1.0, EVERYONE) for name in (OUTLINE, BACKGROUND))


def _steps(count: int) -> list[float]:
    return [round((step + 1) / count, 4) for step in range(count)]


def by_name(changes: Sequence[Change]) -> Mapping[tuple[str, str], list[float]]:
    """Return the strengths of every kind and name, in order."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in changes:
        found.setdefault((one.kind, one.name), []).append(one.strength)
    return found
