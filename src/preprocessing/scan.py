"""One raw scan to its processed files, with a record of what was written and from what.

Runs in worker processes: what goes in is paths and settings, what comes out is a short record.
The record also keeps the grid of the stored scan, so that maps find the way back without it.

Arrays: ``H W`` pixels of a slice, ``X Y Z`` voxels of a volume, RAS+. A stored array has the axes
of its file; 8-bit slices, which have no common file, make one of (row, column, slice - first
slice). Matrices are 4 x 4 and act on ``(index, 1)``; lengths are mm.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import PreprocessConfig
from ..config.own_files import in_short
from ..errors import DataNotFoundError, ImageError, ManifestError, MriError, in_one_line
from ..files import atomic_file, read_json
from .intensity import brain_mask, bright_level, scale_inside, slice_mask
from .io import Volume, read_slice, read_volume
from .record_check import check_record
from .resample import brain_box, brain_cube, whole_slab
from .slice_files import file_of, slice_path, write_files
from .slices import choose_slices, cut_slice, fit_square, slice_matrix

logger = logging.getLogger(__name__)
Pictures = tuple[NDArray[np.uint8], ...]
#: What images are made of.
Source = Volume | Pictures
#: Raise when the same settings no longer give the same files, so that old ones are redone.
VERSION = 4
RECORDS = ".scans"


@dataclass(frozen=True)
class Scan:
    """One session of one person: a volume, or the slices of it.

    Attributes:
        name: ``<subject>_<session>``, unique, safe as a file name.
        sources: Raw files, one volume or one file per slice.
        slices: Slice number of each source, ascending; empty for a volume.
        folders: ``<split>/<Class>`` of each source.
        axes: Orientation the cohort declares, or None.
        dim: ``"2d"`` or ``"3d"``.
        side_known: Whether the cohort, and the scan before it was prepared, tell left from right.
        packed: Whether its slices go into one ZIP, see `slice_files`.
    """

    name: str
    sources: tuple[Path, ...]
    slices: tuple[int, ...]
    folders: tuple[str, ...]
    axes: str | None
    dim: str
    side_known: bool = True
    packed: bool = False


def scan_key(scan: Scan, settings: PreprocessConfig) -> str:
    """Return a hash of everything that the scan's files depend on."""
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in scan.sources]
    parts = [
        *(VERSION, vars(settings), stats, scan.slices, scan.folders),
        *(scan.axes, scan.dim, scan.side_known),
        *(["packed"] if scan.packed else []),
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def read_record(out: str | Path, name: str) -> dict[str, Any] | None:
    """Return the record of scan `name`, or None when there is none.

    Raises:
        ManifestError: The record is damaged.
    """
    out = Path(out)
    path = out / RECORDS / f"{name}.json"
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = read_json(path)
        check_record(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, MriError):
            raise
        raise ManifestError(
            f"{path} is damaged: {in_short(error)}",
            hint=f"remove {path}, and run --mode preprocess again",
        ) from None
    return record


def _usable_record(out: Path, name: str) -> dict[str, Any] | None:
    """Return the record of a scan that may be made again; of a damaged one nothing, and a line."""
    try:
        return read_record(out, name)
    except ManifestError as error:
        logger.warning("%s; the scan is made again", error.message)
        return None


def is_done(out: Path, scan: Scan, settings: PreprocessConfig) -> bool:
    """Return whether the scan's files are there and made with these settings from these sources."""
    record = _usable_record(out, scan.name)
    if record is None or record["key"] != scan_key(scan, settings):
        return False
    return all(file.is_file() for file in {file_of(out / one["path"]) for one in record["files"]})


def remove_scan(out: Path, name: str) -> None:
    """Remove a scan's files and its record; only files that the record names are touched."""
    record = _usable_record(out, name)
    root = out.resolve()
    for file in record["files"] if record else ():
        path = file_of(root / file["path"]).resolve()
        if root in path.parents:
            path.unlink(missing_ok=True)
    (out / RECORDS / f"{name}.json").unlink(missing_ok=True)


def make_once(scan: Scan, out: Path, settings: PreprocessConfig) -> tuple[str, str | None]:
    """Make a scan unless it is done, as when a cluster lost the worker that did it.

    Returns:
        The scan's name, and why it was rejected or None.

    Raises:
        DataNotFoundError: The raw files' folder is not there, for the process that runs this.
    """
    folder = scan.sources[0].parent
    if not folder.is_dir():
        raise DataNotFoundError(
            f"{folder.absolute()} on {socket.gethostname()}",
            hint="every worker must see the raw data under the same path",
        )
    if is_done(out, scan, settings):
        return scan.name, None
    return scan.name, make_scan(out, scan, settings)


def make_scan(out: Path, scan: Scan, settings: PreprocessConfig) -> str | None:
    """Write the processed files of one scan, then its record; return why not, or None.

    Args:
        out: Folder of the processed data set.
        scan: What to read.
        settings: How to make it.

    Returns:
        None when it is done, or the reason why the scan was rejected (nothing is kept of it).
    """
    cv2.setNumThreads(1)  # the scans are the parallel unit
    remove_scan(out, scan.name)
    files: list[dict[str, Any]] = []
    grids: list[dict[str, Any]] = []

    def contents(pieces: Iterator[_Piece]) -> Iterator[tuple[Path, memoryview]]:
        for piece in pieces:
            content = piece.encoded()
            files.append(
                {
                    **{"path": piece.path, "slice": piece.slice},
                    "fingerprint": hashlib.blake2b(content, digest_size=16).hexdigest(),
                    "to_stored": np.round(piece.to_stored, 6).tolist(),
                }
            )
            grids.append({"grid": list(piece.data.shape), "stored": piece.stored})
            yield out / piece.path, content

    try:
        key = scan_key(scan, settings)
        source = read_source(scan)
        write_files(contents(_pieces(scan, source, settings)))
    except (ImageError, FileNotFoundError) as error:
        for written in files:
            file_of(out / str(written["path"])).unlink(missing_ok=True)
        return in_one_line(error)
    # Slices of several sizes are no array: their images can be used, but no map goes back.
    grid = grids[0] if all(grid == grids[0] for grid in grids) else {"grid": None, "stored": None}
    with atomic_file(out / RECORDS / f"{scan.name}.json", "w") as file:
        record = {"key": key, **grid, "files": files, **_about(scan, source)}
        file.write(json.dumps(record))  # indents take milliseconds
    return None


def read_source(scan: Scan) -> Source:
    """Return what preprocessing makes images of: a volume, or the 8-bit slices of one.

    Raises:
        ImageError: A file is damaged, or no scan.
        FileNotFoundError: A file is gone.
    """
    if scan.slices:
        return tuple(read_slice(path) for path in scan.sources)
    return read_volume(scan.sources[0], scan.axes)


def made_of(
    scan: Scan, source: Source, settings: PreprocessConfig
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return the images that become of a source, as the files of `make_scan` hold them.

    Args:
        scan: Whose; its files are not read.
        source: As `read_source` returns it, or changed since.
        settings: How to make them.

    Returns:
        ``(n, H, W)`` uint8 or ``(1, X, Y, Z)`` float16 in [0, 1], and the slice number of each;
        none of a volume.

    Raises:
        ImageError: No image can be made of it.
    """
    pieces = list(_pieces(scan, source, settings))
    if pieces[0].slice is None:
        return pieces[0].data.astype(np.float16)[None], ()
    return np.stack([one.data for one in pieces]), tuple(int(one.slice or 0) for one in pieces)


def _about(scan: Scan, source: Source) -> dict[str, Any]:
    """Return what the record says beside files: the side, and what was noticed on reading."""
    volume = source if isinstance(source, Volume) else None
    return {
        "side_known": scan.side_known and (volume is None or volume.side_known),
        "notes": [] if volume is None else list(volume.notes),
    }


@dataclass(frozen=True)
class _Piece:
    """One processed file.

    Attributes:
        path: Relative to the processed data set.
        slice: Its index in the scan (RAS+ order), or None for a volume.
        data: ``(H, W)`` uint8 or ``(X, Y, Z)`` float32 in [0, 1].
        to_stored: (row, column, slice) or (x, y, z) in `data` -> index in the stored array.
        stored: Grid of the stored array, as the record has it.
    """

    path: str
    slice: int | None
    data: NDArray[np.uint8] | NDArray[np.float32]
    to_stored: NDArray[np.float64]
    stored: dict[str, Any]

    def encoded(self) -> memoryview:
        """Return the content of the file."""
        return _png(self.data) if self.data.ndim == 2 else _npy(self.data)


def _pieces(scan: Scan, source: Source, settings: PreprocessConfig) -> Iterator[_Piece]:
    """Yield what becomes of the scan, file by file."""
    if isinstance(source, Volume):
        return _cube(scan, source, settings) if scan.dim == "3d" else _cuts(scan, source, settings)
    return _slab(scan, source, settings) if scan.dim == "3d" else _pictures(scan, source, settings)


def _cuts(scan: Scan, volume: Volume, settings: PreprocessConfig) -> Iterator[_Piece]:
    """Volume -> slices."""
    brain = brain_mask(volume.stored)
    top = bright_level(volume.stored, brain)
    data, mask = volume.data, volume.in_ras(brain)  # views: only the slices become float
    plane = settings.slice_axis
    rows, columns = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[plane]
    pixel = (volume.voxel_size[rows], volume.voxel_size[columns])
    stored = _stored_volume(volume)
    for index in choose_slices(mask, plane, settings.num_slices):
        inside = cut_slice(mask, plane, index)
        scaled = scale_inside(cut_slice(data, plane, index), inside, top)
        square, fit = fit_square(scaled, pixel, settings.image_size)
        matrix = volume.to_stored @ slice_matrix(data.shape, plane, fit)
        yield _Piece(_slice_path(scan, 0, index), index, square, matrix, stored)


def _pictures(scan: Scan, pictures: Pictures, settings: PreprocessConfig) -> Iterator[_Piece]:
    """8-bit slices -> slices of one size."""
    for position, (pixels, index) in enumerate(zip(pictures, scan.slices, strict=True)):
        scaled = _scaled_picture(pixels)
        square, fit = fit_square(scaled, (1, 1), settings.image_size)
        matrix = np.eye(4)
        matrix[np.ix_([0, 1, 3], [0, 1, 3])] = fit
        matrix[2, 3] = -scan.slices[0]
        stored = _stored_slices(pixels.shape, scan.slices)
        yield _Piece(_slice_path(scan, position, index), index, square, matrix, stored)


def _cube(scan: Scan, volume: Volume, settings: PreprocessConfig) -> Iterator[_Piece]:
    """Volume -> brain in a cube."""
    mask = brain_mask(volume.stored)
    top = bright_level(volume.stored, mask)
    path = f"{scan.folders[0]}/{scan.name}.npy"
    if settings.field == "whole":
        whole = volume.in_ras(scale_inside(volume.stored, mask, top))
        data, matrix = whole_slab(whole, volume.voxel_size, settings.volume_size)
        yield _Piece(path, None, data, volume.to_stored @ matrix, _stored_volume(volume))
        return
    box = brain_box(mask)
    brain = volume.in_ras(scale_inside(volume.stored[box], mask[box], top))
    cube, matrix = brain_cube(brain, volume.voxel_size, settings.volume_size)
    matrix = volume.part_to_stored(box) @ matrix
    yield _Piece(path, None, cube, matrix, _stored_volume(volume))


def _slab(scan: Scan, pictures: Pictures, settings: PreprocessConfig) -> Iterator[_Piece]:
    """8-bit axial slices, 1 mm apart, bottom to top -> volume of the slab."""
    gaps = np.diff(scan.slices)
    if len(gaps) < 7 or (gaps != 1).any():
        raise ImageError(f"{len(scan.slices)} slices that are not consecutive make no volume")
    shape = pictures[0].shape
    if any(picture.shape != shape for picture in pictures):
        raise ImageError("its slices differ in size")
    scaled = [_scaled_picture(picture) for picture in pictures]
    data = np.stack([picture.T for picture in scaled], axis=2)  # H W, back in row 0 -> X Y Z
    slab, matrix = whole_slab(data, (1.0, 1.0, 1.0), settings.volume_size)
    path, stored = f"{scan.folders[0]}/{scan.name}.npy", _stored_slices(shape, scan.slices)
    yield _Piece(path, None, slab, np.linalg.inv(stored["to_ras"]) @ matrix, stored)


def _scaled_picture(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    mask = slice_mask(pixels)
    return scale_inside(pixels, mask, bright_level(pixels, mask))


def _stored_volume(volume: Volume) -> dict[str, Any]:
    """Return the grid of a stored volume: shape, affine of its header, and RAS+ mm.

    The header's affine is what viewers show; `to_ras` follows the declared axes, is never
    rotated, and starts in the first RAS+ voxel.
    """
    shape = np.abs(volume.to_stored[:3, :3]) @ volume.data.shape
    to_ras = np.diag([*volume.voxel_size, 1.0]) @ np.linalg.inv(volume.to_stored)
    return {
        "shape": [int(edge) for edge in shape.round()],
        "affine": volume.stored_affine.tolist(),
        "to_ras": (to_ras + 0.0).tolist(),  # no -0.0
    }


def _stored_slices(shape: tuple[int, ...], slices: tuple[int, ...]) -> dict[str, Any]:
    """Return the grid of axial slices, 1 mm apart: (row, column, slice - first slice).

    Args:
        shape: H, W of a slice; row 0 is the back of the head, as in the Kaggle JPGs.
        slices: Numbers of the slices, bottom to top.
    """
    height, width = shape
    to_ras = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    extent = [height, width, slices[-1] - slices[0] + 1]
    return {"shape": extent, "affine": to_ras, "to_ras": to_ras}


def _slice_path(scan: Scan, position: int, index: int) -> str:
    return slice_path(scan.folders[position], scan.name, index, packed=scan.packed)


def _png(pixels: NDArray[Any]) -> memoryview:
    good, buffer = cv2.imencode(".png", pixels)
    if not good:
        raise ImageError("the slice cannot be encoded as PNG")
    return buffer.data


def _npy(data: NDArray[Any]) -> memoryview:
    buffer = io.BytesIO()
    np.save(buffer, data.astype(np.float16, order="C"))
    return buffer.getbuffer()
