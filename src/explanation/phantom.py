"""Maps of phantoms, scored against the atrophy that was planted, method by method.

Who counts: correctly classified people with planted disease, one session each; in a control, where
nothing was planted, everyone, against the place where the disease would have been.

Arrays: images ``(n, 1, ...)`` of one session; maps ``(n, ...)``; I J K voxels of the stored scan.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from ..attribution import Attribution, capture, computing
from ..cam_methods import CAM_METHODS, fuse, resize
from ..classifier import Classifier
from ..cohorts.phantom_truth import Truth, planted_change
from ..dataset import MriDataset
from ..inference import inference_batch
from ..maps.space import PlacedVolume, to_scan_grid
from ..maps.truth import MapScore, score_map, summarise
from ..runtime import progress
from .cases import Case, cell_of, images_of, placed

logger = logging.getLogger(__name__)
#: Layers of the maps that need none.
NO_MODEL = "no model"


def score_phantoms(
    attribution: Attribution,
    data: MriDataset,
    cases: Sequence[Case],
    own: dict[str, MapScore],
    n_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Score class-activation methods, and two maps that need no model, on the same people.

    Args:
        attribution: The run's own.
        data: Test people of a phantom data set.
        cases: Theirs; those that count are chosen here.
        own: Name of a case -> score of the run's own map.
        n_bootstrap: Resamples of people.
        seed: Of the resampling.

    Returns:
        ``available``, ``planted`` (False for a control), ``who`` and ``methods``: per method
        ``method``, ``layers`` (`NO_MODEL` for the rivals) and the summary of `summarise`.
    """
    chosen, planted = who_counts(cases, data.settings)
    if not chosen:
        return {"available": False, "reason": "no diseased person was classified correctly"}
    scores: dict[tuple[str, str], list[MapScore]] = defaultdict(list)
    for case in progress(chosen, total=len(chosen), desc="maps against the truth"):
        found = _score_methods(attribution, data, case)
        found |= _score_rivals(attribution, data, case)
        for key, one in found.items():
            scores[key].append(one)
    people = [case.subject for case in chosen]
    own_name = "+".join(attribution.layers) or "image"
    rows = {(attribution.method, own_name): [own[case.name] for case in chosen], **scores}
    return {
        "available": True,
        "planted": planted,
        "who": "correctly classified people with planted disease" if planted else "everyone",
        "methods": [
            {
                "method": method,
                "layers": layers,
                "own": (method, layers) == (attribution.method, own_name),
                **summarise(values, people, n_bootstrap, seed),
            }
            for (method, layers), values in rows.items()
        ],
    }


def _score_rivals(
    attribution: Attribution, data: MriDataset, case: Case
) -> dict[tuple[str, str], MapScore]:
    """Score nearness to the brain's centre, and the image's edges: what anatomy alone would get.

    The planted places are central and have edges, so a map of noise does not score 1.
    """
    images = images_of(data, case)
    image = placed(images[:, 0].numpy(), case)
    brain = image.data > 0
    places = np.moveaxis(np.indices(brain.shape), 0, -1) * np.array(image.voxel_size)
    distance = np.linalg.norm(places - places[brain].mean(axis=0), axis=-1)
    widths = 2 / np.array(image.voxel_size)  # mm
    edges = ndimage.gaussian_gradient_magnitude(image.data, widths)
    cell = cell_of(attribution, images, case)
    maps = {"centre": (distance.max() - distance) * brain, "edges": edges * brain}
    return {
        (name, NO_MODEL): score_case(data, case, image.replaced(values), cell)
        for name, values in maps.items()
    }


def who_counts(cases: Sequence[Case], settings: dict[str, Any]) -> tuple[list[Case], bool]:
    """Return one case of each person that counts, and whether disease was planted in them."""
    made = settings.get("phantom")
    if made is None:
        return [], False
    planted = made["phantom_effect"] > 0 and made["phantom_cause"] == "disease"
    first: dict[str, Case] = {}
    for case in cases:
        if not planted or (case.correct and case.truth > 0):
            first.setdefault(case.subject, case)
    return list(first.values()), planted


def score_case(
    data: MriDataset, case: Case, volume: PlacedVolume, cell: Sequence[float]
) -> MapScore:
    """Score one placed map on the grid of the stored scan.

    Args:
        data: Test people of a phantom data set.
        case: Whose map.
        volume: The map.
        cell: How fine it is along X, Y, Z, in its voxels.
    """
    truth = truth_of(data, case)
    seen = to_scan_grid(volume.replaced(np.ones_like(volume.data)), order=0) > 0
    widths = np.abs(volume.to_stored[:3, :3]) @ np.asarray(cell)
    return score_map(
        to_scan_grid(volume), truth.change, truth.brain & seen, [float(edge) for edge in widths]
    )


def truth_of(data: MriDataset, case: Case) -> Truth:
    """Return where the disease shows in a person's image, or would show in a control's."""
    return _truth(json.dumps(data.settings, sort_keys=True), case.subject)


@lru_cache(maxsize=1)  # several methods are scored against one person's truth
def _truth(settings: str, subject: str) -> Truth:
    return planted_change(json.loads(settings), subject)


def _score_methods(
    attribution: Attribution, data: MriDataset, case: Case
) -> dict[tuple[str, str], MapScore]:
    """Return (method, layers) -> score of all but the run's own, from one pass over the images."""
    model = attribution.model
    assert isinstance(model, Classifier)
    fine = Attribution(model, "hirescam").layers
    last = Attribution(model, "gradcam").layers
    wanted = {(method, last) for method in CAM_METHODS}
    wanted |= {(method, fine) for method in ("layercam", "hirescam")}
    wanted.discard((attribution.method, attribution.layers))
    images = images_of(data, case)
    maps: dict[tuple[str, tuple[str, ...]], list[Any]] = defaultdict(list)
    layers = list(dict.fromkeys([*fine, *last]))
    modules = [model.get_submodule(name) for name in layers]
    device = next(model.parameters()).device
    for part in torch.split(images, inference_batch(model.dim, device)):
        with computing(model, part) as x:
            target = case.target if isinstance(case.target, str) else [case.target] * len(x)
            pairs = dict(zip(layers, capture(model, modules, x, target), strict=True))
            for method, names in wanted:
                one = fuse([CAM_METHODS[method](*pairs[name]) for name in names])
                maps[method, names].append(resize(one, tuple(x.shape[2:])).cpu().numpy())
    found = {}
    for method, names in sorted(wanted):
        volume = placed(np.concatenate(maps[method, names]), case)
        cell = cell_of(Attribution(model, method, names), images, case)
        found[method, "+".join(names)] = score_case(data, case, volume, cell)
    return found
