"""Several processed data sets as one, for training on some of them and testing on another.

Images stay where they are: each data set keeps its files, its cache and its features. People keep
their names, unless two studies use one name for two people (``sub-01``): then the study's name
stands before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config.data import made_with
from ..errors import ConfigError, ManifestError
from ..manifest import Manifest
from .dataset import MriDataset
from .image_cache import ImageStore
from .image_file import Images


class JoinedCache:
    """The images of several data sets, by their paths from a folder above all of them.

    Args:
        root: A folder above all of them.
        caches: What the paths of a data set start with -> its images.
    """

    def __init__(self, root: Path, caches: Mapping[str, ImageStore]) -> None:
        self.root, self.caches = root, dict(caches)

    def rows(self, paths: Iterable[str]) -> NDArray[np.int64]:
        """Return the number of each path's image, for `read`."""
        names = np.array(list(paths), dtype=object)
        found = np.full(len(names), -1, dtype=np.int64)
        for start, (prefix, cache) in zip(self._starts, self.caches.items(), strict=True):
            own = np.array([name.startswith(f"{prefix}/") for name in names], dtype=bool)
            inside = [name.removeprefix(f"{prefix}/") for name in names[own]]
            found[own] = start + cache.rows(inside)
        if (found < 0).any():
            raise ManifestError(f"{names[found < 0][0]} is of none of the data sets")
        return found

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Images:
        """Return the images of these rows, in their order."""
        places = np.asarray(rows, dtype=np.int64)
        parts = self.parts(places)
        if not parts:
            return next(iter(self.caches.values())).read(places)
        first = parts[0][0].read(parts[0][2])
        found = np.empty((len(places), *first.shape[1:]), first.dtype)
        found[parts[0][1]] = first
        for cache, where, own in parts[1:]:
            found[where] = cache.read(own)
        return found

    def parts(
        self, places: NDArray[np.int64]
    ) -> list[tuple[ImageStore, NDArray[np.int64], NDArray[np.int64]]]:
        """Return each data set's cache, which of the places are its own, and where these lie."""
        found: list[tuple[ImageStore, NDArray[np.int64], NDArray[np.int64]]] = []
        number = np.searchsorted(self._starts, places, side="right") - 1
        for index, cache in enumerate(self.caches.values()):
            where = np.flatnonzero(number == index)
            if len(where):
                own = cache.parts(places[where] - self._starts[index])
                found += [(store, where[at], inside) for store, at, inside in own]
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """``(H, W)`` or ``(X, Y, Z)`` of every image.

        Raises:
            ConfigError: The data sets have images of different sizes.
        """
        shapes = {prefix: cache.shape for prefix, cache in self.caches.items()}
        if len(set(shapes.values())) > 1:
            told = ", ".join(f"{prefix} {list(shape)}" for prefix, shape in shapes.items())
            raise ConfigError(
                f"the images of these data sets differ in size: {told}",
                hint="preprocess them with the same --image_size (3D: --volume_size)",
            )
        return next(iter(shapes.values()))

    def build(self) -> Path:
        """Make the files of all data sets; return the folder above them."""
        for cache in self.caches.values():
            cache.build()
        return self.root

    @cached_property
    def fingerprints(self) -> list[str]:
        """Of every image."""
        return [one for cache in self.caches.values() for one in cache.fingerprints]

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        sizes = [len(cache.fingerprints) for cache in self.caches.values()]
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class JoinedStudies:
    """Rated people of several studies.

    Attributes:
        data: All of them as one split.
        study_of: Study of every person, by the name that the person has in `data`.
        named: Study -> name of a person there -> name in `data`.
    """

    data: MriDataset
    study_of: dict[str, str]
    named: dict[str, dict[str, str]]

    def people_of(self, study: str) -> list[str]:
        """Return the people of a study, sorted."""
        return sorted(self.named[study].values())


def join_studies(parts: Mapping[str, MriDataset]) -> JoinedStudies:
    """Join data sets whose images were made alike.

    Args:
        parts: Study -> its rated people as one split, of one scheme of classes.

    Raises:
        ConfigError: Images were made with other settings, or differ in size.
    """
    _refuse_other_images(parts)
    roots = [part.manifest.root.resolve() for part in parts.values()]
    root = Path(os.path.commonpath([*roots, *(one.parent for one in roots)]))
    prefixes = [one.relative_to(root).as_posix() for one in roots]
    named = _names(parts)
    tables = [
        part.rows.assign(
            path=prefix + "/" + part.rows["path"], subject=part.rows["subject"].map(named[study])
        )
        for (study, part), prefix in zip(parts.items(), prefixes, strict=True)
    ]
    stamps = tuple(dict.fromkeys(s for part in parts.values() for s in part.manifest.stamps))
    table = pd.concat(tables, ignore_index=True)
    caches = {prefix: part.cache for prefix, part in zip(prefixes, parts.values(), strict=True)}
    cache = JoinedCache(root, caches)
    first = next(iter(parts.values()))
    settings: dict[str, Any] = {
        "dataset": "+".join(parts),
        "dim": first.settings.get("dim"),
        "label": first.settings.get("label", "stage"),
        "preprocess": first.settings.get("preprocess", {}),
        "side_known": all(part.settings.get("side_known", True) for part in parts.values()),
    }
    manifest = Manifest(table.assign(split="train"), root, stamps)
    data = MriDataset(manifest, "train", first.scheme, settings, cache)
    study_of = {name: study for study, names in named.items() for name in names.values()}
    return JoinedStudies(data, study_of, named)


def _names(parts: Mapping[str, MriDataset]) -> dict[str, dict[str, str]]:
    """Return study -> name of a person -> a name that no other study uses."""
    people = {study: sorted(set(map(str, part.subjects))) for study, part in parts.items()}
    count = pd.Series([name for names in people.values() for name in names]).value_counts()
    return {
        study: {name: name if count[name] == 1 else f"{study}.{name}" for name in names}
        for study, names in people.items()
    }


def _refuse_other_images(parts: Mapping[str, MriDataset]) -> None:
    first, *others = parts
    made = {study: made_with(part.settings.get("preprocess", {})) for study, part in parts.items()}
    for other in others:
        differ = [
            k for k in _keys(made[first], made[other]) if made[first].get(k) != made[other].get(k)
        ]
        if differ:
            raise ConfigError(
                f"{first} and {other} were preprocessed otherwise: {', '.join(differ)} differ",
                hint=f"preprocess {other} with "
                + " ".join(f"--{name} {made[first].get(name)}" for name in differ),
            )


def _keys(*settings: Mapping[str, Any]) -> Iterator[str]:
    yield from dict.fromkeys(name for one in settings for name in one)
