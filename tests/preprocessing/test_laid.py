"""A raw scan laid on another grid by one interpolation."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from src.config import ScanConfig
from src.errors import ManifestError
from src.preprocessing.raw import standard
from src.preprocessing.raw.convert import RawScan, read_any
from src.preprocessing.raw.laid import Grid, LaidScan, lay, lost_detail, read_laid, write_laid
from src.preprocessing.raw.register import Registration
from src.preprocessing.raw.standard import laid_beside, scan_key, standardise

SHAPE = (30, 36, 26)
HERE = Registration(np.eye(4), 1.0, False)


def smooth_noise(sigma=1.5, shape=SHAPE):
    data = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), sigma)
    return (500 + 100 * data / data.std()).astype(np.float32)


def ball(shape=SHAPE, share=0.6):
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return sum(axis**2 for axis in axes) < share**2


def scan_of(data, affine=None):
    return RawScan(data, np.eye(4) if affine is None else affine)


def grid_of(step, shape, at=(0, 0, 0)):
    matrix = np.diag([*np.broadcast_to(step, 3).astype(float), 1.0])
    matrix[:3, 3] = at
    return Grid(shape, matrix)


def test_a_scan_on_its_own_grid_stays_as_it_is():
    wide = tuple(edge + 60 for edge in SHAPE)  # the brain is far from the first voxel
    data, mask = smooth_noise(shape=wide), np.pad(ball(), ((30, 30), (25, 35), (35, 25)))
    laid = lay(data, mask, scan_of(data), HERE, grid_of(1, wide))
    top = np.percentile(data[mask], 99.9)
    near = ndimage.binary_dilation(mask, iterations=5)
    np.testing.assert_allclose(laid.head[near], np.clip(data / top * 4000, 0, None)[near], atol=1.5)
    np.testing.assert_array_equal(laid.brain, mask)
    assert laid.head.dtype == np.int16


def test_affine_placement_and_grid_are_all_followed():
    data, mask = smooth_noise(2.5), ball()
    affine = np.array([[0.8, 0, 0, 4], [0, 1.1, 0, -7], [0, 0, 1.3, 2], [0, 0, 0, 1.0]])
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", (8, -5, 12), degrees=True).as_matrix()
    motion[:3, 3] = (3, -2, 4)
    grid = grid_of((0.9, 1.0, 1.2), (29, 35, 27), at=(1, -6, 3))
    laid = lay(data, mask, scan_of(data, affine), Registration(motion, 1.0, False), grid)
    rng, seen = np.random.default_rng(1), 0
    top = np.percentile(data[mask], 99.9)
    for place in rng.integers((2, 2, 2), np.array(grid.shape) - 2, (400, 3)):
        mm = motion @ grid.to_template @ [*place, 1]
        at = (np.linalg.inv(affine) @ mm)[:3]
        if (at < 2).any() or (at > np.array(SHAPE) - 3).any():
            continue
        if not mask[tuple(at.round().astype(int))]:
            continue
        seen += 1
        exact = ndimage.map_coordinates(data, at[:, None], order=3)[0] / top * 4000
        assert abs(laid.head[tuple(place)] - exact) < 0.02 * exact
    assert seen > 50


def test_one_interpolation_keeps_more_detail_than_two_of_lines():
    mask = ball()
    x, y, z = np.indices(SHAPE)
    data = (500 + 120 * np.cos(2.1 * x) * np.cos(2.1 * y) * np.cos(2.1 * z)).astype(np.float32)
    shift = (0.5, 0.5, 0.5)
    laid = lay(data, mask, scan_of(data), HERE, grid_of(1, SHAPE, at=shift))
    half = ndimage.shift(data, (-0.25,) * 3, order=1)
    twice = ndimage.shift(half, (-0.25,) * 3, order=1)
    inner = ball(share=0.45)
    one = laid.head[inner].std() / laid.head[inner].mean()
    two = twice[inner].std() / twice[inner].mean()
    true = data[inner].std() / data[inner].mean()
    assert one > 2 * two
    assert one > 0.6 * true


def test_a_coarser_grid_is_smoothed_first():
    mask = ball((48, 56, 44))
    x, y, z = np.indices(mask.shape)
    data = (500 + 200 * (-1.0) ** (x + y + z)).astype(np.float32)  # finer than 2 mm can hold
    laid = lay(data, mask, scan_of(data), HERE, grid_of((3, 2, 2), (16, 28, 22)))
    inner = laid.brain & ndimage.binary_erosion(laid.brain, iterations=2)
    assert inner.sum() > 50
    assert laid.head[inner].std() < 0.02 * laid.head[inner].mean()


def test_only_what_a_coarser_grid_cannot_hold_is_lost():
    assert (lost_detail(np.eye(4)) == 0).all()
    assert (lost_detail(np.diag([0.5, 0.9, 0.4, 1])) == 0).all()
    x, y, z = lost_detail(np.diag([3.0, 1, 2, 1]))
    assert x > z > y == 0
    assert 0.8 < z < 0.9  # half the root of 2^2 - 1


@pytest.mark.parametrize("code", ["RAS", "LPI", "PSR", "AIL"])
def test_the_order_in_which_a_file_stores_its_axes_changes_nothing(tmp_path, code):
    data, mask = smooth_noise(), ball()
    affine = np.array([[1.0, 0, 0, -14], [0, 1.2, 0, -20], [0, 0, 0.9, -11], [0, 0, 0, 1]])
    volume = np.where(mask, data, 0).astype(np.float32)
    image = nib.Nifti1Image(volume, affine)
    turns = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(code)
    )
    nib.save(image.as_reoriented(turns), tmp_path / "a.nii.gz")
    scan = read_any(tmp_path / "a.nii.gz")
    grid = grid_of(1, (26, 34, 22), at=(-13.37, -18.21, -10.43))  # no voxel at half a voxel
    laid = lay(scan.data, scan.data > 0, scan, HERE, grid)
    known = lay(volume, mask, scan_of(volume, affine), HERE, grid)
    assert known.brain.sum() > 1000
    np.testing.assert_array_equal(laid.brain, known.brain)
    np.testing.assert_allclose(laid.head, known.head, atol=2)


def test_a_laid_file_comes_back_and_is_not_trusted(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "a.laid.npz"
    laid = LaidScan(rng.integers(0, 4000, (5, 7, 6)).astype(np.int16), rng.random((5, 7, 6)) > 0.5)
    write_laid(path, laid)
    back = read_laid(path, (5, 7, 6))
    np.testing.assert_array_equal(back.head, laid.head)
    np.testing.assert_array_equal(back.brain, laid.brain)
    with pytest.raises(ManifestError, match="another grid"):
        read_laid(path, (5, 6, 7))
    for head, brain in (
        (laid.head.astype(float), laid.brain),
        (laid.head, laid.head),
        (laid.head[:4], laid.brain),
        (laid.head, laid.brain[:4]),
    ):
        write_laid(path, LaidScan(head, brain))
        with pytest.raises(ManifestError, match="another grid"):
            read_laid(path, (5, 7, 6))
    write_laid(path, laid)
    whole = path.read_bytes()
    np.savez(tmp_path / "b.npz", head=laid.head)
    for content in (
        *(b"", b"no archive", whole[: len(whole) // 2], (tmp_path / "b.npz").read_bytes()),
        whole[:60] + bytes(40) + whole[100:],
    ):
        path.write_bytes(content)
        with pytest.raises(ManifestError, match="damaged"):
            read_laid(path, (5, 7, 6))
    with pytest.raises(ManifestError, match="damaged"):
        read_laid(tmp_path / "none.npz", (5, 7, 6))


def stripped_scan(folder):
    """Write a brain alone, large enough to be taken for one: 2 mm voxels, 1.1 l."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (84, 100, 76)], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.75**2
    rng = np.random.default_rng(0)
    data = np.where(inside, 600 + 80 * axes[0] + rng.normal(0, 10, inside.shape), 0)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (-84, -100, -76)
    nib.save(nib.Nifti1Image(data.astype(np.int16), affine), folder / "a.nii.gz")
    return folder / "a.nii.gz"


