"""OASIS-1 volumes as NIfTI, as several Kaggle data sets hand them out.

They keep the session in the name of the file or of a folder, in class folders or not. The header
gives the orientation. No volume is opened here.

Source: Marcus et al. (2007), J Cogn Neurosci 19(9):1498-1507, doi:10.1162/jocn.2007.19.9.1498.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from ..labels import NO_STAGE
from ..manifest import PEOPLE_UNKNOWN, Manifest
from .folders import ImageFile, in_diagnosis, list_images, no_stage
from .oasis_table import KAGGLE_IS_OASIS, TABLE, YOUNG_ARE_HEALTHY, join_table
from .people_names import read_name
from .registry import RATED, register_cohort

logger = logging.getLogger(__name__)

COHORT = "kaggle_nifti"
HOMEPAGE = "https://www.kaggle.com/datasets"
SUFFIXES = (".nii.gz", ".nii")
_OASIS = r"OAS1_\d{4}"


@register_cohort(
    COHORT,
    homepage=HOMEPAGE,
    axes=None,
    side_known=True,
    source="OASIS-1 volumes as uploaded to Kaggle (NIfTI)",
    reference=RATED,
    limits=(KAGGLE_IS_OASIS, YOUNG_ARE_HEALTHY),
)
def index_kaggle_nifti(root: str | Path) -> Manifest:
    """List the NIfTI volumes under `root`.

    Args:
        root: Folder of the unpacked download; files and folders at any depth.

    Returns:
        One row per volume, of whom its path names (`people_names`). A volume that names an OASIS-1
        session, ``OAS1_0028_MR1``, has the table's rating if the table lists it, empty if that has
        no CDR; any other has its class folder's stage. A volume that names nobody is a person of
        its own, and then the manifest carries the stamp `PEOPLE_UNKNOWN`.

    Raises:
        DataNotFoundError: There is no volume.
        ManifestError: A folder contradicts the table, a path names two people, two volumes are
            the same scan, or no volume has a label.
    """
    root = Path(root)
    images = list_images(
        root, SUFFIXES, hint=f"download OASIS-1 volumes as NIfTI from {HOMEPAGE} into {root}"
    )
    rows = pd.DataFrame([_described(image) for image in images])
    unnamed = rows["subject"].isna()
    rows.loc[unnamed, "subject"] = _own_names([images[i] for i in rows.index[unnamed]])
    oasis = rows["subject"].str.fullmatch(_OASIS)
    joined, stamps = join_table(rows[oasis], root, COHORT)
    rows = pd.concat([joined, rows[~oasis]]).sort_index()
    _tell_diagnoses(root, rows)
    if rows["label"].isna().all():
        raise ManifestError(
            f"{root}: of {counted(len(rows), 'volume')}, none has a label: no class folder, no CDR",
            hint=f"put {TABLE} beside them, or the volumes into folders named after stages",
        )
    if unnamed.any():
        stamps += (PEOPLE_UNKNOWN,)
        logger.warning(
            "%s: %s: %d of %s nobody, such as %s; each counts as a person of its own",
            *(
                COHORT,
                PEOPLE_UNKNOWN,
                unnamed.sum(),
                counted(len(rows), "volume names", "volumes name"),
            ),
            rows.loc[unnamed, "path"].iloc[0],
        )
    people = counted(rows["subject"].nunique(), "person")
    logger.info("%s: %s of %s", COHORT, counted(len(rows), "volume"), people)
    return Manifest(rows.assign(cohort=COHORT), root, stamps)


def _tell_diagnoses(root: Path, rows: pd.DataFrame) -> None:
    """Say why folders named after diagnoses gave no label; refuse the set if there is no other.

    Raises:
        ManifestError: No volume has a label, and a folder is named after a diagnosis.
    """
    paths = rows.loc[rows["label"].isna(), "path"]
    folders = [path.rpartition("/")[0] for path in paths]
    diagnosed = [folder for folder in folders if in_diagnosis(folder)]
    if not diagnosed:
        return
    if rows["label"].isna().all():
        raise no_stage(root, set(diagnosed))
    logger.warning(
        "%s: %s without a label in folders such as %s: %s",
        *(COHORT, counted(len(diagnosed), "volume"), diagnosed[0], NO_STAGE),
    )


def _described(image: ImageFile) -> dict[str, str | None]:
    """Return what a volume's path says; ``subject`` is None where it names nobody."""
    named = read_name(f"{image.path.rpartition('/')[0]}/{image.stem}")
    return {
        "path": image.path,
        "label": image.stage,
        "subject": named.person if named else None,
        "session": (named.session if named else None) or "MR1",
    }


def _own_names(images: list[ImageFile]) -> list[str]:
    """Return each file's stem, or its whole path where two files share the stem."""
    count = Counter(image.stem for image in images)
    return [
        image.stem if count[image.stem] == 1 else image.path.replace("/", "_") for image in images
    ]
