"""Augmentation of ``(B, 1, H, W)`` and ``(B, 1, X, Y, Z)`` with unequal axes."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from src.data import augment as augment_module
from src.data.augment import AugmentConfig, augment, to_unit

NOTHING = AugmentConfig(flip=0, rotate=0, shift=0, scale=0, intensity=0)
FLIP = AugmentConfig(flip=1, rotate=0, shift=0, scale=0, intensity=0)
SHAPES = [(2, 1, 12, 20), (2, 1, 8, 10, 14)]


def noise(shape, dtype=torch.float32):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    return (values * 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)


def change(images, config=None, seed=0, **settings):
    return augment(images, torch.Generator().manual_seed(seed), config, **settings)


@pytest.mark.parametrize("shape", SHAPES)
def test_at_zero_strength_nothing_changes(shape):
    images = noise(shape)
    assert torch.allclose(change(images, NOTHING), images, atol=1e-5)


@pytest.mark.parametrize(("shape", "axis"), [(SHAPES[0], 3), (SHAPES[1], 2)])
def test_the_mirror_swaps_left_and_right_only(shape, axis):
    images = noise(shape)
    assert torch.allclose(change(images, FLIP), images.flip(axis), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_mirrors_nothing_is_ever_flipped(shape):
    images = noise(shape)
    assert torch.allclose(change(images, FLIP, mirrors=False), images, atol=1e-5)


def test_half_of_the_images_are_mirrored():
    images = noise((1, 1, 6, 10)).expand(200, -1, -1, -1)
    config = AugmentConfig(flip=0.5, rotate=0, shift=0, scale=0, intensity=0)
    moved = change(images, config)
    flipped = [torch.allclose(one, images[0].flip(-1), atol=1e-5) for one in moved]
    same = [torch.allclose(one, images[0], atol=1e-5) for one in moved]
    assert sum(flipped) + sum(same) == 200
    assert 70 < sum(flipped) < 130


def disc(shape=(40, 64), centre=(20, 40), radius=9):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return torch.tensor(inside, dtype=torch.float32)[None, None]


def spread(image):
    """Return the centre and the 2 x 2 covariance of the bright pixels, in pixels."""
    weights = image[0, 0].numpy() / image.sum().item()
    places = np.stack(np.mgrid[: weights.shape[0], : weights.shape[1]]).reshape(2, -1)
    centre = places @ weights.ravel()
    return centre, (places - centre[:, None]) * weights.ravel() @ (places - centre[:, None]).T


def test_a_turned_disc_stays_a_disc_at_its_distance(monkeypatch):
    monkeypatch.setattr(
        augment_module,
        "_rotation",
        lambda angles, first, second, dims: torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]),
    )  # a quarter turn: the largest shear there could be
    before = disc(centre=(20, 40))
    after = change(before, NOTHING)
    centre, covariance = spread(after)
    old_centre, old_covariance = spread(before)
    assert np.allclose(covariance, old_covariance, atol=0.3)
    middle = np.array([19.5, 31.5])
    turned = abs(centre - middle)[::-1]
    assert np.allclose(turned, abs(old_centre - middle), atol=0.1)


@pytest.mark.parametrize("shape", [(40, 64), (20, 30, 44)])
def test_rotation_keeps_the_volume(shape):
    centre = [(n - 1) / 2 for n in shape]
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    ball = torch.tensor(((places - centre) ** 2).sum(-1) <= 64, dtype=torch.float32)[None, None]
    turned = change(ball, AugmentConfig(flip=0, rotate=30, shift=0, scale=0, intensity=0))
    assert torch.allclose(turned, ball, atol=1.0)
    assert turned.sum().item() == pytest.approx(ball.sum().item(), rel=0.02)
    assert (turned - ball).abs().sum() < 0.15 * ball.sum()


def test_a_shift_is_a_share_of_each_edge():
    config = AugmentConfig(flip=0, rotate=0, shift=0.1, scale=0, intensity=0)
    centres = [
        spread(change(disc(centre=(20, 32), radius=5), config, seed))[0] for seed in range(40)
    ]
    reach = abs(np.array(centres) - [20, 32]).max(axis=0)
    assert (reach <= [4.05, 6.45]).all()
    assert (reach > [3.0, 4.8]).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [*SHAPES, (2, 1, 224, 224), (2, 1, 36, 40, 33)])
def test_the_background_stays_zero(shape, seed):
    images = torch.zeros(shape)
    images[:, :, 4:7, 4:7] = 0.5
    config = AugmentConfig(flip=0, rotate=0, shift=0, scale=0, intensity=0.4)
    changed = change(images, config, seed)
    assert changed[images == 0].max() < 1e-4
    assert (changed[images > 0] - 0.5).abs().min() > 0.001


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_stored_kind_becomes_float32_in_0_to_1(shape, dtype):
    images = noise(shape, dtype)
    kept = images.clone()
    changed = change(images, AugmentConfig(intensity=0.9))
    assert changed.dtype == torch.float32
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert torch.equal(images, kept)  # the batch that came in is not written to


def test_uint8_is_divided_by_255():
    assert torch.equal(
        to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0, 0.2, 1])
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_generator_gives_the_same_draws(shape):
    images = noise(shape)
    assert torch.equal(change(images, seed=4), change(images, seed=4))
    assert not torch.equal(change(images, seed=4), change(images, seed=5))


def test_each_image_of_a_batch_has_its_own_draw():
    images = noise((1, 1, 12, 20)).expand(2, -1, -1, -1)
    first, second = change(images)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("edges", [(12, 20), (5, 1), (8, 10, 15)])
def test_the_sampling_grid_is_that_of_torch(edges):
    dims = len(edges)
    draws = torch.Generator().manual_seed(3)
    affine = torch.randn(3, dims, dims + 1, generator=draws)
    expected = functional.affine_grid(affine, [3, 1, *edges], align_corners=False)
    grid = augment_module._sampling_grid(affine, edges)
    assert grid.is_contiguous()
    torch.testing.assert_close(grid, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_opencv_changes_slices_as_torch_does(dtype):
    images = noise((40, 1, 24, 40), dtype)
    images[:, :, :4] = 0
    draws = torch.Generator().manual_seed(5)
    strong = AugmentConfig(flip=0.5, rotate=30, shift=0.3, scale=0.3)
    affine = augment_module._random_affine(40, (24, 40), draws, strong)
    light = torch.rand(2, 40, generator=draws) - 0.5
    expected = augment_module._change(to_unit(images), affine, light)
    for layout in (images, images.transpose(2, 3).contiguous().transpose(2, 3)):
        changed = augment_module._change_by_opencv(layout, affine, light)
        torch.testing.assert_close(changed, expected, atol=1e-4, rtol=0)
    empty = augment_module._change_by_opencv(images[:0], affine[:0], light[:, :0])
    assert empty.shape == (0, 1, 24, 40)


def test_the_images_given_are_left_as_they_were():
    images = noise((3, 1, 12, 20))
    before = images.clone()
    change(images)
    assert torch.equal(images, before)
