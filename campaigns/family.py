"""A family of inputs: how a valid one is made, what is done to it, and what reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

#: Content of a file -> other content; its name is what a report calls it.
Mutation = Callable[[Random, bytes], bytes]


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        name: In tables and on the command line.
        make: Writes valid files into an empty folder.
        read: Folder, and the name of the attacked file in it -> whatever the program makes of it.
        attacked: Names of the files that are attacked, one at a time.
        shapes: Mutations that know the format; those that do not are added to them.
        share: Inputs beside those of a family with 1.
        places: Whether something that is no file is also put in the file's place.
        known_only: Whether mutations that do not know the format are left out.
        resumes: Whether a refusal may leave whole files, for a next call to go on from.
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path, str], object]
    attacked: tuple[str, ...]
    shapes: tuple[Mutation, ...] = ()
    share: float = 1.0
    places: bool = True
    known_only: bool = False
    resumes: bool = False
