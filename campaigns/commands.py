"""Commands of the program, run as people run them, on phantoms so small that they take seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.config import RunConfig
from src.config.flags import read_by
from src.errors import MriError

ROOT = Path(__file__).resolve().parents[1]
#: Where campaigns write their totals, and the inputs that found a fault.
RESULTS = ROOT / "results" / "campaigns"
RUN = "tiny"
_SMALL = {
    **{"dataset": "phantom_3d", "backbone": "simple", "classes": "2", "weights": "none"},
    **{"phantom_subjects": "12", "phantom_voxel": "4", "volume_size": "32", "epochs": "2"},
    **{"bootstrap": "100", "samples": "1", "graded": "0", "device": "cpu", "workers": "1"},
    **{"run": RUN, "method": "hirescam"},
}


def words(mode: str, root: Path, **other: object) -> list[str]:
    """Return the flags of a small run that stays in `root`; those that the mode reads.

    Args:
        mode: Of the run.
        root: Gets ``data``, ``checkpoints`` and ``results``.
        other: Flags in place of the usual ones; None leaves one out.
    """
    flags: dict[str, object] = {
        **_SMALL,
        "data_root": root / "data",
        "checkpoint_dir": root / "checkpoints",
        "results_dir": root / "results",
        **other,
    }
    read = read_by(mode, RunConfig)
    given = [word for name in flags if name in read for word in _flag(name, flags[name])]
    return ["--mode", mode, *given]


def _flag(name: str, value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", str(value)]


def environment(**more: str) -> dict[str, str]:
    """Return the variables of a command: one thread, and no colour."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "80", **more}


def run_main(
    given: Sequence[str], *, env: Mapping[str, str] | None = None, seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run ``main.py`` to its end."""
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, str(ROOT / "main.py"), *given],
        capture_output=True,
        text=True,
        errors="replace",
        env=dict(env or environment()),
        timeout=seconds,
        check=False,
    )


def run_whole(given: Sequence[str]) -> None:
    """Run a command that must succeed, since a campaign needs what it makes.

    Raises:
        MriError: It did not.
    """
    ended = run_main(given)
    if ended.returncode:
        raise MriError(f"a campaign cannot begin: {ended.stderr[-600:]}")
