"""The images of one scan that preprocessing made, by its record.

Tensors: ``(n, 1, H, W)`` slices, bottom to top, or ``(1, 1, X, Y, Z)``, float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError
from ..preprocessing.space.grid import ScanRecord
from .augment import to_unit
from .image_file import decode, read_content


def recorded_images(root: Path, record: ScanRecord) -> tuple[Tensor, tuple[int, ...]]:
    """Return the images of a record, and the slice number of each; none in 3D.

    Args:
        root: Folder of the processed files.
        record: Of the scan.

    Raises:
        ImageError: An image is gone or damaged, or they differ in size.
    """
    paths = sorted(record.slices, key=lambda path: (record.slices[path] or 0, path))
    images = stacked([root / path for path in paths])
    if images.ndim == 5:
        return images, ()
    return images, tuple(int(record.slices[path] or 0) for path in paths)


def stacked(paths: Sequence[Path]) -> Tensor:
    """Return the images in some files.

    Raises:
        ImageError: One is damaged, or they differ in size.
    """
    arrays = [decode(path, read_content(path)) for path in paths]
    if any(array.shape != arrays[0].shape for array in arrays):
        raise ImageError("its images differ in size")
    return to_unit(torch.from_numpy(np.stack(arrays)).unsqueeze(1))
