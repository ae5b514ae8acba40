"""Where processed images lie: planted blobs come back, whatever the file's axes and voxels."""

import itertools
import json

import cv2
import nibabel as nib
import nibabel.processing
import numpy as np
import pytest
from conftest import ellipsoid, save_analyze

from src.config import PreprocessConfig
from src.errors import DataNotFoundError, ImageError, ManifestError
from src.preprocessing import scan as scan_module
from src.preprocessing.io import write_nifti
from src.preprocessing.scan import Scan, is_done, make_scan
from src.preprocessing.space.grid import (
    Frame,
    PlacedVolume,
    place_slices,
    place_volume,
    read_scan_record,
    to_scan_grid,
)

SHAPE, VOXEL = (24, 34, 20), (1.0, 1.4, 1.9)  # RAS+
BLOB = (8, 22, 12)  # RAS+ index
SETTINGS = {"num_slices": 9, "image_size": 40, "volume_size": 32}
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
CODES = [
    tuple(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in itertools.permutations(["RL", "AP", "SI"])
    for flips in itertools.product((0, 1), repeat=3)
]


def brain():
    """Return a dim ellipsoid with one bright blob, a Gaussian of 3 mm, int16."""
    grid = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    squares = sum(((a - c) * v / 3) ** 2 for a, c, v in zip(grid, BLOB, VOXEL, strict=True))
    inside = ellipsoid(SHAPE) > 0
    return np.where(inside, 300 + 1700 * np.exp(-squares / 2), 0).astype(np.int16)


def turned(codes):
    """Return the brain as an oblique NIfTI image of these axes."""
    (cz, sz), (cx, sx) = [(np.cos(a), np.sin(a)) for a in (0.15, 0.1)]
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    affine = nib.affines.from_matvec(about_z @ about_x @ np.diag(VOXEL), (-31, 17, 5))
    wanted = nib.orientations.axcodes2ornt(codes)
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), wanted)
    return nib.Nifti1Image(brain(), affine).as_reoriented(change)


def processed(out, source, plane, axes=None):
    """Run the real preprocessing; return the record and what it makes, placed."""
    dim = "2d" if plane else "3d"
    scan = Scan("P01_MR1", (source,), (), ("test/MildDemented",), axes, dim)
    assert make_scan(out, scan, PreprocessConfig(slice_axis=plane or "axial", **SETTINGS)) is None
    record = read_scan_record(out, "P01", "MR1")
    return record, placed_files(out, record)


def placed_files(out, record):
    if len(record.grid) == 3:
        (path,) = record.matrices
        return place_volume(np.load(out / path), record)
    pictures = [cv2.imread(str(out / path), cv2.IMREAD_UNCHANGED) for path in record.slices]
    return place_slices(np.array(pictures) / 255, list(record.slices.values()), record)


