"""What the headers of DICOM files say, read before a pixel is.

Positions and directions are DICOM's: mm to the left, the back and the top.

Source: DICOM PS3.3, C.7.6.2 (image plane), C.7.6.16 (multi-frame functional groups).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cohorts.file_kinds import is_dicom
from ...errors import ImageError, foreign_bytes
from ...files import require_file
from ...optional import pydicom

#: What tells two images of one place apart: attribute -> what it is called in messages.
MARKS = {
    "EchoTime": "echo time",
    "EchoNumbers": "echo number",
    "EffectiveEchoTime": "echo time",
    "TemporalPositionIdentifier": "temporal position",
    "TemporalPositionIndex": "temporal position",
    "ImageType": "image type",
    "FrameType": "image type",
    "ComplexImageComponent": "component",
    "InversionTime": "inversion time",
    "FlipAngle": "flip angle",
    "DiffusionBValue": "b value",
    "AcquisitionNumber": "acquisition",
    "TriggerTime": "trigger time",
}
_SERIES = (
    *("SeriesDescription", "ProtocolName", "ScanningSequence", "SequenceVariant"),
    *("Modality", "PatientID"),
)
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_PIXELS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "InstanceNumber")
_IDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "RepetitionTime")
_META = 4096  # bytes that hold the transfer syntax
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_UNDEFINED, _DEFERRED = 0xFFFFFFFF, 64  # length of an open sequence; values that are left on disk
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True)
class Slice:
    """One image: a file, or a frame of one.

    Attributes:
        path: The file.
        frame: Index in the file; None where the file holds one image only.
        uid: Of the image; copies share it. Empty where there is none.
        series: Of its series.
        size: Rows, columns.
        spacing: mm between rows and between columns; None where the header has none.
        axes: Direction along a row and along a column, six numbers; None as above.
        position: mm of the first pixel; None as above.
        marks: Of `MARKS`, those that the header has.
        scale: Slope and intercept of a frame; None where the file has one for all.
        about: Description and sequence of its series, and its sort of image.
    """

    path: Path
    frame: int | None
    uid: str
    series: str
    size: tuple[int, int]
    spacing: tuple[float, ...] | None
    axes: tuple[float, ...] | None
    position: tuple[float, ...] | None
    marks: dict[str, str]
    scale: tuple[str, ...] | None
    about: dict[str, str]

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.path.name if self.frame is None else f"frame {self.frame + 1}"


def read_slices(paths: list[Path]) -> list[Slice]:
    """Return every image that the DICOM files hold; files without one are left out.

    Raises:
        ImageError: A header is damaged, or an image has several numbers per pixel.
        ConfigError: pydicom is not installed.
    """
    found: list[Slice] = []
    for path in paths:
        with _told(path):
            images = list(_slices(path))
        if images:
            require_honest_lengths(path)
        found += images
    return found


def dicom_files(folder: Path) -> list[Path]:
    """Return the visible DICOM files of a folder, by name."""
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and is_dicom(path)
    )


def is_multi_frame(path: Path) -> bool:
    """Return whether a DICOM file holds more than one image.

    Raises:
        ImageError: Its header is damaged.
        ConfigError: pydicom is not installed.
    """
    with _told(path):
        return int(_text(_header(path), "NumberOfFrames") or 1) > 1


def read_words(path: str | Path, words: Iterable[str]) -> dict[str, str]:
    """Return what a file's header says under some of DICOM's keywords, empty where nothing.

    Raises:
        ImageError: The header is damaged.
        ConfigError: pydicom is not installed.
    """
    path, wanted = Path(path), list(words)
    with _told(path):
        header = _header(path, wanted)
        return {word: _text(header, word) for word in wanted}


def _header(path: Path, wanted: Iterable[str] = ()) -> Any:
    reader = pydicom()
    reader.config.settings.reading_validation_mode = reader.config.IGNORE
    tags = [*MARKS, *_SERIES, *_PLACE, *_PIXELS, *_IDS, *_GROUPS, *wanted]
    # Files without a preamble are let in: an image is what has rows and columns.
    require_file(path)
    _refuse_deflated(path)
    return reader.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)


def _refuse_deflated(path: Path) -> None:
    """Refuse a file whose data set is deflated: how much it holds shows only when it is unpacked.

    Raises:
        ImageError: It is.
    """
    with path.open("rb") as file:
        start = file.read(_META)
    if start[128:132] == b"DICM" and _DEFLATED in start:
        raise ImageError(
            f"{path.name} is a deflated DICOM file",
            hint="export the series without compression, or give it as NIfTI",
        )


def require_honest_lengths(path: Path) -> None:
    """Check that elements of a DICOM file have a known type, and no more bytes than the file.

    The library that reads its pixels takes the memory that an element claims before it looks.

    Raises:
        ImageError: One does.
        ConfigError: pydicom is not installed.
    """
    size = path.stat().st_size
    with _told(path):
        reader = pydicom()
        whole = reader.dcmread(path, defer_size=_DEFERRED, force=True)
        known = {*reader.valuerep.VR, None}  # None: the file does not say
        elements = [*getattr(whole, "file_meta", {}).values(), *whole.values()]
        claims = [
            (element.value_tell, element.length, element.tag)
            for element in elements
            if getattr(element, "length", _UNDEFINED) != _UNDEFINED
        ]
        odd = [element for element in elements if element.VR not in known]
    for start, length, tag in claims:
        if start + length > size:
            raise ImageError(
                f"{path.name} is damaged: its element {tag} claims {length:,} bytes, and "
                f"{max(size - start, 0):,} are left"
            )
    if odd:  # its length is read in another place, and is any number
        raise ImageError(
            f"{path.name} is damaged: its element {odd[0].tag} is of a type that DICOM has not"
        )


def _told(path: Path) -> AbstractContextManager[None]:
    """Say whatever pydicom's parser meets in a damaged header as an `ImageError`."""
    return foreign_bytes(ImageError, f"{path.name} has a DICOM header that cannot be read")


