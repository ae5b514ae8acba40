"""ADNI: T1-weighted scans as the Image and Data Archive hands them out, DICOM or NIfTI.

Scans lie in ``ADNI/002_S_0295/MP-RAGE/2006-04-18_08_20_30.0/I13722/``, and a CSV of the collection
says whose they are (`adni_tables`). The group of that CSV (CN, MCI, AD, ...) is a diagnosis and no
CDR. No image is opened here.

Source: Jack et al. (2008), J Magn Reson Imaging 27(4):685-691, doi:10.1002/jmri.21049;
https://adni.loni.usc.edu.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from ..errors import DataNotFoundError, ManifestError, counted
from ..manifest import Manifest
from .adni_tables import HOMEPAGE, days_since, first_dates, read_date, read_images, read_ratings
from .folders import list_scans_in
from .people_names import known_person
from .registry import RATED, register_cohort

logger = logging.getLogger(__name__)
#: Names of T1-weighted series, raw or corrected by ADNI (``MPR; GradWarp; B1 Correction; N3``).
_T1 = re.compile(r"mp[-_ ]?rage|spgr|(?<![a-z0-9])(?:m?t1w?|mpr)(?![a-z0-9])", re.IGNORECASE)
#: What is named after them and is no whole scan of a head.
_OTHER = re.compile(
    r"locali[sz]er|scout|survey|smartbrain|calibration|field.?map|mask|segment|label|phantom"
    r"|(?<![a-z0-9])t2|flair",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"(?:^|[/_])I(\d+)(?=$|[/_.])", re.IGNORECASE)
#: When it was scanned, in the name of a folder or of a file.
_WHEN = (
    re.compile(r"(?:^|/)(\d{4}-\d{2}-\d{2})_\d{2}_\d{2}_\d{2}"),
    re.compile(r"_raw_(\d{4}\d{2}\d{2})\d{6,}"),
)


@register_cohort(
    "adni",
    homepage=HOMEPAGE,
    axes=None,
    side_known=True,
    raw=True,
    source="ADNI (Jack et al. 2008, doi:10.1002/jmri.21049), T1-weighted MRI",
    reference=RATED,
    ratings=read_ratings,
)
def index_adni(root: str | Path) -> Manifest:
    """List the T1-weighted scans under `root` that the CSV of the collection names.

    All scans of a visit are listed; they share `subject`, so a split grouped by it cannot put one
    person on both sides.

    Args:
        root: Folder of the unpacked images, at any depth; the CSV lies in it or beside it.

    Returns:
        One row per scan: `subject` ``002_S_0295``, `session` ``2006-04-18_sc_I13722`` (date,
        visit, image), `day` since the person's first scan or visit, `age` in years, `sex`, `site`,
        and `diagnosis`, the group; no label: `adni_tables.read_ratings` has them.

    Raises:
        DataNotFoundError: There is no CSV, or no scan.
        ManifestError: A table is malformed, none of the scans is a T1 of the CSV, a folder and the
            CSV name two people, or two files are the same scan.
    """
    root = Path(root)
    images = read_images(root)
    here = _numbered(root)
    listed = images.reindex(images.index.intersection(list(here)))
    named = _named_t1(images)
    scans = listed[named.reindex(listed.index)].sort_index()
    _tell_left_out(root, images, here, named)
    if scans.empty:
        raise ManifestError(
            f"{root}: none of its {counted(len(here), 'scan')} is a T1-weighted one of the CSV, "
            f"such as {next(iter(here.values()))}",
            hint="put the CSV of the collection that these images are of there",
        )
    scans = scans.assign(path=[here[image] for image in scans.index])
    _refuse_other_people(scans)
    dates = scans["date"].fillna(pd.to_datetime(scans["path"].map(_date_in)))
    day = days_since(dates, scans["subject"], first_dates(root, images))
    _tell(root, scans, day)
    return Manifest.from_columns(
        root,
        cohort="adni",
        subject=scans["subject"].to_list(),
        session=[
            "_".join(filter(None, (_day(when), _visit(visit), f"I{image}")))
            for when, visit, image in zip(dates, scans["visit"], scans.index, strict=True)
        ],
        path=scans["path"].to_list(),
        age=scans["age"].to_list(),
        sex=scans["sex"].to_list(),
        day=day.to_list(),
        diagnosis=scans["group"].to_list(),
        site=scans["subject"].str[:3].to_list(),
    )


def _numbered(root: Path) -> dict[int, str]:
    """Return image number -> path; say how many scans have no number."""
    found: dict[int, str] = {}
    unknown: list[str] = []
    paths = list_scans_in(root).values()
    for path in paths:
        below = path.relative_to(root).as_posix()
        image = _image_of(path, below)
        if image is None:
            unknown.append(below)
            continue
        other = found.setdefault(image, below)
        if other != below:
            raise ManifestError(
                f"{other} and {below} are the same scan", hint="move one of them away"
            )
    if not paths:
        raise DataNotFoundError(
            root / "ADNI" / "*_S_*" / "**" / "I*",
            hint=f"unpack the images of the collection into {root}; see {HOMEPAGE}",
        )
    if unknown:
        logger.warning(
            "%s: %s left out: no image id (I13722) names it or a folder above, such as %.120s",
            *(root, counted(len(unknown), "scan is", "scans are"), unknown[0]),
        )
    return found


def _image_of(path: Path, below: str) -> int | None:
    """Return the image's number; of a folder of DICOM files without one, that of its files."""
    numbers = _IMAGE.findall(below)
    if not numbers and path.is_dir():
        inside = {one for file in path.iterdir() for one in _IMAGE.findall(file.name)}
        numbers = list(inside) if len(inside) == 1 else []
    return int(numbers[-1]) if numbers else None


