"""New images are brought to how training images look, and no further."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from src.errors import CheckpointError
from src.training.look import MEASURES, Look, Picture, fit_look

SLICES, SOLID = (3, 60, 52), (34, 40, 36)


def brain(seed=0, shape=SLICES, detail=0.05, grey=0.45, hole=0.25):
    """Return a brain of three tissues and fine texture: fluid in the middle, white outside it."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    if shape == SLICES:
        axes = axes[1:]
    radius = np.sqrt(sum(axis**2 for axis in axes))
    levels = [radius < hole, radius < 0.55, radius < 0.9]
    data = np.select(levels, [0.12, 0.75, grey], 0.0)
    data = data + detail * rng.standard_normal(shape)
    data = np.where(radius < 0.9, np.clip(data, 0.05, 1), 0).astype(np.float32)
    return torch.from_numpy(data[:, None] if shape == SLICES else data[None, None])


def crowd(shape=SLICES, n=12):
    """Return people who differ in strength of detail and in grey."""
    rng = np.random.default_rng(1)
    return [
        brain(seed, shape, detail, grey)
        for seed, detail, grey in zip(
            range(n), rng.normal(0.05, 0.004, n), rng.normal(0.45, 0.02, n), strict=True
        )
    ]


def spread(images):
    picture = Picture(images)
    return picture.strengths(picture.bands(picture.data)[0])


def blurred(images):
    picture = Picture(images)
    return torch.from_numpy(picture.smooth(picture.data, 0.5)).reshape(images.shape)


def sharpened(images):
    data = np.squeeze(images.numpy())
    planes = np.stack([cv2.GaussianBlur(one, (0, 0), 1) for one in data])
    made = torch.from_numpy(np.clip(data + 1.2 * (data - planes), 0.04, 1)).reshape(images.shape)
    return torch.where(images > 0, made, 0)


@pytest.mark.parametrize("shape", [SLICES, SOLID])
@pytest.mark.parametrize("change", [blurred, sharpened, lambda images: images**0.6])
def test_a_changed_picture_comes_into_the_range_of_training_people(shape, change):
    look = fit_look(crowd(shape))
    images = change(brain(99, shape))
    made = look.brought(images)
    assert made.shape == images.shape
    assert made.dtype == images.dtype
    assert 0 <= made.min() <= made.max() <= 1
    (mean, sd), (grey, grey_sd) = look.bands, look.grey
    before, after = (np.abs(spread(one) - mean).max() for one in (images, made))
    toned = Picture(made).grey()
    assert before > 0.15  # a seventh: the people's own standard deviation is 2 %
    assert after < max(before / 2.5, sd.max() + 0.02)
    assert abs(toned - grey) < grey_sd + 0.02
    assert not made[images == 0].any()  # air stays air


@pytest.mark.parametrize("shape", [SLICES, SOLID])
def test_a_picture_in_the_range_is_left_as_it_is(shape):
    people = crowd(shape)
    look = fit_look(people)
    middle = next(
        one
        for one in people
        if (np.abs(spread(one) - look.bands[0]) < look.bands[1]).all()
        and abs(Picture(one).grey() - look.grey[0]) < look.grey[1]
    )
    assert look.brought(middle).numpy().tobytes() == middle.numpy().tobytes()


def any_grey(look):
    """Return a look that leaves brightness alone."""
    return replace(look, grey=np.array([0.5, 0.4]))


@pytest.mark.parametrize("change", [blurred, sharpened])
@pytest.mark.parametrize("hole", [0.2, 0.42])
def test_wide_ventricles_stay_as_wide_as_they_are(change, hole):
    look = any_grey(fit_look(crowd()))
    images = change(brain(7, hole=hole))
    made = look.brought(images)

    def area(tensor):
        smooth = ndimage.gaussian_filter(tensor.numpy(), (0, 0, 2, 2))
        return int(((smooth < 0.3) & (Picture(images).inside[:, None] > 0)).sum())

    assert area(images) > 50
    assert abs(area(made) - area(images)) < 0.06 * area(images) + 3


