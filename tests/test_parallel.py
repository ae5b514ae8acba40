"""Calls in processes of this machine; `test_dask` has those on a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import cluster_tasks
import numpy as np
import psutil
import pytest

from src.errors import MriError
from src.parallel import run_parallel

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_done_once(workers):
    results = run_parallel(cluster_tasks.square, range(7), workers=workers)
    assert sorted(results) == [0, 1, 4, 9, 16, 25, 36]


def test_nothing_to_do_starts_nothing():
    assert list(run_parallel(cluster_tasks.square, [], workers=2, dask="tcp://nowhere:1")) == []


def test_what_is_shared_stays_in_this_process(tmp_path):
    shared = cluster_tasks.Noted(tmp_path / "log", np.float32(3))
    found = list(run_parallel(cluster_tasks.scale, range(1, 9), workers=1, shared=shared))
    assert found == [(3 * n, os.getpid()) for n in range(1, 9)]
    assert not (tmp_path / "log").exists()  # it was not unpacked
    with pytest.raises(ValueError, match="not sent to other processes"):
        list(run_parallel(cluster_tasks.scale, range(1, 9), workers=2, shared=shared))


@pytest.mark.parametrize("workers", [1, 2])
def test_error_of_a_call_comes_as_it_is(workers):
    with pytest.raises(ValueError, match="7 is odd"):
        list(run_parallel(cluster_tasks.fail, [7, 7], workers=workers))


def test_killed_process_is_told_with_fewer_workers():
    with pytest.raises(MriError, match="a worker process was killed") as caught:
        list(run_parallel(cluster_tasks.die, range(6), workers=2))
    assert "--workers 1" in caught.value.hint


@pytest.mark.slow
def test_dask_is_not_imported_without_an_address():
    code = "import sys, src.stages.preprocess; sys.exit('dask' in sys.modules)"
    root = Path(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there, a dead parent has its number")
@pytest.mark.parametrize("wait", [0, 4])  # while workers start, and while they work
def test_workers_end_when_the_command_is_killed(wait):
    code = (
        "import time\nfrom src.parallel import run_parallel\n"
        "list(run_parallel(time.sleep, [0.2, 60, 60], workers=2))\n"
    )
    command = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    parent = psutil.Process(command.pid)
    deadline = time.monotonic() + 30
    while sum("LokyProcess" in " ".join(one.cmdline()) for one in parent.children()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(wait)
    workers = parent.children(recursive=True)
    command.kill()
    command.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert [one.cmdline() for one in alive] == []


def test_calls_run_where_this_process_is_now(tmp_path, monkeypatch):
    for folder in (tmp_path / "first", tmp_path / "second"):  # as a notebook moves between cells
        folder.mkdir()
        monkeypatch.chdir(folder)
        found = set(run_parallel(cluster_tasks.folder_of, range(4), workers=2))
        assert found == {str(folder)}
