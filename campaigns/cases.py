"""One family's inputs, made from a seed and a number, and judged."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import warnings
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from src.files import shown

from .family import Family
from .mutations import mutate, replace_place
from .verdicts import ACCEPTED, GOOD, PATIENCE, Verdict, judge

_PLACES = 0.05  # share of inputs whose file is replaced by something that is no file
_LONGEST = 120.0  # seconds for a valid file, on a machine that has other work
_PER_BYTE = 4  # a character of text may take four bytes in memory
_MOST_KEPT = 3  # inputs kept of one fault


class Cases:
    """A family's valid files, what they take to read, and inputs made from them.

    Raises:
        RuntimeError: A valid file is not read: nothing could be learnt from damaged ones.
    """

    def __init__(self, family: Family, seed: int, work: Path, kept: Path) -> None:
        self.family, self.seed, self.work, self.kept = family, seed, work, kept
        self._valid = work / "valid"
        self._valid.mkdir()
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")  # libraries warn of damage; this process is silent
        family.make(self._valid)
        begun = time.monotonic()
        self._needed = max(self._read_valid() for _ in range(2))
        took = (time.monotonic() - begun) / (2 * len(family.attacked))
        self._patience = max(PATIENCE, 4 * took)
        self._seen: dict[str, int] = {}

    def _read_valid(self) -> int:
        """Return bytes that the valid files take to read."""
        most = 0
        for name in self.family.attacked:
            folder = self._copy()
            read = partial(self.family.read, folder, name)
            verdict = judge(read, folder, None, patience=_LONGEST)
            if verdict.kind != ACCEPTED:
                raise RuntimeError(f"{name}: {verdict.kind} {verdict.where}: {verdict.said}")
            most = max(most, verdict.grown)
        return most

    def run(self, number: int) -> tuple[dict[str, Any], Verdict]:
        """Make input `number`, and return what was done and what became of it."""
        rng = Random(f"{self.seed} {self.family.name} {number}")  # noqa: S311 - no secret
        folder = self._copy()
        name = rng.choice(self.family.attacked)
        path, done, more = self._attack(rng, folder / name)
        attacked = os.path.relpath(path, folder)
        about = {"file": shown(attacked), "done": done}
        needed = self._needed + _PER_BYTE * more
        family = self.family
        verdict = judge(
            lambda: family.read(folder, attacked),
            folder,
            needed,
            resumes=family.resumes,
            patience=self._patience,
        )
        if verdict.kind not in GOOD:
            self._keep(number, path, about, verdict)
        return about, verdict

    def _attack(self, rng: Random, path: Path) -> tuple[Path, list[str], int]:
        """Change a file; return where it is, what was done, and its size."""
        data = path.read_bytes()
        if self.family.places and rng.random() < _PLACES:
            path, done = replace_place(rng, path)
            return path, [done], len(data)
        changed, names = mutate(rng, data, self.family)
        path.unlink()  # it is a link to the valid one
        path.write_bytes(changed)
        return path, names, len(changed)

    def _copy(self) -> Path:
        """Return a new folder with the valid files, in place of the last one."""
        folder = self.work / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._valid, folder, copy_function=_link)
        return folder

    def _keep(self, number: int, source: Path, about: dict[str, Any], verdict: Verdict) -> None:
        """Keep the attacked file, of the first inputs that find a fault."""
        seen = self._seen.get(verdict.signature, 0)
        self._seen[verdict.signature] = seen + 1
        if seen >= _MOST_KEPT:
            return
        place = self.kept / f"{self.family.name}_{number}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if source.is_file() and not source.is_symlink():
            shutil.copyfile(source, place / source.name)
        told = {"seed": self.seed, "family": self.family.name, "number": number, **about}
        text = json.dumps(told | verdict.to_dict(), indent=2)
        (place / "input.json").write_text(text + "\n", encoding="utf-8")


def _link(source: str, target: str) -> str:
    """Link a file: a copy that costs nothing, since the program never writes into one."""
    os.link(source, target)
    return target
