"""What keeping freed memory in the process saves, and what it costs.

    python -m benchmarks kept

Each case runs in two processes at once, one as the system has it and one that keeps its memory
(`src.runtime.keep_memory`), which take turns call by call; only one works at a time. Beside the
seconds stand those of the processor, which count where other work shares it (give both one thread:
``OMP_NUM_THREADS=1``), the pages that the kernel had to make in a call, and the peak of each
process. Everything is float32.
``ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2`` leaves AVX-512 out.

Arrays: batches ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``; scans ``X Y Z``. Sizes are MiB.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from src.config import TrainConfig
from src.maps.attribution import Attribution
from src.models.create import create_model
from src.models.device import make_accelerator
from src.runtime import keep_memory
from src.training.epoch import Step
from src.training.optimisation import make_optimizer
from src.training.state import TrainState

from .memory import peak
from .preprocessing import make_scans, one_scan
from .timing import RESULTS, ask, machine, ratio, report, spread

Call = Callable[[], object]
CPU = torch.device("cpu")
WAYS = {"as it is": False, "kept": True}
ROUNDS, WARM = 7, 3
#: What each case is given: a network and its batch, or the edge of a scan's voxels in mm.
CASES: dict[str, tuple[Any, ...]] = {
    "a step of efficientnet_lite0": ("efficientnet_lite0", (32, 1, 160, 160)),
    "a step of resnet18": ("resnet18", (32, 1, 160, 160)),
    "a step of simple": ("simple", (4, 1, 64, 64, 64)),
    "scores of efficientnet_lite0": ("efficientnet_lite0", (8, 1, 224, 224)),
    "scores of resnet18": ("resnet18", (8, 1, 224, 224)),
    "scores of simple": ("simple", (2, 1, 64, 64, 64)),
    "maps of efficientnet_lite0": ("efficientnet_lite0", (8, 1, 224, 224)),
    "maps of simple": ("simple", (2, 1, 64, 64, 64)),
    "a scan to slices": ("2d", 1.0),
    "a scan to a volume": ("3d", 1.0),
}


def run(
    cases: Mapping[str, tuple[Any, ...]] = CASES, rounds: int = ROUNDS, folder: Path = RESULTS
) -> dict[str, Any]:
    """Measure, print the table and write it as JSON.

    Args:
        cases: Name, which begins with what is done -> what it is done with.
        rounds: How often each way is measured.
        folder: Where the JSON goes.

    Raises:
        MriError: A case failed.
    """
    content = {**machine(), "capability": torch.backends.cpu.get_cpu_capability(), "cases": {}}
    print(f"{content['cpu']}, {content['capability']}, {content['threads']} threads")
    print(f"{'':<30} as it is    kept   times as fast        of the processor        pages  peak")
    for name, given in cases.items():
        content["cases"][name] = one = measure(name, given, rounds)
        print_row(name, one)
    report("kept", content, folder)
    return content


def measure(name: str, given: tuple[Any, ...], rounds: int) -> dict[str, Any]:
    """Run one case in two processes that take turns; return what each call took."""
    running = {way: start(name, given, kept) for way, kept in WAYS.items()}
    try:
        calls: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(WARM + rounds):
            for way in list(WAYS) if number % 2 else list(WAYS)[::-1]:
                calls[way].append(ask(running[way]))
    finally:
        for process in running.values():
            process.communicate()
    measured = {way: found[WARM:] for way, found in calls.items()}
    times = {
        kind: {way: [one[kind] for one in found] for way, found in measured.items()}
        for kind in ("seconds", "processor")
    }
    return {
        **times,
        "times_as_fast": ratio(times["seconds"]["as it is"], times["seconds"]["kept"]),
        "times_less_work": ratio(times["processor"]["as it is"], times["processor"]["kept"]),
        "pages": {
            way: statistics.median(one["pages"] for one in found) for way, found in measured.items()
        },
        "peak": {way: found[-1]["peak"] for way, found in measured.items()},
    }


def start(name: str, given: tuple[Any, ...], kept: bool) -> subprocess.Popen[str]:
    """Start a process that runs a case each time it is asked."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.kept", name, json.dumps(given), str(int(kept))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=plain,
    )  # fmt: skip


def main(name: str, given: str, kept: str) -> None:
    """Run a case in this process for every line that comes, and print what it took."""
    import resource  # not there on Windows

    if kept == "1":
        keep_memory()
    with tempfile.TemporaryDirectory() as place_of_scans:
        call = case(name, json.loads(given), Path(place_of_scans))
        for _ in sys.stdin:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            begun, busy = time.perf_counter(), time.process_time()
            call()
            seconds, worked = time.perf_counter() - begun, time.process_time() - busy
            pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
            found = {"seconds": seconds, "processor": worked, "pages": pages, "peak": peak()}
            print(json.dumps(found), flush=True)


def case(name: str, given: Sequence[Any], folder: Path) -> Call:
    """Return what a case does once."""
    what = name.split()[:2]
    if what == ["a", "scan"]:
        dim, voxel = given
        make_scans(folder, 1, voxel)
        path = next((folder / "data/oasis").rglob("*.img"))
        return lambda: one_scan(path, folder / "one", dim)
    backbone, shape = given
    torch.manual_seed(0)
    model = create_model("2d" if len(shape) == 4 else "3d", backbone, 4, weights="none")
    images = torch.rand(*shape)
    if what == ["a", "step"]:
        model = model.to(memory_format=_last(shape)).train()  # type: ignore[call-overload]
        state = TrainState(model, *make_optimizer(model, "scratch", TrainConfig(), 10, 1000))
        step = Step(state, make_accelerator(CPU, "no"), "ce", torch.ones(4))
        return lambda: step(images, torch.arange(len(images)) % 4)
    model = model.to(memory_format=_last(shape)).eval()  # type: ignore[call-overload]
    if what[0] == "maps":
        return lambda: Attribution(model, "hirescam").maps(images, [1] * len(images))
    return torch.no_grad()(lambda: model(images))


def _last(shape: Sequence[int]) -> torch.memory_format:
    """Return the layout that `place` gives a network; it also keeps memory, and is not used."""
    return torch.channels_last if len(shape) == 4 else torch.channels_last_3d


def print_row(name: str, one: Mapping[str, Any]) -> None:
    """Print milliseconds, ratio, pages and peak of a case."""
    times = [statistics.median(one["seconds"][way]) * 1e3 for way in WAYS]
    pages = " -> ".join(f"{one['pages'][way]:.0f}" for way in WAYS)
    peaks = " -> ".join(f"{one['peak'][way]:.0f}" for way in WAYS)
    print(
        f"{name:<30} {times[0]:8.1f} {times[1]:7.1f}  {spread(one['times_as_fast'])}"
        f" {spread(one['times_less_work'])}  {pages:>15}  {peaks} MiB",
        flush=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