def _slices(path: Path) -> Iterator[Slice]:
    header = _header(path)
    if not (header.get("Rows") and header.get("Columns")):
        return
    frames = int(header.get("NumberOfFrames") or 1)
    if frames == 1 and "PerFrameFunctionalGroupsSequence" not in header:
        yield _one(path, None, header, [header])
        return
    shared = _groups((header.get("SharedFunctionalGroupsSequence") or [None])[0])
    each = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    if len(each) != frames:
        raise ImageError(
            f"{path.name} is a multi-frame DICOM file that does not say where its frames lie",
            hint="export the scan with one file per slice, or give it as NIfTI",
        )
    for number, group in enumerate(each):
        yield _one(path, number, header, [*_groups(group), *shared, header])


def _one(path: Path, frame: int | None, header: Any, parts: list[Any]) -> Slice:
    """Return one image, each attribute from the first part that has it."""
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise ImageError(
            f"{path.name} is a colour image, not a slice of a scan",
            hint="move it out of the folder",
        )
    uid, series = _text(header, "SOPInstanceUID"), _text(header, "SeriesInstanceUID")
    marks = {key: _first(parts, key) for key in MARKS}
    scale = tuple(_first(parts, key) for key in ("RescaleSlope", "RescaleIntercept"))
    about = {key: _text(header, key) for key in (*_SERIES, "RepetitionTime")}
    return Slice(
        path=path,
        frame=frame,
        uid=uid if frame is None else f"{uid}.{frame}",
        series=series if frame is None else f"{series} {path.name}",
        size=(int(header.Rows), int(header.Columns)),
        spacing=_numbers(parts, "PixelSpacing", 2),
        axes=_numbers(parts, "ImageOrientationPatient", 6),
        position=_numbers(parts, "ImagePositionPatient", 3),
        marks={key: value for key, value in marks.items() if value},
        scale=None if frame is None else scale,
        about=about | {"file": path.name},
    )


def _groups(item: Any) -> list[Any]:
    """Return the first item of every functional group of a frame."""
    if item is None:
        return []
    sequences = [element.value for element in item if element.VR == "SQ"]
    return [sequence[0] for sequence in sequences if len(sequence)]


def _first(parts: list[Any], key: str) -> str:
    return next((text for part in parts if (text := _text(part, key))), "")


def _text(part: Any, key: str) -> str:
    value = part.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    return "\\".join(map(str, value)) if hasattr(value, "__iter__") else str(value)


def _numbers(parts: list[Any], key: str, count: int) -> tuple[float, ...] | None:
    text = _first(parts, key)
    values = tuple(float(one) for one in text.split("\\")) if text else ()
    return values if len(values) == count else None