GRID = grid_of(2, (50, 60, 44), at=(-50, -60, -44))


@pytest.fixture
def searched(monkeypatch):
    """Return a list that grows with every search for a place; each finds the template's own."""
    found = []
    monkeypatch.setattr(standard, "register", lambda brain, affine: found.append(1) or HERE)
    return found


def test_a_standard_scan_is_laid_once_for_a_grid_and_again_for_another(tmp_path, searched):
    source, target = stripped_scan(tmp_path), tmp_path / "out" / "a.nii.gz"
    settings = ScanConfig(n4=False)
    first = standardise(source, target, settings, GRID)
    assert first.registered
    assert first.steps["brain"] == "as it came"
    laid = read_laid(laid_beside(target), GRID.shape)
    assert laid.brain.sum() > 10000
    assert 3000 < laid.head[laid.brain].max() < 6000
    standardise(source, target, settings, GRID)
    assert len(searched) == 1
    other = grid_of(2, (48, 60, 44), at=(-48, -60, -44))
    standardise(source, target, settings, other)
    assert len(searched) == 2
    assert read_laid(laid_beside(target), other.shape).head.shape == (48, 60, 44)
    shifted = grid_of(2, (48, 60, 44), at=(-47, -60, -44))
    keys = {scan_key(source, settings, grid) for grid in (None, GRID, other, shifted)}
    assert len(keys) == 4


@pytest.mark.slow
def test_a_laid_file_that_is_gone_is_missed_and_one_nobody_asks_for_is_removed(tmp_path, searched):
    source, target = stripped_scan(tmp_path), tmp_path / "out" / "a.nii.gz"
    settings = ScanConfig(n4=False)
    standardise(source, target, settings, GRID)
    laid_beside(target).unlink()
    standardise(source, target, settings, GRID)
    assert len(searched) == 2
    assert laid_beside(target).is_file()
    standardise(source, target, settings)
    assert len(searched) == 3
    assert not laid_beside(target).exists()


def test_a_scan_that_is_not_registered_is_not_laid(tmp_path):
    source, target = stripped_scan(tmp_path), tmp_path / "out" / "a.nii.gz"
    settings = ScanConfig(n4=False, register=False)
    assert not standardise(source, target, settings, GRID).registered
    assert not laid_beside(target).exists()
    before = target.stat().st_mtime_ns
    standardise(source, target, settings, GRID)
    assert target.stat().st_mtime_ns == before
