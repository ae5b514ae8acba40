"""Small pictures for tests of copies: noise in place of heads, and what people do to pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from src.manifest import Manifest

#: Ways in which a copy is made unlike its original, byte by byte.
MOVED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda picture: picture[:, ::-1],
    "brightened": lambda picture: np.clip(picture.astype(int) + 20, 0, 255).astype(np.uint8),
    "turned": lambda picture: cv2.warpAffine(
        picture, cv2.getRotationMatrix2D((30, 36), 4, 1), (60, 72)
    ),
}


def picture(seed: int) -> np.ndarray:
    """Return a picture (72, 60), unlike every other seed's."""
    noise = np.random.default_rng(seed).integers(0, 200, (9, 7)).astype(np.uint8)
    return cv2.resize(noise, (60, 72), interpolation=cv2.INTER_CUBIC)


def write_set(root: Path, pictures: list[np.ndarray], **columns: object) -> Manifest:
    """Write pictures as PNG; return their manifest, every one a subject ``C00``, ``C01``, ..."""
    names = [f"C{number:02d}" for number in range(len(pictures))]
    for name, one in zip(names, pictures, strict=True):
        cv2.imwrite(str(root / f"{name}.png"), one)
    stages = ["NonDemented", "MildDemented"]
    labels = [stages[number % 2] for number in range(len(pictures))]
    given = {"subject": names, "session": "MR1", "slice": 1, "label": labels} | columns
    return Manifest.from_columns(root, path=[f"{name}.png" for name in names], **given)
