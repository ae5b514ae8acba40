"""One epoch of training: this project's way against the one that people write, and the ceiling.

    python -m benchmarks epoch

The plain way reads every file when it is asked for (slices: PIL, torchvision's transforms, three
equal channels, torchvision's network; volumes: `np.load`, SciPy's affine transform), stacks items
in torch's `DataLoader`, computes in float32 with contiguous memory and reads the loss at every
step. Ours reads batches from the image cache, varies them at once and computes with channels last,
in float32 and in bfloat16. The ceiling is our step on tensors that are ready: no reading, no
variation. All see as many images.

Before anything is timed, the plain way and ours must give the same first loss from the same weights
and the same images where nothing is drawn at random.

Arrays: batches ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)``, and ``(B, 3, H, W)`` in the plain way.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from src.config import TrainConfig
from src.data.augment import AugmentConfig, augment, to_unit
from src.data.dataset import MriDataset, make_loader
from src.errors import MriError
from src.models.classifier import Classifier
from src.models.create import create_model
from src.models.device import make_accelerator
from src.models.torchvision_import import models
from src.training.epoch import Step
from src.training.logits import place
from src.training.optimisation import make_optimizer
from src.training.state import TrainState

from .generated import processed_set
from .timing import RESULTS, Clock, in_turns, machine, ratio, report, spread

Batches = Iterable[tuple[Tensor, Tensor]]

PLAIN, OURS, HALF = "plain way", "ours, float32", "ours, bfloat16"
READY, READY_HALF = "ready tensors, float32", "ready tensors, bfloat16"
PRECISION = {OURS: "no", HALF: "bf16", READY: "no", READY_HALF: "bf16"}
ROUNDS, CLASSES, LR = 5, 4, 1e-4
TOLERANCE = 1e-3  # of the first loss
CPU = torch.device("cpu")
VARIED = AugmentConfig()


@dataclass(frozen=True)
class Case:
    """A network and its images, and how many times as fast as the plain way it must be."""

    backbone: str
    shape: tuple[int, ...]
    images: int
    batch: int
    wanted: float

    @property
    def dim(self) -> str:
        """``"2d"`` or ``"3d"``."""
        return f"{len(self.shape)}d"


CASES = (
    Case("resnet18", (160, 160), 160, 32, wanted=1.4),
    Case("simple", (64, 64, 64), 32, 4, wanted=1.5),
)


def run(
    cases: tuple[Case, ...] = CASES,
    rounds: int = ROUNDS,
    folder: Path = RESULTS,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Compare, measure, print the tables and write them as JSON.

    Args:
        cases: Networks and images.
        rounds: How often each way is measured.
        folder: Where the JSON goes.
        clock: `cpu_seconds`, with one thread, where other work shares the cores.

    Raises:
        MriError: The two ways do not start from the same loss.
    """
    here = machine("torchvision", "scipy", "pillow", "accelerate")
    print("{threads} threads, {cores} cores, load {load:.1f} before the start".format(**here))
    results = []
    for case in cases:
        results.append(measure_case(case, rounds, clock))
        print_table(results[-1])
    content = {"machine": here, "clock": clock.__name__, "cases": results}
    report("epoch", content, folder)
    return content


