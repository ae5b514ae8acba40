"""OASIS-1 cross-sectional cohort: 416 people aged 18 to 96, 436 T1-weighted MRI sessions.

Indexes the registered images (``T88_111``: brain-masked, bias-corrected, Talairach space,
176 x 208 x 176 voxels of 1 mm) against the clinical table. No image is opened here.

Source: Marcus et al. (2007), J Cogn Neurosci 19(9):1498-1507, doi:10.1162/jocn.2007.19.9.1498.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ..errors import DataNotFoundError, ManifestError, counted
from ..manifest import Manifest
from .folders import visible_files
from .oasis_table import OASIS_2, TABLE, YOUNG_ARE_HEALTHY, find_table, read_table, with_ids_of
from .registry import RATED, register_cohort

logger = logging.getLogger(__name__)

HOMEPAGE = "https://www.oasis-brains.org"
FOLDERS = ("PROCESSED", "MPRAGE", "T88_111")
IMAGE_ENDS = "_t88_masked_gfc.img"


@register_cohort(
    "oasis",
    homepage=HOMEPAGE,
    axes="LAS",
    side_known=False,
    source="OASIS-1 (Marcus et al. 2007, doi:10.1162/jocn.2007.19.9.1498), T1-weighted MRI",
    reference=RATED,
    limits=(YOUNG_ARE_HEALTHY,),
)
def index_oasis(root: str | Path) -> Manifest:
    """List the OASIS-1 sessions that have both a table row and an image under `root`.

    The 20 repeat sessions (``MR2``) share `subject` with their ``MR1``, so a split grouped by
    `subject` cannot put one person on both sides.

    Args:
        root: Folder of the unpacked discs, at any depth; some may be missing. `TABLE` lies in it,
            at any depth, or up to two folders above.

    Returns:
        One row per session: `age` in years, `mmse` in points (0 to 30), `etiv` in mL, `label` a
        stage name, or ``<NA>`` where no CDR was taken. Unrated means unlabelled, not healthy.

    Raises:
        DataNotFoundError: `TABLE` is missing, or no session has an image.
        ManifestError: The table is malformed, an image has no row in it, or a session has two
            images.
    """
    root = Path(root)
    table = find_table(root) or find_table(root, OASIS_2) or root / TABLE
    return index_session_tree(
        root, table, r"OAS1_\d{4}", "oasis", hint=f"download it from {HOMEPAGE} into {root}"
    )


def index_session_tree(
    root: str | Path, table_path: str | Path, key_pattern: str, cohort: str, *, hint: str
) -> Manifest:
    """List the sessions of a folder that is laid out, and has a table, as OASIS-1 has.

    Args:
        root: Folder of the images.
        table_path: The clinical table.
        key_pattern: What names a person; a session is ``<person>_MR<number>``.
        cohort: Name for the manifest.
        hint: How to get what is missing.

    Returns:
        One row per session that has an image, sorted by ID.

    Raises:
        DataNotFoundError: Folder, table or images are missing.
        ManifestError: Table and images contradict each other or the contract.
    """
    root = Path(root)
    table_path = Path(table_path)
    for path in (root, table_path):
        if not path.exists():
            raise DataNotFoundError(path, hint=hint)
    images = _find_images(root, key_pattern)
    table = with_ids_of(read_table(table_path), images["ID"], table_path)
    _refuse_ids(table_path, table.index, key_pattern)
    if images.empty:
        raise DataNotFoundError(root / "**" / Path(*FOLDERS) / f"*{IMAGE_ENDS}", hint=hint)
    _refuse_unlisted(images, table.index, table_path)
    found = images.join(table, on="ID").sort_values(["ID", "path"], ignore_index=True)
    _log_counts(cohort, table_path, table.index, found)
    key = found.pop("ID").str.extract(rf"^({key_pattern})_(MR\d+)$")
    return Manifest.from_columns(root, cohort=cohort, subject=key[0], session=key[1], **found)


def _refuse_ids(path: Path, ids: pd.Index, key_pattern: str) -> None:
    wrong = ids[~ids.str.fullmatch(rf"{key_pattern}_MR\d+", case=False)]
    if len(wrong):
        raise ManifestError(
            f"{path}: ID {wrong[0]!r} names no session ({counted(len(wrong), 'such row')})",
            hint="correct the table",
        )


def _find_images(root: Path, key_pattern: str) -> pd.DataFrame:
    """Return ``ID`` and ``path`` (relative to `root`, with ``/``) of every masked T88 image."""
    pattern = re.compile(rf"({key_pattern}_MR\d+)_.*")
    rows, unknown = [], []
    for path in sorted(_images(root), key=lambda path: path.split("/")):
        match = pattern.fullmatch(path.rpartition("/")[2])
        if match:
            rows.append((match[1], path))
        else:
            unknown.append(root / path)
    if unknown:
        names = counted(len(unknown), "image names", "images name")
        logger.warning("%s no session, such as %s", names, unknown[0])
    return pd.DataFrame(rows, columns=["ID", "path"], dtype="str")


def _images(root: Path) -> Iterator[str]:
    """Yield the paths of files that are named and placed as masked T88 images."""
    for folder, names in visible_files(root):
        images = [name for name in names if name.endswith(IMAGE_ENDS)]
        if images and (root / folder).parts[-3:] == FOLDERS:
            yield from (folder + name for name in images)


def _refuse_unlisted(images: pd.DataFrame, ids: pd.Index, path: Path) -> None:
    unlisted = images[~images["ID"].isin(ids)]
    if len(unlisted):
        raise ManifestError(
            f"{counted(len(unlisted), 'image has', 'images have')} no row in {path}: "
            f"{', '.join(unlisted['ID'][:5])}",
            hint="use the table that came with the images, or move these images away",
        )


def _log_counts(cohort: str, path: Path, ids: pd.Index, found: pd.DataFrame) -> None:
    rated = int(found["label"].notna().sum())
    logger.info(
        "%s: %s (%d rated, %d not rated), table %s",
        *(cohort, counted(len(found), "session"), rated, len(found) - rated, path),
    )
    absent = int((~ids.isin(found["ID"])).sum())
    if absent:
        have = counted(absent, "session of the table has", "sessions of the table have")
        logger.info("%s: %s no image here", cohort, have)
