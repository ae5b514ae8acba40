"""Attention rollout ``(B, N, N)`` by hand, its maps, and the networks that it is refused for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from src.errors import ConfigError
from src.maps.attention import rollout_maps
from src.maps.attribution import Attribution
from src.maps.methods import rollout
from src.models.backbones_2d import vision_transformer
from src.models.classifier import Classifier
from src.models.create import create_model


class Mean(nn.Module):
    """A plain transformer, its mean token as logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = vision_transformer(8, 2, 2, 16, grid=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x).flatten(2).mean(2)


def test_two_blocks_by_hand() -> None:
    first = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    second = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    half = [(one[0] + torch.eye(2)) / 2 for one in (first, second)]
    torch.testing.assert_close(rollout([first, second])[0], half[1] @ half[0])


def test_rows_stay_shares() -> None:
    blocks = [torch.rand(2, 5, 5).softmax(2) for _ in range(3)]
    torch.testing.assert_close(rollout(blocks).sum(2), torch.ones(2, 5))


def test_the_map_is_where_the_first_block_looks() -> None:
    """The first block's keys are all at one patch's token, the second block mixes nothing."""
    network, x = Mean(), torch.rand(1, 1, 32, 48)
    encoder = network.features.get_submodule("encoder")
    for number, block in enumerate(encoder.get_submodule("layers")):
        # tokens: a class token, then 2 x 3 places; the fifth place is row 1, column 1
        fixed = torch.eye(7) if number else torch.eye(7)[[5] * 7]
        block.self_attention.attention = lambda tokens, fixed=fixed: fixed[None]
    expected = torch.full((1, 2, 3), 0.5 / 6)
    expected[0, 1, 1] += 0.5
    torch.testing.assert_close(rollout_maps(network, x), expected)
    (maps,) = Attribution(network, "rollout").raw_maps(x)
    row, column = np.unravel_index(maps.argmax(), (32, 48))
    assert row >= 16
    assert 16 <= column < 32


def test_the_class_does_not_matter_and_the_grid_is_that_of_the_tokens() -> None:
    classifier = create_model("2d", "vit_conv", 3, weights="none")
    attribution, x = Attribution(classifier, "rollout"), torch.rand(2, 1, 64, 48)
    assert np.array_equal(attribution.raw_maps(x, 0), attribution.raw_maps(x, 2))
    assert attribution.resolution((64, 48)) == (16, 16)
    assert attribution.layers == ()
    assert not any(module._forward_hooks for module in classifier.modules())


@pytest.mark.parametrize("name", ["resnet18", "simple"])
def test_networks_without_attention_are_refused(name: str) -> None:
    model = create_model("2d" if name == "resnet18" else "3d", name, 2, weights="none")
    assert isinstance(model, Classifier)
    with pytest.raises(ConfigError, match=f"{name} has none that can be read") as caught:
        Attribution(model, "rollout")
    assert "--method hirescam" in (caught.value.hint or "")


def test_a_layer_is_refused() -> None:
    model = create_model("2d", "vit_conv", 2, weights="none")
    with pytest.raises(ConfigError, match="rollout follows every layer"):
        Attribution(model, "rollout", "features.encoder")
