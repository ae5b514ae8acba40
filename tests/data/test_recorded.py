"""The images of one scan, by the record that preprocessing wrote."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from src.data.recorded import recorded_images, stacked
from src.errors import DataNotFoundError, ImageError
from src.preprocessing.space.grid import Frame, ScanRecord


def record(slices, grid):
    frame = Frame((9, 8, 7), np.eye(4), np.eye(4))
    return ScanRecord("P", frame, grid, dict.fromkeys(slices, np.eye(4)), slices)


def picture(path, level, shape=(12, 9)):
    cv2.imwrite(str(path), np.full(shape, level, np.uint8))


def test_slices_come_by_their_number_not_their_name(tmp_path):
    for name, level in (("a.png", 102), ("b.png", 51), ("c.png", 255)):
        picture(tmp_path / name, level)
    images, numbers = recorded_images(
        tmp_path, record({"a.png": 10, "b.png": 2, "c.png": 7}, (12, 9))
    )
    assert numbers == (2, 7, 10)
    assert images.shape == (3, 1, 12, 9)
    np.testing.assert_allclose(images.mean(dim=(1, 2, 3)), [0.2, 1, 0.4], atol=1e-6)


def test_a_volume_has_no_numbers(tmp_path):
    data = np.random.default_rng(0).random((6, 8, 7)).astype(np.float16)
    np.save(tmp_path / "a.npy", data)
    images, numbers = recorded_images(tmp_path, record({"a.npy": None}, (6, 8, 7)))
    assert numbers == ()
    np.testing.assert_array_equal(images[0, 0].numpy(), data.astype(np.float32))


def test_what_is_gone_damaged_or_of_another_size_is_told(tmp_path):
    picture(tmp_path / "a.png", 9)
    picture(tmp_path / "b.png", 9, (12, 10))
    with pytest.raises(ImageError, match="differ in size"):
        stacked([tmp_path / "a.png", tmp_path / "b.png"])
    with pytest.raises(DataNotFoundError):
        stacked([tmp_path / "none.png"])
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="damaged"):
        stacked([tmp_path / "a.png", tmp_path / "b.png"])
