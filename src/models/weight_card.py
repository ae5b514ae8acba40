"""Whom weights have learnt from, and how their images were made: beside a file, in a checkpoint.

``net.pth`` may have ``net.json``, an object with any of

- ``cohorts``: names of the studies it was trained on, such as ``["oasis3"]``
- ``people``: hashes of the people, as `src.cohorts.people_names.hash_subjects` makes them
- ``drawn_from``: studies that these people are of, where it was not trained on all of a study
- ``preprocessing``: settings of ``preprocess`` that the images must have been made with
- ``normalisation``: ``{"mean": ..., "std": ...}`` of grey values in [0, 1]

A model keeps it as ``Classifier.learnt_from``, and a checkpoint as ``learnt_from``: what is trained
from such weights has seen those people, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from ..cohorts.people_names import hash_subjects, spellings
from ..cohorts.registry import COHORT_REGISTRY, cohort_of, same_people
from ..errors import CheckpointError
from ..files import read_json

#: A person, as `hash_subjects` writes one.
HASH = re.compile("[0-9a-f]{16}")
_KNOWN = ("cohorts", "people", "drawn_from", "preprocessing", "normalisation")
_GREY = ("mean", "std")


@dataclass(frozen=True)
class WeightCard:
    """What is said of weights.

    Attributes:
        cohorts: Studies it was trained on.
        people: Hashed people it was trained on.
        drawn_from: Studies that `people` are of. Of these alone, only they are known to it; of
            studies of the same people under other names, anybody may be.
        preprocessing: Settings that images must have been made with.
        normalisation: Mean and standard deviation of grey values; None keeps the backbone's.
    """

    cohorts: tuple[str, ...] = ()
    people: frozenset[str] = frozenset()
    drawn_from: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    normalisation: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the object that `from_dict` reads, of plain values."""
        normalisation = self.normalisation
        return {
            "cohorts": list(self.cohorts),
            "people": sorted(self.people),
            "drawn_from": list(self.drawn_from),
            "preprocessing": dict(self.preprocessing),
            "normalisation": normalisation and dict(zip(_GREY, normalisation, strict=True)),
        }

    @classmethod
    def from_dict(cls, content: Any) -> WeightCard:
        """Return what an object says, whoever wrote it.

        Raises:
            ValueError: It is no object, or a part of it is of another kind.
        """
        if not isinstance(content, dict):
            raise ValueError("it is no object")
        if strange := sorted(map(str, content.keys() - set(_KNOWN))):
            raise ValueError(f"{strange[0]!r} is none of {', '.join(sorted(_KNOWN))}")
        lists = {key: content.get(key, []) for key in ("cohorts", "people", "drawn_from")}
        for key, names in lists.items():
            if not (isinstance(names, list) and all(isinstance(one, str) for one in names)):
                raise ValueError(f"{key} is no list of texts")
        if plain := [one for one in lists["people"] if not HASH.fullmatch(one)]:
            raise ValueError(f"people holds {plain[0]!r}, not a hash of 16 hexadecimal digits")
        made = content.get("preprocessing", {})
        if not isinstance(made, dict) or not all(isinstance(key, str) for key in made):
            raise ValueError("preprocessing is no object")
        return cls(
            cohorts=tuple(lists["cohorts"]),
            people=frozenset(lists["people"]),
            drawn_from=tuple(lists["drawn_from"]),
            preprocessing=made,
            normalisation=_normalisation(content.get("normalisation")),
        )


def known_to(card: WeightCard, person: str) -> bool:
    """Return whether weights have learnt from a person, however a data set spells the name."""
    return not card.people.isdisjoint(hash_subjects(spellings(person)))


def study_known_to(card: WeightCard, name: str, cohort: str | None) -> str | None:
    """Return the study of weights whose people are, or may be, all those of a data set.

    Args:
        card: Of the weights.
        name: Of the data set.
        cohort: It was made from; None of a folder of the user's own.
    """

    def alike(one: str) -> bool:
        return one in COHORT_REGISTRY and cohort is not None and same_people(one, cohort)

    whole = (one for one in card.cohorts if one in (name, cohort) or alike(one))
    others = (one for one in card.drawn_from if one not in (name, cohort) and alike(one))
    return next(whole, None) or next(others, None)


def card_of_checkpoint(content: Mapping[str, Any]) -> WeightCard:
    """Return whom a checkpoint's weights have seen: its own people, and those it started from.

    Args:
        content: Of a checkpoint, or what it holds beside the weights.

    Raises:
        ValueError: What it says of people is of another kind.
    """
    before = content.get("learnt_from")
    cohort = cohort_of(str(content.get("dataset")), content.get("preprocessing") or {})
    own = {"people": content["subjects"], "drawn_from": [cohort] if cohort else []}
    card = WeightCard.from_dict(own)
    return card if before is None else joined(card, WeightCard.from_dict(before))


def joined(card: WeightCard, other: WeightCard) -> WeightCard:
    """Return what two cards say together; where both name a setting, the first counts."""
    return WeightCard(
        cohorts=tuple(dict.fromkeys((*card.cohorts, *other.cohorts))),
        people=card.people | other.people,
        drawn_from=tuple(dict.fromkeys((*card.drawn_from, *other.drawn_from))),
        preprocessing={**other.preprocessing, **card.preprocessing},
        normalisation=card.normalisation or other.normalisation,
    )


#: Name of the card in a folder of weight files.
IN_FOLDER = "weights.json"


def read_card(weights: str | Path) -> WeightCard | None:
    """Return what stands beside a weight file, or in a folder of several; None where nothing does.

    Raises:
        CheckpointError: It is no such object, or a part of it is of another kind.
    """
    given = Path(weights)
    path = given / IN_FOLDER if given.is_dir() else given.with_suffix(".json")
    if not given.exists() or not path.is_file():
        return None
    try:
        return WeightCard.from_dict(read_json(path))
    except ValueError as error:
        raise CheckpointError(
            f"{path}, beside the weights, cannot be used: {error}",
            hint=f"mend it as docs/commands.md says, or move {path.name} away",
        ) from None


def _normalisation(found: Any) -> tuple[float, float] | None:
    if found is None:
        return None
    if not isinstance(found, dict) or found.keys() != {*_GREY}:
        raise ValueError("normalisation is no object with mean and std")
    for value in found.values():
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ValueError(f"normalisation holds {value!r}, no finite number")
    if found["std"] <= 0:
        raise ValueError("std is not above 0")
    return float(found["mean"]), float(found["std"])
