"""The OASIS-1 clinical table, and files that are named after its sessions.

The table (``ID, M/F, Hand, Age, Educ, SES, MMSE, CDR, eTIV, nWBV, ASF, Delay``) has one row per
session, 436 in all. 201 sessions have no CDR: unrated, not healthy. Several public copies of
OASIS-1 keep the session in the name and lay the files in class folders. Those folders hold unrated
people as ``Non Demented``: only the table can tell them apart.

Source: Marcus et al. (2007), J Cogn Neurosci 19(9):1498-1507, doi:10.1162/jocn.2007.19.9.1498.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from .person_values import find_column, key_column, person_values
from .registry import Limit
from .table_ids import match_ids
from .text_table import read_text_table

logger = logging.getLogger(__name__)
TABLE = "oasis_cross-sectional.csv"
#: The site's own downloads carry a suffix: ``oasis_cross-sectional-5708aa0a98d82080.xlsx``.
_PATTERN = "oasis_cross-sectional*"
#: OASIS-2's table, which `read_table` refuses by name.
OASIS_2 = "oasis*longitudinal*"
#: What the table may end in; of several in one place the first counts.
_ENDINGS = (".csv", ".xlsx")
_REQUIRED = ("ID", "M/F", "Age", "MMSE", "eTIV", "nWBV", "CDR")
_HINT = "download it again from https://www.oasis-brains.org"
#: Said of every result whose healthy people may include some who were never rated.
UNRATED_AS_HEALTHY = "unrated people may be counted as NonDemented"
#: What speaks against scores of OASIS-1 people, and of those that Kaggle hands out.
YOUNG_ARE_HEALTHY = Limit(
    "Every rated person of OASIS-1 under 60 is at CDR 0, so age alone tells some of these {n} "
    "apart.",
    under_age=60,
)
KAGGLE_IS_OASIS = Limit(
    "These {n} of a Kaggle set are almost certainly OASIS-1 people: no external test of a model "
    "trained on OASIS-1."
)


def find_table(root: str | Path, pattern: str = _PATTERN) -> Path | None:
    """Return the table that belongs to the images under `root`, or None.

    Looked for in `root` at any depth, in the two folders above, and in ``oasis`` beside `root`;
    the first place that has one wins, and there the path with the fewest folders.
    """
    root = Path(root)
    above = root.absolute().parents[:2]
    # A table in `root` itself wins, so 100,000 folders below need not be searched for others.
    places = [root.glob(pattern), root.rglob(pattern)]
    places += [*(folder.glob(pattern) for folder in above)]
    places += [folder.rglob(pattern) for folder in (root.absolute().parent / "oasis",)]
    for place in places:
        tables = [path for path in place if path.suffix.lower() in _ENDINGS]
        if tables:
            return min(tables, key=_rank)
    return None


def _rank(path: Path) -> tuple[int, int, bool, str]:
    ending = _ENDINGS.index(path.suffix.lower())
    return len(path.parts), ending, path.name != TABLE, str(path)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read the clinical table.

    Args:
        path: CSV or .xlsx, in any form that `read_text_table` knows.

    Returns:
        One row per session, indexed by ``ID`` (``OAS1_0061_MR1``): ``label`` (a stage name, or
        missing where no CDR was taken), ``age`` in years, ``sex`` F or M, ``mmse`` in points (0
        to 30), ``etiv`` in mL, ``nwbv`` a fraction of eTIV.

    Raises:
        ManifestError: It is no table, or OASIS-2's; a column is missing, an ID stands in two
            rows, or a rating is no CDR.
    """
    path = Path(path)
    rows = read_text_table(path, hint=_HINT)
    rows = rows.rename(columns={find_column(rows, name): name for name in _REQUIRED})
    _refuse_oasis_2(path, rows)
    missing = [name for name in _REQUIRED if name not in rows]
    if missing:
        found = ", ".join(rows.columns)
        raise ManifestError(f"{path} has no column {missing[0]!r}; found: {found}", hint=_HINT)
    key_column(rows, "ID", path, hint=_HINT)
    _refuse_repeats(rows["ID"], path)
    table = person_values(rows, rows["ID"], path)
    table.index = pd.Index(rows["ID"], name="ID")
    return table


