"""Kaggle's 2D sets: 6,400 JPGs without names of people, and OASIS-1 slices named after sessions.

Which of the two lies in the folder is read from the file names. Neither is an external test for
OASIS-1: the second is OASIS-1, and the first has its slice size and its number of people per stage.
No image is decoded, unless people have to be guessed from near-duplicates.

Source: https://www.kaggle.com/datasets/tourist55/alzheimers-dataset-4-class-of-images (ODbL);
https://www.kaggle.com/datasets/ninadaithal/imagesoasis (Marcus et al. 2007,
doi:10.1162/jocn.2007.19.9.1498).
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pandas as pd

from ..errors import ManifestError, counted
from ..manifest import PEOPLE_UNKNOWN, Manifest
from .folders import ImageFile, list_images, require_stages
from .kaggle_names import people_by_name
from .named_copies import find_copies, tell_copies
from .near_duplicates import near_duplicate_clusters
from .oasis_table import KAGGLE_IS_OASIS, join_table
from .registry import RATED, register_cohort

logger = logging.getLogger(__name__)

COHORT = "kaggle_orig"
HOMEPAGE = "https://www.kaggle.com/datasets/tourist55/alzheimers-dataset-4-class-of-images"
SUFFIXES = (".jpg", ".jpeg", ".png")
_OASIS = re.compile(r"(OAS1_\d{4})_(MR\d)_(mpr-\d)_(\d+)")


@register_cohort(
    COHORT,
    homepage=HOMEPAGE,
    axes=None,
    side_known=False,
    layout="slice",
    source="a public Kaggle set of JPG slices, almost certainly of OASIS-1 people",
    reference=f"class folders, or a clinical table where there is one, taken as {RATED}",
    limits=(KAGGLE_IS_OASIS,),
    same_people_as=("oasis", "kaggle_nifti"),
)
def index_kaggle_jpg(root: str | Path) -> Manifest:
    """List the slices in class folders under `root`, with the person each belongs to.

    Args:
        root: Folder of the unpacked download: class folders at any depth, in ``train`` and
            ``test`` or not.

    Returns:
        One row per image; `split` as downloaded, or empty. With OASIS names, `label` is the
        table's rating, and empty where there is none. Names that tell no person give subjects
        ``CLUSTER_0001``, ... of near-duplicates, and the stamp `PEOPLE_UNKNOWN`.

    Raises:
        DataNotFoundError: There is no image.
        ManifestError: A folder's name is no stage, a folder contradicts the clinical table, or the
            table is malformed.
    """
    root = Path(root)
    images = list_images(root, SUFFIXES, hint=f"download {HOMEPAGE} and unpack it into {root}")
    require_stages(root, images)
    sessions, copies = _named_after_sessions(root, images)
    if sessions:
        if len(sessions) + len(copies) == len(images):
            tell_copies(root, [image.path for image in images], copies)
            return _index_oasis_slices(root, [images[i] for i in sessions])
        named = f"{len(sessions)} of {len(images)} files are named after OASIS-1 sessions"
        return _index_clusters(root, images, named)
    try:
        rows = _people_by_name(root, images)
    except ManifestError as error:
        return _index_clusters(root, images, error.message)
    count = rows["subject"].nunique()
    people = counted(count, "person")
    logger.info("%s: %s of %s, known by their names", COHORT, counted(len(rows), "image"), people)
    return Manifest(rows, root)


def _named_after_sessions(root: Path, images: list[ImageFile]) -> tuple[list[int], dict[int, int]]:
    """Return which images are named after OASIS-1 sessions, and which of the others copy them."""
    named = [i for i, image in enumerate(images) if _OASIS.fullmatch(image.stem)]
    odd = set(range(len(images))) - set(named) if named else set()
    paths, stages = [image.path for image in images], [image.stage for image in images]
    return named, find_copies(root, paths, stages, odd)


def _people_by_name(root: Path, images: list[ImageFile]) -> pd.DataFrame:
    """Return the rows of the 6,400-image set, or raise a ManifestError that names the class."""
    rows = _columns(images)
    people = people_by_name(root, rows["path"].tolist(), rows["label"].tolist())
    rows = rows.loc[list(people)].reset_index(drop=True)
    return rows.assign(
        subject=[subject for subject, _ in people.values()],
        slice=[number for _, number in people.values()],
    )


def _index_oasis_slices(root: Path, images: list[ImageFile]) -> Manifest:
    """Index slices that are named ``OAS1_0028_MR1_mpr-1_100``."""
    rows = _columns(images)
    parts = pd.Series([image.stem for image in images]).str.extract(_OASIS)
    session = parts[1] + "_" + parts[2]
    rows = rows.assign(subject=parts[0], session=session, slice=parts[3].astype(int))
    rows, stamps = join_table(rows, root, COHORT)
    count = rows["subject"].nunique()
    people = counted(count, "OASIS-1 person")
    logger.info("%s: %s of %s", COHORT, counted(len(rows), "image"), people)
    return Manifest(rows, root, stamps)


def _index_clusters(root: Path, images: list[ImageFile], why: str) -> Manifest:
    """Index images that name no person by clusters of near-duplicates."""
    rows = _columns(images)
    clusters = near_duplicate_clusters(
        [root / image.path for image in images], rows["label"].tolist()
    )
    rows["subject"] = [f"CLUSTER_{cluster + 1:04d}" for cluster in clusters]
    rows["slice"] = rows.groupby("subject").cumcount() + 1
    logger.warning(
        "%s: %s (%s); %d clusters of near-duplicates stand in for them",
        *(COHORT, PEOPLE_UNKNOWN, why, clusters.max() + 1),
    )
    return Manifest(rows, root, (PEOPLE_UNKNOWN,))


def _columns(images: list[ImageFile]) -> pd.DataFrame:
    """Return what the folders say; the names say nothing of sessions, so there is one each."""
    return pd.DataFrame(
        {
            "cohort": COHORT,
            "session": "MR1",
            "path": [image.path for image in images],
            "label": [image.stage for image in images],
            "split": [image.side for image in images],
        }
    )
