"""Open every file of a set once: its content's hash, what its header says, and small pictures.

Files are read one after the other and let go; what stays is about 10 kB of each.

Axes: N images, V planes (1 or 3), F frames (plain, posed).
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from ..cohorts.pictures import decode_picture
from ..data.image_file import read_header
from ..preprocessing.slice_files import read_file
from ..report.canvas import plain
from ..runtime import progress, usable_cores
from .pose import Picture, frames, thumbnails

_AT_ONCE = 1024  # files
_SLAB = 16  # a slab is a sixteenth of a volume thick
_PLANES = (2, 1, 0)  # axial, coronal, sagittal
_Facts = dict[str, Any]


@dataclass(frozen=True)
class Files:
    """What was read.

    Attributes:
        facts: One row per file: ``damaged`` (a reason, or empty), ``fingerprint``, ``pixels``,
            ``blank`` and the attributes of `audit_metadata`.
        thumbnails: (N, V, F, 52, 44); zeros for a damaged file.
    """

    facts: pd.DataFrame
    thumbnails: Picture


def read_files(paths: Sequence[Path], planes: int = len(_PLANES)) -> Files:
    """Read all files; a damaged one is noted and stops nothing.

    Args:
        paths: Pictures or volumes.
        planes: Of how many planes of a volume thumbnails are kept; the first is axial.
    """
    one = thumbnails(frames(np.zeros((8, 8), np.uint8)))
    kept = np.zeros((len(paths), 1, *one.shape), np.uint8)
    facts: list[_Facts] = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        # A part is asked for when the last one is done: what waits to be read takes memory too.
        parts = (paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE))
        read = chain.from_iterable(pool.map(_read_one, part) for part in parts)
        for found, small in progress(read, total=len(paths), desc="read"):
            small = small if small is None else small[:planes]
            if small is not None and len(small) > kept.shape[1]:  # the first volume: three planes
                kept = np.zeros((len(paths), len(small), *one.shape), np.uint8)
            if small is not None and len(small) == kept.shape[1]:
                kept[len(facts)] = small
            facts.append(found)
    return Files(pd.DataFrame(facts), kept)


def read_pictures(path: Path) -> list[Picture]:
    """Return a file's picture, or the middle slabs of its volume, with 256 grey levels.

    Raises:
        ValueError or OSError: The file is damaged.
    """
    return _decode(read_file(path), path.suffix.lower())[1]


def _read_one(path: Path) -> tuple[_Facts, Picture | None]:
    try:
        data = read_file(path)
        facts, pictures = _decode(data, path.suffix.lower())
        small = np.stack([thumbnails(frames(picture)) for picture in pictures])
    except Exception as error:  # noqa: BLE001 - whatever a parser raises, the file is a finding
        reason = plain(str(error).splitlines()[0] if str(error) else type(error).__name__)
        return {"damaged": reason, "fingerprint": None, "pixels": None, "blank": False}, None
    named = {"damaged": "", "fingerprint": _hash(data), "file_size": len(data)}
    return named | facts, small


def _decode(data: bytes, suffix: str) -> tuple[_Facts, list[Picture]]:
    if suffix == ".npy":
        return _decode_volume(data)
    grey = decode_picture(data, "picture")
    image = Image.open(io.BytesIO(data))
    width, height = image.size
    header: _Facts = {
        "size": f"{width} x {height}",
        "mode": image.mode,
        "format": str(image.format),
        "header": _header(image),
    }
    return header | _brightness(grey) | {"pixels": _hash_array(grey)}, [grey]


def _decode_volume(data: bytes) -> tuple[_Facts, list[Picture]]:
    file = io.BytesIO(data)
    shape, fortran, dtype = read_header(file)
    # A view: no memory is taken on the word of a header.
    values = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    volume = values.reshape(shape, order="F" if fortran else "C")
    if volume.ndim != 3 or not np.issubdtype(volume.dtype, np.number) or min(volume.shape) < 4:
        raise ValueError(f"{volume.ndim}D {volume.dtype}, no volume")
    slabs = [_slab(volume, axis) for axis in _PLANES]
    if not all(np.isfinite(slab).all() for slab in slabs):
        raise ValueError("holds values that are not finite")
    header: _Facts = {
        "size": " x ".join(map(str, volume.shape)),
        "mode": str(volume.dtype),
        "format": "npy",
        "header": "Fortran order" if np.isfortran(volume) else "C order",
    }
    pixels = {"pixels": _hash_array(volume), "blank": bool(volume.min() == volume.max())}
    corners = volume[:: volume.shape[0] - 1, :: volume.shape[1] - 1, :: volume.shape[2] - 1]
    levels = {
        "background": float(np.median(corners)),
        "brightness": float(volume.mean(dtype=np.float64)),
    }
    return header | levels | pixels, [_levels(slab) for slab in slabs]


def _slab(volume: npt.NDArray[Any], axis: int) -> npt.NDArray[np.float32]:
    """Return the mean of the middle slab across `axis`, as it is looked at: the top is up."""
    n = volume.shape[axis]
    thick = max(1, n // _SLAB)
    start = (n - thick) // 2
    slab = np.take(volume, range(start, start + thick), axis=axis)
    mean = slab.astype(np.float32).mean(axis=axis)
    return np.asarray(np.rot90(mean), dtype=np.float32)


def _levels(values: npt.NDArray[np.float32]) -> Picture:
    low, high = min(float(values.min()), 0.0), float(values.max())
    levels = (values - low) * (255 / max(high - low, 1e-9))
    return np.ascontiguousarray(levels.round().astype(np.uint8))


def _brightness(grey: Picture) -> _Facts:
    edge = max(1, min(grey.shape) // 16)
    ends = (slice(None, edge), slice(-edge, None))
    corners = np.concatenate([grey[rows, columns].ravel() for rows in ends for columns in ends])
    return {
        "background": float(np.median(corners)),
        "brightness": float(grey.mean()),
        "blank": bool(grey.min() == grey.max()),
    }


def _header(image: Image.Image) -> str:
    """Return what the header holds besides size and mode: JPEG tables, fields and EXIF tags."""
    tables = getattr(image, "quantization", None) or {}
    fields = {
        str(key): value if isinstance(value, (int, float, str, tuple)) else type(value).__name__
        for key, value in image.info.items()
        if key not in ("exif", "icc_profile")
    }
    exif = {int(tag): str(value) for tag, value in image.getexif().items()}
    parts = [sorted((k, list(v)) for k, v in tables.items()), sorted(fields.items()), exif]
    named = ", ".join([*sorted(fields), *(f"EXIF {tag}" for tag in sorted(exif))])
    return f"{plain(named, 60)} [{_hash(repr(parts).encode())[:6]}]"


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _hash_array(values: npt.NDArray[Any]) -> str:
    return _hash(repr(values.shape).encode() + np.ascontiguousarray(values).tobytes())
