"""Time per slice of a network without gradients, by memory layout and batch size.

    python -m benchmarks inference

Prints ratios to the plain way (contiguous, 64 at once), measured in one run on this machine, and
checks that both layouts compute the same. Axes: B slices of H W.
"""

from __future__ import annotations

import statistics
import time

import torch

from src.api import create_model
from src.classifier import Classifier

BACKBONE, EDGE, REPEATS = "efficientnet_lite0", 224, 5
BATCHES = (4, 8, 16, 64)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@torch.inference_mode()
def seconds_per_slice(model: Classifier, images: torch.Tensor) -> float:
    """Return the median time per slice, in seconds."""
    model(images)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        model(images)
        times.append((time.perf_counter() - start) / len(images))
    return statistics.median(times)


def run() -> None:
    """Measure and print the table."""
    torch.manual_seed(0)
    model = create_model("2d", BACKBONE, 4).eval()
    images = torch.rand(64, 1, EDGE, EDGE)
    with torch.inference_mode():
        plain = model(images[:8])
        same = model.to(memory_format=torch.channels_last)(images[:8])  # type: ignore[call-overload]
    torch.testing.assert_close(plain, same, atol=1e-4, rtol=1e-4)
    times = {
        (layout, batch): seconds_per_slice(model.to(memory_format=kind), images[:batch])  # type: ignore[call-overload]
        for layout, kind in LAYOUTS.items()
        for batch in BATCHES
    }
    base, threads = times["contiguous", 64], torch.get_num_threads()
    print(f"{BACKBONE}, {EDGE} pixels, {threads} threads; plain way: {base * 1e3:.1f} ms a slice")
    for (layout, batch), seconds in times.items():
        ratio = base / seconds
        print(f"{layout:>14}, batch {batch:2d}: {seconds * 1e3:5.1f} ms a slice, {ratio:.1f} x")