def test_everything_wider_than_a_few_pixels_stays():
    look = any_grey(fit_look(crowd()))
    images = blurred(brain(5))
    made = look.brought(images)
    wide = [ndimage.gaussian_filter(one.numpy(), (0, 0, 4, 4)) for one in (images, made)]
    fine = np.abs((made - images).numpy())
    assert fine.max() > 0.03
    assert np.abs(wide[1] - wide[0]).max() < 0.015


def test_unusual_tells_what_and_to_which_side():
    look = fit_look(crowd())
    assert set(look.unusual(brain(50))) == set(MEASURES)
    assert all(abs(value) < 4 for value in look.unusual(brain(50)).values())
    assert look.unusual(blurred(brain(50)))["detail"] < -3
    assert look.unusual(sharpened(brain(50)))["detail"] > 3
    assert look.unusual(brain(50) ** 0.6)["grey"] > 3
    assert look.unusual(brain(50) ** 1.6)["grey"] < -3
    assert look.unusual(brain(50, hole=0.42))["ventricles"] > 3
    assert look.unusual(brain(50, hole=0.05))["ventricles"] < -3


def test_few_people_who_are_much_alike_make_nobody_unusual():
    look = fit_look([brain(seed, detail=0.05, grey=0.45) for seed in range(6)])
    assert look.usual[1].max() < 0.02  # copies but for their noise
    assert all(abs(off) < 3 for off in look.unusual(brain(50, detail=0.045, grey=0.47)).values())


def test_people_who_come_as_new_scans_replace_what_is_usual_only():
    look = fit_look(crowd())
    other = look.coming_as([np.array([1.0, 2, 3]), np.array([3.0, 2, 7])])
    np.testing.assert_allclose(other.usual, [[2, 2, 5], [np.sqrt(2), 0, np.sqrt(8)]])
    np.testing.assert_array_equal(other.bands, look.bands)
    np.testing.assert_array_equal(other.grey, look.grey)


def test_an_empty_picture_is_neither_changed_nor_an_error():
    look = fit_look(crowd())
    empty = torch.zeros(2, 1, 30, 26)
    assert torch.equal(look.brought(empty), empty)


def test_a_stored_look_is_not_trusted():
    look = fit_look(crowd())
    stored = look.to_dict()
    back = Look.from_dict(stored)
    for name in ("bands", "grey", "usual"):
        np.testing.assert_array_equal(getattr(back, name), getattr(look, name))
    broken = [
        None,
        {},
        [],
        {name: stored[name] for name in ("bands", "grey")},
        stored | {"bands": [1.0, 2.0]},
        stored | {"bands": "wide"},
        stored | {"grey": [float("nan"), 1.0]},
        stored | {"usual": [[1.0, 2.0], [1.0, 2.0]]},
    ]
    for content in broken:
        with pytest.raises(CheckpointError, match="damaged"):
            Look.from_dict(content)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_detail_counts_along_every_axis_of_a_volume_but_not_from_slice_to_slice(axis):
    data = np.full((12, 24, 20), 0.5, np.float32)
    stripes = 0.1 * (-1.0) ** np.indices(data.shape)[axis].astype(np.float32)
    tensor = torch.from_numpy(data + stripes)
    solid, slices = (Picture(one) for one in (tensor[None, None], tensor[:, None]))
    inside = (slice(4, -4), slice(6, -6), slice(6, -6))
    left = [np.std(one.smooth(one.data, 1.0)[inside]) for one in (solid, slices)]
    assert left[0] < 0.01
    assert (left[1] < 0.01) == (axis > 0)


@pytest.mark.parametrize("shape", [SLICES, SOLID])
def test_fluid_between_folds_is_no_ventricle(shape):
    plain = brain(50, shape)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in plain.squeeze().shape], indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in (axes[1:] if shape == SLICES else axes)))
    furrows = torch.from_numpy((radius > 0.6) & (radius < 0.7)).reshape(plain.shape)
    share = Picture(plain).ventricles()
    assert share > 0.01
    assert Picture(torch.where(furrows, 0.1, plain)).ventricles() == pytest.approx(share, abs=0.005)
