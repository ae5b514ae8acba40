"""Several processes compute what one does, and say in one sentence when one of them is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import two_processes
from accelerate import Accelerator
from conftest import make_processed
from torch.distributed import TCPStore
from two_processes import BATCHES, RUNS, STEPS

from src.data.augment import augment
from src.errors import MriError
from src.runtime import Place
from src.training import processes
from src.training.processes import in_order, others_needed, share_of, speaks_first, what_is_kept

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def torchrun(*words, **more):
    """Start two processes on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", "--", *map(str, words)]  # -- as --run is no --run-path
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, encoding="utf-8", **more
    )


def end_of(job):
    """Return what a job said, when it is over; one that hangs is ended."""
    try:
        return job.communicate(timeout=120)[1]
    finally:
        job.terminate()  # torchrun ends its processes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Processed sets with an odd number of training images."""
    root = tmp_path_factory.mktemp("data")
    for dim in ("2d", "3d"):
        make_processed(root / f"phantom_{dim}", dim, people=(6, 7, 5, 4), images=1)
    return root


def run_of(job, index):
    """Return the process of a job with this number."""
    for process in psutil.Process(job.pid).children(recursive=True):
        if process.environ().get("RANK") == str(index):
            return process
    raise LookupError(index)


@pytest.fixture(scope="module")
def killed(data, tmp_path_factory):
    """Folder, exit status and words of a job of which a process was killed, and its epochs."""
    root = tmp_path_factory.mktemp("killed")
    job = torchrun("main.py", *two_processes.words(data, root), cwd=ROOT)
    while not (root / "checkpoints" / "phantom_3d" / "last.pth").is_file():
        assert job.poll() is None, job.stderr.read()
        time.sleep(0.02)
    run_of(job, 1).send_signal(signal.SIGKILL)
    said = end_of(job)
    return root, job.returncode, said, history(root, "phantom_3d")["epoch"]


@pytest.fixture(scope="module")
def of_two(data, killed, tmp_path_factory):
    """Folder, findings and words of a job of two processes, which resumes the killed one too."""
    root = tmp_path_factory.mktemp("two")
    job = torchrun(ROOT / "tests" / "two_processes.py", data, root, killed[0])
    said = end_of(job)
    assert job.returncode == 0, said
    found = [torch.load(root / f"process_{index}.pt", weights_only=True) for index in (0, 1)]
    return root, found, said


@pytest.fixture(scope="module")
def of_one():
    return two_processes.outcomes()


def largest_difference(first, second):
    """Return the largest difference of two dictionaries of tensors, relative to each tensor."""
    assert first.keys() == second.keys()
    return max(
        ((first[name] - second[name]).abs().max() / second[name].abs().max().clamp(min=1e-3)).item()
        for name in first
    )


@pytest.mark.parametrize("shape", BATCHES)
@pytest.mark.parametrize("process", [0, 1])
def test_batch_norm_sees_the_whole_batch(of_one, of_two, shape, process):
    name = f"normalise {shape}"
    difference = largest_difference(of_two[1][process][name], of_one[name])
    assert difference < 1e-11


@pytest.mark.parametrize("given", STEPS)
@pytest.mark.parametrize("process", [0, 1])
def test_a_step_of_two_is_the_step_of_one(of_one, of_two, given, process):
    name = f"step {given}"
    assert largest_difference(of_two[1][process][name], of_one[name]) < 2e-6


def test_every_process_decides_as_process_0(of_two):
    assert [found["held"] for found in of_two[1]] == [0, 0]


def test_shares_come_back_batch_by_batch(of_two):
    assert [found["order"] for found in of_two[1]] == [[0, 1, 10, 11, 20, 21]] * 2


