"""Augmentation as by other scanners: what is drawn, of ``(B, 1, H, W)`` and ``(B, 1, X, Y, Z)``."""

from dataclasses import replace

import pytest
import torch

from src.data import scanner
from src.data.augment import AUGMENTATIONS, AugmentConfig, augment
from src.data.scanner_draws import ScannerConfig, ScannerDraws, vary_scanner

SHAPES = [(6, 1, 60, 90), (6, 1, 12, 20, 16)]
CONFIG = ScannerConfig(chance=0.5)
#: No other change, so that what the scanner did is seen.
ALONE = AugmentConfig(flip=0, rotate=0, shift=0, scale=0, intensity=0, scanner=CONFIG)


def draws(seed=1):
    return torch.Generator().manual_seed(seed)


def heads(shape):
    images = torch.zeros(shape)
    inside = (slice(None), slice(None), *(slice(2, edge - 1) for edge in shape[2:]))
    images[inside] = torch.rand(images[inside].shape, generator=draws()) * 0.8 + 0.2
    return images


def test_each_change_comes_as_often_as_said_and_as_strong():
    drawn = ScannerDraws.of(4000, (90, 60), draws(), ScannerConfig(chance=0.25))
    voxel = 0.5  # per mm: 90 voxels hold 180 mm
    reach = {
        "bias_field": (0, 0.5),
        "gamma": (-0.3, 0.3),
        "thickness": (1.5 * voxel, 5 * voxel),
        "fwhm": (0, 2 * 2.354820 * voxel),
        "noise": (0, 0.05),
    }
    for name, (low, high) in reach.items():
        values = getattr(drawn, name)
        asked = values[values != 0]
        assert 900 < len(asked) < 1100, name
        assert low <= asked.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < asked.max() <= high
    assert drawn.axis.unique().tolist() == [0, 1]
    assert drawn.nodes.shape == (4000, 4, 4)
    both = ((drawn.gamma != 0) & (drawn.noise != 0)).float().mean()
    assert both == pytest.approx(1 / 16, abs=0.02)  # each for itself


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_which_nothing_was_drawn_stay_as_they_were(shape):
    images = heads(shape)
    never = ScannerDraws.of(6, shape[2:], draws(), ScannerConfig(chance=0))
    assert torch.equal(vary_scanner(images, never), images)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["bias_field", "gamma", "thickness", "fwhm", "noise"])
def test_only_the_images_drawn_are_changed_by_what_was_drawn(shape, name):
    images = heads(shape)
    drawn = ScannerDraws.of(6, shape[2:], draws(), ScannerConfig(chance=0))
    strength = torch.tensor([0, 0.3, 0, 0, 0.2, 0]) * (10 if name in ("thickness", "fwhm") else 1)
    one = replace(drawn, **{name: strength}, axis=torch.tensor([0, 1, 0, 1, 0, 1]))
    changed = vary_scanner(images, one)
    assert (changed != images).flatten(1).any(1).tolist() == (strength > 0).tolist()
    expected = {
        "bias_field": lambda: scanner.bias_field(images, strength, drawn.nodes)[4],
        "gamma": lambda: scanner.gamma(images, strength)[4],
        "thickness": lambda: scanner.thick_slices(images, strength, 0)[4],
        "fwhm": lambda: scanner.blur(images, strength)[4],
        "noise": lambda: changed[4],
    }[name]()
    torch.testing.assert_close(changed[4], expected)
    if name == "noise":
        far = (changed - images)[4][(images[4] > 0.5) & (changed[4] < 1)]
        assert far.std() == pytest.approx(0.2, rel=0.25)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_cut_into_parts_changes_as_it_would_whole(shape, dtype):
    images = heads(shape) if dtype == torch.float32 else (heads(shape) * 255).to(dtype)
    kept = images.clone()
    whole = augment(images, draws(3), ALONE)
    for start, stop in ((0, 2), (2, 6)):
        part = augment(images[start:stop], draws(3), ALONE, share=(start, stop, 6))
        torch.testing.assert_close(part, whole[start:stop])
    assert torch.equal(images, kept)  # the batch that came in is not written to


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mild_changes_are_the_same_ones(shape):
    images = heads(shape)
    never = replace(AUGMENTATIONS["mild"], scanner=ScannerConfig(chance=0))
    mild = augment(images, draws(5), AUGMENTATIONS["mild"])
    assert torch.equal(augment(images, draws(5), never), mild)
    assert not torch.equal(augment(images, draws(5), AUGMENTATIONS["scanner"]), mild)
    assert AUGMENTATIONS["mild"] == AugmentConfig()


@pytest.mark.parametrize("shape", SHAPES)
def test_air_stays_dark_and_the_brain_in_0_to_1(shape):
    always = replace(ALONE, scanner=ScannerConfig(chance=1))
    images = heads(shape)
    changed = augment(images, draws(), always)
    assert changed.dtype == torch.float32
    assert changed[images == 0].max() < 1e-4
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_two_images_alike_get_noise_of_their_own():
    images = heads((1, 1, 12, 20)).expand(2, -1, -1, -1)
    drawn = ScannerDraws.of(2, (12, 20), draws(), ScannerConfig(chance=0))
    first, second = vary_scanner(images, replace(drawn, noise=torch.tensor([0.1, 0.1])))
    assert not torch.equal(first, second)