def _named_t1(images: pd.DataFrame) -> pd.Series:
    """Return whether each image is a T1-weighted scan, by its modality and description."""
    text = images["description"].fillna("")
    magnetic = images["modality"].fillna("MRI").str.upper().isin(["MRI", "MR"])
    return magnetic & text.str.contains(_T1) & ~text.str.contains(_OTHER)


def _tell_left_out(
    root: Path, images: pd.DataFrame, here: dict[int, str], named: pd.Series
) -> None:
    unlisted = [path for image, path in here.items() if image not in images.index]
    if unlisted:
        logger.warning(
            "%s: %s left out, because the CSV does not name it, such as %.120s",
            *(root, counted(len(unlisted), "scan is", "scans are"), unlisted[0]),
        )
    others = images[~named & images.index.isin(list(here))]["description"].fillna("nothing")
    if len(others):
        kinds = ", ".join(f"{str(k)[:30]!r} {n}" for k, n in Counter(others).most_common(4))
        logger.info(
            "%s: %s left out, no T1-weighted scan by the description: %s",
            *(root, counted(len(others), "image is", "images are"), kinds),
        )
    absent = images.index[named & ~images.index.isin(list(here))]
    if len(absent):
        logger.warning(
            "%s: %s of the CSV not here, such as I%d",
            *(root, counted(len(absent), "T1-weighted scan is", "T1-weighted scans are")),
            absent[0],
        )


def _refuse_other_people(scans: pd.DataFrame) -> None:
    for path, subject in zip(scans["path"], scans["subject"], strict=True):
        above = known_person(path)
        if above not in (None, subject):
            raise ManifestError(
                f"{path} is of {above}, and the CSV says {subject}",
                hint="correct the CSV, or move the image to its person",
            )


def _date_in(path: str) -> pd.Timestamp:
    """Return the date that a path names, or NaT."""
    for pattern in _WHEN:
        found = pattern.findall(path)
        if found:
            plain = found[-1].replace("-", "")
            return read_date(f"{plain[:4]}-{plain[4:6]}-{plain[6:]}")
    return pd.NaT


def _day(when: pd.Timestamp) -> str | None:
    return None if pd.isna(when) else f"{when:%Y-%m-%d}"


def _visit(text: str) -> str:
    """Return a visit as a part of a file's name: ``ADNI2 Year 1`` is ``adni2-year-1``."""
    return "" if pd.isna(text) else re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:30]


def _tell(root: Path, scans: pd.DataFrame, day: pd.Series) -> None:
    visits = scans.assign(day=day)[["subject", "day", "visit"]].drop_duplicates()
    logger.info(
        "%s: %s of %s, %s",
        *(root, counted(len(scans), "T1-weighted scan")),
        counted(scans["subject"].nunique(), "person"),
        counted(len(visits), "session"),
    )
    undated = int(day.isna().sum())
    if undated:
        logger.warning(
            "%s: of %s neither the CSV nor the folder tells a date: not rated",
            *(root, counted(undated, "scan")),
        )
