"""Every recipe of CONTRIBUTING.md, followed to the letter in a copy of the repository, and run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from command_line import only_read
from conftest import ellipsoid

from src.cohorts.registry import COHORT_REGISTRY, Limit, register_cohort, same_people
from src.config import COHORTS, ScanConfig
from src.preprocessing.raw.standard import standardise
from src.report.page.scores import PARTS
from src.report.score_figures.write import FIGURES

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = (
    *("src", "checks", "tests", "docs", "main.py", "debug.py", "pyproject.toml", "Makefile"),
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".importlinter"),
)
#: The three forms of a step: a new file, lines after a line that holds a text, lines at the end.
STEP = re.compile(
    r"^(?:New file `(?P<new>[^`]+)`|At the end of `(?P<end>[^`]+)`"
    r"|In `(?P<path>[^`]+)`, after the line with `(?P<line>[^`]+)`):\n\n"
    r"```\w+\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = """
    --classes 2 --num_slices 2 --image_size 32 --epochs 1 --bootstrap 100 --graded 0 --samples 1
    --workers 1 --device cpu --test_fraction 0.45
"""


@dataclass(frozen=True)
class Recipe:
    """A section of the page: its steps, and the commands at its end."""

    name: str
    text: str

    @property
    def steps(self) -> list[dict[str, str]]:
        return [match.groupdict() for match in STEP.finditer(self.text)]

    @property
    def commands(self) -> list[list[str]]:
        (block,) = COMMANDS.findall(self.text)
        return [shlex.split(line) for line in block.splitlines()]

    def files(self) -> list[str]:
        """The files it touches, in order."""
        named = [step["new"] or step["end"] or step["path"] for step in self.steps]
        return list(dict.fromkeys(named))

    def follow(self, root: Path) -> None:
        """Do what it says, as somebody would who pastes its blocks."""
        for step in self.steps:
            path = root / (step["new"] or step["end"] or step["path"])
            assert path.exists() != bool(step["new"]), path
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            lines = text.splitlines(keepends=True)
            at = len(lines)
            if step["line"]:
                found = [number for number, line in enumerate(lines) if step["line"] in line]
                assert len(found) == 1, f"{step['line']!r} is on {len(found)} lines of {path.name}"
                at = found[0] + 1
            path.write_text("".join([*lines[:at], step["code"], *lines[at:]]), encoding="utf-8")


RECIPES = {
    match[1]: Recipe(match[1], match[2])
    for match in re.finditer(r"^### Add (an? [^\n]+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
}


def flags(name: str) -> list[str]:
    """Return what the last command of a recipe says after ``main.py --mode MODE``."""
    python, program, mode, _, *rest = RECIPES[name].commands[-1]
    assert (python, program, mode) == ("python", "main.py", "--mode")
    return rest


def run(house: Path, command: list[str], *more: str, status: int = 0) -> str:
    """Run a command of a recipe in the copy, with settings appended; return what it printed."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    python, *words = command
    assert python == "python"
    done = subprocess.run(
        [sys.executable, *words, *more], cwd=house, env=env, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which every recipe was followed."""
    root = tmp_path_factory.mktemp("house")
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.png")
            shutil.copytree(ROOT / name, root / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, root / name)
    for recipe in RECIPES.values():
        recipe.follow(root)
    return root


@pytest.fixture(scope="module")
def scored(house: Path) -> Path:
    """The results of one run of the new cohort with everything that is new.

    The command is the cohort's, with the flags of the backbone and of the map method.
    """
    study, rows = house / "data" / "mystudy", []
    study.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(36):
        ill = number // 18
        data = ellipsoid((36, 40, 33), 0.15 + 0.3 * ill) + rng.integers(0, 20, (36, 40, 33))
        nib.save(
            nib.Nifti1Image(data.astype(np.int16), np.diag([4.0, 4, 4, 1])),
            study / f"m{number:02d}.nii.gz",
        )
        row = {"id": f"m{number:02d}", "age": 60 + number % 25, "sex": "FM"[number % 2]}
        rows.append({**row, "cdr": ill})
    pd.DataFrame(rows).to_csv(study / "people.csv", index=False)
    words = [*flags("a backbone for slices"), *flags("a map method"), "--run", "new"]
    run(house, RECIPES["a cohort"].commands[0], *words, *only_read("full", SMALL.split()))
    return house / "results" / "new"


@pytest.fixture(scope="module")
def metrics(scored: Path) -> dict:
    return json.loads((scored / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def table(scored: Path) -> str:
    return (scored / "metrics.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(scored: Path) -> str:
    """The words of report.html."""
    return unescape((scored / "report.html").read_text(encoding="utf-8"))


def test_the_recipes_touch_the_files_that_the_table_promises():
    rows = re.findall(r"^\| (an? .+?) \| (.+) \|$", PAGE, re.MULTILINE)
    promised = {name: set(re.findall(r"`([^`]+\.py)`", row)) for name, row in rows}
    touched: dict[str, set[str]] = {}
    for name, recipe in RECIPES.items():
        made = {step["new"] for step in recipe.steps if step["new"]}
        code = [file for file in recipe.files() if not file.startswith(("tests/", "docs/"))]
        assert len(code) <= 3
        short = {str(Path(file).with_name("x.py")) if file in made else file for file in code}
        kind = re.sub(" for (slices|volumes)$", "", name)
        touched.setdefault(kind, set()).update(file.removeprefix("src/") for file in short)
    assert touched == promised


@pytest.mark.parametrize("name", RECIPES)
def test_every_block_of_a_recipe_is_a_step_or_its_commands(name):
    recipe = RECIPES[name]
    assert recipe.text.count("\n```") == 2 * (len(recipe.steps) + 1)
    assert recipe.commands
    assert not [line for line in recipe.text.splitlines() if len(line) > 120]


def test_the_new_code_keeps_the_style(house):
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "src", "checks"],
        cwd=house, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    touched = [file for recipe in RECIPES.values() for file in recipe.files()]
    assert not [line for line in found.stdout.splitlines() if any(f in line for f in touched)]
    python = [file for file in dict.fromkeys(touched) if file.endswith(".py")]
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--no-cache", "--check", *python],
        cwd=house, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert formatted.returncode == 0, formatted.stdout


def test_the_lists_of_files_flags_and_names_hold(house):
    lists = "listed or lists_every or frozen"
    tests = ["tests/test_house.py", "tests/test_docs.py", "tests/config/test_config.py"]
    run(house, ["python", "-m", "pytest", *tests, "-q", "-p", "no:cacheprovider", "-k", lists])


@pytest.mark.slow
def test_a_new_cohort(metrics, scored, page):
    assert metrics["dataset"] == "mystudy_2d"
    assert sum(metrics["people"]["train"].values()) > 0
    card = (scored / "model_card.md").read_text(encoding="utf-8")
    assert "My study, T1-weighted MRI of one site" in card
    assert "mystudy_2d" in page


@pytest.mark.slow
def test_a_new_backbone_for_slices(metrics, house, page):
    assert metrics["settings"]["model"]["backbone"] == "tiny2d"
    assert (house / "checkpoints" / "new" / "best_model.pth").is_file()
    assert "tiny2d" in page


@pytest.mark.slow
def test_a_new_backbone_for_volumes(house, processed_3d):
    command = RECIPES["a backbone for volumes"].commands[-1]
    small = ["--mode", "train", "--data_dir", str(processed_3d)]
    small += only_read("train", SMALL.split())
    run(house, command, *small)
    assert (house / "checkpoints" / "phantom_3d_tiny3d_2classes" / "best_model.pth").is_file()


@pytest.mark.slow
def test_new_backbones_pass_the_check_of_models(house):
    commands = {
        tuple(RECIPES[f"a backbone for {kind}"].commands[0]) for kind in ("slices", "volumes")
    }
    (command,) = commands
    said = run(house, list(command))
    for name in ("tiny2d", "tiny3d"):
        assert f"ok: {name}: finite logits" in said
        assert re.search(rf"ok: {name}: [\d,]+ parameters", said)


@pytest.mark.slow
def test_a_new_metric(metrics, table, page):
    own = metrics["person"]["metrics"]["sensitivity"]
    confusion = np.array(metrics["person"]["confusion"])
    assert own["value"] == pytest.approx(confusion[1, 1] / confusion[1].sum())
    rivals = [rival for rival in metrics["rivals"] if rival["available"]]
    assert all("sensitivity" in rival["metrics"] for rival in rivals)
    head = next(line for line in table.splitlines() if line.startswith("| model |"))
    assert "| log-loss | sensitivity to CDR > 0 |" in head
    assert "sensitivity to CDR > 0" in page


@pytest.mark.slow
def test_a_new_rival(metrics, table, page):
    (rival,) = [rival for rival in metrics["rivals"] if rival["name"] == "sex"]
    assert rival["available"]
    assert rival["columns"] == ["sex"]
    assert re.search(r"^\| sex \| ", table, re.MULTILINE)
    assert re.search(r"<td[^>]*>\s*sex\s*</td>|<th[^>]*>\s*sex\s*</th>", page)


@pytest.mark.slow
def test_a_new_figure(scored, page):
    drawn = scored.parent / "figures" / "new" / "calibration_errors.png"
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert page.count("Bars of the calibration error before and after.") == 1


@pytest.mark.slow
def test_a_new_check_of_the_audit(house, metrics):
    # Another check finds all heads too much alike, and it is right: they are ellipsoids.
    (command,) = RECIPES["a check of the audit"].commands
    run(house, command, "--dataset", "mystudy_2d", status=3)
    audit = json.loads(
        (house / "results" / "mystudy_2d" / "audit" / "audit.json").read_text(encoding="utf-8")
    )
    for checks in (audit["checks"], metrics["audit"]["checks"]):
        (check,) = [check for check in checks if check["name"] == "sex"]
        assert check["verdict"] in ("PASS", "WARN")
        assert set(check["numbers"]["women"]) == {"train", "val", "test"}


@pytest.mark.slow
def test_a_new_map_method(house, scored, page):
    explained = json.loads(
        (house / "results" / "gradcam" / "new" / "explain.json").read_text(encoding="utf-8")
    )
    assert explained["settings"]["explain"]["method"] == "xgradcam"
    assert "xgradcam" in page


@pytest.mark.slow
def test_a_new_step_for_raw_scans(house):
    pytest.importorskip("SimpleITK")
    scans = house / "raw"
    scans.mkdir()
    data = ellipsoid((70, 80, 66)) * 4 + np.random.default_rng(0).integers(0, 200, (70, 80, 66))
    data[ellipsoid((70, 80, 66)) == 0] = 0
    affine = np.diag([2.2, 2.2, 2.2, 1])
    nib.save(nib.Nifti1Image(data.astype(np.int16), affine), scans / "one.nii.gz")
    (command,) = RECIPES["a step for raw scans"].commands
    words = [str(scans) if word == "FOLDER" else word for word in command]
    plain = ["--no-n4", "--brain", "none", "--no-register"]
    plain += only_read("preprocess", SMALL.split())
    run(house, words, *plain)
    (made,) = (house / "data" / "scans_standard").glob("*.nii.gz")
    steps = json.loads(made.with_name(f"{made.name[:-7]}.json").read_text(encoding="utf-8"))[
        "steps"
    ]
    assert steps["denoise"] is True
    assert "denoise" in steps["seconds"]
    without = standardise(
        scans / "one.nii.gz",
        house / "plain.nii.gz",
        ScanConfig(n4=False, brain="none", register=False),
    )
    assert "denoise" not in without.steps

    def roughness(path: Path) -> float:
        voxels = np.asarray(nib.load(path).dataobj, dtype=float)[60:110, 80:120, 60:110]
        return float(np.abs(np.diff(voxels, axis=0)).mean())

    assert roughness(made) < 0.6 * roughness(without.path)


def test_every_figure_stands_in_a_part_of_the_page_under_its_own_name():
    assert {figure.part for figure in FIGURES} <= set(PARTS)
    assert len({figure.file for figure in FIGURES}) == len(FIGURES)


def test_facts_of_a_cohort_are_fields_of_its_registration(own_cohorts):
    limit = Limit("Only {n} were scanned.", under_age=50)
    register_cohort(
        "copy", homepage="", axes=None, side_known=True, limits=(limit,), same_people_as=("oasis",)
    )(lambda root: None)  # type: ignore[arg-type, return-value]
    assert COHORT_REGISTRY.get("copy").limits == (limit,)
    assert same_people("copy", "oasis")
    assert same_people("oasis", "copy")
    assert not same_people("copy", "phantom")
    with pytest.raises(TypeError, match="colour"):
        register_cohort("b", homepage="", axes=None, side_known=True, colour=1)(lambda root: None)  # type: ignore[arg-type, return-value]


def test_a_cohort_is_the_same_people_as_cohorts_that_are_there():
    named = {
        other for name in COHORT_REGISTRY for other in COHORT_REGISTRY.get(name).same_people_as
    }
    assert named <= set(COHORTS)
    for name in COHORT_REGISTRY:
        for one in COHORT_REGISTRY.get(name).limits:
            assert "{n}" in one.text
