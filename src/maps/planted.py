"""Maps of phantoms, scored against the atrophy that was planted, method by method.

Who counts: correctly classified people with planted disease, one session each; in a control, where
nothing was planted, everyone, against the place where the disease would have been.

Arrays: images ``(n, 1, ...)`` of one session; maps ``(n, ...)``; I J K voxels of the stored scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..cohorts.phantom.truth import planted_change
from ..data.dataset import MriDataset
from ..data.sessions import placed, plane_of
from ..models.classifier import Classifier
from ..preprocessing.slices import PLANES
from ..preprocessing.space.grid import PlacedVolume, to_scan_grid
from ..training.logits import inference_batch
from .attribution import Attribution, capture, computing
from .cases import Case, cell_of
from .methods import BY_PLACE, CAM_METHODS, fuse, resize
from .truth import MapScore, SliceScore, Wanted, score_slices, summarise, summarise_slices

Key = tuple[str, str]  # method, layers joined by +
Scores = dict[Key, MapScore]
Volume = NDArray[np.float32]
#: Layers of the maps that need none.
NO_MODEL = "no model"


def summarise_phantoms(
    attribution: Attribution,
    data: MriDataset,
    cases: Sequence[Case],
    scores: dict[str, Scores],
    n_bootstrap: int,
    seed: int,
    slices: Mapping[str, SliceScore] | None = None,
) -> dict[str, Any]:
    """Tell how well each method does over people.

    Args:
        attribution: The run's own.
        data: Test people of a phantom data set.
        cases: Theirs; those that count are chosen here.
        scores: Name of a case that counts -> its `Scorer.scores`.
        n_bootstrap: Resamples of people.
        seed: Of the resampling.
        slices: Name of a case that counts -> how its slices weigh, where a model weighs them.

    Returns:
        ``available``, ``planted`` (False for a control), ``who`` and ``methods``: per method
        ``method``, ``layers`` (`NO_MODEL` for the rivals) and the summary of `summarise`; the
        run's own is the first. With `slices` also their `summarise_slices`, as ``slices``.
    """
    chosen, planted = who_counts(cases, data.settings)
    if not chosen:
        return {"available": False, "reason": "no diseased person was classified correctly"}
    people = [case.subject for case in chosen]
    own = _key(attribution)
    # Of several folds, some may weigh slices and others not, as a search chose.
    weighing = [case for case in chosen if case.name in (slices or {})]
    weighed = [(slices or {})[case.name] for case in weighing]
    theirs = [case.subject for case in weighing]
    told = {"slices": summarise_slices(weighed, theirs, n_bootstrap, seed)} if weighed else {}
    return {
        "available": True,
        **told,
        "planted": planted,
        "who": "correctly classified people with planted disease" if planted else "everyone",
        "methods": [
            {
                "method": key[0],
                "layers": key[1],
                "own": key == own,
                **summarise([scores[case.name][key] for case in chosen], people, n_bootstrap, seed),
            }
            for key in scores[chosen[0].name]
        ],
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


class Scorer:
    """Scores a person's map, those of other methods, and two that need no model.

    Args:
        attribution: The run's own.
        data: Test people of a phantom data set.

    Attributes:
        slices: How slices weigh, by the name of each case that was scored and whose model weighs
            them.
    """

    def __init__(self, attribution: Attribution, data: MriDataset) -> None:
        self.attribution, self.data = attribution, data
        self.slices: dict[str, SliceScore] = {}
        model = attribution.model
        assert isinstance(model, Classifier)
        fine, last = (Attribution(model, method).layers for method in ("hirescam", "gradcam"))
        wanted = {(method, last) for method in CAM_METHODS}
        wanted |= {(method, fine) for method in BY_PLACE}
        others = [Attribution(model, method, layers) for method, layers in sorted(wanted)]
        own = _key(attribution)
        #: Method and layers -> what makes those maps, for all but the run's own.
        self.others = {_key(one): one for one in others if _key(one) != own}

    def scores(self, case: Case, images: Tensor, own: Volume) -> Scores:
        """Return the scores of one case.

        Args:
            case: Whose.
            images: Of the case.
            own: The run's own map ``(I, J, K)``.
        """
        planted = _Planted(self.data, case, images)
        if case.weights is not None and case.slices:
            self.slices[case.name] = score_slices(case.weights, planted.of_slices(case))
        cell = cell_of(self.attribution, images, case)
        scores = {_key(self.attribution): planted.score(own, cell)}
        for key, maps in self._other_maps(case, images).items():
            finest = cell_of(self.others[key], images, case)
            scores[key] = planted.score(to_scan_grid(placed(maps, case)), finest)
        for name, volume in _rivals(planted.image).items():
            scores[name, NO_MODEL] = planted.score(to_scan_grid(volume), cell)
        return scores

    def _other_maps(self, case: Case, images: Tensor) -> dict[Key, NDArray[np.float32]]:
        """Return the maps of all but the run's own, from one pass over the images."""
        model = self.attribution.model
        maps: dict[Key, list[Any]] = {key: [] for key in self.others}
        layers = list(dict.fromkeys(name for one in self.others.values() for name in one.layers))
        modules = [model.get_submodule(name) for name in layers]
        device = next(model.parameters()).device
        dim = "2d" if images.ndim == 4 else "3d"
        for part in torch.split(images, inference_batch(dim, device)):
            with computing(model, part) as x:
                target = case.target if isinstance(case.target, str) else [case.target] * len(x)
                pairs = dict(zip(layers, capture(model, modules, x, target), strict=True))
                for key, other in self.others.items():
                    one = fuse([CAM_METHODS[other.method](*pairs[name]) for name in other.layers])
                    maps[key].append(resize(one, tuple(x.shape[2:])).cpu().numpy())
        return {key: np.concatenate(parts) for key, parts in maps.items()}


