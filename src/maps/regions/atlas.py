"""Named regions on the template's grid: the coarse ones made here, or those of an atlas file.

Arrays: ``X Y Z`` voxels of the template's grid, RAS+ at 2 mm. Affines are 4 x 4, index -> MNI mm.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...errors import DataNotFoundError, ImageError, ManifestError, foreign_bytes
from ...files import read_text
from ...preprocessing.container import open_scan
from ...preprocessing.io import MAX_VOXELS
from ...preprocessing.space.template import template
from .coarse_atlas import REGIONS, label_regions

MAX_REGIONS = 500
_MAX_TEXT = 1_000_000  # bytes of a labels file
_MAX_NAME = 80  # characters
_IN_BRAIN = 0.5  # share of an atlas's voxels that must lie in the template's brain
_NUMBERS, _NAMES = (
    ("index", "number", "id", "value", "label"),
    ("name", "region", "structure", "label"),
)
_SPACE = "an atlas must be in MNI space, as its own affine says"
_LINES = "one region a line: number and name, between them a blank, a comma or a tab"


@dataclass(frozen=True)
class Atlas:
    """Regions of the template's brain.

    Attributes:
        names: Region ``names[i]`` has the number i + 1 in `labels`.
        labels: (X, Y, Z) number of each voxel's region; 0 is in none.
        source: What it is, in words.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int16]
    source: str


@lru_cache(maxsize=1)
def coarse_atlas() -> Atlas:
    """Return the coarse regions of the template; see `coarse`."""
    labels = label_regions(template())
    labels.flags.writeable = False
    return Atlas(REGIONS, labels, "coarse regions of ICBM152, made from its tissue maps and sulci")


def read_atlas(file: str | Path, labels_file: str | Path) -> Atlas:
    """Read an atlas of numbered regions and lay it on the template's grid, nearest voxel.

    Numbers with the same name become one region, which joins left and right where a labels file
    names them alike. 0 is no region.

    Args:
        file: NIfTI of whole numbers, in MNI mm by its affine.
        labels_file: A line per region: ``17 Hippocampus``, ``17,Hippocampus``, FreeSurfer's colour
            table, or a table (tabs or commas) with a header. ``#`` starts a comment.

    Raises:
        DataNotFoundError: A file is not there.
        ImageError: The image is damaged, too large, not one of whole numbers, or not in MNI space.
        ManifestError: The labels are malformed, or a number in the image has no name.
    """
    file = Path(file)
    labels_file = Path(labels_file)
    for path in (file, labels_file):
        if not path.is_file():
            raise DataNotFoundError(path, hint="name an atlas with --atlas and --atlas_labels")
    named = read_labels(labels_file)
    numbers, affine = _read_numbers(file)
    present = np.unique(numbers[numbers > 0])
    unnamed = [int(number) for number in present if int(number) not in named]
    if unnamed:
        raise ManifestError(
            f"{labels_file.name} names no region {', '.join(map(str, unnamed[:5]))}, "
            f"which {file.name} has",
            hint=_LINES,
        )
    return _on_template(numbers, affine, named, file.name)


