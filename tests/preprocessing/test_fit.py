"""Pictures keep their place through cropping and smoothing; a known placement is found again."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from src.preprocessing.space.fit import LIMITS, NINE, Fit, Picture, starts

PLACE = np.array([3.0, -5.0, 4.0, 0.06, -0.04, 0.08, 0.1, 0, 0])
ASKEW = PLACE + np.array([0, 0, 0, 0, 0, 0, 0, 0.07, -0.05])


def scene(shape=(30, 36, 26), affine=None) -> Picture:
    """Return smooth random blobs that fill an ellipsoid, 4 mm voxels, around 0 mm."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum((axis / 0.7) ** 2 for axis in axes) < 1
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 2.5)
    data = inside * (1 + 0.3 * texture / texture.std())
    if affine is None:
        affine = np.diag([4.0, 4.0, 4.0, 1.0])
        affine[:3, 3] = -4 * (np.array(shape) - 1) / 2
    return Picture(np.clip(data, 0, None).astype(np.float32), affine)


def moved(fixed: Picture, parameters, shape=(28, 34, 24), signs=(1, 1, 1)) -> Fit:
    """Return the fit of an image that lies at `parameters` in `fixed`."""
    affine = np.diag([4.2, 4.2, 4.2, 1.0])
    affine[:3, 3] = (50, 20, -10)  # another origin
    blank = Picture(np.zeros(shape, np.float32), affine)
    pivot = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    data = Fit(blank, fixed, pivot, signs).fixed_there(parameters)
    return Fit(Picture(data, affine), fixed, pivot, signs)


def centre_mm(picture: Picture) -> np.ndarray:
    found = np.array(ndimage.center_of_mass(picture.data))
    return picture.affine[:3, :3] @ found + picture.affine[:3, 3]


def test_matrix_scales_then_tips_around_the_pivot():
    picture, pivot = scene(), np.array([7.0, -3.0, 2.0])
    fit = Fit(picture, picture, pivot, (1, -1, 1))
    matrix = fit.matrix(ASKEW)
    turn = [Rotation.from_euler(axis, ASKEW[6 + i]) for i, axis in enumerate("xyz")]
    expected = (turn[2] * turn[1] * turn[0]).as_matrix() @ np.diag(np.exp(PLACE[3:6]) * (1, -1, 1))
    np.testing.assert_allclose(matrix[:3, :3], expected)
    np.testing.assert_allclose((matrix @ [*pivot, 1])[:3], PLACE[:3])


@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, 1)])
def test_known_placement_is_found(signs):
    fit = moved(scene(), PLACE, signs=signs)
    found = fit.improve(np.zeros(9))
    np.testing.assert_allclose(found[:3], PLACE[:3], atol=0.1)
    np.testing.assert_allclose(found[3:], PLACE[3:], atol=0.008)
    assert fit.correlation(found) > 0.999


@pytest.mark.slow
def test_roll_and_yaw_are_told_when_they_are_free():
    fit = moved(scene(), ASKEW)
    found = fit.improve(fit.improve(np.zeros(9)), NINE)
    np.testing.assert_allclose(found[6:], ASKEW[6:], atol=0.005)


def test_what_is_not_free_stays():
    fit = moved(scene(), PLACE)
    found = fit.improve(np.zeros(9), range(3))
    assert (found[3:] == 0).all()
    assert np.abs(found[:3]).min() > 1


def test_residuals_are_the_correlation_and_the_price_of_an_odd_shape():
    fit = moved(scene(), PLACE)
    even, odd = (
        np.array([1, 2, 1, 0.05, 0.05, 0.05, 0, 0, 0]),
        np.array([1, 2, 1, 0.1, 0.05, 0.0, 0, 0, 0]),
    )
    there = fit.fixed_there(even).ravel()
    r = np.corrcoef(fit.moving.data.ravel(), there)[0, 1]
    assert fit.correlation(even) == pytest.approx(r, abs=1e-5)
    off = fit.residuals(even)
    assert off @ off == pytest.approx(2 - 2 * r, abs=1e-5)
    off = fit.residuals(odd)
    # Two scales are one SD (5 %) off their mean.
    assert off @ off == pytest.approx(2 - 2 * fit.correlation(odd) + 2 * 2 * 0.0005, abs=1e-6)


def test_shape_cannot_run_away_where_an_axis_tells_nothing():
    shape = (28, 34, 24)
    fixed = scene()
    column = np.broadcast_to(fixed.data[:, :, 12:13], fixed.data.shape)  # the same at every height
    fit = moved(Picture(np.ascontiguousarray(column), fixed.affine), np.zeros(9), shape)
    start = np.array([0, 0, 0, 0.05, 0.05, -0.3, 0, 0, 0])
    found = fit.improve(start)
    assert found[5] == pytest.approx(found[3:5].mean(), abs=0.02)


