"""Transformers of slices ``(B, 1, H, W)``: torchvision's as an oracle, other sizes, learning."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from src.errors import CheckpointError
from src.models.backbones_2d import vision_transformer
from src.models.create import create_model
from src.models.registry import MODEL_REGISTRY
from src.models.torchvision_import import models
from src.models.transformer import Attention, Encoder, Patches, sines
from src.models.weights import load_features

SMALL = (24, 2, 3, 40)  # width, depth, heads, hidden


def published() -> nn.Module:
    """torchvision's transformer of the same kind, for images of 48 pixels."""
    torch.manual_seed(1)
    vit = models.vision_transformer.VisionTransformer(48, 16, 2, 3, 24, 40, num_classes=5)
    for parameter in vit.parameters():  # no token, bias or position stays at zero
        nn.init.normal_(parameter, std=0.3)
    return vit.eval()


def loaded(tmp_path, state: dict[str, torch.Tensor]) -> nn.Module:
    features = vision_transformer(*SMALL, grid=3)
    torch.save(state, tmp_path / "vit.pth")
    rename = MODEL_REGISTRY.get("vit_b_16").rename
    assert rename is not None
    load_features(features, tmp_path / "vit.pth", rename)
    return features.eval()


@pytest.mark.parametrize("old_names", [False, True])
def test_tokens_equal_torchvisions(tmp_path, old_names: bool) -> None:
    vit, x = published(), torch.rand(2, 1, 48, 48)
    state = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")
        if old_names
        else name: value
        for name, value in vit.state_dict().items()
    }
    with torch.no_grad():
        tokens = vit._process_input(x.expand(-1, 3, -1, -1))
        tokens = torch.cat([vit.class_token.expand(2, -1, -1), tokens], dim=1)
        expected = vit.encoder(tokens)[:, 1:].transpose(1, 2).reshape(2, 24, 3, 3)
        found = loaded(tmp_path, state)(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_file_that_lacks_a_tensor_is_named(tmp_path) -> None:
    state = published().state_dict()
    del state["encoder.ln.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing \(encoder\.ln\.weight\)"):
        loaded(tmp_path, state)


def test_positions_of_another_size_lie_between_the_learnt_ones() -> None:
    encoder = Encoder(*SMALL, grid=4)
    rows = torch.arange(4.0).repeat_interleave(4)
    with torch.no_grad():
        encoder.pos_embedding[0, 1:] = rows[:, None]
    wide = encoder._learnt_positions((4, 7)).reshape(4, 7, 24)
    torch.testing.assert_close(wide[:, :, 0], torch.arange(4.0)[:, None].expand(4, 7))
    assert torch.equal(encoder._learnt_positions((4, 4)), encoder.pos_embedding[:, 1:])


def test_the_image_of_another_size_has_its_last_pixels_in_a_patch() -> None:
    patches = Patches(3, 16)
    x = torch.zeros(1, 1, 33, 40)
    x[..., 32, 39] = 1
    with torch.no_grad():
        change = patches(x) - patches(torch.zeros_like(x))
    assert change.shape == (1, 3, 3, 3)
    assert change[0, 0].nonzero().tolist() == [[2, 2]]


def test_sines_tell_every_place_and_do_not_depend_on_the_grid() -> None:
    fine, coarse = sines((6, 9), 32).reshape(6, 9, 32), sines((2, 3), 32).reshape(2, 3, 32)
    torch.testing.assert_close(fine[1::3, 1::3], coarse, atol=1e-4, rtol=0)
    apart = torch.cdist(fine.flatten(0, 1), fine.flatten(0, 1)) + torch.eye(54) * 9
    assert apart.min() > 0.5


def test_attention_is_what_forward_mixes() -> None:
    attention, tokens = Attention(12, 1), torch.rand(2, 5, 12)
    with torch.no_grad():
        nn.init.normal_(attention.in_proj_bias)
        mixing = attention.attention(tokens)
        values = functional.linear(
            tokens, attention.in_proj_weight[24:], attention.in_proj_bias[24:]
        )
        expected = attention.out_proj(mixing @ values)
        torch.testing.assert_close(attention(tokens), expected)
    torch.testing.assert_close(mixing.sum(2), torch.ones(2, 5))


@pytest.mark.slow
def test_size_of_a_dark_centre_is_learnt() -> None:
    def discs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        draw = torch.Generator().manual_seed(seed)
        axis = torch.arange(64) - 31.5
        radius = (axis[:, None] ** 2 + axis**2).sqrt() / 64
        labels = torch.arange(count) % 2
        edge = 0.13 + 0.08 * labels + 0.01 * torch.randn(count, generator=draw)
        clean = 0.7 * (radius < 0.42) * (1 - 0.6 * (radius < edge[:, None, None]))
        noise = 0.1 * torch.randn(clean.shape, generator=draw)
        return (clean + noise).clamp(0, 1)[:, None], labels

    (x, y), (x_test, y_test) = discs(64, 1), discs(20, 2)
    classifier = create_model("2d", "vit_conv", 2, weights="none").train()
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=5e-4)
    for rows in torch.cat([torch.randperm(64) for _ in range(10)]).split(16):
        optimiser.zero_grad()
        functional.cross_entropy(classifier(x[rows]), y[rows]).backward()
        optimiser.step()
    with torch.no_grad():
        right = (classifier.eval()(x_test).argmax(1) == y_test).float().mean()
    assert right >= 0.85