def centroid(data, weights=lambda data: np.clip(data - 0.5, 0, None)):
    """Return the index of the blob's centre of mass, with a 1 for matrices."""
    mass = weights(data)
    index = np.indices(data.shape)
    return np.array([*((index * mass).sum((1, 2, 3)) / mass.sum()), 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("plane", [None, *PLANES])
@pytest.mark.parametrize("codes", CODES, ids="".join)
def test_a_blob_comes_back_from_every_axis_order_and_flip(tmp_path, codes, plane):
    image = turned(codes)
    nib.save(image, tmp_path / "scan.nii")
    stored = np.asarray(image.dataobj)
    truth = np.array([*np.unravel_index(stored.argmax(), stored.shape), 1])

    record, placed = processed(tmp_path / "out", tmp_path / "scan.nii", plane)

    assert record.frame.shape == stored.shape
    found = centroid(placed.data)
    np.testing.assert_allclose(placed.to_stored @ found, truth, atol=0.5)
    # The same in mm of the header, as a viewer shows both, and in RAS+ mm without obliqueness.
    np.testing.assert_allclose(placed.affine @ found, image.affine @ truth, atol=0.9)
    np.testing.assert_allclose((placed.to_ras @ found)[:3], np.multiply(BLOB, VOXEL), atol=0.9)
    np.testing.assert_allclose(record.frame.affine, image.affine, atol=1e-6)
    np.testing.assert_allclose(placed.to_ras[:3, :3], np.diag(placed.voxel_size), atol=1e-5)
    # And on the stored grid.
    back = to_scan_grid(placed)
    assert back.shape == stored.shape
    np.testing.assert_allclose(centroid(back), truth, atol=0.5)
    assert np.corrcoef(back[back > 0], stored[back > 0])[0, 1] > 0.93


@pytest.mark.parametrize(("plane", "cut"), PLANES.items())
def test_slices_are_numbered_in_ras_order_and_stacked_at_their_place(tmp_path, plane, cut):
    nib.save(turned("LPI"), tmp_path / "scan.nii")
    record, placed = processed(tmp_path, tmp_path / "scan.nii", plane)
    numbers = list(record.slices.values())
    brightest = max(numbers, key=lambda n: _picture(tmp_path, record, n).clip(0.5).sum())
    assert abs(brightest - BLOB[cut]) <= 1.5  # every second or third slice was cut
    assert placed.data.shape[cut] == max(numbers) - min(numbers) + 1
    assert placed.to_ras[cut, 3] == pytest.approx(min(numbers) * VOXEL[cut])
    assert placed.voxel_size[cut] == pytest.approx(VOXEL[cut])


def _picture(out, record, number):
    (path,) = [path for path, of_file in record.slices.items() if of_file == number]
    return cv2.imread(str(out / path), cv2.IMREAD_UNCHANGED) / 255


@pytest.mark.parametrize("plane", [None, *PLANES])
def test_2d_and_3d_of_one_scan_lie_on_each_other(tmp_path, plane):
    nib.save(turned("PIR"), tmp_path / "scan.nii")
    _, cube = processed(tmp_path / "3d", tmp_path / "scan.nii", None)
    _, other = processed(tmp_path / "2d", tmp_path / "scan.nii", plane)
    both = to_scan_grid(cube), to_scan_grid(other)
    seen = (both[0] > 0) & (both[1] > 0)
    assert np.corrcoef(both[0][seen], both[1][seen])[0, 1] > 0.95


@pytest.mark.parametrize("axes", ["LAS", "RAS", "LPI", "SRP"])
@pytest.mark.parametrize("plane", [None, "axial", "sagittal"])
def test_declared_axes_place_in_ras_and_the_header_in_the_viewer(tmp_path, axes, plane):
    change = nib.orientations.axcodes2ornt(axes)  # RAS+ -> the declared axes
    change = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), change)
    stored = nib.apply_orientation(brain(), change)
    sizes = np.array(VOXEL)[np.argsort(change[:, 0])]
    path = save_analyze(tmp_path / "scan.img", np.ascontiguousarray(stored), sizes)
    header = nib.load(path).affine  # says LAS, whatever lies in the file

    _, placed = processed(tmp_path, path, plane, axes)

    truth = np.array([*np.unravel_index(stored.argmax(), stored.shape), 1])
    found = centroid(placed.data)
    np.testing.assert_allclose((placed.to_ras @ found)[:3], np.multiply(BLOB, VOXEL), atol=0.9)
    written = nib.load(write_nifti(tmp_path / "map.nii.gz", placed.data, placed.affine))
    shown = written.affine @ centroid(np.asarray(written.dataobj))
    np.testing.assert_allclose(shown, header @ truth, atol=0.9)
    assert nib.aff2axcodes(placed.to_ras) == ("R", "A", "S")
    assert (nib.aff2axcodes(placed.affine) == ("R", "A", "S")) == (axes == "LAS")


# 8-bit slices: row 0 is the back of the head, columns run to the right.
PICTURE, NUMBERS = (32, 24), tuple(range(27, 35))
HOLE = (20, 9, 5)  # row, column, slice - first slice


def slab(tmp_path, dim, sizes=None):
    """Write bright 8-bit slices with one dark blob, preprocess them, return what came out."""
    grid = np.meshgrid(*[np.arange(n) for n in (*PICTURE, len(NUMBERS))], indexing="ij")
    squares = sum(((a - c) / s) ** 2 for a, c, s in zip(grid, HOLE, (2.5, 2, 1), strict=True))
    stack = (220 - 150 * np.exp(-squares / 2)).astype(np.uint8)
    for number, picture in zip(NUMBERS, np.moveaxis(stack, 2, 0), strict=True):
        size = (sizes or {}).get(number, PICTURE)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture[: size[0], : size[1]])
    sources = tuple(tmp_path / f"{number}.png" for number in NUMBERS)
    folders = tuple(f"{('train', 'test')[n > 31]}/MildDemented" for n in NUMBERS)
    scan = Scan("P01_MR1", sources, NUMBERS, folders, None, dim)
    settings = PreprocessConfig(image_size=48, volume_size=64)
    assert make_scan(tmp_path / dim, scan, settings) is None
    return stack


