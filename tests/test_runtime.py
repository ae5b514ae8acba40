"""Logging to stderr, progress bars, and what the environment says."""

import logging
import os
from pathlib import Path

import pytest
from tiny_runs import kept_loggers

from src.runtime import configure_logging, progress, usable_cores, weight_cache, world_size


@pytest.fixture
def loggers():
    with kept_loggers():
        yield


def test_the_log_goes_to_stderr_as_plain_lines(capsys, loggers):
    configure_logging()
    logging.getLogger("src.train").info("epoch %d", 1)
    assert capsys.readouterr() == ("", "epoch 1\n")


def test_a_second_call_does_not_repeat_lines(capsys, loggers):
    configure_logging()
    configure_logging()
    logging.getLogger("src").warning("once")
    assert capsys.readouterr().err == "once\n"


def test_the_level_is_kept(capsys, loggers):
    configure_logging(logging.WARNING)
    logging.getLogger("src").info("quiet")
    assert capsys.readouterr().err == ""


def test_progress_gives_the_items_and_writes_to_stderr_only(capsys):
    assert list(progress([3, 1, 2], desc="scans")) == [3, 1, 2]
    out, err = capsys.readouterr()
    assert out == ""
    assert "scans" in err


def test_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 7, 9}, raising=False)
    assert usable_cores() == 3


def test_cores_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_world_size(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert world_size() == 1
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert world_size() == 4


def test_weights_are_cached_where_torch_caches_them(monkeypatch):
    monkeypatch.setenv("TORCH_HOME", "/cache/torch")
    assert weight_cache() == Path("/cache/torch/hub/checkpoints")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert weight_cache() == Path("/cache/torch/hub/checkpoints")


def test_no_other_module_reads_the_environment():
    source = Path(__file__).resolve().parents[1] / "src"
    readers = [p.name for p in source.rglob("*.py") if "environ" in p.read_text() and p.stem]
    assert readers == ["runtime.py"]
