"""The person and the session that the name of a file, or of a folder above it, tells.

Known are the ids of OASIS-1 to -4, ADNI and AIBL as the studies and Clinica write them, BIDS names,
and the names that preprocessing gives its own files. One person has one spelling, whoever wrote the
file: ``sub-OAS30010_ses-d0068_T1w`` and ``OAS30010_MR_d0068`` are both of ``OAS30010``.

Sources: https://www.oasis-brains.org; https://adni.loni.usc.edu; https://aibl.org.au;
https://bids-specification.readthedocs.io; Routier et al. (2021), doi:10.3389/fninf.2021.689675
(Clinica).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import ManifestError

#: An id begins and ends where no letter or digit goes on: in ``XOAS1_00612`` there is none.
_FROM, _TO = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
#: How studies write a person -> the one spelling that is kept. BIDS allows letters and digits only.
_STUDIES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(f"{_FROM}{pattern}{_TO}", re.IGNORECASE), person)
    for pattern, person in (
        (r"OAS([12])_(\d{4})", r"OAS\1_\2"),
        (r"sub-OAS(?:IS)?([12])(\d{4})", r"OAS\1_\2"),
        (r"(?:sub-)?OAS([34]\d{4})", r"OAS\1"),
        (r"(\d{3})_S_(\d{4,5})", r"\1_S_\2"),
        (r"sub-ADNI(\d{3})S(\d{4,5})", r"\1_S_\2"),
        (r"AIBL_(\d{1,5})(?=_MR_)", r"AIBL_\1"),
        (r"sub-AIBL(\d{1,5})", r"AIBL_\1"),
        (r"AIBL/(\d{1,5})(?=/)", r"AIBL_\1"),
    )
)
#: A person of a study, as `_STUDIES` spells it.
_OF_STUDY = re.compile(r"OAS[12]_\d{4}|OAS[34]\d{4}|\d{3}_S_\d{4,5}|AIBL_\d{1,5}")
_BIDS = re.compile(rf"(?:^|(?<=[/_]))(sub-[A-Za-z0-9]+){_TO}")
#: How sessions are named, the most telling first; of several, the one nearest to the file's name.
_SESSIONS = (
    re.compile(rf"(?:^|(?<=[/_]))(ses-[A-Za-z0-9]+){_TO}"),
    re.compile(rf"OAS[12]_\d{{4}}_(MR\d+){_TO}", re.IGNORECASE),
    re.compile(rf"OAS[34]\d{{4}}_(?:[A-Za-z]+_)?(d\d{{4}}){_TO}", re.IGNORECASE),
    re.compile(rf"\d{{3}}_S_\d{{4,5}}.*?[_/](I\d+){_TO}", re.IGNORECASE),
    re.compile(rf"AIBL.*?[_/](I\d+){_TO}", re.IGNORECASE),
    re.compile(rf"\d{{3}}_S_\d{{4,5}}_(bl|sc|m\d{{2,3}}|y\d){_TO}", re.IGNORECASE),
)
_ACQUISITION = re.compile(rf"{_FROM}(mpr-\d+){_TO}")
_NEAR = 6  # names: ADNI keeps a DICOM series three folders below the person's
#: As preprocessing names its files: ``<subject>_<session>_slice07``.
_OWN = re.compile(r"(?P<subject>.+?)_(?P<session>MR\d+.*?|ses-[^_]+)(?:_slice\d+)?")


@dataclass(frozen=True)
class Named:
    """What a name tells.

    Attributes:
        person: In the one spelling of a study's id, or as BIDS and preprocessing wrote it.
        session: None where it is not told.
    """

    person: str
    session: str | None


def read_name(path: str) -> Named | None:
    """Return whom a file shows by its name and the folders above it; None where nobody is named.

    Args:
        path: With ``/``, relative to the data set's folder; without the ending of the file.

    Raises:
        ManifestError: The path names two people.
    """
    people = sorted(_people_in(path))
    if len(people) > 1:
        raise ManifestError(
            f"{path} names two people: {people[0]} and {people[1]}",
            hint="rename the file or its folder",
        )
    if people:
        return Named(people[0], _session_in(path))
    own = _OWN.fullmatch(path.rsplit("/", 1)[-1])
    return Named(own["subject"], own["session"]) if own else None


def nearest_name(path: str) -> Named | None:
    """Return whom the file's own name tells, else the nearest folder above that names somebody.

    Of a file that may lie anywhere: folders far above it may be named after somebody else.

    Raises:
        ManifestError: One name holds two people.
    """
    parts = path.split("/")[-_NEAR:]
    found = (read_name("/".join(parts[start:])) for start in range(len(parts) - 1, -1, -1))
    return next((named for named in found if named), None)


def known_person(name: str) -> str | None:
    """Return the one person whose id stands in a name, in one spelling; None where there is none.

    What stands before ``_MR1`` in a name is no id by itself: see `read_name` for such names.
    """
    people = _people_in(name)
    return people.pop() if len(people) == 1 else None


def of_study(person: str) -> bool:
    """Return whether a person is one of a study whose ids are like nobody else's."""
    return _OF_STUDY.fullmatch(person) is not None


def spellings(person: str) -> set[str]:
    """Return every way in which a data set may have written a person, as it was given among them.

    ``sub-OAS30010`` and ``OAS30010`` are one person, so are ``OAS1_0061`` and ``sub-OASIS10061``.
    """
    one = known_person(person) or person
    bare = one.replace("_", "")
    ways = {person, one}
    if of_study(one):
        ways |= {f"sub-{bare}", f"sub-{bare.replace('OAS', 'OASIS', 1)}"}
        ways |= {f"sub-ADNI{bare}"} if bare[:1].isdigit() else set()
    return ways


def hash_subject(subject: str, salt: str = "") -> str:
    """Return a one-way hash of a person's name: 64 bits, in 16 hexadecimal digits.

    Args:
        subject: As it is spelled here: other spellings have other hashes.
        salt: Up to 16 bytes, for BLAKE2b's own salt; checkpoints use none.
    """
    return hashlib.blake2b(subject.encode(), digest_size=8, salt=salt.encode()).hexdigest()


def hash_subjects(subjects: Iterable[str], salt: str = "") -> list[str]:
    """Return the hashes of some people (`hash_subject`), each once, sorted."""
    return sorted({hash_subject(name, salt) for name in subjects})


def _people_in(path: str) -> set[str]:
    """Return the people of studies that a path names, else those of BIDS."""
    return set(_of_studies(path)) or set(_BIDS.findall(path))


def _of_studies(path: str) -> Iterator[str]:
    for pattern, person in _STUDIES:
        for match in pattern.finditer(path):
            yield match.expand(person).upper()


def _session_in(path: str) -> str | None:
    found = (pattern.findall(path) for pattern in _SESSIONS)
    session = next((names[-1] for names in found if names), None)
    acquisition = _ACQUISITION.findall(path)
    return f"{session or 'MR1'}_{acquisition[-1]}" if acquisition else session
