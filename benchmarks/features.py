"""Features of a frozen backbone from files, against the same network shown ready tensors.

    python -m benchmarks features

The ceiling is onnxruntime alone: its images are in memory, in batches of the same size, and it is
made already. Beside it stands torch on the same tensors, channels last. Ours is
`dataset_features` as training and cross-validation call it, whose stored features are removed
before each call: with the image cache there (warm), and without it, so that every file is decoded
too (cold). The features must be equal. Wanted is at most a tenth over the ceiling.

Arrays: ``(n, 1, H, W)`` uint8 slices, ``(n, F)`` features.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.data.augment import to_unit
from src.data.dataset import MriDataset
from src.data.image_cache import FOLDER as IMAGES_FOLDER
from src.errors import MriError
from src.models.classifier import Classifier
from src.models.create import create_model
from src.models.engine import Pass
from src.training.features import FOLDER as FEATURES
from src.training.features import Floats, dataset_features
from src.training.logits import inference_batch, place

from .generated import processed_set
from .timing import RESULTS, cpu_seconds, in_turns, machine, ratio, report, spread

READY, TORCH = "ready tensors (ceiling)", "ready tensors, by torch"
WARM, COLD = "ours, warm cache", "ours, no cache"
BACKBONE, EDGE, IMAGES, ROUNDS = "efficientnet_lite0", 224, 320, 3
WANTED = 1.1  # times the ceiling
TOLERANCE = 1e-5
CPU = torch.device("cpu")


def run(images: int = IMAGES, rounds: int = ROUNDS, folder: Path = RESULTS) -> dict[str, Any]:
    """Compare, measure, print the table and write it as JSON.

    Raises:
        MriError: The features are not equal.
    """
    here = machine("opencv-python-headless")
    print("{threads} threads, {cores} cores, load {load:.1f} before the start".format(**here))
    model = place(create_model("2d", BACKBONE).eval(), CPU)
    with tempfile.TemporaryDirectory() as root:
        data = processed_set(Path(root), images, (EDGE, EDGE))
        ways = ways_of(model, data)
        apart = compare({name: way() for name, way in ways.items()})  # and warm up
        cpu = in_turns(ways, rounds, cpu_seconds)
        wall = in_turns(ways, rounds)
    content = {
        "machine": here,
        "backbone": BACKBONE,
        "shape": [EDGE, EDGE],
        "images": images,
        "largest_difference": apart,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "times_ceiling_cpu": {name: ratio(cpu[name], cpu[READY]) for name in ways},
        "times_ceiling_wall": {name: ratio(wall[name], wall[READY]) for name in ways},
        "wanted": WANTED,
    }
    print_table(content)
    report("features", content, folder)
    return content


def ways_of(model: Classifier, data: MriDataset) -> dict[str, Callable[[], Floats]]:
    """Return the ways to compute the features of all images."""
    ready = data.read_rows(range(len(data)))

    def warm() -> Floats:
        shutil.rmtree(data.manifest.root / FEATURES, ignore_errors=True)
        return dataset_features(model, data, CPU)

    def cold() -> Floats:
        shutil.rmtree(data.manifest.root / IMAGES_FOLDER)
        opened = MriDataset(data.manifest, data.split, data.scheme, data.settings)
        shutil.rmtree(data.manifest.root / FEATURES, ignore_errors=True)
        return dataset_features(model, opened, CPU)

    run = Pass(model, len(ready))
    run.embed(to_unit(ready[:1]))  # makes the engine, if these images are worth one
    return {
        READY: lambda: alone(run.embed, ready),
        TORCH: lambda: alone(model.embed, ready),
        WARM: warm,
        COLD: cold,
    }


@torch.no_grad()
def alone(embed: Callable[[Tensor], Tensor], images: Tensor) -> Floats:
    """Run the backbone over images that are in memory."""
    parts = torch.split(images, inference_batch("2d", CPU))
    return np.concatenate([embed(to_unit(part)).numpy() for part in parts])


def compare(features: Mapping[str, Floats]) -> float:
    """Return how far the features are from the ceiling's.

    Raises:
        MriError: Further than rounding.
    """
    largest = float(np.abs(features[READY]).max())
    apart = max(float(np.abs(one - features[READY]).max()) for one in features.values())
    if not apart <= TOLERANCE * largest:
        raise MriError(f"the features differ by {apart:g}, of values up to {largest:g}")
    return apart


def print_table(content: Mapping[str, Any]) -> None:
    """Print time per image, and how many times the ceiling that is."""
    for name, cpu in content["cpu_seconds"].items():
        used = statistics.median(cpu) / content["images"] * 1e3
        processor = spread(content["times_ceiling_cpu"][name])
        waited = spread(content["times_ceiling_wall"][name])
        print(f"{name:<24} {used:6.2f} ms/img of processor, {processor}; waited {waited}")
