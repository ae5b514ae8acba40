"""A DICOM series is read where its headers say that it lies, or refused."""

from __future__ import annotations

import os
import struct
import sys

import numpy as np
import pytest

from src.cohorts.file_kinds import is_dicom
from src.cohorts.folders import list_scans_in
from src.errors import DataNotFoundError, ImageError, MriError
from src.inference.inputs import find_inputs
from src.preprocessing.raw.convert import read_any

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("SimpleITK")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

MR, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
SHAPE, SPACING = (10, 12, 14), (1.25, 1.5, 2.0)  # columns, rows, slices; mm
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(shear=0.0):
    """Return (column, row, slice) -> LPS mm of an oblique scan."""
    angle = np.radians(20)
    along = np.array([np.cos(angle), np.sin(angle), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    step = np.cross(along, down) * SPACING[2] + shear * along
    affine = np.eye(4)
    affine[:3] = np.column_stack([along * SPACING[0], down * SPACING[1], step, [-7, 11, 5]])
    return affine


def header(data, lps, number, **tags):
    """Return one slice of `data` (column, row, slice) as a data set."""
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = MR, f"1.2.3.{number + 1}"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.Modality = "1.2", "1.2.3", "MR"
    one.SeriesDescription, one.ImageType = "MPRAGE", ["ORIGINAL", "PRIMARY", "M"]
    one.EchoTime, one.InstanceNumber = "3.0", number
    one.Rows, one.Columns = data.shape[1], data.shape[0]
    one.PixelSpacing = [float(np.linalg.norm(lps[:3, 1])), float(np.linalg.norm(lps[:3, 0]))]
    ways = np.concatenate([lps[:3, 0] / one.PixelSpacing[1], lps[:3, 1] / one.PixelSpacing[0]])
    one.ImageOrientationPatient = [f"{way:.10f}" for way in ways]
    at = lps @ [0, 0, number, 1]
    one.ImagePositionPatient = [f"{edge:.8f}" for edge in at[:3]]
    pixels(one, data[:, :, number].T)
    for tag, value in tags.items():
        if value is None:
            delattr(one, tag)
        else:
            setattr(one, tag, value)
    return one


def pixels(one, values):
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    one.PixelData = np.ascontiguousarray(values, dtype="<u2").tobytes()


def save(one, path, syntax=ExplicitVRLittleEndian):
    path.parent.mkdir(parents=True, exist_ok=True)
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    one.file_meta.TransferSyntaxUID = syntax
    one.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def data():
    return np.random.default_rng(3).integers(1, 900, SHAPE)


def series(folder, data, lps=None, leave=(), change=None, start="a", **tags):
    """Write a series whose file names say nothing of its order."""
    lps = turned() if lps is None else lps
    for number in range(data.shape[2]):
        if number not in leave:
            own = {**tags, **(change or {}).get(number, {})}
            save(header(data, lps, number, **own), folder / f"{start}{(number * 5) % 14:02d}")
    return folder


def assert_is(scan, data, lps):
    """Every voxel of `data` stands in `scan` at its own place in mm."""
    there = np.linalg.inv(scan.affine) @ TO_RAS @ lps
    index = np.indices(data.shape).reshape(3, -1)
    at = there[:3, :3] @ index + there[:3, 3:]
    np.testing.assert_allclose(at, at.round(), atol=1e-4)
    x, y, z = at.round().astype(int)
    np.testing.assert_array_equal(scan.data[x, y, z].reshape(data.shape), data)


def test_an_oblique_series_lies_where_its_headers_say(tmp_path, data):
    scan = read_any(series(tmp_path / "p", data))
    assert scan.notes == ()
    assert_is(scan, data, turned())


def test_slices_that_run_the_other_way_are_the_same_scan(tmp_path, data):
    lps = turned()
    back = lps @ [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, SHAPE[2] - 1], [0, 0, 0, 1]]
    series(tmp_path / "p", data[:, :, ::-1], back)
    assert_is(read_any(tmp_path / "p"), data, lps)


def test_a_tilted_gantry_is_honoured(tmp_path):
    data = np.zeros(SHAPE)
    data[5, 6, 10] = 900
    lps = turned(shear=0.6)
    scan = read_any(series(tmp_path / "p", data, lps))
    places = np.indices(scan.data.shape).reshape(3, -1)
    centre = (places * scan.data.ravel()).sum(axis=1) / scan.data.sum()
    truth = (TO_RAS @ lps @ [5, 6, 10, 1])[:3]
    np.testing.assert_allclose(scan.affine[:3, :3] @ centre + scan.affine[:3, 3], truth, atol=0.6)


def test_a_gap_is_named(tmp_path, data):
    with pytest.raises(ImageError, match=r"8 mm between slices 6 and 7 .*; the others are 2 mm"):
        read_any(series(tmp_path / "p", data, leave=(6, 7, 8)))


def test_a_copy_counts_once(tmp_path, data):
    series(tmp_path / "p", data)
    for name in ("a00", "a05"):
        copy = (tmp_path / "p" / name).read_bytes()
        (tmp_path / "p" / f"{name} (1)").write_bytes(copy)
    scan = read_any(tmp_path / "p")
    assert_is(scan, data, turned())
    assert len(scan.notes) == 1
    assert "2 files" in scan.notes[0]
    assert "(1)" in scan.notes[0]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"EchoTime": "7.5"}, r"echo time \(EchoTime\): 3.0 in 14, such as a00; 7.5 in 14"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, r"image type \(ImageType\)"),
        ({"TemporalPositionIdentifier": 2}, r"temporal position \(TemporalPositionIdentifier\)"),
        ({}, "no tag"),
    ],
)
def test_two_images_of_every_place_are_refused_by_what_differs(tmp_path, data, tags, said):
    series(tmp_path / "p", data)
    twice = {n: {"SOPInstanceUID": f"9.{n + 1}"} for n in range(SHAPE[2])}
    series(tmp_path / "p", data // 2, start="b", change=twice, **tags)
    with pytest.raises(ImageError, match=f"14 places have more than one slice.*{said}"):
        read_any(tmp_path / "p")


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "1 slice of 14.*lies across"),
        ({"PixelSpacing": [1.5, 1.3]}, "another size of a pixel"),
        ({"PixelSpacing": None}, r"no size of a pixel \(PixelSpacing\)"),
        ({"ImagePositionPatient": None}, "no position"),
        ({"ImageOrientationPatient": None}, "no direction"),
        ({"ImagePositionPatient": [0, 0, 0]}, "mm"),
        ({"SamplesPerPixel": 3}, "colour"),
    ],
)
def test_one_odd_slice_is_refused(tmp_path, data, tags, said):
    with pytest.raises(ImageError, match=said):
        read_any(series(tmp_path / "p", data, change={7: tags}))


