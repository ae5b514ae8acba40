"""What rivals without a network measure in the processed images: one pass over them, kept.

Of every person: the shares of dark voxels, log(CSF / grey matter), and maps of grey matter and CSF.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...config.own_files import Column, read_table
from ...data.image_cache import ImageCache, ImageStore
from ...errors import ManifestError, counted
from ...files import atomic_file, open_file
from ...manifest import Manifest
from ...predictions import Array
from .dark_voxels import PREFIX, brain_planes, dark_profile, dark_share, resized
from .tissue import csf_to_grey, histogram, tissue_maps

logger = logging.getLogger(__name__)
#: Column of log(CSF / grey matter), and what the columns of tissue maps start with.
CSF_GREY, MAPS = "csf_grey", "tissue_"
_RANGES = ((0, 1), (-20, 20))  # of shares, and of the logarithm of two counts
_LEAST = 1e-3  # share of tissue under which a cell of the maps is empty
_SLABS = 4  # of a session's slices, in the tissue maps


def measure_images(manifest: Manifest, cache: ImageStore | None = None) -> pd.DataFrame:
    """Return what is measured in the images of every person.

    A session's slices in order, or its volume's slabs, are one profile of dark fractions. Profiles
    of different lengths are interpolated to the median length. Tissue is told apart in all slices
    of a session together, or in a volume. A person's sessions are averaged.

    Args:
        manifest: Processed slices or volumes.
        cache: Their images; None takes `manifest` for the whole of its folder.

    Returns:
        Indexed by ``subject``, sorted, with columns ``dark_00``, ``dark_01``, ... in [0, 1];
        ``csf_grey``; and ``tissue_0000``, ... in [0, 1], the cells that anyone has tissue in.

    Raises:
        DataNotFoundError: A file is gone.
        ImageError: A file is damaged, or no image.
    """
    rows = manifest.table.sort_values(["subject", "session", "slice"], na_position="first")
    cache = ImageCache(manifest) if cache is None else cache
    keys = [rows["subject"].to_list(), [str(name) for name in rows["session"]]]
    by = [np.array(key, dtype=object) for key in keys]
    places = pd.Series(cache.rows(rows["path"])).groupby(by)
    slabs = min(_SLABS, max(1, int(places.size().median()))) if len(rows) else 1
    names, profiles, ratios, maps = [], [], [], []
    for key, own in places:
        parts = list(_sessions(cache, own.to_list(), slabs))
        names.append(key)
        profiles.append(np.concatenate([part[0] for part in parts]))
        ratios.append(float(_mean([np.array([part[1]]) for part in parts])[0]))
        maps.append(_mean([part[2] for part in parts]))
    length = int(np.median([len(profile) for profile in profiles])) if profiles else 0
    index = pd.MultiIndex.from_tuples(names, names=["subject", "session"])
    values = [resized(profile, length) for profile in profiles]
    dark = pd.DataFrame(values, index, [f"{PREFIX}{place:02d}" for place in range(length)])
    held = np.stack(maps) if maps else np.empty((0, 0))
    held = held[:, (held > _LEAST).any(axis=0)]
    cells = [f"{MAPS}{cell:04d}" for cell in range(held.shape[1])]
    table = dark.assign(**{CSF_GREY: np.array(ratios, dtype=np.float64)})
    whole = table.join(pd.DataFrame(held, index, cells)).groupby("subject", sort=True).mean()
    # As they are kept: a second run has the same numbers.
    whole[cells] = whole[cells].astype(np.float32).astype(np.float64)
    return whole


def stored_image_measures(manifest: Manifest, cache: ImageStore) -> pd.DataFrame:
    """Return what `measure_images` does, from ``.features/`` where it is there.

    It is kept where every image has a fingerprint, which a stored table is known by.
    """
    prints = manifest.table["fingerprint"]
    names = [*prints.astype("str"), *manifest.table["subject"]]
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
    folder = manifest.root / ".features"
    path, maps = folder / f"image_measures_{digest}.csv", folder / f"tissue_maps_{digest}.npy"
    if path.is_file() and maps.is_file():
        stored = _read_stored(path, maps, manifest)
        if stored is not None:
            return stored
    images = counted(len(manifest), "image")
    logger.info("dark voxels and tissue of %s are measured, once", images)
    measured = measure_images(manifest, cache)
    if prints.notna().all():
        cells = [name for name in measured if name.startswith(MAPS)]
        with atomic_file(maps) as file:
            np.save(file, measured[cells].to_numpy(dtype=np.float32))
        with atomic_file(path, "w") as file:
            measured.drop(columns=cells).to_csv(file)
    return measured


def _sessions(
    cache: ImageStore, places: list[int], slabs: int
) -> Iterator[tuple[Array, float, Array]]:
    """Yield dark fractions, log ratio and maps of a session's slices, or of each volume."""
    if len(cache.shape) == 3:
        for place in places:
            image = cache.read([place])
            planes, brain = planes_of(image)
            counts = histogram(planes, brain)
            maps = tissue_maps(planes, brain, counts)
            yield dark_of(image, planes, brain), csf_to_grey(counts), maps
        return
    images = cache.read(places)
    planes, brain = planes_of(images)
    counts = histogram(planes, brain)
    maps = tissue_maps(planes, brain, counts, slabs)
    yield dark_of(images, planes, brain), csf_to_grey(counts), maps


