"""Voxel size, axes and side come from the affine; what contradicts it is told or refused."""

from __future__ import annotations

import gzip
import json
import struct

import nibabel as nib
import numpy as np
import pytest
from conftest import save_analyze

from src.config import PreprocessConfig
from src.errors import ImageError
from src.preprocessing.io import read_volume
from src.preprocessing.raw.convert import read_any
from src.preprocessing.scan import Scan, make_scan, read_record
from src.preprocessing.space.grid import read_named_record

SHAPE, EDGES = (9, 11, 13), (1.5, 2.0, 2.5)


def head():
    """Return (X, Y, Z) numbers that are 0 on the border and nowhere else."""
    data = np.zeros(SHAPE, np.float32)
    data[1:-1, 1:-1, 1:-1] = np.random.default_rng(0).uniform(50, 900, (7, 9, 11))
    return data


def nifti(path, data=None, affine=None, patches=()):
    """Write a plain NIfTI file and change bytes of its header, which nibabel would put right."""
    data = head() if data is None else data
    nib.save(nib.Nifti1Image(data, np.diag([*EDGES, 1.0]) if affine is None else affine), path)
    raw = bytearray(path.read_bytes())
    for offset, kind, *values in patches:
        struct.pack_into(kind, raw, offset, *values)
    path.write_bytes(raw)
    return path


PIXDIM, UNITS, CODES, SFORM = (80, "<fff"), (123, "<B"), (252, "<hh"), (280, "<12f")


def test_pixdim_does_not_stretch_a_scan(tmp_path):
    volume = read_volume(nifti(tmp_path / "a.nii", patches=[(*PIXDIM, 1, 1, 1)]))
    assert volume.voxel_size == EDGES
    assert len(volume.notes) == 1
    assert "pixdim says 1 x 1 x 1 mm, the affine 1.5 x 2 x 2.5 mm" in volume.notes[0]
    assert volume.side_known


def test_a_plain_scan_has_no_note(tmp_path):
    volume = read_volume(nifti(tmp_path / "a.nii"))
    assert (volume.notes, volume.side_known) == ((), True)


def test_two_forms_that_contradict_are_both_named(tmp_path):
    turned = np.array([[0, -2, 0, 90], [1.5, 0, 0, -80], [0, 0, 2.5, -70]])
    path = nifti(tmp_path / "a.nii", patches=[(*SFORM, *turned.ravel()), (*CODES, 1, 1)])
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, np.swapaxes(head(), 0, 1)[::-1])
    assert volume.voxel_size == (2.0, 1.5, 2.5)
    (note,) = volume.notes
    assert "the sform runs to ALS" in note
    assert "the qform to RAS" in note
    assert "90 degrees apart" in note
    assert volume.side_known


def test_two_forms_that_mirror_each_other_leave_the_side_unknown(tmp_path):
    mirrored = np.diag([-1.5, 2, 2.5, 1])[:3]
    path = nifti(tmp_path / "a.nii", patches=[(*SFORM, *mirrored.ravel()), (*CODES, 1, 1)])
    volume = read_volume(path)
    assert not volume.side_known
    assert any("exchange left and right" in note for note in volume.notes)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 4)])
def test_one_form_is_enough(tmp_path, codes):
    volume = read_volume(nifti(tmp_path / "a.nii", patches=[(*CODES, *codes)]))
    assert (volume.notes, volume.side_known) == ((), True)


def test_without_codes_nobody_knows_the_side(tmp_path):
    path = nifti(tmp_path / "a.nii", patches=[(*CODES, 0, 0)])
    volume = read_volume(path)
    assert volume.voxel_size == EDGES
    assert not volume.side_known
    assert volume.notes[0].startswith("no orientation in the header")
    raw = read_any(path)
    assert (raw.notes, raw.side_known) == (volume.notes, False)
    declared = read_volume(path, "LAS")  # the cohort knows it
    assert (declared.notes, declared.side_known) == ((), True)


def test_analyze_knows_no_side(tmp_path):
    path = save_analyze(tmp_path / "a.img", head().astype(np.int16), EDGES)
    assert not read_volume(path).side_known
    assert read_volume(path, "LAS").side_known


@pytest.mark.parametrize(("code", "factor"), [(1, 1e-3), (3, 1e3)])
def test_metres_and_micrometres_become_millimetres(tmp_path, code, factor):
    affine = np.diag([*(edge * factor for edge in EDGES), 1.0])
    affine[:3, 3] = [7 * factor, 0, 0]
    volume = read_volume(nifti(tmp_path / "a.nii", affine=affine, patches=[(*UNITS, code)]))
    np.testing.assert_allclose(volume.voxel_size, EDGES, rtol=1e-6)
    np.testing.assert_allclose(volume.stored_affine[:3, 3], [7, 0, 0], rtol=1e-6)
    assert "metres" in volume.notes[0]


