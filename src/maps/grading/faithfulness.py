"""Whether the places a map marks are those that the model uses: deletion and insertion.

Arrays: images ``(P, 1, ...)`` in [0, 1], maps and brains ``(P, ...)``, P people; orders ``(C,)``
of one person's C cells; curves ``(STEPS + 1,)`` in log-odds of what is explained.

Source: Petsiuk et al. (2018), arXiv:1806.07421.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from ...models.engine import Pass
from ...runtime import progress
from ..attribution import Target, target_scores
from .explainer import Explainer, logits_of, maps_of, pass_of, settle_target
from .similarity import Map, Mask, brain_masks, cell_means, cells_of

Array = NDArray[np.float64]
Order = NDArray[np.int64]
#: Steps from the whole image to the blurred one.
STEPS = 10
#: Random orders of each person's cells.
DRAWS = 4
#: Cells along an edge, at most: single voxels, strewn about, would test noise and not places.
FINEST = 32


def faithfulness(
    explainer: Explainer, x: Tensor, target: Target = None, *, seed: int = 0
) -> dict[str, Any]:
    """Delete and insert cells of the brain in the order of the map, and in random orders.

    A cell is as large as one of the map's own grid and ends where the brain does, so that a random
    order differs from the map's in nothing but its order. A deleted cell takes the values of the
    image blurred by a cell's width inside the brain: an empty one would have edges that no brain
    has. Cells of one value, such as the zeros of a rectified map, come in random order.

    Deleting what the map marks should lower the explained log-odds sooner than at random, inserting
    it raise them sooner: the *gain* is half of the area under insertion minus that under deletion.
    A random order gains 0 on average, since inserting in it is deleting in its reverse. Log-odds,
    since probabilities near 1 no longer move. A second rival is an order that anyone can name
    without a model, from the centre of the brain outwards: the ventricles are there, so it gains
    where dementia is explained.

    Args:
        explainer: Attribution.
        x: One image or volume of each person.
        target: As `Attribution.raw_maps`.
        seed: Of the random orders.

    Returns:
        ``deleted``: shares of the brain; ``deletion`` and ``insertion``: a curve of each person by
        ``map``, ``centre`` and ``random`` (mean over `DRAWS`); ``gain`` of the map, and
        ``over_centre``, how much more that is than the centre's, of each person; ``cell``,
        ``n_cells``, ``draws``.
    """
    settled = settle_target(explainer.model, x, target)
    maps, brains = maps_of(explainer, x, settled), brain_masks(x[:, 0].cpu().numpy())
    edges = explainer.resolution(x.shape[2:])
    cell = [max(edge, n / FINEST) for edge, n in zip(edges, x.shape[2:], strict=True)]
    wanted = settled if isinstance(settled, list) else [settled] * len(x)
    rng = np.random.default_rng(seed)
    people, run = [], pass_of(explainer.model, len(x) * (2 + (4 + DRAWS) * (STEPS - 1)))
    for i in progress(range(len(x)), total=len(x), desc="deletion"):
        image = x[i, 0].cpu().numpy()
        deletion = _Deletion(explainer.model, image, brains[i], cell, wanted[i], run)
        people.append(_measure(deletion, maps[i], rng))
    return {
        "available": True,
        "deleted": np.linspace(0, 1, STEPS + 1).tolist(),
        **{
            way: {name: [p[way][name] for p in people] for name in people[0][way]}
            for way in ("deletion", "insertion")
        },
        **{name: [p[name] for p in people] for name in ("gain", "over_centre", "n_cells")},
        "cell": [float(edge) for edge in cell],
        "draws": DRAWS,
    }


def blurred_inside(image: Map, brain: Mask, cell: Sequence[float]) -> Map:
    """Return the image blurred by a cell's width in the brain, as if nothing were outside it."""
    above = ndimage.gaussian_filter(np.where(brain, image, 0).astype(np.float64), cell)
    below = ndimage.gaussian_filter(brain.astype(np.float64), cell)
    blurred: Map = np.where(brain, above / np.maximum(below, 1e-12), image).astype(np.float32)
    return blurred


