"""Small placed volumes for tests of figures of maps: unequal axes and voxels, a blob that is known.

Arrays: ``X Y Z`` voxels, RAS+.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as picture
from matplotlib.figure import Figure
from matplotlib.text import Text

from src.preprocessing.space.grid import Frame, PlacedVolume
from src.report import canvas
from src.report.map_figures.person import PersonMap

SHAPE, SIZE = (14, 18, 11), (2.0, 1.5, 3.0)
PEAK = (10, 4, 7)


def place(data: np.ndarray, size=SIZE, origin=(-11.0, -20.0, -9.0), header=None) -> PlacedVolume:
    """Return a volume whose own grid is the stored one; `header` replaces its affine."""
    to_ras = np.diag([*size, 1.0])
    affine = to_ras.copy()
    affine[:3, 3] = origin
    frame = Frame(data.shape, affine if header is None else header, to_ras)
    return PlacedVolume(data, np.eye(4), frame)


def brain(shape=SHAPE) -> np.ndarray:
    """Return an ellipsoid of 1 with air around it."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return (sum((axis / 0.8) ** 2 for axis in axes) < 1).astype(np.float32)


def blob(shape=SHAPE, point=PEAK, size=SIZE, width=4.0) -> np.ndarray:
    """Return a Gaussian of `width` mm around a voxel."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    distance = ((index - np.array(point)) * np.array(size) / width) ** 2
    return np.exp(-distance.sum(axis=-1) / 2).astype(np.float32)


def person(title: str = "OAS1_0001", text: str = "true AD", **changes) -> PersonMap:
    """Return a person with the blob in the brain."""
    return PersonMap(place(brain()), place(changes.get("map", 7 * blob())), title, text)


def read(path: Path) -> np.ndarray:
    """Return the picture, once it is a PNG of sane size with a white margin that is not blank."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = picture.imread(path)[..., :3]
    assert 60 < min(pixels.shape[:2]) <= max(pixels.shape[:2]) < 6000
    assert pixels.std() > 0.05
    frame = np.concatenate([pixels[:3].ravel(), pixels[-3:].ravel(), pixels[:, :3].ravel()])
    assert frame.min() > 0.99  # nothing is cut off
    return pixels


@pytest.fixture(name="saved")
def saved_figures(monkeypatch) -> list[Figure]:
    """Collect every figure that is saved from now on; their files have few pixels."""
    figures: list[Figure] = []
    save = Figure.savefig

    def spy(self, *args, **kwargs):
        save(self, *args, **kwargs)
        figures.append(self)

    monkeypatch.setattr(Figure, "savefig", spy)
    monkeypatch.setattr(canvas, "_DPI", 60)
    return figures


def words(figure: Figure) -> list[str]:
    """Return every text of a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def panels(figure: Figure) -> list:
    """Return the axes that show a cut: they have two images, or one and lines."""
    return [axes for axes in figure.axes if axes.images and axes.get_facecolor()[:3] == (0, 0, 0)]
