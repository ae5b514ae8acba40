"""debug.py: passes on working code, and says so when a component is broken."""

import re
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import kept_loggers

import debug
from checks import steps as steps_module
from checks.steps import SHAPES
from src import manifest
from src.data import augment
from src.data.dataset import EvenBatches
from src.errors import ImageError
from src.evaluation import evaluator as evaluate
from src.evaluation import open_checkpoint as trained
from src.maps import gradcam
from src.models.classifier import Classifier
from src.preprocessing import intensity, io, scan
from src.stages import gradcam as explain
from src.training.state import TrainState

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def loggers():
    with kept_loggers():
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Generated data that the steps share."""
    made = debug.Bench(tmp_path_factory.mktemp("bench"))
    for dim in SHAPES:
        made.processed(dim)
    return made


@pytest.fixture(scope="module", autouse=True)
def maps_made_once():
    """The files of the map stage hang on nothing that is broken below; they are made once."""
    kept, run = {}, explain.run

    def once(config):
        name = config.data.dataset
        if name not in kept:
            kept[name] = list(run(config))
        return iter(kept[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "run", once)
        yield


@pytest.mark.parametrize("number", list(debug.STEPS))
def test_every_step_passes(bench, capsys, number):
    assert debug.run_step(number, bench)
    lines = capsys.readouterr().out.splitlines()
    name, count = debug.STEPS[number][0], len(lines) - 1
    assert all(line.startswith("ok: ") for line in lines[:-1])
    assert re.fullmatch(rf"step {number} {name}: passed, {count} checks, \d+\.\d s", lines[-1])
    assert count >= 5


def no_turn(data, orientation):
    return data


def detached(model, embedding):
    return model.head(embedding.detach())


def of_the_last_image(predictions):
    last = np.unique(predictions.subjects[::-1], return_index=True)[1]
    rows = np.sort(len(predictions.subjects) - 1 - last)
    parts = (predictions.labels, predictions.logits, predictions.subjects)
    return type(predictions)(*(part[rows] for part in parts))


def spoil_weights(state):
    """Stand in for `restore_best`: end with other weights than the best epoch's."""
    with torch.no_grad():
        for parameter in state.net.parameters():
            parameter += 1


@contextmanager
def careless(model, x):
    """Compute in evaluation mode, and leave the model there."""
    with torch.no_grad():
        model.eval()
        yield x


def nothing(*arguments, **settings):
    return None


@pytest.mark.parametrize(
    ("number", "owner", "name", "broken", "says"),
    [
        ("1", io.nib, "apply_orientation", no_turn, "read as the same RAS+ volume"),
        ("1", scan, "scan_key", lambda *_: uuid.uuid4().hex, "a second run writes none"),
        ("2", augment, "_change_by_opencv", lambda images, *_: images * 2.0, "stay in [0, 1]"),
        ("2", manifest.Manifest, "check_disjoint", nothing, "on two sides is refused"),
        ("2", EvenBatches, "__iter__", lambda self: iter([[0, 1]] * 2), "are 16 and 17"),
        ("3", Classifier, "classify", detached, "every tensor learns"),
        ("4", TrainState, "restore_best", spoil_weights, "the model ends with its weights"),
        ("5", evaluate, "per_person", of_the_last_image, "the mean of the images'"),
        ("5", trained, "_check_fit", nothing, "trained on the test people is refused"),
        ("6", gradcam, "resize", lambda raw, shape: raw * 0 - 1, "image's size"),
        ("6", gradcam, "computing", careless, "as it was"),
    ],
)
def test_a_broken_component_fails_its_step(
    bench, capsys, monkeypatch, number, owner, name, broken, says
):
    monkeypatch.setattr(owner, name, broken)
    monkeypatch.setattr(steps_module, "_check_resume", nothing)  # whole, and most of step 4
    assert not debug.run_step(number, bench)
    lines = capsys.readouterr().out.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("FAILED: ") and says in line)
    assert lines[at + 1].startswith("  expected: ")
    assert lines[at + 2].startswith("  found: ")
    assert re.match(rf"step {number} .*: FAILED, \d+ of \d+ checks", lines[-1])


def test_values_out_of_range_fail_the_first_step(tmp_path, capsys, monkeypatch):
    assert scan.scale_inside is intensity.scale_inside
    monkeypatch.setattr(scan, "scale_inside", lambda data, mask, top: (data > 0) * np.float32(0.5))
    assert not debug.run_step("1", debug.Bench(tmp_path))
    assert "FAILED: 2d: grey values fill [0, 1]" in capsys.readouterr().out


def fail(bench, checks):
    checks.equal(1, 2, "one is two")


def stop(bench, checks):
    raise ImageError("no brain found", hint="look at it")


def passing(bench, checks):
    checks.equal(1, 1, "one is one")


@pytest.fixture
def steps(monkeypatch):
    made = {"1": ("a", passing), "2": ("b", stop), "3": ("c", fail), "4": ("d", passing)}
    monkeypatch.setattr(debug, "STEPS", made)


@pytest.mark.parametrize(("step", "status"), [("1", 0), ("2", 1), ("3", 1), ("4", 0), ("all", 1)])
def test_the_exit_status_is_1_when_a_check_fails(steps, capsys, step, status):
    assert debug.main(["--step", step]) == status


def test_an_error_fails_its_step_with_its_message_and_the_next_ones_run(steps, capsys):
    debug.main(["--step", "all"])
    out, err = capsys.readouterr()
    assert "  found: ImageError: no brain found\n  fix: look at it" in out
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("step ")] == [
        *("step 1 a", "step 2 b", "step 3 c", "step 4 d")
    ]
    assert "Traceback" not in err


def test_tracebacks_are_printed_when_asked_for(steps, capsys):
    debug.main(["--step", "2", "--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_a_step_without_a_check_has_not_passed(monkeypatch, capsys):
    monkeypatch.setattr(debug, "STEPS", {"1": ("empty", nothing)})
    assert debug.main(["--step", "1"]) == 1


@pytest.mark.parametrize("stopped", [False, True])
def test_the_folder_is_removed(monkeypatch, capsys, stopped):
    folders = []

    def look(bench, checks):
        folders.append(bench.root)
        (bench.root / "file").write_text("x", encoding="utf-8")
        if stopped:
            raise KeyboardInterrupt
        passing(bench, checks)

    monkeypatch.setattr(debug, "STEPS", {"1": ("look", look)})
    assert debug.main(["--step", "1"]) == (130 if stopped else 0)
    assert not folders[0].exists()


def test_help_imports_no_torch():
    code = (
        "import sys, debug\n"
        "try: debug.main(['--help'])\n"
        "except SystemExit as done: print(done.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert done.stdout.splitlines()[-1] == "0 False"


def test_an_unknown_step_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        debug.main(["--step", "7"])
    assert caught.value.code == 2
