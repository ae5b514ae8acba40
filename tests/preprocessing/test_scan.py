"""One scan to its files, against the same computed the plain way: whole volumes, float64, SciPy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from conftest import ellipsoid, save_analyze
from scipy import ndimage

from src.config import PreprocessConfig
from src.errors import DataNotFoundError
from src.preprocessing import scan as module
from src.preprocessing.io import read_volume
from src.preprocessing.scan import Scan, make_once, make_scan

SHAPE, VOXEL = (31, 44, 37), (1.0, 1.25, 0.8)
SETTINGS = PreprocessConfig(num_slices=5, image_size=64, volume_size=32)
HALF = 5e-4  # the step of float16 just below 1


def head(kind=np.int16) -> np.ndarray:
    """Return a brain ``(X, Y, Z)`` with texture, off the centre; zero around it.

    In bytes it is dimmer, so that it fits.
    """
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.5)
    data = ellipsoid(SHAPE, 0.3) * (1 + texture)
    data = data / 8 if kind == np.uint8 else data
    return np.roll(data, (2, -3, 1), (0, 1, 2)).clip(0).astype(kind)


def one_scan(path: Path, dim: str, axes: str | None = None) -> Scan:
    return Scan("a_b", (path,), (), ("train/Mild",), axes, dim)


def plain_brain(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scaled volume and the brain, all of it in float64."""
    data = data.astype(np.float64)
    mask = data > 0
    return np.where(mask, np.clip(data / np.percentile(data[mask], 99), 0, 1), 0), mask


