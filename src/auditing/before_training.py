"""What is checked of a split before anything is trained on it."""

from __future__ import annotations

import logging

import numpy as np

from ..errors import AuditFailed
from ..manifest import PEOPLE_UNKNOWN, SAME_PEOPLE, Manifest
from .files import read_files, read_pictures
from .mend import LEAKS, how_to_mend
from .pair_checks import check_pairs
from .pairs import find_pairs, find_thresholds, nearest_across
from .search import LARGE, search_of
from .table_checks import manifest_rows, table_checks
from .verdicts import FAIL, NOT_KNOWN, WARN, Check, sides_of

logger = logging.getLogger(__name__)
#: Images of later sides that are looked for on earlier ones: 20 s for 6,400 images on two cores.
ASKED = 300


def refuse_leaks(
    manifest: Manifest, *, allowed: bool, seed: int = 0, leaks_only: bool = False
) -> None:
    """Log what is found, and refuse a split that fails.

    Where people are known, their names and the files' fingerprints are checked; where they are not,
    the pixels are looked at too, as names prove nothing there.

    Args:
        manifest: Rows of all sides.
        allowed: Log only. Of a split that is stamped `SAME_PEOPLE` the leak is known already.
        seed: Seed of the images that are looked for.
        leaks_only: Sides may differ in class and age, as chance makes them do.

    Raises:
        AuditFailed: A check fails.
    """
    checks = table_checks(manifest_rows(manifest))
    for check in checks:
        if check.name == "site" and check.verdict == WARN:
            logger.warning("audit: site WARN: %s", check.sentence)
    checks = [one for one in checks if not leaks_only or one.name in LEAKS]
    unknown = PEOPLE_UNKNOWN in manifest.stamps and SAME_PEOPLE not in manifest.stamps
    copies = look_for_copies(manifest, seed) if unknown else None
    failed = [one for one in (*checks, copies) if one is not None and one.verdict == FAIL]
    for check in failed:
        logger.warning("audit: %s FAIL: %s", check.name, check.sentence)
    if failed and not allowed and SAME_PEOPLE not in manifest.stamps:
        names = [check.name for check in failed]
        dim = "3d" if manifest.table["path"].str.endswith(".npy").all() else "2d"
        raise AuditFailed(
            f"the split of {manifest.root} is not honest: {failed[0].sentence}",
            hint=f"{how_to_mend(manifest.root, names, dim)}; or --allow_leaks to train anyway",
        )
    if not failed and copies is None:
        logger.info("audit: no leak found by %d cheap checks", len(checks))
    elif not failed and copies is not None:
        logger.info("audit: people are unknown; %s", copies.sentence)


def look_for_copies(manifest: Manifest, seed: int = 0) -> Check:
    """Look at the pixels for heads on two sides; at most `ASKED` images of later sides are sought.

    Returns:
        The check ``near_duplicates``; NOT KNOWN, with the reason, where nothing was looked for.
    """
    rows = manifest_rows(manifest).dropna(subset=["split"]).reset_index(drop=True)
    rows["known"] = False
    if len(rows) > LARGE:
        said = f"copies were not looked for among {len(rows)} images: --mode audit does"
        return Check("near_duplicates", NOT_KNOWN, said)
    files = read_files([manifest.root / path for path in rows["path"]], 1)
    search = search_of(manifest.root, rows, files.thumbnails, read_pictures)
    sides = [(side, np.flatnonzero(rows["split"] == side)) for side in sides_of(rows)]
    later = np.concatenate([images for _, images in sides[1:]] or [np.zeros(0, np.int64)])
    chosen = np.random.default_rng(seed).permutation(later)[:ASKED]
    asked = {side: np.intersect1d(images, chosen) for side, images in sides[1:]}
    thresholds = find_thresholds(search, len(chosen), seed)
    pairs = find_pairs(search, nearest_across(search, sides, asked), thresholds)
    check = check_pairs(rows, pairs, thresholds, len(sides))
    if len(chosen) == len(later) or check.verdict == NOT_KNOWN:
        return check
    said = f"{check.sentence} ({len(chosen)} of {len(later)} images of val and test looked for)"
    return Check(check.name, check.verdict, said, check.numbers, check.examples)
