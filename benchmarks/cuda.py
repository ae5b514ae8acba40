"""Training on one CUDA GPU: layouts and precisions, the share of the ceiling, how busy it is.

    python -m benchmarks cuda

Four ways to take the same steps on tensors that lie on the GPU: float32 contiguous (with TF32 as
torch has it by default), float32 with channels last, bfloat16 with channels last, and that
compiled. Then an epoch as the stage trains it, from the image cache, with variation: its speed as a
share of the ceiling, which is as many steps on a ready tensor in the same precision and layout; and
the share of the epoch in which the GPU computed or copied (torch.profiler; overlapping work counts
once).

Every way must start from the same loss, within what bfloat16 rounds. Whatever is timed ends with
waiting for the GPU. `run` takes a device, so that its logic can be tested where there is no GPU.

Arrays: batches ``(B, 1, H, W)`` uint8 or ``(B, 1, X, Y, Z)`` float16.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler_util import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from src.config import TrainConfig
from src.data.augment import augment
from src.data.dataset import make_loader
from src.data.loaders import reader_workers
from src.errors import ConfigError, MriError
from src.models.create import create_model
from src.models.device import make_accelerator
from src.training.epoch import Step
from src.training.logits import place
from src.training.memory import out_of_memory
from src.training.optimisation import make_optimizer
from src.training.state import TrainState

from .generated import processed_set
from .timing import RESULTS, in_turns, machine, ratio, report, spread

PLAIN, LAST, HALF = "float32, contiguous", "float32, channels last", "bfloat16, channels last"
COMPILED = f"{HALF}, compiled"
ROUNDS, CLASSES, LR = 5, 4, 1e-4
WANTED = {"ceiling": 0.9, "busy": 0.9, "times": 2.5}
TOLERANCE = 0.05  # of the first loss, which bfloat16 rounds


@dataclass(frozen=True)
class Case:
    """A network, its images, and the steps that are timed at once."""

    backbone: str
    shape: tuple[int, ...]
    images: int
    batch: int
    steps: int = 10

    @property
    def dim(self) -> str:
        """``"2d"`` or ``"3d"``."""
        return f"{len(self.shape)}d"


CASES = (
    Case("resnet50", (224, 224), 3200, 64),
    Case("simple", (128, 128, 128), 160, 8),
)


def run(
    device: str = "cuda",
    cases: Sequence[Case] = CASES,
    rounds: int = ROUNDS,
    folder: Path = RESULTS,
    compiled: bool = True,
) -> dict[str, Any]:
    """Compare, measure, print the tables and write them as JSON.

    Args:
        device: Where to train.
        cases: Networks and images.
        rounds: How often each way is measured.
        folder: Where the JSON goes.
        compiled: Whether torch.compile, which needs a C++ compiler, is measured too.

    Raises:
        ConfigError: There is no such device.
        MriError: The ways do not start from the same loss, or memory is out.
    """
    where = torch.device(device)
    on_gpu = where.type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise ConfigError(
            "this benchmark measures a CUDA GPU, and torch finds none here",
            hint="run it on a machine with one; python -m benchmarks epoch measures a processor",
        )
    if on_gpu and where.index is None:
        where = torch.device("cuda", torch.cuda.current_device())
    name = torch.cuda.get_device_name(where) if on_gpu else device
    here = machine("torchvision", "accelerate") | {"device": name}
    print(f"{name}, torch {torch.__version__}, {here['cores']} cores")
    results = []
    for case in cases:
        with out_of_memory(case.batch, dim=case.dim):
            results.append(measure_case(case, where, rounds, compiled))
        print_table(results[-1])
    content = {"machine": here, "wanted": WANTED, "cases": results}
    report("cuda", content, folder)
    return content


def measure_case(case: Case, device: torch.device, rounds: int, compiled: bool) -> dict[str, Any]:
    """Return what was compared and measured of one network."""
    images, labels = ready_batch(case, device)
    makers = ways_of(case, device, compiled)
    losses, starts, ways = {}, {}, {}
    for name, make in makers.items():
        step, start = make(), time.perf_counter()
        losses[name] = step(images, labels).item()
        starts[name] = time.perf_counter() - start  # of the compiled way, compiling
        ways[name] = partial(repeat, step, images, labels, case.steps, device)
        ways[name]()
    compare(losses)
    seconds = in_turns(ways, rounds)
    result: dict[str, Any] = {
        "case": f"{case.backbone} {' x '.join(map(str, case.shape))}",
        "batch": case.batch,
        "first_loss": losses,
        "first_step_seconds": starts,
        "seconds_per_image": {
            name: [one / case.steps / case.batch for one in found]
            for name, found in seconds.items()
        },
        "times_as_fast": {name: ratio(seconds[PLAIN], found) for name, found in seconds.items()},
    }
    return result | measure_epoch(case, device, rounds, makers[HALF])


def ready_batch(case: Case, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return random images and labels, on the device."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(case.batch, 1, *case.shape, generator=draws)
    return images.to(device), (torch.arange(case.batch) % CLASSES).to(device)


def ways_of(case: Case, device: torch.device, compiled: bool) -> dict[str, Callable[[], Step]]:
    """Return what makes each way's step; a step keeps a network of its own.

    Those in bfloat16 come last: accelerate keeps one precision for all steps of a process, which
    those in float32 do not ask for.
    """
    ways: dict[str, Callable[[], Step]] = {
        PLAIN: partial(new_step, case, device, "no", last=False),
        LAST: partial(new_step, case, device, "no"),
        HALF: partial(new_step, case, device, "bf16"),
    }
    if compiled:
        ways[COMPILED] = partial(new_step, case, device, "bf16", compiled=True)
    return ways


def new_step(
    case: Case,
    device: torch.device,
    precision: str,
    *,
    last: bool = True,
    compiled: bool = False,
) -> Step:
    """Return this project's training step on a network with the same weights every time."""
    torch.manual_seed(0)
    model = create_model(case.dim, case.backbone, CLASSES, weights="none", dropout=0.0)
    model = place(model, device) if last else model.to(device)
    model.train()
    if compiled:
        model.compile()
    state = TrainState(
        model, *make_optimizer(model, "scratch", TrainConfig(lr=LR), epochs=1000, steps=1000)
    )
    weights = torch.ones(CLASSES, device=device)
    return Step(state, make_accelerator(device, precision), "ce", weights)


