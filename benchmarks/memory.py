"""Peak memory of 3D training: does it grow with the scans, and what does checkpointing save.

    python -m benchmarks memory

Every measurement is a process of its own, so that its peak is its own too; "beyond a start" leaves
out libraries, network and optimiser. First an epoch of `simple` over n and over 4 n scans: batches
are read from the image cache, so both must peak alike. Then two steps on random volumes of a larger
edge, with and without activation checkpointing.

Arrays: batches ``(B, 1, X, Y, Z)``. Sizes are MiB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.config import TrainConfig
from src.data.augment import augment
from src.data.dataset import make_loader
from src.errors import MriError
from src.models.create import create_model
from src.models.device import make_accelerator
from src.training.epoch import Step
from src.training.logits import place
from src.training.memory import recompute_activations
from src.training.optimisation import make_optimizer
from src.training.state import TrainState

from .generated import processed_set
from .timing import RESULTS, machine, report

SCANS, EDGE, BATCH = 32, 64, 4
TIMES = 4
CPU = torch.device("cpu")
ALIKE = 1.05  # largest ratio of the peaks of 4 n and n scans
NETWORKS = (("simple", 96), ("simple", 128), ("resnet", 96), ("resnet", 128))


def run(
    scans: int = SCANS,
    edge: int = EDGE,
    networks: Sequence[tuple[str, int]] = NETWORKS,
    folder: Path = RESULTS,
) -> dict[str, Any]:
    """Measure, print the tables and write them as JSON.

    Args:
        scans: n.
        edge: Of their volumes, in voxels.
        networks: Backbones, and edges of the volumes that checkpointing is measured on.
        folder: Where the JSON goes.

    Raises:
        MriError: A measurement failed, or memory grows with the scans.
    """
    few, many = (call("epoch", "simple", edge, count) for count in (scans, TIMES * scans))
    print(f"simple, {edge}^3, batches of {BATCH}: peak of an epoch, of it beyond a start")
    for count, one in ((scans, few), (TIMES * scans, many)):
        print(f"{count:5d} scans: {one['peak']:7.0f} MiB {one['step']:7.0f} MiB")
    growth = many["peak"] / few["peak"]
    rows = [step_row(*network) for network in networks]
    content = {"machine": machine(), "scans": {str(scans): few, str(TIMES * scans): many}}
    report("memory", content | {"growth": growth, "checkpointing": rows}, folder)
    if growth > ALIKE:
        raise MriError(f"{TIMES} times the scans take {growth:.2f} times the memory")
    return content | {"growth": growth, "checkpointing": rows}


def step_row(backbone: str, edge: int) -> dict[str, Any]:
    """Measure and print what a step takes, with all activations kept and with few."""
    kept, forgotten = (call("steps", backbone, edge, BATCH // 2, flag) for flag in (0, 1))
    share, longer = forgotten["step"] / kept["step"], forgotten["seconds"] / kept["seconds"]
    print(
        f"{backbone} {edge}^3, batch of {BATCH // 2}: {kept['step']:.0f} MiB beyond a start; with "
        f"--activation_checkpointing {forgotten['step']:.0f} ({share:.2f} x), time {longer:.2f} x"
    )
    return {"backbone": backbone, "edge": edge, "kept": kept, "forgotten": forgotten}


def call(*arguments: object) -> dict[str, float]:
    """Run `main` in a process of its own; return what it measured.

    Raises:
        MriError: It ended otherwise; what it said is passed on.
    """
    command = [sys.executable, "-m", "benchmarks.memory", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")  # noqa: S603 - our own module
    if done.returncode:
        raise MriError(f"{' '.join(command[1:])} failed: {done.stderr.strip()[-500:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main(what: str, backbone: str, edge: str, count: str, recompute: str = "0") -> None:
    """Train in this process and print its peak as JSON.

    Args:
        what: ``epoch`` over `count` scans, or two ``steps`` of batches of `count`.
        backbone: A 3D network.
        edge: Of the volumes, in voxels.
        count: Scans, or images of a batch.
        recompute: ``"1"`` turns activation checkpointing on.
    """
    torch.manual_seed(0)
    model = place(create_model("3d", backbone, 4), CPU).train()
    if recompute == "1":
        recompute_activations(model)
    state = TrainState(model, *make_optimizer(model, "scratch", TrainConfig(), 10, 100))
    step = Step(state, make_accelerator(CPU, "no"), "ce", torch.ones(4))
    shape = (int(edge),) * 3
    step(torch.rand(2, 1, 32, 32, 32), torch.tensor([0, 1]))  # libraries and optimiser are there
    before, start = peak(), time.perf_counter()
    batches = epoch(int(count), shape) if what == "epoch" else steps(int(count), shape)
    for images, labels in batches:
        step(images, labels)
    seconds = time.perf_counter() - start
    print(json.dumps({"peak": peak(), "step": peak() - before, "seconds": seconds}))


def epoch(count: int, shape: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of an epoch, read and varied as training does."""
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        data = processed_set(Path(name), count, shape)
        for images, labels in make_loader(data, BATCH, seed=0):
            yield augment(images, generator), labels


def steps(count: int, shape: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield two random batches."""
    for _ in range(2):
        yield torch.rand(count, 1, *shape), torch.arange(count) % 4


def peak() -> float:
    """Return the largest memory of this process so far, in MiB."""
    import resource  # not there on Windows

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main(*sys.argv[1:])
