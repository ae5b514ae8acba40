"""Placement of brains whose true place is known, and resampling into the template's space."""

from __future__ import annotations

import json
from functools import lru_cache

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from src.cohorts.phantom.anatomy import deform, grid_affine
from src.errors import ImageError
from src.preprocessing.space.grid import Frame, PlacedVolume
from src.preprocessing.space.placement import Placement, fit_placement, in_template
from src.preprocessing.space.template import EDGE, template

VOXEL = 5.0
TO_RAS = np.diag([VOXEL, VOXEL, VOXEL, 1.0])


@lru_cache(maxsize=1)
def brains() -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of three phantoms in RAS+ order, and its true affine to MNI mm."""
    people = [deform(VOXEL, 0.2, 0.1, np.random.default_rng(i)).intensity for i in range(3)]
    shape, affine = grid_affine(VOXEL)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = shape[0] - 1
    return np.mean(people, axis=0)[::-1, :, :-1].copy(), affine @ flip  # unequal axes


def error(placement: Placement, to_ras: np.ndarray, truth: np.ndarray, image: np.ndarray) -> float:
    """Return the mean distance, over the brain's voxels, from where they really are, in mm."""
    index = np.array([*np.nonzero(image > 0.1), np.ones(int((image > 0.1).sum()))])
    off = (placement.matrix @ to_ras - truth) @ index
    return float(np.linalg.norm(off[:3], axis=0).mean())