def test_one_slice_of_another_size_is_refused(tmp_path, data):
    series(tmp_path / "p", data, leave=(13,))
    save(header(data[:, :-1], turned(), 13), tmp_path / "p" / "z")
    with pytest.raises(ImageError, match="1 slice of 14, such as z, has another rows and columns"):
        read_any(tmp_path / "p")


def test_a_series_apart_is_left_out_by_name(tmp_path, data):
    series(tmp_path / "p", data)
    apart = {n: {"SOPInstanceUID": f"8.{n + 1}"} for n in range(SHAPE[2])}
    kind = {"SeriesInstanceUID": "8", "SeriesDescription": "survey"}
    series(tmp_path / "p", data // 3, start="b", change=apart, **kind)
    scan = read_any(tmp_path / "p")
    assert_is(scan, data, turned())
    assert "'MPRAGE'" in scan.notes[0]
    assert "'survey' (14 images" in scan.notes[0]


@pytest.mark.parametrize(
    ("description", "said"),
    [("FLAIR", None), ("T1 post", "2 DICOM series.*'MPRAGE'.*'T1 post'")],
)
def test_the_one_t1_of_several_series_is_read(tmp_path, data, description, said):
    series(tmp_path / "p", data)
    apart = {n: {"SOPInstanceUID": f"8.{n + 1}"} for n in range(SHAPE[2])}
    kind = {"SeriesInstanceUID": "8", "SeriesDescription": description}
    series(tmp_path / "p", data // 3, start="b", change=apart, **kind)
    if said is None:
        assert_is(read_any(tmp_path / "p"), data, turned())
    else:
        with pytest.raises(ImageError, match=said):
            read_any(tmp_path / "p")


def test_a_derived_series_alone_is_a_scan(tmp_path, data):
    series(tmp_path / "p", data, ImageType=["DERIVED", "PRIMARY", "MPR"])
    assert_is(read_any(tmp_path / "p"), data, turned())


def scaled(slope):
    scale = Dataset()
    scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = str(slope), "7", "US"
    return scale


def multi_frame(path, data, lps, order=None, slope=None, **frame_tags):
    """Write all slices as one enhanced file, its frames in any order."""
    order = list(range(data.shape[2])) if order is None else order
    one = header(data, lps, 0)
    for tag in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "EchoTime"):
        spare = getattr(one, tag)
        delattr(one, tag)
        frame_tags.setdefault(tag, spare)
    one.SOPClassUID, one.NumberOfFrames = ENHANCED, len(order)
    pixels(one, np.stack([data[:, :, number].T for number in order]))
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = frame_tags["PixelSpacing"], "2"
    plane.ImageOrientationPatient = frame_tags["ImageOrientationPatient"]
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    one.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for number in order:
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [f"{x:.8f}" for x in (lps @ [0, 0, number, 1])[:3]]
        frame.PlanePositionSequence = [place]
        if slope is not None:
            frame.PixelValueTransformationSequence = [scaled(slope(number))]
        frames.append(frame)
    one.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return save(one, path)


@pytest.mark.parametrize("alone", [True, False])
def test_a_multi_frame_file_is_the_whole_series(tmp_path, data, alone):
    order = [(5 * n) % 14 for n in range(14)]
    path = multi_frame(tmp_path / "p" / "e.dcm", data, turned(), order)
    assert_is(read_any(path if alone else path.parent), data, turned())
    assert list_scans_in(tmp_path) == {"p": path.parent}
    (one,) = find_inputs(path)
    assert (one.name, one.kind, one.source) == ("e", "scan", path)


def test_frames_of_one_scale_are_scaled(tmp_path, data):
    path = multi_frame(tmp_path / "e.dcm", data, turned(), slope=lambda _: 2)
    assert_is(read_any(path), 2 * data + 7, turned())
    path = multi_frame(tmp_path / "f.dcm", data, turned(), slope=lambda number: 2 + number)
    with pytest.raises(ImageError, match="scale of their own"):
        read_any(path)


def test_slices_of_own_scales_are_scaled(tmp_path, data):
    each = {n: {"RescaleSlope": str(1 + n / 8), "RescaleIntercept": "3"} for n in range(SHAPE[2])}
    scale = 1 + np.arange(SHAPE[2]) / 8
    assert_is(read_any(series(tmp_path / "p", data, change=each)), data * scale + 3, turned())


def test_a_gap_between_frames_is_named(tmp_path, data):
    order = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]
    path = multi_frame(tmp_path / "e.dcm", data, turned(), order)
    with pytest.raises(ImageError, match=r"6 mm between slices 6 and 7 .frame 6, frame 7."):
        read_any(path)


