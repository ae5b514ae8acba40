"""Volumes as cubes: the same anatomy in the same place, few enough for a page."""

import numpy as np
from map_examples import PEAK, SHAPE, SIZE, blob, brain, place
from nibabel.affines import apply_affine

from src.report.map_figures.cubes import cubes


def test_voxels_become_cubes_of_the_same_anatomy():
    image = place(brain() * np.linspace(0.5, 1, SHAPE[0], dtype=np.float32)[:, None, None])
    made, matrix = cubes(image.data, image.affine, 1_000_000)
    assert made.shape == (19, 18, 22)  # 28, 27 and 33 mm in cubes of 1.5 mm
    centres = np.stack(np.meshgrid(*map(np.arange, made.shape), indexing="ij"), axis=-1)
    index = apply_affine(np.linalg.inv(image.affine) @ matrix, centres).round().astype(int)
    expected = image.data[tuple(np.moveaxis(np.clip(index, 0, np.array(SHAPE) - 1), -1, 0))]
    assert np.corrcoef(made.ravel(), expected.ravel())[0, 1] > 0.9


def test_the_grid_keeps_its_centre():
    size = (2.6, 2.2, 5.4)  # 36.4, 39.6 and 59.4 mm
    image = place(brain(), size)
    made, matrix = cubes(image.data, image.affine, 1_000_000)
    assert made.shape == (24, 26, 40)
    np.testing.assert_allclose(matrix[:3, :3], 1.5 * np.eye(3), atol=1e-12)
    centre = apply_affine(image.affine, (np.array(SHAPE) - 1) / 2)
    found = apply_affine(matrix, (np.array(made.shape) - 1) / 2)
    np.testing.assert_allclose(found, centre, atol=1e-6)


def test_the_peak_stays_where_it_is_in_larger_cubes():
    image = place(blob())
    for voxels in (1_000_000, 900):
        made, matrix = cubes(image.data, image.affine, voxels)
        assert made.size < 1.3 * voxels
        found = apply_affine(matrix, np.unravel_index(made.argmax(), made.shape))
        edge = np.linalg.norm(matrix[:3, 0])
        wanted = apply_affine(image.affine, PEAK)
        np.testing.assert_allclose(found, wanted, atol=max(edge, max(SIZE)) / 2 + 0.1)


def test_what_is_not_a_number_is_nothing():
    data = np.full((9, 8, 7), np.nan, np.float32)
    assert not cubes(data, np.diag([2.0, 2, 2, 1]), 1000)[0].any()
