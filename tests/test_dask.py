"""A real scheduler and real workers on loopback; a worker is killed half-way."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import cluster_tasks
import numpy as np
import pytest
import torch
from oasis_discs import config, make_oasis

from src import parallel as cluster
from src.errors import MriError
from src.manifest import Manifest
from src.parallel import run_parallel
from src.stages.preprocess import run

pytestmark = pytest.mark.slow

pytest.importorskip("distributed")
TESTS = Path(__file__).resolve().parent
CDRS = (0, 0.5, 1, 2) * 5

#: Loaded by a worker: a scan takes a while, and each one that is really made is noted.
SLOW = """
import os, time
from src.preprocessing import scan
make = getattr(scan, "quick", scan.make_scan)  # Dask loads this file twice
scan.quick = make
def slowly(out, one, settings):
    time.sleep(0.2)
    reason = make(out, one, settings)
    with open({log!r}, "a", encoding="utf-8") as file:
        file.write(f"{{one.name}} {{os.getpid()}}\\n")
    return reason
scan.make_scan = slowly
"""


@contextmanager
def started(folder: Path, kind: str, *flags: str, cwd: Path = TESTS.parent, count: int = 1):
    """Run ``dask scheduler`` or ``dask worker`` in processes of their own while the block runs."""
    command = [sys.executable, "-m", "dask", kind, *flags, "--host", "127.0.0.1", "--no-dashboard"]
    if kind == "worker":
        command += ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
    settings = {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    settings["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "1"
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            with (folder / f"{kind}{number}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        command, cwd=cwd, env=os.environ | settings, stdout=log, stderr=log
                    )
                )
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def wait_for(path: Path, pattern: str, seconds: float = 20) -> str:
    """Return the text of a file that another process writes, once it holds the pattern."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.is_file() and re.search(pattern, text := path.read_text(encoding="utf-8")):
            return text
        time.sleep(0.01)
    raise AssertionError(f"{path} does not hold {pattern} after {seconds} s")


@contextmanager
def scheduler_in(folder: Path, cwd: Path = TESTS.parent) -> Iterator[str]:
    where = folder / "scheduler.json"
    with started(folder, "scheduler", "--port", "0", "--scheduler-file", str(where), cwd=cwd):
        yield json.loads(wait_for(where, r"\}\s*$"))["address"]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with scheduler_in(tmp_path_factory.mktemp("dask")) as address:
        yield address


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file's bytes by its name, also of records."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def kill_half_way(log: Path, killed: list[int]) -> None:
    """Kill the worker that wrote the log's seventh line, when it has just done so."""
    pid = int(wait_for(log, r"(.*\n){7}").splitlines()[6].split()[1])
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)


def test_worker_killed_half_way_loses_nothing_and_nothing_is_done_twice(tmp_path, scheduler):
    make_oasis(tmp_path / "data" / "oasis", CDRS)
    out, log, killed = tmp_path / "data" / "oasis_2d", tmp_path / "log", []
    (tmp_path / "slow.py").write_text(SLOW.format(log=str(log)), encoding="utf-8")
    preload = ("--preload", str(tmp_path / "slow.py"))
    with started(tmp_path, "worker", scheduler, *preload, count=2):
        killer = Thread(target=kill_half_way, args=(log, killed))
        killer.start()
        list(run(config(tmp_path, dask=scheduler)))
        killer.join()
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    assert killed
    assert {pid for _, pid in lines[12:]} == {pid for _, pid in lines} - {str(killed[0])}
    made = Counter(name for name, _ in lines)
    assert made == {f"OAS1_{n:04d}_MR1": 1 for n in range(1, len(CDRS) + 1)}
    on_cluster = contents(out)
    shutil.rmtree(out)
    list(run(config(tmp_path)))
    assert on_cluster == contents(out)
    assert len(Manifest.read(out)) == 4 * len(CDRS)


