"""What a scan's header says of the place of its voxels; their size and their axes from one source.

That source is the affine. NIfTI has three more places to say it (pixdim, qform, sform), a unit of
length, and two codes that say whether it means any of it: where they contradict each other, a note
names both.

Matrices are 4 x 4, index in the stored array -> mm.

Source: nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields (qsform, xyzt_units).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from ..errors import ImageError

Matrix = NDArray[np.float64]

NO_ORIENTATION = "no orientation in the header"
_MM = {"meter": 1000.0, "micron": 0.001}
_CALLED = {"meter": "metres", "micron": "micrometres"}
_SMALLEST, _LARGEST = 0.05, 20.0  # mm of a voxel
_SAME = 0.01  # share by which two sizes of a voxel may differ
_FLAT = 1e-3  # volume of a voxel whose axes lie in one plane, edges being 1
_DEGREES = 2.0  # by how much two directions may


@dataclass(frozen=True)
class HeaderPlace:
    """Where the stored voxels lie.

    Attributes:
        affine: Index -> mm; by the header, in whatever direction the cohort declares.
        orientation: nibabel's: per stored axis, its RAS+ axis and direction.
        voxel_size: (3,) mm along the stored axes.
        side_known: Whether left and right can be told: by the header, or by declared axes.
        notes: What contradicts itself or is missing, a sentence each.
    """

    affine: Matrix
    orientation: NDArray[Any]
    voxel_size: Matrix
    side_known: bool
    notes: tuple[str, ...]


def header_place(image: Any, axes: str | None, name: str) -> HeaderPlace:
    """Read where the voxels of an image lie.

    Args:
        image: nibabel's.
        axes: Orientation of the stored axes, such as ``"LAS"``, where the header cannot be
            trusted; None takes it from the affine.
        name: For messages.

    Raises:
        ImageError: The affine has no inverse, or the voxels have an impossible size.
    """
    affine = np.array(image.affine, dtype=float)
    if not np.isfinite(affine).all():
        raise ImageError(f"{name} has an affine that is not finite")
    factor, notes = _unit(image.header, affine, name)
    said = np.abs(np.asarray(image.header.get_zooms()[:3], dtype=float)) * factor
    affine[:3] *= factor
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if (size == 0).any() or abs(np.linalg.det(affine[:3, :3] / size)) < _FLAT:
        raise ImageError(f"{name} has an affine that drops an axis")
    if not _possible(size):
        raise ImageError(f"{name} has voxels of {_sizes(size)}")
    if _differ(size, said):
        notes.append(
            f"voxel sizes contradict: pixdim says {_sizes(said)}, the affine {_sizes(size)}; the "
            "affine is used"
        )
    if axes is not None:
        declared = np.asarray(nib.orientations.axcodes2ornt(tuple(axes)))
        return HeaderPlace(affine, declared, size, True, tuple(notes))
    orientation = np.asarray(nib.io_orientation(affine))
    unsided = list(_why_unsided(image.header))
    return HeaderPlace(
        affine, orientation, size, not unsided, (*notes, *_two_forms(image.header), *unsided)
    )


def _unit(header: Any, affine: Matrix, name: str) -> tuple[float, list[str]]:
    """Return the factor to mm, with a note where it is not 1."""
    try:
        unit = header.get_xyzt_units()[0]
    except (AttributeError, KeyError):  # no NIfTI, or a code that means nothing
        return 1.0, []
    factor = _MM.get(unit, 1.0)
    if factor == 1:
        return 1.0, []
    size = np.linalg.norm(affine[:3, :3], axis=0)
    called = _CALLED[unit]
    if not _possible(size * factor):
        raise ImageError(
            f"{name} says that its lengths are {called} (xyzt_units), which makes voxels of "
            f"{_sizes(size * factor)}",
            hint="set its unit to mm with the program that wrote it",
        )
    return factor, [f"lengths in {called}: turned to voxels of {_sizes(size * factor)}"]


def _two_forms(header: Any) -> Iterator[str]:
    """Name both forms where they contradict each other; nibabel's affine is the sform."""
    forms = _forms(header)
    if forms is None:
        return
    sform, qform = forms
    sizes = [np.linalg.norm(form[:3, :3], axis=0) for form in forms]
    ways = [form[:3, :3] / size for form, size in zip(forms, sizes, strict=True)]
    cosine = np.clip((ways[0] * ways[1]).sum(axis=0), -1, 1)
    degrees = float(np.degrees(np.arccos(cosine)).max())
    if degrees > _DEGREES or _differ(*sizes):
        yield (
            f"sform and qform contradict: the sform runs to {_way(sform)} with voxels of "
            f"{_sizes(sizes[0])}, the qform to {_way(qform)} with {_sizes(sizes[1])}, "
            f"{degrees:.0f} degrees apart; the sform is used"
        )


def _why_unsided(header: Any) -> Iterator[str]:
    """Say why left and right cannot be told, where they cannot."""
    if isinstance(header, nib.Nifti1Header):
        if not int(header["sform_code"]) > 0 and not int(header["qform_code"]) > 0:
            yield f"{NO_ORIENTATION} (sform and qform codes 0): left and right cannot be told"
        forms = _forms(header)
        if forms is not None and np.linalg.det(forms[0]) * np.linalg.det(forms[1]) < 0:
            yield "sform and qform exchange left and right: left and right cannot be told"
    elif isinstance(header, nib.AnalyzeHeader):
        yield f"{NO_ORIENTATION} (Analyze has none): left and right cannot be told"
    elif isinstance(header, nib.MGHImage.header_class) and not int(header["goodRASFlag"]) > 0:
        yield f"{NO_ORIENTATION} (goodRASFlag 0): left and right cannot be told"


def _forms(header: Any) -> tuple[Matrix, Matrix] | None:
    """Return sform and qform where the header means both, and both are whole."""
    if not isinstance(header, nib.Nifti1Header):
        return None
    try:
        sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError):  # a quaternion that is none
        return None
    if sform is None or qform is None or not np.isfinite([sform, qform]).all():
        return None
    whole = [abs(np.linalg.det(form)) > 0 for form in (sform, qform)]
    return (sform, qform) if all(whole) else None


def _way(form: Matrix) -> str:
    return "".join(code or "?" for code in nib.aff2axcodes(form))


def _possible(size: Matrix) -> bool:
    return bool(((size > _SMALLEST) & (size < _LARGEST)).all())


def _differ(one: Matrix, other: Matrix) -> bool:
    return bool((np.abs(one - other) > _SAME * np.maximum(one, other)).any())


def _sizes(size: Matrix) -> str:
    return " x ".join(f"{edge:.3g}" for edge in size) + " mm"
