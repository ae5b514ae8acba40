"""`make model`, in a copy of the Makefile with a program in Python's place that notes its calls."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None or os.name == "nt", reason="no make here")

PYTHON = """#!/bin/sh
echo "$@" >> calls
case "$*" in
  *preprocess*) mkdir -p data/kaggle_2d; touch data/kaggle_2d/manifest.csv;;
  *train*) mkdir -p checkpoints/kaggle_model; touch checkpoints/kaggle_model/best_model.pth;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").write_text("torch==2.0.0\n", encoding="utf-8")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)
    return tmp_path


def make_model(clone):
    """Return exit status, what was printed, and the calls of Python that are no install."""
    (clone / "calls").unlink(missing_ok=True)
    ran = subprocess.run(
        [MAKE, "model"], cwd=clone, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    noted = clone / "calls"
    calls = noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []
    return ran.returncode, ran.stdout + ran.stderr, calls


@pytest.mark.parametrize("there", ["data", "data/kaggle_orig/train", "data/kaggle_orig/test/Non"])
def test_without_images_a_sentence_and_nothing_else(clone, there):
    (clone / there).mkdir(parents=True)
    status, said, calls = make_model(clone)
    assert status != 0
    assert "error: the Kaggle images are not there" in said
    assert "docs/data.md" in said
    assert "data/kaggle_orig" in said
    assert calls == []
    assert not (clone / ".venv" / "demo.stamp").exists()


@pytest.mark.parametrize("folder", ["kaggle_orig", "Kaggle", "kaggle_orig/Alzheimer_s Dataset"])
def test_images_become_a_model_once(clone, folder):
    place = clone / "data" / folder / "train" / "NonDemented"
    place.mkdir(parents=True)
    (place / "1.jpg").touch()
    status, said, calls = make_model(clone)
    assert status == 0
    steps = [call for call in calls if call.startswith("main.py")]
    assert steps == [
        "main.py --mode preprocess --dataset kaggle_orig",
        "main.py --mode train --dataset kaggle_2d --freeze_backbone --classes 3 --run kaggle_model",
    ]
    following = "--mode predict --input SCAN --checkpoint checkpoints/kaggle_model/best_model.pth"
    assert following in said
    status, said, calls = make_model(clone)
    assert (status, calls) == (0, [])
    assert following in said


def test_images_that_were_preprocessed_again_are_trained_on_again(clone):
    (clone / "data" / "kaggle_2d").mkdir(parents=True)
    (clone / "data" / "kaggle_2d" / "manifest.csv").touch()
    make_model(clone)
    assert make_model(clone)[2] == []
    now = time.time() + 5
    os.utime(clone / "data" / "kaggle_2d" / "manifest.csv", (now, now))
    assert any("--mode train" in call for call in make_model(clone)[2])
