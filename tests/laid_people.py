"""A small data set of people whose scans share one grid, made by preprocessing itself.

Arrays: ``(I, J, K)`` voxels of the stored scans. The grid is large enough for a brain to be placed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from src.cohorts.registry import COHORT_REGISTRY
from src.config import PreprocessConfig
from src.data.dataset import MriDataset
from src.files import write_json
from src.labels import class_scheme
from src.manifest import SETTINGS, Manifest
from src.preprocessing.laid_files import write_as_pictures, write_as_volume
from src.preprocessing.processed import list_scans, processed_table
from src.preprocessing.scan import make_scan
from src.preprocessing.space.grid import Frame

VOLUME, VOXEL = (54, 60, 48), 1.9  # of a volume, and mm: slices close enough to be turned
PICTURES = (112, 104, 30)  # rows, columns, slices of 1 mm


def head(seed: int, shape: tuple[int, int, int], own_mask: bool) -> np.ndarray:
    """Return a brain with a dark middle to one side and texture of a few voxels, 0 in air."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    flat = axes[:2] if shape == PICTURES else axes
    radius = np.sqrt(sum((axis / edge) ** 2 for axis, edge in zip(flat, (0.8, 0.7, 0.75))))  # noqa: B905
    hole = np.sqrt((axes[0] - 0.15) ** 2 + (axes[1] + 0.1) ** 2 + 0.2 * axes[2] ** 2)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    data = np.where(hole < 0.2, 0.2, 0.6 + 0.25 * (radius < 0.5)) + 0.05 * grain / grain.std()
    edge = 1 + (
        0.2 * ndimage.gaussian_filter(rng.standard_normal(shape), 6) / 0.01 if own_mask else 0
    )
    data = data * np.clip(4 * (edge - radius), 0.1, 1)  # dim at its edge, as fluid is
    return np.where(radius < edge, np.clip(data, 0.02, 1.2), 0).astype(np.float32)


def laid_data(
    root: Path,
    *,
    dim: str = "2d",
    cohort: str = "kaggle_nifti",
    people: int = 4,
    quality: int | None = None,
    own_mask: bool = False,
    split: str = "train",
    **preprocess: Any,
) -> MriDataset:
    """Write people as their cohort would, preprocess them, and open what is made."""
    pictures = COHORT_REGISTRY.get(cohort).layout == "slice"
    frame = Frame(VOLUME, np.diag([VOXEL, VOXEL, VOXEL, 1]), np.eye(4))
    rows = []
    for number in range(people):
        name = f"P{number}"
        data = head(number, PICTURES if pictures else VOLUME, own_mask)
        paths, numbers = (
            write_as_pictures(root / "raw", name, data, quality)
            if pictures
            else write_as_volume(root / "raw", name, data, frame)
        )
        rows += [
            {
                "cohort": cohort, "subject": name, "session": "MR1", "slice": index,
                "path": path.relative_to(root / "raw").as_posix(), "split": split,
                "label": ("NonDemented", "MildDemented")[number % 2],
            }
            for path, index in zip(paths, numbers or [None], strict=True)
        ]  # fmt: skip
    manifest = Manifest(pd.DataFrame(rows), root / "raw")
    small = {"image_size": 64, "volume_size": 40, "num_slices": 20} | preprocess
    settings = PreprocessConfig(**small)
    out = root / "made"
    for scan in list_scans(manifest, COHORT_REGISTRY.get(cohort), dim):
        why = make_scan(out, scan, settings)
        assert why is None, why
    made = Manifest(processed_table(out, manifest), out)
    made.write(out)
    told = {"cohort": cohort, "dim": dim, "preprocess": vars(settings), "jpeg_quality": quality}
    write_json(out / SETTINGS, told)
    return MriDataset(made, split, class_scheme(2), told)
