"""The installed package: its own name, its own command, everything inside it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from report_runs import scored_run

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the folder of an installation, built from a copy so that the clone stays clean."""
    copy, target = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["pyproject.toml", "README.md", *[p.name for p in ROOT.glob("requirements*.txt")]]:
        shutil.copy(ROOT / name, copy / name)
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", str(target), str(copy)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options], check=True)
    return target


def call(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in `folder`, where no clone can be imported from."""
    program = "from mri_ad.cli import main; import sys; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder, env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
        capture_output=True, encoding="utf-8",
    )  # fmt: skip


def test_every_room_and_every_file_is_installed(installed):
    own = {p.relative_to(ROOT / "src") for p in (ROOT / "src").rglob("*") if p.is_file()}
    own = {path for path in own if "__pycache__" not in path.parts}
    there = {p.relative_to(installed / "mri_ad") for p in (installed / "mri_ad").rglob("*")}
    assert own - there == set()
    assert not (installed / "src").exists()
    assert not (installed / "tests").exists()


def test_the_command_speaks_of_itself(installed, tmp_path):
    script = installed / "bin" / "mri-ad"
    assert "mri_ad.cli" in script.read_text(encoding="utf-8")
    help = call(installed, tmp_path, "--help").stdout
    assert "usage: mri-ad" in help
    assert "mri-ad --mode full" in help
    assert "main.py" not in help
    wrong = call(installed, tmp_path, "--mode", "train", "--dataset", "oasis_2d")
    assert wrong.returncode == 2
    assert "mri-ad --mode preprocess" in wrong.stderr
    assert "main.py" not in wrong.stderr


def test_the_installed_package_reads_its_templates_and_never_a_clone(installed, tmp_path):
    folder = scored_run(tmp_path)
    done = call(installed, tmp_path, "--mode", "report", "--run", "run_a")
    assert done.returncode == 0, done.stderr
    assert f"wrote {Path('results') / 'run_a' / 'report.html'}" in done.stderr
    assert (folder / "report.html").is_file()
    program = (
        "import sys, mri_ad, mri_ad.cli, mri_ad.train, mri_ad.predict, mri_ad.crossval;"
        "mri_ad.create_model;"
        "sys.exit(any(name == 'src' or name.startswith('src.') for name in sys.modules))"
    )
    checked = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, encoding="utf-8",
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_what_is_installed_is_what_the_requirements_say(installed):
    (info,) = installed.glob("alzheimers_mri-*.dist-info")
    text = (info / "METADATA").read_text(encoding="utf-8")
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert wanted
    assert all(f"Requires-Dist: {line}" in text for line in wanted)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    assert all(f"Provides-Extra: {name}" in text for name in extras)
