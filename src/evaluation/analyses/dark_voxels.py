"""A rival without any network: how much of the brain is dark, slice by slice.

Fluid is dark in T1-weighted images and atrophy replaces tissue by fluid, so the share of dark
voxels is a poor man's nWBV that needs neither a segmentation nor learning. A network that cannot
beat it has not learnt more than that ventricles grow.

Arrays: ``H W`` uint8 slices in [0, 255], ``X Y Z`` float16 volumes in [0, 1] (RAS+), brain-masked:
zero outside the brain.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...config.own_files import Column, read_table
from ...data.image_cache import ImageCache, ImageStore
from ...errors import ImageError, ManifestError, counted
from ...files import atomic_file
from ...manifest import Manifest
from ...predictions import Array

logger = logging.getLogger(__name__)
#: Columns that `measure_dark_voxels` names start with this.
PREFIX = "dark_"
_DARK = 0.45  # of the level of bright tissue: between fluid and grey matter in T1-weighted images
_BRIGHT = 90  # percentile of the brain that stands for bright tissue (white matter)
_EMPTY = 0.05  # of full scale; the level under which preprocessing takes a JPG's pixel for noise
_GAP = 0.02  # of the picture's edge: clefts up to this wide are closed, so fluid in them is brain
_MIN_BRAIN = 20  # pixels under which a slice shows no brain


def dark_fractions(image: NDArray[Any], slabs: int = 16) -> Array:
    """Return the share of dark voxels in the brain.

    Dark is less than .45 of the 90th percentile of the brain in the same slice or slab, so
    brightness that differs between slices and scanners does not count.

    Args:
        image: A slice ``(H, W)``, uint8; or a volume ``(X, Y, Z)`` in [0, 1].
        slabs: Parts of equal height that a volume's brain is cut into, along the last axis; a
            brain of fewer slices gives one part each.

    Returns:
        One fraction for a slice, one for each slab, bottom to top, for a volume; NaN where no
        brain is seen.

    Raises:
        ImageError: `image` is neither.
    """
    if image.ndim == 2 and image.dtype == np.uint8:
        return np.array([_dark_share(image, _brain(image))])
    if image.ndim != 3:
        raise ImageError(f"{list(image.shape)} {image.dtype} is no slice (H, W) and no volume")
    volume = np.clip(image.astype(np.float32) * 255 + 0.5, 0, 255).astype(np.uint8)
    planes = np.ascontiguousarray(volume.transpose(2, 0, 1))
    brain = np.stack([_brain(plane) for plane in planes])
    shown = np.flatnonzero(brain.sum(axis=(1, 2)) >= _MIN_BRAIN)
    if not shown.size:
        return np.full(slabs, np.nan)
    heights = np.arange(shown[0], shown[-1] + 1)
    parts = np.array_split(heights, min(slabs, len(heights)))
    return np.array([_dark_share(planes[part], brain[part]) for part in parts])


def measure_dark_voxels(manifest: Manifest, cache: ImageStore | None = None) -> pd.DataFrame:
    """Return the dark fractions of every person.

    A session's slices in order, or its volume's slabs, are one profile. Profiles of different
    lengths are interpolated to the median length, and a person's sessions are averaged.

    Args:
        manifest: Processed slices or volumes.
        cache: Their images; None takes `manifest` for the whole of its folder.

    Returns:
        Indexed by ``subject``, sorted, with columns ``dark_00``, ``dark_01``, ... in [0, 1].

    Raises:
        DataNotFoundError: A file is gone.
        ImageError: A file is damaged, or no image.
    """
    rows = manifest.table.sort_values(["subject", "session", "slice"], na_position="first")
    cache = ImageCache(manifest) if cache is None else cache
    profiles: dict[tuple[str, str], list[Array]] = {}
    places = cache.rows(rows["path"])
    for subject, session, place in zip(rows["subject"], rows["session"], places, strict=True):
        fractions = dark_fractions(cache.read([place])[0])
        profiles.setdefault((subject, str(session)), []).append(fractions)
    whole = {key: np.concatenate(parts) for key, parts in profiles.items()}
    length = int(np.median([len(profile) for profile in whole.values()])) if whole else 0
    index = pd.MultiIndex.from_tuples(whole, names=["subject", "session"])
    table = pd.DataFrame(
        [_resized(profile, length) for profile in whole.values()],
        index=index,
        columns=[f"{PREFIX}{position:02d}" for position in range(length)],
    )
    return table.groupby("subject", sort=True).mean()


def _brain(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the brain is in ``(H, W)``: what is not empty, its narrow clefts, its holes.

    Ventricles and cisterns may be as dark as the background, but they lie inside.
    """
    width = 2 * round(_GAP * max(pixels.shape) / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    # An empty border joins all that is outside, wherever the brain touches the picture's edge.
    mask = np.pad((pixels > _EMPTY * 255).astype(np.uint8), width)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc)
    cv2.floodFill(mask, None, (0, 0), 2)
    return np.asarray(mask[width:-width, width:-width] != 2)


