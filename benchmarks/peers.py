"""Our pipeline beside the usual code of MONAI and of TorchIO, on the same phantom scans.

    python -m benchmarks peers

Four things: preprocessing (raw NIfTI to volumes that a network takes), a later epoch of training,
scores of scans, and Grad-CAM maps of scans. The peers' code stands in `benchmarks.peers_side`, as
their tutorials write it; it runs in an environment that is made for it (`benchmarks.peers_venv`).
Ours is in `benchmarks.peers_ours`. Every side has a process of its own for everything it does, so
that its peak of memory is its own; they take turns, and a ratio is taken within a round.

What is the same: scans, networks (our `simple`, MONAI's DenseNet121) with their first weights,
prepared volumes, their order, batches, optimiser, loss, float32, threads (torch's default, or
``OMP_NUM_THREADS``; they wait without spinning). Nothing is varied at random. Peers are measured
with 0 and 2 workers (MONAI's cache: 1 and 2 threads; its maps: 1 and 2 scans at once), and of these
the faster counts, for every figure anew.

Before anything is reported, the sides must agree: the volumes that each prepares show the same
places, logits and losses are the same, and so are maps. How far they may differ stands below.

Arrays: volumes ``X Y Z`` in RAS+ order; maps ``(n, X, Y, Z)``; logits ``(n, K)``. Times are
seconds, memory is MiB.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from src.cohorts.phantom.cohort import make_phantom
from src.config import PhantomConfig
from src.data.dataset import EvenBatches
from src.errors import MriError
from src.labels import STAGES
from src.models.backbones_3d import MEAN, STD
from src.preprocessing.scan import read_record

from .maps import to_range
from .peers_ours import DENSENET, LAYERS, SIMPLE, make_network, settings, volumes, weights_for_peers
from .peers_venv import peers_python, versions
from .timing import RESULTS, ask, machine, ratio, report, spread

SCANS, VOXEL, EDGE = 16, 1.5, 64  # a multiple of 4 scans; mm; voxels of a prepared volume
SPACING, FIELD = 2.0, 208  # MONAI's `Spacingd` in mm; longest edge of a scan in mm
BATCH, SCORED, DECAY, TARGET = 4, 2, 0.01, 1
LR = 1e-5  # so small that AdamW does not magnify the last digit of a gradient
ROUNDS = 3
NETWORKS = (SIMPLE, DENSENET)
OURS = "ours"
#: Task -> side -> what is tried for it: workers, or for maps scans at once.
TRIED: dict[str, dict[str, tuple[int, ...]]] = {
    "preprocess": {OURS: (0,), "monai": (1, 2), "torchio": (0, 2)},
    "train": {OURS: (0,), "monai": (0, 2), "torchio": (0, 2)},
    "score": {OURS: (0,), "monai": (0, 2), "torchio": (0, 2)},
    "maps": {OURS: (0,), "monai": (1, 2)},  # TorchIO makes none
}
#: How far the sides may be apart.
ALIKE = 0.95  # least correlation of prepared volumes, at the same places of the brain
LOGITS, MAPS = 1e-4, 1e-3  # of the largest
LOSSES = (1e-3, 1e-2)  # of the first and the second epoch: ours also clips gradients
Measured = dict[str, list[float]]


def run(
    scans: int = SCANS,
    edge: int = EDGE,
    rounds: int = ROUNDS,
    networks: Sequence[str] = NETWORKS,
    folder: Path = RESULTS,
) -> dict[str, Any]:
    """Compare, measure, print the tables and write them as JSON.

    Args:
        scans: How many phantoms, a multiple of 4.
        edge: Of the prepared volumes, in voxels.
        rounds: How often each way is measured.
        networks: Of `NETWORKS`.
        folder: Where the JSON goes.

    Raises:
        MriError: The peers cannot be installed, a side failed, or the sides do not agree.
    """
    python = peers_python()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    content = {**machine(), "peers": versions(python), "scans": scans, "edge": edge, "tasks": []}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        common = first_plan(place, scans, edge)
        found = measure(python, place, "preprocess", common, rounds)
        agree = compare_places(place, Path(common["processed"]), common["raw"])
        content["tasks"].append(row("preprocess", "", "cpu", found, agree))
        ready = write_ready(place, Path(common["processed"]))
        for device in devices:
            for network in networks:
                plan = {**common, **ready, **write_weights(place, network), "device": device}
                for task in ("train", "score", "maps"):
                    found = measure(python, place, task, plan, rounds)
                    agree = COMPARE[task](place)
                    content["tasks"].append(row(task, network, device, found, agree))
    report("peers", content, folder)
    return content


def first_plan(place: Path, scans: int, edge: int) -> dict[str, Any]:
    """Make the scans; return what all sides are told."""
    root = place / "data"
    raw = make_scans(place, root / "kaggle_nifti", scans)
    processed = str(settings(root, edge).data.processed_dir)
    plan = {"root": str(root), "raw": raw, "processed": processed, "device": "cpu", "edge": edge}
    plan |= {"spacing": SPACING, "field": FIELD, "mean": MEAN, "std": STD, "batch": BATCH}
    plan |= {"scored": SCORED, "lr": LR, "decay": DECAY, "target": TARGET}
    return plan | {"classes": len(STAGES)}


def make_scans(place: Path, root: Path, count: int) -> list[str]:
    """Write phantoms as packed NIfTI files, as many of each stage; return their paths."""
    made = place / "phantom"
    make_phantom(made, PhantomConfig(phantom_subjects=max(count, 8), phantom_voxel=VOXEL), 0, 1)
    paths = []
    for number, source in enumerate(sorted(made.rglob("*_MR1_*.img"))[:count]):
        shape = nib.load(source).shape[:3]
        stored = np.fromfile(source, ">i2").astype(np.int16).reshape(shape, order="F")  # LAS
        path = root / STAGES[number % len(STAGES)] / f"PHAN_{number + 1:04d}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(stored, np.diag([-VOXEL, VOXEL, VOXEL, 1])), path)
        paths.append(str(path))
    return paths


def write_ready(place: Path, processed: Path) -> dict[str, Any]:
    """Write our prepared volumes as NIfTI files for the peers, in our order of an epoch."""
    data = volumes(processed, "train")
    batches = EvenBatches(len(data), BATCH, seed=0)
    batches.epoch = 1
    listed = {}
    for number, volume in enumerate(data.read_rows(range(len(data)))):
        path = place / f"ready_{number:04d}.nii"
        nib.save(nib.Nifti1Image(volume[0].float().numpy(), np.eye(4)), path)
        listed[number] = [str(path), int(data.labels[number])]
    order = [number for batch in batches for number in batch]
    return {"trained": [listed[number] for number in order], "scored_files": list(listed.values())}


def write_weights(place: Path, network: str) -> dict[str, Any]:
    """Write the weights that all sides start from."""
    torch.manual_seed(0)
    model, paths = make_network(network), [place / f"{network}_{who}.pth" for who in (OURS, "peer")]
    torch.save(model.state_dict(), paths[0])
    torch.save(weights_for_peers(model), paths[1])
    found = {"network": network, "layer": LAYERS[network][1], "our_weights": str(paths[0])}
    return {**found, "weights": str(paths[1])}


def measure(
    python: Path, place: Path, task: str, plan: Mapping[str, Any], rounds: int
) -> dict[str, dict[int, Measured]]:
    """Run a task on all sides, in turns; return side -> what was tried -> what each round took."""
    plan_file, files = (
        place / "plan.json",
        plan.get("trained" if task == "train" else "scored_files"),
    )
    plan_file.write_text(json.dumps({**plan, "ready": files}), encoding="utf-8")
    ways = [(side, tried) for side, several in TRIED[task].items() for tried in several]
    running = {way: start(python, *way, task, plan_file) for way in ways}
    calls: dict[tuple[str, int], list[dict[str, float]]] = {way: [] for way in ways}
    try:
        for number in range(1 + rounds):  # the first call fills caches, and is not counted
            first = number % len(ways)
            for way in ways[first:] + ways[:first]:
                calls[way].append(ask(running[way], place / f"{way[0]}_{task}_{way[1]}.log"))
    finally:
        for process in running.values():
            process.communicate()
    found: dict[str, dict[int, Measured]] = {side: {} for side in TRIED[task]}
    for (side, tried), all_of_it in calls.items():
        counted = {kind: [one[kind] for one in all_of_it[1:]] for kind in ("processor", "seconds")}
        found[side][tried] = {**counted, "peak": [all_of_it[-1]["peak"]]}
    return found


def start(python: Path, side: str, tried: int, task: str, plan_file: Path) -> subprocess.Popen[str]:
    """Start a side; it does its task each time it is asked."""
    script = Path(__file__).with_name("peers_side.py")
    theirs = [str(python), str(script)]
    command = [sys.executable, "-m", "benchmarks.peers_ours"] if side == OURS else theirs
    waiting = {"OMP_WAIT_POLICY": "passive", **os.environ}
    with plan_file.with_name(f"{side}_{task}_{tried}.log").open("w", encoding="utf-8") as log:
        return subprocess.Popen(  # noqa: S603 - our own module
            [*command, side, task, str(tried), str(plan_file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            encoding="utf-8", env=waiting,
        )  # fmt: skip


def row(
    task: str,
    network: str,
    device: str,
    found: Mapping[str, Mapping[int, Measured]],
    agree: Mapping[str, Any],
) -> dict[str, Any]:
    """Print and return what a task took on every side, and how many times ours that is."""
    mine = found[OURS][0]
    sides = {side: summary(tried, mine) for side, tried in found.items()}
    print(f"\n{task} {network} ({device}); {', '.join(f'{k} {v}' for k, v in agree.items())}")
    for side, one in sides.items():
        times = [
            f"{word} {one[kind]:6.2f} s {spread(one['times_ours'][kind])}"
            for kind, word in (("processor", "processor"), ("seconds", "wall"))
        ]
        ways = " and ".join(str(one["best"][kind]) for kind in ("processor", "seconds"))
        print(f"{side:<8} {'  '.join(times)}  {one['peak']:5.0f} MiB  with {ways}", flush=True)
    told = {side: {str(n): one for n, one in tried.items()} for side, tried in found.items()}
    named = {"task": task, "network": network, "device": device, "agreement": dict(agree)}
    return {**named, "sides": sides, "measured": told}


def summary(tried: Mapping[int, Measured], ours: Measured) -> dict[str, Any]:
    """Return a side's median times and ratios, each of what was faster, and its peak of memory.

    The peak is of what took the least processor time; of workers' memory it knows nothing.
    """
    found: dict[str, Any] = {"best": {}, "times_ours": {}}
    for kind in ("processor", "seconds"):
        best = min(tried, key=lambda number: statistics.median(tried[number][kind]))
        found["best"][kind] = best
        found[kind] = statistics.median(tried[best][kind])
        found["times_ours"][kind] = ratio(tried[best][kind], ours[kind])
    return {**found, "peak": tried[found["best"]["processor"]]["peak"][0]}


def results(place: Path, task: str, call: int = 0) -> dict[str, Any]:
    """Return way -> the arrays that it gave."""
    pattern = f"*_{task}_*_{call}.npz"
    return {path.stem: dict(np.load(path)) for path in sorted(place.glob(pattern))}


def compare_places(place: Path, processed: Path, raw: Sequence[str]) -> dict[str, Any]:
    """Return the least correlation of each peer's volumes with ours, at the same places in mm.

    Raises:
        MriError: It is too low: they do not show the same.
    """
    found: dict[str, float] = {}
    for way, made in results(place, "preprocess").items():
        for number, theirs in enumerate(made.get("images", ())):
            record = read_record(processed, f"{Path(raw[number]).name.partition('.')[0]}_MR1")
            assert record is not None
            ours = np.load(processed / record["files"][0]["path"]).astype(np.float32)
            moved = on_grid(ours, record, made["affines"][number], theirs.shape)
            inside = (moved > 0) & (theirs > 0)
            alike = float(np.corrcoef(moved[inside], theirs[inside])[0, 1])
            found[way] = min(alike, found.get(way, 1.0))
    low = {way: alike for way, alike in found.items() if not alike >= ALIKE}
    if low or not found:
        raise MriError(f"the volumes do not show the same places as ours: r = {low}")
    return {"least r": round(min(found.values()), 4)}


def on_grid(
    ours: NDArray[np.float32],
    record: Mapping[str, Any],
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Return our volume on another grid of the same scan; 0 outside of it.

    Args:
        ours: Processed volume.
        record: Of the scan: where its voxels lie in the stored scan, and that in mm.
        affine: Of the other grid, index -> mm.
        shape: Of the other grid.
    """
    to_mm = np.array(record["stored"]["affine"]) @ np.array(record["files"][0]["to_stored"])
    matrix = np.linalg.inv(to_mm) @ affine
    moved: NDArray[np.float32] = ndimage.affine_transform(
        ours, matrix[:3, :3], matrix[:3, 3], shape, order=1
    )
    return moved