def test_network_goes_to_a_worker_once(tmp_path, scheduler):
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.Flatten(), torch.nn.ReLU())
    shared = cluster_tasks.Noted(tmp_path / "log", network)
    chunks = list(np.random.default_rng(0).random((12, 2, 1, 9, 7), np.float32))
    with started(tmp_path, "worker", scheduler, count=2):
        for number in (0, 1):
            wait_for(tmp_path / f"worker{number}.log", "Registered")
        given = {"workers": 1, "shared": shared, "name": lambda chunk: "a chunk"}
        found = list(run_parallel(cluster_tasks.features, chunks, dask=scheduler, **given))
    expected = [value for value, _ in map(lambda one: cluster_tasks.features(one, shared), chunks)]
    assert sorted(value for value, _ in found) == pytest.approx(sorted(expected), rel=1e-5)
    unpacked = (tmp_path / "log").read_text(encoding="utf-8").split()
    assert sorted(unpacked) == sorted({str(pid) for _, pid in found})  # once each


def test_call_that_kills_its_workers_is_named_and_then_no_worker_is_left(
    tmp_path, scheduler, monkeypatch
):
    monkeypatch.setattr(cluster, "_PATIENCE", 8.0)
    given = {"workers": 1, "dask": scheduler, "name": lambda n: f"scan{n}"}
    with started(tmp_path, "worker", scheduler, count=2) as workers:
        with pytest.raises(ValueError, match="7 is odd"):
            list(run_parallel(cluster_tasks.fail, [7], **given))
        with pytest.raises(MriError, match="scan3: 2 workers were killed on it"):
            list(run_parallel(cluster_tasks.die, [3], **given))
        assert all(process.wait(timeout=10) for process in workers)
    monkeypatch.setattr(cluster, "_PATIENCE", 0.3)
    with pytest.raises(MriError, match="no worker has joined tcp://") as caught:
        list(run_parallel(cluster_tasks.square, [1], **given))
    assert f"dask worker {scheduler}" in str(caught.value)


def test_loss_of_all_workers_is_told(tmp_path, scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", 1.0)
    with started(tmp_path, "worker", scheduler) as workers:
        wait_for(tmp_path / "worker0.log", "Registered")
        results = run_parallel(cluster_tasks.pause, [0.0, 60.0], workers=1, dask=scheduler)
        assert next(results) == 0.0
        workers[0].kill()
        with pytest.raises(MriError, match=r"all workers of tcp://.* are gone"):
            list(results)


@pytest.mark.parametrize("lost", ["worker", "scheduler"])
def test_machines_without_the_project_say_so(lost, tmp_path, scheduler):
    elsewhere = {"cwd": tmp_path}
    with (
        scheduler_in(tmp_path, **(elsewhere if lost == "scheduler" else {})) as address,
        started(tmp_path, "worker", address, **(elsewhere if lost == "worker" else {})),
        pytest.raises(MriError, match="cannot import") as caught,
    ):
        list(run_parallel(cluster_tasks.square, [1, 2], workers=1, dask=address))
    assert "in the project's folder" in caught.value.hint


def test_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT", 0.5)
    with pytest.raises(MriError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(run_parallel(cluster_tasks.square, [1], workers=1, dask="tcp://127.0.0.1:9"))
    with pytest.raises(MriError, match="no Dask scheduler answers at nonsense"):
        list(run_parallel(cluster_tasks.square, [1], workers=1, dask="nonsense:x"))


@pytest.mark.parametrize("package", ["dask", "distributed"])
def test_package_that_is_not_installed(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MriError, match=f"needs {package}") as caught:
        list(run_parallel(cluster_tasks.square, [1], workers=1, dask="tcp://127.0.0.1:9"))
    assert caught.value.hint == 'python -m pip install ".[cluster]"'


def test_worker_that_does_not_see_the_folder(tmp_path):
    call = pickle.dumps((cluster_tasks.square, 3))
    with cluster._marker(tmp_path / "out") as marker:
        assert cluster._call(call, None, False, marker, False) == 9
    with pytest.raises(MriError, match=f"does not see {tmp_path / 'out'}") as caught:
        cluster._call(call, None, False, marker, False)
    assert "share" in caught.value.hint
    assert not list((tmp_path / "out").iterdir())
