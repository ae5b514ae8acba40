"""Time per slice of a network without gradients, by memory layout, batch size and engine.

    python -m benchmarks inference

Checks that both layouts and the engine (`src.models.engine`) compute the same, then measures in
turns and prints ratios to the plain way (contiguous, 64 at once) with their range. Axes: B slices
of H W.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from src.models.create import create_model
from src.models.engine import WORTH, Pass

from .timing import RESULTS, in_turns, machine, ratio, report, spread

BACKBONE, EDGE, ROUNDS = "efficientnet_lite0", 224, 5
BATCHES = (4, 8, 16, 64)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
TOLERANCE = 1e-4  # of a logit


@torch.inference_mode()
def run(
    backbone: str = BACKBONE,
    edge: int = EDGE,
    batches: Sequence[int] = BATCHES,
    rounds: int = ROUNDS,
    folder: Path = RESULTS,
) -> dict[str, Any]:
    """Measure, print the table and write it as JSON.

    Args:
        backbone: A registered 2D network; one whose weights need no download.
        edge: Image edge in pixels.
        batches: Slices in one call; the largest, contiguous, is the plain way.
        rounds: How often each way is measured.
        folder: Where the JSON goes.
    """
    torch.manual_seed(0)
    model = create_model("2d", backbone, 4).eval()
    images = torch.rand(max(batches), 1, edge, edge)
    layouts = {
        layout: deepcopy(model).to(memory_format=kind)  # type: ignore[call-overload]
        for layout, kind in LAYOUTS.items()
    }
    engine = Pass(layouts["channels last"], WORTH)
    engine.embed(images[:1])  # makes it
    networks = {**layouts, "engine": engine.logits}
    apart = compare(networks, images[:8])
    ways = {
        f"{layout}, batch {batch}": (partial(one, images[:batch]), batch)
        for layout, one in networks.items()
        for batch in batches
    }
    here = machine()
    seconds = measure(ways, rounds)
    plain = seconds[f"contiguous, batch {max(batches)}"]
    content = {
        "machine": here,
        "backbone": backbone,
        "edge": edge,
        "largest_difference": apart,
        "seconds_per_slice": seconds,
        "times_faster": {name: ratio(plain, ours) for name, ours in seconds.items()},
    }
    print_table(content)
    report("inference", content, folder)
    return content


def compare(
    networks: Mapping[str, Callable[[torch.Tensor], torch.Tensor]], images: torch.Tensor
) -> float:
    """Return how far the networks' logits are apart at most.

    Raises:
        AssertionError: By more than rounding.
    """
    plain, *others = (network(images) for network in networks.values())
    for other in others:
        torch.testing.assert_close(plain, other, atol=TOLERANCE, rtol=TOLERANCE)
    return max(float((plain - other).abs().max()) for other in others)


def measure(
    ways: Mapping[str, tuple[partial[torch.Tensor], int]], rounds: int
) -> dict[str, list[float]]:
    """Return way -> seconds per slice in each round."""
    calls = {name: call for name, (call, _) in ways.items()}
    in_turns(calls, 1)  # first calls also choose kernels and take memory
    seconds = in_turns(calls, rounds)
    return {name: [one / ways[name][1] for one in seconds[name]] for name in ways}


def print_table(content: Mapping[str, Any]) -> None:
    """Print milliseconds per slice and how many times faster than the plain way that is."""
    threads = content["machine"]["threads"]
    apart = f"logits differ by {content['largest_difference']:.0e} at most"
    print(f"{content['backbone']}, {content['edge']} pixels, {threads} threads; {apart}")
    for name, seconds in content["seconds_per_slice"].items():
        times = spread(content["times_faster"][name])
        print(f"{name:<24} {statistics.median(seconds) * 1e3:6.1f} ms a slice, {times}")
