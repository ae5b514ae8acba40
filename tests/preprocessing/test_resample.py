"""Crop, resample, slice: where things end up, and the matrices that lead back."""

import numpy as np
import pytest
from conftest import ellipsoid
from scipy import ndimage

from src.errors import ImageError
from src.preprocessing.intensity import brain_mask, bright_level, scale_inside, slice_mask
from src.preprocessing.resample import brain_box, brain_cube, whole_slab
from src.preprocessing.slices import choose_slices, cut_slice, fit_square, slice_matrix


def blob(shape, centre, sigma=1.5):
    grid = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    squares = sum(((axis - c) / sigma) ** 2 for axis, c in zip(grid, centre, strict=True))
    return np.exp(-squares / 2).astype(np.float32)


def test_cube_keeps_aspect_and_its_matrix_leads_back():
    shape, centre, size = (30, 41, 26), (12.0, 22.0, 15.0), (1.0, 0.8, 2.0)
    data = blob(shape, centre, 2.0)
    mask = np.zeros(shape, bool)
    mask[6:24, 4:38, 5:22] = True
    box = brain_box(mask)
    cube, matrix = brain_cube(data[box], size, 48)
    matrix[:3, 3] += [one.start for one in box]
    assert cube.shape == (48, 48, 48)
    found = np.array(ndimage.center_of_mass(cube))
    np.testing.assert_allclose((matrix @ [*found, 1])[:3], centre, atol=0.1)
    steps = np.diag(matrix)[:3] * size  # mm per output voxel: the same along all axes
    np.testing.assert_allclose(steps, steps[0])
    np.testing.assert_allclose(steps[0] * 48, 21 * 2.0)  # the box's longest edge, Z, fills the cube


def test_downsampling_does_not_alias():
    stripes = np.zeros((64, 64, 64), np.float32)
    stripes[::2] = 1
    cube, _ = brain_cube(stripes, (1, 1, 1), 32)
    inner = cube[4:-4, 4:-4, 4:-4]
    assert inner.std() < 0.2
    assert inner.mean() == pytest.approx(0.5, abs=0.05)


def test_slab_is_not_padded_to_a_cube():
    data = blob((176, 208, 32), (60, 100, 20), 6)
    slab, matrix = whole_slab(data, (1, 1, 1), 128)
    assert slab.shape == (112, 128, 24)
    found = np.unravel_index(slab.argmax(), slab.shape)
    np.testing.assert_allclose((matrix @ [*found, 1])[:3], (60, 100, 20), atol=1.5)


def test_slices_spread_over_the_brain_not_the_box():
    mask = np.zeros((20, 30, 100), bool)
    mask[5:15, 5:25, 40:81] = True
    mask[9:11, 9:11, 0:100] = True  # a thin stalk below and above is not brain
    chosen = choose_slices(mask, "axial", 5)
    assert chosen == [40, 50, 60, 70, 80]
    assert choose_slices(mask[:, :, 40:43], "axial", 20) == [0, 1, 2]
    with pytest.raises(ImageError, match="no slice"):
        choose_slices(np.zeros_like(mask), "axial", 5)


def test_axial_slices_show_the_front_of_the_head_on_top():
    data = np.zeros((9, 11, 7), np.float32)
    data[2, 10, 3] = 1  # left, front
    picture = cut_slice(data, "axial", 3)
    assert picture.shape == (11, 9)
    assert picture[0, 2] == 1
    data = np.zeros((9, 11, 7), np.float32)
    data[4, 8, 6] = 1  # top
    assert cut_slice(data, "coronal", 8)[0, 4] == 1
    assert cut_slice(data, "sagittal", 4)[0, 8] == 1


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("size", [24, 96])
def test_slice_matrix_leads_back_to_the_voxel(plane, size):
    shape, voxel = (23, 31, 19), (1.0, 1.3, 1.7)
    centre = (9, 20, 11)
    cut, rows, columns = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}[plane]
    picture = cut_slice(blob(shape, centre, 2.0), plane, centre[cut])
    square, fit = fit_square(picture, (voxel[rows], voxel[columns]), size)
    found = ndimage.center_of_mass(square.astype(float))
    back = slice_matrix(shape, plane, fit) @ [*found, centre[cut], 1]
    np.testing.assert_allclose(back[:3], centre, atol=0.25)


def test_fit_square_pads_and_never_stretches():
    picture = np.ones((26, 22), np.float32)
    square, _ = fit_square(picture, (1, 1), 52)
    filled = np.argwhere(square == 255)
    np.testing.assert_array_equal(filled.max(0) - filled.min(0) + 1, (52, 44))
    tall, _ = fit_square(picture, (2, 1), 52)  # pixels twice as high as wide
    filled = np.argwhere(tall == 255)
    np.testing.assert_array_equal(filled.max(0) - filled.min(0) + 1, (52, 22))


def test_brain_mask_of_masked_and_raw_scans():
    masked = ellipsoid().astype(np.float32)
    np.testing.assert_array_equal(brain_mask(masked), masked > 0)
    noisy = masked + np.random.default_rng(0).uniform(1, 60, masked.shape).astype(np.float32)
    np.testing.assert_array_equal(brain_mask(noisy), masked > 0)
    nearly_empty = np.zeros((40, 40, 40), np.float32)
    nearly_empty[20, 20, 20] = 1
    with pytest.raises(ImageError, match="no brain"):
        brain_mask(nearly_empty)
    with pytest.raises(ImageError, match="no brain"):
        slice_mask(np.full((40, 40), 3, np.uint8))


def test_scaling_is_robust_and_keeps_zero():
    data = ellipsoid(hole=0.4).astype(np.float32)
    mask = data > 0
    spiked = data.copy()
    spiked[8, 10, 7] = 30000
    scaled = scale_inside(data, mask, bright_level(data, mask))
    with_spike = scale_inside(spiked, mask, bright_level(spiked, mask))
    assert scaled[~mask].max() == 0
    assert scaled.min() >= 0
    assert scaled.max() == 1
    np.testing.assert_allclose(scaled[8, 10, 4], with_spike[8, 10, 4], rtol=0.02)
    ratio = scaled[8, 10, 7] / scaled[8, 10, 3]
    assert ratio == pytest.approx(data[8, 10, 7] / data[8, 10, 3], rel=0.02)
    with pytest.raises(ImageError, match="no positive signal"):
        bright_level(-data, mask)