def compare_losses(place: Path) -> dict[str, Any]:
    """Return how far the peers' losses are from ours at most, in the first two epochs."""
    found: dict[str, Any] = {}
    for call, (word, most) in enumerate(zip(("first", "second"), LOSSES, strict=True)):
        losses = {way: float(one["loss"]) for way, one in results(place, "train", call).items()}
        found[f"{word} loss"] = round(next(v for k, v in losses.items() if OURS in k), 4)
        found[f"{word} apart"] = f"{agreed(losses, most, 'losses'):.0e}"
    return found


def compare_logits(place: Path) -> dict[str, Any]:
    """Return how far the peers' logits are from ours at most, of the largest."""
    logits = {way: one["logits"] for way, one in results(place, "score").items()}
    return {"logits apart": f"{agreed(logits, LOGITS, 'logits'):.0e}"}


def compare_maps(place: Path) -> dict[str, Any]:
    """Return how far the peers' maps are from ours at most, each from its least value to 1."""
    maps = {way: to_range(one["maps"]) for way, one in results(place, "maps").items()}
    return {"maps apart": f"{agreed(maps, MAPS, 'maps'):.0e}"}


COMPARE = {"train": compare_losses, "score": compare_logits, "maps": compare_maps}


def agreed(values: Mapping[str, Any], most: float, what: str) -> float:
    """Return the largest difference from ours, as a part of our largest value.

    Raises:
        MriError: It is over `most`, or not a number.
    """
    ours = next(np.asarray(one) for way, one in values.items() if way.startswith(OURS))
    apart = {
        way: float(np.abs(np.asarray(one) - ours).max() / np.abs(ours).max())
        for way, one in values.items()
    }
    wrong = {way: one for way, one in apart.items() if not one <= most}
    if wrong:
        raise MriError(f"the {what} are not the same as ours: {wrong}, allowed is {most:g}")
    return max(apart.values())
