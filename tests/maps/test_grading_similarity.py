"""Similarity of maps against SciPy, loops over places and values that are known."""

from __future__ import annotations

import numpy as np
import pytest
from grading_models import brains
from scipy.stats import spearmanr

from src.maps.grading.similarity import (
    between_people,
    brain_masks,
    cell_means,
    cells_of,
    mean_of,
    rank_correlation,
    structural_similarity,
)

RNG = np.random.default_rng(3)


def test_a_brain_has_no_holes_and_no_traces_beside_it() -> None:
    image = np.zeros((1, 7, 9, 8), dtype=np.float32)
    image[0, 1:6, 2:8, 1:7] = 0.5
    image[0, 3, 4, 3] = 0  # a hole
    image[0, 0, 0, 0] = 1 / 300  # what interpolation left
    expected = np.zeros((1, 7, 9, 8), dtype=bool)
    expected[0, 1:6, 2:8, 1:7] = True
    assert np.array_equal(brain_masks(image), expected)


@pytest.mark.parametrize("shape", [(11, 14), (5, 7, 6)])
def test_rank_correlation_is_scipys_in_the_brain_with_ties(shape: tuple[int, ...]) -> None:
    first = np.maximum(RNG.normal(size=shape), 0)  # rectified: half of it ties
    second = np.maximum(first + RNG.normal(size=shape), 0)
    brain = RNG.random(shape) < 0.6
    expected = spearmanr(first[brain], second[brain])[0]
    assert 0.2 < expected < 0.9
    assert rank_correlation(first, second, brain) == pytest.approx(expected)
    changed = np.where(brain, second, 1e6 * RNG.random(shape))
    assert rank_correlation(first, changed, brain) == pytest.approx(expected)


def test_a_flat_map_is_like_nothing_and_nothing_is_like_it() -> None:
    brain = np.ones((4, 5), dtype=bool)
    values, flat = RNG.random((4, 5)), np.full((4, 5), 2.0)
    assert rank_correlation(flat, values, brain) is None
    assert rank_correlation(values, flat, brain) == 0.0
    assert rank_correlation(values, values, np.zeros((4, 5), dtype=bool)) is None
    assert structural_similarity(flat, values, brain, (1, 1)) is None


def test_ssim_is_the_formula_place_by_place() -> None:
    shape, cell, reach = (9, 12), (3.0, 2.0), 20
    brain = np.zeros(shape, dtype=bool)
    brain[1:8, 2:11] = True
    first, second = RNG.random(shape) * 7, RNG.random(shape) * 0.1
    a, b = (np.where(brain, v, 0) / v[brain].max() for v in (first, second))
    offsets = np.arange(-reach, reach + 1)
    found = []
    for row, column in np.argwhere(brain):
        windows = []
        for place, edge in ((row, cell[0]), (column, cell[1])):
            sigma = edge / 2
            near = np.abs(offsets) <= int(4 * sigma + 0.5)
            weight = np.where(near, np.exp(-(offsets**2) / (2 * sigma**2)), 0)
            windows.append((place + offsets, weight / weight.sum()))
        mean = {"a": 0.0, "b": 0.0, "aa": 0.0, "bb": 0.0, "ab": 0.0}
        for r, wr in zip(*windows[0], strict=True):
            for c, wc in zip(*windows[1], strict=True):
                if wr * wc and 0 <= r < shape[0] and 0 <= c < shape[1]:
                    x, y = a[r, c], b[r, c]
                    for name, value in zip(mean, (x, y, x * x, y * y, x * y), strict=True):
                        mean[name] += wr * wc * value
        ma, mb = mean["a"], mean["b"]
        above = (2 * ma * mb + 1e-4) * (2 * (mean["ab"] - ma * mb) + 9e-4)
        below = (ma**2 + mb**2 + 1e-4) * (mean["aa"] - ma**2 + mean["bb"] - mb**2 + 9e-4)
        found.append(above / below)
    assert structural_similarity(first, second, brain, cell) == pytest.approx(np.mean(found))
    assert structural_similarity(first, 3 * first, brain, cell) == pytest.approx(1)


@pytest.mark.parametrize(("shape", "cell"), [((10, 13), (5.0, 13 / 4)), ((6, 7, 9), (2, 7 / 3, 9))])
def test_cells_are_boxes_of_the_grid_cut_to_the_brain(
    shape: tuple[int, ...], cell: tuple[float, ...]
) -> None:
    brain = RNG.random(shape) < 0.7
    values = RNG.random(shape)
    boxes: dict[tuple[int, ...], list[float]] = {}
    for place in np.argwhere(brain):
        box = tuple(int(p / edge + 1e-9) for p, edge in zip(place, cell, strict=True))
        boxes.setdefault(box, []).append(values[tuple(place)])
    cells = cells_of(brain, cell)
    assert (cells[~brain] == -1).all()
    assert sorted(np.unique(cells[brain])) == list(range(len(boxes)))
    means = sorted(float(np.mean(inside)) for inside in boxes.values())
    assert sorted(cell_means(values, cells)) == pytest.approx(means)


def test_cells_of_a_grid_that_divides_the_image_begin_at_its_multiples() -> None:
    cells = cells_of(np.ones((7, 161), dtype=bool), (7.0, 161 / 23))
    assert [len(set(cells[0, 7 * i : 7 * i + 7])) for i in range(23)] == [1] * 23
    # 9 / (18 / 14) is 7 less a rounding error: place 9 begins the eighth cell.
    assert cells_of(np.ones((18, 5), dtype=bool), (18 / 14, 5.0))[9, 0] == 7


def test_between_people_is_the_mean_over_the_others_where_both_have_brain() -> None:
    images = brains(4)[:, 0].numpy()
    masks = brain_masks(images)
    maps = RNG.random(images.shape) + images
    maps[3] = 0  # an empty map is not compared
    expected = []
    for i in range(3):
        others = [j for j in range(3) if j != i]
        both = [masks[i] & masks[j] for j in others]
        values = [spearmanr(maps[i][b], maps[j][b])[0] for j, b in zip(others, both, strict=True)]
        expected.append(np.mean(values))
    found = between_people(maps, masks)
    assert found[3] is None
    assert found[:3] == pytest.approx(expected)


def test_mean_of_what_is_known() -> None:
    assert mean_of([None, 1.0, 4.0]) == 2.5
    assert mean_of([None, None]) is None
