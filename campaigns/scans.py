"""Families of images: scans of every container, DICOM series, pictures, processed volumes."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from src.config import PreprocessConfig
from src.data.image_file import decode, read_content
from src.errors import ImageError
from src.preprocessing.io import read_slice
from src.preprocessing.raw.convert import read_any
from src.preprocessing.scan import Scan, make_scan

from .family import Family
from .mutations import flip_bits, flip_first_bits
from .shapes import header_field, in_gzip, jpeg_size, npy_header, png_chunk

SHAPE = (17, 21, 15)
_MGH = nib.freesurfer.mghformat.MGHHeader.template_dtype
_NIFTI1, _NIFTI2 = nib.Nifti1Header.template_dtype, nib.Nifti2Header.template_dtype
_ANALYZE = nib.AnalyzeHeader.template_dtype


def brain() -> NDArray[np.int16]:
    """Return a bright ellipsoid ``(X, Y, Z)`` on dark ground, brighter to the right."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt(sum((axis / 0.8) ** 2 for axis in axes))
    return np.where(radius < 1, 800 + 100 * axes[0], 0).astype(np.int16)


def save_nifti(folder: Path, name: str, kind: Any = nib.Nifti1Image) -> None:
    """Write a scan as a NIfTI or Analyze file."""
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])
    nib.save(kind(brain(), affine), folder / name)


def _mgh(folder: Path, name: str) -> None:
    nib.save(nib.MGHImage(brain(), np.diag([-2.0, 1.5, 3.0, 1.0])), folder / name)


def _read(folder: Path, name: str) -> object:
    """Read a scan; a pair is read by its voxels' file."""
    return read_any(folder / name.replace(".hdr", ".img"))


def _to_slices(folder: Path, name: str) -> object:
    """Read a scan and make its slices, as preprocessing does."""
    scan = Scan("P1_MR1", (folder / name,), (), ("train/NonDemented",), None, "2d")
    why_not = make_scan(folder / "out", scan, PreprocessConfig(num_slices=3, image_size=32))
    if why_not is not None:
        raise ImageError(why_not)
    return None


def dicom_series(folder: Path, slices: int = 9) -> None:
    """Write a series of axial slices."""
    (folder / "series").mkdir()
    series, study = generate_uid(entropy_srcs=["series"]), generate_uid(entropy_srcs=["study"])
    for number in range(slices):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID = meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        uid = generate_uid(entropy_srcs=[f"image {number}"])
        one.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = uid
        one.SeriesInstanceUID, one.StudyInstanceUID, one.Modality = series, study, "MR"
        one.PatientID, one.SeriesDescription, one.InstanceNumber = "P1", "T1w MPRAGE", number + 1
        one.ImagePositionPatient = [-10, -12, 2.5 * number]
        one.ImageOrientationPatient, one.PixelSpacing = [1, 0, 0, 0, 1, 0], [1.5, 2]
        one.EchoTime, one.RepetitionTime, one.RescaleSlope, one.RescaleIntercept = 3, 9, 2, 5
        one.SliceThickness, one.ImageType = 2.5, ["ORIGINAL", "PRIMARY", "M"]
        one.Rows, one.Columns, one.SamplesPerPixel = SHAPE[1], SHAPE[0], 1
        one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", 0
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.PixelData = brain()[:, :, number].T.astype("<u2").tobytes()
        one.save_as(folder / "series" / f"{number:02d}.dcm", enforce_file_format=True)


_TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "ImageType"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime", "PixelData"),
    *("RescaleSlope", "RescaleIntercept", "SeriesInstanceUID", "SOPInstanceUID", "Modality"),
    *("InstanceNumber", "SeriesDescription", "SOPClassUID", "RepetitionTime", "PatientID"),
)
_TEXTS = (
    *("", "nan", "inf", "-inf", "1e400", "-1", "0", "abc", "1\\2", "1\\2\\3\\4\\5\\6\\7", "9" * 60),
    *("nan\\nan\\nan", "0\\0\\0\\0\\0\\0", "0\\0", "1e30\\1e30\\1e30", "-5\\-5", "1e-30\\1e-30"),
    *("\x1b[2J", "é\udc80"),
)


def dicom_element(rng: Random, data: bytes) -> bytes:
    """Set an element of a DICOM file to an extreme, or take it out."""
    try:
        one = pydicom.dcmread(io.BytesIO(data), force=True)
        tag = rng.choice(_TAGS)
        kind = rng.random()
        if kind < 0.2 and tag in one:
            del one[tag]
        elif kind < 0.3:
            one.file_meta.TransferSyntaxUID = rng.choice(
                ("1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5", "1.2.3")
            )
        else:
            _set_element(rng, one, tag)
        target = io.BytesIO()
        one.save_as(target, enforce_file_format=False)
        return target.getvalue()
    except Exception:  # noqa: BLE001 - pydicom does not write everything that is asked here
        return flip_bits(rng, data)


