"""Find the images most like others by signatures of thumbnails, plain and posed, also mirrored.

The correlation of two signatures is the *likeness* of two images; how well they agree once aligned
is their *agreement*.

Axes: N images, Q queries, V planes, F frames, P pixels of a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..cohorts.near_duplicates import Heads, heads, signatures
from ..runtime import progress, usable_cores
from .pose import FLIPS, Picture, agreement, flip, frames

_CHUNK = 256  # rows of a matrix of likeness in memory at a time
_KEPT = 8192  # framed pictures in memory: 150 MB
#: Images whose signatures are all kept: 75 MB a frame and plane. In a larger set those of earlier
#: sides are made part by part, and some heads, drawn at random, stand for any head.
LARGE = 8192
_HEADS, _PART = 4096, 4096  # those heads, and images that queries are compared with at a time
Scores = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Signed = npt.NDArray[np.float32]
_Found = tuple[Index, Scores, Index]  # partner, likeness and variant (Q, k)


@dataclass(frozen=True)
class Nearest:
    """The most similar images of another side.

    Attributes:
        query: (Q,) image.
        partners: (Q, k) images, most similar first; -1 where there are fewer.
        likeness: (Q, k).
        variant: (Q, k) in which way the query was looked at: a number of `Search.variants`.
    """

    query: Index
    partners: Index
    likeness: Scores
    variant: Index

    def rows(self) -> pd.DataFrame:
        """Return one row per query and partner."""
        row, column = np.nonzero(self.partners >= 0)
        return pd.DataFrame(
            {
                "query": self.query[row],
                "partner": self.partners[row, column],
                "likeness": self.likeness[row, column],
                "variant": self.variant[row, column],
            }
        )


@dataclass
class Search:
    """A set of images to search for pairs.

    Args:
        thumbnails: (N, V, F, 52, 44).
        pictures: Reads image n again: V pictures.
        people: (N,) whose images are never another person's: subject if known, else class.
    """

    thumbnails: Picture
    pictures: Callable[[int], list[Picture]]
    people: npt.NDArray[np.str_]
    _framed: dict[int, list[Picture]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        planes = range(self.thumbnails.shape[1])
        #: plane, frame and flip of each way in which a query is looked at
        self.variants = [(v, f, c) for v in planes for f, codes in FLIPS.items() for c in codes]
        flat = self.thumbnails.reshape(len(self.thumbnails), -1)
        self.usable: npt.NDArray[np.bool_] = flat.min(axis=1) < flat.max(axis=1)

        #: people as numbers, which compare faster than names
        self.person: Index = np.unique(self.people, return_inverse=True)[1]

    @property
    def large(self) -> bool:
        """Whether only some images can be looked for."""
        return len(self.thumbnails) > LARGE

    @cached_property
    def _among(self) -> dict[tuple[int, int], Heads]:
        """Distinct images by plane and frame: copies would crowd the others out of a mean."""
        images = np.flatnonzero(self.usable)
        if self.large:
            images = np.sort(np.random.default_rng(0).permutation(images)[:_HEADS])
        return {
            (v, f): heads(np.unique(self.thumbnails[images, v, f], axis=0))
            for v, f in {(v, f) for v, f, _ in self.variants}
        }

    @cached_property
    def signed(self) -> dict[tuple[int, int], Signed]:
        """Signatures (N, P) by plane and frame, of a set that is not large."""
        return {key: self._sign(np.arange(len(self.thumbnails)), *key, None) for key in self._among}

    def _sign(self, images: Index, plane: int, frame: int, code: int | None) -> Signed:
        small = flip(self.thumbnails[images, plane, frame], code)
        return np.asarray(signatures(heads(small), self._among[plane, frame]), dtype=np.float32)

    def nearest(self, query: Index, pool: Index, k: int, *, others: bool = False) -> Nearest:
        """Return the `k` images of `pool` most like each query, or of other people only."""
        query, pool = query[self.usable[query]], pool[self.usable[pool]]
        k = min(k, len(pool))
        chunks = _split(query, _CHUNK)
        parts = _split(pool, _PART if self.large else len(pool) or 1) if chunks else []
        seen: Iterable[list[Signed]] = map(self._seen, chunks)
        seen = list(seen) if len(parts) > 1 else seen  # signed once, not for every part
        found: list[_Found] = [_nothing(len(chunk)) for chunk in chunks]
        for part in parts:
            signed = {key: self._signed_as_is(part, *key) for key in self._among}
            for number, (chunk, ways) in enumerate(zip(chunks, seen, strict=True)):
                new = self._nearest(chunk, ways, part, signed, min(k, len(part)), others)
                found[number] = _best(found[number], new, k)
        columns = zip(_nothing(0, k), *found, strict=True)
        return Nearest(query, *(np.concatenate(column) for column in columns))

    def _seen(self, query: Index) -> list[Signed]:
        """Return the signatures of some images, seen in each way."""
        return [self._sign(query, *variant) for variant in self.variants]

    def _signed_as_is(self, images: Index, plane: int, frame: int) -> Signed:
        if self.large:
            return self._sign(images, plane, frame, None)
        return self.signed[plane, frame][images]

    def _nearest(
        self,
        query: Index,
        seen: list[Signed],
        pool: Index,
        signed: dict[tuple[int, int], Signed],
        k: int,
        others: bool,
    ) -> _Found:
        best = np.full((len(query), len(pool)), -1, dtype=np.float32)
        variant = np.zeros(best.shape, dtype=np.uint8)
        for number, (plane, frame, _) in enumerate(self.variants):
            likeness = seen[number] @ signed[plane, frame].T
            better = likeness > best
            variant[better] = number
            np.copyto(best, likeness, where=better)
        if others:
            best[self.person[query][:, None] == self.person[pool]] = -1
        best[query[:, None] == pool] = -1
        top = np.argpartition(-best, k - 1, axis=1)[:, :k] if k else np.zeros((len(query), 0), int)
        value = np.take_along_axis(best, top, axis=1)
        partners = np.where(value > -1, pool[top], -1)
        variants = np.take_along_axis(variant, top, axis=1).astype(int)
        return _best(_nothing(len(query)), (partners, value.astype(float), variants), k)

    def agreement(self, first: int, second: int, variant: int) -> float:
        """Return how well `second` agrees with `first`, seen in the way of `variant`."""
        plane, frame, code = self.variants[variant]
        seen = flip(self._frames(first)[plane][frame], code)
        return agreement(self._frames(second)[plane][frame], seen)

    def _frames(self, image: int) -> list[Picture]:
        found = self._framed.get(image)
        if found is None:
            if len(self._framed) >= _KEPT // self.thumbnails.shape[1]:
                self._framed.clear()
            found = [frames(picture) for picture in self.pictures(image)]
            self._framed[image] = found
        return found

    def aligned(self, rows: pd.DataFrame) -> Scores:
        """Return the agreement of each row's ``query`` and ``partner``, seen by ``variant``."""
        triples = rows[["query", "partner", "variant"]].to_numpy(dtype=int).tolist()
        with ThreadPoolExecutor(usable_cores()) as pool:
            found = pool.map(lambda triple: self.agreement(*triple), triples)
            return np.array(list(progress(found, total=len(triples), desc="align")), dtype=float)