def history(root, run):
    return json.loads((root / "checkpoints" / run / "history.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("run", RUNS)
def test_a_run_of_two_is_the_run_of_one(of_two, data, tmp_path, run):
    two_processes.train_run(data, tmp_path, run)
    alone, both = history(tmp_path, run), history(of_two[0], run)
    assert alone.keys() == both.keys()
    differences = {
        name: np.abs(np.subtract(alone[name], both[name])).max().item() for name in alone
    }
    print(run, differences)
    assert max(differences.values()) < 1e-4


def test_process_0_alone_writes(of_two):
    first, second = (found["written"] for found in of_two[1])
    assert second == {run: [] for run in RUNS}
    assert all(len(files) == 6 for files in first.values())


def test_a_killed_process_ends_the_job(killed):
    _, status, said, epochs = killed
    assert status != 0
    sentences = [line for line in said.splitlines() if "another process of this job ended" in line]
    assert len(sentences) == 1, said
    assert "kept, --resume continues" in sentences[0]
    assert 0 < len(epochs) < RUNS["phantom_3d"]["epochs"]


def test_resuming_a_killed_job_ends_as_if_it_had_not_been(killed, of_two):
    root, found, said = of_two
    assert [one["status"] for one in found] == [0, 0]
    assert said.count("resumed after epoch") == 1  # process 0 alone speaks
    assert history(killed[0], "phantom_3d") == history(root, "phantom_3d")


@pytest.mark.parametrize(("total", "count"), [(7, 1), (7, 2), (7, 3), (2, 3), (0, 2), (12, 4)])
def test_shares_are_those_of_the_loader(total, count):
    rows = np.arange(total)
    for index, part in enumerate(np.array_split(rows, count)):
        assert rows[share_of(total, index, count)].tolist() == part.tolist()


@pytest.mark.parametrize("shape", [(5, 1, 14, 12), (5, 1, 10, 12, 11), (1, 1, 14, 12)])
@pytest.mark.parametrize("count", [2, 3])
def test_processes_vary_their_shares_as_one_varies_the_batch(shape, count):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    whole = augment(images, torch.Generator().manual_seed(3))
    for index in range(count):
        own, generator = share_of(len(images), index, count), torch.Generator().manual_seed(3)
        share = (own.start, own.stop, len(images))
        torch.testing.assert_close(augment(images[own], generator, share=share), whole[own])
        assert len(augment(images[own], generator, share=share)) == own.stop - own.start


def test_alone_the_order_stays():
    assert in_order([3, 1, 2], Accelerator(cpu=True)) == [3, 1, 2]


GLOO = "[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:16060"


@pytest.fixture
def in_job(monkeypatch):
    monkeypatch.setattr(processes, "place_in_job", lambda: Place(1, 2, 1, 2))


@pytest.mark.parametrize("error", [RuntimeError(GLOO), torch.distributed.DistBackendError("nccl")])
def test_a_lost_process_becomes_a_sentence(in_job, error):
    says = "another process of this job ended, which ends the job; 2 whole epochs are kept"
    with pytest.raises(MriError, match=says), others_needed(lambda: 2):
        raise error


def test_other_errors_stay(in_job):
    with pytest.raises(RuntimeError, match="shapes"), others_needed(lambda: 2):
        raise RuntimeError("shapes differ")


def test_alone_nothing_is_blamed_on_others():
    with pytest.raises(RuntimeError, match="gloo"), others_needed(lambda: 2):
        raise RuntimeError(GLOO)


def test_what_is_kept_counts():
    assert what_is_kept(0) == "no whole epoch is kept"
    assert what_is_kept(1) == "1 whole epoch is kept, --resume continues"
    assert what_is_kept(2) == "2 whole epochs are kept, --resume continues"


def test_the_first_process_to_end_says_why(in_job, monkeypatch):
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr(processes, "job_address", lambda: ("localhost", store.port))
    assert [speaks_first(), speaks_first()] == [True, False]


def test_everyone_speaks_when_nobody_can_be_asked(in_job, monkeypatch):
    monkeypatch.setattr(processes, "job_address", lambda: ("localhost", 1))
    monkeypatch.setattr(processes, "ASKING", timedelta(seconds=0.5))
    assert speaks_first()


def test_alone_one_speaks():
    assert speaks_first()