def _refuse_oasis_2(path: Path, rows: pd.DataFrame) -> None:
    if find_column(rows, "MRI ID"):
        raise ManifestError(
            f"{path} is the table of OASIS-2, and --dataset oasis reads OASIS-1",
            hint=f"put {TABLE} of OASIS-1 there; for OASIS-2 use --dataset oasis2",
        )


def with_ids_of(table: pd.DataFrame, ids: Iterable[str], path: Path) -> pd.DataFrame:
    """Return the table with the IDs of the images, where they differ in zeros or case only."""
    meant = match_ids(table.index, {one: one for one in ids}, path)
    return table.set_axis(table.index.map(lambda one: meant.get(one, one)))


def _refuse_repeats(ids: pd.Series, path: Path) -> None:
    if ids.duplicated().any():
        twice = ids[ids.duplicated()].iloc[0]
        raise ManifestError(f"{path}: {twice!r} stands in two rows", hint="remove one of them")


def join_table(rows: pd.DataFrame, root: Path, cohort: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Give OASIS-named rows the table's rating and measures.

    The table decides: a session in it without a CDR is unrated, whatever its folder. A session
    that is not in it, or every session if there is no table, keeps the folder's label.

    Args:
        rows: ``subject`` (``OAS1_0028``), ``session`` (``MR1`` or ``MR1_mpr-1``), ``path``, and
            ``label``, the folder's stage or missing.
        root: Folder of the cohort, where the search for the table starts.
        cohort: Name for the log.

    Returns:
        The rows with ``label, age, sex, mmse, etiv, nwbv``, and the stamps that they need.

    Raises:
        ManifestError: The table is malformed; or a folder contradicts the CDR, or another folder.
    """
    _refuse_two_folders(rows)
    path = find_table(root)
    if path is None:
        return rows, _stamps(rows, cohort, f"there is no {TABLE} in or beside {root}")
    table = read_table(path)
    key = rows["subject"] + "_" + rows["session"].str[:3]
    table = with_ids_of(table, key, path)
    measures = table.reindex(key).set_axis(rows.index)
    rated, listed = measures.pop("label"), key.isin(table.index)
    _refuse_contradiction(rows, rated, path)
    joined = rows.join(measures).assign(label=rated.where(listed, rows["label"]))
    _log_unrated(rows, listed & rated.isna(), cohort)
    why = f"{counted(int((~listed).sum()), 'image is', 'images are')} not in {path}"
    return joined, _stamps(joined[~listed], cohort, why)


def _stamps(unlisted: pd.DataFrame, cohort: str, why: str) -> tuple[str, ...]:
    """Return the stamp that images labelled healthy by nothing but their folder need."""
    if not (unlisted["label"] == "NonDemented").any():
        return ()
    logger.warning("%s: %s: %s", cohort, UNRATED_AS_HEALTHY, why)
    return (UNRATED_AS_HEALTHY,)


def _refuse_two_folders(rows: pd.DataFrame) -> None:
    labelled = rows.dropna(subset=["label"])
    visit = labelled["session"].str[:3]
    labels = labelled.groupby(["subject", visit])["label"].nunique()
    for session in labels.index[labels > 1]:
        scans = labelled[(labelled["subject"] == session[0]) & (visit == session[1])]
        first, second = (group.iloc[0] for _, group in list(scans.groupby("label"))[:2])
        raise ManifestError(
            f"{'_'.join(session)} lies in the folders of two stages: "
            f"{first['label']} ({first['path']}) and {second['label']} ({second['path']})",
            hint="remove the wrong one",
        )


def _refuse_contradiction(rows: pd.DataFrame, rated: pd.Series, path: Path) -> None:
    wrong = rated.notna() & rows["label"].notna() & (rated != rows["label"])
    if wrong.any():
        row = rows[wrong].iloc[0]
        raise ManifestError(
            f"{row['path']} lies in a folder of {row['label']}, but {path} rates "
            f"{row['subject']} as {rated[wrong].iloc[0]} "
            f"({counted(int(wrong.sum()), 'image disagrees', 'images disagree')})",
            hint="move the images to the right folder, or correct the table",
        )


def _log_unrated(rows: pd.DataFrame, unrated: pd.Series, cohort: str) -> None:
    if unrated.any():
        logger.info(
            "%s: without a CDR, unrated whatever their folder: %s (%s)",
            cohort,
            counted(rows.loc[unrated, "subject"].nunique(), "person"),
            counted(int(unrated.sum()), "image"),
        )