def read_labels(path: str | Path) -> dict[int, str]:
    """Read the names of an atlas's numbers; see `read_atlas`.

    Raises:
        ManifestError: The file is too large, no text, or has a line without number and name.
    """
    path = Path(path)
    if path.stat().st_size > _MAX_TEXT:
        raise ManifestError(f"{path.name} is larger than 1 MB, too large for names", hint=_LINES)
    try:
        text = read_text(path, "utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(f"{path.name} is no text in UTF-8", hint=_LINES) from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ManifestError(f"{path.name} names no region", hint=_LINES)
    table = not re.match(r"\s*\d+\b", lines[0])
    pairs = _table(lines, path.name) if table else [_pair(line, path.name) for line in lines]
    named: dict[int, str] = {}
    for number, name in pairs:
        if named.setdefault(number, name) != name:
            raise ManifestError(f"{path.name} names {number} twice: {named[number]!r}, {name!r}")
    return named


def _pair(line: str, source: str) -> tuple[int, str]:
    """Return number and name of a line; the colours of a FreeSurfer table are dropped."""
    parts = re.fullmatch(r"\s*(\d{1,9})(?:\s*[,;\t]\s*|\s+)(.+?)(?:(?:\s+\d{1,3}){3,4})?\s*", line)
    if parts is None:
        raise ManifestError(f"{source}: no number and name in {line[:60]!r}", hint=_LINES)
    return int(parts[1]), _clean(parts[2])


def _table(lines: list[str], source: str) -> list[tuple[int, str]]:
    """Return the pairs of a table whose header names a column of numbers and one of names."""
    delimiter = "\t" if "\t" in lines[0] else ","
    rows = list(csv.reader(lines, delimiter=delimiter))
    header = [cell.strip().lower() for cell in rows[0]]
    number = next((header.index(word) for word in _NUMBERS if word in header), None)
    name = next(
        (header.index(word) for word in _NAMES if word in header and header.index(word) != number),
        None,
    )
    if number is None or name is None:
        raise ManifestError(
            f"{source}: the header {lines[0][:60]!r} has no columns 'index' and 'name'", hint=_LINES
        )
    pairs = []
    for row, line in zip(rows[1:], lines[1:], strict=False):
        if len(row) <= max(number, name) or not re.fullmatch(r"\s*\d{1,9}\s*", row[number]):
            raise ManifestError(f"{source}: no number and name in {line[:60]!r}", hint=_LINES)
        pairs.append((int(row[number]), _clean(row[name])))
    return pairs


def _clean(name: str) -> str:
    """Return a name of one line, without quotes around it, of bearable length."""
    printable = "".join(c if c.isprintable() else " " for c in name).strip().strip("\"'").strip()
    return printable[:_MAX_NAME] or "unnamed"


def _read_numbers(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the (I, J, K) numbers of an atlas image and its affine."""
    with foreign_bytes(ImageError, f"{path.name} cannot be read"), open_scan(path) as image:
        shape = _spatial(image.shape, path.name)
        data = np.asarray(image.dataobj).reshape(shape)
        affine = np.asarray(image.affine, dtype=float)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ImageError(f"{path.name} has an affine without an inverse", hint=_SPACE)
    return _whole(data, path.name), affine


def _spatial(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    spatial = list(shape)
    while len(spatial) > 3 and spatial[-1] == 1:
        spatial.pop()
    edges = " x ".join(map(str, shape))
    if len(spatial) != 3:
        raise ImageError(
            f"{name} is {edges}, not one volume of numbered regions",
            hint="probability maps must be joined into one volume first",
        )
    if np.prod([float(edge) for edge in spatial]) > MAX_VOXELS:
        raise ImageError(f"{name} claims {edges} voxels; the limit is 512^3")
    return tuple(spatial)


def _whole(data: NDArray[Any], name: str) -> NDArray[np.int32]:
    if data.dtype.kind not in "iuf":
        raise ImageError(f"{name} holds {data.dtype}, not one number per voxel")
    if not np.isfinite(data).all() or (data < 0).any() or (data > 10**9).any():
        raise ImageError(f"{name} holds numbers that are no region: negative, huge or not finite")
    whole: NDArray[np.int32] = np.rint(data).astype(np.int32)
    if np.abs(whole - data).max() > 1e-3:
        raise ImageError(f"{name} holds fractions, not numbers of regions")
    if not whole.any():
        raise ImageError(f"{name} is empty: every voxel is 0")
    return whole


def _on_template(
    numbers: NDArray[np.int32], affine: NDArray[np.float64], named: Mapping[int, str], name: str
) -> Atlas:
    """Resample the numbers, and number the regions that are there from 1."""
    target = template()
    step = np.linalg.inv(affine) @ target.affine
    there = ndimage.affine_transform(
        numbers, step[:3, :3], step[:3, 3], target.t1.shape, np.int32, order=0, mode="constant"
    )
    voxel = np.abs(np.linalg.det(affine[:3, :3]))
    shown = (there > 0)[target.brain].sum() * np.abs(np.linalg.det(target.affine[:3, :3]))
    if shown < _IN_BRAIN * (numbers > 0).sum() * voxel:
        raise ImageError(f"most of {name} lies outside the template's brain", hint=_SPACE)
    found, place = np.unique(there, return_inverse=True)
    names = tuple(dict.fromkeys(named[int(number)] for number in found if number > 0))
    if len(names) > MAX_REGIONS:
        raise ManifestError(f"{name} has {len(names)} regions; the limit is {MAX_REGIONS}")
    rank = {region: i + 1 for i, region in enumerate(names)}
    lookup = np.array([rank[named[int(n)]] if n > 0 else 0 for n in found], np.int16)
    labels = lookup[place].reshape(there.shape)
    labels.flags.writeable = False
    return Atlas(names, labels, name)
