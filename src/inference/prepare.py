"""A new scan -> the images that the model's own preprocessing would have made of it.

A prepared scan, skull-stripped and on the grid of the training scans, is processed as they were. A
raw one is brought to the standard and, by one interpolation from its own voxels, laid on that grid:
where the grid lies in template space is found from the mean of the training scans, which the
checkpoint keeps. It is cut with their mask where they share one, written as they are, processed by
the same code, and its finest detail is brought to theirs.

Arrays: ``X Y Z`` voxels in RAS+ order; ``I J K`` of a stored scan. Matrices are 4 x 4.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..cohorts.registry import COHORT_REGISTRY, Cohort
from ..config import COHORTS, PreprocessConfig, RunConfig, ScanConfig
from ..data.recorded import recorded_images, stacked
from ..errors import ImageError, in_one_line
from ..manifest import SETTINGS, read_settings
from ..preprocessing.raw.batch import standardise_all
from ..preprocessing.raw.brain import is_stripped
from ..preprocessing.raw.convert import RawScan, read_any
from ..preprocessing.raw.laid import Grid, LaidScan, read_laid
from ..preprocessing.raw.standard import StandardScan, laid_beside
from ..preprocessing.scan import Scan, is_done, make_scan
from ..preprocessing.space.grid import ScanRecord, read_named_record
from ..preprocessing.space.placement import fit_placement
from ..training.look import Look
from ..training.shared_grid import TrainingFrame
from .ensemble import Ensemble
from .inputs import Input

logger = logging.getLogger(__name__)
Matrix = NDArray[np.float64]
Float = NDArray[np.float32]
_HINT = "give it scans prepared as its training scans were, or train on --dataset scans or bids"
_BARE = (
    "they were a bare folder of pictures, without a place; give it such pictures, or train on a "
    "data set that --mode preprocess made"
)
_ANY = "scans"  # a cohort that declares nothing of its own
#: A mask that training scans share holds fluid and membranes beyond the brain, but no skull.
_BEYOND = 4.0  # mm


@dataclass(frozen=True, eq=False)
class Prepared:
    """Images of one scan, as the model takes them.

    Attributes:
        item: Which scan.
        images: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` in [0, 1].
        slices: Slice number of each image; empty in 3D.
        record: Where the images lie; None where nobody knows.
        standard: The standard scan that they were made of; None where the scan came prepared.
        side_known: Whether left and right can be told, in the scan and in the training images.
        to_standard: RAS+ mm of the stored grid -> mm of the standard scan.
        unusual: Measure of `look.MEASURES` -> standard deviations from training people's mean.
    """

    item: Input
    images: Tensor
    slices: tuple[int, ...]
    record: ScanRecord | None
    standard: StandardScan | None
    to_standard: Matrix
    side_known: bool
    unusual: dict[str, float]


class Preparer:
    """Makes images of new scans for one ensemble.

    Args:
        ensemble: Whose preprocessing counts.
        config: Of the run.
        folder: For standard scans, laid scans and images.
    """

    def __init__(self, ensemble: Ensemble, config: RunConfig, folder: Path) -> None:
        self.ensemble, self.config, self.folder = ensemble, config, folder
        # A bare folder of pictures: new ones are compared with them as pictures.
        self._bare = not ensemble.content["preprocessing"]
        self.settings = PreprocessConfig() if self._bare else ensemble.preprocess
        self.cohort = COHORT_REGISTRY.get(_ANY) if self._bare else _cohort(ensemble)
        self._side_known = bool(ensemble.content["preprocessing"].get("side_known"))
        self._frame: TrainingFrame | None = None
        self._why_no_frame = ""
        try:
            self._frame = TrainingFrame.from_dict(ensemble.content.get("frame"))
        except ImageError as error:
            self._why_no_frame = error.message
        self._placed: Matrix | str | None = None
        look = ensemble.content.get("look")
        self._look = Look.from_dict(look) if look else None

    def prepare(
        self, items: list[Input], workers: int, done: Mapping[str, bool] | None = None
    ) -> Iterator[tuple[Input, Prepared | str]]:
        """Bring all raw scans to the standard now, and make the images of scan after scan later.

        Args:
            items: All scans.
            workers: Scans that are brought to the standard at a time.
            done: Name -> whether it was raw, of scans that need no images any more.

        Returns:
            Of every other scan, its images or the reason why it has none.
        """
        done = done or {}
        failed: dict[str, str] = {}
        found = self._raw([item for item in items if item.name not in done], failed)
        raw = {i.name: i.source for i in items if i.name in found or done.get(i.name)}
        standard: dict[str, StandardScan] = {}
        if raw:
            settings = self._scan_settings({name for name in raw})
            standard, reasons = standardise_all(
                *(raw, self.folder / "standard", settings),
                workers=workers,
                dask=self.config.dask,
                grid=self._grid(settings),
            )
            failed |= reasons
        wanted = [item for item in items if item.name not in done]
        return ((i, failed.get(i.name) or self._try(i, standard.get(i.name))) for i in wanted)

    def _try(self, item: Input, standard: StandardScan | None) -> Prepared | str:
        try:
            return self._images(item, standard)
        except (ImageError, FileNotFoundError) as error:
            return in_one_line(error)

    def _scan_settings(self, names: set[str]) -> ScanConfig:
        settings = self.ensemble.scan_settings(self.config.scan)
        for name in set(settings.names_let_in) - names:
            logger.warning("--let_in %s: no such scan here", name)
        return settings

    def _raw(self, items: list[Input], failed: dict[str, str]) -> dict[str, Path]:
        """Return the scans that are not prepared yet, and note those that cannot be read."""
        raw = {}
        for item in items:
            if item.kind != "scan":
                continue
            if self._bare:
                failed[item.name] = f"it cannot be laid on the training images: {_BARE}"
                continue
            try:
                if self.cohort.raw or not self._is_prepared(read_any(item.source)):
                    raw[item.name] = item.source
            except (ImageError, FileNotFoundError) as error:
                failed[item.name] = in_one_line(error)
        return raw

    def _is_prepared(self, scan: RawScan) -> bool:
        """Return whether a scan is skull-stripped, on the grid of the training scans."""
        if self.cohort.layout == "slice" or self._frame is None or scan.stored is None:
            return False
        turned = np.abs(self._frame.frame.to_ras[:3, :3]).argmax(axis=1)
        shape = tuple(self._frame.frame.shape[axis] for axis in turned)
        voxel = np.linalg.norm(self._frame.frame.to_ras[:3, :3], axis=0)[turned]
        alike = scan.data.shape == shape or scan.stored == self._frame.frame.shape
        return (
            alike
            and np.allclose(np.sort(scan.voxel_size), np.sort(voxel), atol=0.01)
            and (is_stripped(scan))
        )

    def _images(self, item: Input, standard: StandardScan | None) -> Prepared:
        if item.kind == "processed":
            return self._as_they_are(item)
        if self._bare:
            return self._picture(item)
        out = self.folder / "images"
        sources = item.sources
        slices: tuple[int, ...] = (1,) if item.kind == "picture" else ()
        if item.kind == "picture" and self.ensemble.dim == "3d":
            raise ImageError("a picture of one slice is no volume")
        axes = None if standard is not None else self.cohort.axes
        to_standard = np.eye(4)
        laid = standard is not None and not self.cohort.raw
        if standard is not None and laid:
            sources, slices, to_standard = self._laid(item, standard)
            axes = self.cohort.axes
        elif standard is not None:
            sources = (standard.path,)
        scan = Scan(
            *(item.name, sources, slices, ("scans",) * len(sources), axes, self.ensemble.dim),
            side_known=self._side_known and (standard is None or standard.side_known),
        )
        if not is_done(out, scan, self.settings):
            why = make_scan(out, scan, self.settings)
            if why is not None:
                raise ImageError(why)
        record = read_named_record(out, item.name)
        images, numbers = recorded_images(out, record)
        unusual = self._look.unusual(images) if self._look else {}
        if self._look is not None and laid:
            images = self._look.brought(images)
        side_known = scan.side_known if record.side_known is None else record.side_known
        return Prepared(item, images, numbers, record, standard, to_standard, side_known, unusual)

    def _as_they_are(self, item: Input) -> Prepared:
        """Return images that preprocessing made, if it made them as the training images."""
        root = item.source
        while not (root / SETTINGS).is_file() and root != root.parent:
            root = root.parent
        here = read_settings(root / SETTINGS)
        there = self.ensemble.content["preprocessing"]
        for key in ("preprocess", "dim"):
            if here.get(key) != there.get(key):
                raise ImageError(
                    f"its images were made otherwise than those of training: {key} differs"
                )
        record = read_named_record(root, f"{item.subject}_{item.session}")
        numbers = {(root / path).resolve(): number for path, number in record.slices.items()}
        slices = tuple(int(numbers[path.resolve()] or 0) for path in item.sources)
        is_2d = self.ensemble.dim == "2d"
        said = here.get("side_known") if record.side_known is None else record.side_known
        images = stacked(item.sources)
        return Prepared(
            *(item, images, slices if is_2d else (), record, None, np.eye(4)),
            side_known=self._side_known and bool(said),
            unusual=self._look.unusual(images) if self._look else {},
        )

    def _picture(self, item: Input) -> Prepared:
        """Return a picture as it is, for a model that was trained on pictures of a bare folder."""
        images = stacked(item.sources)
        size, trained = list(images.shape[2:]), self.ensemble.content.get("image_shape")
        if trained is not None and size != trained:
            raise ImageError(
                f"a picture of {_by(size)} pixels (height x width), those of training have "
                f"{_by(trained)}"
            )
        unusual = self._look.unusual(images) if self._look else {}
        return Prepared(
            *(item, images, (1,), None, None, np.eye(4)), side_known=False, unusual=unusual
        )

    def take_images(self, item: Input, images: Tensor) -> Prepared:
        """Return images that are processed already, without a file or a place in a scan.

        Args:
            item: What they are called.
            images: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` in [0, 1].
        """
        return Prepared(
            *(item, images, (), None, None, np.eye(4)),
            side_known=False,
            unusual=self._look.unusual(images) if self._look else {},
        )

    def _laid(
        self, item: Input, standard: StandardScan
    ) -> tuple[tuple[Path, ...], tuple[int, ...], Matrix]:
        """Lay a standard scan on the grid of the training scans; return its files and place."""
        if self._frame is None:
            raise ImageError(
                f"it cannot be laid on the training scans: {self._why_no_frame}; {_HINT}"
            )
        if not standard.registered:
            raise ImageError("it was not registered, so it cannot be laid on the training scans")
        to_template = self._placement()
        scan = read_laid(laid_beside(standard.path), self._frame.frame.shape)
        laid = _cut(scan, self._frame)
        if not laid.any():
            raise ImageError("nothing of it lies where the training scans do")
        sources, slices = self._frame.write(
            self.folder / "laid", item.name, laid, self.cohort.layout
        )
        return sources, slices, to_template

    def _grid(self, settings: ScanConfig) -> Grid | None:
        """Return where raw scans are to be laid; None where they are not, or cannot be."""
        if self._frame is None or self.cohort.raw or not settings.register:
            return None
        try:
            return Grid(self._frame.frame.shape, self._placement() @ self._frame.frame.to_ras)
        except ImageError:  # each scan is told why
            return None

    def _placement(self) -> Matrix:
        """Return RAS+ mm of the training scans -> mm of the template.

        Raises:
            ImageError: The mean training scan cannot be laid on the template.
        """
        assert self._frame is not None
        if self._placed is None:
            self._placed = _place(self._frame)
        if isinstance(self._placed, str):
            raise ImageError(self._placed)
        return self._placed


def _by(edges: list[int]) -> str:
    return " x ".join(str(edge) for edge in edges)


def _place(frame: TrainingFrame) -> Matrix | str:
    """Return RAS+ mm of the training scans -> mm of the template, or why that is not known."""
    found = fit_placement(frame.mean, frame.to_ras, frame.covered)
    if found.reason is not None:
        return f"the mean training scan has no sure place in the template: {found.reason}; {_HINT}"
    logger.info(
        "training scans in the template: correlation %.2f%s", found.correlation,
        f", {found.turned} exchanged" if found.turned else "",
    )  # fmt: skip
    return found.matrix


def _cut(scan: LaidScan, frame: TrainingFrame) -> Float:
    """Return ``(I, J, K)`` brightness where training scans show brain, zero elsewhere."""
    brain = scan.brain
    if frame.mask is not None and brain.any():
        edges = np.linalg.norm(frame.frame.to_ras[:3, :3], axis=0)
        beyond = ndimage.distance_transform_edt(~brain, sampling=edges)
        brain = frame.mask & (beyond <= _BEYOND)
    return np.where(brain, np.maximum(scan.head, 1), 0).astype(np.float32)


def _cohort(ensemble: Ensemble) -> Cohort:
    """Return the cohort that the training images were made from."""
    settings: dict[str, Any] = ensemble.content["preprocessing"]
    name = str(settings.get("cohort", ""))
    if name not in COHORTS:
        ensemble.preprocess  # noqa: B018 - says what is wrong where nothing was preprocessed
        raise ImageError(f"the checkpoint was trained on the unknown cohort {name[:40]!r}")
    return COHORT_REGISTRY.get(name)
