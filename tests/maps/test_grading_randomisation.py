"""Cascading randomisation on networks of two blocks, checked state by state."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from grading_models import Maker, Net, brains, the_image, tiny_classifier
from scipy.stats import spearmanr
from torch import nn

from src.maps.attribution import Attribution
from src.maps.grading.explainer import batch_size
from src.maps.grading.randomisation import (
    DRAWS,
    FEW_DRAWS,
    cascade,
    measure_statistics,
    random_blocks,
    randomise,
)
from src.maps.grading.similarity import between_people, brain_masks, structural_similarity


def of_weights(model: nn.Module, images: np.ndarray, target: object) -> np.ndarray:
    """A map that the weights decide: the image raised to powers of its first weights."""
    first = float(model.features.first[0].weight.detach().abs().mean())
    head = float(model.head.weight.detach().abs().mean())
    return np.abs(np.sin(40 * (1 + head) * images + 500 * first)) * (images > 0)


def test_blocks_begin_with_the_head_and_have_weights() -> None:
    assert random_blocks(Net()) == ["head", "features.second", "features.first"]
    assert random_blocks(tiny_classifier(ordinal=True))[0] == "head"
    assert "features.act" not in random_blocks(tiny_classifier())


def test_stage_by_stage_one_more_block_is_random_and_the_rest_is_as_trained() -> None:
    net, states = Net().eval(), []
    maker = Maker(net, lambda m, i, t: states.append(copy.deepcopy(m.state_dict())) or i)
    cascade(maker, brains())
    trained, first, second, third, *draws = states
    assert len(draws) == DRAWS - 1
    for state, random in ((first, 1), (second, 2), (third, 3), *((d, 3) for d in draws)):
        blocks = random_blocks(net)[:random]
        for name, value in state.items():
            if name.endswith("weight") and value.ndim > 1:
                changed = not torch.equal(value, trained[name])
                assert changed == any(name.startswith(f"{block}.") for block in blocks), name
    assert torch.equal(
        first["features.first.1.running_mean"], trained["features.first.1.running_mean"]
    )
    assert not torch.equal(draws[0]["head.weight"], draws[1]["head.weight"])
    for state in (third, *draws):  # statistics are those of the images under the random weights
        weight, bias = (state[f"features.first.0.{name}"] for name in ("weight", "bias"))
        mean = nn.functional.conv2d(brains(), weight, bias, padding=1).mean((0, 2, 3))
        assert torch.allclose(state["features.first.1.running_mean"], mean, atol=1e-5)
    for name in ("head.weight", "features.second.0.weight"):  # a cascade: what is random stays so
        assert torch.equal(first[name], third[name]) == (name == "head.weight")
    assert torch.equal(second["features.second.0.weight"], third["features.second.0.weight"])


def test_model_and_random_state_are_left_alone() -> None:
    net = Net().train()
    net.features.first.eval()
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(123)
    before = torch.get_rng_state()
    cascade(Attribution(net, "hirescam", "features.second"), brains())
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert modes == [module.training for module in net.modules()]
    assert net.features.first[1].momentum == 0.1


def test_similarities_are_scipys_of_the_maps_that_were_made() -> None:
    net, x, made = Net().eval(), brains(), []
    maker = Maker(net, lambda *a: made.append(of_weights(*a)) or made[-1])
    found = cascade(maker, x, 1, seed=5)
    masks = brain_masks(x[:, 0].numpy())
    trained, head, second, *last = [m.astype(np.float32) for m in made]
    assert [stage["layer"] for stage in found["stages"]] == random_blocks(net)
    for stage, draws in zip(found["stages"], ([head], [second], last), strict=True):
        for i, mask in enumerate(masks):
            ranks = [spearmanr(trained[i][mask], one[i][mask])[0] for one in draws]
            assert stage["similarity"][i] == pytest.approx(np.mean(ranks), abs=1e-6)
            ssim = [structural_similarity(trained[i], one[i], mask, (2, 2)) for one in draws]
            assert stage["ssim"][i] == pytest.approx(np.mean(ssim))
    assert found["between_people"] == pytest.approx(between_people(trained, masks))
    assert len(last) == found["draws"] == DRAWS
    json.dumps(found, allow_nan=False)


def test_a_map_of_the_image_alone_stays_the_same_and_one_of_the_weights_does_not() -> None:
    x = brains()
    fixed = cascade(Maker(Net().eval(), the_image), x)
    assert [s["similarity"] for s in fixed["stages"]] == [pytest.approx([1, 1, 1])] * 3
    assert [s["ssim"] for s in fixed["stages"]] == [pytest.approx([1, 1, 1])] * 3
    moving = cascade(Maker(Net().eval(), of_weights), x)
    assert max(abs(v) for v in moving["stages"][-1]["similarity"]) < 0.6


def test_the_same_seed_draws_the_same_networks() -> None:
    x, maker = brains(), Maker(Net().eval(), of_weights)
    assert cascade(maker, x, seed=1) == cascade(maker, x, seed=1)
    assert cascade(maker, x, seed=1) != cascade(maker, x, seed=2)


def test_the_predicted_class_is_settled_by_the_trained_model() -> None:
    net, x = Net().eval(), brains(12)
    with torch.no_grad():
        wanted = net(x).argmax(1).tolist()
    maker = Maker(net, the_image)
    seen: list[object] = []
    maker.function = lambda model, images, target: seen.append(target) or images
    cascade(maker, x)
    size = batch_size(net, x)
    assert size < 12
    assert seen == [wanted[:size], wanted[size:]] * (1 + 3 + DRAWS - 1)
    seen.clear()
    cascade(maker, x, "demented")
    assert set(seen) == {"demented"}
    seen.clear()
    cascade(maker, x, 2)
    assert seen == [[2] * size, [2] * (12 - size)] * (1 + 3 + DRAWS - 1)


def test_an_empty_trained_map_is_not_known_and_an_empty_random_one_is_unlike() -> None:
    net, x = Net().eval(), brains()

    def until_changed(model: nn.Module, images: np.ndarray, target: object) -> np.ndarray:
        maps = images if torch.equal(model.head.weight, net.head.weight) else 0 * images
        return np.stack([maps[0], maps[1], 0 * maps[2]])

    last = cascade(Maker(net, until_changed), x)["stages"][-1]
    assert last["similarity"] == [0.0, 0.0, None]
    assert last["ssim"][2] is None


def test_costly_methods_are_compared_at_both_ends_only() -> None:
    maker = Maker(Net().eval(), of_weights, method="occlusion")
    found = cascade(maker, brains())
    assert [stage["layer"] for stage in found["stages"]] == ["head", "features.first"]
    assert found["draws"] == FEW_DRAWS
    assert len(maker.seen) == 1 + 2 + FEW_DRAWS - 1


def test_a_part_that_cannot_be_made_anew_is_shuffled() -> None:
    part = nn.Module()
    part.scale = nn.Parameter(torch.arange(12.0).reshape(3, 4))
    torch.manual_seed(0)
    randomise(part)
    assert part.scale.shape == (3, 4)
    assert sorted(part.scale.flatten().tolist()) == list(range(12))
    assert part.scale.flatten().tolist() != list(range(12))


def test_random_batch_norms_measure_the_images_and_others_keep_theirs() -> None:
    net, x = Net().eval(), brains(4)
    with torch.no_grad():
        net.features.first[0].weight.mul_(1e-4)  # activations that would vanish
    kept = net.features.second[1].running_var.clone()
    measure_statistics(net, ["features.first"], x)
    with torch.no_grad():
        made = net.features.first[:2](x)
    norm = net.features.first[1]
    assert made.mean((0, 2, 3)) == pytest.approx(np.zeros(4), abs=1e-3)
    variance = net.features.first[0](x).var((0, 2, 3)).detach()
    expected = (variance / (variance + norm.eps)).numpy()
    assert made.var((0, 2, 3)).numpy() == pytest.approx(expected, rel=1e-2)
    assert torch.equal(net.features.second[1].running_var, kept)
    assert (norm.momentum, norm.training) == (0.1, False)