def log_odds(logits: Tensor, target: int | str) -> Array:
    """Return the log-odds ``(n,)`` of a class, or of a named score, against all else."""
    if isinstance(target, str):
        scores: Array = target_scores(logits, target).numpy()
        return scores
    others = logits.clone()
    others[:, target] = -torch.inf
    odds: Array = (logits[:, target] - others.logsumexp(dim=1)).numpy()
    return odds


class _Deletion:
    """One image, its cells, and the model's score of it with some of them deleted."""

    def __init__(
        self,
        model: nn.Module,
        image: Map,
        brain: Mask,
        cell: Sequence[float],
        target: int | str,
        run: Pass | None = None,
    ) -> None:
        self.model, self.image, self.brain, self.target = model, image, brain, target
        self._run = run
        self.cells = cells_of(brain, cell)
        self.blurred = blurred_inside(image, brain, cell)
        sizes = np.bincount(self.cells[brain])
        self.shares: Array = sizes / sizes.sum()
        self.ends = self._scores([0.0, 1.0], np.zeros(len(sizes)))

    def order(self, values: Map, rng: np.random.Generator) -> Order:
        """Return the cells from the largest mean value to the smallest, equal ones at random."""
        means = cell_means(values, self.cells)
        return np.lexsort((rng.random(len(means)), -means))

    def curve(self, order: Order) -> Array:
        """Return the score with 0 to all of the brain deleted, in this order of cells."""
        shares = self.shares[order]
        place = np.empty(len(order))
        place[order] = np.cumsum(shares) - shares / 2  # a cell goes when half of it is due
        between = self._scores(np.linspace(0, 1, STEPS + 1)[1:-1].tolist(), place)
        return np.concatenate([self.ends[:1], between, self.ends[1:]])

    def _scores(self, deleted: Sequence[float], place: Array) -> Array:
        where = np.where(self.brain, place[self.cells], np.inf)
        images = [np.where(where < share, self.blurred, self.image) for share in deleted]
        logits = logits_of(self.model, torch.from_numpy(np.stack(images))[:, None], self._run)
        return log_odds(logits, self.target)


def _measure(deletion: _Deletion, values: Map, rng: np.random.Generator) -> dict[str, Any]:
    """Return curves and differences of areas of one person.

    Inserting in an order is deleting in the reverse one, read from its end, so both ways share
    their random curves.
    """
    orders = {"map": deletion.order(values, rng), "centre": _from_centre(deletion, rng)}
    curves = {n: (deletion.curve(o), deletion.curve(o[::-1])[::-1]) for n, o in orders.items()}
    gain = {
        name: float(np.trapezoid(there - back, dx=1 / STEPS)) / 2
        for name, (back, there) in curves.items()
    }
    drawn = [deletion.curve(rng.permutation(len(deletion.shares))) for _ in range(DRAWS)]
    random = np.mean(drawn, axis=0)
    curves["random"] = (random, random[::-1])
    return {
        "deletion": {name: back.round(4).tolist() for name, (back, _) in curves.items()},
        "insertion": {name: there.round(4).tolist() for name, (_, there) in curves.items()},
        "gain": gain["map"],
        "over_centre": gain["map"] - gain["centre"],
        "n_cells": len(deletion.shares),
    }


def _from_centre(deletion: _Deletion, rng: np.random.Generator) -> Order:
    """Return the cells from the brain's centre of mass outwards."""
    places = np.indices(deletion.brain.shape)
    centre = places[:, deletion.brain].mean(axis=1).reshape(-1, *[1] * deletion.brain.ndim)
    return deletion.order(-np.sqrt(((places - centre) ** 2).sum(axis=0)), rng)