def test_slack_is_what_a_shift_costs_when_all_else_is_fitted_again():
    fit = moved(scene(), PLACE)
    best = fit.improve(np.zeros(9))
    slack = fit.slack(best, 0.005)
    top = fit.correlation(best)
    for axis in range(3):
        shifted = best.copy()
        shifted[axis] += slack[axis]
        again = fit.improve(shifted, [i for i in range(7) if i != axis])
        assert top - fit.correlation(again) == pytest.approx(0.005, rel=0.3)


def test_coarse_and_cropped_pictures_stay_where_they_are():
    affine = np.diag([-1.0, 2.0, 1.5, 1.0])
    affine[:3, 3] = (9, -8, 7)
    picture = scene((40, 24, 30), affine)
    before = centre_mm(picture)
    for same in (picture.coarse(4, 6), picture.near_brain(3), picture.coarse(2, 3).near_brain(6)):
        np.testing.assert_allclose(centre_mm(same), before, atol=0.25)
    coarse = picture.coarse(4, 6)
    np.testing.assert_allclose(np.diag(coarse.affine)[:3], [-4, 4, 4.5])
    low, high = picture.near_brain(3).box()
    np.testing.assert_allclose(np.stack([low, high]), np.stack(picture.box()))


def test_smoothing_is_as_wide_as_it_says():
    data = np.zeros((41, 31, 35), np.float32)
    data[20, 15, 17] = 1
    smooth = Picture(data, np.diag([1.0, 2.0, 1.0, 1.0])).coarse(1, 8).data
    for axis, half in ((0, 4), (1, 2), (2, 4)):  # 4 mm from the centre
        line = np.moveaxis(smooth, axis, 0)[
            :, *[n // 2 for i, n in enumerate(data.shape) if i != axis]
        ]
        middle = data.shape[axis] // 2
        assert line[middle + half] / line[middle] == pytest.approx(0.5, abs=0.03)


def test_box_and_part_by_hand():
    data = np.zeros((10, 12, 14), np.float32)
    data[2:5, 3:9, 4:14] = 1
    affine = np.array([[0, 3.0, 0, 1], [-2, 0, 0, 5], [0, 0, 1, 0], [0, 0, 0, 1]])  # x <- second
    picture = Picture(data, affine)
    low, high = picture.box()
    np.testing.assert_allclose(low, [1 + 3 * 2.5, 5 - 2 * 4.5, 3.5])
    np.testing.assert_allclose(high, [1 + 3 * 8.5, 5 - 2 * 1.5, 13.5])
    assert picture.cut().tolist() == [False, False, True]
    around = Picture(data, np.array([[0, 1.0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]))
    assert around.cut().tolist() == [False, True, False]  # y <- the third axis
    part = picture.within(data > 0)
    assert part.data.shape == (3, 6, 10)
    np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], affine @ [2, 3, 4, 1])


def test_starts_run_along_an_axis_that_is_cut_and_only_there():
    fixed = scene()
    whole = moved(fixed, np.zeros(9)).moving
    low, high = fixed.box()
    (only,) = starts(whole, fixed)
    np.testing.assert_allclose(only[:3], (low + high) / 2)
    small = Picture(whole.data, whole.affine @ np.diag([0.6, 0.6, 0.6, 1]))
    assert len(list(starts(small, fixed))) == 1  # short, but not cut
    slab = Picture(whole.data[:, :, 9:15], whole.affine)
    several = np.array(list(starts(slab, fixed)))
    assert len(several) > 2
    assert np.ptp(several[:, :2], axis=0).max() == 0
    thick = slab.box()[1][2] - slab.box()[0][2]
    assert several[:, 2].min() == pytest.approx(low[2] + thick / 2)
    assert several[:, 2].max() == pytest.approx(high[2] - thick / 2)
    assert np.diff(several[:, 2]).max() <= 20


@pytest.mark.slow
def test_fit_does_not_leave_the_range_of_brains():
    fixed = scene()
    tiny = Picture(fixed.data, fixed.affine @ np.diag([0.4, 0.4, 0.4, 1]))
    found = Fit(tiny, fixed, np.zeros(3), (1, 1, 1)).improve(np.zeros(9))
    assert (np.abs(found) <= LIMITS).all()
    assert found[3:6].max() == LIMITS[3]


def test_constant_image_correlates_with_nothing():
    fixed = scene()
    fit = Fit(Picture(np.ones((9, 8, 7), np.float32), fixed.affine), fixed, np.zeros(3), (1, 1, 1))
    assert fit.correlation(np.zeros(9)) == 0
