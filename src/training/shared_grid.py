"""The grid that training scans share, and their mean on it: where a new scan is to be laid.

Arrays: ``I J K`` voxels of the stored scans. Matrices are 4 x 4 and act on ``(index, 1)``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.dataset import MriDataset
from ..data.sessions import make_session, mean_image, rows_by_session
from ..errors import CheckpointError, DataNotFoundError, ImageError, ManifestError
from ..preprocessing.space.grid import Frame

logger = logging.getLogger(__name__)
Float = NDArray[np.float32]
Array = NDArray[np.float64]

_AVERAGED = 20  # scans in the mean image that finds the template
_MEAN_EDGE = 2.0  # mm of a voxel of the stored mean image, or the scans' own if larger
_AGAIN = "train again, or copy the checkpoint again"


def training_frame(data: MriDataset) -> dict[str, Any]:
    """Return the grid that the scans of a data set share, with their mean: what a checkpoint keeps.

    A new scan in template space is laid on it, so that it becomes the image that the cohort's own
    preprocessing would have made.

    Returns:
        ``shape``, ``affine`` and ``to_ras`` of the stored scans; their ``mean`` in [0, 1], coarse,
        ``covered``, and its ``step``; or ``reason`` why there is no such grid.
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
    }


@dataclass(frozen=True, eq=False)
class TrainingFrame:
    """What `training_frame` stored, read back.

    Attributes:
        frame: Grid of the cohort's stored scans.
        mean: ``(I', J', K')`` mean of training scans on every `step`-th voxel.
        covered: Where it is known.
        to_ras: 4 x 4, index in `mean` -> RAS+ mm of the frame.
    """

    frame: Frame
    mean: Float
    covered: NDArray[np.bool_]
    to_ras: Array

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
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the stored grid of training scans is damaged: {error}", hint=_AGAIN
            ) from None
        to_ras = frame.to_ras @ np.diag([*step.astype(float), 1.0])
        return cls(frame, mean.astype(np.float32) / 255, covered, to_ras)
