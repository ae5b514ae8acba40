"""OASIS-3: 1,378 people of 42 to 95 years, 2,842 MR sessions, clinical visits at other days.

Scans lie as the study's download scripts leave them (``OAS30001_MR_d0129/anat2/...``) or as BIDS
(``sub-OAS30001/ses-d0129/anat/...``). Days count from a person's entry into the study, in the names
of scans as in those of visits. No image is opened here.

Sources: LaMontagne et al. (2019), doi:10.1101/2019.12.13.19014902;
github.com/NrgXnat/oasis-scripts (download scripts).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import DataNotFoundError, ManifestError, counted
from ..manifest import Manifest
from .cells import DAYS_PER_YEAR
from .folders import visible_files
from .oasis3_tables import HOMEPAGE, read_people, read_ratings
from .people_names import read_name
from .registry import RATED, register_cohort
from .sidecars import read_sidecars

logger = logging.getLogger(__name__)
#: Folders of data that are made from the scans, or copies of them.
_OTHER_DATA = (".", "__MACOSX", "derivatives", "sourcedata", "code")
#: Some downloads write ``sess-``.
_T1W = re.compile(
    r"sub-(OAS3\d{4})_sess?-(d\d{4,5})"
    r"((?:_(?:task|acq|ce|rec|run|echo|part|chunk)-[A-Za-z0-9]+)*)_T1w\.nii(?:\.gz)?",
    re.IGNORECASE,
)
_FOLDER_DAY = re.compile(r"(?:^|/)(?:OAS3\d{4}_MR_|ses-)(d\d{4,5})/", re.IGNORECASE)


@dataclass(frozen=True)
class _Scan:
    path: str
    subject: str
    day: str
    session: str


@register_cohort(
    "oasis3",
    homepage=HOMEPAGE,
    axes=None,
    side_known=True,
    raw=True,
    source="OASIS-3 (LaMontagne et al. 2019, doi:10.1101/2019.12.13.19014902), T1-weighted MRI",
    reference=RATED,
    same_people_as=("oasis", "oasis2", "kaggle_orig", "kaggle_nifti"),
    ratings=read_ratings,
)
def index_oasis3(root: str | Path) -> Manifest:
    """List the T1w scans of OASIS-3 under `root`.

    All runs of a session are listed; they share `subject`, so a split grouped by it cannot put one
    person on both sides.

    Args:
        root: Folder of the sessions or of ``sub-*``, at any depth; the study's tables lie in it,
            at any depth, or beside it.

    Returns:
        One row per scan: `subject` ``OAS30001``, `session` ``d0129_run-01``, `day` since entry,
        `age` in years at the scan, `scanner`, `manufacturer` and `field_strength` as the JSON file
        of a scan has them; no label: `read_ratings` has them.

    Raises:
        DataNotFoundError: There is no T1w scan.
        ManifestError: A table is malformed, a file and its folder contradict each other, or two
            files are the same scan.
    """
    root = Path(root)
    scans = sorted(_scans(root), key=lambda scan: scan.path)
    if not scans:
        raise DataNotFoundError(
            root / "**" / "sub-OAS3*_ses-d*_T1w.nii.gz",
            hint=f"name the folder of the downloaded sessions with --data_dir; see {HOMEPAGE}",
        )
    _refuse_twins(scans)
    rows = pd.DataFrame(scans)
    rows["day"] = rows["day"].str[1:].astype("float64")
    people = read_people(root)
    now = people.reindex(rows["subject"]).set_axis(rows.index)
    age = now["entry"] + rows["day"] / DAYS_PER_YEAR
    logger.info(
        "%s: %s of %s, %s",
        *(root, counted(len(rows), "T1w scan"), counted(rows["subject"].nunique(), "person")),
        counted(len(rows.drop_duplicates(["subject", "day"])), "session"),
    )
    columns = rows.assign(age=age, sex=now["sex"], **read_sidecars(root, rows["path"]))
    return Manifest.from_columns(root, cohort="oasis3", **columns.to_dict("list"))


def _scans(root: Path) -> Iterator[_Scan]:
    """Yield T1w scans; say how many images are named as none."""
    other: list[str] = []
    for place, names in visible_files(root, skip=_OTHER_DATA):
        for name in names:
            match = _T1W.fullmatch(name)
            if match:
                yield _placed(place, match)
            elif name.lower().endswith(("_t1w.nii", "_t1w.nii.gz")):
                other.append(place + name)
    if other:
        logger.warning(
            "%s: %s left out, named otherwise than sub-OAS30001_ses-d0129_T1w, such as %.120s",
            *(root, counted(len(other), "T1w image is", "T1w images are"), other[0]),
        )


def _placed(place: str, match: re.Match[str]) -> _Scan:
    """Return a scan, if its folder says nothing else."""
    path = place + match[0]
    read_name(path)  # refuses two people
    subject, day = match[1].upper(), match[2].lower()
    for above in _FOLDER_DAY.findall(place):
        if int(above[1:]) != int(day[1:]):
            raise ManifestError(
                f"{path} names day {day}, its folder {above}", hint="rename the file or its folder"
            )
    return _Scan(path, subject, day, day + match[3])


def _refuse_twins(scans: list[_Scan]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for scan in scans:
        other = seen.setdefault((scan.subject, scan.session), scan.path)
        if other != scan.path:
            raise ManifestError(
                f"{other} and {scan.path} are the same scan", hint="move one of them away"
            )
