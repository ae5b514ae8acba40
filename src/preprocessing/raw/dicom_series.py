"""Which of several DICOM series in a folder is the T1-weighted scan."""

from __future__ import annotations

import re

from ...errors import ImageError, counted
from ..io import MIN_EDGE
from .dicom_headers import Slice

_T1 = re.compile(r"t1|mp-?rage|spgr|bravo|3d.?tfe|tfl.?3d", re.IGNORECASE)
_NO_T1 = re.compile(r"t2|flair|dwi|dti|bold|loc|scout|survey|mip|\bmra\b|tof", re.IGNORECASE)
_NO_SCAN = re.compile(r"locali[sz]er|scout|survey|plan_?scan", re.IGNORECASE)
_RECKONED = re.compile(r"MPR|PROJECTION|REFORMATTED|MIP|MNIP", re.IGNORECASE)
#: A T1 by its numbers: gradient echoes, milliseconds.
_SHORT_ECHO, _SHORT_REPEAT, _INVERSION = 10.0, 50.0, (300.0, 1500.0)


def choose_series(slices: list[Slice], name: str) -> tuple[list[Slice], tuple[str, ...]]:
    """Return the slices of the one T1-weighted series, and what was left out.

    Localisers, projections and series too thin for a scan are left out where something else is
    there. Of several others, the one whose description names a T1 is taken, else the one whose
    sequence is a T1's.

    Args:
        slices: Every image of a folder.
        name: Of the folder, for messages.

    Raises:
        ImageError: Several series may be meant; it lists them.
    """
    series: dict[str, list[Slice]] = {}
    for one in slices:
        series.setdefault(one.series, []).append(one)
    every = list(series.values())
    for group in every:
        _refuse_two_people(group, name)
    if len(every) == 1:
        return _of_mri(every[0], name), _doubts(every[0])
    scans = [one for one in every if not _is_beside(one)] or every
    for wanted in (lambda _: True, _named_t1, _sequence_of_t1):
        fit = [one for one in scans if wanted(one)]
        if len(fit) == 1:
            left = [one for one in every if one is not fit[0]]
            said = f"several series: of {name}, {_called(fit[0])} is read and left out are "
            return _of_mri(fit[0], name), (said + "; ".join(map(_called, left)),)
    raise ImageError(
        f"{name} holds {len(scans)} DICOM series, and which is the T1 is not clear: "
        + "; ".join(map(_called, scans[:8])),
        hint="leave only the files of the T1-weighted series in the folder",
    )


def _refuse_two_people(series: list[Slice], name: str) -> None:
    """Refuse a series of several people; their ids are not repeated, they may be names."""
    first: dict[str, Slice] = {}
    for one in series:
        if one.about["PatientID"]:
            first.setdefault(one.about["PatientID"], one)
    if len(first) > 1:
        a, b = list(first.values())[:2]
        raise ImageError(
            f"{name}: a series has slices of {len(first)} people by their PatientID, such as "
            f"{a.name} and {b.name}",
            hint="leave only the slices of one person in the folder",
        )


def _of_mri(series: list[Slice], name: str) -> list[Slice]:
    """Return the series, unless its header says that no MRI scanner made it."""
    kinds = {one.about["Modality"] for one in series} - {"", "MR", "OT"}  # OT: was converted
    if kinds:
        raise ImageError(
            f"{name} is no MRI: its header says {', '.join(sorted(kinds))[:40]} (Modality)",
            hint="give a T1-weighted MRI scan",
        )
    return series


def _doubts(series: list[Slice]) -> tuple[str, ...]:
    """Return why the only series of a folder may be no T1; nothing where its words do not say."""
    about = series[0].about
    words = about["SeriesDescription"] or about["ProtocolName"]
    other = _NO_T1.search(words) and not _T1.search(words)
    if other or _is_beside(series):
        return (f"may be no T1-weighted scan by its header: {_called(series)}",)
    return ()


def _is_beside(series: list[Slice]) -> bool:
    """Return whether a series is no scan: a localiser, a projection, or a few images."""
    image = series[0].marks.get("ImageType", "").upper()
    reckoned = "DERIVED" in image and _RECKONED.search(image)
    said = _NO_SCAN.search(series[0].about["SeriesDescription"])
    return bool("LOCALIZER" in image or reckoned or said) or len(series) < MIN_EDGE


def _named_t1(series: list[Slice]) -> bool:
    for key in ("SeriesDescription", "ProtocolName"):
        words = series[0].about[key]
        if words:
            return bool(_T1.search(words)) and not _NO_T1.search(words)
    return False


def _sequence_of_t1(series: list[Slice]) -> bool:
    one = series[0]
    echo, repeat, inversion = (
        _number(value)
        for value in (
            one.marks.get("EchoTime", ""),
            one.about["RepetitionTime"],
            one.marks.get("InversionTime", ""),
        )
    )
    if "GR" not in one.about["ScanningSequence"].split("\\") or not 0 < echo <= _SHORT_ECHO:
        return False
    low, high = _INVERSION
    return 0 < repeat <= _SHORT_REPEAT or low <= inversion <= high


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _called(series: list[Slice]) -> str:
    """Return what a series is called, how many images it has, and where it begins."""
    about = series[0].about
    words = about["SeriesDescription"] or about["ProtocolName"] or "no description"
    kind = series[0].marks.get("ImageType", "").replace("\\", " ").lower()
    more = f", {kind}" if kind else ""
    return f"{words[:40]!r} ({counted(len(series), 'image')}{more}, such as {series[0].path.name})"