def reslice(to_mni: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the mean brain on a grid whose index -> MNI mm is given."""
    image, truth = brains()
    step = np.linalg.inv(truth) @ to_mni
    return ndimage.affine_transform(image, step[:3, :3], step[:3, 3], shape, order=1)


def tipped(scale: tuple[float, float, float], pitch: float) -> np.ndarray:
    cosine, sine = np.cos(pitch), np.sin(pitch)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag(scale)
    return matrix


def slab(thickness: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a tipped slab of 5 mm slices, each scaled by itself, its to_ras and its truth."""
    shape = (35, 42, thickness)
    truth = tipped((1.06, 1.05, 1.06), -0.07) @ TO_RAS
    middle = truth[:3, :3] @ ((np.array(shape) - 1) / 2)
    truth[:3, 3] = (1, -18, 10) - middle
    image = reslice(truth, shape)
    gains = 0.8 + 0.4 * np.random.default_rng(0).random(thickness)
    to_ras = TO_RAS.copy()
    to_ras[:3, 3] = (5, 9, 30)
    return image * gains, to_ras, truth


def test_template_is_symmetric_in_mni_space_and_shared():
    t = template()
    np.testing.assert_array_equal(np.diag(t.affine), [EDGE, EDGE, EDGE, 1])
    assert t.t1.shape == t.grey.shape == t.white.shape == (99, 117, 95)
    centre = np.linalg.inv(t.affine) @ [0, 0, 0, 1]
    assert centre[0] == (t.t1.shape[0] - 1) / 2
    np.testing.assert_allclose(t.t1, t.t1[::-1], atol=1e-6)
    assert 1800 < t.brain.sum() * EDGE**3 / 1000 < 1950  # mL
    with pytest.raises(ValueError, match="read-only"):
        t.t1[0] = 1
    assert template() is t


@pytest.mark.slow
def test_whole_brain_is_placed_where_it_is():
    image, truth = brains()
    placement = fit_placement(image, TO_RAS)
    assert placement.reason is None
    assert placement.turned is None
    assert placement.correlation > 0.9
    assert error(placement, TO_RAS, truth, image) < 0.7


@pytest.mark.slow
def test_scale_and_pitch_are_found():
    shape = (38, 40, 37)
    truth = tipped((0.93, 1.08, 1.03), 0.12) @ TO_RAS
    truth[:3, 3] += (0, -17, 5) - truth[:3, :3] @ ((np.array(shape) - 1) / 2)
    image = reslice(truth, shape)
    placement = fit_placement(image, TO_RAS)
    assert error(placement, TO_RAS, truth, image) < 0.9
    np.testing.assert_allclose(
        placement.matrix[:3, :3], tipped((0.93, 1.08, 1.03), 0.12)[:3, :3], atol=0.012
    )


@lru_cache(maxsize=1)
def slab_placement() -> Placement:
    return fit_placement(*slab()[:2])


@pytest.mark.slow
def test_slab_with_brightness_of_its_own_in_every_slice():
    image, to_ras, truth = slab()
    placement = slab_placement()
    assert placement.reason is None
    assert error(placement, to_ras, truth, image) < 1.2
    assert placement.flatness is not None
    assert placement.flatness[2] > placement.flatness[0]  # a slab says least about its height


@pytest.mark.slow
def test_a_few_slices_are_enough():
    image, to_ras, truth = slab(3)
    placement = fit_placement(image, to_ras)
    assert placement.reason is None
    assert error(placement, to_ras, truth, image) < 1.2


@pytest.mark.slow
def test_stored_axes_of_any_order_give_the_same_placement():
    image, to_ras, _ = slab()
    stored = image.transpose(1, 0, 2)[::-1]  # row 0 in front, columns to the right
    turn = np.array([[0, 1, 0, 0], [-1, 0, 0, stored.shape[0] - 1], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    found = fit_placement(stored, to_ras @ turn)
    np.testing.assert_allclose(found.matrix, slab_placement().matrix, atol=0.1)
    assert found.turned is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axis", "words"), [(1, "front and back"), (2, "top and bottom")], ids=["rows", "slices"]
)
def test_brain_that_lies_turned_is_turned_back_and_said(axis, words):
    image, to_ras, truth = slab()
    turned = np.flip(image, axis)
    mirror = np.eye(4)
    mirror[axis, axis], mirror[axis, 3] = -1, image.shape[axis] - 1
    placement = fit_placement(turned, to_ras)
    assert placement.turned == words
    assert placement.reason is None
    assert error(placement, to_ras, truth @ mirror, turned) < 1.2


@pytest.mark.slow
def test_stack_that_ends_inside_the_brain_is_no_small_brain():
    image, truth = brains()
    covered = np.zeros(image.shape, bool)
    covered[:, :, 7:29] = True
    cut = np.where(covered, image, 0)
    # 2.2 mm when the ends of the stack are taken for the ends of the brain.
    assert error(fit_placement(cut, TO_RAS, covered), TO_RAS, truth, cut) < 0.7


def noise(image: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).random(image.shape) * (image > 0.1)


def askew(image: np.ndarray, axes: tuple[int, int], degrees: float) -> np.ndarray:
    return np.clip(ndimage.rotate(image, degrees, axes=axes, reshape=False, order=1), 0, None)


def mixed(image: np.ndarray) -> np.ndarray:
    """Return the mean of brains that were not registered: turned by up to 15 degrees each."""
    rng = np.random.default_rng(0)
    planes = ((0, 1), (0, 2), (1, 2))
    turned = [
        ndimage.shift(
            askew(image, planes[i % 3], rng.uniform(-15, 15)), rng.uniform(-3, 3, 3), order=1
        )
        for i in range(24)
    ]
    return np.mean(turned, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (noise, "correlates with the template by only"),
        (lambda image: askew(image, (0, 2), 8), "askew in their frame, by 8 degrees"),
        (lambda image: askew(image, (0, 1), -8), "askew in their frame, by 8 degrees"),
        (mixed, "correlates with the template by only"),
        (lambda image: image.transpose(1, 2, 0).copy(), "correlates with the template by only"),
        (lambda image: (image > 0.1) * 1.0, "correlates with the template by only"),
        (np.zeros_like, "no brain"),
        (np.ones_like, "no brain"),
        (lambda image: image * (np.indices(image.shape)[0] < 10), "correlates|too little"),
    ],
    ids=["noise", "rolled", "yawed", "mixed", "axes", "flat", "empty", "full", "a strip"],
)
def test_what_cannot_be_placed_says_why(change, words):
    image, _ = brains()
    placement = fit_placement(change(image), TO_RAS)
    assert placement.reason is not None
    assert any(word in placement.reason for word in words.split("|"))
    assert "\n" not in placement.reason
    record = json.loads(json.dumps(placement.record(), allow_nan=False))
    assert record["available"] is False
    assert record["reason"] == placement.reason


def test_record_of_a_placement_can_be_written():
    matrix = np.diag([1.05, 1.0, 1.0, 1.0])
    record = Placement(matrix, 0.9, None, "front and back", (1.0, 1.5, 2.4)).record()
    assert json.loads(json.dumps(record, allow_nan=False)) == {
        "available": True,
        "matrix": matrix.tolist(),
        "correlation": 0.9,
        "turned": "front and back",
        "flatness_mm": [1.0, 1.5, 2.4],
    }


@pytest.mark.parametrize(
    ("image", "covered"),
    [
        (np.full((9, 8, 7), np.nan), None),
        (np.zeros((9, 8)), None),
        (np.eye(9)[..., None], np.ones((9, 8, 1), bool)),
        (np.eye(9)[..., None], np.zeros((9, 9, 1), bool)),
    ],
)
def test_what_is_no_mean_image_is_refused(image, covered):
    with pytest.raises(ImageError):
        fit_placement(image, TO_RAS, covered)


def placed(data: np.ndarray, to_ras: np.ndarray) -> PlacedVolume:
    return PlacedVolume(data, np.eye(4), Frame(data.shape, to_ras, to_ras))


def at_mni(values: np.ndarray) -> np.ndarray:
    """Return the MNI mm of the centre of what is in an image on the template's grid."""
    affine = template().affine
    return affine[:3, :3] @ np.array(ndimage.center_of_mass(values)) + affine[:3, 3]


def test_place_in_the_frame_becomes_its_place_in_mni():
    matrix = tipped((1.1, 0.95, 1.05), 0.2)
    matrix[:3, 3] = (-90, -110, -60)
    to_ras = np.diag([2.5, 3.0, 1.5, 1.0])
    to_ras[:3, 3] = (10, 5, 20)
    grid = np.indices((60, 62, 64))
    centre = np.array([30.0, 26.0, 33.0])
    blob = np.exp(-(((grid - centre[:, None, None, None]) / 2.0) ** 2).sum(axis=0) / 2)
    values, covered = in_template(placed(blob, to_ras), Placement(matrix, 0.9))
    expected = matrix @ to_ras @ [*centre, 1]
    np.testing.assert_allclose(at_mni(values), expected[:3], atol=0.15)
    assert values.shape == covered.shape == template().t1.shape
    assert values.dtype == np.float32
    nearest, _ = in_template(placed(blob, to_ras), Placement(matrix, 0.9), order=0)
    assert set(np.unique(nearest)) <= {np.float32(0), *np.unique(blob.astype(np.float32))}


def test_constant_map_is_constant_where_it_is_known_and_zero_elsewhere():
    to_ras = np.diag([1.0, 1.0, 1.0, 1.0])
    to_ras[:3, 3] = (-40, -50, -3)
    data = np.full((80, 90, 12), 3.0)  # 80 x 90 x 12 mm
    values, covered = in_template(placed(data, to_ras), Placement(np.eye(4), 0.9))
    np.testing.assert_allclose(values[covered], 3)
    assert (values[~covered] == 0).all()
    index = np.array(np.nonzero(covered))
    low, high = (template().affine @ [*end, 1] for end in (index.min(axis=1), index.max(axis=1)))
    # Voxels of 2 mm whose centre is up to 1 mm beyond the outer slices' centres.
    np.testing.assert_allclose(low[:3], [-40, -50, -4])
    np.testing.assert_allclose(high[:3], [40, 40, 8])  # at most 40, 40 and 9
    assert covered.sum() == 41 * 46 * 7


def test_a_single_slice_covers_a_plane():
    to_ras = np.diag([2.0, 2.0, 1.0, 1.0])
    to_ras[:3, 3] = (-60, -60, 10.6)
    values, covered = in_template(placed(np.ones((61, 51, 1)), to_ras), Placement(np.eye(4), 0.9))
    heights = np.unique(np.nonzero(covered)[2]) * EDGE + template().affine[2, 3]
    assert heights.tolist() == [10]
    assert covered.sum() == 61 * 51
    assert values.max() == 1


def test_fine_detail_is_averaged_not_sampled():
    to_ras = np.diag([1.0, 1.0, 1.0, 1.0])
    to_ras[:3, 3] = -30
    stripes = np.zeros((61, 60, 59))
    stripes[::2] = 1
    values, _ = in_template(placed(stripes, to_ras), Placement(np.eye(4), 0.9))
    inner = values[values.shape[0] // 2 - 8 : values.shape[0] // 2 + 8, 62:72, 34:40]
    assert inner.mean() == pytest.approx(0.5, abs=0.1)
    assert inner.std() < 0.1


@pytest.mark.parametrize("roll", [0.0, 0.05])
def test_a_pitched_frame_is_sampled_as_scipy_samples_it(roll):
    data = np.random.default_rng(3).random((41, 53, 37)).astype(np.float32)
    to_ras = nib.affines.from_matvec(np.diag([3, 2.5, 4]), (-60, -75, -60))
    matrix = np.diag([1.03, 0.97, 1.1, 1.0])
    matrix[1:3, 1:3] = [[0.97, -0.1], [0.1, 1.1]]
    matrix[0, 2] = roll
    values, covered = in_template(placed(data, to_ras), Placement(matrix, 0.9))
    target = template()
    step = np.linalg.inv(to_ras) @ np.linalg.inv(matrix) @ target.affine
    index = np.indices(target.t1.shape).reshape(3, -1).T
    at = nib.affines.apply_affine(step, index).T.reshape(3, *target.t1.shape)
    oracle = ndimage.map_coordinates(data, at, order=1, mode="nearest")
    assert 0.3 < covered.mean() < 1
    np.testing.assert_allclose(values[covered], oracle[covered], atol=1e-6)
