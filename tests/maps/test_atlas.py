"""Coarse regions against well-known places; atlas files of any grid, and those to refuse."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from src.errors import DataNotFoundError, ImageError, ManifestError
from src.maps.regions.atlas import coarse_atlas, read_atlas, read_labels
from src.maps.regions.coarse_atlas import REGIONS
from src.preprocessing.space.template import EDGE, template

#: Places that textbooks name (MNI mm, on the right), well inside their region.
PLACES = [
    ("hippocampi", (28, -20, -16)),
    ("hippocampi", (26, -12, -20)),
    ("amygdalae", (22, -4, -18)),
    ("temporal horns", (34, -8, -24)),
    ("lateral ventricles", (6, 14, 6)),
    ("lateral ventricles", (14, -26, 20)),
    ("lateral ventricles", (26, -46, 6)),
    ("deep grey matter", (10, -18, 8)),  # thalamus
    ("deep grey matter", (12, 14, 6)),  # head of the caudate
    ("deep grey matter", (26, 4, 0)),  # putamen
    ("deep grey matter", (20, -4, -2)),  # pallidum
    ("insula", (38, 4, 0)),
    ("frontal cortex", (34, -20, 62)),  # precentral gyrus, hand
    ("frontal cortex", (42, 40, 8)),
    ("frontal cortex", (4, 50, -14)),
    ("frontal cortex", (4, 30, 26)),  # anterior cingulate
    ("parietal cortex", (44, -28, 54)),  # postcentral gyrus
    ("parietal cortex", (4, -64, 46)),  # precuneus
    ("parietal cortex", (50, -56, 36)),  # angular gyrus
    ("temporal cortex", (60, -16, 0)),  # superior temporal gyrus
    ("temporal cortex", (54, -4, -36)),
    ("temporal cortex", (22, -24, -24)),  # parahippocampal gyrus
    ("occipital cortex", (12, -84, 6)),
    ("occipital cortex", (10, -66, 0)),  # lingual gyrus
    ("cerebellum", (26, -60, -36)),
    ("brain stem", (0, -26, -32)),  # pons
    ("white matter", (28, -24, 32)),
    ("white matter", (4, 20, 18)),  # corpus callosum
    ("other CSF", (0, -18, -2)),  # third ventricle
]
#: Region -> mL that a healthy adult brain of the template's size (1.9 L) has at least and at most.
VOLUMES = {
    "lateral ventricles": (15, 35),
    "temporal horns": (0.5, 3),
    "hippocampi": (6, 12),
    "amygdalae": (2, 5),
    "deep grey matter": (35, 60),
    "insula": (13, 25),
    "frontal cortex": (200, 400),
    "parietal cortex": (120, 250),
    "temporal cortex": (120, 250),
    "occipital cortex": (60, 160),
    "cerebellum": (140, 230),
    "brain stem": (20, 45),
    "white matter": (450, 700),
    "other CSF": (60, 180),
}


def regions_near(mni: tuple[int, int, int], reach: int) -> np.ndarray:
    """Return (R,) how many voxels of each region lie within `reach` voxels."""
    x, y, z = np.rint((np.linalg.inv(template().affine) @ [*mni, 1])[:3]).astype(int)
    ends = (slice(place - reach, place + reach + 1) for place in (x, y, z))
    return np.bincount(coarse_atlas().labels[tuple(ends)].ravel(), minlength=len(REGIONS) + 1)[1:]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "place"), PLACES, ids=[f"{n} {p}" for n, p in PLACES])
def test_known_places_on_both_sides(name, place):
    for side in (1, -1):
        # Gyri hold white matter: the lobe is that of the cortex around.
        near = regions_near((side * place[0], *place[1:]), 3 if "cortex" in name else 0)
        if "cortex" in name:
            near *= ["cortex" in region for region in REGIONS]
        assert REGIONS[near.argmax()] == name


@pytest.mark.slow
def test_every_region_has_the_volume_it_should():
    labels = coarse_atlas().labels
    volumes = np.bincount(labels.ravel())[1:] * EDGE**3 / 1000
    found = dict(zip(REGIONS, volumes, strict=True))
    assert found.keys() == VOLUMES.keys()
    assert [n for n, v in found.items() if not VOLUMES[n][0] < v < VOLUMES[n][1]] == []


def test_the_brain_and_nothing_else_has_a_region():
    atlas = coarse_atlas()
    np.testing.assert_array_equal(atlas.labels > 0, template().brain)
    np.testing.assert_array_equal(atlas.labels, atlas.labels[::-1])
    assert atlas.names == REGIONS
    assert not atlas.labels.flags.writeable


def test_structures_hang_together():
    """Each side is one piece, but for crumbs."""
    for name in ("hippocampi", "lateral ventricles", "cerebellum", "amygdalae"):
        half = (coarse_atlas().labels == REGIONS.index(name) + 1)[50:]
        pieces, _ = ndimage.label(half, np.ones((3, 3, 3)))
        assert np.bincount(pieces.ravel())[1:].max() > 0.95 * half.sum(), name


def save(path: Path, numbers: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(numbers, affine), path)
    return path


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Return three blocks in the brain, on a grid of 3 x 2 x 4 mm that runs from right to left."""
    affine = np.diag([-3.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = (60, -80, -20)
    numbers = np.zeros((41, 60, 18), np.int16)
    numbers[8:16, 10:20, 5:10] = 17  # x 15..36
    numbers[24:32, 10:20, 5:10] = 53  # x -33..-12
    numbers[16:24, 30:40, 5:10] = 9000
    return numbers, affine


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


NAMES = "17 Left\n53 Right side\n9000 Middle\n"


def test_atlas_of_another_grid_lands_where_its_affine_says(tmp_path):
    numbers, affine = blocks()
    atlas = read_atlas(
        save(tmp_path / "a.nii.gz", numbers, affine), text(tmp_path / "a.txt", NAMES)
    )
    assert atlas.names == ("Left", "Right side", "Middle")
    assert atlas.labels.shape == template().t1.shape
    assert atlas.labels.max() == 3
    for i, number in enumerate((17, 53, 9000)):
        index = np.array(ndimage.center_of_mass(numbers == number))
        there = np.array(ndimage.center_of_mass(atlas.labels == i + 1))
        expected = affine[:3, :3] @ index + affine[:3, 3]
        found = template().affine[:3, :3] @ there + template().affine[:3, 3]
        np.testing.assert_allclose(found, expected, atol=1)
        volume = (numbers == number).sum() * 24
        assert (atlas.labels == i + 1).sum() * 8 == pytest.approx(volume, rel=0.2)


def test_numbers_with_one_name_are_one_region(tmp_path):
    numbers, affine = blocks()
    labels = text(
        tmp_path / "a.csv", "17,side\n53,side\n9000,middle\n400,not in the image\n0,air\n"
    )
    atlas = read_atlas(save(tmp_path / "a.nii", numbers, affine), labels)
    assert atlas.names == ("side", "middle")
    both = np.isin(numbers, (17, 53)).sum() * 24
    assert (atlas.labels == 1).sum() * 8 == pytest.approx(both, rel=0.2)


def test_whole_numbers_stored_as_floats_are_numbers(tmp_path):
    numbers, affine = blocks()
    image = save(tmp_path / "a.nii", numbers.astype(np.float32)[..., None], affine)
    assert read_atlas(image, text(tmp_path / "a.txt", NAMES)).labels.max() == 3


@pytest.mark.parametrize(
    "content",
    [
        "3 Left hippocampus\n14 Right one\n",
        "3,Left hippocampus\n14,Right one\n",
        "3\tLeft hippocampus\n14\tRight one\n",
        "# a comment\n\n  3   Left hippocampus   \n14; Right one",
        "index\tname\tcolour\n3\tLeft hippocampus\t#fff\n14\tRight one\t#000\n",
        "name,index\nLeft hippocampus,3\nRight one,14\n",
        'Label,Region\r\n3,"Left hippocampus"\r\n14,"Right one"\r\n',
        "3 Left hippocampus 220 216 20 0\n14 Right one 1 2 3 0\n",
        "\ufeff3 Left hippocampus\n14 Right one\n",
    ],
    ids=["blank", "comma", "tab", "comment", "tsv", "swapped", "quoted", "colours", "bom"],
)
def test_labels_in_many_forms(tmp_path, content):
    path = text(tmp_path / "labels.txt", content)
    assert read_labels(path) == {3: "Left hippocampus", 14: "Right one"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "names no region"),
        ("3 one\nno number\n", "no number and name in 'no number'"),
        ("3 one\n3 other\n", "names 3 twice"),
        ("colour,size\n3,one\n", "no columns"),
        ("index,name\nthree,one\n", "no number and name"),
        ("index,name\n3\n", "no number and name"),
        ("-3 one\n", "no columns"),
    ],
)
def test_malformed_labels_are_refused(tmp_path, content, words):
    with pytest.raises(ManifestError, match=words):
        read_labels(text(tmp_path / "labels.txt", content))


