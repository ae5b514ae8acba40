"""The usual code of MONAI and of TorchIO, in a process of its own: `benchmarks.peers` starts it.

    python peers_side.py SIDE TASK VARIANT PLAN

A plain script: it runs in the peers' own environment, where this project is not installed. What it
is to do stands in PLAN, a JSON file. It gets ready, then does the task once for every line that
comes, and answers each with a line of JSON: seconds, processor seconds, peak memory in MiB. What
the first two calls gave is kept as ``<plan's folder>/<side>_<task>_<variant>_<call>.npz``.

SIDE is ``monai`` or ``torchio``, TASK one of `TASKS`. VARIANT is a number of workers, and of images
at once for maps.

Arrays: volumes ``(B, 1, X, Y, Z)`` float32; logits ``(B, K)``; maps ``(B, X, Y, Z)``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Plan = dict[str, Any]
Arrays = dict[str, Any]
#: What is timed, and what makes arrays of its result when the clock stands.
Task = tuple[Callable[[], Any], Callable[[Any], Arrays]]
Batches = Iterable[tuple[Tensor, Tensor]]
SHOWN = 2  # scans that are kept to see whether they lie where ours do
KEPT = 2  # calls whose result is kept


def serve(task: Task, stem: Path, device: str) -> None:
    """Do a task for every line that comes; tell what each call took."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print as well
    call, arrays = task
    for number, _ in enumerate(sys.stdin):
        begun, busy = time.perf_counter(), worked()
        result = call()
        if device == "cuda":
            torch.cuda.synchronize()
        found = {"seconds": time.perf_counter() - begun, "processor": worked() - busy}
        found["peak"] = peak(device)
        if number < KEPT:
            np.savez(f"{stem}_{number}.npz", **arrays(result))
        print(json.dumps(found), file=answers, flush=True)


def worked() -> float:
    """Return the processor time of this process and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def peak(device: str) -> float:
    """Return the largest memory so far in MiB: of the GPU, else of this process.

    What Linux hands on to a started process as its largest may have been its parent's.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="utf-8").splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**10
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (2**20 if sys.platform == "darwin" else 2**10)


class Simple(nn.Module):
    """This project's `simple` in plain torch, with the same names of weights."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (1, 24, 48, 96, 192, 256)
        self.features = nn.Sequential()
        for unit, (before, after) in enumerate(pairwise(widths), start=1):
            stride = 2 if unit <= 3 else 1
            convolution = nn.Conv3d(before, after, 3, stride=stride, padding=1, bias=False)
            layers = nn.Sequential(convolution, nn.BatchNorm3d(after), nn.ReLU(inplace=True))
            self.features.add_module(f"unit{unit}", layers)
        self.head = nn.Linear(2 * widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: mean and largest value of every channel, and a linear head."""
        flat = self.features(x).flatten(2)
        logits: Tensor = self.head(torch.cat([flat.mean(dim=2), flat.amax(dim=2)], dim=1))
        return logits


def network(plan: Plan) -> nn.Module:
    """Return the network, with the weights that all sides start from."""
    if plan["network"] == "simple":
        model: nn.Module = Simple(plan["classes"])
    else:
        from monai.networks.nets import DenseNet121

        model = DenseNet121(spatial_dims=3, in_channels=1, out_channels=plan["classes"])
    model.load_state_dict(torch.load(plan["weights"], weights_only=True))
    return model.to(plan["device"])


def monai_preprocess(plan: Plan, workers: int) -> Task:
    """Raw scans into the memory of a `CacheDataset`."""
    from monai import transforms as t
    from monai.data import CacheDataset

    edge, spacing = plan["edge"], plan["spacing"]
    transform = t.Compose(
        [
            t.LoadImaged(keys="image"),
            t.EnsureChannelFirstd(keys="image"),
            t.Orientationd(keys="image", axcodes="RAS", labels=None),
            t.Spacingd(keys="image", pixdim=(spacing, spacing, spacing), mode="bilinear"),
            t.Resized(keys="image", spatial_size=(edge, edge, edge)),
            t.ScaleIntensityd(keys="image"),
        ]
    )
    files = [{"image": path} for path in plan["raw"]]

    def call() -> Any:
        return CacheDataset(files, transform, num_workers=workers, progress=False)

    def arrays(data: Any) -> Arrays:
        images = [data[number]["image"] for number in range(SHOWN)]
        affines = [np.asarray(image.affine) for image in images]
        return {"images": [np.asarray(image[0]) for image in images], "affines": affines}

    return call, arrays


