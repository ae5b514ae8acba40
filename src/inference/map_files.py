"""The map behind an answer: a figure, and NIfTI in the processed image's and in the scan's space.

Arrays: ``X Y Z`` voxels of the processed grid, RAS+.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ..maps.attribution import STEP, Attribution, in_steps
from ..preprocessing.io import write_nifti
from ..preprocessing.raw.convert import read_any
from ..preprocessing.space.grid import PlacedVolume, place_slices, place_volume, to_scan_grid
from ..report.map_figures.person import PersonMap, person_figure
from ..training.logits import inference_batch
from .answers import Answer
from .prepare import Prepared

_WARNING = "A map shows what this model used, not where disease is."


def write_answer_map(
    folder: Path,
    answer: Answer,
    prepared: Prepared,
    shares: NDArray[np.float32],
    method: str,
    explained: str,
) -> Iterator[Path]:
    """Write the map of an answer; the answer then names it.

    Args:
        folder: Of the stage's files.
        answer: Its ``map`` is set.
        prepared: The images.
        shares: Its map, as `shares_of` makes it.
        method: That made it.
        explained: Class that it explains, or `DEMENTED`.

    Yields:
        Two NIfTI files of the map, one of the image, and the figure.
    """
    if prepared.record is None:
        return
    volume, image = (_placed(arrays, prepared) for arrays in (shares, _grey(prepared)))
    name = prepared.item.name
    about = f"{method}, share of the map's maximum"
    path = folder / "maps" / f"{name}_map.nii.gz"
    yield write_nifti(path, volume.data, volume.affine, description=about, step=STEP)
    beside = path.with_name(f"{name}_image.nii.gz")
    yield write_nifti(beside, image.data, volume.affine, description="processed image")
    in_scan, affine = _in_scan(volume, prepared)
    there = path.with_name(f"{name}_map_in_scan.nii.gz")
    yield write_nifti(there, in_scan, affine, description=about, step=STEP)
    figure = folder / "maps" / f"{name}.png"
    title = f"{name[:60]}: {answer['stage']}, p = {answer['probabilities'][answer['stage']]:.2f}"
    known = prepared.side_known
    sides = "R and L are the person's right and left." if known else "Sides are unknown."
    person = PersonMap(image, image.replaced(volume.data), name[:40], f"map of {explained}")
    differs = f" Caution: {' and '.join(answer['differs'])}." if answer["differs"] else ""
    note = f"{about}. {_WARNING} {sides}{differs}"
    yield person_figure(figure, [person], title, note, side_known=known)
    answer["map"] = figure.relative_to(folder).as_posix()


def shares_of(
    prepared: Prepared, attribution: Attribution, target: int | str
) -> NDArray[np.float32]:
    """Return the map ``(n, H, W)`` or ``(1, X, Y, Z)`` in shares of its maximum.

    Args:
        prepared: The images.
        attribution: Method and model.
        target: Number of the class that is explained, or `DEMENTED`.
    """
    device = next(attribution.model.parameters()).device
    size = inference_batch("2d" if prepared.images.ndim == 4 else "3d", device)
    parts = [
        attribution.raw_maps(part.to(device), target) for part in torch.split(prepared.images, size)
    ]
    return in_steps(np.concatenate(parts))[0]


def _grey(prepared: Prepared) -> NDArray[np.float32]:
    return np.asarray(prepared.images[:, 0].numpy())


def _placed(arrays: NDArray[np.float32], prepared: Prepared) -> PlacedVolume:
    assert prepared.record is not None
    if not prepared.slices:
        return place_volume(arrays[0], prepared.record)
    return place_slices(arrays, prepared.slices, prepared.record)


def _in_scan(
    volume: PlacedVolume, prepared: Prepared
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the map on the scan's own grid, its axes as its file has them, with its affine."""
    stored = to_scan_grid(volume)
    if prepared.standard is None:
        return stored, volume.frame.affine
    shape, affine = read_any(prepared.item.source).own_grid
    to_standard = np.linalg.inv(prepared.standard.to_native) @ affine
    # In a cohort of standard scans the stored grid is the standard's own, in its header's mm.
    own = np.array_equal(prepared.to_standard, np.eye(4))
    to_frame = to_standard if own else np.linalg.inv(prepared.to_standard) @ to_standard
    grid = volume.frame.affine if own else volume.frame.to_ras
    step = np.linalg.inv(grid) @ to_frame
    moved = ndimage.affine_transform(stored, step[:3, :3], step[:3, 3], shape, np.float32, order=1)
    return np.asarray(moved), affine
