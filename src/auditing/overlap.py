"""Two splits, studies or checkpoints that a user names: opened, compared, and told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..data.split_files import SplitFile, is_split_table, read_split
from ..errors import DataNotFoundError, ManifestError
from ..manifest import MANIFEST, Manifest
from .split_comparison import split_checks, split_of_checkpoint, split_of_manifest
from .two_studies import read_study, study_checks
from .verdicts import FAIL, PASS, WARN

SCHEMA = "overlap/1"
_CHECKPOINTS = (".pth", ".pt", ".ckpt")
_MEND = {
    "studies": "leave these people out of one of the two",
    "splits": "score people who neither trained nor chose the model",
}


def overlap(
    first: Path,
    second: Path,
    *,
    checkpoint_people: Callable[[Path], Sequence[str]],
    seed: int = 0,
) -> dict[str, Any]:
    """Compare whom two files or folders name.

    Two data sets, or tables of two studies, are looked through for people who are in both. Any
    other two are splits, of which the one must not test whom the other trained on.

    Args:
        first: A data set, a clinical table, a split file or folder, or a checkpoint.
        second: Likewise.
        checkpoint_people: Reads the hashes of the people of a checkpoint.
        seed: Of the images that are looked for.

    Returns:
        What ``audit.json`` holds: ``verdict``, ``checks``, and of two studies ``shared``.

    Raises:
        DataNotFoundError: One of them is not there.
        ManifestError: One of them is damaged, or they cannot be compared.
        CheckpointError: A checkpoint is damaged.
    """
    opened = [_open(path, checkpoint_people) for path in (first, second)]
    a, b = opened
    report: dict[str, Any] = {"schema": SCHEMA, "folder": str(first), "against": str(second)}
    if isinstance(a, Manifest) and isinstance(b, Manifest):
        checks, shared = study_checks(a, b, seed=seed)
        more = {"shared": shared.to_dict("records"), "mend": _MEND["studies"]}
    else:
        sides = [_as_split(one, path) for one, path in zip(opened, (first, second), strict=True)]
        checks, more = split_checks(*sides), {"mend": _MEND["splits"]}
    found = {check.verdict for check in checks}
    verdict = next((one for one in (FAIL, WARN) if one in found), PASS)
    return report | {"verdict": verdict, "checks": [one.to_dict() for one in checks]} | more


def format_overlap(report: dict[str, Any]) -> str:
    """Return what was found as a short table for the log."""
    lines = [f"A: {report['folder']}", f"B: {report['against']}"]
    for check in report["checks"]:
        lines.append(f"  {check['verdict']:<10}{check['name']:<18}{check['sentence']}")
        if check["examples"] and check["verdict"] != PASS:
            lines.append(f"{'':<30}{', '.join(check['examples'])}")
    return "\n".join([*lines, f"  verdict: {report['verdict']}"])


def _open(path: Path, checkpoint_people: Callable[[Path], Sequence[str]]) -> Manifest | SplitFile:
    if path.is_dir():
        return Manifest.read(path) if (path / MANIFEST).is_file() else read_split(path)
    if not path.is_file():
        raise DataNotFoundError(
            path, hint="name a data set, a split file, a study's table, or a checkpoint"
        )
    if path.suffix.lower() in _CHECKPOINTS:
        return split_of_checkpoint(path, checkpoint_people(path))
    return read_split(path) if is_split_table(path) else read_study(path)


def _as_split(opened: Manifest | SplitFile, path: Path) -> SplitFile:
    if isinstance(opened, SplitFile):
        return opened
    if opened.table["split"].isna().all():
        raise ManifestError(
            f"{path} puts nobody on a side, and the other one is a split",
            hint="compare it with a study: a data set, or its table",
        )
    return split_of_manifest(opened)
