"""Small generated data with unequal axes, shared by the tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from watched_figures import Drawn

from src.cohorts.registry import COHORT_REGISTRY
from src.config import COHORTS, DATASETS
from src.files import write_json
from src.labels import STAGES
from src.manifest import Manifest
from src.report import canvas

torch.set_num_threads(1)  # the inputs are small: more threads only wait for each other
#: Of processed volumes: where oneDNN has no AVX-512, training on them costs ten times as much.
VOLUME = (24, 28, 22)
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let every damage of every field be tried, which takes five minutes, and not one in six."""
    parser.addoption("--every-damage", action="store_true", help="try every damage of own files")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Fixtures draw the same numbers in whatever order and process the tests run."""
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """And so does the test, whether its fixtures were made for it or for one before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def few_pixels() -> Iterator[None]:
    """Figures that nobody looks at have few pixels: encoding takes longer than drawing them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "_DPI", 60)
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """What is drawn, without the pictures."""
    return Drawn(monkeypatch, render=False)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The pictures too; none may have a text that covers another."""
    return Drawn(monkeypatch, render=True)


@pytest.fixture
def own_cohorts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is known to no other."""
    monkeypatch.setattr(COHORT_REGISTRY, "_entries", dict(COHORT_REGISTRY._entries))
    before = dict(COHORTS), dict(DATASETS)
    yield
    for table, kept in zip((COHORTS, DATASETS), before, strict=True):
        table.clear()
        table.update(kept)


@pytest.fixture
def real_data() -> Path:
    """Return the folder of the real data sets, which are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the real data sets are not on this machine")
    return SHARED


def ellipsoid(shape=(17, 21, 15), hole: float = 0.0) -> np.ndarray:
    """Return a brain-like ellipsoid (800 inside, brighter to the right), with a dark centre."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(sum((axis / 0.8) ** 2 for axis in axes))
    data = np.where(radius < 1, 800 + 100 * axes[0], 0)
    return np.where(radius < hole, 150, data).astype(np.int16)


def save_analyze(path: Path, data: np.ndarray, voxel_size=(1.0, 1.0, 1.0)) -> Path:
    """Write ``.hdr`` and ``.img`` as OASIS-1 has them: big-endian int16, a trailing axis of 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.AnalyzeImage(data[..., None], None, header)
    image.header.set_zooms((*voxel_size, 1.0))
    nib.save(image, path)
    return path


def make_processed(
    root: Path, dim: str = "2d", people=(6, 6, 4, 4), images: int = 3, seed: int = 0
) -> Path:
    """Write a processed data set in which the dark centre grows with the stage."""
    rng = np.random.default_rng(seed)
    rows = []
    for stage, count in enumerate(people):
        for number in range(count):
            subject = f"PHAN_{stage}{number:03d}"
            split = ("train", "train", "val", "test")[number % 4] if count > 3 else "train"
            for index in range(images if dim == "2d" else 1):
                name = f"{split}/{STAGES[stage]}/{subject}_MR1"
                name += f"_slice{index:02d}.png" if dim == "2d" else ".npy"
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                hole = 0.15 + 0.2 * stage + 0.03 * rng.standard_normal()
                shape = (40, 36, 1) if dim == "2d" else VOLUME
                data = ellipsoid(shape if dim == "3d" else (40, 36, 3), hole) / 900.0
                data = np.clip(data + 0.03 * rng.standard_normal(data.shape) * (data > 0), 0, 1)
                if dim == "2d":
                    cv2.imwrite(str(path), (data[..., 1] * 255).astype(np.uint8))
                else:
                    np.save(path, data.astype(np.float16))
                fingerprint = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
                rows.append(
                    {
                        "cohort": "phantom",
                        "subject": subject,
                        "session": "MR1",
                        "slice": index if dim == "2d" else None,
                        "path": name,
                        "label": STAGES[stage],
                        "split": split,
                        "age": 60 + 5 * stage + number,
                        "fingerprint": fingerprint,
                    }
                )
    Manifest(pd.DataFrame(rows), root).write(root)
    write_records(root, rows, dim)
    settings = {"cohort": "phantom", "dataset": f"phantom_{dim}", "dim": dim, "stamps": []}
    write_json(root / "preprocessing.json", settings | {"preprocess": {"slice_axis": "axial"}})
    return root


def write_records(root: Path, rows: list[dict[str, Any]], dim: str) -> None:
    """Write where each session's files lie: in scans of their own size, 2 x 1 x 3 mm, LAS."""
    shape = [36, 40, 3] if dim == "2d" else list(VOLUME)
    to_ras = [[-2, 0, 0, 2 * (shape[0] - 1)], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]
    matrix = np.diag([-1.0, 1, 1, 1])
    matrix[0, 3] = shape[0] - 1
    if dim == "2d":  # (row, column, slice) -> LAS
        matrix = np.array([[0, -1, 0, 35], [-1, 0, 0, 39], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    stored = {"shape": shape, "affine": to_ras, "to_ras": to_ras}
    for row in rows:
        path = root / ".scans" / f"{row['subject']}_MR1.json"
        files = [
            {name: one[name] for name in ("path", "slice", "fingerprint")}
            | {"to_stored": matrix.tolist()}
            for one in rows
            if one["subject"] == row["subject"]
        ]
        grid = [40, 36] if dim == "2d" else shape
        write_json(path, {"key": "", "stored": stored, "grid": grid, "files": files})


@pytest.fixture(scope="session")
def processed_2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A processed 2D data set: 20 people, 3 slices each; read only."""
    return make_processed(tmp_path_factory.mktemp("shared") / "phantom_2d", "2d")


@pytest.fixture(scope="session")
def processed_3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A processed 3D data set: 20 people; read only."""
    return make_processed(tmp_path_factory.mktemp("shared") / "phantom_3d", "3d")
