"""A picture is the same grey levels for everyone who reads it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from src.auditing.files import read_pictures
from src.cohorts.near_duplicates import _thumbnail
from src.cohorts.pictures import decode_picture
from src.data.image_file import decode, read_content
from src.errors import ImageError
from src.preprocessing.io import read_slice

SHAPE = (208, 176)
READERS = {
    "preprocessing": read_slice,
    "training": lambda path: decode(path, read_content(path)),
    "audit": lambda path: read_pictures(path)[0],
}


def smooth():
    """Return (H, W) grey levels without symmetry."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 255, (9, 7), np.uint8), SHAPE[::-1])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("turn", [1, 2, 3, 6, 8])
def test_every_reader_turns_a_picture_as_its_tag_says(tmp_path, reader, turn):
    image = Image.fromarray(smooth())
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(tmp_path / "a.jpg", exif=exif, quality=100)
    shown = {1: smooth(), 2: smooth()[:, ::-1], 3: smooth()[::-1, ::-1]} | {
        6: np.rot90(smooth(), -1), 8: np.rot90(smooth())
    }  # fmt: skip
    found = READERS[reader](tmp_path / "a.jpg").astype(int)
    assert found.shape == shown[turn].shape
    assert np.abs(found - shown[turn]).max() <= 3  # what a JPEG loses


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("levels", [4, 257])
def test_no_reader_guesses_which_of_65536_levels_is_white(tmp_path, reader, levels):
    cv2.imwrite(str(tmp_path / "a.png"), smooth().astype(np.uint16) * levels)
    with pytest.raises(ImageError, match="16 bits per pixel"):
        READERS[reader](tmp_path / "a.png")
    assert not _thumbnail(tmp_path / "a.png").any()


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "L"])
def test_grey_stays_grey_in_every_mode(tmp_path, kind):
    grey = Image.fromarray(smooth())
    image = grey.convert("RGB").convert(kind) if kind != "P" else grey.convert("P")
    image.save(tmp_path / "a.png")
    for read in READERS.values():
        assert np.abs(read(tmp_path / "a.png").astype(int) - smooth()).max() <= 1


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_picture_says_so(content):
    with pytest.raises(ImageError, match=r"a\.png .*is damaged"):
        decode_picture(content, "a.png")


def test_a_quarter_is_the_picture_made_small(tmp_path):
    content = cv2.imencode(".jpg", smooth(), [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    small = decode_picture(content, "a.jpg", quarter=True)
    assert small.shape == (52, 44)
    wanted = cv2.resize(smooth(), (44, 52), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - wanted).max() <= 4


def test_a_piece_that_claims_more_than_the_file_holds_is_told_before_it_is_taken():
    whole = cv2.imencode(".png", smooth().astype(np.uint8))[1].tobytes()
    place = whole.index(b"IDAT") - 4
    lying = whole[:place] + (1 << 30).to_bytes(4) + whole[place + 4 :]
    with pytest.raises(ImageError, match=r"a\.png is damaged: a piece of it claims 1,073,741,824"):
        decode_picture(lying, "a.png")
    assert decode_picture(whole, "a.png").shape == smooth().shape
