"""`.ci/run` refuses results that were committed, and tests that leave files in the clone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_in(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=folder, env={**os.environ, **variables}, capture_output=True, encoding="utf-8"
    )


def ci(folder: Path, files: dict[str, str], test: str) -> subprocess.CompletedProcess[str]:
    """Commit `files` into a new clone and run `.ci/run`, with the shell line `test` as tests."""
    for name in (".ci/run", ".gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "Makefile").write_text(f"test:\n\t{test}\nlint:\n\t@echo linted\n", encoding="utf-8")
    (folder / "bin").mkdir()  # no Chromium is installed by this test
    (folder / "bin" / "chromium").symlink_to(shutil.which("true"))
    for name, text in {"data/README.md": "Data.", **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (("init", "-q"), ("add", "-f", "."), (*who, "commit", "-q", "-m", "a")):
        run_in(folder, "git", *words).check_returncode()
    return run_in(folder, "bash", ".ci/run", PATH=f"{folder / 'bin'}:{os.environ['PATH']}")


def test_a_clean_clone_passes(tmp_path):
    done = ci(tmp_path, {}, "touch .coverage")
    assert done.returncode == 0, done.stderr
    assert "linted" in done.stdout


@pytest.mark.parametrize("name", ["mlruns/1/meta.yaml", "data/oasis_2d/a.npy", "mlflow.db"])
def test_results_that_were_committed_are_named(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    done = ci(tmp_path, {name: ""}, "true")
    assert done.returncode == 1
    assert f"are in the repository:\n{name}\n" in done.stderr


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("touch left.txt", "not as committed:\n?? left.txt\n"),
        ("echo other > data/README.md", "wrote where runs of people belong:\n M data/README.md\n"),
        ("mkdir mlruns && touch mlruns/a", "wrote where runs of people belong:\n!! mlruns/\n"),
        ("touch results.json mlflow.db", "wrote where runs of people belong:\n!! mlflow.db\n"),
    ],
)
def test_what_tests_leave_behind_is_named(tmp_path, test, said):
    done = ci(tmp_path, {}, test)
    assert done.returncode == 1
    assert said in done.stderr
    assert "linted" not in done.stdout
