"""Weights learnt elsewhere: images must be made as theirs were, and test people be new to them."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..cohorts.registry import cohort_of
from ..data.dataset import MriDataset
from ..errors import CheckpointError, LeakageError, counted
from ..manifest import SAME_PEOPLE
from ..models.weight_card import WeightCard, known_to, study_known_to
from ..models.weights import card_of_file

logger = logging.getLogger(__name__)
_OTHERS = "--weights none, or weights of other people; or --allow_leaks to go on"


def refuse_pretrained_on(
    weights: str | None, data: MriDataset, tested: Iterable[str], *, allowed: bool
) -> MriDataset:
    """Compare a data set with what is known of the weights that training starts from.

    Args:
        weights: ``--weights``; nothing is compared unless it is a file of which something is known.
        data: Of the run.
        tested: People who will be tested.
        allowed: Log people that the weights have seen, and go on.

    Returns:
        The data; stamped, where people were seen and that is allowed.

    Raises:
        CheckpointError: The images were made otherwise.
        LeakageError: The weights were learnt on people who will be tested.
    """
    card, source = card_of_file(weights), str(weights)
    return refuse_known(card, source, data, tested, allowed=allowed, hint=_OTHERS)


def refuse_known(
    card: WeightCard | None,
    source: str,
    data: MriDataset,
    tested: Iterable[str],
    *,
    allowed: bool,
    hint: str,
) -> MriDataset:
    """Compare a data set with what weights have learnt from, as `refuse_pretrained_on`.

    Args:
        card: What is known of the weights; of None, nothing is compared.
        source: What the weights are called.
        data: Whose people are tested.
        tested: Those people.
        allowed: Log people that the weights have seen, and go on.
        hint: What to do about people that were seen.
    """
    if card is None:
        return data
    refuse_other_images(card, source, data)
    found = seen_of(card, data, tested)
    if found is None:
        logger.info("%s: no person who is tested is known to have been learnt from", source)
        return data
    sentence = f"{source} was learnt on {found}"
    if not allowed:
        raise LeakageError(sentence, hint=hint)
    logger.warning("%s; allowed, and stamped", sentence)
    return stamped(data)


def refuse_other_images(card: WeightCard, source: str, data: MriDataset) -> None:
    """Refuse images that were made otherwise than those that weights have learnt from.

    Raises:
        CheckpointError: With the settings that differ.
    """
    here, wanted = data.settings.get("preprocess") or {}, card.preprocessing
    other = sorted(key for key, value in wanted.items() if key not in here or here[key] != value)
    if other:
        told = ", ".join(f"{key} {wanted[key]!r} (here {here.get(key)!r})" for key in other)
        raise CheckpointError(
            f"{source} was learnt on images made otherwise than {data.name}: {told}",
            hint="preprocess with the settings it was learnt with",
        )


def seen_of(card: WeightCard, data: MriDataset, tested: Iterable[str]) -> str | None:
    """Return in words which test people weights have learnt from; None of none.

    Args:
        card: Of the weights.
        data: Whose people are tested.
        tested: Their names, as the data set spells them.
    """
    study = study_known_to(card, data.name, cohort_of(data.name, data.settings))
    if study is not None:
        return f"{study}: its people are, or may be, those of {data.name}"
    names = sorted(set(tested))
    people = [one for one in names if known_to(card, one)]
    if not people:
        return None
    return f"{len(people)} of {counted(len(names), 'person')} who are tested, such as {people[0]}"


def stamped(data: MriDataset) -> MriDataset:
    """Return the same data, of which every result says that test people had been learnt from."""
    if SAME_PEOPLE in data.manifest.stamps:
        return data
    return data.with_manifest(data.manifest.with_stamps(SAME_PEOPLE), data.split)
