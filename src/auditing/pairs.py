"""Find images on two sides that show one head: copies, however moved, and neighbouring slices.

1. Candidates: signatures of thumbnails, plain and posed, as they are and mirrored. Their
   correlation is the *likeness* of two images.
2. The best candidates of every image are aligned and compared: their *agreement*.
3. Both are judged against what different people reach in the same set: people with other names, or
   where names are unknown images of other classes.

Axes: N images, Q queries (images of the later side), V planes, F frames, P pixels of a signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .search import Index, Nearest, Scores, Search

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
_NULL_QUERIES, _FEWEST = 300, 20
#: Images of later sides that are looked for in a large set. If none shows a head of an earlier
#: side, at most 3 in `MOST_ASKED` do (Hanley and Lippman-Hand 1983), 95 times in 100.
MOST_ASKED = 2000
#: Pairs that are aligned in all, and of one image at least and at most.
_ALIGNED, _FEW_PARTNERS, _MANY_PARTNERS = 5000, 2, 8
_CHUNK = 256  # rows of a matrix of likeness in memory at a time
PAIR_COLUMNS = [
    *("query", "partner", "likeness", "variant", "query_side", "partner_side", "agreement", "kind"),
]
COPIES, ONE_HEAD = "nearly identical", "same head"


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
    found = search.nearest(asked, every, _partners(queries), others=True).rows()
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


def _partners(queries: int) -> int:
    """Return how many candidates of an image are aligned."""
    return int(np.clip(_ALIGNED // max(queries, 1), _FEW_PARTNERS, _MANY_PARTNERS))


def _never_reached(values: Scores, draws: int) -> float:
    """Return what the largest of `draws` such values exceeds in one of 100 sets.

    Values are maxima, so a Gumbel distribution is fitted to their z. It goes through median and
    ninth decile: a few pairs that are one head's under two names lie above and hardly move it.
    """
    z = np.arctanh(np.clip(values, -0.999, 0.999))
    half, tenth = -np.log(np.log(2)), -np.log(-np.log(0.9))
    median, high = np.quantile(z, [0.5, 0.9])
    scale = (high - median) / (tenth - half)
    return float(np.tanh(median + scale * (np.log(max(draws, 1) / _SURE) - half)))


def choose_asked(search: Search, sides: Sequence[tuple[str, Index]], seed: int) -> dict[str, Index]:
    """Return the images of each later side that are looked for on earlier ones.

    All of them, or `MOST_ASKED` of a large set, drawn at random: they are compared with every
    earlier image all the same, so that what is found among them is found at its rate.
    """
    every = {side: images for side, images in sides[1:]}
    total = sum(map(len, every.values()))
    if not search.large or total <= MOST_ASKED:
        return every
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(np.concatenate(list(every.values())))[:MOST_ASKED]
    return {side: np.intersect1d(images, chosen) for side, images in every.items()}


def nearest_across(
    search: Search, sides: Sequence[tuple[str, Index]], asked: Mapping[str, Index]
) -> dict[tuple[str, str], Nearest]:
    """Return (early side, late side) -> what is nearest to each image asked of the late side."""
    k = _partners(sum(map(len, asked.values())))
    return {
        (early, late): search.nearest(asked[late], pool, k)
        for (early, pool), (late, _) in combinations(sides, 2)
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
        `COPIES`, `ONE_HEAD` or empty. Pairs with a test image stand before others of their kind.
    """
    if not nearest:
        return pd.DataFrame(columns=PAIR_COLUMNS)
    parts = [
        found.rows().assign(query_side=late, partner_side=early)
        for (early, late), found in nearest.items()
    ]
    every = pd.concat(parts, ignore_index=True).sort_values("likeness", ascending=False)
    pairs = every.groupby("query").head(_partners(every["query"].nunique()))
    pairs = judge_pairs(search, pairs.reset_index(drop=True), thresholds)
    worst = pairs["kind"].map({COPIES: 0, ONE_HEAD: 1, "": 2})
    order = np.lexsort((-pairs["agreement"], -(pairs["query_side"] == "test"), worst))
    return pairs.iloc[order].reset_index(drop=True)


def judge_pairs(search: Search, pairs: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """Align every pair; add ``agreement``, and ``kind``: `COPIES`, `ONE_HEAD` or empty."""
    agreement = search.aligned(pairs)
    same = (pairs["likeness"] >= thresholds.head) & thresholds.heads_told_apart
    kind = np.where(agreement >= thresholds.copy, COPIES, np.where(same, ONE_HEAD, ""))
    return pairs.assign(agreement=agreement, kind=kind)


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