class _Planted:
    """Where the change is in a person's scan, and what the images show of it.

    Attributes:
        image: The images, placed.
    """

    def __init__(self, data: MriDataset, case: Case, images: Tensor) -> None:
        self.image = placed(images[:, 0].numpy(), case)
        self.truth = planted_change(data.settings, case.subject)
        ones = self.image.replaced(np.ones_like(self.image.data))
        self.seen: NDArray[np.bool_] = self.truth.brain & (to_scan_grid(ones, order=0) > 0)
        self._wanted: dict[tuple[float, ...], Wanted] = {}

    def score(self, scan: Volume, cell: tuple[float, ...]) -> MapScore:
        """Score a map ``(I, J, K)`` that is as fine as `cell`, in voxels of the images' X, Y, Z."""
        if cell not in self._wanted:
            widths = np.abs(self.image.to_stored[:3, :3]) @ np.asarray(cell)
            edges = [float(edge) for edge in widths]
            self._wanted[cell] = Wanted(self.truth.change, self.seen, edges)
        return self._wanted[cell].score(scan)

    def of_slices(self, case: Case) -> NDArray[np.float64]:
        """Return how much of the change each slice of a case holds, in the order of its slices."""
        to, shape = self.image.to_stored, self.image.data.shape
        change = ndimage.affine_transform(
            self.truth.change, to[:3, :3], to[:3, 3], shape, order=1, mode="constant"
        )
        axis = PLANES[plane_of(case.record)][0]
        of_planes = change.sum(axis=tuple(other for other in range(3) if other != axis))
        return np.asarray(of_planes[np.array(case.slices) - min(case.slices)], np.float64)


def _key(attribution: Attribution) -> Key:
    return attribution.method, "+".join(attribution.layers) or "image"


def _rivals(image: PlacedVolume) -> dict[str, PlacedVolume]:
    """Return nearness to the brain's centre, and the image's edges: what anatomy alone would get.

    The planted places are central and have edges, so a map of noise does not score 1.
    """
    brain = image.data > 0
    places = np.moveaxis(np.indices(brain.shape), 0, -1) * np.array(image.voxel_size)
    distance = np.linalg.norm(places - places[brain].mean(axis=0), axis=-1)
    widths = 2 / np.array(image.voxel_size)  # mm
    edges = ndimage.gaussian_gradient_magnitude(image.data, widths)
    maps = {"centre": (distance.max() - distance) * brain, "edges": edges * brain}
    return {name: image.replaced(values) for name, values in maps.items()}
