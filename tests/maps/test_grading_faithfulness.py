"""Deletion and insertion on linear models, whose curves are known by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from grading_models import Maker, brains
from torch import nn

from src.maps.grading.faithfulness import (
    DRAWS,
    FINEST,
    STEPS,
    blurred_inside,
    faithfulness,
    log_odds,
)
from src.maps.grading.similarity import brain_masks, cells_of
from src.models import engine
from src.models.create import create_model

SHAPE = (18, 22)


class Linear(nn.Module):
    """Two classes; the log-odds of class 1 are a weighted sum of the image."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(weights).float())
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach().clone())
        score = (x[:, 0] * self.weights).flatten(1).sum(1)
        return torch.stack([-score / 2, score / 2], dim=1)


def scene(cell: float = 3.0, count: int = 2):
    """Return images, the model, and what each place loses of the score when it is blurred."""
    x = brains(count, SHAPE)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=SHAPE)
    masks = brain_masks(x[:, 0].numpy())
    images = x[:, 0].numpy()
    blurred = np.stack(
        [blurred_inside(i, m, (cell, cell)) for i, m in zip(images, masks, strict=True)]
    )
    return x, Linear(weights), weights * (images - blurred), masks


def test_curves_are_the_sums_that_a_linear_model_loses_cell_by_cell() -> None:
    x, model, loss, masks = scene()
    maker = Maker(
        model, lambda m, images, t: np.random.default_rng(2).random(images.shape), cell=3.0
    )
    found = faithfulness(maker, x, 1)
    order_of = np.random.default_rng(2).random((2, *SHAPE)).astype(np.float32)
    assert found["deleted"] == pytest.approx(np.linspace(0, 1, STEPS + 1))
    for i, mask in enumerate(masks):
        cells = cells_of(mask, (3.0, 3.0))
        n = cells.max() + 1
        means = [order_of[i][cells == c].mean() for c in range(n)]
        lost = np.array([loss[i][cells == c].sum() for c in range(n)])
        sizes = np.array([(cells == c).sum() for c in range(n)]) / mask.sum()
        start = float((x[i, 0].numpy() * model.weights.detach().numpy()).sum())
        for way, order in (("deletion", np.argsort(means)[::-1]), ("insertion", np.argsort(means))):
            middles = np.cumsum(sizes[order]) - sizes[order] / 2
            curve = [
                start
                - (loss[i][mask].sum() if k == STEPS else lost[order][middles < k / STEPS].sum())
                for k in range(STEPS + 1)
            ]
            wanted = curve if way == "deletion" else curve[::-1]
            assert found[way]["map"][i] == pytest.approx(wanted, abs=1e-3), way
        assert found["n_cells"][i] == n


def test_the_gain_is_half_the_area_between_insertion_and_deletion() -> None:
    x, model, loss, _ = scene()
    found = faithfulness(Maker(model, lambda m, i, t: loss, cell=3.0), x, 1)
    for i in range(2):
        curves = {w: np.array(found[w]["map"][i]) for w in ("deletion", "insertion")}
        area = {w: ((c[:-1] + c[1:]) / 2).mean() for w, c in curves.items()}
        assert found["gain"][i] == pytest.approx(
            (area["insertion"] - area["deletion"]) / 2, abs=1e-3
        )
        centre = {w: np.array(found[w]["centre"][i]) for w in ("deletion", "insertion")}
        rival = (centre["insertion"] - centre["deletion"])[1:-1].sum() / STEPS / 2
        assert found["over_centre"][i] == pytest.approx(found["gain"][i] - rival, abs=1e-3)
    json.dumps(found, allow_nan=False)


def test_the_exact_map_gains_most_its_opposite_loses_as_much_and_chance_nothing() -> None:
    x, model, loss, _ = scene(count=6)
    x, loss = x.repeat(4, 1, 1, 1), np.tile(loss, (4, 1, 1))
    best = faithfulness(Maker(model, lambda m, i, t: _next(loss, i), cell=3.0), x, 1)
    worst = faithfulness(Maker(model, lambda m, i, t: -_next(loss, i), cell=3.0), x, 1)
    flat = faithfulness(Maker(model, lambda m, i, t: 0 * i, cell=3.0), x, 1)
    assert min(best["gain"]) > 0.5
    assert min(best["over_centre"]) > 0
    assert worst["gain"] == pytest.approx([-gain for gain in best["gain"]], abs=1e-3)
    assert abs(np.mean(flat["gain"])) < 0.2 * np.mean(best["gain"])  # ties come in random order
    again = faithfulness(Maker(model, lambda m, i, t: 0 * i, cell=3.0), x[:2], 1, seed=1)
    assert again["gain"] != pytest.approx(flat["gain"][:2], rel=1e-3)
    random = np.array(best["deletion"]["random"])
    straight = random[:, :1] + (random[:, -1:] - random[:, :1]) * np.linspace(0, 1, STEPS + 1)
    assert np.abs((random - straight).mean()) < 0.1
    assert random[:, 0] == pytest.approx([curve[0] for curve in best["deletion"]["map"]])
    assert best["insertion"]["random"] == [curve[::-1] for curve in best["deletion"]["random"]]
    assert best["draws"] == DRAWS


