"""What to do about a run that has no results: score it, or take one that is there."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from ..errors import nearest
from ..files import open_file


def how_to_have(results_dir: Path, name: str, known: Iterable[str], flag: str = "") -> str:
    """Return what to do about a run without results: score it, or take one that is there.

    Args:
        results_dir: Folder of the runs.
        name: Of the run asked for.
        known: Names of those that can be taken.
        flag: What a name follows on the command line, such as ``--run``; empty where nothing does.

    Returns:
        The command that scores a run that was trained; else the nearest names and the others that
        are there; empty where none is.
    """
    settings = results_dir / name / "config.json"
    if settings.is_file():
        folds = (settings.parent / "folds.csv").is_file()
        mode = "crossdata" if is_crossdata(settings.parent) else "crossval" if folds else "evaluate"
        words = ("python", "main.py", "--mode", mode, "--config", str(settings), "--run", name)
        return shlex.join(words)
    known = sorted(known)
    near = nearest(name, known, most=3)
    others = ", ".join([one for one in known if one not in near][:10])
    if near:
        said = f"did you mean {' or '.join(f'{flag} {one}'.strip() for one in near)}?"
        return f"{said} Also in {results_dir}: {others}" if others else said
    return f"runs in {results_dir}: {others}" if others else ""


def is_crossdata(folder: Path) -> bool:
    """Return whether a folder of results is that of ``--mode crossdata``, whose folds have names.

    Args:
        folder: With ``folds.csv`` or without.
    """
    path = folder / "folds.csv"
    if not path.is_file():
        return False
    with open_file(path) as file:
        return file.readline(100).startswith(b"name,")
