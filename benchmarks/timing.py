"""Measuring in turns: what every benchmark shares.

Whatever else the machine does meets all ways alike when they take turns, and a ratio is taken
within a round, so it is told as median and range over the rounds. Times are seconds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from src.errors import MriError
from src.files import write_json
from src.runtime import usable_cores

RESULTS = Path("results/benchmarks")
Clock = Callable[[], float]


def in_turns(
    ways: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Return way -> seconds in each round; every round begins with another way.

    Call every way once before: a first call also loads code and fills caches.

    Args:
        ways: Do the same, each in its own manner.
        rounds: How often each way is measured.
        clock: `cpu_seconds` where other work shares the cores.
    """
    names, seconds = list(ways), {name: [0.0] * rounds for name in ways}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = clock()
            ways[name]()
            seconds[name][turn] = clock() - start
    return seconds


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Return median, least and largest of the ratios within a round."""
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def spread(times: Mapping[str, float]) -> str:
    """Return a ratio as it is printed: ``2.13 x (1.98 to 2.40)``."""
    return f"{times['median']:5.2f} x ({times['low']:.2f} to {times['high']:.2f})"


def cpu_seconds() -> float:
    """Return the user and system time of this process and of its children that have ended.

    A child counts from when it was waited for. Its part comes in ticks, of 10 ms on Linux.
    """
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def machine(*packages: str) -> dict[str, Any]:
    """Return what a time depends on: processor, cores, threads, load, versions.

    Args:
        packages: Distributions to name beside torch and numpy; None where one is not installed.
    """
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],  # of the last minute, before the start
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "numpy", *packages)},
    }


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name as Linux tells it, and elsewhere as Python does."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def report(name: str, content: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write `content` as ``<name>.json``, print where, and return the path."""
    path = write_json(folder / f"{name}.json", content)
    print(f"wrote {path}")
    return path


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def ask(process: subprocess.Popen[str], log: Path | None = None) -> dict[str, float]:
    """Let a process do its task once: it answers every line that it is sent with one of JSON.

    Args:
        process: It reads and writes text.
        log: What it said beside; None where that stands above already.

    Raises:
        MriError: It ended instead; what it said last is passed on.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("\n")
        process.stdin.flush()
        found: dict[str, float] = json.loads(process.stdout.readline())
    except (BrokenPipeError, json.JSONDecodeError):
        said = "why stands above" if log is None else log.read_text(encoding="utf-8")[-800:]
        name = "a case" if log is None else log.stem
        raise MriError(f"{name} ended before it was done: {said.strip()}") from None
    return found
