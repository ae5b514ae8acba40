"""Training people as new scans would arrive.

What is usual is told by people of the training. But their images came another way than those of a
new scan, which is laid by a fit of its own, not quite theirs, interpolated once more, coded and
processed. So the people to compare with are sent that way: moved by what two fits of one brain
differ by, softened, and made again by the code that new scans go through.

Arrays: ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` images in [0, 1]; ``I J K`` voxels of the stored
scans. Matrices are 4 x 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..cohorts.registry import COHORT_REGISTRY, Cohort
from ..config import PreprocessConfig
from ..data.dataset import MriDataset
from ..data.recorded import recorded_images
from ..data.sessions import Session, placed
from ..errors import ImageError
from ..preprocessing.raw.laid import lost_detail
from ..preprocessing.scan import Scan, make_scan
from ..preprocessing.space.grid import read_named_record
from .look import Picture
from .shared_grid import TrainingFrame

Matrix = NDArray[np.float64]
Float = NDArray[np.float32]
#: Standard deviations of what two fits of one brain differ by: turn in degrees, size, shift in mm.
#: Two OASIS-1 brains, laid from their volumes and found in the Kaggle JPGs, differed by 2.1
#: degrees, 2.7 % and 1.0 mm (root mean squares).
TURN, SIZE, SHIFT = 2.0, 0.02, 1.0
#: Largest standard deviation, in pixels, of the blur that one more interpolation leaves.
BLUR = 0.5
_DENSE = 2.0  # mm between slices up to which they can be turned out of their plane
_COARSER = 1.25  # times the stored voxel from which an image counts as coarser
_NAME = "person"


@dataclass(frozen=True, eq=False)
class Arrival:
    """The way of a new scan.

    Attributes:
        frame: The grid of training scans.
        cohort: Theirs.
        dim: ``"2d"`` or ``"3d"``.
        settings: How training images were made.
    """

    frame: TrainingFrame
    cohort: Cohort
    dim: str
    settings: PreprocessConfig

    @classmethod
    def of(cls, data: MriDataset, frame: TrainingFrame) -> Arrival | None:
        """Return the way of new scans to a data set; None where they go the way of its own.

        Raw cohorts' scans were all brought to the standard, as new ones are.
        """
        cohort = COHORT_REGISTRY.get(str(data.settings["cohort"]))
        if cohort.raw:
            return None
        settings = PreprocessConfig(**data.settings["preprocess"])
        return cls(frame, cohort, str(data.settings["dim"]), settings)

    def loses_detail(self, session: Session) -> bool:
        """Return whether a session's images are coarser than its scan.

        What is sent from them is softened more than a new scan is, which comes in full detail.
        """
        stored = np.linalg.norm(self.frame.frame.to_ras[:3, :3], axis=0).max()
        voxel = np.linalg.norm(_to_mm(session)[:3, :2], axis=0).max()
        return bool(voxel > _COARSER * stored)

    def images(self, images: Tensor, session: Session, rng: np.random.Generator) -> Tensor:
        """Return a session's images as a new scan's would be.

        Raises:
            ImageError: Nothing of them is left.
        """
        picture = Picture(images)
        soft = picture.smooth(picture.data, max(float(rng.uniform(0, BLUR)), 1e-3))
        turn, size, shift = (rng.normal(0, sd, 3) for sd in (TURN, SIZE, SHIFT))
        if session.slices and _gap(session) > _DENSE:
            pixel = float(np.linalg.norm(_to_mm(session)[:3, 1]))
            moved = _in_plane(soft, turn[0], size[:2], shift[:2] / pixel)
            return images.new_tensor(moved).reshape(images.shape)
        laid = self._laid(soft, session, _motion(self.frame, turn, size, shift))
        with TemporaryDirectory() as folder:
            return self._processed(laid, Path(folder))

    def _laid(self, data: Float, session: Session, motion: Matrix) -> Float:
        """Lay images, moved, on the grid of the stored scans: ``(I, J, K)``."""
        volume = placed(data if session.slices else data[None], session)
        step = np.linalg.inv(volume.to_stored) @ motion
        shape, sigma = self.frame.frame.shape, lost_detail(step)
        values = ndimage.gaussian_filter(volume.data, sigma, truncate=3, mode="nearest")
        laid = _moved(values, step, shape, 3)
        brain = self.frame.mask
        if brain is None:
            # Slices of a volume end before its grid does: above the last one there is nothing.
            ends = "nearest" if self.cohort.layout == "slice" else "constant"
            brain = _moved((volume.data > 0).astype(np.float32), step, shape, 1, ends) > 0.5
        cut: Float = np.where(brain, np.clip(laid, 0, None), np.float32(0))
        return cut

    def _processed(self, laid: Float, folder: Path) -> Tensor:
        sources, slices = self.frame.write(folder, _NAME, laid, self.cohort.layout)
        there = ("new",) * len(sources)
        scan = Scan(_NAME, sources, slices, there, self.cohort.axes, self.dim)
        why = make_scan(folder, scan, self.settings)
        if why is not None:
            raise ImageError(why)
        return recorded_images(folder, read_named_record(folder, _NAME))[0]


def _motion(frame: TrainingFrame, turn: Matrix, size: Matrix, shift: Matrix) -> Matrix:
    """Return stored index -> stored index of what lies there after a motion about the brain."""
    to_ras = frame.frame.to_ras
    filled = np.array(np.nonzero(frame.mean > 0.1 * frame.mean.max()))
    middle = frame.to_ras[:3, :3] @ filled.mean(axis=1) + frame.to_ras[:3, 3]
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * np.exp(size)
    moved[:3, 3] = middle + shift - moved[:3, :3] @ middle
    return np.asarray(np.linalg.inv(to_ras) @ moved @ to_ras)


def _moved(
    values: Float, step: Matrix, shape: tuple[int, int, int], order: int, ends: str = "nearest"
) -> Float:
    moved: Float = ndimage.affine_transform(
        values, step[:3, :3], step[:3, 3], shape, np.float32, order=order, mode=ends
    )
    return moved


def _in_plane(data: Float, turn: float, size: Matrix, shift: Matrix) -> Float:
    """Turn, scale and shift each of ``(n, H, W)`` slices in its plane, alike."""
    middle = (np.array(data.shape[:0:-1]) - 1) / 2
    angle = np.radians(turn)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = linear * np.exp(size)
    whole = np.column_stack([linear, middle + shift - linear @ middle])
    planes = [cv2.warpAffine(one, whole, one.shape[::-1], flags=cv2.INTER_CUBIC) for one in data]
    return np.asarray(np.clip(np.stack(planes), 0, 1), dtype=np.float32)


def _to_mm(session: Session) -> Matrix:
    return np.asarray(session.record.frame.to_ras @ next(iter(session.record.matrices.values())))


def _gap(session: Session) -> float:
    """Return the largest distance between neighbouring slices in mm."""
    step = np.diff(session.slices).max() if len(session.slices) > 1 else np.inf
    return float(step * np.linalg.norm(_to_mm(session)[:3, 2]))
