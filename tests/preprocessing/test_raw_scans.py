"""Raw scans to the standard: reading, registration, quality, and many at a time."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from damaged_heads import brain, usual_head
from scipy import ndimage
from scipy.spatial.transform import Rotation

from src.cohorts.file_kinds import is_dicom
from src.cohorts.folders import list_scans_in
from src.config import ScanConfig
from src.errors import DataNotFoundError, ImageError, ManifestError
from src.preprocessing.raw.batch import standardise_all
from src.preprocessing.raw.brain import find_brain, is_stripped
from src.preprocessing.raw.convert import RawScan, read_any
from src.preprocessing.raw.register import register
from src.preprocessing.raw.standard import CUT_SHAPE, read_standard, standardise

sitk = pytest.importorskip("SimpleITK")
AFFINE = np.array([[-1.5, 0, 0, 30], [0, 2, 0, -17], [0, 0, 2.5, 9], [0, 0, 0, 1.0]])


def moved(angles, shift):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def write(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("angles", [(0, 0, 0), (18, -12, 20), (0, 0, 180)])
def test_a_brain_that_was_moved_is_found_where_it_is(angles):
    data, affine = brain()
    motion = moved(angles, (20, -15, 8))
    found = register(data, motion @ affine)
    places = np.argwhere(data > 0)[::4000] @ affine[:3, :3].T + affine[:3, 3]
    there = places @ found.to_native[:3, :3].T + found.to_native[:3, 3]
    truth = places @ motion[:3, :3].T + motion[:3, 3]
    assert np.linalg.norm(there - truth, axis=1).max() < 1.5  # mm
    assert found.correlation > 0.95
    assert found.turned == (angles[2] == 180)


def test_nothing_cannot_be_registered():
    with pytest.raises(ImageError, match="no brain"):
        register(np.zeros((20, 22, 24), np.float32), np.eye(4))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mgz", "a.img"])
def test_containers_give_the_same_voxels(tmp_path, name):
    data = np.random.default_rng(1).integers(0, 500, (11, 13, 17)).astype(np.float32)
    kind = {"mgz": nib.MGHImage, "img": nib.Spm99AnalyzeImage}.get(name[2:], nib.Nifti1Image)
    affine = AFFINE if name != "a.img" else np.diag([-1.5, 2, 2.5, 1])
    nib.save(kind(data, affine), tmp_path / name)
    scan = read_any(tmp_path / name)
    np.testing.assert_allclose(scan.data, data[::-1], rtol=1e-6)  # X ran to the left
    assert nib.aff2axcodes(scan.affine) == ("R", "A", "S")
    np.testing.assert_allclose(scan.voxel_size, (1.5, 2, 2.5), rtol=1e-5)


def write_series(folder, data, uid="1.2.3"):
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(data.shape[2]):
        image = sitk.GetImageFromArray(data[:, :, number : number + 1].T.astype(np.int16))
        image.SetSpacing([1.5, 2.0, 2.5])
        tags = {
            "0008|0060": "MR",
            "0020|000e": uid,
            "0020|000d": "1.2",
            "0008|0018": f"{uid}.{number}",
            "0020|0032": f"0\\0\\{2.5 * number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(number),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}_{number:02d}.dcm"))
        writer.Execute(image)
    return folder


def test_a_dicom_series_is_one_scan(tmp_path):
    data = np.random.default_rng(2).integers(0, 500, (12, 14, 9))
    folder = write_series(tmp_path / "study" / "t1", data)
    assert is_dicom(next(folder.iterdir()))
    assert list_scans_in(tmp_path) == {"t1": folder}
    scan = read_any(folder)
    np.testing.assert_array_equal(scan.data, data[::-1, ::-1])  # DICOM runs to the left and back
    np.testing.assert_allclose(scan.voxel_size, (1.5, 2, 2.5))
    write_series(folder, data, uid="1.2.4")
    with pytest.raises(ImageError, match="2 DICOM series"):
        read_any(folder)


def test_what_is_no_scan_is_refused(tmp_path):
    with pytest.raises(DataNotFoundError):
        read_any(tmp_path / "none.nii.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no DICOM series"):
        read_any(tmp_path / "empty")
    (tmp_path / "bad.nii.gz").write_bytes(b"no image at all")
    with pytest.raises(ImageError, match="cannot be read"):
        read_any(tmp_path / "bad.nii.gz")
    with pytest.raises(DataNotFoundError):
        list_scans_in(tmp_path / "none")


def test_a_sheared_header_is_honoured(tmp_path):
    data = np.zeros((20, 24, 16), np.float32)
    data[10, 12, 8] = 1000
    affine = np.diag([1.0, 1, 1, 1])
    affine[0, 1] = 0.3
    scan = read_any(write(tmp_path / "a.nii.gz", data, affine))
    axes = scan.affine[:3, :3] / scan.voxel_size
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    weight = np.indices(scan.data.shape) * scan.data
    centre = weight.sum(axis=(1, 2, 3)) / scan.data.sum()
    np.testing.assert_allclose(
        scan.affine[:3, :3] @ centre + scan.affine[:3, 3], affine[:3, :3] @ (10, 12, 8), atol=0.6
    )


def test_scans_of_one_name_have_two(tmp_path):
    data = np.ones((9, 10, 11), np.float32)
    for path in ("a/t1.nii.gz", "b/t1.nii.gz", "c.mgz", ".hidden/x.nii"):
        write(tmp_path / path, data) if path != "c.mgz" else nib.save(
            nib.MGHImage(data, AFFINE), tmp_path / path
        )
    assert list(list_scans_in(tmp_path)) == ["a_t1", "b_t1", "c"]


@pytest.mark.slow
def test_an_empty_head_has_no_brain():
    pytest.importorskip("deepbet")
    with pytest.raises(ImageError, match="no brain"):
        find_brain(np.zeros((30, 34, 28), np.float32))


@pytest.mark.slow
def test_the_skull_of_a_turned_and_sheared_head_is_taken_off(tmp_path):
    pytest.importorskip("deepbet")
    _, affine = brain()
    head, truth = usual_head()
    start = affine.copy()
    start[:3, 3] -= 28
    motion = moved((12, -8, 15), (20, -15, 8))
    motion[0, 1] += 0.1  # a shear
    grid = np.diag([1.6, 2.1, 2.6, 1.0])
    shape = tuple(int(1.1 * n * 2 / v) for n, v in zip(head.shape, np.diag(grid), strict=False))
    middle = motion @ start @ np.array([*(n / 2 for n in head.shape), 1])
    grid[:3, 3] = middle[:3] - np.diag(grid)[:3] * shape / 2
    step = np.linalg.inv(motion @ start) @ grid
    resampled = ndimage.affine_transform(head, step[:3, :3], step[:3, 3], shape, order=1)
    path = write(tmp_path / "head.nii.gz", resampled, grid)
    made = standardise(path, tmp_path / "standard.nii.gz", ScanConfig())
    found = nib.load(made.path)
    back = np.linalg.inv(motion @ start) @ made.to_native @ found.affine
    mask = ndimage.affine_transform(
        truth.astype(np.float32), back[:3, :3], back[:3, 3], found.shape, order=1
    )
    ours, theirs = np.asarray(found.dataobj) > 0, mask > 0.5
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.93
    assert made.quality.values["correlation"] > 0.6


def test_a_stripped_scan_is_told_from_a_head():
    data, affine = brain()
    assert is_stripped(RawScan(data, affine))
    head = np.random.default_rng(0).normal(100, 5, data.shape).astype(np.float32)
    assert not is_stripped(RawScan(head, affine))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return a folder of a good scan, a hostile name, an inverted brain and a broken file."""
    root = tmp_path_factory.mktemp("many")
    data, affine = brain()
    write(root / "raw/good.nii.gz", data, moved((5, 4, -6), (10, 0, 0)) @ affine)
    write(
        root / "raw/inverted.nii.gz", np.where(data > 0, 900 - data, 0).astype(np.float32), affine
    )
    (root / "raw/<script>alert(1)<!--.nii.gz").write_bytes(b"broken")
    return root


