"""The benchmark beside MONAI and TorchIO, without them: what it picks, refuses and says."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks import peers, peers_venv, timing
from benchmarks.peers_ours import DENSENET, SIMPLE, make_network, weights_for_peers
from benchmarks.peers_side import Simple, peak
from src.errors import MriError

SHAPE = (12, 14, 16)


def test_every_figure_has_its_faster_way_and_ratios_are_within_a_round():
    ours = {"processor": [2.0, 4.0, 1.0], "seconds": [1.0, 1.0, 1.0], "peak": [90.0]}
    tried = {
        0: {"processor": [4.0, 4.0, 4.0], "seconds": [9.0, 9.0, 9.0], "peak": [120.0]},
        2: {"processor": [8.0, 8.0, 8.0], "seconds": [3.0, 6.0, 5.0], "peak": [100.0]},
    }
    found = peers.summary(tried, ours)
    assert found["best"] == {"processor": 0, "seconds": 2}
    assert (found["processor"], found["seconds"], found["peak"]) == (4.0, 5.0, 120.0)
    assert found["times_ours"]["processor"] == {"median": 2.0, "low": 1.0, "high": 4.0}
    assert found["times_ours"]["seconds"] == {"median": 5.0, "low": 3.0, "high": 6.0}


def test_a_row_is_printed_and_kept(capsys):
    one = {"processor": [2.0], "seconds": [1.0], "peak": [90.0]}
    two = {"processor": [3.0], "seconds": [2.5], "peak": [80.0]}
    made = peers.row("train", SIMPLE, "cpu", {"ours": {0: one}, "monai": {2: two}}, {"apart": 1})
    assert json.loads(json.dumps(made)) == made
    printed = capsys.readouterr().out
    assert "train simple (cpu); apart 1" in printed
    assert "1.50 x (1.50 to 1.50)" in printed
    assert "2.50 x (2.50 to 2.50)" in printed


@pytest.mark.parametrize("wrong", [1.01, -1.0, float("nan")])
def test_results_that_are_not_ours_are_refused(wrong):
    same = {"ours_score_0_0": np.array([1.0, -2.0]), "monai_score_0_0": np.array([1.0001, -2.0])}
    assert peers.agreed(same, 1e-4, "logits") == pytest.approx(5e-5)
    with pytest.raises(MriError, match=r"logits are not the same as ours: \{'torchio"):
        peers.agreed({**same, "torchio_score_2_0": np.array([wrong, -2.0])}, 1e-4, "logits")


@pytest.fixture
def prepared(tmp_path):
    """Write one scan as all sides prepare it: ours of every second voxel, theirs mirrored."""
    rng = np.random.default_rng(0)
    coarse = rng.random(SHAPE).astype(np.float16) + 1
    np.save(tmp_path / "one.npy", coarse)
    fine = np.kron(coarse.astype(np.float32), np.ones((2, 2, 2), np.float32))
    to_stored = np.diag([2.0, 2.0, 2.0, 1.0])
    to_stored[:3, 3] = 0.5  # the middle of two voxels
    affine = np.diag([-1.5, 1.5, 1.5, 1.0])
    record = {"key": "", "stored": {"affine": affine.tolist()}}
    one = {"path": "one.npy", "slice": None, "fingerprint": "0"}
    record["files"] = [one | {"to_stored": to_stored.tolist()}]
    (tmp_path / ".scans").mkdir()
    (tmp_path / ".scans/PHAN_0001_MR1.json").write_text(json.dumps(record), encoding="utf-8")
    turned = affine @ np.array(
        [[-1, 0, 0, len(fine) - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )

    def write(images):
        np.savez(tmp_path / "monai_preprocess_1_0.npz", images=images, affines=turned[None])
        np.savez(tmp_path / "ours_preprocess_0_0.npz")
        return peers.compare_places(tmp_path, tmp_path, ["raw/PHAN_0001.nii.gz"])

    return fine, write


def test_volumes_are_compared_at_the_same_places(prepared, monkeypatch):
    fine, write = prepared
    monkeypatch.setattr(peers, "ALIKE", 0.7)  # ours has half the detail
    assert write(fine[None, ::-1])["least r"] > 0.7
    for wrong in (fine, fine[::-1, ::-1], np.roll(fine[::-1], 2, axis=2)):
        with pytest.raises(MriError, match=r"same places as ours: r = \{'monai"):
            write(wrong[None])


def test_peers_that_gave_no_volume_are_refused(tmp_path):
    with pytest.raises(MriError, match="same places"):
        peers.compare_places(tmp_path, tmp_path, [])


def test_the_peers_network_is_ours_with_our_weights():
    torch.manual_seed(0)
    ours, theirs = make_network(SIMPLE).eval(), Simple(4).eval()
    theirs.load_state_dict(weights_for_peers(ours))
    x = torch.rand(2, 1, 24, 26, 33)
    with torch.no_grad():
        wanted, found = ours(x), theirs((x - peers.MEAN) / peers.STD)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_our_densenet_has_the_weights_of_monais():
    weights = weights_for_peers(make_network(DENSENET))
    learnt = [name for name in weights if name.endswith(("weight", "bias"))]
    assert sum(weights[name].numel() for name in learnt) == 11_246_724  # of MONAI 1.6.1's
    assert weights["class_layers.out.weight"].shape == (4, 1024)
    assert weights["features.denseblock4.denselayer16.layers.conv2.weight"].shape[0] == 32
    assert not [name for name in weights if name.startswith(("head", "normalise"))]


class Pip:
    """Stands in for subprocess: notes commands, and fails at the one that has a word in it."""

    def __init__(self, failing=None):
        self.failing, self.commands = failing, []

    def run(self, command, **_):
        self.commands.append(command)
        failed = self.failing in command
        said = "WARNING: tried again\nERROR: No matching distribution found for monai\nnotice: pip"
        return subprocess.CompletedProcess(command, int(failed), "", said if failed else "")


def test_without_a_network_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(peers_venv, "subprocess", Pip("install"))
    with pytest.raises(MriError) as raised:
        peers_venv.peers_python(tmp_path / "peers-venv")
    said = f"cannot be installed into {tmp_path / 'peers-venv'}: ERROR: No matching distribution"
    assert said in str(raised.value)
    assert "needs a network the first time" in str(raised.value)
    assert not (tmp_path / "peers-venv/ready.json").exists()  # the next run tries again


def test_the_environment_is_made_once_with_our_torch(tmp_path, monkeypatch):
    pip = Pip()
    monkeypatch.setattr(peers_venv, "subprocess", pip)
    python = peers_venv.peers_python(tmp_path)
    assert python.is_absolute()
    assert [command[1:3] for command in pip.commands] == [["-m", "venv"], ["-m", "pip"]]
    assert f"torch=={torch.__version__.partition('+')[0]}" in pip.commands[1]
    peers_venv.peers_python(tmp_path)
    assert len(pip.commands) == 2
    monkeypatch.setattr(torch, "__version__", "9.9.9+cpu")  # another torch, other kernels
    peers_venv.peers_python(tmp_path)
    assert "torch==9.9.9" in pip.commands[3]


def test_a_side_that_fails_says_why(tmp_path):
    log = tmp_path / "monai_train_0.log"
    log.write_text("ValueError: no such scan\n", encoding="utf-8")
    silent = subprocess.Popen(
        [sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    )
    with pytest.raises(MriError, match=r"monai_train_0 ended before.*no such scan"):
        timing.ask(silent, log)
    silent.stdout.close()
    silent.wait()


@pytest.mark.slow
def test_peak_memory_is_a_processs_own():
    block = bytearray(400 * 2**20)
    script = "import sys; sys.path.insert(0, '.'); from benchmarks.peers_side import peak; "
    command = [sys.executable, "-c", script + "print(peak('cpu'))"]
    told = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    assert 50 < float(told.stdout) < peak("cpu") - 100
    assert len(block)


@pytest.mark.slow
def test_our_side_of_the_whole_benchmark(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "VOXEL", 4.0)
    monkeypatch.setattr(peers, "TRIED", {task: {"ours": (0,)} for task in peers.TRIED})
    monkeypatch.setattr(peers, "peers_python", lambda: None)
    monkeypatch.setattr(peers, "versions", lambda _: {})
    monkeypatch.setattr(peers, "compare_places", lambda *_: {"least r": 1.0})
    found = peers.run(scans=8, edge=32, rounds=1, networks=[SIMPLE], folder=tmp_path)
    assert json.loads((tmp_path / "peers.json").read_text(encoding="utf-8")) == found
    assert [one["task"] for one in found["tasks"]] == ["preprocess", "train", "score", "maps"]
    train = found["tasks"][1]["agreement"]
    assert 0 < train["second loss"] < train["first loss"] < 3
    assert "train simple (cpu)" in capsys.readouterr().out
