"""An image written as the cohort writes its own, and how its pictures were coded."""

from __future__ import annotations

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.cohorts.pictures import jpeg_quality
from src.manifest import Manifest
from src.preprocessing.io import read_slice, read_volume
from src.preprocessing.laid_files import write_as_pictures, write_as_volume
from src.preprocessing.processed import _jpeg_quality
from src.preprocessing.space.grid import Frame

RNG = np.random.default_rng(0)
FRAME = Frame(
    (9, 13, 11),
    np.array([[-2.0, 0, 0, 8], [0, 0, 1.5, -5], [0, 3, 0, 1], [0, 0, 0, 1]]),
    np.eye(4),
)


def picture(shape=(40, 30)):
    return cv2.GaussianBlur(RNG.integers(0, 255, shape).astype(np.uint8), (0, 0), 1.5)


def test_a_volume_keeps_its_place_and_its_proportions(tmp_path):
    laid = RNG.random(FRAME.shape).astype(np.float32) * 0.3
    laid[:3] = 0
    (path,), slices = write_as_volume(tmp_path, "P_1", laid, FRAME)
    assert (path.name, slices) == ("P_1.nii.gz", ())
    np.testing.assert_allclose(nib.load(path).affine, FRAME.affine)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.stored, laid / laid.max() * 4000, atol=1)
    assert not volume.stored[:3].any()


@pytest.mark.parametrize("quality", [None, 60, 92])
def test_pictures_are_coded_as_asked_one_slice_each(tmp_path, quality):
    laid = np.stack([picture() * scale for scale in (0.4, 3.0, 1.0)], axis=2)  # H W slices
    paths, numbers = write_as_pictures(tmp_path, "P_1", laid, quality)
    assert numbers == (1, 2, 3)
    assert [path.name for path in paths] == [
        f"slice_00{number}.{'png' if quality is None else 'jpg'}" for number in numbers
    ]
    for path, plane in zip(paths, np.moveaxis(laid, 2, 0), strict=True):
        pixels = read_slice(path).astype(float)
        assert pixels.shape == (40, 30)
        assert pixels.max() > 240  # the brightest voxel of each is white
        near = plane / plane.max() * 255
        assert np.abs(pixels - near).mean() < (1.01 if quality is None else 4)
        found = jpeg_quality(path.read_bytes())
        assert found == quality


def test_an_empty_slice_is_a_black_picture(tmp_path):
    (path,), _ = write_as_pictures(tmp_path, "P_1", np.zeros((12, 10, 1)), None)
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (12, 10)
    assert not pixels.any()


@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
@pytest.mark.parametrize("writer", ["cv2", "pillow"])
def test_the_quality_of_a_jpeg_is_read_from_its_table(tmp_path, quality, writer):
    path, image = tmp_path / "a.jpg", picture()
    if writer == "cv2":
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    else:
        Image.fromarray(image).save(path, quality=quality)
    assert jpeg_quality(path.read_bytes()) == quality


def raw_manifest(root, names):
    rows = [
        {
            "cohort": "c", "subject": f"P{number}", "session": "MR1", "slice": 1, "path": name,
            "label": "NonDemented", "split": "train",
        }
        for number, name in enumerate(names)
    ]  # fmt: skip
    for name in names:
        if not name.endswith(".nii.gz"):
            Image.fromarray(picture()).save(root / name, quality=75)
    return Manifest(pd.DataFrame(rows), root)


@pytest.mark.parametrize(
    ("names", "quality"),
    [
        (["a.jpg", "b.JPEG", "c.jpg"], 75),
        (["a.png", "b.png"], None),
        (["a.jpg", "b.png"], None),
        (["a.nii.gz"], None),
    ],
)
def test_a_data_set_remembers_how_its_pictures_were_coded(tmp_path, names, quality):
    assert _jpeg_quality(raw_manifest(tmp_path, names)) == quality


def test_some_pictures_of_a_large_set_tell_of_all(tmp_path):
    names = [f"{number}.jpg" for number in range(45)]
    manifest = raw_manifest(tmp_path, names)
    for name in names[::3][1::2]:  # a few were coded again
        Image.fromarray(picture()).save(tmp_path / name, quality=40)
    assert _jpeg_quality(manifest) == 75
