"""Shifts, noise, agreement and what is outside the brain, against SciPy and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from grading_models import Maker, Net, brains, the_image
from scipy.stats import spearmanr
from torch import nn

from src.maps.grading.outside import outside_brain, outside_of
from src.maps.grading.similarity import brain_masks
from src.maps.grading.stability import NOISE, NOISE_DRAWS, agreement, moved, shifts, stability

RNG = np.random.default_rng(7)


def volumes(count: int = 2) -> torch.Tensor:
    return brains(count, (14, 17, 12))


def test_shifts_are_one_forth_and_two_back_along_each_axis() -> None:
    assert shifts(2) == [(1, 0), (0, 1), (-2, 0), (0, -2)]
    assert shifts(3)[2] == (0, 0, 1)
    assert shifts(3)[3] == (-2, 0, 0)


@pytest.mark.parametrize("move", [(1, 0, 0), (0, -2, 0), (0, 0, 3), (-1, 2, 0)])
def test_moving_is_rolling_with_nothing_coming_in(move: tuple[int, ...]) -> None:
    array = RNG.random((3, 5, 7, 6))
    padded = np.pad(array, [(0, 0), *[(3, 3)] * 3])
    rolled = np.roll(padded, move, axis=(1, 2, 3))[:, 3:-3, 3:-3, 3:-3]
    assert np.array_equal(moved(array, move), rolled)


@pytest.mark.parametrize("make", [brains, volumes])
def test_a_map_that_moves_with_the_image_is_stable_and_noise_is_measured(make) -> None:
    x = make(2)
    images, masks = x[:, 0].numpy(), brain_masks(x[:, 0].numpy())
    maker = Maker(Net().eval(), the_image)
    found = stability(maker, x, 0)
    assert found["shift"] == pytest.approx([1, 1])
    dims = x.ndim - 2
    noisy = np.concatenate([seen for _, seen, _ in maker.seen])[-NOISE_DRAWS * 2 :]
    noisy = noisy.reshape(NOISE_DRAWS, 2, *x.shape[2:])
    for i, mask in enumerate(masks):
        assert (noisy[:, i, ~mask] == images[i][~mask]).all()
        change = (noisy[:, i] - images[i])[:, mask]
        assert change.std() == pytest.approx(NOISE, rel=0.1)
        ranks = [spearmanr(images[i][mask], one[mask])[0] for one in noisy[:, i]]
        assert found["noise"][i] == pytest.approx(np.mean(ranks), abs=1e-5)
    assert found["shifts"] == [list(move) for move in shifts(dims)]
    json.dumps(found, allow_nan=False)


def test_a_map_that_stays_while_the_head_moves_is_compared_where_both_are() -> None:
    x, fixed = brains(2), RNG.random((18, 22)).astype(np.float32)
    found = stability(Maker(Net().eval(), lambda m, i, t: np.stack([fixed] * len(i))), x, 0)
    for i, mask in enumerate(brain_masks(x[:, 0].numpy())):
        ranks = []
        for move in shifts(2):
            back = np.roll(fixed, [-s for s in move], (0, 1))  # the margin is empty: none is lost
            ranks.append(spearmanr(fixed[mask], back[mask])[0])
        assert found["shift"][i] == pytest.approx(np.mean(ranks))
    assert found["noise"] == pytest.approx([1, 1])


def test_what_left_the_image_is_not_compared() -> None:
    x = torch.from_numpy(RNG.uniform(0.2, 0.9, (1, 1, 11, 14)).astype(np.float32))  # no margin
    found = stability(Maker(Net().eval(), the_image), x, 0)
    assert found["shift"] == pytest.approx([1])


def test_an_empty_map_is_not_known_and_predicted_classes_are_settled_once() -> None:
    maker = Maker(Net().eval(), lambda m, images, t: 0 * images)
    found = stability(maker, brains(2))
    assert found["shift"] == found["noise"] == [None, None]
    assert len({str(target) for _, _, target in maker.seen}) == 1


def test_costly_methods_are_moved_twice() -> None:
    maker = Maker(Net().eval(), the_image, method="ig")
    assert stability(maker, brains(2), 0)["shifts"] == [[1, 0], [0, -2]]


def test_methods_are_compared_in_cells_of_the_coarser_one() -> None:
    masks = np.ones((2, 8, 12), dtype=bool)
    coarse = RNG.random((2, 2, 3))
    first = np.kron(coarse, np.ones((1, 4, 4)))
    ripple = np.tile([[1.0, -1.0], [-1.0, 1.0]], (4, 6))  # none of it is left in a cell
    second = first + ripple
    third = np.kron(RNG.random((2, 2, 3)), np.ones((1, 4, 4)))
    maps = {"a": first, "b": second, "c": third}
    found = agreement(maps, masks, {"a": (4, 4), "b": (1, 1), "c": (2, 2)})
    assert found["methods"] == ["a", "b", "c"]
    assert found["matrix"][0][1] == found["matrix"][1][0] == pytest.approx(1)
    whole = [spearmanr(coarse[i].ravel(), third[i, ::4, ::4].ravel())[0] for i in range(2)]
    assert found["matrix"][0][2] == pytest.approx(np.mean(whole))
    assert found["own"] == pytest.approx([(1 + one) / 2 for one in whole])
    fine = spearmanr(second[0, ::2, ::2].ravel(), third[0].ravel()[:24])[0]
    assert found["matrix"][1][2] != pytest.approx(fine)
    assert [found["matrix"][i][i] for i in range(3)] == [1, 1, 1]


def test_agreement_needs_another_method() -> None:
    masks = np.ones((1, 4, 6), dtype=bool)
    alone = agreement({"a": RNG.random((1, 4, 6))}, masks, {"a": (1, 1)})
    assert alone == {"available": False, "reason": "no other method was asked for its maps"}


def test_an_empty_graded_map_agrees_with_nothing_known() -> None:
    masks, values = np.ones((2, 4, 6), dtype=bool), RNG.random((2, 4, 6))
    own = values * np.array([1, 0])[:, None, None]
    found = agreement({"a": own, "b": values}, masks, dict.fromkeys("ab", (1, 1)))
    assert found["own"] == [pytest.approx(1), None]


def test_the_share_outside_over_that_of_an_even_map_by_hand() -> None:
    mask = np.zeros((1, 10, 14), dtype=bool)
    mask[0, 3:7, 4:9] = True
    away = np.ones((10, 14), dtype=bool)
    away[2:8, 4:9] = away[3:7, 2:11] = False  # 1 row and 2 columns: half of a cell of 2 x 4
    for row, column in ((2, 3), (2, 9), (7, 3), (7, 9)):  # corners: (.5, .25) cells is over a half
        assert away[row, column]
    assert np.array_equal(outside_of(mask[0], (2, 4)), away)
    values = RNG.random((1, 10, 14))
    found = outside_brain(values, mask, (2, 4))
    ratio = values[0][away].sum() / values.sum() / away.mean()
    assert found["ratio"] == pytest.approx([ratio])
    assert found["share"] == pytest.approx([values[0][away].sum() / values.sum()])
    assert found["volume"] == [pytest.approx(away.mean())]


def test_an_empty_map_and_a_brain_that_fills_the_image_have_no_ratio() -> None:
    mask = np.zeros((4, 9, 7), dtype=bool)
    mask[:3, 3:6, 2:5] = True
    mask[3] = True
    even, inside = np.ones((9, 7)), mask[0].astype(float)
    found = outside_brain(np.stack([0 * even, even, inside, even]), mask, (1, 1))
    assert found["ratio"] == [None, pytest.approx(1), 0, None]
    assert found["share"] == [None, pytest.approx(found["volume"][1]), 0, 0]
    json.dumps(found, allow_nan=False)


def test_the_model_is_left_alone() -> None:
    net: nn.Module = Net().train()
    stability(Maker(net, the_image), brains(2))
    assert all(module.training for module in net.modules())
