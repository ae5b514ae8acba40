"""The people of the phantom cohort: how many of each stage, who they are, their table rows.

What depends on a person's stage does so through severity times effect alone, so at effect 0
neither image nor table knows the label. With the cause "age" nothing is planted and labels follow
age, which opens everybody's ventricles: an image tells them, but no better than a birthday does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...labels import STAGES
from .anatomy import Brain

COLUMNS = ("ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay")
CDR = (0.0, 0.5, 1.0, 2.0)
SHARES = (0.50, 0.25, 0.15, 0.10)  # of the rated people, by stage
NWBV_ERROR = 0.003  # standard deviation, as a segmentation has; without it nWBV tells all
SEVERITY, SEVERITY_SD = (0.0, 0.4, 0.75, 1.0), 0.08
AMPLITUDE = 0.95  # of the radial fields at severity 1
AGE = (74, 9)  # mean and standard deviation of rated people, in years
AGE_NOISE = 5.0  # standard deviation in years of what else decides, where labels follow age
#: Standard deviation of what else opens ventricles in everybody, and its growth with variety.
AGEING_SD, AGEING_VARIETY = 0.05, 0.10
AGEING = {"disease": 0.008, "age": 0.02}  # opening of the ventricles per year over 60


@dataclass(frozen=True)
class Person:
    """Who is made.

    Attributes:
        index: From 1.
        stage: 0 to 3, or None (not rated).
        sessions: 1 or 2.
        age: In years, where the stage was drawn from it; None where it is drawn later.
        seed: Of the cohort. People of two seeds are two people, so their names differ.
    """

    index: int
    stage: int | None
    sessions: int
    age: int | None = None
    seed: int = 0

    @property
    def subject(self) -> str:
        """Name as in OASIS: ``PHAN_0001`` of seed 0, ``PHAN7_0001`` of seed 7."""
        return f"PHAN{self.seed or ''}_{self.index:04d}"


def plan_people(rated: int, seed: int, cause: str = "disease") -> list[Person]:
    """Return the people: `rated` of them by `SHARES`, a tenth more unrated, a tenth seen twice.

    The order is shuffled, so that an ID tells nothing of the stage. With `cause` "age" the oldest
    get the worst stages, up to `AGE_NOISE`.
    """
    counts = _stage_counts(rated)
    stages = [stage for stage, count in enumerate(counts) for _ in range(count)]
    everyone = [*stages, *[None] * max(1, round(rated / 10))]
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(len(everyone))
    twice = set(rng.choice(len(everyone), max(1, round(len(everyone) / 10)), replace=False))
    people = [
        Person(i + 1, everyone[at], 1 + (i in twice), seed=seed) for i, at in enumerate(order)
    ]
    return people if cause == "disease" else _staged_by_age(people, seed)


def _staged_by_age(people: list[Person], seed: int) -> list[Person]:
    """Deal the same stages out by age and chance."""
    rng = np.random.default_rng([seed, 0, 1])
    rated = [person for person in people if person.stage is not None]
    ages = np.clip(rng.normal(*AGE, len(rated)), 60, 96).astype(int)
    rank = np.argsort(ages + rng.normal(0, AGE_NOISE, len(rated)))
    stages = sorted(person.stage for person in rated if person.stage is not None)
    staged = {
        rated[at].index: replace(rated[at], stage=stage, age=int(ages[at]))
        for at, stage in zip(rank, stages, strict=True)
    }
    return [staged.get(person.index, person) for person in people]


def _stage_counts(rated: int) -> list[int]:
    """Share out `rated` people by largest remainder: 80 -> 40, 20, 12, 8."""
    exact = [rated * round(100 * share) / 100 for share in SHARES]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: rated - sum(counts)]:
        counts[i] += 1
    return counts


def draw_traits(
    person: Person,
    effect: float,
    rng: np.random.Generator,
    cause: str = "disease",
    variety: float = 0.0,
) -> dict[str, Any]:
    """Draw who a person is; what depends on the stage does so through `effect` or age alone."""
    severity = rng.normal(SEVERITY[person.stage or 0], SEVERITY_SD)
    severity = 0.0 if person.stage is None else float(np.clip(severity, 0, 1))
    planted = severity * effect if cause == "disease" else 0.0
    rated_age = np.clip(rng.normal(*AGE) + 4 * planted, 60, 96)
    age = int(rng.integers(18, 60) if person.stage is None else rated_age)
    age = age if person.age is None else person.age
    # A confounder: ventricles open with age in everybody.
    other = rng.normal(0, AGEING_SD + AGEING_VARIETY * variety)
    ageing = np.clip(AGEING[cause] * (age - 60) + other, -0.25, 0.8)
    return {
        "stage": None if person.stage is None else STAGES[person.stage],
        "severity": severity,
        "disease": AMPLITUDE * planted,
        "ageing": float(ageing),
        "age": age,
        "sex": str(rng.choice(["F", "M"])),
        "education": int(rng.integers(1, 6)),
        "ses": int(rng.integers(1, 6)),
        "mmse": int(np.clip(np.rint(rng.normal(29 - 12 * planted, 2)), 0, 30)),
        "asf": round(float(np.clip(rng.normal(1.2, 0.1), 0.9, 1.6)), 3),
        "delay": int(rng.integers(1, 91)),
    }


def table_row(
    person: Person, session: int, traits: dict[str, Any], brain: Brain, rng: np.random.Generator
) -> dict[str, Any]:
    """Return a session's row; as in OASIS-1, an unrated person has no MMSE either."""
    rated = person.stage is not None
    return {
        "ID": f"{person.subject}_MR{session}",
        "M/F": traits["sex"],
        "Hand": "R",
        "Age": traits["age"],
        "Educ": traits["education"] if rated else None,
        "SES": traits["ses"] if rated else None,
        "MMSE": traits["mmse"] if rated else None,
        "CDR": None if person.stage is None else CDR[person.stage],
        # The images are in atlas space: the head's own size is the atlas's over the scale.
        "eTIV": round(brain.volume / traits["asf"]),
        "nWBV": round(brain.tissue_fraction + rng.normal(0, NWBV_ERROR), 3),
        "ASF": traits["asf"],
        "Delay": traits["delay"] if session > 1 else "N/A",
    }