def torchio_preprocess(plan: Plan, workers: int) -> Task:
    """Raw scans into memory, through a `SubjectsLoader`; TorchIO itself keeps none."""
    import torchio as tio

    spacing = plan["field"] / plan["edge"]  # then one resampling is enough
    transform = tio.Compose(
        [
            tio.ToCanonical(),
            tio.Resample(spacing),
            tio.CropOrPad(plan["edge"]),
            tio.RescaleIntensity((0, 1)),
        ]
    )
    subjects = [tio.Subject(image=tio.ScalarImage(path)) for path in plan["raw"]]

    def call() -> Any:
        data = tio.SubjectsDataset(subjects, transform=transform)
        loader = tio.SubjectsLoader(data, batch_size=1, num_workers=workers)
        return [batch["image"] for batch in loader]

    def arrays(images: Any) -> Arrays:
        shown = images[:SHOWN]
        volumes = [image["data"][0, 0].numpy() for image in shown]
        return {"images": volumes, "affines": [np.asarray(image["affine"][0]) for image in shown]}

    return call, arrays


def monai_batches(plan: Plan, size: int, workers: int) -> Batches:
    """Return prepared volumes, cached in memory before anything is timed, as batches."""
    from monai import transforms as t
    from monai.data import CacheDataset, DataLoader

    transform = t.Compose(
        [
            t.LoadImaged(keys="image"),
            t.EnsureChannelFirstd(keys="image"),
            t.NormalizeIntensityd(keys="image", subtrahend=plan["mean"], divisor=plan["std"]),
            t.EnsureTyped(keys="image", track_meta=False),  # a little faster than with affines
        ]
    )
    files = [{"image": path, "label": label} for path, label in plan["ready"]]
    data = CacheDataset(files, transform, progress=False)
    loader = DataLoader(data, batch_size=size, num_workers=workers)
    return Pairs(loader, lambda batch: (batch["image"], batch["label"]), plan["device"])


def torchio_batches(plan: Plan, size: int, workers: int) -> Batches:
    """Return prepared volumes, loaded into memory before anything is timed, as batches."""
    import torchio as tio

    mean, std = plan["mean"], plan["std"]
    subjects = [
        tio.Subject(image=tio.ScalarImage(path), label=label) for path, label in plan["ready"]
    ]
    files = tio.SubjectsDataset(subjects, transform=tio.Lambda(lambda x: (x - mean) / std))
    data = tio.SubjectsDataset([files[number] for number in range(len(files))])
    loader = tio.SubjectsLoader(data, batch_size=size, num_workers=workers)
    return Pairs(loader, lambda batch: (batch["image"]["data"], batch["label"]), plan["device"])


class Pairs:
    """Batches of a loader as images and labels, on the device; as often as they are asked for."""

    def __init__(
        self, loader: Any, pair: Callable[[Any], tuple[Tensor, Tensor]], device: str
    ) -> None:
        self.loader, self.pair, self.device = loader, pair, device

    def __iter__(self) -> Any:
        for batch in self.loader:
            images, labels = self.pair(batch)
            yield images.to(self.device), labels.to(self.device)


BATCHES = {"monai": monai_batches, "torchio": torchio_batches}


def train(side: str, plan: Plan, workers: int) -> Task:
    """An epoch, as MONAI's tutorials write it."""
    batches, model = BATCHES[side](plan, plan["batch"], workers), network(plan)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), plan["lr"], weight_decay=plan["decay"])

    def call() -> Any:
        model.train()
        epoch_loss, steps = 0.0, 0
        for images, labels in batches:
            optimizer.zero_grad()
            loss = loss_function(model(images), labels)
            loss.backward()
            optimizer.step()
            epoch_loss, steps = epoch_loss + loss.item(), steps + 1
        return epoch_loss / steps

    return call, lambda loss: {"loss": loss}


def score(side: str, plan: Plan, workers: int) -> Task:
    """Logits of every scan."""
    batches, model = BATCHES[side](plan, plan["scored"], workers), network(plan).eval()

    def call() -> Any:
        with torch.no_grad():
            return torch.cat([model(images) for images, _ in batches]).cpu()

    return call, lambda logits: {"logits": logits.numpy()}


def maps(side: str, plan: Plan, size: int) -> Task:
    """Grad-CAM of one class of every scan, `size` scans in a call; TorchIO makes no maps."""
    from monai.visualize import GradCAM

    batches, model = BATCHES[side](plan, size, 0), network(plan).eval()
    cam = GradCAM(nn_module=model, target_layers=plan["layer"])

    def call() -> Any:
        return [cam(x=images, class_idx=plan["target"]) for images, _ in batches]

    # MONAI's own scaling turns a map over: its smallest value is 1.
    return call, lambda found: {"maps": 1 - np.concatenate([one[:, 0].cpu() for one in found])}


PREPROCESS = {"monai": monai_preprocess, "torchio": torchio_preprocess}
TASKS = {"train": train, "score": score, "maps": maps}


def main(side: str, task: str, variant: str, plan_file: str) -> None:
    """Get ready, and serve."""
    path = Path(plan_file)
    plan = json.loads(path.read_text(encoding="utf-8"))
    if task == "preprocess":
        made = PREPROCESS[side](plan, int(variant))
    else:
        made = TASKS[task](side, plan, int(variant))
    serve(made, path.parent / f"{side}_{task}_{variant}", plan["device"])


if __name__ == "__main__":
    main(*sys.argv[1:])
