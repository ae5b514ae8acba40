"""A page that shows a map over its image, to click through: one file that loads nothing.

Arrays: ``X Y Z`` voxels in RAS+ order. Lengths are mm.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from ...errors import ImageError
from ...files import atomic_file
from ...preprocessing.space.grid import Matrix, PlacedVolume
from .drawing import (
    BRIGHTEST,
    CROSSHAIR,
    MAP_COLOURS,
    grey_limits,
    peak,
    share_of_maximum,
    shown_affine,
)
from .person import NOTHING

#: Voxels of the largest page; each takes two bytes or so.
_VOXELS = (1_500_000, 700_000, 300_000)
_MAX_BYTES = 5_000_000
_FINEST = 1.5  # mm: the lines through the point are a voxel wide and should not hide it
_BODY = re.compile(r"<body>(.*)</body>", re.DOTALL)
# The page may run what it holds and may load nothing, whatever it holds.
_POLICY = "default-src 'none'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ background: #000; color: #ddd; font: 15px sans-serif; margin: 1em auto; max-width: 1200px;
  padding: 0 1em; }}
h1 {{ font-size: 1.2em; overflow-wrap: anywhere; }}
.hidden {{ display: none; }}
.stamp {{ color: #ff6b6b; font-weight: bold; }}
</style>
</head>
<body>
{stamps}<h1><bdi>{title}</bdi></h1>
<p>{notes}</p>
{viewer}
</body>
</html>
"""


def write_view(
    path: Path,
    image: PlacedVolume,
    map: PlacedVolume,
    title: str,
    *,
    side_known: bool = False,
    text: str = "",
    stamps: Sequence[str] = (),
) -> Path:
    """Write a page with three planes to click through, at first at the map's peak.

    Args:
        path: HTML file to write.
        image: The processed image.
        map: Attribution on its grid, 0 or more; shown as share of its maximum.
        title: Over the planes; any text, it is shown as it is.
        side_known: Whether left and right can be told; if not, neither is named.
        text: Under the title.
        stamps: Warnings, in red above the title.

    Returns:
        `path`. The file is under 5 MB: a larger image is shown with larger voxels.

    Raises:
        ImageError: Image and map have other shapes.
    """
    if image.data.shape != map.data.shape:
        raise ImageError(
            f"{title}: the image has {list(image.data.shape)} voxels, its map "
            f"{list(map.data.shape)}"
        )
    notes = _notes(image, map, text, side_known)
    for voxels in _VOXELS:
        page = _PAGE.format(
            policy=_POLICY,
            title=_safe(title),
            stamps="".join(f'<p class="stamp">{_safe(stamp)}</p>\n' for stamp in stamps),
            notes="<br>\n".join(_safe(note) for note in notes),
            viewer=_viewer(image, map, voxels, side_known),
        )
        if len(page) < _MAX_BYTES:
            break
    with atomic_file(path, "w") as file:
        file.write(page)
    return path


def _safe(text: str) -> str:
    """Return text for HTML: no tag, no quote, no sign that is invisible or turns the line."""
    return html.escape("".join(c if c.isprintable() else " " for c in text[:500]))


def _notes(image: PlacedVolume, values: PlacedVolume, text: str, side_known: bool) -> list[str]:
    """Return what stands under the title."""
    _, of_header = shown_affine(image)
    origin = "of the scan's header" if of_header else "from the scan's left, back and bottom"
    notes = [text] if text else []
    notes.append(
        f"Colours: share of the map's maximum. Coordinates: mm {origin}. Click or drag to move."
    )
    if not side_known:
        notes.append("Side unknown: which half is the left one cannot be told.")
    if peak(values.data) is None:
        notes.append(NOTHING)
    return notes


def _viewer(image: PlacedVolume, values: PlacedVolume, voxels: int, side_known: bool) -> str:
    """Return nilearn's viewer as the inside of a page; the head, which loads an icon, is left."""
    # Imported here: nilearn takes a second, which every command would pay.
    from nilearn.plotting import view_img

    affine, _ = shown_affine(image)
    anatomy, matrix = cubes(image.data, affine, voxels)
    shown, _ = cubes(share_of_maximum(values.data), affine, voxels)
    point = peak(shown)
    place = [n // 2 for n in shown.shape] if point is None else point
    # Above 0, which nilearn takes as no data; it shows `dim` times half the range beyond 1.
    grey = np.clip(anatomy / (BRIGHTEST * grey_limits(image.data)[1]), 1e-3, 1)
    view = view_img(
        nib.Nifti1Image(shown, matrix), bg_img=nib.Nifti1Image(grey, matrix),
        cut_coords=apply_affine(matrix, place), threshold=None, cmap=MAP_COLOURS,
        symmetric_cmap=False, vmin=0, vmax=1, black_bg=True, dim=2 / BRIGHTEST - 2, title=None,
        show_lr=side_known, resampling_interpolation="nearest",
    )  # fmt: skip
    (viewer,) = _BODY.findall(view.html)
    # Blue lines on black cannot be seen, and their colour is no option of nilearn's.
    lines = '"crosshair": true'
    return str(viewer).replace(lines, f'{lines}, "colorCrosshair": "{CROSSHAIR}"')


def cubes(data: NDArray[Any], affine: Matrix, voxels: int) -> tuple[NDArray[np.float32], Matrix]:
    """Resample linearly to cubes, about `voxels` of them at most; return them and their affine."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    extent = edges * data.shape
    edge = max(min(float(edges.min()), _FINEST), float(np.prod(extent) / voxels) ** (1 / 3))
    step = edge / edges  # voxels per cube
    shape = np.maximum(np.rint(extent / edge), 1).astype(int)
    offset = (np.array(data.shape) - 1) / 2 - step * (shape - 1) / 2
    values = np.nan_to_num(data)
    if step.max() > 1.25:  # linear interpolation aliases when voxels grow
        values = ndimage.gaussian_filter(values, 0.5 * np.sqrt(np.maximum(step**2 - 1, 0)))
    out = ndimage.affine_transform(
        values, step, offset, tuple(shape), np.float32, order=1, mode="nearest"
    )
    to_data = np.diag([*step, 1.0])
    to_data[:3, 3] = offset
    matrix = affine @ to_data
    if not np.count_nonzero(matrix[:3, :3] - np.diag(np.diag(matrix))[:3, :3]):
        matrix[:3, :3] = np.eye(3) * edge  # exactly alike, or nilearn resamples once more
    return np.asarray(out), matrix