def _set_element(rng: Random, one: Any, tag: str) -> None:
    vr = pydicom.datadict.dictionary_VR(tag)
    value: Any = rng.choice(_TEXTS)
    if vr == "US":
        value = rng.choice((0, 1, 2, 7, 8, 12, 16, 32, 64, 255, 65535))
    if tag == "PixelData":
        vr, value = "OW", one.PixelData[: rng.choice((0, 1, 2, 100))]
    element = pydicom.DataElement(pydicom.tag.Tag(tag), vr, b"", validation_mode=0)
    element._value = value
    one[element.tag] = element


def _pictures(folder: Path) -> None:
    grey = np.clip(brain()[:, :, 7].astype(float) / 4, 0, 255).astype(np.uint8)
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(folder / name), grey)
    cv2.imwrite(str(folder / "colour.png"), np.dstack([grey] * 3))
    Image.fromarray(np.dstack([grey] * 4), mode="CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(grey).convert("P").save(folder / "palette.png")


def _read_picture(folder: Path, name: str) -> object:
    path = folder / name
    read_slice(path)
    return decode(path, read_content(path))


def _wide(folder: Path) -> None:
    values = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30) * 50
    cv2.imwrite(str(folder / "wide.png"), values)


def _read_wide(folder: Path, name: str) -> object:
    """Read 16 bits, which are refused as they should be; what else happens is looked at."""
    try:
        return _read_picture(folder, name)
    except ImageError as error:
        if "16 bits" in str(error):
            return None
        raise


def _volume(folder: Path) -> None:
    np.save(folder / "volume.npy", (brain() / 900).astype(np.float16))


def _read_volume(folder: Path, name: str) -> object:
    return decode(folder / name, read_content(folder / name))


FAMILIES = (
    Family(
        "nifti1",
        lambda folder: save_nifti(folder, "scan.nii"),
        _read,
        ("scan.nii",),
        (header_field(_NIFTI1), flip_first_bits),
        share=3,
    ),
    Family(
        "nifti1_gz",
        lambda folder: save_nifti(folder, "scan.nii.gz"),
        _read,
        ("scan.nii.gz",),
        (in_gzip(header_field(_NIFTI1)), in_gzip(flip_first_bits)),
        share=2,
    ),
    Family(
        "nifti2",
        lambda folder: save_nifti(folder, "scan.nii", nib.Nifti2Image),
        _read,
        ("scan.nii",),
        (header_field(_NIFTI2), flip_first_bits),
        share=2,
    ),
    Family(
        "analyze",
        lambda folder: save_nifti(folder, "scan.img", nib.AnalyzeImage),
        _read,
        ("scan.hdr", "scan.hdr", "scan.img"),
        (header_field(_ANALYZE), flip_first_bits),
        share=2,
    ),
    Family(
        "nifti_pair",
        lambda folder: save_nifti(folder, "scan.img", nib.Nifti1Pair),
        _read,
        ("scan.hdr", "scan.img"),
        (header_field(_NIFTI1),),
    ),
    Family(
        "mgh",
        lambda folder: _mgh(folder, "scan.mgh"),
        _read,
        ("scan.mgh",),
        (header_field(_MGH), flip_first_bits),
    ),
    Family(
        "mgz",
        lambda folder: _mgh(folder, "scan.mgz"),
        _read,
        ("scan.mgz",),
        (in_gzip(header_field(_MGH)),),
    ),
    Family(
        "scan_to_slices",
        lambda folder: save_nifti(folder, "scan.nii"),
        _to_slices,
        ("scan.nii",),
        (header_field(_NIFTI1), flip_first_bits),
    ),
    Family(
        "dicom",
        dicom_series,
        lambda folder, name: read_any(folder / "series"),
        tuple(f"series/{number:02d}.dcm" for number in (0, 4, 8)),
        (dicom_element,),
        share=2,
    ),
    Family(
        "dicom_file",
        lambda folder: dicom_series(folder, 1),
        lambda folder, name: _one_file(folder / name),
        ("series/00.dcm",),
        (dicom_element,),
        share=0.5,
    ),
    Family(
        "pictures",
        _pictures,
        _read_picture,
        ("a.png", "a.jpg", "colour.png", "cmyk.jpg", "palette.png"),
        (png_chunk, jpeg_size),
        share=2,
    ),
    Family("pictures_16_bit", _wide, _read_wide, ("wide.png",), (png_chunk,), share=0.5),
    Family("processed_volume", _volume, _read_volume, ("volume.npy",), (npy_header,)),
)


def _one_file(path: Path) -> object:
    """Read one file of a series, which is no volume; what else happens is looked at."""
    try:
        return read_any(path)
    except ImageError as error:
        return str(error)
