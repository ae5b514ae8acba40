"""Benchmarks of training on tiny input: they compare first, and measure what they say."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import cuda, epoch, kept, memory
from src.errors import ConfigError, MriError


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "shape"), [("resnet18", (33, 40)), ("simple", (24, 28, 33))])
def test_an_epoch_in_every_way(backbone, shape, tmp_path, capsys):
    found = epoch.run((epoch.Case(backbone, shape, 4, 2, 1.0),), rounds=1, folder=tmp_path)
    assert json.loads((tmp_path / "epoch.json").read_text(encoding="utf-8")) == found
    losses = found["cases"][0]["first_loss"]
    assert losses[epoch.PLAIN] == pytest.approx(losses[epoch.OURS], abs=1e-3)
    assert set(found["cases"][0]["seconds"]) == {epoch.PLAIN, *epoch.PRECISION}
    assert epoch.HALF in capsys.readouterr().out


@pytest.mark.slow
def test_ways_with_other_first_losses_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(epoch, "to_unit", lambda images: images.float() / 200)
    with pytest.raises(MriError, match="first losses"):
        epoch.run((epoch.Case("resnet18", (33, 40), 4, 2, 1.0),), rounds=1, folder=tmp_path)


@pytest.mark.slow
def test_what_kept_memory_saves_on_small_input(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(kept, "WARM", 1)
    # A map of over 32 MiB: glibc keeps smaller blocks by itself, or not, by what it met before.
    cases = {"a step of simple": ("simple", (4, 1, 90, 94, 86))}
    found = kept.run(cases, rounds=1, folder=tmp_path)
    assert json.loads((tmp_path / "kept.json").read_text(encoding="utf-8")) == found
    assert list(found["cases"]) == list(cases)
    for one in found["cases"].values():
        assert [len(seconds) for seconds in one["seconds"].values()] == [1, 1]
        assert one["pages"]["kept"] < 100 + one["pages"]["as it is"]
        assert all(peak > 100 for peak in one["peak"].values())
    assert found["cases"]["a step of simple"]["pages"]["as it is"] > 1000
    assert "a step of simple" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["scores", "maps"])
def test_cases_without_training_run(what, tmp_path):
    found = kept.case(f"{what} of simple", ("simple", (2, 1, 24, 28, 33)), tmp_path)()
    assert found.shape == ((2, 4) if what == "scores" else (2, 24, 28, 33))


def test_a_scan_is_made_and_preprocessed(tmp_path):
    again = kept.case("a scan to slices", ("2d", 4.0), tmp_path)
    again()
    again()
    assert any((tmp_path / "one").rglob("*.png"))


@pytest.mark.slow
def test_a_case_that_fails_ends_the_benchmark(tmp_path):
    with pytest.raises(MriError, match="ended before"):
        kept.measure("a step of none", ("none", (2, 1, 24, 28, 33)), 1)


def test_cuda_is_refused_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch finds none here"):
        cuda.run(folder=tmp_path)


@pytest.mark.slow
def test_the_logic_of_the_gpu_benchmark(tmp_path, capsys):
    case = cuda.Case("simple", (24, 28, 33), images=4, batch=2, steps=2)
    found = cuda.run("cpu", (case,), rounds=1, folder=tmp_path, compiled=False)
    one = found["cases"][0]
    assert set(one["times_as_fast"]) == {cuda.PLAIN, cuda.LAST, cuda.HALF}
    assert one["first_loss"][cuda.HALF] != one["first_loss"][cuda.LAST]  # it was in bfloat16
    assert one["share_of_ceiling"]["median"] > 0
    assert "of the ceiling" in capsys.readouterr().out


def test_gpu_ways_with_other_losses_are_refused():
    with pytest.raises(MriError, match="same loss"):
        cuda.compare({"one": 1.0, "other": 1.2})
    with pytest.raises(MriError, match="same loss"):
        cuda.compare({"one": float("nan")})


def test_overlapping_work_counts_once():
    assert cuda.covered([(5, 5.5), (1, 3), (0, 2), (5, 6)]) == 4
    assert cuda.covered([]) == 0


def test_memory_is_measured_in_processes_of_their_own(tmp_path, monkeypatch, capsys):
    calls = []

    def call(what, backbone, edge, count, *flags):
        calls.append((what, backbone, edge, count, *flags))
        return {"peak": 500.0 + count / 100, "step": 50.0, "seconds": 2.0}

    monkeypatch.setattr(memory, "call", call)
    memory.run(scans=8, edge=24, networks=[("simple", 32)], folder=tmp_path)
    assert calls[:2] == [("epoch", "simple", 24, 8), ("epoch", "simple", 24, 32)]
    assert calls[2:] == [("steps", "simple", 32, 2, 0), ("steps", "simple", 32, 2, 1)]
    monkeypatch.setattr(memory, "ALIKE", 1.0)
    with pytest.raises(MriError, match="4 times the scans"):
        memory.run(scans=8, edge=24, networks=[], folder=tmp_path)


@pytest.mark.parametrize("what", ["epoch", "steps"])
def test_a_measurement_of_memory(what, capsys):
    memory.main(what, "simple", "24", "4", "1")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["peak"] > 50
    assert found["step"] >= 0
