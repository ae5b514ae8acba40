"""What scanners do to ``(B, 1, H, W)`` and ``(B, 1, X, Y, Z)``, against scipy and numpy."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import BPoly

from src.data import scanner

SHAPES = [(3, 1, 12, 20), (3, 1, 8, 11, 14)]


def heads(shape):
    """Return noise in [0.2, 1] inside a box, and air around it."""
    images = torch.zeros(shape)
    inside = (slice(None), slice(None), *(slice(2, edge - 1) for edge in shape[2:]))
    images[inside] = torch.rand(images[inside].shape, generator=draws()) * 0.8 + 0.2
    return images


def draws(seed=1):
    return torch.Generator().manual_seed(seed)


def nodes(shape, count=4):
    return torch.randn(shape[0], *(count,) * (len(shape) - 2), generator=draws(2))


def noise(shape):
    return torch.randn(2, *shape, generator=draws(3))


def changes(shape):
    """Yield every change, as a function of images and strengths."""
    yield lambda images, strength: scanner.bias_field(images, strength, nodes(shape))
    yield scanner.gamma
    yield lambda images, strength: scanner.rician(images, strength, noise(shape))
    yield lambda images, strength: scanner.blur(images, strength * 4)
    for axis in range(len(shape) - 2):
        yield lambda images, strength, axis=axis: scanner.thick_slices(
            images, 1 + strength * 6, axis
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_every_strength_is_its_images_own_and_at_0_nothing_changes(shape):
    images = heads(shape)
    before = images.clone()
    for change in changes(shape):
        assert torch.equal(change(images, torch.zeros(3)), images)
        changed = change(images, torch.tensor([0, 0.2, 0.4]))
        assert torch.equal(changed[0], images[0])
        moved = (changed - images).abs().flatten(1).mean(1)
        assert moved[1] > 0.002
        assert moved[2] > moved[1]
        assert torch.equal(images, before)  # the batch that came in is not written to


@pytest.mark.parametrize("shape", SHAPES)
def test_air_stays_0_and_the_brain_in_0_to_1(shape):
    images = heads(shape)
    for change in changes(shape):
        changed = change(images, torch.full((3,), 0.5))
        assert changed.dtype == torch.float32
        assert changed.shape == images.shape
        assert (changed[images == 0] == 0).all()
        assert changed.min() >= 0
        assert changed.max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bias_field_is_a_polynomial_whose_largest_value_is_the_strength(shape):
    images = torch.full(shape, 0.5)
    strength = torch.tensor([0.1, 0.3, 0.5])
    changed = scanner.bias_field(images, strength, nodes(shape)).numpy()[:, 0]
    for one, coefficients, most in zip(changed, nodes(shape).numpy(), strength, strict=True):
        field = coefficients
        for axis, edge in enumerate(shape[2:]):
            along = BPoly(np.moveaxis(field, axis, 0)[:, None], [0, 1])
            field = np.moveaxis(along((np.arange(edge) + 0.5) / edge), 0, axis)
        expected = 0.5 * np.exp(most.item() * field / abs(field).max())
        np.testing.assert_allclose(one, expected, atol=1e-5)


def test_a_bias_field_of_0_changes_nothing():
    images = heads(SHAPES[0])
    changed = scanner.bias_field(images, torch.ones(3), torch.zeros(3, 4, 4))
    assert torch.equal(changed, images)


@pytest.mark.parametrize("shape", SHAPES)
def test_gamma_is_a_power(shape):
    images = heads(shape)
    changed = scanner.gamma(images, torch.tensor([-0.3, 0.1, 0.3]))
    for one, image, log in zip(changed.numpy(), images.numpy(), [-0.3, 0.1, 0.3], strict=True):
        np.testing.assert_allclose(one, image ** np.exp(log), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_is_that_of_a_magnitude(shape):
    images = heads(shape)
    sigma = np.array([0.02, 0.1, 0.2]).reshape(-1, *(1,) * (len(shape) - 1))
    first, second = noise(shape).numpy()
    expected = abs(images.numpy() + sigma * first + 1j * sigma * second).clip(max=1)
    changed = scanner.rician(images, torch.tensor(sigma.ravel()), noise(shape))
    np.testing.assert_allclose(changed, np.where(images > 0, expected, 0), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_blur_is_a_gaussian_of_its_fwhm_within_the_brain(shape):
    images = heads(shape)
    widths = [0.7, 2.0, 3.5]
    changed = scanner.blur(images, torch.tensor(widths)).numpy()[:, 0]
    for one, image, fwhm in zip(changed, images.numpy()[:, 0], widths, strict=True):
        brain = image > 0
        both = [
            ndimage.gaussian_filter(
                values.astype(float), fwhm / 2.354820045, mode="constant", truncate=20
            )
            for values in (image, brain)
        ]
        np.testing.assert_allclose(one[brain], (both[0] / both[1])[brain], atol=1e-5)


def test_blur_does_not_darken_the_edge_of_an_even_brain():
    images = (heads(SHAPES[1]) > 0).float() * 0.6
    torch.testing.assert_close(scanner.blur(images, torch.tensor([1.0, 3.0, 9.0])), images)


def thickened(line, factor):
    """Return a line averaged over bins of `factor` voxels, and interpolated back."""
    fine = 200
    place = (np.arange(len(line) * fine) + 0.5) / fine
    bins = (place // factor).astype(int)
    means = np.bincount(bins, np.repeat(line, fine)) / np.bincount(bins)
    centres = (np.arange(len(means)) + 0.5) * factor
    return np.interp(np.arange(len(line)) + 0.5, centres, means)


@pytest.mark.parametrize("shape", SHAPES)
def test_thick_slices_are_bins_interpolated_back(shape):
    images = heads(shape)
    factors = [1.5, 3.0, 4.4]
    for axis in range(len(shape) - 2):
        changed = scanner.thick_slices(images, torch.tensor(factors), axis).numpy()
        for one, image, factor in zip(changed[:, 0], images.numpy()[:, 0], factors, strict=True):
            expected = np.apply_along_axis(thickened, axis, image.astype(float), factor)
            np.testing.assert_allclose(one, np.where(image > 0, expected, 0), atol=1e-5)


def test_slices_as_thick_as_the_image_are_its_mean():
    images = torch.rand(2, 1, 6, 10, generator=draws()) + 0.01
    changed = scanner.thick_slices(images, torch.tensor([10.0, 99.0]), 1)
    torch.testing.assert_close(changed, images.mean(3, keepdim=True).expand_as(images))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_image_changes_as_in_a_batch(shape):
    images, strength = heads(shape), torch.tensor([0.1, 0.2, 0.3])
    one = slice(1, 2)
    torch.testing.assert_close(
        scanner.bias_field(images[one], strength[one], nodes(shape)[one]),
        scanner.bias_field(images, strength, nodes(shape))[one],
    )
    torch.testing.assert_close(
        scanner.blur(images[one], strength[one] * 9), scanner.blur(images, strength * 9)[one]
    )
    torch.testing.assert_close(
        scanner.thick_slices(images[one], strength[one] * 9, 0),
        scanner.thick_slices(images, strength * 9, 0)[one],
    )
