"""What benchmarks compute, by hand and on networks shown small input; nothing here is timed."""

from __future__ import annotations

import json
import sys
from itertools import count

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import maps
from benchmarks.maps import HIRES, OURS, Case
from src.errors import MriError

GRAD_CAM = "pytorch-grad-cam, one at a time"


def some_maps(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((2, *shape)).astype(np.float32)


def test_ratios_are_taken_within_a_round():
    assert maps.ratio([8, 3, 6], [2, 1, 6]) == {"median": 3, "low": 1, "high": 4}


def test_ways_take_turns_and_time_is_per_image(monkeypatch):
    clock = count(step=6.0)  # every look at the clock is 6 s after the last
    monkeypatch.setattr(maps.time, "perf_counter", lambda: next(clock))
    order: list[str] = []
    ways = {name: lambda x, classes, name=name: order.append(name) for name in "abc"}
    seconds = maps.time_in_turns(ways, torch.zeros(4, 1, 2, 3), [0] * 4, rounds=2)
    assert "".join(order) == "abcbca"
    assert seconds == {name: [1.5, 1.5] for name in "abc"}


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


@pytest.mark.parametrize("library", ["stand-in", "installed"])
def test_whole_benchmark_on_small_input(library, tmp_path, capsys, monkeypatch):
    if library == "stand-in":  # so that the rest is tested where it is not installed
        monkeypatch.setattr(maps, "pytorch_grad_cam", as_grad_cam)
        monkeypatch.setattr(maps, "version", lambda name: "0")
    else:
        pytest.importorskip("pytorch_grad_cam")
    report = maps.run(SMALL, rounds=1, out=tmp_path / "maps.json")
    assert json.loads((tmp_path / "maps.json").read_text()) == report
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


@pytest.mark.parametrize(("given", "runs"), [([], ["a", "b"]), (["b"], ["b"])])
def test_command_runs_all_or_the_one_that_is_named(given, runs, monkeypatch):
    done: list[str] = []
    known = {name: lambda name=name: done.append(name) for name in ("a", "b")}
    monkeypatch.setattr(command, "BENCHMARKS", known)
    assert command.main(given) == 0
    assert done == runs


def test_command_refuses_unknown_names_and_tells_what_failed(monkeypatch, capsys):
    with pytest.raises(SystemExit) as left:
        command.main(["speed"])
    assert left.value.code == 2

    def fail() -> None:
        raise MriError("not there", hint="install it")

    monkeypatch.setattr(command, "BENCHMARKS", {"a": fail})
    assert command.main([]) == 2
    assert "fix: install it" in capsys.readouterr().err