def _split(images: Index, size: int) -> list[Index]:
    return [images[start : start + size] for start in range(0, len(images), size)]


def _nothing(queries: int, k: int = 0) -> _Found:
    none = np.zeros((queries, k))
    return none.astype(np.int64), none, none.astype(np.int64)


def _best(first: _Found, second: _Found, k: int) -> _Found:
    """Return the `k` most similar of both, most similar first."""
    partners, value, variant = (np.concatenate(pair, 1) for pair in zip(first, second, strict=True))
    order = np.argsort(-value, axis=1, kind="stable")[:, :k]
    found = (np.take_along_axis(a, order, axis=1) for a in (partners, value, variant))
    return next(found), next(found), next(found)


def search_of(
    root: Path,
    rows: pd.DataFrame,
    thumbnails: Picture,
    read: Callable[[Path], list[Picture]],
) -> Search:
    """Return the search of an audit's rows.

    Args:
        root: Folder that paths start from.
        rows: ``path, subject, label, known``.
        thumbnails: (N, V, F, 52, 44).
        read: Opens a file.
    """
    paths = [root / path for path in rows["path"]]
    known = bool(rows["known"].all())
    people = rows["subject" if known else "label"].fillna("").astype(str).to_numpy(dtype=str)
    return Search(thumbnails, lambda number: read(paths[number]), people)
