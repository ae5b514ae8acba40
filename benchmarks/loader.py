"""One pass over the images: our batches from the image cache against the way that people write.

    python -m benchmarks loader

The other way opens every file whenever it is asked for: PIL and torchvision's transforms for slices
(Grayscale, RandomHorizontalFlip, RandomAffine, ColorJitter, ToTensor, Normalize, image by image),
`np.load` for volumes, and torch's own collation; in this process, and in workers of a `DataLoader`.
Ours varies whole batches on the device, which here is the processor too. Both end with normalised
float32 batches. Beside them stands the ceiling: images that are in memory already as one tensor.

Before anything is timed, both ways must give the same values where nothing is drawn at random. What
is compared is processor time of this process and its children, since workers only move the work. It
is counted with one thread on both sides: second threads of torch and OpenCV spin while they wait,
which would count as work. Time waited is told with all threads.

Arrays: batches ``(n, 1, H, W)`` or ``(n, 1, X, Y, Z)`` float32.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.data.augment import augment, to_unit
from src.data.dataset import MriDataset, make_loader
from src.errors import MriError
from src.models.torchvision_import import models  # noqa: F401 - before torchvision.transforms

from .generated import processed_set
from .timing import RESULTS, cpu_seconds, in_turns, machine, ratio, report, spread

OURS, READY = "ours, from the cache", "images in memory (ceiling)"
FILES, WORKERS = "file by file", "file by file, 2 workers"
ROUNDS, READERS = 5, 2
MEAN, STD = 0.25, 0.2
WANTED = 5.0  # times our processor seconds
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Case:
    """Images and what is done to them."""

    name: str
    shape: tuple[int, ...]
    images: int
    batch: int
    vary: bool


CASES = (
    Case("slices as they are", (224, 224), 1200, 32, vary=False),
    Case("slices, varied at random", (224, 224), 1200, 32, vary=True),
    Case("volumes as they are", (64, 64, 64), 300, 4, vary=False),
)


def run(
    cases: tuple[Case, ...] = CASES, rounds: int = ROUNDS, folder: Path = RESULTS
) -> dict[str, Any]:
    """Compare, measure, print the tables and write them as JSON.

    Raises:
        MriError: The ways do not give the same values.
    """
    here = machine("torchvision", "pillow", "opencv-python-headless")
    print("{threads} threads, {cores} cores, load {load:.1f} before the start".format(**here))
    results = []
    for case in cases:
        results.append(measure_case(case, rounds))
        print_table(results[-1])
    content = {"machine": here, "wanted": WANTED, "cases": results}
    report("loader", content, folder)
    return content


def measure_case(case: Case, rounds: int) -> dict[str, Any]:
    """Return what was compared and measured of one kind of images."""
    with tempfile.TemporaryDirectory() as place:
        data = processed_set(Path(place), case.images, case.shape)
        apart = compare(data, case)
        ways = ways_of(data, case)
        for way in ways.values():
            way()  # a first pass also imports and fills caches
        wall = in_turns(ways, rounds)
        with one_thread():
            cpu = in_turns(ways, rounds, cpu_seconds)
    return {
        "case": case.name,
        "shape": list(case.shape),
        "images": case.images,
        "batch": case.batch,
        "largest_difference": apart,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "times_ours_cpu": {name: ratio(cpu[name], cpu[OURS]) for name in ways},
        "times_ours_wall": {name: ratio(wall[name], wall[OURS]) for name in ways},
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and OpenCV use one thread, as the workers of a `DataLoader` do."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def ways_of(data: MriDataset, case: Case) -> dict[str, Callable[[], None]]:
    """Return the ways to make all batches of one pass."""
    generator = torch.Generator().manual_seed(0)
    change = partial(augment, generator=generator) if case.vary else to_unit
    ready = [images for images, _ in make_loader(data, case.batch)]
    files = Files(data, case.vary)
    return {
        OURS: lambda: consume(ours(data, case.batch, change)),
        READY: lambda: consume(normalised(change(images)) for images in ready),
        FILES: lambda: consume(theirs(files, case.batch, 0)),
        WORKERS: lambda: consume(theirs(files, case.batch, READERS)),
    }


def ours(data: MriDataset, batch: int, change: Callable[[Tensor], Tensor]) -> Iterable[Tensor]:
    """Yield this project's batches."""
    return (normalised(change(images)) for images, _ in make_loader(data, batch))


def theirs(files: Files, batch: int, workers: int) -> Iterable[Tensor]:
    """Yield torch's batches; the workers end with the pass, so that their time counts."""
    loader: DataLoader[Any] = DataLoader(files, batch_size=batch, num_workers=workers)
    return (images for images, _ in loader)


class Files(Dataset[tuple[Tensor, int]]):
    """A data set as it is usually written: a file for each item."""

    def __init__(self, data: MriDataset, vary: bool) -> None:
        from torchvision import transforms

        self.paths = [data.manifest.root / name for name in data.rows["path"]]
        self.labels = data.labels.tolist()
        random = [
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(
                5,
                translate=(0.02, 0.02),
                scale=(0.98, 1.02),
                interpolation=transforms.InterpolationMode.BILINEAR,  # as ours
            ),
            transforms.ColorJitter(brightness=0.1, contrast=0.1),
        ]
        self.transform = transforms.Compose(
            [
                transforms.Grayscale(),
                *(random if vary else []),
                transforms.ToTensor(),
                transforms.Normalize([MEAN], [STD]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path = self.paths[index]
        if path.suffix == ".npy":
            volume = torch.from_numpy(np.load(path).astype(np.float32))[None]
            return (volume - MEAN) / STD, self.labels[index]
        with Image.open(path) as image:
            return self.transform(image), self.labels[index]


def normalised(images: Tensor) -> Tensor:
    """Return images with the mean and spread that a network expects, in place."""
    return images.sub_(MEAN).div_(STD)


def consume(batches: Iterable[Tensor]) -> None:
    """Take every batch, as a training loop would."""
    for _ in batches:
        pass


def compare(data: MriDataset, case: Case) -> float:
    """Return how far the two ways are apart where nothing is drawn at random.

    Raises:
        MriError: Further than rounding.
    """
    pairs = zip(
        ours(data, case.batch, to_unit), theirs(Files(data, vary=False), case.batch, 0), strict=True
    )
    mine, yours = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    apart = float((mine - yours).abs().max())
    if not apart <= TOLERANCE:
        raise MriError(f"{case.name}: the two ways differ by {apart:g}")
    return apart


def print_table(result: Mapping[str, Any]) -> None:
    """Print processor and waiting time per image, and how many times ours that is."""
    shape = " x ".join(map(str, result["shape"]))
    print(f"\n{result['case']}: {result['images']} of {shape}, batches of {result['batch']}")
    print(f"{'':<28} {'processor':>13} {'times ours':>26} {'waited':>13}")
    for name, cpu in result["cpu_seconds"].items():
        used = statistics.median(cpu) / result["images"] * 1e3
        waited = statistics.median(result["wall_seconds"][name]) / result["images"] * 1e3
        times = spread(result["times_ours_cpu"][name])
        print(f"{name:<28} {used:7.3f} ms/img {times:>26} {waited:6.3f} ms/img")
