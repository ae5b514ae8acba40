"""Reading raw scans and slices: orientation, damage, size."""

import gzip
import itertools

import cv2
import nibabel as nib
import numpy as np
import pytest
from conftest import ellipsoid, save_analyze

from src.errors import ImageError
from src.preprocessing.io import read_slice, read_volume

CODES = [
    tuple(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in itertools.permutations(["RL", "AP", "SI"])
    for flips in itertools.product((0, 1), repeat=3)
]


@pytest.mark.parametrize("codes", CODES, ids="".join)
def test_every_axis_order_and_flip_reads_as_ras(tmp_path, codes):
    ras = np.arange(9 * 10 * 11, dtype=np.int16).reshape(9, 10, 11)
    sizes = (1.0, 2.0, 3.0)
    source = nib.Nifti1Image(ras, np.diag([*sizes, 1]))
    start = nib.io_orientation(source.affine)
    wanted = nib.orientations.axcodes2ornt(codes)
    image = source.as_reoriented(nib.orientations.ornt_transform(start, wanted))
    nib.save(image, tmp_path / "scan.nii.gz")

    volume = read_volume(tmp_path / "scan.nii.gz")

    np.testing.assert_array_equal(volume.data, ras)
    assert volume.voxel_size == sizes
    stored = np.asarray(image.dataobj)
    index = np.round(volume.to_stored @ [2, 7, 4, 1]).astype(int)[:3]
    assert stored[tuple(index)] == ras[2, 7, 4]


def test_declared_axes_win_over_the_analyze_header(tmp_path):
    data = ellipsoid()
    path = save_analyze(tmp_path / "a.img", data, (1.0, 1.5, 2.0))
    flipped = read_volume(path, "LAS")
    kept = read_volume(path, "RAS")
    np.testing.assert_array_equal(flipped.data, data[::-1])
    np.testing.assert_array_equal(kept.data, data)
    assert kept.voxel_size == (1.0, 1.5, 2.0)


def _nifti(path, data, affine=None):
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: _nifti(p, np.zeros((9, 10, 11), np.float32)), "empty"),
        (
            lambda p: _nifti(p, np.full((9, 10, 11), np.nan, np.float32)),
            "990 of 990 voxels are NaN",
        ),
        (lambda p: _nifti(p, np.ones((9, 10, 11, 5), np.float32)), "4D"),
        (lambda p: _nifti(p, np.ones((9, 10), np.float32)), "2D"),
        (lambda p: _nifti(p, np.ones((9, 10, 3), np.float32)), "too thin"),
        (lambda p: _nifti(p, np.ones((9, 10, 11), np.complex64)), "not one number per voxel"),
        (lambda p: p.write_bytes(b""), "cannot be read"),
        (lambda p: p.write_bytes(b"not an image at all" * 40), "cannot be read"),
    ],
)
def test_unusable_volumes_say_why(tmp_path, make, says):
    path = tmp_path / "scan.nii"
    make(path)
    with pytest.raises(ImageError, match=says):
        read_volume(path)


def test_truncated_files_are_rejected(tmp_path):
    data = np.random.default_rng(0).integers(0, 900, (19, 20, 21), dtype=np.int16)
    whole = _nifti(tmp_path / "whole.nii", data).read_bytes()
    (tmp_path / "cut.nii").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(whole)[:2000])
    for name in ("cut.nii", "cut.nii.gz"):
        with pytest.raises(ImageError, match="cannot be read"):
            read_volume(tmp_path / name)


def test_a_header_that_claims_too_much_takes_no_memory(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.int16)
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + b"\0" * 100)
    with pytest.raises(ImageError, match="30000 x 30000 x 30000"):
        read_volume(tmp_path / "huge.nii")


def test_analyze_without_its_header_file(tmp_path):
    path = save_analyze(tmp_path / "a.img", ellipsoid())
    path.with_suffix(".hdr").unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        read_volume(path)


def test_a_flat_affine_is_rejected(tmp_path):
    path = tmp_path / "flat.nii"
    image = nib.Nifti1Image(ellipsoid(), np.eye(4))
    image.header.set_sform(np.diag([1, 0, 1, 1]), code=1)
    image.header.set_qform(None, code=0)
    image.to_filename(path)
    raw = bytearray(path.read_bytes())
    raw[296:312] = b"\0" * 16  # srow_y
    path.write_bytes(raw)
    with pytest.raises(ImageError, match="drops an axis"):
        read_volume(path)


def test_slices_are_grey_and_checked(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (26, 22), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.repeat(pixels[..., None], 3, axis=2))
    np.testing.assert_array_equal(read_slice(tmp_path / "a.png"), pixels)
    whole = (tmp_path / "a.png").read_bytes()
    for content, says in [(b"", "cannot be read"), (b"x" * 50, "cannot be read")]:
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(ImageError, match=says):
            read_slice(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(whole[:60])
    with pytest.raises(ImageError, match=r"damaged|cannot be read"):
        read_slice(tmp_path / "c.png")
    cv2.imwrite(str(tmp_path / "d.png"), np.full((26, 22), 7, np.uint8))
    with pytest.raises(ImageError, match="empty"):
        read_slice(tmp_path / "d.png")