def darkness(data):
    """Return how dark a voxel is where there is an image: padding is 0, and darkens its border."""
    inner = np.pad(np.ones(np.subtract(data.shape, 2)), 1)
    return np.where(data > 0.1, np.clip(0.65 - data, 0, None), 0) * inner


@pytest.mark.parametrize("dim", ["2d", "3d"])
def test_8_bit_slices_come_back_to_one_stored_index_from_2d_and_3d(tmp_path, dim):
    stack = slab(tmp_path, dim)
    assert np.unravel_index(stack.argmin(), stack.shape) == HOLE
    record = read_scan_record(tmp_path / dim, "P01", "MR1")
    placed = placed_files(tmp_path / dim, record)

    assert record.frame.shape == (*PICTURE, len(NUMBERS))
    found = centroid(placed.data, darkness)
    np.testing.assert_allclose((placed.to_stored @ found)[:3], HOLE, atol=0.3)
    np.testing.assert_allclose((placed.to_ras @ found)[:3], (9, 20, 5), atol=0.3)
    np.testing.assert_array_equal(record.frame.affine, record.frame.to_ras)
    back = to_scan_grid(placed)
    assert np.unravel_index(darkness(back).argmax(), back.shape) == HOLE
    inner = (slice(2, -2), slice(2, -2), slice(1, -1))
    assert np.corrcoef(back[inner].ravel(), stack[inner].ravel())[0, 1] > 0.97


def test_8_bit_slices_of_several_sizes_are_kept_but_make_no_volume(tmp_path):
    slab(tmp_path, "2d", sizes={30: (31, 24)})
    assert len(list((tmp_path / "2d").rglob("*.png"))) == len(NUMBERS)
    with pytest.raises(ManifestError, match="slices of P01_MR1 differ in size"):
        read_scan_record(tmp_path / "2d", "P01", "MR1")


# A hand-made scan of slices: coronal, so that rows run against Z and columns along X.
FRAME = Frame((5, 9, 7), np.diag([-2.0, 2.0, 3.0, 1.0]), np.diag([2.0, 2.0, 3.0, 1.0]))
MATRIX = [[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 6], [0, 0, 0, 1]]


def coronal_record(folder, **changes):
    files = [
        {"path": f"{n}.png", "slice": n, "fingerprint": "", "to_stored": MATRIX} for n in (2, 3, 6)
    ]
    stored = {"shape": FRAME.shape, "affine": FRAME.affine.tolist()}
    stored["to_ras"] = FRAME.to_ras.tolist()
    content = {"key": "", "grid": [7, 5], "stored": stored, "files": files, **changes}
    (folder / ".scans").mkdir(exist_ok=True)
    (folder / ".scans" / "P01_MR1.json").write_text(json.dumps(content), encoding="utf-8")
    return read_scan_record(folder, "P01", "MR1")


