"""NIfTI files: read back by nibabel, the same bytes twice, nothing half-written."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from src.errors import ConfigError, ImageError
from src.preprocessing.io import write_nifti

AFFINE = np.array([[0, -1.5, 0.2, 7], [2, 0, 0, -30], [0, 0.3, 3, 11], [0, 0, 0, 1.0]])


def volume():
    return np.random.default_rng(0).standard_normal((7, 9, 8))


def test_nibabel_reads_back_values_place_and_unit(tmp_path):
    path = write_nifti(tmp_path / "new" / "map.nii.gz", volume(), AFFINE, description="mean map")
    image = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume().astype(np.float32))
    assert image.get_data_dtype() == np.float32
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header["descrip"].item() == b"mean map"
    assert image.header["sform_code"] > 0
    np.testing.assert_allclose(image.header.get_zooms(), np.linalg.norm(AFFINE[:3, :3], axis=0))
    assert (np.isnan(image.header["scl_slope"])) or image.header["scl_slope"] in (0, 1)


def test_same_values_same_bytes_whatever_name_and_layout(tmp_path):
    first = write_nifti(tmp_path / "a.nii.gz", volume(), AFFINE).read_bytes()
    turned = np.asfortranarray(volume().astype(">f8"))
    assert write_nifti(tmp_path / "b.nii.gz", turned, AFFINE).read_bytes() == first
    assert first[4:8] == b"\0\0\0\0"  # no time
    assert not first[3] & 8  # no name
    assert write_nifti(tmp_path / "c.nii.gz", volume() + 1, AFFINE).read_bytes() != first


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16])
def test_any_number_is_written_as_float32(tmp_path, kind):
    values = (volume() > 0).astype(kind)
    image = nib.load(write_nifti(tmp_path / "a.nii.gz", values, AFFINE))
    np.testing.assert_array_equal(image.get_fdata(), values)


def test_a_long_or_odd_description_fits_the_header(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", volume(), AFFINE, description="é" + "x" * 200)
    assert nib.load(path).header["descrip"].item() == b"?" + b"x" * 78


@pytest.mark.parametrize(
    ("values", "affine", "says"),
    [
        (np.zeros((3, 4)), AFFINE, r"expected a volume \(X, Y, Z\), got \[3, 4\]"),
        (np.zeros((3, 4, 0)), AFFINE, "expected a volume"),
        (np.full((3, 4, 5), np.nan), AFFINE, "60 of 60 voxels are NaN"),
        (np.zeros((3, 4, 5)), np.eye(3), "no 4 x 4 matrix"),
        (np.zeros((3, 4, 5)), np.diag([1, 0, 1, 1]), "no 4 x 4 matrix"),
        (np.zeros((3, 4, 5)), np.full((4, 4), np.nan), "no 4 x 4 matrix"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(tmp_path, values, affine, says):
    path = write_nifti(tmp_path / "map.nii.gz", volume(), AFFINE)
    before = path.read_bytes()
    with pytest.raises(ImageError, match=says):
        write_nifti(path, values, affine)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    with pytest.raises(OSError, match="no space"):
        write_nifti(tmp_path / "map.nii.gz", volume(), AFFINE)
    assert list(tmp_path.iterdir()) == []


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"map.nii is no name(.|\n)*nii.gz"):
        write_nifti(tmp_path / "map.nii", volume(), AFFINE)


def test_steps_are_two_bytes_each_and_every_reader_multiplies_by_them(tmp_path):
    values = np.round(volume() * 100) / 128
    path = write_nifti(tmp_path / "map.nii.gz", values, AFFINE, step=1 / 128)
    image = nib.load(path)
    assert image.get_data_dtype() == np.int16
    assert (image.dataobj.slope, image.dataobj.inter) == (1 / 128, 0)
    np.testing.assert_array_equal(image.get_fdata(), values)
    write_nifti(path, values + 0.3 / 128, AFFINE, step=1 / 128)
    np.testing.assert_array_equal(nib.load(path).get_fdata(), values)  # to the nearest step
    with pytest.raises(ImageError, match=r"over 32,767 steps of 0\.001"):
        write_nifti(path, values + 33, AFFINE, step=0.001)
