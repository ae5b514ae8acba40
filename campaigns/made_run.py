"""A small run with every file that the stages write, which campaigns damage copies of."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from src.cli import main
from src.errors import MriError

from .commands import ROOT, RUN, environment, words

SCANS = ("PHAN_0001_MR1", "PHAN_0002_MR1")


def make_run(root: Path) -> Path:
    """Preprocess, train, evaluate, explain, predict and cross-validate phantoms.

    Args:
        root: Empty folder.

    Returns:
        `root`, with ``data``, ``checkpoints``, ``results`` and two scans in ``scans``.
    """
    # In one process: six that load the same libraries would take twice the time.
    program = [sys.executable, "-m", "campaigns.made_run", str(root)]
    ended = subprocess.run(  # noqa: S603 - this module
        program, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise MriError(f"a campaign cannot begin: {ended.stderr[-600:]}")
    return root


def _run_stages(root: Path) -> int:
    """Run the stages one after the other; return the first exit status that is not 0."""
    for mode in ("preprocess", "train", "evaluate", "gradcam"):
        if status := main(words(mode, root, report=False)):
            return status
    copy_scans(root)
    checkpoint = root / "checkpoints" / RUN / "best_model.pth"
    given = words("predict", root, input=root / "scans", checkpoint=checkpoint, report=False)
    small = {"folds": 2, "repeats": 1, "epochs": 1, "report": False}
    return main(given) or main(words("crossval", root, run=f"{RUN}_crossval", **small))


def copy_scans(root: Path) -> None:
    """Put two people's raw scans into a folder of their own."""
    folder = root / "scans"
    folder.mkdir()
    for name in SCANS:
        for path in (root / "data" / "phantom").rglob(f"{name}_*masked_gfc.*"):
            shutil.copyfile(path, folder / f"{name}{path.suffix}")


if __name__ == "__main__":
    sys.exit(_run_stages(Path(sys.argv[1])))
