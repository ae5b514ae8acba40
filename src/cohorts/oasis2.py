"""OASIS-2, longitudinal: 150 people aged 60 to 96, 373 sessions, a CDR at each.

Indexes the raw scans (``OAS2_0001_MR1/RAW/mpr-1.nifti.hdr`` and ``.img``) against the table
``oasis_longitudinal``. Of the three or four acquisitions of a session the first one that is there
is its scan. No image is opened here.

Source: Marcus et al. (2010), J Cogn Neurosci 22(12):2677-2684, doi:10.1162/jocn.2009.21407.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..errors import DataNotFoundError, ManifestError, counted
from ..manifest import Manifest
from .folders import list_scans_in
from .oasis_table import OASIS_2, find_table
from .person_values import find_column, key_column, person_values
from .registry import RATED, register_cohort
from .study_tables import numbers, over_time, require_column
from .text_table import read_text_table

logger = logging.getLogger(__name__)
HOMEPAGE = "https://sites.wustl.edu/oasisbrains/home/oasis-2/"
TABLE = "oasis_longitudinal_demographics.xlsx"
_HINT = f"download {TABLE} again from {HOMEPAGE}"
_OASIS_1 = "oasis_cross-sectional*"
_REQUIRED = ("MRI ID", "MR Delay", "M/F", "Age", "MMSE", "CDR")
_SESSION = re.compile(r"OAS2_\d{4}_MR\d+")
_ACQUISITION = re.compile(r"(?:^|[/_])mpr-(\d+)(?![A-Za-z0-9])")


def read_ratings(root: str | Path) -> pd.DataFrame:
    """Return the rating of every session of the table, with a scan or without.

    Args:
        root: As `index_oasis2` has it.

    Raises:
        DataNotFoundError: The table is missing.
        ManifestError: It is malformed.
    """
    path, rows = _read_table(Path(root), quirks=Counter())
    return over_time(rows, rows.index.to_series().str[:9], numbers(rows["MR Delay"]), path)


@register_cohort(
    "oasis2",
    homepage=HOMEPAGE,
    axes=None,
    side_known=True,
    raw=True,
    source="OASIS-2 (Marcus et al. 2010, doi:10.1162/jocn.2009.21407), T1-weighted MRI",
    reference=RATED,
    same_people_as=("oasis", "kaggle_orig", "kaggle_nifti"),
    ratings=read_ratings,
)
def index_oasis2(root: str | Path) -> Manifest:
    """List the OASIS-2 sessions that have a scan under `root`.

    Args:
        root: Folder of the unpacked parts, at any depth; some may be missing. The table lies in
            it, at any depth, or up to two folders above.

    Returns:
        One row per session: `subject` ``OAS2_0001``, `session` ``MR1``, `day` since the first one,
        `age` in years, `etiv` in mL; no label: `read_ratings` has them.

    Raises:
        DataNotFoundError: The table is missing, or there is no scan.
        ManifestError: The table is malformed, or names no session that has a scan.
    """
    root = Path(root)
    scans = _first_acquisitions(root, list_scans_in(root).values())
    path, rows = _read_table(root)
    if not scans:
        raise DataNotFoundError(
            root / "**" / "OAS2_*_MR*" / "RAW" / "mpr-1.nifti.img",
            hint=f"download OAS2_RAW_PART1 and 2 from {HOMEPAGE} and unpack them into {root}",
        )
    found = pd.DataFrame({"path": scans.values()}, index=pd.Index(scans, name="ID"), dtype="str")
    values = _described(rows, path, found.index)
    found = found.join(values).sort_index()
    key = found.index.to_series().str.extract(r"(OAS2_\d{4})_(MR\d+)")
    _tell(root, path, rows, found)
    columns = {name: found[name].to_list() for name in ("path", *values)}
    return Manifest.from_columns(
        root, cohort="oasis2", subject=key[0].to_list(), session=key[1].to_list(), **columns
    )


def _first_acquisitions(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return session -> its first acquisition; say how many others there are, and what is none."""
    acquired: dict[str, dict[int, str]] = defaultdict(dict)
    others: list[str] = []
    for path in paths:
        below = path.relative_to(root).as_posix()
        session, which = _SESSION.search(below.upper()), _ACQUISITION.search(below)
        if session is None or which is None:
            others.append(below)
            continue
        known = acquired[session[0]].setdefault(int(which[1]), below)
        if known != below:
            raise ManifestError(
                f"{known} and {below} are the same scan", hint="move one of them away"
            )
    first = {session: of[min(of)] for session, of in acquired.items()}
    repeats = sum(map(len, acquired.values())) - len(first)
    if repeats:
        logger.info(
            "%s: the first acquisition of a session is its scan; %s left out",
            *(root, counted(repeats, "further one is", "further ones are")),
        )
    if others:
        logger.warning(
            "%s: %s left out: no acquisition of a session (OAS2_0001_MR1/RAW/mpr-1) names it, "
            "such as %.120s",
            *(root, counted(len(others), "scan is", "scans are"), others[0]),
        )
    return first


