"""Whether maps stay where they are: under small shifts, under noise, and by another method.

Arrays: images ``(P, 1, ...)`` in [0, 1], maps and brains ``(P, ...)``, P people; M methods; shifts
are whole pixels or voxels along each axis of the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime import progress
from ..attribution import Target
from .explainer import EXPENSIVE, Explainer, Maps, maps_of, settle_target
from .similarity import Mask, Values, brain_masks, cell_means, cells_of, mean_of, rank_correlation

A = TypeVar("A", bound=np.generic)
#: Standard deviation of the noise inside the brain, of grey values in [0, 1].
NOISE = 0.02
NOISE_DRAWS = 3


def stability(
    explainer: Explainer, x: Tensor, target: Target = None, *, seed: int = 0
) -> dict[str, Any]:
    """Compare each map with those of the image moved by one and two places, and with noise.

    Maps of moved images are moved back. A head is not placed to the millimetre, nor is a scan free
    of noise; but a network that halves its grid is not indifferent to a shift (Zhang 2019,
    arXiv:1904.11486).

    Args:
        explainer: Attribution.
        x: One image or volume of each person. What is moved out of the image is lost; places that
            were lost are not compared.
        target: As `Attribution.raw_maps`; predicted classes are those of the image as it is.
        seed: Of the noise.

    Returns:
        ``shift`` and ``noise``: mean rank correlation of each person, None where the map is flat;
        ``shifts`` and ``noise_sd``.
    """
    settled = settle_target(explainer.model, x, target)
    images = x[:, 0].cpu().numpy()
    brains, maps = brain_masks(images), maps_of(explainer, x, settled)
    moves = shifts(images.ndim - 1)
    if explainer.method in EXPENSIVE:
        moves = [moves[0], moves[-1]]
    by_shift, by_noise = [], []
    for move in progress(moves, total=len(moves), desc="shifts"):
        back = [-step for step in move]
        shifted = torch.from_numpy(moved(images, move))[:, None]
        found = moved(maps_of(explainer, shifted, settled), back)
        by_shift.append(_each(maps, found, brains & moved(moved(brains, move), back)))
    for noisy in _noisy(images, brains, seed):
        by_noise.append(_each(maps, maps_of(explainer, noisy, settled), brains))
    return {
        "available": True,
        "shift": [mean_of(person) for person in zip(*by_shift, strict=True)],
        "noise": [mean_of(person) for person in zip(*by_noise, strict=True)],
        "shifts": [list(move) for move in moves],
        "noise_sd": NOISE,
    }


def agreement(
    maps: Mapping[str, Maps], brains: Mask, cells: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Compare the maps of several methods, two by two.

    The finer map of two is first averaged over the cells of the coarser one. Methods disagree as a
    rule (Krishna et al. 2022, arXiv:2202.01602), and none of them is the truth.

    Args:
        maps: Method -> maps of the same people; the graded method first.
        brains: Of these people.
        cells: Method -> edges of a cell of its own grid, in places.

    Returns:
        ``methods``; ``matrix`` (M, M) of mean rank correlations; ``own``: of each person, the mean
        with the other methods, None where the graded map is flat. Without other methods it is not
        available.
    """
    names = list(maps)
    if len(names) < 2:
        return {"available": False, "reason": "no other method was asked for its maps"}
    each = {
        (one, other): _in_cells(
            maps[one], maps[other], brains, np.maximum(cells[one], cells[other])
        )
        for one in names
        for other in names
        if one != other
    }
    own = zip(*[each[names[0], other] for other in names[1:]], strict=True)
    return {
        "available": True,
        "methods": names,
        "matrix": [[1.0 if a == b else mean_of(each[a, b]) for b in names] for a in names],
        "own": [mean_of(person) for person in own],
    }


def shifts(dims: int) -> list[tuple[int, ...]]:
    """Return one place forth along each axis, then two back along each."""
    return [
        tuple(step if axis == along else 0 for axis in range(dims))
        for step in (1, -2)
        for along in range(dims)
    ]


def moved(array: NDArray[A], move: Sequence[int]) -> NDArray[A]:
    """Return an array moved along its last axes; what comes in is 0."""
    result = np.zeros_like(array)
    edges = array.shape[-len(move) :]

    def index(axes: list[slice]) -> tuple[Any, ...]:
        return (..., *axes)

    to = [slice(max(s, 0), n + min(s, 0)) for s, n in zip(move, edges, strict=True)]
    source = [slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(move, edges, strict=True)]
    result[index(to)] = array[index(source)]
    return result


def _noisy(images: Maps, brains: Mask, seed: int) -> Iterator[Tensor]:
    """Yield the images with noise inside the brain, ``(P, 1, ...)``."""
    rng = np.random.default_rng(seed)
    for _ in range(NOISE_DRAWS):
        noise = rng.normal(scale=NOISE, size=brains.shape).astype(np.float32) * brains
        yield torch.from_numpy(np.clip(images + noise, 0, 1))[:, None]


def _each(maps: Maps, found: Maps, brains: Mask) -> Values:
    return [rank_correlation(*person) for person in zip(maps, found, brains, strict=True)]


def _in_cells(one: Maps, other: Maps, brains: Mask, cell: NDArray[np.float64]) -> Values:
    """Return the rank correlation of each person's two maps, over cells of the brain."""
    values: Values = []
    for a, b, brain in zip(one, other, brains, strict=True):
        cells = cells_of(brain, cell.tolist())
        means = cell_means(a, cells), cell_means(b, cells)
        values.append(rank_correlation(*means, np.ones(len(means[0]), dtype=bool)))
    return values