def repeat(step: Step, images: Tensor, labels: Tensor, steps: int, device: torch.device) -> None:
    """Take steps on one batch, and wait for the last."""
    for _ in range(steps):
        step(images, labels)
    wait(device)


def compare(losses: Mapping[str, float]) -> None:
    """Refuse ways that do not start from the same loss.

    Raises:
        MriError: With the loss of each way.
    """
    if not max(losses.values()) - min(losses.values()) <= TOLERANCE:
        raise MriError(f"the ways do not start from the same loss: {losses}")


def measure_epoch(
    case: Case, device: torch.device, rounds: int, make: Callable[[], Step]
) -> dict[str, Any]:
    """Return an epoch's speed as a share of the ceiling, and the share the GPU is busy in it."""
    step = make()
    ready = ready_batch(case, device)
    with tempfile.TemporaryDirectory() as name:
        data = processed_set(Path(name), case.images, case.shape)
        loader = make_loader(data, case.batch, seed=0, workers=reader_workers(None))
        epoch = partial(train_epoch, step, loader, device)
        ways: dict[str, Callable[[], object]] = {
            "epoch": epoch,
            "ceiling": partial(repeat, step, *ready, len(loader), device),
        }
        for way in ways.values():
            way()
        seconds = in_turns(ways, rounds)
        busy = busy_share(epoch) if device.type == "cuda" else None
        del loader  # ends its readers before their folder goes
    return {
        "epoch_seconds": seconds,
        "epoch_images": case.images,
        "share_of_ceiling": ratio(seconds["ceiling"], seconds["epoch"]),
        "busy": busy,
    }


def train_epoch(step: Step, loader: DataLoader[Any], device: torch.device) -> float:
    """Train an epoch as the stage does: copies that nobody waits for, one reading of the loss."""
    generator, total = torch.Generator().manual_seed(0), torch.zeros((), device=device)
    for images, labels in loader:
        varied = augment(images.to(device, non_blocking=True), generator)
        total += step(varied, labels.to(device, non_blocking=True))
    wait(device)
    return total.item()


def busy_share(epoch: Callable[[], object]) -> float:
    """Return the share of an epoch's time in which the GPU computed or copied."""
    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        start = time.perf_counter()
        epoch()
        seconds = time.perf_counter() - start
    work = [
        (event.time_range.start, event.time_range.end)
        for event in watched.events() or ()
        if event.device_type == DeviceType.CUDA
    ]
    return covered(work) / 1e6 / seconds  # the profiler counts microseconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of some spans of time."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def wait(device: torch.device) -> None:
    """Return when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def print_table(result: Mapping[str, Any]) -> None:
    """Print images a second, ratios, the share of the ceiling and how busy the GPU is."""
    print(f"\n{result['case']}, batches of {result['batch']}")
    for name, seconds in result["seconds_per_image"].items():
        speed, loss = 1 / statistics.median(seconds), result["first_loss"][name]
        times, start = spread(result["times_as_fast"][name]), result["first_step_seconds"][name]
        print(f"{name:<36} {speed:9.1f} img/s {times}  loss {loss:.4f}, first step {start:.1f} s")
    epoch = statistics.median(result["epoch_seconds"]["epoch"])
    share = spread(result["share_of_ceiling"])
    print(f"epoch, {HALF}: {result['epoch_images'] / epoch:.1f} img/s, of the ceiling {share}")
    if result["busy"] is not None:
        print(f"GPU busy in {result['busy']:.1%} of an epoch")
