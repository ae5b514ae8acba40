"""Read one DICOM series: a folder of slices, or one multi-frame file.

pydicom reads the headers, which are checked to make one volume; SimpleITK reads the pixels of the
files that are named to it, in the order of their places. It is not asked where they lie: with
slices missing, doubled or lying across it guesses, and says nothing.

Arrays: ``X Y Z`` voxels, X along rows; matrices 4 x 4, index -> RAS+ mm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError, counted
from ...files import is_text, shown
from ...optional import simple_itk
from .dicom_grid import lay
from .dicom_headers import Slice, dicom_files, read_slices
from .dicom_series import choose_series

Float = NDArray[np.float32]
Matrix = NDArray[np.float64]
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME = 0.01  # share by which SimpleITK's voxels may differ from the headers'


def read_dicom(source: str | Path) -> tuple[Float, Matrix, tuple[str, ...]]:
    """Read the one scan of a folder, or of a multi-frame file.

    Returns:
        ``(X, Y, Z)``; index -> RAS+ mm; and what was noticed, a sentence each.

    Raises:
        ImageError: There is no scan or more than one, its headers make no volume, or it is damaged.
        ConfigError: pydicom or SimpleITK is not installed.
    """
    source = Path(source)
    files = dicom_files(source) if source.is_dir() else [source]
    if not files:
        raise ImageError(
            f"{source.name} holds no scan and no DICOM series",
            hint="name a scan or a folder of one",
        )
    found = read_slices(files)
    if not found:
        raise ImageError(
            f"{source.name} holds {counted(len(files), 'DICOM file')}, none with an image",
            hint="name the folder of the scan itself",
        )
    once, notes = _each_once(found, source.name)
    chosen, more = choose_series(once, source.name)
    if len({one.scale for one in chosen}) > 1:
        raise ImageError(
            f"the frames of {source.name} each have a scale of their own (RescaleSlope)",
            hint="export the scan with one file per slice, or give it as NIfTI",
        )
    slices, lps = lay(chosen, source.name)
    data = _pixels(slices, lps, source.name)
    return data, _TO_RAS @ lps, notes + more


def _each_once(slices: list[Slice], name: str) -> tuple[list[Slice], tuple[str, ...]]:
    """Leave out copies: the same image at the same place, as a browser saves it twice."""
    first: dict[Any, Slice] = {}
    copies: list[Slice] = []
    for one in sorted(slices, key=lambda one: (len(one.path.name), one.path.name)):
        key = (one.uid or one.path, one.position, *sorted(one.marks.items()))
        if key in first:
            copies.append(one)
        first.setdefault(key, one)
    if not copies:
        return slices, ()
    said = (
        f"copies of slices: {counted(len(copies), 'file')} of {name} with the image of another "
        f"(SOPInstanceUID), such as {copies[0].name}, used once"
    )
    return list(first.values()), (said,)


def _pixels(slices: list[Slice], lps: Matrix, name: str) -> Float:
    """Read the pixels, and refuse voxels of another size than the headers said."""
    sitk = simple_itk()
    paths = [str(one.path) for one in slices]
    odd = [path for path in paths if not is_text(path)]
    if odd:
        raise ImageError(f"SimpleITK opens no file named {shown(odd[0])}", hint="rename it")
    frames = slices[0].frame is not None
    try:
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        reader = sitk.ImageFileReader() if frames else sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")  # which also reads files without a preamble
        # As float: slices may each have a scale of their own.
        reader.SetOutputPixelType(sitk.sitkFloat32)
        reader.SetFileName(paths[0]) if frames else reader.SetFileNames(paths)
        image = reader.Execute()
    except Exception as error:  # noqa: BLE001 - ITK's own reason stands in the last line
        why = (str(error).strip().splitlines() or ["damaged"])[-1]
        raise ImageError(f"the DICOM series {name} cannot be read: {why[:200]}") from None
    rows, columns = slices[0].size
    if image.GetSize() != (columns, rows, len(slices)):
        raise ImageError(f"the DICOM series {name} has other pixels than its headers say")
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    read = np.array(image.GetSpacing())
    # Frames need not lie in the order of their places, and then SimpleITK knows no spacing.
    if not frames and not np.allclose(read, edges, rtol=_SAME):
        raise ImageError(
            f"the DICOM series {name} has voxels of {_size(edges)} by its headers, and of "
            f"{_size(read)} by SimpleITK",
            hint="give the scan as NIfTI",
        )
    data: Float = sitk.GetArrayFromImage(image)
    if frames:
        data = data[[one.frame or 0 for one in slices]]
    return data.transpose(2, 1, 0)


def _size(edges: NDArray[np.float64]) -> str:
    return " x ".join(f"{edge:.3g}" for edge in edges) + " mm"
