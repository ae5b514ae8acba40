"""Find images on two sides that show one head: copies, however moved, and neighbouring slices.

1. Candidates: signatures of thumbnails, plain and posed, as they are and mirrored. Their
   correlation is the *likeness* of two images.
2. The best candidates of every image are aligned and compared: their *agreement*.
3. Both are judged against what different people reach in the same set: people with other names, or
   where names are unknown images of other classes. Calibration: docs/audit.md.

Axes: N images, Q queries (images of the later side), V planes, F frames, P pixels of a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .audit_pose import FLIPS, Picture, agreement, flip, frames
from .cohorts.near_duplicates import Heads, heads, signatures
from .runtime import progress, usable_cores

#: Agreement from which a pair is a copy: at least the first, at most the second. Measured: pairs of
#: 200 people reach .45, of 160 phantoms (warps of one template) .92; copies that were turned by
#: 3 degrees and brightened, mirrored, zoomed, saved as JPEG 40 or at half the size, .95.
COPY = (0.7, 0.95)
#: Least likeness from which two images show one head. Measured: 200 people reach .31, and
#: neighbouring slices at least .64.
HEAD = 0.4
#: Above this, heads of a set are too much alike for likeness to tell them apart.
UNDECIDED = 0.9
#: A set in which different people never get over a threshold in 99 of 100 audits.
_SURE = 0.01
_NULL_QUERIES, _FEWEST = 500, 20
_BEST = 2  # candidates that are aligned
_CHUNK = 256
_KEPT = 8192  # framed pictures in memory: 150 MB
COPIES, ONE_HEAD = "nearly identical", "same head"
Scores = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Thresholds:
    """From where on two images are one head's.

    Attributes:
        copy: Agreement of a copy.
        head: Likeness of one head; over `UNDECIDED`, likeness decides nothing.
        null_likeness: Likeness that each of some images reaches with another person's.
        null_agreement: The same for agreement.
    """

    copy: float
    head: float
    null_likeness: Scores
    null_agreement: Scores

    @property
    def heads_told_apart(self) -> bool:
        """Whether neighbouring slices of one head stand out among heads."""
        return self.head <= UNDECIDED


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

    @cached_property
    def _among(self) -> dict[tuple[int, int], Heads]:
        """Distinct images by plane and frame: copies would crowd the others out of a mean."""
        return {
            (v, f): heads(np.unique(self.thumbnails[self.usable, v, f], axis=0))
            for v, f in {(v, f) for v, f, _ in self.variants}
        }

    @cached_property
    def signed(self) -> dict[tuple[int, int], npt.NDArray[np.float32]]:
        """Signatures (N, P) by plane and frame."""
        return {key: self._sign(np.arange(len(self.thumbnails)), *key, None) for key in self._among}

    def _sign(
        self, images: Index, plane: int, frame: int, code: int | None
    ) -> npt.NDArray[np.float32]:
        small = flip(self.thumbnails[images, plane, frame], code)
        return np.asarray(signatures(heads(small), self._among[plane, frame]), dtype=np.float32)

    def nearest(self, query: Index, pool: Index, k: int, *, others: bool = False) -> Nearest:
        """Return the `k` images of `pool` most like each query, or of other people only."""
        query, pool = query[self.usable[query]], pool[self.usable[pool]]
        k = min(k, len(pool))
        found = [
            self._nearest(query[start : start + _CHUNK], pool, k, others)
            for start in range(0, len(query), _CHUNK)
        ]
        empty = (np.zeros((0, k), np.int64), np.zeros((0, k)), np.zeros((0, k), np.int64))
        return Nearest(query, *(np.concatenate(p) for p in zip(empty, *found, strict=True)))

    def _nearest(
        self, query: Index, pool: Index, k: int, others: bool
    ) -> tuple[Index, Scores, Index]:
        best = np.full((len(query), len(pool)), -1, dtype=np.float32)
        variant = np.zeros(best.shape, dtype=np.uint8)
        for number, (plane, frame, code) in enumerate(self.variants):
            likeness = self._sign(query, plane, frame, code) @ self.signed[plane, frame][pool].T
            better = likeness > best
            variant[better] = number
            np.copyto(best, likeness, where=better)
        if others:
            best[self.people[query][:, None] == self.people[pool]] = -1
        best[query[:, None] == pool] = -1
        top = np.argpartition(-best, k - 1, axis=1)[:, :k] if k else np.zeros((len(query), 0), int)
        value = np.take_along_axis(best, top, axis=1)
        order = np.argsort(-value, axis=1, kind="stable")
        top, value = (np.take_along_axis(a, order, axis=1) for a in (top, value))
        partners = np.where(value > -1, pool[top], -1)
        return partners, value.astype(float), np.take_along_axis(variant, top, axis=1).astype(int)

    def agreement(self, first: int, second: int, variant: int) -> float:
        """Return how well `second` agrees with `first`, seen in the way of `variant`."""
        plane, frame, code = self.variants[variant]
        seen = flip(self._frames(first)[plane][frame], code)
        return agreement(self._frames(second)[plane][frame], seen)

    def _frames(self, image: int) -> list[Picture]:
        found = self._framed.get(image)
        if found is None:
            if len(self._framed) >= _KEPT:
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


def find_thresholds(search: Search, queries: int, seed: int) -> Thresholds:
    """Judge what different people reach in this set.

    Args:
        search: The set.
        queries: Images that will be compared with another side's.
        seed: Seed of the images that are asked.
    """
    rng = np.random.default_rng(seed)
    every = np.flatnonzero(search.usable)
    asked = np.sort(rng.permutation(every)[:_NULL_QUERIES])
    found = search.nearest(asked, every, _BEST, others=True).rows()
    likeness = found.groupby("query")["likeness"].max().to_numpy(dtype=float)
    if len(likeness) < _FEWEST:
        return Thresholds(COPY[1], 1.0, np.zeros(0), np.zeros(0))
    compared = found.assign(agreement=search.aligned(found))
    agreement = compared.groupby("query")["agreement"].max().to_numpy(dtype=float)
    clear = np.tanh(np.quantile(np.arctanh(np.clip(agreement, -0.999, 0.999)), 0.9) + 0.5)
    copy = np.clip(_never_reached(agreement, queries), COPY[0], max(COPY[1], clear))
    return Thresholds(
        float(copy), max(HEAD, _never_reached(likeness, queries)), likeness, agreement
    )


def _never_reached(values: Scores, draws: int) -> float:
    """Return what the largest of `draws` such values exceeds in one of 100 sets.

    Values are maxima, so a Gumbel distribution is fitted to their z. It goes through median and
    ninth decile: pairs that are one head's under two names lie above and do not move it.
    """
    z = np.arctanh(np.clip(values, -0.999, 0.999))
    half, tenth = -np.log(np.log(2)), -np.log(-np.log(0.9))
    median, high = np.quantile(z, [0.5, 0.9])
    scale = (high - median) / (tenth - half)
    return float(np.tanh(median + scale * (np.log(max(draws, 1) / _SURE) - half)))


def nearest_across(
    search: Search, sides: Sequence[tuple[str, Index]]
) -> dict[tuple[str, str], Nearest]:
    """Return (early side, late side) -> what is nearest to each image of the late side."""
    return {
        (early, late): search.nearest(query, pool, _BEST)
        for (early, pool), (late, query) in combinations(sides, 2)
    }


def find_pairs(
    search: Search, nearest: dict[tuple[str, str], Nearest], thresholds: Thresholds
) -> pd.DataFrame:
    """Return the best partners of every image on earlier sides, worst pairs first.

    Args:
        search: The set.
        nearest: From `nearest_across`.
        thresholds: From `find_thresholds`.

    Returns:
        ``query, partner, query_side, partner_side, likeness, agreement, kind``; ``kind`` is
        `COPIES`, `ONE_HEAD` or empty.
    """
    parts = [
        found.rows().assign(query_side=late, partner_side=early)
        for (early, late), found in nearest.items()
    ]
    every = pd.concat(parts, ignore_index=True).sort_values("likeness", ascending=False)
    pairs = every.groupby("query").head(_BEST).reset_index(drop=True)
    pairs["agreement"] = search.aligned(pairs)
    copies = pairs["agreement"] >= thresholds.copy
    same = (pairs["likeness"] >= thresholds.head) & thresholds.heads_told_apart
    pairs["kind"] = np.where(copies, COPIES, np.where(same, ONE_HEAD, ""))
    order = np.lexsort((-pairs["agreement"], -(copies * 2.0 + same)))
    return pairs.iloc[order].reset_index(drop=True)


def cluster_heads(search: Search, thresholds: Thresholds, pairs: pd.DataFrame) -> Index:
    """Return for each image (N,) a number that all images of its head share.

    Linked are copies in `pairs` and images over the likeness of one head, whatever their class.
    """
    n = len(search.thumbnails)
    copies = pairs[pairs["kind"] == COPIES]
    edges = [copies[["query", "partner"]].to_numpy(dtype=np.int64).T.reshape(2, -1)]
    if thresholds.heads_told_apart:
        for signed in search.signed.values():
            for start in range(0, n, _CHUNK):
                likeness = signed[start : start + _CHUNK] @ signed.T
                first, second = np.nonzero(likeness >= thresholds.head)
                edges.append(np.stack([first + start, second]))
    first, second = np.concatenate(edges, axis=1)
    graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


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
