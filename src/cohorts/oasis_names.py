"""Files named after OASIS-1 sessions: who they show, and what the clinical table says of them.

Several public copies of OASIS-1 keep the session in the name and lay the files in class folders.
Those folders hold unrated people as ``Non Demented``: only the table can tell them apart.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from .clinical_table import TABLE, find_table, read_table

logger = logging.getLogger(__name__)

#: Said of every result whose healthy people may include some who were never rated.
UNRATED_AS_HEALTHY = "unrated people may be counted as NonDemented"


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
