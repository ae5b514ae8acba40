"""Stages of a run that failed while others went on: what the report says of them.

``--mode full`` makes the report even where a late stage failed. What failed, and why, stands in
`FAILURES` of the run's folder until the stage succeeds.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ..config.own_files import read_own
from ..errors import MriError
from ..files import write_json

logger = logging.getLogger(__name__)

FAILURES = "failed.json"


def failures_in(folder: Path) -> dict[str, str]:
    """Return stage -> why it failed; a file that cannot be read tells of none, and is named."""
    path = folder / FAILURES
    if not path.is_file():
        return {}
    try:
        return read_own(path, "failed", hint="")
    except (MriError, OSError) as error:
        logger.warning("%s; it is passed over", getattr(error, "message", error))
        return {}


def note_failure(folder: Path, stage: str, reason: str) -> Path:
    """Write down that a stage failed, and why in one sentence."""
    return write_json(folder / FAILURES, failures_in(folder) | {stage: reason})


def forget_failure(folder: Path, stage: str) -> None:
    """Take back that a stage failed; with the last one the file goes."""
    left = failures_in(folder)
    if left.pop(stage, None) is None:
        return
    if left:
        write_json(folder / FAILURES, left)
    else:
        (folder / FAILURES).unlink()
