"""Copies of one picture, where nobody knows who was scanned: joined before a split is made.

Clusters of near-duplicates stand in for people there. Pictures that were turned, mirrored, zoomed
or brightened fall out of them, and the copy could be in train and its original in test. Here every
picture is compared with those of all other units, in the way in which an audit compares two sides.

Axes: N images.
"""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..errors import ManifestError, counted
from ..manifest import Manifest
from .files import read_files, read_pictures
from .pairs import Thresholds, find_thresholds, judge_pairs
from .search import Index, Search, search_of
from .table_checks import manifest_rows

logger = logging.getLogger(__name__)
#: An audit asks the images of later sides only, so it sets its thresholds a little lower than all
#: images would: what it will find must have been joined.
_ASKED = 10
_PARTNERS = 2
#: A unit that holds more of a set than this is no person: its heads cannot be told apart.
MOST_IN_ONE = 0.5


def join_copies(manifest: Manifest, *, seed: int = 0) -> Manifest:
    """Give one subject to all images that show one head by the audit's own measure.

    Args:
        manifest: Raw images whose subjects are guesses: clusters, or images.
        seed: Seed of the images that set the thresholds.

    Returns:
        The same rows; subjects that were joined have the first one's name, and count their slices
        anew.

    Raises:
        ManifestError: Heads are too much alike to be told apart: most images would be one person.
    """
    rows = manifest_rows(manifest)
    files = read_files([manifest.root / path for path in rows["path"]], 1)
    search = search_of(manifest.root, rows.assign(known=False), files.thumbnails, read_pictures)
    thresholds = find_thresholds(search, max(1, len(rows) // _ASKED), seed)
    before = pd.factorize(rows["subject"])[0].astype(np.int64)
    unit = _joined(search, thresholds, before)
    if (unit == before).all():
        return manifest
    _refuse_one_unit(manifest, unit)
    subject = rows.groupby(unit)["subject"].transform("first")
    joined = rows["subject"].nunique() - subject.nunique()
    logger.warning(
        "%s: %s of near-duplicates %s joined with others: copies, turned, mirrored, zoomed or "
        "brightened; %d are left",
        *(manifest.root, counted(joined, "cluster"), "was" if joined == 1 else "were"),
        subject.nunique(),
    )
    return manifest.with_columns(subject=subject, slice=subject.groupby(subject).cumcount() + 1)


def _joined(search: Search, thresholds: Thresholds, unit: Index) -> Index:
    """Return the unit of each image, the smallest number of those that hang together.

    Every image is asked for those of other units most like it, until none is one head's.
    """
    every = asked = np.flatnonzero(search.usable)
    while len(asked):
        search.person = unit  # from here on, others are those of other units
        pairs = search.nearest(asked, every, _PARTNERS, others=True).rows()
        pairs = judge_pairs(search, pairs, thresholds)
        pairs = pairs[pairs["kind"] != ""]
        unit = _linked(unit, pairs)
        # Whose unit did not grow has the same others as before, and none of them was alike.
        asked = every[np.isin(unit[every], unit[pairs["query"]])]
    return unit


def _linked(unit: Index, pairs: pd.DataFrame) -> Index:
    n = len(unit)
    first, second = unit[pairs["query"]], unit[pairs["partner"]]
    graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(n, n))
    part = connected_components(graph, directed=False)[1][unit]
    return np.asarray(pd.Series(unit).groupby(part).transform("min"), dtype=np.int64)


def _refuse_one_unit(manifest: Manifest, unit: Index) -> None:
    most = np.bincount(unit).max()
    if most > max(MOST_IN_ONE * len(unit), 2):
        raise ManifestError(
            f"{manifest.root} names no person, and {most} of its {len(unit)} images are so much "
            "alike that nobody can tell how many people they show",
            hint="name the files after their people: P01_MR1_slice07.png",
        )