def test_a_stack_is_linear_between_its_slices_whatever_their_order(tmp_path):
    record = coronal_record(tmp_path)
    pictures = np.random.default_rng(0).random((3, 7, 5))
    placed = place_slices(pictures[[2, 0, 1]], [6, 2, 3], record, "coronal")
    assert placed.data.shape == (5, 5, 7)  # X, slices 2 to 6, Z
    assert placed.data.dtype == np.float32
    first, second, last = (picture[::-1].T for picture in pictures)
    expected = [first, second, (2 * second + last) / 3, (second + 2 * last) / 3, last]
    np.testing.assert_allclose(placed.data, np.stack(expected, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(placed.to_stored @ [4, 1, 6, 1], [4, 3, 6, 1])
    np.testing.assert_array_equal(placed.affine @ [4, 1, 6, 1], [-8, 6, 18, 1])


def test_a_single_slice_is_one_plane_of_the_scan(tmp_path):
    record = coronal_record(tmp_path)
    placed = place_slices(np.ones((1, 7, 5)), [3], record)
    assert placed.data.shape == (5, 1, 7)
    assert placed.voxel_size == (2, 2, 3)
    back = to_scan_grid(placed)
    assert back[:, 3].min() == back[:, 3].max() == 1
    assert back.sum() == 5 * 7


@pytest.mark.parametrize("askew", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_the_way_back_agrees_with_nibabel_and_ends_at_the_field_of_view(order, askew):
    rng = np.random.default_rng(1)
    turn = np.eye(3)
    if askew:
        turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    matrix = turn @ np.diag([0.7, -0.9, 1.3])[list(order)]
    # The middle of the one grid lies a little beside that of the other.
    steps = nib.affines.from_matvec(matrix, np.array([8.3, 5.9, 6.6]) - matrix @ [5, 4, 3.5])
    frame = Frame((17, 13, 15), nib.affines.from_matvec(np.diag([2, 1, 1.5]), (3, 4, 5)), np.eye(4))
    placed = PlacedVolume(rng.random((11, 9, 8)), steps, frame)
    image = nib.Nifti1Image(placed.data, placed.affine)
    oracle = nibabel.processing.resample_from_to(
        image, (frame.shape, frame.affine), order=1, cval=-1
    ).get_fdata()
    back = to_scan_grid(placed)
    inner = oracle > -0.5  # nibabel stops at the outermost centres
    assert inner.sum() > 300
    np.testing.assert_allclose(back[inner], oracle[inner], atol=1e-5)

    index = np.stack(np.meshgrid(*map(np.arange, frame.shape), indexing="ij"), axis=-1)
    at = nib.affines.apply_affine(np.linalg.inv(steps), index)
    seen = ((at > -0.5) & (at < np.array(placed.data.shape) - 0.5)).all(axis=-1)
    assert seen.sum() > inner.sum()
    np.testing.assert_array_equal(back > 0, seen)
    nearest = to_scan_grid(placed, order=0)
    cells = tuple(np.moveaxis(np.round(at[seen]).astype(int), -1, 0))
    np.testing.assert_array_equal(nearest[seen], placed.data[cells])


def test_other_values_at_the_same_place():
    placed = PlacedVolume(np.zeros((3, 4, 5)), np.diag([2, 2, 2, 1]), FRAME)
    other = placed.replaced(np.full((3, 4, 5), 7))
    assert (other.data == 7).all()
    assert other.data.dtype == np.float32
    np.testing.assert_array_equal(other.affine, placed.affine)
    assert other.frame is FRAME
    assert placed.voxel_size == (4, 4, 6)
    swapped = PlacedVolume(np.zeros((3, 4, 5)), [[0, 2, 0, 0], [1, 0, 0, 0], *np.eye(4)[2:]], FRAME)
    assert swapped.voxel_size == (2, 4, 3)
    with pytest.raises(ImageError, match=r"expected \[3, 4, 5\] voxels, got \[4, 3, 5\]"):
        placed.replaced(np.zeros((4, 3, 5)))


@pytest.mark.parametrize(
    ("shape", "slices", "plane", "says"),
    [
        ((2, 7, 5), [2, 2], None, "with the numbers"),
        ((2, 7, 5), [2], None, "with the numbers"),
        ((0, 7, 5), [], None, "with the numbers"),
        ((1, 7, 5), [4], None, "slice 4 of P01_MR1 was not processed"),
        ((1, 5, 7), [2], None, r"P01_MR1: expected \[7, 5\] voxels, got \[5, 7\]"),
        ((7, 5), [2], None, "P01_MR1: expected"),
        ((1, 7, 5), [2], "axial", "slices of P01_MR1 are not axial"),
    ],
)
def test_slices_that_do_not_fit_the_record(tmp_path, shape, slices, plane, says):
    with pytest.raises(ImageError, match=says):
        place_slices(np.ones(shape), slices, coronal_record(tmp_path), plane)


def test_slices_far_apart_take_no_memory(tmp_path):
    far = [
        {"path": f"{n}", "slice": n, "fingerprint": "", "to_stored": MATRIX}
        for n in (2, 10_000_000)
    ]
    record = coronal_record(tmp_path, files=far)
    with pytest.raises(ImageError, match=r"slices 2 to 10000000 make more than 512\^3"):
        place_slices(np.ones((2, 7, 5)), [2, 10_000_000], record)


def test_slices_that_were_cut_differently_make_no_stack(tmp_path):
    other = [[0, 2, 0, 0], *MATRIX[1:]]
    files = [
        {"path": str(n), "slice": n, "fingerprint": "", "to_stored": m}
        for n, m in ((2, MATRIX), (3, other))
    ]
    with pytest.raises(ImageError, match="not cut alike"):
        place_slices(np.ones((2, 7, 5)), [2, 3], coronal_record(tmp_path, files=files))


def test_a_volume_that_does_not_fit_the_record(tmp_path):
    with pytest.raises(ImageError, match="P01_MR1: expected"):
        place_volume(np.ones((7, 5)), coronal_record(tmp_path))
    nib.save(turned("RAS"), tmp_path / "scan.nii")
    record, _ = processed(tmp_path / "out", tmp_path / "scan.nii", None)
    with pytest.raises(ImageError, match=r"expected \[32, 32, 32\] voxels, got \[16, 16, 16\]"):
        place_volume(np.ones((16, 16, 16)), record)
    with pytest.raises(ImageError, match="P01_MR1: expected"):
        place_slices(np.ones((1, 32, 32)), [2], record)


def test_records_that_are_not_there_say_what_to_do(tmp_path):
    coronal_record(tmp_path)
    (tmp_path / "P01_MR1.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataNotFoundError, match="--mode preprocess again"):
        read_scan_record(tmp_path, "P02", "MR1")
    with pytest.raises(DataNotFoundError):
        read_scan_record(tmp_path, "../P01", "MR1")  # never a file outside of its folder


def test_a_record_of_an_earlier_version_is_refused(tmp_path):
    coronal_record(tmp_path)
    path = tmp_path / ".scans" / "P01_MR1.json"
    old = {
        key: value
        for key, value in json.loads(path.read_text(encoding="utf-8")).items()
        if key != "stored"
    }
    path.write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(ManifestError, match=r"does not say where its scan lies(.|\n)*preprocess"):
        read_scan_record(tmp_path, "P01", "MR1")


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": None},
        {"stored": {"shape": [5, 9, 7]}},
        {"stored": {"shape": [5, 9], "affine": MATRIX, "to_ras": MATRIX}},
        {"stored": {"shape": [5, 0, 7], "affine": MATRIX, "to_ras": MATRIX}},
        {"stored": {"shape": [10**6] * 3, "affine": MATRIX, "to_ras": MATRIX}},
        {"stored": {"shape": [5, 9, float("inf")], "affine": MATRIX, "to_ras": MATRIX}},
        {"stored": {"shape": [5, 9, 7], "affine": MATRIX[:3], "to_ras": MATRIX}},
        {"stored": {"shape": [5, 9, 7], "affine": MATRIX, "to_ras": [[0] * 4] * 3 + MATRIX[3:]}},
        {"files": [{"path": "a", "slice": 2}]},
        {"files": [{"path": "a", "slice": 2, "to_stored": [[float("nan")] * 4, *MATRIX[1:]]}]},
        {"files": [{"path": "a", "slice": 2, "to_stored": [*MATRIX[:3], [0, 0, 0, 2]]}]},
    ],
)
def test_damaged_records_are_refused(tmp_path, changes):
    with pytest.raises(ManifestError, match=r"P01_MR1.json is damaged(.|\n)*preprocess"):
        coronal_record(tmp_path, **changes)


def test_placed_values_are_a_volume():
    with pytest.raises(ImageError, match="expected a volume"):
        PlacedVolume(np.zeros((3, 4)), np.eye(4), FRAME)
    with pytest.raises(ManifestError, match="to_stored"):
        PlacedVolume(np.zeros((3, 4, 5)), np.diag([1, 0, 1, 1]), FRAME)


def test_a_scan_of_an_earlier_version_is_made_again(tmp_path, monkeypatch):
    nib.save(turned("RAS"), tmp_path / "scan.nii")
    processed(tmp_path / "out", tmp_path / "scan.nii", None)
    scan = Scan("P01_MR1", (tmp_path / "scan.nii",), (), ("test/MildDemented",), None, "3d")
    settings = PreprocessConfig(**SETTINGS)
    assert is_done(tmp_path / "out", scan, settings)
    monkeypatch.setattr(scan_module, "VERSION", scan_module.VERSION - 1)
    assert not is_done(tmp_path / "out", scan, settings)


def test_a_scan_whose_header_places_it_nowhere_is_rejected(tmp_path):
    image = nib.Nifti1Image(brain(), np.eye(4))
    nib.save(image, tmp_path / "scan.nii")
    raw = bytearray((tmp_path / "scan.nii").read_bytes())
    raw[296:312] = b"\0" * 16  # srow_y
    (tmp_path / "scan.nii").write_bytes(raw)
    scan = Scan("P01_MR1", (tmp_path / "scan.nii",), (), ("test/MildDemented",), "LAS", "3d")
    reason = make_scan(tmp_path / "out", scan, PreprocessConfig(**SETTINGS))
    assert reason is not None
    assert "affine that drops an axis" in reason
    assert not (tmp_path / "out" / ".scans" / "P01_MR1.json").exists()
