"""Scans that can be changed before the model's own preprocessing makes images of them.

Where the files that a data set was made of are there, the stored scan is changed, and images are
made of it as preprocessing makes them; unchanged, it must give the very images of the data set.
Where they are not, the processed images are changed.

Arrays: ``X Y Z`` voxels in RAS+ order, float32, zero in air; images ``(n, 1, H, W)`` or
``(1, 1, X, Y, Z)`` float32 in [0, 1]. Matrices are 4 x 4 and act on ``(index, 1)``. Lengths are mm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cohorts.registry import COHORT_REGISTRY
from ..config import PreprocessConfig, RunConfig, ScanConfig
from ..config.data import made_with
from ..config.options import build_config
from ..data.augment import to_unit
from ..data.dataset import MriDataset
from ..data.sessions import Session, images_of, placed, plane_of
from ..errors import DataNotFoundError, ImageError, MriError
from ..manifest import PEOPLE_UNKNOWN
from ..preprocessing.io import Volume
from ..preprocessing.processed import list_scans, workers_of
from ..preprocessing.raw.cohort import standard_scans
from ..preprocessing.scan import Scan, Source, made_of, read_source
from ..preprocessing.slices import PLANES

logger = logging.getLogger(__name__)
Float = NDArray[np.float32]
Matrix = NDArray[np.float64]
#: Where a stack of pictures has its axes: X is their columns, Y their rows, Z their number.
_OF_PICTURES = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
_BRIGHT = 99  # percentile of what is not air that counts as the brightest tissue


@dataclass(frozen=True, eq=False)
class OpenScan:
    """One session's scan, in memory.

    Attributes:
        name: ``<subject>_<session>``.
        subject: Person.
        label: True class.
        data: ``(X, Y, Z)``, zero in air.
        to_ras: Its index -> RAS+ mm of the frame that scans of the cohort share.
        top: Brightness of the brightest tissue, in the unit of `data`.
        slices: Slice number of each image; empty in 3D.
        make: Changed data -> images, and the slice number of each.
    """

    name: str
    subject: str
    label: int
    data: Float
    to_ras: Matrix
    top: float
    slices: tuple[int, ...]
    make: Callable[[Float], tuple[Tensor, tuple[int, ...]]]

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Edges of a voxel along X, Y and Z."""
        x, y, z = (float(edge) for edge in np.linalg.norm(self.to_ras[:3, :3], axis=0))
        return x, y, z

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(X, Y, Z) where it is not air."""
        return np.asarray(self.data > 0)


@dataclass(frozen=True, eq=False)
class Opener:
    """Opens the scans of a data set.

    Attributes:
        data: The data set.
        scans: Name -> what its images were made of; empty where that is not there.
        reason: Why it is not there, in one sentence; None where it is.
    """

    data: MriDataset
    scans: Mapping[str, Scan]
    reason: str | None

    @property
    def changed(self) -> str:
        """What is changed: ``stored scan`` or ``processed image``."""
        return "processed image" if self.reason else "stored scan"

    def open(self, session: Session) -> OpenScan:
        """Open one scan.

        Raises:
            ImageError: Its file is damaged, or its images were made of another one.
        """
        label = int(self.data.labels[session.rows[0]])
        if self.reason:
            return _of_images(self.data, session, label)
        scan = self.scans.get(session.name)
        if scan is None:
            raise ImageError(f"{session.name}: what its images were made of is not there any more")
        opened = _of_source(scan, self._settings, session, label)
        images, _ = opened.make(opened.data)
        own = images_of(self.data, session)
        if images.shape != own.shape or not torch.equal(images, own):
            raise ImageError(
                f"{session.name}: its images were not made of {scan.sources[0].name} as it is now",
                hint="run --mode preprocess again, then --mode train",
            )
        return opened

    @property
    def _settings(self) -> PreprocessConfig:
        return build_config(PreprocessConfig, made_with(self.data.settings["preprocess"]))


def opener_of(config: RunConfig, data: MriDataset) -> Opener:
    """Find what a processed data set was made of.

    Args:
        config: `stress.raw_dir` names the raw folder, where it is not where ``--mode preprocess``
            looks for it.
        data: The data set, made by preprocessing or a bare folder.

    Raises:
        DataNotFoundError: The raw folder was named and is not there.
    """
    given = config.stress.raw_dir
    if not data.settings:
        return Opener(data, {}, "a bare folder of pictures does not say what it was made of")
    cohort = COHORT_REGISTRY.get(str(data.settings["cohort"]))
    if cohort.layout == "slice" and PEOPLE_UNKNOWN in data.manifest.stamps:
        return Opener(data, {}, "pictures that name nobody make no scan")
    root = given or replace(config.data, data_dir=None).raw_dir
    if not root.is_dir():
        if given:
            raise DataNotFoundError(root, hint="name the folder that --mode preprocess read")
        return Opener(data, {}, f"{root} is not there; --raw_dir names the raw files")
    try:
        scans = _sources(config, data, root)
    except DataNotFoundError as error:
        return Opener(data, {}, error.message)
    except MriError as error:
        error.hint = error.hint or f"mend {cohort.name}, or name its folder with --raw_dir"
        raise
    return Opener(data, scans, None)


def _sources(config: RunConfig, data: MriDataset, root: Path) -> dict[str, Scan]:
    """Return the scans of a raw folder, by name."""
    cohort = COHORT_REGISTRY.get(str(data.settings["cohort"]))
    raw = cohort.index(root)
    unsided: set[str] = set()
    if cohort.raw:
        # As the data set was made, whatever the command says: others would be made anew, over it.
        scan = build_config(ScanConfig, data.settings["scan"])
        own = replace(config, data=replace(config.data, data_dir=root), scan=scan)
        raw, _, unsided = standard_scans(raw, own, workers_of(config))
    dim = str(data.settings["dim"])
    return {scan.name: scan for scan in list_scans(raw, cohort, dim, unsided)}


def _of_source(scan: Scan, settings: PreprocessConfig, session: Session, label: int) -> OpenScan:
    """Open a stored scan."""
    source = read_source(scan)
    if isinstance(source, Volume):
        data = np.ascontiguousarray(source.data, dtype=np.float32)
        to_stored = source.to_stored
    else:
        if any(picture.shape != source[0].shape for picture in source):
            raise ImageError(f"{scan.name}: its slices differ in size, so they make no volume")
        data = np.stack([picture.T for picture in source], axis=2).astype(np.float32)
        to_stored = _OF_PICTURES

    def make(changed: Float) -> tuple[Tensor, tuple[int, ...]]:
        images, slices = made_of(scan, _back(source, changed), settings)
        return to_unit(torch.from_numpy(images).unsqueeze(1)), slices

    return OpenScan(
        *(session.name, session.subject, label, data),
        to_ras=np.asarray(session.record.frame.to_ras @ to_stored),
        top=_top(data),
        slices=session.slices,
        make=make,
    )


def _back(source: Source, changed: Float) -> Source:
    """Return a source with other values, as its file would store them."""
    if not isinstance(source, Volume):
        grey = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        return tuple(np.ascontiguousarray(plane.T) for plane in np.moveaxis(grey, 2, 0))
    kind = source.stored.dtype
    stored = np.empty(source.stored.shape, kind, order="F")
    if kind.kind in "iu":
        info = np.iinfo(kind)
        changed = np.clip(np.rint(changed), info.min, info.max)
    source.in_ras(stored)[...] = changed
    return replace(source, stored=stored)


def _of_images(data: MriDataset, session: Session, label: int) -> OpenScan:
    """Open processed images as if they were the scan."""
    images = images_of(data, session)
    stack = images[:, 0].numpy()
    image = placed(stack, session)
    where = placed(np.arange(stack.size, dtype=np.float32).reshape(stack.shape), session).data
    if session.slices:  # planes between those that were cut are interpolated
        axis = PLANES[plane_of(session.record)][0]
        own = np.array(session.slices) - min(session.slices)
    else:
        axis, own = 2, np.arange(where.shape[2])
    to = np.take(where, own, axis=axis).astype(np.int64)
    if stack.size >= 2**24:  # float32 counts no further
        raise ImageError(f"{session.name}: {stack.size} voxels are too many to be changed")

    def make(changed: Float) -> tuple[Tensor, tuple[int, ...]]:
        flat = np.empty(stack.size, np.float32)
        flat[to] = np.clip(np.take(changed, own, axis=axis), 0, 1)
        return torch.from_numpy(flat.reshape(images.shape)), session.slices

    return OpenScan(
        *(session.name, session.subject, label, image.data),
        to_ras=image.to_ras,
        top=_top(image.data),
        slices=session.slices,
        make=make,
    )


def _top(data: Float) -> float:
    bright = data[data > 0]
    if not bright.size:
        raise ImageError("the scan is empty")
    return float(np.percentile(bright, _BRIGHT))
