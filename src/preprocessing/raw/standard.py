"""One raw scan -> one standard scan: upright, evened out, the brain alone, in template space.

Written are ``<name>.nii.gz`` (RAS+, 1 mm, int16, 0 outside the brain), ``<name>.json`` beside it
with what was done and measured, and ``<name>.jpg`` to look at. Matrices are 4 x 4 on RAS+ mm.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cohorts.file_kinds import scan_stem
from ...config import ScanConfig
from ...config.own_files import in_short
from ...errors import ImageError, ManifestError, in_one_line
from ...files import atomic_file, read_json, write_json
from ..io import write_nifti
from .brain import even_out, find_brain, is_stripped, whole_content
from .convert import RawScan, read_any
from .laid import ENDING, Grid, LaidScan, lay, write_laid
from .quality import Quality, judge, scan_picture
from .register import Registration, register, resample

logger = logging.getLogger(__name__)
Float = NDArray[np.float32]
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Raise when the same settings no longer give the same files.
VERSION = 4
#: The grid that is cut to: OASIS-1's field of view around the template's brain.
CUT_SHAPE, CUT_CENTRE = (176, 208, 176), (0.0, -17.0, 5.0)
#: The template's own grid.
WHOLE_SHAPE, WHOLE_START = (197, 233, 189), (-98.0, -134.0, -72.0)
#: A correlation with the template under which the head is also tried in half turns.
_DOUBTFUL = 0.45
_TOP = 4000.0  # stored value of the brain's 99.9th percentile
_DAY = 86400.0  # s: no step takes longer
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
_LIBRARIES = ("SimpleITK", "deepbet", "nibabel", "nilearn", "numpy", "scipy")


@dataclass(frozen=True)
class StandardScan:
    """A scan that was brought to the standard.

    Attributes:
        path: NIfTI: RAS+, 1 mm, int16, 0 outside the brain; in template space when registered.
        to_native: mm of the standard scan -> mm of the raw scan.
        quality: What was measured of it.
        steps: What was done, with seconds and versions of packages.
        registered: Whether it lies in template space.
        side_known: Whether the raw scan says which side is left.
        notes: What was noticed on reading it; they stand among the flags too.
    """

    path: Path
    to_native: Matrix
    quality: Quality
    steps: dict[str, Any]
    registered: bool
    side_known: bool = True
    notes: tuple[str, ...] = ()


def standardise(
    source: str | Path, target: str | Path, settings: ScanConfig, grid: Grid | None = None
) -> StandardScan:
    """Bring one raw scan to the standard, unless that is done already.

    Args:
        source: A file or a DICOM folder, see `convert.read_any`.
        target: Ends in ``.nii.gz``.
        settings: Which steps are taken.
        grid: A grid that the scan is laid on as well, if it is registered: `laid_beside` it.

    Raises:
        ImageError: It cannot be read, or no brain is found or laid.
        DataNotFoundError: There is no such scan.
        ConfigError: A package of the extra ``scans`` is missing.
    """
    source = Path(source)
    target = Path(target)
    key = scan_key(source, settings, grid)
    done = _finished(target, key, laid=grid is not None)
    if done is not None:
        if isinstance(done, str):
            raise ImageError(done)
        return done
    try:
        made, placement, standard, laid = _make(source, settings, grid)
    except ImageError as error:
        write_json(_record(target), {"key": key, "failed": in_one_line(error)})
        raise
    data, affine = standard
    write_nifti(target, data, affine, description="standard scan", dtype=np.int16)
    with atomic_file(target.with_name(_stem(target) + ".jpg")) as file:
        file.write(scan_picture(data, affine, registered=placement is not None))
    laid_beside(target).unlink(missing_ok=True)
    if laid is not None:
        write_laid(laid_beside(target), laid)
    write_json(_record(target), {"key": key, **made})
    return read_standard(target)


def laid_beside(target: Path) -> Path:
    """Return the file of a standard scan on the grid that was asked for."""
    return target.with_name(_stem(target) + ENDING)


def read_standard(target: str | Path) -> StandardScan:
    """Read what `standardise` wrote.

    Raises:
        ManifestError: The record is missing or damaged.
    """
    target = Path(target)
    path = _record(target)
    try:
        content = read_json(path)
        to_native = np.array(content["to_native"], dtype=float)
        if to_native.shape != (4, 4) or not np.isfinite(to_native).all():
            raise ValueError("to_native is no 4 x 4 matrix")
        quality = Quality.from_dict(content["quality"])
        seconds = content["steps"]["seconds"].values()
        if not all(isinstance(one, int | float) and abs(one) < _DAY for one in seconds):
            raise ValueError("the seconds of a step are no number")
        return StandardScan(
            *(target, to_native, quality, dict(content["steps"]), bool(content["registered"])),
            side_known=bool(content.get("side_known", True)),
            notes=tuple(map(str, content.get("notes", ()))),
        )
    except _DAMAGED as error:
        raise ManifestError(
            f"{path} is damaged: {in_short(error)}", hint=f"remove {path}"
        ) from None


def scan_key(source: Path, settings: ScanConfig, grid: Grid | None = None) -> str:
    """Return a hash of everything that the standard scan depends on."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    if source.name.lower().endswith((".img", ".img.gz")):
        files += [source.with_name(scan_stem(source.name) + end) for end in (".hdr", ".hdr.gz")]
    stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
    steps = [VERSION, stats, _chosen(settings), *([grid.key()] if grid else [])]
    return hashlib.blake2b(json.dumps(steps).encode(), digest_size=16).hexdigest()


