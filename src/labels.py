"""Stages of dementia: CDR <-> stage names, folder names, and schemes that merge stages.

The Clinical Dementia Rating (Morris 1993, doi:10.1212/WNL.43.11.2412-a) is 0, 0.5, 1, 2 or 3. A
missing rating stays missing: it is never read as healthy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import ConfigError, ManifestError

#: Stage names, mildest first; a stage's position is its ordinal value.
STAGES = ("NonDemented", "VeryMildDemented", "MildDemented", "ModerateDemented")
_STAGE_OF_CDR = {0.0: 0, 0.5: 1, 1.0: 2, 2.0: 3, 3.0: 3}
_FOLDER_WORDS = {"non": 0, "no": 0, "verymild": 1, "mild": 2, "moderate": 3}
_FOLDER = re.compile(r"(non?|verymild|mild|moderate)(?:dem(?:ented|entia)?|impair(?:ed|ment))")
#: What diagnoses are called, without blanks, in lower case.
_DIAGNOSES = frozenset(
    {
        *("ad", "alzheimer", "alzheimers", "alzheimerdisease", "alzheimersdisease"),
        *("mci", "emci", "lmci", "smci", "pmci", "mildcognitiveimpairment"),
        *("cn", "nc", "hc", "normal", "healthy", "control", "controls", "cognitivelynormal"),
        *("smc", "dementia", "demented", "ftd"),
    }
)
#: Why a diagnosis gives no label.
NO_STAGE = "a diagnosis is no CDR stage, as people with one diagnosis have several ratings"


def stage_from_cdr(cdr: float) -> str:
    """Return the stage name of a CDR of 0, 0.5, 1, 2 or 3.

    Raises:
        ManifestError: `cdr` is no step of the scale; a missing rating must be handled before.
    """
    try:
        return STAGES[_STAGE_OF_CDR[float(cdr)]]
    except (KeyError, ValueError):
        raise ManifestError(
            f"CDR {cdr!r} is not on the scale 0, 0.5, 1, 2, 3", hint="correct the table"
        ) from None


def stage_from_folder(name: str) -> str | None:
    """Return the stage that a class folder's name means, or None.

    Case, spaces, underscores, hyphens and the endings Demented / Dementia / Dem / Impaired /
    Impairment do not matter: ``Very mild Dementia`` and ``VeryMildDemented`` are the same stage,
    and ``No Impairment`` is NonDemented.
    """
    match = _FOLDER.fullmatch(re.sub(r"[^a-z]", "", name.lower()))
    return STAGES[_FOLDER_WORDS[match[1]]] if match else None


def is_diagnosis(name: str) -> bool:
    """Return whether a folder or a cell names a diagnosis: ``AD``, ``MCI``, ``CN`` and the like."""
    return re.sub(r"[^a-z]", "", name.lower()) in _DIAGNOSES


@dataclass(frozen=True)
class ClassScheme:
    """How the four stages become the classes of a model.

    Attributes:
        classes: Class names, mildest first.
        index_of_stage: For each of `STAGES`, the index of its class.
    """

    classes: tuple[str, ...]
    index_of_stage: tuple[int, int, int, int]

    def index(self, stage: str) -> int:
        """Return the class index of a stage name."""
        return self.index_of_stage[STAGES.index(stage)]

    @property
    def names(self) -> dict[str, str]:
        """Stage name -> class name."""
        return {stage: self.classes[self.index(stage)] for stage in STAGES}


_SCHEMES = {
    4: ClassScheme(STAGES, (0, 1, 2, 3)),
    3: ClassScheme(("NonDemented", "VeryMildDemented", "MildOrWorse"), (0, 1, 2, 2)),
    2: ClassScheme(("NonDemented", "Demented"), (0, 1, 1, 1)),
}


def class_scheme(num_classes: int) -> ClassScheme:
    """Return the scheme of 4 stages, 3 (CDR >= 1 together) or 2 (CDR 0 against > 0).

    Raises:
        ConfigError: Another number was asked for.
    """
    if not isinstance(num_classes, int) or num_classes not in _SCHEMES:
        raise ConfigError(f"no scheme of {num_classes!r} classes", hint="ask for 4, 3 or 2")
    return _SCHEMES[num_classes]
