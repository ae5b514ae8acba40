"""The grid that training scans share, and their mean on it: where a new scan is to be laid.

Arrays: ``I J K`` voxels of the stored scans. Matrices are 4 x 4 and act on ``(index, 1)``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.dataset import MriDataset
from ..data.sessions import make_session, mean_image, rows_by_session
from ..errors import CheckpointError, DataNotFoundError, ImageError, ManifestError
from ..preprocessing.laid_files import write_as_pictures, write_as_volume
from ..preprocessing.space.grid import Frame

logger = logging.getLogger(__name__)
Float = NDArray[np.float32]
Array = NDArray[np.float64]

_AVERAGED = 20  # scans in the mean image that finds the template
_MEAN_EDGE = 2.0  # mm of a voxel of the stored mean image, or the scans' own if larger
#: Brains differ at their edge. Where training scans were cut with one mask for all, as those of
#: OASIS-1 in Talairach space are, few voxels are brain in some people and air in others.
_SOME, _ONE_MASK = (0.1, 0.9), 0.05
_AGAIN = "train again, or copy the checkpoint again"


def training_frame(data: MriDataset) -> dict[str, Any]:
    """Return the grid that the scans of a data set share, with their mean: what a checkpoint keeps.

    A new scan in template space is laid on it, so that it becomes the image that the cohort's own
    preprocessing would have made.

    Returns:
        ``shape``, ``affine`` and ``to_ras`` of the stored scans; their ``mean`` in [0, 1], coarse,
        ``covered``, and its ``step``; ``mask``, packed bits, where all were cut with one mask, else
        None; ``jpeg_quality`` of pictures, or None; or ``reason`` why there is no such grid.
    """
    by_session = list(rows_by_session(data))
    chosen = by_session[:: -(-len(by_session) // _AVERAGED)]
    try:
        sessions = [make_session(data, *one) for one in chosen]
        mean = mean_image(data, sessions)
    except (ImageError, DataNotFoundError, ManifestError) as error:
        logger.warning("new scans cannot be laid on these training images: %s", error.message)
        return {"reason": error.message}
    edges = np.linalg.norm(mean.frame.to_ras[:3, :3], axis=0)
    step = np.maximum(np.round(_MEAN_EDGE / edges), 1).astype(int)
    every = tuple(slice(None, None, one) for one in step.tolist())
    top = max(float(mean.data.max()), 1e-9)
    small = np.round(mean.data[every] / top * 255).astype(np.uint8)
    return {
        "shape": list(mean.frame.shape),
        "affine": mean.frame.affine.tolist(),
        "to_ras": mean.frame.to_ras.tolist(),
        "mean": torch.from_numpy(np.ascontiguousarray(small)),
        "covered": torch.from_numpy(np.ascontiguousarray(mean.covered[every])),
        "step": step.tolist(),
        "mask": _one_mask(mean.brain),
        "jpeg_quality": data.settings.get("jpeg_quality"),
    }


def _one_mask(share: Array) -> torch.Tensor | None:
    """Return the mask that all training scans were cut with, in packed bits; None if there is none.

    Args:
        share: ``(I, J, K)`` of the scans that are brain there.
    """
    mask = share > 0.5
    some = (share > _SOME[0]) & (share < _SOME[1])
    if some.sum() > _ONE_MASK * max(int(mask.sum()), 1):
        return None
    return torch.from_numpy(np.packbits(mask))


@dataclass(frozen=True, eq=False)
class TrainingFrame:
    """What `training_frame` stored, read back.

    Attributes:
        frame: Grid of the cohort's stored scans.
        mean: ``(I', J', K')`` mean of training scans on every `step`-th voxel.
        covered: Where it is known.
        to_ras: 4 x 4, index in `mean` -> RAS+ mm of the frame.
        mask: ``(I, J, K)`` the mask that all training scans were cut with; None if each had its
            own.
        jpeg_quality: With which training pictures were coded, 1 to 100; None if they were not, or
            nobody knows.
        complete: Whether `mask` and `jpeg_quality` were kept: older checkpoints lack them.
    """

    frame: Frame
    mean: Float
    covered: NDArray[np.bool_]
    to_ras: Array
    mask: NDArray[np.bool_] | None = None
    jpeg_quality: int | None = None
    complete: bool = True

    def write(
        self, folder: Path, name: str, laid: NDArray[Any], layout: str
    ) -> tuple[tuple[Path, ...], tuple[int, ...]]:
        """Write an image on this grid as training scans are stored.

        Args:
            folder: For the files.
            name: Of the scan.
            laid: ``(I, J, K)``, zero in air.
            layout: ``"volume"`` or ``"slice"``, as the cohort declares.

        Returns:
            Files, and the number of the slice in each; none of a volume.
        """
        if layout == "volume":
            return write_as_volume(folder, name, laid, self.frame)
        return write_as_pictures(folder, name, laid, self.jpeg_quality)

    @classmethod
    def from_dict(cls, content: Any) -> TrainingFrame:
        """Read what `training_frame` returned; a file is not trusted.

        Raises:
            CheckpointError: It is damaged.
            ImageError: There is no common grid; the message says why.
        """
        if isinstance(content, dict) and isinstance(content.get("reason"), str):
            raise ImageError(content["reason"])
        try:
            i, j, k = (int(edge) for edge in content["shape"])
            frame = Frame((i, j, k), np.array(content["affine"]), np.array(content["to_ras"]))
            step = np.array([int(one) for one in content["step"]])
            mean, covered = content["mean"].numpy(), content["covered"].numpy()
            if step.min() < 1 or mean.shape != tuple(-(-np.array(frame.shape) // step)):
                raise ValueError("a mean image of another size")
            if covered.shape != mean.shape or mean.dtype != np.uint8 or covered.dtype != bool:
                raise ValueError("a mean image of another kind")
            mask, quality = content.get("mask"), content.get("jpeg_quality")
            if mask is not None:
                bits = np.unpackbits(mask.numpy())[: i * j * k]
                mask = bits.reshape(frame.shape).astype(bool)
            if quality is not None and not 1 <= int(quality) <= 100:
                raise ValueError("a quality of JPEG that cannot be")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the stored grid of training scans is damaged: {error}", hint=_AGAIN
            ) from None
        to_ras = frame.to_ras @ np.diag([*step.astype(float), 1.0])
        scaled = mean.astype(np.float32) / 255
        return cls(frame, scaled, covered, to_ras, mask, quality, complete="mask" in content)
