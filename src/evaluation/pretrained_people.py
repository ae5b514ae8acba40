"""Weights learnt elsewhere: images must be made as theirs were, and test people be new to them."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..cohorts.people_names import hash_subjects, spellings
from ..cohorts.registry import COHORT_REGISTRY, same_people
from ..data.dataset import MriDataset
from ..errors import CheckpointError, LeakageError, counted
from ..models.weight_card import WeightCard, read_card
from .open_checkpoint import cohort_of

logger = logging.getLogger(__name__)


def refuse_pretrained_on(
    weights: str | None, data: MriDataset, tested: Iterable[str], *, allowed: bool
) -> None:
    """Compare a data set with what stands beside the weights that training starts from.

    Args:
        weights: ``--weights``; nothing is compared unless it is a file with a card.
        data: Of the run.
        tested: People who will be tested.
        allowed: Log people that the weights have seen, and go on.

    Raises:
        CheckpointError: The images were made otherwise.
        LeakageError: The weights were learnt on people who will be tested.
    """
    card = None if weights in (None, "none", "imagenet") else read_card(str(weights))
    if card is None:
        return
    here = data.settings.get("preprocess") or {}
    other = sorted(
        key for key, value in card.preprocessing.items() if key not in here or here[key] != value
    )
    if other:
        wanted = card.preprocessing
        told = ", ".join(f"{key} {wanted[key]!r} (here {here.get(key)!r})" for key in other)
        raise CheckpointError(
            f"{weights} was learnt on images made otherwise: {told}",
            hint="preprocess with the settings it was learnt with",
        )
    found = _seen(card, data, sorted(set(tested)))
    if found is None:
        logger.info("%s: no person who will be tested is known to have been learnt from", weights)
        return
    sentence = f"{weights} was learnt on {found}"
    if not allowed:
        raise LeakageError(
            sentence, hint="--weights none, or weights of other people; or --allow_leaks to go on"
        )
    logger.warning("%s; --allow_leaks goes on, and the scores are not honest", sentence)


def _seen(card: WeightCard, data: MriDataset, tested: list[str]) -> str | None:
    """Return in words which test people the weights have seen; None of none."""
    cohort = cohort_of(data.name, data.settings)
    for name in card.cohorts:
        known = name in COHORT_REGISTRY and cohort is not None
        if name in (cohort, data.name) or (known and same_people(name, str(cohort))):
            return f"{name}: its people are, or may be, those of {data.name}"
    people = [one for one in tested if card.people.intersection(hash_subjects(spellings(one)))]
    if people:
        count = counted(len(tested), "person")
        return f"{len(people)} of {count} who will be tested, such as {people[0]}"
    return None