@pytest.mark.slow
def test_a_folder_of_scans_with_its_table_and_page(many):
    sources = list_scans_in(many / "raw")
    out = many / "standard"
    sources = {"good": sources["good"], "inverted": sources["inverted"], "bad": many / "raw" / (
        "<script>alert(1)<!--.nii.gz")}  # fmt: skip
    settings = ScanConfig(n4=False)
    made, reasons = standardise_all(sources, out, settings, workers=1, dask=None)
    assert set(made) == {"good"}
    assert set(reasons) == {"inverted", "bad"}
    assert "not a T1" in reasons["inverted"]
    image = nib.load(made["good"].path)
    assert image.shape == CUT_SHAPE
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.header.get_zooms(), 1)
    table = pd.read_csv(out / "quality.csv").set_index("name")
    assert table.loc["good", "used"]
    assert not table.loc["bad", "used"]
    page = (out / "montage.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<img") == 2
    # Nothing is done twice, and what failed is not tried again.
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    again, _ = standardise_all(sources, out, settings, workers=1, dask=None)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")} == before
    assert again["good"].quality == made["good"].quality
    let_in, left = standardise_all(
        sources, out, ScanConfig(n4=False, let_in="inverted"), workers=1, dask=None
    )
    assert set(let_in) == {"good", "inverted"}
    assert set(left) == {"bad"}


@pytest.mark.slow
def test_steps_can_be_switched_off(many):
    settings = ScanConfig(n4=False, brain="none", register=False, crop=False)
    made = standardise(many / "raw/good.nii.gz", many / "plain/a.nii.gz", settings)
    assert not made.registered
    assert made.steps["n4"] is False
    np.testing.assert_array_equal(made.to_native, np.eye(4))
    data = np.asarray(nib.load(made.path).dataobj)
    volume = float((data > 0).sum()) / 1000
    assert volume == pytest.approx(made.quality.values["brain_volume_ml"], rel=0.05)
    cut = standardise(
        many / "raw/good.nii.gz", many / "cut/a.nii.gz", ScanConfig(n4=False, register=False)
    )
    assert nib.load(cut.path).shape == CUT_SHAPE
    (many / "plain/a.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ManifestError, match="damaged"):
        read_standard(many / "plain/a.nii.gz")
