"""Parts of the registration: coarse images stay where they are, and what is empty costs nothing.

Arrays: X Y Z voxels. Matrices are 4 x 4: index -> RAS+ mm.
"""

import numpy as np
import pytest
from scipy import ndimage

from src.preprocessing.raw import register as module
from src.preprocessing.raw.brain import _between
from src.preprocessing.raw.register import as_itk, field_of_view, resample

sitk = pytest.importorskip("SimpleITK")
AFFINE = np.array([[1.0, 0, 0, -30], [0, 1.5, 0, 12], [0, 0, 2, 7], [0, 0, 0, 1]])
TO_NATIVE = np.array([[1.02, 0.05, 0, 3], [-0.04, 0.97, 0.1, -2], [0, -0.1, 1.01, 4], [0, 0, 0, 1]])


def blob(shape, centre, width):
    """Return a Gaussian blob of `width` voxels, 0 far away."""
    away = sum((axis - at) ** 2 for axis, at in zip(np.indices(shape), centre, strict=True))
    return np.where(away < (3 * width) ** 2, np.exp(-away / (2 * width**2)), 0).astype(np.float32)


def middle(image):
    """Return the centre of mass of an ITK image in RAS+ mm."""
    weight = sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(float)
    at = [float((np.indices(weight.shape)[k] * weight).sum() / weight.sum()) for k in range(3)]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(at)) * (-1, -1, 1)


@pytest.mark.parametrize("grid", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("shape", [(96, 61, 52), (97, 64, 51)])
def test_a_coarse_image_stays_where_it_was(grid, shape):
    data = blob(shape, (41.3, 30.6, 24.2), 5)
    true = middle(as_itk(data, AFFINE))
    for step in {grid, min(2 * grid, 8.0)}:
        coarse = module._coarse(data, AFFINE, grid, step)
        np.testing.assert_allclose(middle(coarse), true, atol=0.03)  # ITK's Shrink: .5 mm
        assert np.allclose(
            coarse.GetSpacing(), np.round(step / np.array([1, 1.5, 2])) * [1, 1.5, 2]
        )


def test_the_empty_around_a_scan_is_laid_as_it_is():
    data = blob((50, 41, 36), (20, 22, 15), 4)
    shape, grid = (31, 33, 29), np.diag([2.0, 2, 2, 1])
    grid[:3, 3] = (-32, 8, 3)
    laid = resample(data, AFFINE, TO_NATIVE, shape, grid)
    step = np.linalg.inv(AFFINE) @ TO_NATIVE @ grid
    plain = ndimage.affine_transform(data, step[:3, :3], step[:3, 3], shape, order=1)
    assert laid.max() > 0.8
    np.testing.assert_allclose(laid, plain, atol=1e-5)
    assert not resample(np.zeros_like(data), AFFINE, TO_NATIVE, shape, grid).any()


def test_the_field_of_view_is_where_a_full_scan_would_be():
    imaged, shape, grid = (20, 17, 13), (31, 33, 29), np.diag([2.0, 2, 2, 1])
    grid[:3, 3] = (-40, 2, -8)
    seen = field_of_view(imaged, AFFINE, TO_NATIVE, shape, grid)
    full = resample(np.ones(imaged, np.float32), AFFINE, TO_NATIVE, shape, grid) > 0.5
    assert 0.02 < seen.mean() < 0.5
    np.testing.assert_array_equal(seen, full)


def test_what_was_found_at_some_voxels_is_known_at_all():
    """A field as slow as N4's is known between its places to a hundredth of a per cent."""
    shape, steps, first = (83, 70, 60), (5, 3, 4), (1, 0, 3)
    x, y, z = np.indices(shape) / 40.0
    field = (1 + 0.3 * np.sin(x + 0.5) * np.cos(y) + 0.2 * z**2).astype(np.float32)
    every = tuple(slice(at, None, step) for at, step in zip(first, steps, strict=True))
    inside = (slice(14, -14),) * 3
    found = _between(field[every], shape, steps, first)
    assert found.shape == shape
    np.testing.assert_allclose(found[inside], field[inside], rtol=1e-3)
    assert np.median(np.abs(found[inside] / field[inside] - 1)) < 1e-4
