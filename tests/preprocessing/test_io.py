"""Reading raw scans and slices: orientation, damage, size."""

import gzip
import itertools
import os
import tracemalloc

import cv2
import nibabel as nib
import numpy as np
import pytest
from conftest import ellipsoid, save_analyze

from src.errors import ImageError
from src.preprocessing import container
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


# What a header claims, and what its file holds


def _lying(tmp_path, name, edit, shape=(9, 10, 11)):
    path = tmp_path / name
    _nifti(path, np.ones(shape, np.int16))
    packed = name.endswith(".gz")
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    edit(content)
    path.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))
    return path


def _claims_512_of_float64(content):
    content[42:48] = np.array([512] * 3, "<i2").tobytes()
    content[70:74] = np.array([64, 64], "<i2").tobytes()
    del content[452:]


def _claims_notes_of_2_gb(content):
    content[108:112] = np.array([2.0e9], "<f4").tobytes()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (_claims_512_of_float64, r"claims 512 x 512 x 512 voxels, 1,073,741,824 bytes, and holds"),
        (_claims_notes_of_2_gb, r"claims 2,000,000,000 bytes or more before its voxels"),
    ],
)
def test_claims_are_held_against_the_file_before_memory_is_taken(tmp_path, name, edit, says):
    path = _lying(tmp_path, name, edit)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=rf"{name} cannot be read: it {says}"):
            read_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int32, np.uint16])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img"])
@pytest.mark.parametrize("scale", [None, (0.37, -5.0)])
def test_numbers_that_come_in_pieces_are_those_that_nibabel_reads(
    tmp_path, monkeypatch, kind, name, scale
):
    monkeypatch.setattr(container, "_PIECE", 77)  # several pieces, the last one shorter
    rng = np.random.default_rng(1)
    values = rng.integers(1, 60_000, (9, 10, 11)).astype(kind)
    image = (nib.Nifti1Pair if name.endswith("img") else nib.Nifti1Image)(values, np.eye(4))
    if scale:
        image.header.set_slope_inter(*scale)
    nib.save(image, tmp_path / name)
    wanted = np.asarray(nib.load(tmp_path / name).dataobj, dtype=np.float32)
    found = read_volume(tmp_path / name).stored
    np.testing.assert_array_equal(found.astype(np.float32), wanted)
    assert not scale or found.dtype == np.float32


def test_a_large_volume_of_float64_takes_its_float32_and_a_piece(tmp_path):
    values = np.random.default_rng(0).random((150, 160, 170))
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    tracemalloc.start()
    try:
        with container.open_scan(tmp_path / "a.nii") as image:
            container.read_floats(image, tmp_path / "a.nii")
        assert tracemalloc.get_traced_memory()[1] < 4 * values.size + 1.2 * 8 * container._PIECE
    finally:
        tracemalloc.stop()


def test_a_file_of_mgh_that_nibabel_cannot_follow_is_one_sentence(tmp_path):
    nib.save(nib.MGHImage(np.ones((9, 10, 11), np.float32), np.eye(4)), tmp_path / "a.mgh")
    content = bytearray((tmp_path / "a.mgh").read_bytes())
    content[20:24] = (77).to_bytes(4, "big")  # a type that is none
    (tmp_path / "a.mgh").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.mgh cannot be read: "):
        read_volume(tmp_path / "a.mgh")


def test_a_pipe_is_no_scan(tmp_path):
    os.mkfifo(tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match="is a pipe, not a file"):
        read_volume(tmp_path / "a.nii.gz")