def measure_case(case: Case, rounds: int, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """Return what was compared and measured of one network."""
    with tempfile.TemporaryDirectory() as name:
        data = processed_set(Path(name), case.images, case.shape)
        losses = first_losses(data, case)
        ways = ways_of(data, case)
        for way in ways.values():
            way()
        seconds = in_turns(ways, rounds, clock)
    return {
        "case": f"{case.backbone} {' x '.join(map(str, case.shape))}",
        "images": case.images,
        "batch": case.batch,
        "wanted": case.wanted,
        "first_loss": losses,
        "seconds": seconds,
        "times_as_fast_as_plain": {one: ratio(seconds[PLAIN], seconds[one]) for one in seconds},
    }


def ways_of(data: MriDataset, case: Case) -> dict[str, Callable[[], float]]:
    """Return the ways to train an epoch; each keeps a network of its own and returns its loss."""
    ready = [(to_unit(x), y) for x, y in make_loader(data, case.batch)]
    return {
        PLAIN: PlainWay(data, case).epoch,
        OURS: our_epoch(data, case, PRECISION[OURS]),
        HALF: our_epoch(data, case, PRECISION[HALF]),
        READY: ready_epoch(ready, case, PRECISION[READY]),
        READY_HALF: ready_epoch(ready, case, PRECISION[READY_HALF]),
    }


def our_step(case: Case, precision: str) -> Step:
    """Return this project's step, on a network placed as training places it."""
    model = place(new_model(case), CPU).train()
    steps = make_optimizer(model, "scratch", TrainConfig(lr=LR), 1000, 1000)
    state = TrainState(model, *steps)
    return Step(state, make_accelerator(CPU, precision), "ce", torch.ones(CLASSES))


def our_epoch(data: MriDataset, case: Case, precision: str) -> Callable[[], float]:
    """Return what trains an epoch as the stage does."""
    step, loader = our_step(case, precision), make_loader(data, case.batch)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> float:
        total = torch.zeros(())
        for images, labels in loader:
            total += step(augment(images, generator), labels)
        return total.item()

    return epoch


def ready_epoch(batches: Batches, case: Case, precision: str) -> Callable[[], float]:
    """Return what takes the steps of an epoch on batches that are there."""
    step = our_step(case, precision)
    return lambda: torch.stack([step(images, labels) for images, labels in batches]).sum().item()


def new_model(case: Case) -> Classifier:
    """Return the same network every time, with its weights drawn at random."""
    torch.manual_seed(0)
    return create_model(case.dim, case.backbone, CLASSES, weights="none", dropout=0.0)


class PlainWay:
    """Training as it is usually written.

    Args:
        data: Its files are read.
        case: Network and batch size.
        vary: Whether images are changed at random.
    """

    def __init__(self, data: MriDataset, case: Case, *, vary: bool = True) -> None:
        model = new_model(case)
        normalise = model.normalise
        files = Files(data, float(normalise.mean), float(normalise.std), vary)
        self.loader: DataLoader[Any] = DataLoader(files, batch_size=case.batch, num_workers=0)
        self.net = published(model) if case.dim == "2d" else unnormalised(model)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=LR)

    def epoch(self, steps: int | None = None) -> float:
        """Train an epoch, or its first steps; return the sum of the losses."""
        self.net.train()
        total = 0.0
        for number, (images, labels) in enumerate(self.loader, start=1):
            self.optimizer.zero_grad()
            loss = functional.cross_entropy(self.net(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimizer.step()
            total += loss.item()
            if number == steps:
                break
        return total


def published(model: Classifier) -> nn.Module:
    """Return torchvision's network for three channels that computes what `model` does."""
    net: nn.Module = getattr(models, model.backbone)(weights=None, num_classes=CLASSES)
    weights = dict(model.features.state_dict())
    weights["conv1.weight"] = weights["conv1.weight"].repeat(1, 3, 1, 1) / 3
    weights |= {f"fc.{name}": value for name, value in model.head.state_dict().items()}
    net.load_state_dict(weights)
    return net


def unnormalised(model: Classifier) -> nn.Module:
    """Return a 3D network for volumes that are normalised when they are read."""
    return nn.Sequential(model.features, model.pool, model.head)


class Files(Dataset[tuple[Tensor, int]]):
    """A data set as it is usually written: a file, and its own random changes, for each item."""

    def __init__(self, data: MriDataset, mean: float, std: float, vary: bool) -> None:
        from torchvision import transforms

        self.paths = [data.manifest.root / name for name in data.rows["path"]]
        self.labels, self.mean, self.std, self.vary = data.labels.tolist(), mean, std, vary
        self.rng = np.random.default_rng(0)
        shift, bilinear = (VARIED.shift, VARIED.shift), transforms.InterpolationMode.BILINEAR
        size = (1 - VARIED.scale, 1 + VARIED.scale)
        random = [
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(VARIED.rotate, shift, size, interpolation=bilinear),
            transforms.ColorJitter(VARIED.intensity, VARIED.intensity),
        ]
        last = [transforms.ToTensor(), transforms.Normalize([mean] * 3, [std] * 3)]
        self.transform = transforms.Compose([*(random if vary else []), *last])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path = self.paths[index]
        if path.suffix != ".npy":
            with Image.open(path) as image:
                return self.transform(image.convert("RGB")), self.labels[index]
        volume = np.load(path).astype(np.float32)
        volume = changed(volume, self.rng) if self.vary else volume
        return torch.from_numpy((volume - self.mean) / self.std)[None], self.labels[index]


def changed(volume: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a volume flipped, turned, moved, scaled and varied in contrast, in NumPy and SciPy."""
    if rng.random() < VARIED.flip:
        volume = volume[::-1]
    matrix = np.eye(3)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        angle = np.deg2rad(rng.uniform(-VARIED.rotate, VARIED.rotate))
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    matrix = matrix * (1 + rng.uniform(-VARIED.scale, VARIED.scale))
    middle = (np.array(volume.shape) - 1) / 2
    moved = rng.uniform(-VARIED.shift, VARIED.shift, 3) * volume.shape
    turned = ndimage.affine_transform(volume, matrix, middle - matrix @ middle + moved, order=1)
    contrast, brightness = rng.uniform(-VARIED.intensity, VARIED.intensity, 2)
    varied = np.where(turned > 1 / 255, turned * (1 + contrast) + brightness / 2, turned)
    clipped: NDArray[np.float32] = np.clip(varied, 0, 1, dtype=np.float32)
    return clipped


def first_losses(data: MriDataset, case: Case) -> dict[str, float]:
    """Return the loss of the first step of both ways, on the same images as they are.

    Raises:
        MriError: They differ by more than rounding.
    """
    plain = PlainWay(data, case, vary=False).epoch(steps=1)
    images, labels = next(iter(make_loader(data, case.batch)))
    ours = our_step(case, "no")(to_unit(images), labels).item()
    half = our_step(case, "bf16")(to_unit(images), labels).item()
    if not abs(plain - ours) <= TOLERANCE:
        raise MriError(f"{case.backbone}: the first losses are {plain:.5f} and {ours:.5f}")
    return {PLAIN: plain, OURS: ours, HALF: half}


def print_table(result: Mapping[str, Any]) -> None:
    """Print milliseconds per image and how many times as fast as the plain way that is."""
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in result["first_loss"].items())
    print(f"\n{result['case']}, batches of {result['batch']}; wanted: {result['wanted']} x")
    print(f"first loss: {losses}")
    for name, seconds in result["seconds"].items():
        each = statistics.median(seconds) / result["images"] * 1e3
        print(f"{name:<26} {each:7.1f} ms/img {spread(result['times_as_fast_as_plain'][name])}")