def plain_slice(picture: np.ndarray, pixel: tuple[float, float], size: int) -> np.ndarray:
    """Return a slice ``(H, W)`` enlarged by lines between pixel centres, as grey levels."""
    mm = np.array(picture.shape) * pixel
    edges = [max(round(edge * size / mm.max()), 1) for edge in mm]
    steps = [n / m for n, m in zip(picture.shape, edges, strict=True)]
    grid = np.meshgrid(*[(np.arange(m) + 0.5) * s - 0.5 for m, s in zip(edges, steps, strict=True)])
    lines = ndimage.map_coordinates(picture, [g.T for g in grid], order=1, mode="nearest")
    square = np.zeros((size, size))
    top, left = ((size - edge) // 2 for edge in edges)
    square[top : top + edges[0], left : left + edges[1]] = np.floor(lines * 255 + 0.5)
    return square


def plain_cube(data: np.ndarray, voxel: tuple[float, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Return ``(X, Y, Z)`` smoothed and interpolated as a whole; its longest edge fills `shape`."""
    edges = np.array(data.shape)
    step = (edges * voxel).max() / max(shape) / np.array(voxel)
    sigma = 0.5 * np.sqrt(np.maximum(step**2 - 1, 0))
    if sigma.max() > 0.25:
        data = ndimage.gaussian_filter(data, sigma, truncate=3, mode="nearest")
    offset = (edges - 1) / 2 - step * (np.array(shape) - 1) / 2
    return ndimage.affine_transform(data, step, offset, shape, order=1, mode="grid-constant")


def boxed(data: np.ndarray, mask: np.ndarray) -> np.ndarray:
    filled = np.argwhere(mask)
    low, high = np.maximum(filled.min(0) - 2, 0), np.minimum(filled.max(0) + 3, mask.shape)
    return data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]


def stored(path: Path, axes: str, kind=np.int16) -> Path:
    """Write the head with its axes in another order; return the file."""
    image = nib.Nifti1Image(head(kind), np.diag([*VOXEL, 1]))
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    image = image.as_reoriented(turn)
    nib.save(image, path)
    return path


FILES = [("LAS", np.int16), ("RAS", np.uint8), ("PSR", np.float32), ("ILA", np.int32)]


@pytest.mark.parametrize(("axes", "kind"), FILES)
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_slices_are_those_of_the_plain_way(tmp_path, axes, kind, plane):
    path = stored(tmp_path / "a.nii.gz", axes, kind)
    settings = PreprocessConfig(num_slices=5, image_size=64, slice_axis=plane)
    assert make_scan(tmp_path, one_scan(path, "2d"), settings) is None
    scaled, mask = plain_brain(head(kind))
    cut, rows, columns = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}[plane]
    area = mask.sum(axis=(rows, columns))
    shown = np.flatnonzero(area >= area.max() / 4)
    chosen = np.linspace(shown[0], shown[-1], 5).round().astype(int)
    assert len(list(tmp_path.rglob("*.png"))) == 5
    for index in chosen:
        picture = scaled.take(index, cut).T[::-1]
        expected = plain_slice(picture, (VOXEL[rows], VOXEL[columns]), 64)
        found = cv2.imread(str(tmp_path / f"train/Mild/a_b_slice{index:02d}.png"), -1)
        # OpenCV interpolates in float32: a level that lies on the edge may fall to the other side.
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() < 0.002


@pytest.mark.parametrize(("axes", "kind"), FILES)
@pytest.mark.parametrize("size", [32, 80])
def test_cube_is_that_of_the_plain_way(tmp_path, axes, kind, size):
    path = stored(tmp_path / "a.nii", axes, kind)
    settings = PreprocessConfig(volume_size=size)
    assert make_scan(tmp_path, one_scan(path, "3d"), settings) is None
    scaled, mask = plain_brain(head(kind))
    expected = plain_cube(boxed(scaled, mask), VOXEL, (size, size, size))
    found = np.load(tmp_path / "train/Mild/a_b.npy")
    assert found.dtype == np.float16
    assert found.flags.c_contiguous
    assert np.abs(found - expected).max() < HALF
    near = expected.astype(np.float16)
    assert (found != near).mean() < 0.002


def test_numbers_with_a_slope_are_read_as_they_are_meant(tmp_path):
    image = nib.Nifti1Image(head(), np.diag([*VOXEL, 1]))
    image.header.set_slope_inter(0.5, 0)
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.data, head() * np.float32(0.5))
    assert volume.data.dtype == np.float32


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint16])
def test_small_integers_are_read_once_and_only_viewed(tmp_path, kind):
    data = np.random.default_rng(0).integers(0, 100, SHAPE).astype(kind)
    nib.save(nib.Nifti1Image(data, np.diag([-1, 1, 1, 1])), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.data.dtype == kind
    assert volume.data.dtype.isnative
    assert np.shares_memory(volume.data, volume.stored)
    np.testing.assert_array_equal(volume.data, data[::-1])


def test_a_trailing_axis_of_one_costs_no_copy(tmp_path):
    path = save_analyze(tmp_path / "a.img", ellipsoid(SHAPE))
    assert read_volume(path, "LAS").stored.flags.f_contiguous


def test_negative_numbers_are_no_brain(tmp_path):
    data = head()
    data[0, :3, :2] = -900  # below the share of the border that makes a scan unmasked
    nib.save(nib.Nifti1Image(data, np.diag([*VOXEL, 1])), tmp_path / "a.nii")
    assert make_scan(tmp_path, one_scan(tmp_path / "a.nii", "3d"), SETTINGS) is None
    scaled, mask = plain_brain(data)
    expected = plain_cube(boxed(scaled, mask), VOXEL, (32, 32, 32))
    assert np.abs(np.load(tmp_path / "train/Mild/a_b.npy") - expected).max() < HALF


def write_jpgs(folder: Path, count: int = 9) -> list[Path]:
    paths = []
    for index in range(count):
        picture = head()[:, :, 12 + index].T // 8
        paths.append(folder / f"{index}.jpg")
        cv2.imwrite(str(paths[-1]), picture.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return paths


def plain_picture(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float64)
    mask = pixels > 12
    return np.where(mask, np.clip(pixels / np.percentile(pixels[mask], 99), 0, 1), 0)


@pytest.mark.parametrize("dim", ["2d", "3d"])
def test_8_bit_slices_and_slabs_are_those_of_the_plain_way(tmp_path, dim):
    paths = write_jpgs(tmp_path)
    numbers = tuple(range(40, 49))
    scan = Scan("a_b", tuple(paths), numbers, ("train/Mild",) * 9, None, dim)
    assert make_scan(tmp_path / "out", scan, SETTINGS) is None
    pictures = [plain_picture(path) for path in paths]
    if dim == "2d":
        for number, picture in zip(numbers, pictures, strict=True):
            name = tmp_path / "out" / f"train/Mild/a_b_slice{number}.png"
            found = cv2.imread(str(name), -1)
            assert np.abs(found - plain_slice(picture, (1, 1), 64)).max() <= 1
    else:
        found = np.load(tmp_path / "out/train/Mild/a_b.npy")
        assert found.shape == (24, 32, 8)
        data = np.stack([picture.T for picture in pictures], axis=2)
        assert np.abs(found - plain_cube(data, (1, 1, 1), found.shape)).max() < HALF


def test_damage_inside_a_gz_is_a_reason_not_a_crash(tmp_path):
    path = stored(tmp_path / "a.nii.gz", "LAS")
    raw = bytearray(gzip.decompress(path.read_bytes()))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(raw))[:-2000])
    reason = make_scan(tmp_path, one_scan(path, "2d"), SETTINGS)
    assert "cannot be read" in reason


def test_done_scan_is_not_made_again(tmp_path, monkeypatch):
    path, made = stored(tmp_path / "a.nii", "LAS"), []
    scan, out = one_scan(path, "2d"), tmp_path / "out"
    make = module.make_scan
    monkeypatch.setattr(module, "make_scan", lambda *given: (made.append(1), make(*given))[1])
    for _ in range(2):
        assert make_once(scan, out, SETTINGS) == ("a_b", None)
    assert len(made) == 1
    next(out.rglob("*.png")).unlink()
    make_once(scan, out, SETTINGS)
    assert len(made) == 2
    record = json.loads((out / ".scans/a_b.json").read_text(encoding="utf-8"))
    assert all((out / file["path"]).is_file() for file in record["files"])


def test_raw_folder_that_is_not_seen_is_an_error_and_a_lost_file_a_reason(tmp_path):
    gone = one_scan(tmp_path / "nowhere" / "a.nii", "2d")
    with pytest.raises(DataNotFoundError, match="nowhere on ") as caught:
        make_once(gone, tmp_path / "out", SETTINGS)
    assert "same path" in caught.value.hint
    name, reason = make_once(one_scan(tmp_path / "a.nii", "2d"), tmp_path / "out", SETTINGS)
    assert name == "a_b"
    assert "No such file" in reason