def _chosen(settings: ScanConfig) -> dict[str, Any]:
    """Return the settings that change a standard scan: every step's own."""
    return {name: value for name, value in asdict(settings).items() if name != "let_in"}


def _finished(target: Path, key: str, *, laid: bool) -> StandardScan | str | None:
    """Return the standard scan that is there, why it failed, or None where it is to be made."""
    path = _record(target)
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path} is damaged: no JSON object")
        if content.get("key") != key:
            return None
        if "failed" in content:
            return str(content["failed"])
        made = read_standard(target)
    except ValueError as error:
        logger.warning("%s; the scan is made again", getattr(error, "message", error))
        return None
    files = [target, laid_beside(target)] if laid and made.registered else [target]
    return made if all(file.is_file() for file in files) else None


_Made = tuple[
    dict[str, Any], Registration | None, tuple[NDArray[np.int16], Matrix], LaidScan | None
]


def _make(source: Path, settings: ScanConfig, grid: Grid | None) -> _Made:
    """Return record, place, the standard scan with its affine, and the scan laid on `grid`."""
    clock = _Clock()
    scan = read_any(source)
    clock.tell("read")
    stripped = settings.brain == "none" or (settings.brain == "auto" and is_stripped(scan))
    data = even_out(scan) if settings.n4 else scan.data - min(float(scan.data.min()), 0.0)
    clock.tell("n4")
    mask = whole_content(scan) if stripped else find_brain(data)
    clock.tell("brain")
    placement = register(_alone(data, mask), scan.affine) if settings.register else None
    if placement and not stripped and placement.correlation < _DOUBTFUL:
        mask, placement = _turned(scan, data, mask, placement)
    brain = _alone(data, mask)
    clock.tell("register")
    to_native = np.eye(4) if placement is None else placement.to_native
    quality = judge(scan, brain, mask, placement)
    clock.tell("quality")
    shape, affine = _grid(scan, mask, placement, crop=settings.crop)
    laid = resample(brain, scan.affine, to_native, shape, affine)
    inside = resample(mask.astype(np.float32), scan.affine, to_native, shape, affine) > 0.5
    top = max(float(np.percentile(brain[mask], 99.9)), 1e-6)
    standard = np.where(inside, np.clip(laid / top * _TOP, 1, 32767), 0).astype(np.int16)
    on_grid = lay(data, mask, scan, placement, grid) if grid and placement else None
    clock.tell("resample")
    record = {
        "to_native": np.round(to_native, 8).tolist(),
        "registered": placement is not None,
        "side_known": scan.side_known,
        "notes": list(scan.notes),
        "quality": quality.to_dict(),
        "steps": {
            **_chosen(settings),
            "brain": "as it came" if stripped else "deepbet",
            "register": "affine, ICBM152 2009 symmetric" if placement else False,
            "turned": bool(placement and placement.turned),
            "seconds": clock.seconds,
            "versions": _versions(),
        },
    }
    return record, placement, (standard, affine), on_grid


def _alone(data: Float, mask: Mask) -> Float:
    return np.where(mask, data, np.float32(0))


def _turned(
    scan: RawScan, data: Float, mask: Mask, placement: Registration
) -> tuple[Mask, Registration]:
    """Return brain and place of a head whose header may be wrong by a half turn.

    The network that finds brains knows upright heads only.
    """
    best = (mask, placement)
    for axes in ((0, 1), (0, 2), (1, 2)):
        try:
            found = np.flip(find_brain(np.flip(data, axes)), axes)
            place = register(_alone(data, found), scan.affine)
        except ImageError:
            continue
        if place.correlation > best[1].correlation:
            best = (found, place)
    return best


def _grid(
    scan: RawScan, mask: Mask, placement: Registration | None, *, crop: bool
) -> tuple[tuple[int, int, int], Matrix]:
    """Return shape and affine of the standard scan's grid, 1 mm."""
    affine = np.eye(4)
    if placement is not None and not crop:
        affine[:3, 3] = WHOLE_START
        return WHOLE_SHAPE, affine
    if crop:
        centre = np.array(CUT_CENTRE)
        if placement is None:  # the brain's own middle
            places = np.array(np.nonzero(mask))
            middle = (places.min(axis=1) + places.max(axis=1)) / 2
            centre = np.round(scan.affine[:3, :3] @ middle + scan.affine[:3, 3])
        affine[:3, 3] = centre - (np.array(CUT_SHAPE) - 1) / 2
        return CUT_SHAPE, affine
    ends = np.array(np.meshgrid(*[(0, edge - 1) for edge in mask.shape])).reshape(3, -1)
    corners = scan.affine[:3, :3] @ ends + scan.affine[:3, 3:]
    low = np.floor(corners.min(axis=1))
    x, y, z = (int(edge) for edge in np.ceil(corners.max(axis=1) - low) + 1)
    affine[:3, 3] = low
    return (x, y, z), affine


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def tell(self, step: str) -> None:
        """Note the time since the last step."""
        now = time.perf_counter()
        self.seconds[step] = round(now - self._last, 2)
        self._last = now


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _stem(target: Path) -> str:
    return target.name.removesuffix(".nii.gz")


def _record(target: Path) -> Path:
    return target.with_name(_stem(target) + ".json")