def _read_table(root: Path, quirks: Counter[str] | None = None) -> tuple[Path, pd.DataFrame]:
    """Return the table and its rows, each with the ID of its session."""
    path = find_table(root, OASIS_2)
    if path is None:
        other = find_table(root, _OASIS_1)
        if other is None or root.absolute() not in other.absolute().parents:
            raise DataNotFoundError(root / TABLE, hint=f"download it from {HOMEPAGE} into {root}")
        path = other
    rows = read_text_table(path, hint=_HINT, quirks=quirks)
    if find_column(rows, "MRI ID") is None and find_column(rows, "ID"):
        raise ManifestError(
            f"{path} is the table of OASIS-1, and --dataset oasis2 reads OASIS-2",
            hint=f"put {TABLE} of OASIS-2 into {root}; for OASIS-1 use --dataset oasis",
        )
    for name in _REQUIRED:
        rows = rows.rename(columns={require_column(rows, [name], path, hint=_HINT): name})
    key_column(rows, "MRI ID", path, hint=_HINT)
    return path, rows.set_index(_session_ids(rows["MRI ID"], path))


def _session_ids(names: pd.Series, path: Path) -> pd.Index:
    """Return IDs as the folders have them: ``oas2_1_mr2`` is ``OAS2_0001_MR2``."""
    parts = names.str.extract(r"^OAS2_(\d{1,4})_MR(\d+)$", flags=re.IGNORECASE)
    wrong = parts[0].isna()
    if wrong.any():
        raise ManifestError(
            f"{path}: MRI ID {names[wrong].iloc[0][:60]!r} names no session "
            f"({counted(int(wrong.sum()), 'such row')})",
            hint="write it as OAS2_0001_MR1",
        )
    ids = pd.Index(
        [f"OAS2_{int(a):04d}_MR{int(b)}" for a, b in zip(parts[0], parts[1], strict=True)],
        name="ID",
    )
    if ids.has_duplicates:
        raise ManifestError(
            f"{path}: {ids[ids.duplicated()][0]!r} stands in two rows", hint="remove one of them"
        )
    return ids


def _described(rows: pd.DataFrame, path: Path, scanned: pd.Index) -> pd.DataFrame:
    """Return what the table says of each session that has a scan.

    Raises:
        ManifestError: It names none of them.
    """
    if not rows.index.isin(scanned).any():
        raise ManifestError(
            f"{path}: none of its {counted(len(rows), 'row')} names a session that has a scan; the "
            f"first is {rows.index[0] if len(rows) else 'not there'}, a scan is of {scanned[0]}",
            hint="use the table that came with the scans",
        )
    values = person_values(rows, rows.index.to_series(), path)
    day = numbers(rows["MR Delay"])
    return values.drop(columns=["label", "mmse"]).assign(day=day).reindex(scanned)


def _tell(root: Path, path: Path, rows: pd.DataFrame, found: pd.DataFrame) -> None:
    people = found.index.str[:9].nunique()
    sessions, absent = counted(len(found), "session"), int((~rows.index.isin(found.index)).sum())
    logger.info("%s: %s of %s, table %s", root, sessions, counted(people, "person"), path)
    if absent:
        have = counted(absent, "session of the table has", "sessions of the table have")
        logger.info("%s: %s no scan here; as a rating it counts all the same", root, have)
    unlisted = found.index.difference(rows.index)
    if len(unlisted):
        logger.warning(
            "%s does not list %s, such as %s: not rated",
            *(path, counted(len(unlisted), "session that has a scan", "sessions that have a scan")),
            unlisted[0],
        )
