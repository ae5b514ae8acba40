"""Group 2D slices that show the same head, for sets whose files name no person.

Neighbouring slices of one head are nearly the same picture. Each image is reduced to a signature:
a thumbnail without its coarse shading, minus the mean of the images most like it, so that what is
left is the person rather than the height of the slice. Images of one stage whose signatures
correlate are linked, and what hangs together is one cluster. Calibration: docs/data.md.

Axes: N images, P pixels of a thumbnail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from ..errors import ImageError
from ..files import read_bytes
from .pictures import decode_picture

#: Thumbnail, width x height in pixels: a quarter of an OASIS slice.
WIDTH, HEIGHT = 44, 52
#: Correlation of two signatures above which they are one head. On 200 known people, neighbouring
#: slices reach at least .80, and slices of two people of one stage at most .26.
THRESHOLD = 0.3
_ALIKE = 100  # images whose mean stands for "any head at this height"
#: With fewer images than this, that mean would be the head itself: it is left out, and heads then
#: have more in common (neighbouring slices at least .88, two people at most .61).
FEW, THRESHOLD_OF_FEW = 64, 0.65
_CHUNK = 512  # rows of the N x N matrix in memory at a time


@dataclass(frozen=True)
class Heads:
    """Thumbnails as rows of length 1, which are zeros for an image without contrast.

    Attributes:
        detail: (N, P) what is left of an image without its coarse shading.
        shape: (N, P / 4) the image at half the size: which images are at one height.
    """

    detail: np.ndarray
    shape: np.ndarray


def near_duplicate_clusters(
    images: Sequence[Path], labels: Sequence[str] | None = None
) -> np.ndarray:
    """Return a cluster for each image, so that one person's slices share a cluster.

    A person whose neighbouring slices are missing may come apart, so this is no substitute for
    names. Images of different stages are never in one cluster; one that cannot be decoded is alone.

    Args:
        images: Paths of 8-bit images, in whatever order.
        labels: The stage of each, or None to compare all with all.

    Returns:
        int array (N,): 0, 1, ... in the order in which clusters first appear in `images`.
    """
    if not len(images):
        return np.zeros(0, dtype=np.int64)
    thumbnails = np.stack([_thumbnail(path) for path in images])
    # Exact copies are compared once: they would crowd the true neighbours out of the mean.
    distinct, copy_of = np.unique(thumbnails, axis=0, return_inverse=True)
    signed = signatures(heads(distinct))[copy_of]
    threshold = THRESHOLD_OF_FEW if len(distinct) < FEW else THRESHOLD
    stages = np.asarray(labels if labels is not None else [""] * len(images))
    _, clusters = connected_components(_links(signed, stages, threshold), directed=False)
    return np.asarray(pd.factorize(clusters)[0])


def _thumbnail(path: Path) -> np.ndarray:
    """Return the image as HEIGHT x WIDTH grey levels, or zeros where it is no image."""
    content = read_bytes(path)
    try:
        image = decode_picture(content, path.name, quarter=True)
        if image.shape[0] < HEIGHT or image.shape[1] < WIDTH:
            image = decode_picture(content, path.name)
    except ImageError:  # preprocessing names it
        return np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    return np.asarray(cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))


def heads(thumbnails: np.ndarray) -> Heads:
    """Describe thumbnails (N, HEIGHT, WIDTH)."""
    images = thumbnails.astype(np.float32)
    half = (WIDTH // 2, HEIGHT // 2)
    return Heads(
        _unit(np.stack([image - cv2.GaussianBlur(image, (0, 0), 1) for image in images])),
        _unit(
            np.stack([cv2.resize(image, half, interpolation=cv2.INTER_AREA) for image in images])
        ),
    )


def signatures(images: Heads, among: Heads | None = None) -> np.ndarray:
    """Return one row of length 1 per image (N, P); zeros for an image without contrast.

    Args:
        images: What to sign.
        among: Distinct images whose mean stands for any head at a height; None takes `images`.
    """
    flat = ~images.detail.any(axis=1, keepdims=True)
    return np.where(flat, 0, _unit(images.detail - _mean_of_alike(images, among or images)))


def _mean_of_alike(images: Heads, among: Heads) -> np.ndarray:
    """Return for each image the mean detail of those that are most like it in shape."""
    n, k, rows = len(among.detail), min(_ALIKE, len(among.detail) // 8), len(images.detail)
    if n < FEW:
        return np.zeros_like(images.detail)
    nearest = np.concatenate(
        [
            np.argpartition(-(part @ among.shape.T), k, axis=1)[:, :k]
            for part in np.split(images.shape, range(_CHUNK, rows, _CHUNK))
        ]
    )
    weights = np.full(rows * k, 1 / k, dtype=np.float32)
    starts = np.arange(0, rows * k + 1, k)
    return np.asarray(csr_matrix((weights, nearest.ravel(), starts), (rows, n)) @ among.detail)


def _links(signed: np.ndarray, stages: np.ndarray, threshold: float) -> coo_matrix:
    """Return the N x N graph of images of one stage that correlate over `threshold`."""
    edges = [np.zeros((2, 0), dtype=np.intp)]
    for stage in np.unique(stages):
        rows = np.flatnonzero(stages == stage)
        group = signed[rows]
        for start in range(0, len(rows), _CHUNK):
            first, second = np.nonzero(group[start : start + _CHUNK] @ group.T > threshold)
            edges.append(np.stack([rows[start + first], rows[second]]))
    first, second = np.concatenate(edges, axis=1)
    n = len(signed)
    return coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=(n, n))


def _unit(images: np.ndarray) -> np.ndarray:
    """Return rows (N, P) of mean 0 and length 1; a flat image stays zero."""
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-6))