def test_labels_that_are_no_text_or_too_large_are_refused(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(b"3 \xff\xfe\n")
    with pytest.raises(ManifestError, match="no text"):
        read_labels(path)
    path.write_bytes(b"3 one\n" * 200_000)
    with pytest.raises(ManifestError, match="larger than 1 MB"):
        read_labels(path)


def test_long_and_unprintable_names_are_tamed(tmp_path):
    named = read_labels(text(tmp_path / "labels.txt", f"1 {'x' * 500}\n2 a\x07b\n"))
    assert named == {1: "x" * 80, 2: "a b"}


def test_number_without_a_name_is_refused(tmp_path):
    image = save(tmp_path / "a.nii", *blocks())
    with pytest.raises(ManifestError, match="names no region 53, 9000"):
        read_atlas(image, text(tmp_path / "a.txt", "17 one\n"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n, a: (n * 0.5, a), "fractions"),
        (lambda n, a: (-n, a), "no region"),
        (lambda n, a: (n * 0, a), "empty"),
        (lambda n, a: (np.stack([n, n], axis=-1), a), "not one volume"),
        (lambda n, a: (np.where(n, np.float32(np.nan), 0), a), "no region"),
        (lambda n, a: (n, a + 500 * np.eye(4)[:, [3, 0, 1, 2]].T), "outside the template's brain"),
        (lambda n, a: (n[:, :, 0], a), "not one volume"),
        (lambda n, a: (np.zeros(n.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]), a), "holds"),
    ],
    ids=["fractions", "negative", "empty", "4d", "nan", "elsewhere", "2d", "colours"],
)
def test_image_that_is_no_atlas_is_refused(tmp_path, change, words):
    numbers, affine = change(*blocks())
    with pytest.raises(ImageError, match=words):
        read_atlas(save(tmp_path / "a.nii", numbers, affine), text(tmp_path / "a.txt", NAMES))


def test_size_is_checked_before_memory_is_taken(tmp_path):
    numbers, affine = blocks()
    path = save(tmp_path / "a.nii", numbers, affine)
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30_000, 30_000, 30_000], "<i2").tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(ImageError, match="claims 30000 x 30000 x 30000 voxels"):
        read_atlas(path, text(tmp_path / "a.txt", NAMES))


def test_affine_without_an_inverse_is_refused(tmp_path):
    numbers, _ = blocks()
    image = nib.Nifti1Image(numbers, np.eye(4))
    image.set_sform(np.diag([1.0, 1, 0, 1]), code=1)
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(ImageError, match="affine"):
        read_atlas(tmp_path / "a.nii", text(tmp_path / "a.txt", NAMES))


def test_damaged_and_missing_files_are_refused(tmp_path):
    labels = text(tmp_path / "a.txt", NAMES)
    with pytest.raises(DataNotFoundError):
        read_atlas(tmp_path / "a.nii", labels)
    with pytest.raises(ImageError, match="cannot be read"):
        read_atlas(text(tmp_path / "b.nii", "no image"), labels)
    image = save(tmp_path / "a.nii", *blocks())
    with pytest.raises(DataNotFoundError):
        read_atlas(image, tmp_path / "none.txt")
