"""Labels: CDR <-> stage names, folder names, diagnoses, and schemes that merge labels.

The Clinical Dementia Rating (Morris 1993, doi:10.1212/WNL.43.11.2412-a) is 0, 0.5, 1, 2 or 3. A
missing rating stays missing: it is never read as healthy.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
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
    """How the labels of one kind become the classes of a model.

    Attributes:
        classes: Class names, mildest first.
        labels: Labels of a manifest, mildest first: `STAGES`, diagnoses, or what became of people.
        index_of_label: For each of `labels`, the index of its class.
    """

    classes: tuple[str, ...]
    labels: tuple[str, ...]
    index_of_label: tuple[int, ...]

    def index(self, label: str) -> int:
        """Return the class index of a label.

        Raises:
            ManifestError: It is a label of another kind.
        """
        if label not in self.labels:
            kind = kind_of_label(label)
            raise ManifestError(
                f"label {label!r} is none of {', '.join(self.labels)}",
                hint=f"these people carry another kind of label: --label {kind}",
            )
        return self.index_of_label[self.labels.index(label)]

    @property
    def names(self) -> dict[str, str]:
        """Label -> class name."""
        return {label: self.classes[self.index(label)] for label in self.labels}


#: Clinical diagnoses, mildest first; none of them is a stage of the CDR.
DIAGNOSES = ("CN", "MCI", "AD")
#: What became of people who were at CDR 0: no higher rating in the time asked for, or one.
OUTCOMES = ("Stable", "Converter")
#: Kind of label -> number of classes -> scheme; the first number is the default.
_SCHEMES = {
    "stage": {
        4: ClassScheme(STAGES, STAGES, (0, 1, 2, 3)),
        3: ClassScheme(("NonDemented", "VeryMildDemented", "MildOrWorse"), STAGES, (0, 1, 2, 2)),
        2: ClassScheme(("NonDemented", "Demented"), STAGES, (0, 1, 1, 1)),
    },
    "diagnosis": {
        3: ClassScheme(DIAGNOSES, DIAGNOSES, (0, 1, 2)),
        2: ClassScheme(("CN", "MCIorAD"), DIAGNOSES, (0, 1, 1)),
    },
    "conversion": {2: ClassScheme(OUTCOMES, OUTCOMES, (0, 1))},
}
#: Kinds of labels that ``--label`` takes.
LABEL_KINDS = tuple(_SCHEMES)
#: Every label that a manifest may hold, the kinds one after the other, mildest first in each.
LABELS = (*STAGES, *DIAGNOSES, *OUTCOMES)
#: Name of every class of every scheme.
CLASS_NAMES = tuple(
    dict.fromkeys(name for by in _SCHEMES.values() for one in by.values() for name in one.classes)
)
#: Said of every result of other labels than stages, whose words tables and figures use.
HOW_TO_READ = {
    "diagnosis": "labels are diagnoses: read CN for CDR 0, and MCI or AD for demented",
    "conversion": "labels are conversions: read stable for CDR 0, and converter for demented",
}


def class_scheme(num_classes: int | None = None, kind: str = "stage") -> ClassScheme:
    """Return how labels become classes.

    Args:
        num_classes: Of stages 4, 3 (CDR >= 1 together) or 2 (CDR 0 against > 0); of diagnoses 3 or
            2 (CN against MCI and AD together); of conversions 2. None takes the most.
        kind: One of `LABEL_KINDS`.

    Raises:
        ConfigError: Another number was asked for.
    """
    schemes = _SCHEMES[kind]
    if num_classes is None:
        return next(iter(schemes.values()))
    if not isinstance(num_classes, int) or num_classes not in schemes:
        *others, last = map(str, schemes)
        of = "" if kind == "stage" else f" of --label {kind}"
        raise ConfigError(
            f"no scheme of {num_classes!r} classes{of}",
            hint=f"ask for {', '.join(others)} or {last}" if others else f"ask for {last}",
        )
    return schemes[num_classes]


def numbers_of_classes(kind: str) -> tuple[int, ...]:
    """Return how many classes labels of a kind can be merged to, the most first."""
    return tuple(_SCHEMES[kind])


def kind_of_label(label: str) -> str:
    """Return the kind that a label is of."""
    return next(kind for kind, by in _SCHEMES.items() if label in next(iter(by.values())).labels)


def kind_of_classes(classes: Sequence[str]) -> str:
    """Return the kind of label that a model's classes are of; ``stage`` of a user's own classes."""
    for kind, by in _SCHEMES.items():
        if any(scheme.classes == tuple(classes) for scheme in by.values()):
            return kind
    return "stage"


def labels_like(labels: Collection[str]) -> tuple[str, ...]:
    """Return all labels of the kind that some labels are of; of none, the stages."""
    kind = kind_of_label(next(iter(labels))) if len(labels) else "stage"
    return class_scheme(kind=kind).labels


def diagnosis_of(text: str) -> str | None:
    """Return ``CN``, ``MCI`` or ``AD`` for a study's way of writing it; None for any other word.

    EMCI and LMCI are MCI, and ADNI's ``Dementia`` is AD, as that study includes no other one. SMC
    (a memory concern without an impairment) is not taken for CN: it stays without a label.
    """
    plain = re.sub(r"[^a-z]", "", text.lower())
    return next((name for name, words in _SAME_DIAGNOSIS.items() if plain in words), None)


_SAME_DIAGNOSIS = {
    "CN": {"cn", "nc", "hc", "normal", "healthy", "control", "controls", "cognitivelynormal"},
    "MCI": {"mci", "emci", "lmci", "smci", "pmci", "mildcognitiveimpairment"},
    "AD": {
        "addementia",
        *("ad", "alzheimer", "alzheimers", "alzheimerdisease", "alzheimersdisease"),
        "dementia",
    },
}
