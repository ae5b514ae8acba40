"""What the planted disease changed in a phantom's image: the truth that maps are held against.

It is made again from the settings of a processed data set, so the raw cohort need not be there.

Arrays: ``X Y Z`` voxels in stored order, LAS, as the cohort's images and its truth files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...config import PhantomConfig
from ...config.options import build_config
from ...errors import ManifestError
from .anatomy import Brain, Floats, deform
from .people import AMPLITUDE, Person, draw_traits, plan_people

_AGAIN = "run --mode preprocess again with --dataset phantom"


@dataclass(frozen=True)
class Truth:
    """Where one person's image shows the disease.

    Attributes:
        change: (X, Y, Z) |intensity with the disease - intensity without|, 0 to 1; 0 outside
            the brain.
        brain: (X, Y, Z) voxels where the person's images are not 0.
        planted: Whether the person's images hold that change. If not (a severity of 0, an effect
            of 0, labels that follow age), `change` is what the full disease would have done to
            the same anatomy: where a map of a control would have to look to be as good.
    """

    change: Floats
    brain: NDArray[np.bool_]
    planted: bool


def planted_change(settings: Mapping[str, Any], subject: str) -> Truth:
    """Make a person's truth again; it takes as long as making the person, .2 s at 2 mm.

    Args:
        settings: Content of ``preprocessing.json`` of a data set made from the phantom cohort.
        subject: Name of a person of that cohort, such as ``PHAN_0001``; also without the seed, as
            people were called before names told it.

    Raises:
        ManifestError: The settings are of another cohort or incomplete, or the cohort that they
            describe has no such person.
        ConfigError: A setting of the cohort is of another type or out of range.
    """
    config, seed = _cohort(settings)
    person = _person(config, seed, subject)
    brain, disease = _brain(config, seed, person)
    inside = brain.intensity > 0
    if disease > 0:
        return Truth(brain.change, inside, planted=True)
    full, _ = _brain(config, seed, person, disease=AMPLITUDE)
    return Truth(np.where(inside, full.change, np.float32(0)), inside, planted=False)


def _cohort(settings: Mapping[str, Any]) -> tuple[PhantomConfig, int]:
    """Return how the cohort was made, and its seed; nothing is left to a default."""
    made, split = settings.get("phantom"), settings.get("split")
    wanted = {field.name for field in fields(PhantomConfig)}
    if not isinstance(made, dict) or not isinstance(split, dict) or not wanted <= set(made):
        raise ManifestError(
            "the settings of the data set do not say how its phantoms were made", hint=_AGAIN
        )
    seed = split.get("seed")
    if type(seed) is not int or seed < 0:
        raise ManifestError(f"the seed of the data set is {seed!r}", hint=_AGAIN)
    return build_config(PhantomConfig, made), seed


def _person(config: PhantomConfig, seed: int, subject: str) -> Person:
    people = plan_people(config.phantom_subjects, seed, config.phantom_cause)
    for person in people:
        if subject in (person.subject, replace(person, seed=0).subject):
            return person
    raise ManifestError(
        f"{subject} is none of the {len(people)} people of the phantom cohort",
        hint=_AGAIN,
    )


def _brain(
    config: PhantomConfig, seed: int, person: Person, disease: float | None = None
) -> tuple[Brain, float]:
    """Return the person's brain, and the planted amplitude, unless another one is given."""
    rng = np.random.default_rng([seed, person.index])  # the stream that the cohort draws from
    variety = config.phantom_variety
    traits = draw_traits(person, config.phantom_effect, rng, config.phantom_cause, variety)
    amplitude = traits["disease"] if disease is None else disease
    return deform(config.phantom_voxel, amplitude, traits["ageing"], rng, variety), amplitude