def planes_of(images: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the planes ``(D, H, W)`` of one session, and where the brain is in them.

    Args:
        images: Its slices ``(n, H, W)`` uint8, or its volume ``(1, X, Y, Z)`` in [0, 1].
    """
    seen = [brain_planes(image) for image in images]
    planes, brain = (np.concatenate(side) for side in zip(*seen, strict=True))
    return planes, brain


def dark_of(images: NDArray[Any], planes: NDArray[np.uint8], brain: NDArray[np.bool_]) -> Array:
    """Return the dark fractions of one session: of each slice, or of each slab of its volume."""
    if images.ndim == 4:
        return dark_profile(planes, brain)
    return np.array([dark_share(*one) for one in zip(planes, brain, strict=True)])


def _mean(values: list[Array]) -> Array:
    """Return the mean of those that are known, NaN where none is."""
    known = [one for one in values if np.isfinite(one).all()]
    return np.asarray(np.mean(known or values, axis=0), dtype=np.float64)


def _read_stored(path: Path, maps: Path, manifest: Manifest) -> pd.DataFrame | None:
    """Return what was kept; None, with a line, where it is not of these people."""
    share, ratio = (Column("number", low=low, high=high, empty=True) for low, high in _RANGES)
    try:
        first = read_table(path, {"subject": Column()}, hint="", key=("subject",))
        names = [name for name in first if name not in ("subject", CSF_GREY)]
        dark = [f"{PREFIX}{position:02d}" for position in range(len(names))]
        if list(first) != ["subject", *dark, CSF_GREY] or not dark:
            raise ManifestError(f"{path} is damaged: its columns are others")
        if set(first["subject"]) != set(manifest.table["subject"]):
            raise ManifestError(f"{path} is damaged: its people are others")
        columns = {"subject": Column(), **dict.fromkeys(dark, share), CSF_GREY: ratio}
        table = read_table(path, columns, hint="").set_index("subject")
        return table.join(_read_maps(maps, table.index))
    except ManifestError as error:
        logger.warning("%s; it is measured again", error.message)
        return None


def _read_maps(path: Path, people: pd.Index) -> pd.DataFrame:
    try:
        with open_file(path) as file:
            values = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as wrong:
        raise ManifestError(f"{path} is damaged: {' '.join(str(wrong).split())}") from None
    whole = values.dtype == np.float32 and values.ndim == 2 and len(values) == len(people)
    if not whole or not (np.isnan(values) | ((values >= 0) & (values <= 1.01))).all():
        raise ManifestError(f"{path} is damaged: it holds no shares of {len(people)} people")
    cells = [f"{MAPS}{cell:04d}" for cell in range(values.shape[1])]
    return pd.DataFrame(values.astype(np.float64), people, cells)