def test_one_slice_is_not_answered(tmp_path, data):
    folder = series(tmp_path / "p", data)
    with pytest.raises(ImageError, match="one DICOM file of a series"):
        find_inputs(folder / "a00")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("cut", ["preamble", "meta"])
def test_files_without_a_preamble_are_read(tmp_path, data, syntax, cut):
    for number in range(SHAPE[2]):
        path = save(header(data, turned(), number), tmp_path / "p" / f"a{number:02d}", syntax)
        content = path.read_bytes()[132:]
        length = 12 + int.from_bytes(content[8:12], "little")
        path.write_bytes(content if cut == "preamble" else content[length:])
    assert list_scans_in(tmp_path) == {"p": tmp_path / "p"}
    assert_is(read_any(tmp_path / "p"), data, turned())


def test_a_series_is_found_whatever_lies_beside_it(tmp_path, data):
    series(tmp_path / "p", data)
    for number in range(30):
        (tmp_path / "p" / f"0_{number:02d}.txt").write_text(
            "a note of some length " * 9, encoding="utf-8"
        )
    (tmp_path / "DICOMDIR").write_bytes(
        bytes(128) + b"DICM\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10"
    )
    assert list_scans_in(tmp_path) == {"p": tmp_path / "p"}


@pytest.mark.parametrize(
    "content", [b"", b"\x08\x00", b"text " * 50, bytes(300), b"\x89PNG\r\n\x1a\n" + bytes(200)]
)
def test_what_is_no_dicom_is_not_taken_for_it(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert not is_dicom(tmp_path / "x")


def test_nothing_of_a_hostile_header_ends_in_a_traceback(tmp_path, data):
    content = save(header(data, turned(), 0), tmp_path / "p" / "a").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        bad = bytearray(content[: rng.integers(150, len(content))])
        for at in rng.integers(132, len(bad), 6):
            bad[at] = rng.integers(256)
        (tmp_path / "p" / "a").write_bytes(bad)
        with pytest.raises(MriError):
            read_any(tmp_path / "p")
    with pytest.raises(DataNotFoundError):
        read_any(tmp_path / "q")


def test_slices_of_two_people_are_no_scan(tmp_path, data):
    other = {number: {"PatientID": "Anna"} for number in range(7)}
    series(tmp_path / "p", data, change=other, PatientID="Ben")
    with pytest.raises(ImageError, match="a series has slices of 2 people") as caught:
        read_any(tmp_path / "p")
    assert "Anna" not in str(caught.value)
    assert read_any(series(tmp_path / "one", data, PatientID="Ben")).notes == ()


def test_what_no_mri_scanner_made_is_refused(tmp_path, data):
    with pytest.raises(ImageError, match=r"p is no MRI: its header says CT \(Modality\)"):
        read_any(series(tmp_path / "p", data, Modality="CT"))
    assert read_any(series(tmp_path / "old", data, Modality=None)).notes == ()


@pytest.mark.parametrize(
    "tags",
    [
        {"SeriesDescription": "t2_tse_tra"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"SeriesDescription": "", "ProtocolName": "FLAIR"},
    ],
)
def test_the_only_series_is_noticed_where_it_is_called_something_else(tmp_path, data, tags):
    (note,) = read_any(series(tmp_path / "p", data, **tags)).notes
    assert note.startswith("may be no T1-weighted scan by its header")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_folder_whose_name_is_no_text_is_told(tmp_path, data):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    series(folder, data)
    with pytest.raises(ImageError, match=r"opens no file named .*caf\\xe9.*\n  fix: rename it"):
        read_any(folder)


@pytest.mark.parametrize("place", ["the pixels", "what follows them"])
def test_an_element_that_claims_more_than_the_file_holds_is_told(tmp_path, data, place):
    series(tmp_path / "s", data, turned())
    path = sorted((tmp_path / "s").iterdir())[3]
    content = path.read_bytes()
    if place == "the pixels":  # a tenth of them is gone
        path.write_bytes(content[:-24])
    else:
        path.write_bytes(content + struct.pack("<HH2sHI", 0x7FE1, 0x10, b"OB", 0, 1 << 30) + b"xx")
    with pytest.raises(ImageError, match=rf"{path.name} is damaged: its element \(7FE"):
        read_any(tmp_path / "s")


def test_an_element_of_no_type_is_told(tmp_path, data):
    series(tmp_path / "s", data, turned())
    path = sorted((tmp_path / "s").iterdir())[3]
    content = path.read_bytes()
    place = content.index(struct.pack("<HH2s", 2, 2, b"UI")) + 4
    path.write_bytes(content[:place] + b"UM" + content[place + 2 :])
    with pytest.raises(ImageError, match=r"its element \(0002,0002\) is of a type that DICOM"):
        read_any(tmp_path / "s")


def test_a_deflated_file_is_not_unpacked(tmp_path, data):
    save(header(data, turned(), 0), tmp_path / "s/a.dcm", DeflatedExplicitVRLittleEndian)
    save(header(data, turned(), 1), tmp_path / "s/b.dcm")
    with pytest.raises(ImageError, match=r"a\.dcm is a deflated DICOM file"):
        read_any(tmp_path / "s")