def _next(loss: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the maps of a batch: people repeat every six, batches are of eight."""
    return loss[: len(images)] if len(images) == len(loss) else _roll(loss, images)


def _roll(loss: np.ndarray, images: np.ndarray) -> np.ndarray:
    reference = brains(6, SHAPE)[:, 0].numpy()
    number = [int(np.abs(reference - image).sum((1, 2)).argmin()) for image in images]
    return loss[number]


def test_deleting_touches_the_brain_only_and_ends_in_the_blurred_image() -> None:
    x, model, loss, masks = scene(count=1)
    faithfulness(Maker(model, lambda m, i, t: loss, cell=3.0), x, 1)
    shown = torch.cat(model.seen)[:, 0].numpy()
    image, blurred = x[0, 0].numpy(), blurred_inside(x[0, 0].numpy(), masks[0], (3.0, 3.0))
    assert np.array_equal(
        shown[:, ~masks[0]], np.broadcast_to(image[~masks[0]], shown[:, ~masks[0]].shape)
    )
    either = (shown == image) | (shown == blurred)
    assert either.all()
    assert len(shown) == 2 + (2 * 2 + DRAWS) * (STEPS - 1)


def test_the_centre_order_goes_outwards() -> None:
    x = brains(1, SHAPE)
    x[0, 0, :8, :9] = 0  # no two cells are equally far from the middle
    mask = brain_masks(x[:, 0].numpy())[0]
    middle = np.argwhere(mask).mean(0)
    far = np.sqrt(((np.indices(SHAPE) - middle.reshape(2, 1, 1)) ** 2).sum(0))
    model = Linear(np.where(far < 3, 5.0, 0.0))
    found = faithfulness(Maker(model, lambda m, i, t: 100 - far[None], cell=2.0), x, 1)
    assert found["deletion"]["centre"][0] == pytest.approx(found["deletion"]["map"][0], abs=0.2)
    assert found["over_centre"][0] == pytest.approx(0, abs=0.1)
    assert found["gain"][0] != pytest.approx(0, abs=0.3)


def test_blurring_stays_inside_the_brain() -> None:
    mask = np.zeros((9, 13, 11), dtype=bool)
    mask[2:7, 3:10, 2:9] = True
    image = np.where(mask, 0.7, 0.2).astype(np.float32)  # what is outside must not come in
    assert blurred_inside(image, mask, (2, 3, 2)) == pytest.approx(image, abs=1e-6)
    step = np.where(mask & (np.arange(13)[:, None] < 6), 1.0, 0.0).astype(np.float32)
    along = blurred_inside(step, mask, (2, 3, 2))[4, 3:10, 5]
    assert (np.diff(along) < 0).all()


def test_log_odds_are_those_of_the_softmax() -> None:
    logits = torch.randn((5, 4), generator=torch.manual_seed(0)).double()
    for k in range(4):
        expected = torch.logit(logits.softmax(1)[:, k]).numpy()
        assert log_odds(logits, k) == pytest.approx(expected)
    assert log_odds(logits, "demented") == pytest.approx(-log_odds(logits, 0))


def test_cells_of_a_fine_map_are_not_single_places() -> None:
    x = torch.zeros(1, 1, 70, 96)
    x[0, 0, 10:60, 20:80] = 0.5
    found = faithfulness(Maker(Linear(np.ones((70, 96))), lambda m, i, t: i, cell=1.0), x, 1)
    assert found["cell"] == [70 / FINEST, 96 / FINEST]


@pytest.mark.slow
def test_a_network_of_ours_is_asked_by_the_engine(monkeypatch) -> None:
    model = create_model("2d", "resnet18", 2, weights="none").eval()
    nn.init.normal_(model.head.weight)
    maker = Maker(
        model, lambda m, images, t: np.random.default_rng(2).random(images.shape), cell=16.0
    )
    x = brains(2, (64, 80))
    monkeypatch.setattr(engine, "_sessions", engine.OrderedDict())
    found = []
    for count, engines in ((149, 0), (148, 1)):  # two people of 2 ends and 8 orders of 9 steps
        monkeypatch.setattr(engine, "WORTH", count * 64 * 80)
        found.append(faithfulness(maker, x, 1))
        assert len(engine._sessions) == engines
    assert found[1]["gain"] == pytest.approx(found[0]["gain"], abs=1e-4)
    assert np.ptp(found[0]["gain"]) > 1e-3


def test_the_target_of_each_person_is_their_own() -> None:
    x, model, loss, _ = scene()
    by_person = faithfulness(Maker(model, lambda m, i, t: loss, cell=3.0), x, [1, 0])
    of_one = faithfulness(Maker(model, lambda m, i, t: loss, cell=3.0), x, 1)
    assert by_person["gain"][0] == pytest.approx(of_one["gain"][0])
    assert by_person["gain"][1] == pytest.approx(-of_one["gain"][1], abs=1e-4)