def _dark_share(pixels: NDArray[np.uint8], brain: NDArray[np.bool_]) -> float:
    inside = pixels[brain]
    if len(inside) < _MIN_BRAIN:
        return float("nan")
    return float(np.mean(inside < _DARK * np.percentile(inside, _BRIGHT)))


def _resized(profile: Array, length: int) -> Array:
    """Return `profile` at `length` positions spread over it; slices without brain are bridged."""
    known = np.isfinite(profile)
    if not known.any():
        return np.full(length, np.nan)
    if known.all() and len(profile) == length:
        return profile
    place = np.linspace(0, 1, len(profile))
    resized: Array = np.interp(np.linspace(0, 1, length), place[known], profile[known])
    return resized


def same_length(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the profiles of several studies as one table, all as long as the shortest.

    Args:
        tables: From `measure_dark_voxels`, of different people.
    """
    length = min(len(table.columns) for table in tables)
    columns = [f"{PREFIX}{position:02d}" for position in range(length)]
    return pd.concat(
        pd.DataFrame(
            [_resized(row, length) for row in table.to_numpy(dtype=np.float64)],
            index=table.index,
            columns=columns,
        )
        for table in tables
    )


def stored_dark_voxels(manifest: Manifest, cache: ImageStore) -> pd.DataFrame | None:
    """Return every person's dark fractions, from ``.features/`` where they are there.

    None where an image has no fingerprint, which a stored table is known by.
    """
    prints = manifest.table["fingerprint"]
    names = [*prints.astype("str"), *manifest.table["subject"]]
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
    path = manifest.root / ".features" / f"dark_voxels_{digest}.csv"
    if path.is_file():
        stored = _read_stored(path, manifest)
        if stored is not None:
            return stored
    images = counted(len(manifest), "image")
    logger.info("dark voxels of %s are measured, once", images)
    measured = measure_dark_voxels(manifest, cache)
    if prints.notna().all():
        with atomic_file(path, "w") as file:
            measured.to_csv(file)
    return measured


def _read_stored(path: Path, manifest: Manifest) -> pd.DataFrame | None:
    """Return a stored table; None, with a line, where it is not of these people."""
    share = Column("number", low=0, high=1, empty=True)
    try:
        first = read_table(path, {"subject": Column()}, hint="", key=("subject",))
        names = [name for name in first if name != "subject"]
        if names != [f"{PREFIX}{position:02d}" for position in range(len(names))] or not names:
            raise ManifestError(f"{path} is damaged: its columns are others")
        if set(first["subject"]) != set(manifest.table["subject"]):
            raise ManifestError(f"{path} is damaged: its people are others")
        table = read_table(path, {"subject": Column(), **dict.fromkeys(names, share)}, hint="")
    except ManifestError as error:
        logger.warning("%s; it is measured again", error.message)
        return None
    return table.set_index("subject")