def test_a_unit_that_cannot_be_meant_is_refused(tmp_path):
    path = nifti(tmp_path / "a.nii", patches=[(*UNITS, 1)])
    with pytest.raises(ImageError, match=r"lengths are metres .*1.5e\+03"):
        read_volume(path)


def test_the_side_stands_in_the_record_of_the_scan(tmp_path):
    data = np.pad(head(), 5)
    for name, codes in (("known", (1, 1)), ("unknown", (0, 0))):
        path = nifti(tmp_path / f"{name}.nii", data, patches=[(*CODES, *codes)])
        for told in (True, False):  # by the cohort, or by the raw scan before
            scan = Scan(name, (path,), (), ("test/MildDemented",), None, "3d", side_known=told)
            assert make_scan(tmp_path / "out", scan, PreprocessConfig(volume_size=32)) is None
            record = read_named_record(tmp_path / "out", name)
            assert record.side_known is (told and name == "known")
            assert len(record.notes) == (name == "unknown")
    old = tmp_path / "out/.scans/known.json"
    content = read_record(tmp_path / "out", "known")
    del content["side_known"], content["notes"]
    old.write_text(json.dumps(content), encoding="utf-8")
    assert read_named_record(tmp_path / "out", "known").side_known is None


def gzipped(path):
    return gzip.compress(path.read_bytes())


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mgz", "mgh", "img", "img.gz"])
@pytest.mark.parametrize("packed", [True, False])
def test_what_a_file_holds_decides_not_its_ending(tmp_path, ending, packed):
    kind = ending.removesuffix(".gz")
    plain = {"mgz": "mgh"}.get(kind, kind)
    image = {"nii": nib.Nifti1Image, "mgh": nib.MGHImage, "img": nib.AnalyzeImage}[plain]
    nib.save(image(head(), np.diag([*EDGES, 1.0])), tmp_path / f"plain.{plain}")
    for part in ("img", "hdr") if plain == "img" else (plain,):
        path = tmp_path / f"plain.{part}"
        content = gzipped(path) if packed else path.read_bytes()
        (tmp_path / f"a.{ending.replace('img', part)}").write_bytes(content)
    scan = read_any(tmp_path / f"a.{ending}")
    expected = head()[::-1] if plain == "img" else head()  # Analyze runs to the left
    np.testing.assert_array_equal(scan.data, expected)
    np.testing.assert_allclose(scan.voxel_size, EDGES, rtol=1e-6)


def test_voxels_and_header_may_be_packed_apart(tmp_path):
    save_analyze(tmp_path / "a.img", head().astype(np.int16), EDGES)
    (tmp_path / "a.img.gz").write_bytes(gzipped(tmp_path / "a.img"))
    (tmp_path / "a.img").unlink()
    np.testing.assert_array_equal(
        read_volume(tmp_path / "a.img.gz", "RAS").data, head().astype(int)
    )


def masked(value):
    data = head()
    data[data == 0] = value
    return data


def test_nan_outside_is_zero_and_inside_is_refused(tmp_path):
    volume = read_volume(nifti(tmp_path / "a.nii", masked(np.nan)))
    np.testing.assert_array_equal(volume.data, head())
    assert "NaN outside of the brain" in volume.notes[0]
    half = head()
    half[:4][half[:4] == 0] = np.nan
    np.testing.assert_array_equal(read_volume(nifti(tmp_path / "b.nii", half)).data, head())
    for wrong in (np.nan, np.inf):
        inside = masked(np.nan)
        inside[4, 5, 6] = wrong
        with pytest.raises(ImageError, match="1 of 1287 voxels are NaN or infinite inside"):
            read_volume(nifti(tmp_path / "c.nii", inside))
    with pytest.raises(ImageError, match="NaN or infinite"):
        read_volume(nifti(tmp_path / "d.nii", masked(np.inf)))


def test_a_z_scored_brain_is_refused_and_a_z_scored_head_is_raised(tmp_path):
    data, inside = head(), head() > 0
    brain = np.where(inside, (data - data[inside].mean()) / data[inside].std(), 0)
    with pytest.raises(ImageError, match=r"of what is not zero lies under zero"):
        read_volume(nifti(tmp_path / "a.nii", brain.astype(np.float32)))
    whole = ((data - data.mean()) / data.std()).astype(np.float32)
    volume = read_volume(nifti(tmp_path / "b.nii", whole))
    np.testing.assert_allclose(volume.data * data.std(), data, atol=1e-3)
    assert "air under zero" in volume.notes[0]


def test_ringing_and_noise_under_zero_are_left_alone(tmp_path):
    data = head() - np.random.default_rng(1).normal(0, 12, SHAPE).astype(np.float32)
    volume = read_volume(nifti(tmp_path / "a.nii", data))
    np.testing.assert_array_equal(volume.data, data)
    assert volume.notes == ()
