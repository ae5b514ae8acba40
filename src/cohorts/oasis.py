"""OASIS-1 cross-sectional cohort: 416 people aged 18 to 96, 436 T1-weighted MRI sessions.

Indexes the registered images (``T88_111``: brain-masked, bias-corrected, Talairach space,
176 x 208 x 176 voxels of 1 mm) against the clinical table. No image is opened here.

Source: Marcus et al. (2007), J Cogn Neurosci 19(9):1498-1507, doi:10.1162/jocn.2007.19.9.1498.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ..errors import DataNotFoundError, ManifestError
from ..labels import stage_from_cdr
from ..manifest import Manifest
from .registry import register_cohort

logger = logging.getLogger(__name__)

HOMEPAGE = "https://www.oasis-brains.org"
TABLE = "oasis_cross-sectional.csv"
COLUMNS = ("ID", "M/F", "Age", "MMSE", "CDR", "eTIV", "nWBV")
FOLDERS = ("PROCESSED", "MPRAGE", "T88_111")
IMAGE = "*_t88_masked_gfc.img"
_PARENTS = 2  # the table often lies beside the folder that the discs were unpacked into


@register_cohort("oasis", homepage=HOMEPAGE, axes="LAS", side_known=False)
def index_oasis(root: Path) -> Manifest:
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
    return index_session_tree(
        root, TABLE, r"OAS1_\d{4}", "oasis", hint=f"download it from {HOMEPAGE}"
    )


def index_session_tree(
    root: Path, table_name: str, key_pattern: str, cohort: str, *, hint: str
) -> Manifest:
    """List the sessions of a folder that is laid out, and has a table, as OASIS-1 has.

    Args:
        root: Folder of the images.
        table_name: File name of the clinical table, with at least `COLUMNS`.
        key_pattern: What names a person; a session is ``<person>_MR<number>``.
        cohort: Name for the manifest.
        hint: How to get what is missing.

    Returns:
        One row per session that has an image, sorted by ID.

    Raises:
        DataNotFoundError: Folder, table or images are missing.
        ManifestError: Table and images contradict each other or the contract.
    """
    if not root.is_dir():
        raise DataNotFoundError(root, hint=hint)
    files = sorted(_walk(root))
    path = _find_table(root, table_name, files, hint)
    table = _read_table(path, key_pattern)
    images = _find_images(root, files, key_pattern)
    if images.empty:
        raise DataNotFoundError(root / "**" / Path(*FOLDERS) / IMAGE, hint=hint)
    _refuse_unlisted(images, table, path)
    found = table.merge(images, on="ID").sort_values(["ID", "path"], ignore_index=True)
    _log_counts(cohort, path, table, found)
    key = found["ID"].str.extract(rf"^({key_pattern})_(MR\d+)$")
    return Manifest.from_columns(
        root,
        cohort=cohort,
        subject=key[0],
        session=key[1],
        path=found["path"],
        label=found["label"],
        age=found["Age"],
        sex=found["M/F"],
        mmse=found["MMSE"],
        etiv=found["eTIV"],
        nwbv=found["nWBV"],
    )


def _walk(root: Path) -> Iterator[Path]:
    """Yield every visible file under `root`; discs may be links, which ``rglob`` would skip."""
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = str(Path(folder).resolve())
        if real in seen:  # a link back up, or a second link to the same disc
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _find_table(root: Path, name: str, files: list[Path], hint: str) -> Path:
    """Return the table inside `root`, or the nearest one above it."""
    inside = sorted((file for file in files if file.name == name), key=lambda p: len(p.parts))
    for other in inside[1:]:
        if other.read_bytes() != inside[0].read_bytes():
            raise ManifestError(
                f"two tables differ: {inside[0]} and {other}", hint="keep the right one"
            )
    above = [folder / name for folder in root.resolve().parents[:_PARENTS]]
    tables = inside + [path for path in above if path.is_file()]
    if not tables:
        raise DataNotFoundError(root / name, hint=hint)
    return tables[0]


def _read_table(path: Path, key_pattern: str) -> pd.DataFrame:
    """Return the table with a ``label`` column, or name what is wrong with it."""
    try:
        table = pd.read_csv(path, dtype="str", encoding="utf-8-sig").dropna(how="all")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is not a CSV table: {error}") from None
    table.columns = table.columns.str.strip()
    for name in COLUMNS:
        if name not in table:
            raise ManifestError(
                f"{path}: column {name!r} is missing; found: {', '.join(table.columns)}",
                hint="use the table as downloaded, with commas between columns",
            )
    table["ID"] = table["ID"].str.strip()
    good = table["ID"].str.fullmatch(rf"{key_pattern}_MR\d+").fillna(False).astype(bool)
    _refuse_ids(path, table.loc[~good, "ID"], "is no session ID")
    _refuse_ids(path, table.loc[table["ID"].duplicated(), "ID"], "stands in two rows")
    labels = [_stage(path, row["ID"], row["CDR"]) for _, row in table.iterrows()]
    return table.assign(label=pd.Series(labels, index=table.index, dtype="object"))


def _refuse_ids(path: Path, ids: pd.Series, why: str) -> None:
    if len(ids):
        raise ManifestError(
            f"{path}: ID {ids.iloc[0]!r} {why} ({len(ids)} such rows)", hint="correct the table"
        )


def _stage(path: Path, session: str, cdr: str) -> str | None:
    if pd.isna(cdr):
        return None
    try:
        return stage_from_cdr(float(cdr))
    except ValueError:  # ManifestError is one too
        raise ManifestError(
            f"{path}: {session} has CDR {cdr!r}, which is not on the scale 0, 0.5, 1, 2, 3",
            hint="correct the table",
        ) from None


def _find_images(root: Path, files: list[Path], key_pattern: str) -> pd.DataFrame:
    """Return ``ID`` and ``path`` (relative to `root`, with ``/``) of every masked T88 image."""
    pattern = re.compile(rf"({key_pattern}_MR\d+)_.*")
    rows, unknown = [], []
    for file in files:
        if file.match(IMAGE) and file.parts[-4:-1] == FOLDERS:
            match = pattern.fullmatch(file.name)
            if match:
                rows.append((match[1], file.relative_to(root).as_posix()))
            else:
                unknown.append(file)
    if unknown:
        logger.warning("%d images name no session, such as %s", len(unknown), unknown[0])
    return pd.DataFrame(rows, columns=["ID", "path"], dtype="str")


def _refuse_unlisted(images: pd.DataFrame, table: pd.DataFrame, path: Path) -> None:
    unlisted = images[~images["ID"].isin(table["ID"])]
    if len(unlisted):
        raise ManifestError(
            f"{len(unlisted)} images have no row in {path}: {', '.join(unlisted['ID'][:5])}",
            hint="use the table that came with the images, or move these images away",
        )


def _log_counts(cohort: str, path: Path, table: pd.DataFrame, found: pd.DataFrame) -> None:
    rated = int(found["label"].notna().sum())
    logger.info(
        "%s: %d sessions (%d rated, %d not rated), table %s",
        *(cohort, len(found), rated, len(found) - rated, path),
    )
    absent = int((~table["ID"].isin(found["ID"])).sum())
    if absent:
        logger.info("%s: %d sessions of the table have no image here", cohort, absent)
