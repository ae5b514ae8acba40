"""Every script of the gallery runs from another folder, and leaves the project as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
#: Where the commands of the project write, unless they are told another place.
WATCHED = ("checkpoints", "data", "examples", "notebooks", "results")


def files_of_the_project() -> dict[Path, int]:
    """Return when each file was written last: of `WATCHED` folders, and at the top."""
    found = [path for folder in WATCHED for path in (ROOT / folder).rglob("*")]
    found += [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    return {
        path: path.stat().st_mtime_ns if path.is_file() else 0
        for path in found
        if "__pycache__" not in path.parts
    }


def test_the_gallery_has_scripts():
    assert SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs_and_writes_elsewhere(script, tmp_path):
    empty, temporary = tmp_path / "empty", tmp_path / "temporary"
    empty.mkdir()
    temporary.mkdir()
    before = files_of_the_project()
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "TQDM_DISABLE": "1",
        "TMPDIR": str(temporary),
        "TMP": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, str(script)], cwd=empty, env=env, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(empty.iterdir()) == []
    assert files_of_the_project() == before
    assert any(temporary.iterdir())
