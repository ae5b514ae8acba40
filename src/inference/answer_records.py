"""Answers that were given already, so that a stopped run goes on where it stopped.

A record holds for what it was made of: the bytes of the scan and of the checkpoints, the settings,
and the versions of the libraries. When one of them differs, the scan is answered again.

Axes: M checkpoints, K classes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import RunConfig
from ..config.own_files import read_own
from ..files import open_file, read_json, write_json
from ..preprocessing.slice_files import file_of
from ..report.own_results import check_answer
from ..runtime import progress
from .answers import Answer
from .ensemble import Ensemble
from .inputs import Input

logger = logging.getLogger(__name__)
#: Raise when the same scan, checkpoint and settings no longer give the same answer.
VERSION = 4
FOLDER = "answers"


@dataclass(frozen=True, eq=False)
class GivenAnswer:
    """An answer with what is needed to join it with others of the same person.

    Attributes:
        answer: The entry of ``predictions.json``.
        logits: (M, K) of each checkpoint, not calibrated, the mean over the images.
        was_raw: Whether the scan had to be brought to the standard first.
    """

    answer: Answer
    logits: NDArray[np.float64]
    was_raw: bool


class AnswerRecords:
    """One small file for each answered scan.

    Args:
        folder: Of the stage's files; records stand in ``answers`` in it, maps in ``maps``.
        ensemble: What answers.
        config: Settings.
        versions: Of the libraries that compute.
    """

    def __init__(
        self, folder: Path, ensemble: Ensemble, config: RunConfig, versions: dict[str, str]
    ) -> None:
        self.folder = folder
        self._let_in = frozenset(config.scan.names_let_in)
        scan = {name: value for name, value in asdict(config.scan).items() if name != "let_in"}
        explained = (config.explain.method, config.explain.layer) if config.predict.maps else None
        models = [_digest([member.path]) for member in ensemble.members]
        self._classes = ensemble.classes
        self._shape = (len(ensemble.members), len(ensemble.classes))
        self._about = [VERSION, models, scan, explained, versions]

    def read(self, items: Iterable[Input]) -> dict[str, GivenAnswer]:
        """Return the answers that still hold, by name of the scan.

        An answer whose map was removed does not: it is made again.
        """
        there = [item for item in items if self._path(item.name).is_file()]
        found = {}
        for item in progress(there, desc="kept answers") if there else there:
            given = self._read(item)
            if given is not None:
                found[item.name] = given
        return found

    def write(self, item: Input, given: GivenAnswer, files: Iterable[Path]) -> None:
        """Keep an answer; its map files are there already."""
        content = {
            "key": self._key(item),
            "answer": given.answer,
            "logits": given.logits.tolist(),
            "was_raw": given.was_raw,
            "files": [path.relative_to(self.folder).as_posix() for path in files],
        }
        write_json(self._path(item.name), content)

    def remove_others(self, names: Iterable[str]) -> None:
        """Remove records and maps of all scans but these, and what a killed run left half done."""
        records = [self._path(name) for name in names]
        kept = {path.name for path in records}
        maps = {name for path in records for name in read_json(path)["files"]}
        for path in _files_in(self.folder / FOLDER):
            if path.name not in kept:
                path.unlink()
        for path in _files_in(self.folder / "maps"):
            if path.relative_to(self.folder).as_posix() not in maps:
                path.unlink()

    def _read(self, item: Input) -> GivenAnswer | None:
        path = self._path(item.name)
        try:
            content = read_own(path, "kept_answer", hint="")
            if content["key"] != self._key(item):
                return None
            logits, answer = np.array(content["logits"], float), content["answer"]
            check_answer(answer, self._classes)
            if logits.shape != self._shape:
                raise ValueError(f"logits are not {self._shape[0]} x {self._shape[1]} numbers")
            if answer["name"] != item.name:
                raise ValueError(f"it is of {answer['name']}")
            there = all((self.folder / name).is_file() for name in content["files"])
            return GivenAnswer(answer, logits, content["was_raw"]) if there else None
        except (OSError, ValueError) as error:  # damaged, or of a scan that cannot be read any more
            why = getattr(error, "message", str(error))
            told = why if path.name in why else f"{path} is damaged: {why}"
            logger.warning("%s; the scan is answered again", told)
            return None

    def _key(self, item: Input) -> str:
        """Return a hash of everything that the answer depends on."""
        who = [item.name, item.kind, str(item.source), item.subject, item.session, item.age]
        about = [self._about, who, item.name in self._let_in, _digest(item.files())]
        text = json.dumps(about, default=str, sort_keys=True)
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()

    def _path(self, name: str) -> Path:
        return self.folder / FOLDER / f"{name}.json"


def _digest(paths: list[Path]) -> list[tuple[str, Any]]:
    """Return name and hash of the content of each file, of a ZIP of slices once."""
    found = []
    for path in dict.fromkeys(file_of(path) for path in paths):
        with open_file(path) as file:
            found.append((path.name, hashlib.file_digest(file, "blake2b").hexdigest()[:32]))
    return found


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
