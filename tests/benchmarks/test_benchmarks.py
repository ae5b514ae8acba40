"""What benchmarks compute, by hand and on networks shown small input; nothing here is timed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import inference, maps, start, timing
from benchmarks.maps import HIRES, OURS, Case
from src.errors import MriError

GRAD_CAM = "pytorch-grad-cam, one at a time"


def some_maps(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((2, *shape)).astype(np.float32)


def test_ratios_are_taken_within_a_round():
    found = timing.ratio([8, 3, 6], [2, 1, 6])
    assert found == {"median": 3, "low": 1, "high": 4}
    assert timing.spread(found) == " 3.00 x (1.00 to 4.00)"
    with pytest.raises(ValueError, match="shorter"):
        timing.ratio([1, 2], [1])


def test_ways_take_turns():
    clock = count(step=6.0)  # every look at the clock is 6 s after the last
    order: list[str] = []
    ways = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = timing.in_turns(ways, rounds=2, clock=lambda: next(clock))
    assert "".join(order) == "abcbca"
    assert seconds == {name: [6, 6] for name in "abc"}


def test_time_of_maps_is_per_image():
    assert maps.per_image({"a": [6, 3]}, 4) == {"a": [1.5, 0.75]}


@pytest.mark.slow
def test_cpu_seconds_count_work_here_and_in_children_but_no_waiting():
    work = "import time\nwhile time.process_time() < {}: pass"
    start = timing.cpu_seconds()
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5)"], check=True)
    waited = timing.cpu_seconds() - start
    subprocess.run([sys.executable, "-c", work.format(0.5)], check=True)
    in_child = timing.cpu_seconds() - start - waited
    assert waited < 0.3 < 0.45 < in_child
    here = timing.time.process_time()
    while timing.time.process_time() < here + 0.05:
        pass
    assert timing.cpu_seconds() - start - waited - in_child >= 0.05


def test_machine_says_what_a_time_depends_on_and_what_is_not_installed():
    found = timing.machine("no-such-package")
    assert json.loads(json.dumps(found)) == found
    assert found["threads"] == torch.get_num_threads()
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["versions"]["no-such-package"] is None


def test_name_of_the_processor(tmp_path):
    told = tmp_path / "cpuinfo"
    told.write_text(
        "processor\t: 0\nmodel name\t: Chip 9: fast\n\nmodel name\t: Other\n", encoding="utf-8"
    )
    assert timing.cpu_model(told) == "Chip 9: fast"
    assert timing.cpu_model(tmp_path / "none")


def test_report_is_written_where_it_says(tmp_path, capsys):
    path = timing.report("speed", {"a": [1.5]}, tmp_path)
    assert path == tmp_path / "speed.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": [1.5]}
    assert str(path) in capsys.readouterr().out


def test_starts_are_measured_and_set_beside_what_is_wanted(tmp_path, capsys, monkeypatch):
    ways = {name: ("-c", "pass") for name in (start.NOTHING, start.TORCH, "import src", "other")}
    monkeypatch.setattr(start, "WANTED", {"import src": 0.0, "other": 60.0})
    found = start.run(ways, rounds=1, folder=tmp_path)
    assert json.loads((tmp_path / "start.json").read_text(encoding="utf-8")) == found
    assert list(found["seconds"]) == list(ways)
    assert found["times_torch"][start.TORCH] == {"median": 1, "low": 1, "high": 1}
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "OVER the 0.0 s" in lines["import src"]
    assert "under the 60.0 s" in lines["other"]


def test_a_start_that_fails_is_told(tmp_path):
    with pytest.raises(MriError, match="fails: NameError"):
        start.run({start.NOTHING: ("-c", "there_is_none")}, rounds=1, folder=tmp_path)


@pytest.mark.parametrize(
    "code",
    [
        "import src",
        "import src.config",
        "from src import cli; cli.build_parser().format_help(); cli.config_from_args",
        "import main; main.main(['--help'])",
        "import main\ntry: main.main(['--no_such_flag'])\nexcept SystemExit: pass",
    ],
)
def test_help_and_import_load_no_heavy_package(code):
    heavy = ["torch", "torchvision", "accelerate", "numpy", "pandas", "scipy", "joblib", "cv2"]
    told = f"\nimport sys\nprint('loaded:', [name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", code + told], cwd=start.ROOT, check=True, capture_output=True,
        encoding="utf-8",
    )  # fmt: skip
    assert ended.stdout.splitlines()[-1] == "loaded: []"


def test_inference_on_small_slices(tmp_path, capsys):
    found = inference.run("efficientnet_lite0", 32, (1, 3), rounds=2, folder=tmp_path)
    assert json.loads((tmp_path / "inference.json").read_text(encoding="utf-8")) == found
    names = [f"{n}, batch {b}" for n in (*inference.LAYOUTS, "engine") for b in (1, 3)]
    assert list(found["seconds_per_slice"]) == names
    assert all(len(rounds) == 2 for rounds in found["seconds_per_slice"].values())
    assert found["times_faster"]["contiguous, batch 3"] == {"median": 1, "low": 1, "high": 1}
    assert all(name in capsys.readouterr().out for name in names[:1])


def test_inference_times_are_per_slice(monkeypatch):
    ways = {"a": (lambda: None, 2), "b": (lambda: None, 8)}
    monkeypatch.setattr(inference, "in_turns", lambda calls, rounds: {n: [16.0] for n in calls})
    assert inference.measure(ways, 1) == {"a": [8], "b": [2]}


def test_layouts_that_compute_something_else_are_refused():
    layouts = {"contiguous": torch.neg, "channels last": torch.abs}
    with pytest.raises(AssertionError):
        inference.compare(layouts, torch.ones(1, 1, 2, 3))


def test_batches_keep_images_and_classes_together():
    x = torch.arange(5.0).reshape(5, 1, 1, 1)
    sizes = []

    def explain(images, classes):
        sizes.append(len(images))
        return images[:, 0].numpy() * 10 + np.array(classes)[:, None, None]

    found = maps.in_batches(explain, 2, x, [3, 1, 0, 2, 1])
    assert found.ravel().tolist() == [3, 11, 20, 32, 41]
    assert sizes == [2, 2, 1]


def test_range_by_hand():
    two = np.array([[[2.0, 4.0, 3.0]], [[8.0, 0.0, 2.0]]])  # each has a range of its own
    assert maps.to_range(two).tolist() == [[[0, 1, 0.5]], [[1, 0, 0.25]]]


def test_equal_maps_agree_and_the_library_that_subtracts_the_minimum_too():
    ours = some_maps(5, 7)
    found = maps.compare({OURS: ours, HIRES: 1 - ours, GRAD_CAM: maps.to_range(ours), "x": ours})
    assert set(found) == {GRAD_CAM, "x"}  # HiResCAM is another map
    assert all(one["largest_difference"] < 1e-6 for one in found.values())


@pytest.mark.parametrize("name", [GRAD_CAM, "captum, in batches"])
def test_other_maps_are_refused(name):
    ours = some_maps(5, 7)
    with pytest.raises(MriError, match=name):
        maps.compare({OURS: ours, name: maps.to_range(ours) ** 1.01 + 0.002})


def test_volumes_resized_otherwise_may_differ_but_must_be_alike():
    ours = some_maps(5, 7, 4)
    found = maps.compare({OURS: ours, GRAD_CAM: ours**1.3})
    assert found[GRAD_CAM]["largest_difference"] > maps.TOLERANCE
    with pytest.raises(MriError, match=GRAD_CAM):
        maps.compare({OURS: ours, GRAD_CAM: 1 - ours})
    with pytest.raises(MriError, match="captum"):
        maps.compare({OURS: ours, "captum": ours**1.3})


def test_empty_map_compares_to_nothing():
    with pytest.raises(MriError, match="empty"):
        maps.compare({OURS: np.zeros((1, 3, 4), np.float32)})


SMALL = (Case("resnet18", (64, 96), 2), Case("simple", (24, 32, 40), 2))


@pytest.mark.slow
@pytest.mark.parametrize("library", ["stand-in", "installed"])
def test_whole_benchmark_on_small_input(library, tmp_path, capsys, monkeypatch):
    if library == "stand-in":  # so that the rest is tested where it is not installed
        monkeypatch.setattr(maps, "pytorch_grad_cam", as_grad_cam)
    else:
        pytest.importorskip("pytorch_grad_cam")
    report = maps.run(SMALL, rounds=1, folder=tmp_path)
    assert json.loads((tmp_path / "maps.json").read_text(encoding="utf-8")) == report
    printed = capsys.readouterr().out
    for case, found in zip(SMALL, report["cases"], strict=True):
        assert case.backbone in printed
        assert len(found["seconds_per_image"]) == len(found["times_ours"]) == 7
        assert all(len(rounds) == 1 for rounds in found["seconds_per_image"].values())
        assert found["times_ours"][OURS] == {"median": 1, "low": 1, "high": 1}
        assert len(found["agreement"]) == 5


def as_grad_cam(model):
    captum = maps.captum_grad_cam(model)
    return lambda x, classes: maps.to_range(captum(x, classes))


def test_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    with pytest.raises(MriError, match="requirements-dev"):
        maps.pytorch_grad_cam(torch.nn.Identity())


@pytest.mark.parametrize(
    ("given", "runs"), [([], ["start", "maps"]), (["maps"], ["maps"]), (["cohort"], ["cohort"])]
)
def test_command_runs_all_or_the_one_that_is_named(given, runs, monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(command, "EVERYWHERE", ("start", "maps"))
    for name in ("start", "maps", "cohort"):
        module = importlib.import_module(f"benchmarks.{name}")
        monkeypatch.setattr(module, "run", lambda name=name: done.append(name))
    assert command.main(given) == 0
    assert done == runs


def test_every_benchmark_can_be_named():
    folder = Path(command.__file__).parent
    with_run = {
        path.stem
        for path in folder.glob("*.py")
        if "\ndef run(" in path.read_text(encoding="utf-8")
    }
    assert with_run == {*command.EVERYWHERE, *command.ON_REQUEST}


def test_command_refuses_unknown_names_and_tells_what_failed(monkeypatch, capsys):
    with pytest.raises(SystemExit) as left:
        command.main(["speed"])
    assert left.value.code == 2

    def fail() -> None:
        raise MriError("not there", hint="install it")

    monkeypatch.setattr(maps, "run", fail)
    assert command.main(["maps"]) == 2
    assert "fix: install it" in capsys.readouterr().err
