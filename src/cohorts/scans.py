"""A folder of raw scans, laid out in any way, with or without a table of the people.

Whom a scan shows, ``scans.csv`` (or ``.tsv``, ``.xlsx``) in the folder says, else the ids that
studies and BIDS write into names; where neither does, the scan counts as a person of its own, and
the manifest is stamped. The table has a row per scan: ``name`` (of the scan or of its file) and any
of ``subject``, ``session``, ``age``, ``sex``, ``MMSE``, ``CDR`` or ``stage``, and ``site``,
``scanner``, ``manufacturer``, ``field_strength``. Scans without a row are kept, unrated. No image
is opened here; the json beside one may say what made it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from ..errors import DataNotFoundError, ManifestError, counted
from ..manifest import ORIGIN, PEOPLE_UNKNOWN, Manifest
from .file_kinds import scan_stem
from .folders import list_scans_in, visible_files
from .people_names import of_study, read_name
from .person_values import VALUES, find_column, key_column, person_values
from .registry import register_cohort
from .sidecars import complete_from_sidecars
from .table_ids import match_ids, tell_twins
from .text_table import find_text_table, read_text_table
from .visit_names import alike_names

logger = logging.getLogger(__name__)

TABLE = "scans.csv"
ONLY_SCAN = "T1w"
#: What the table may end in; of several the first counts.
ENDINGS = (".csv", ".tsv", ".xlsx")
_HINT = "a row for each scan below a header: name,subject,session,age,sex,MMSE,CDR"


@register_cohort("scans", homepage="", axes=None, side_known=True, raw=True)
def index_scans(root: str | Path) -> Manifest:
    """List every scan below `root`: NIfTI, Analyze, MGH files and folders of DICOM files.

    Args:
        root: Folder of the scans; `TABLE` may lie in it.

    Returns:
        One row per scan. `subject` is the table's, else the person that the path names, else the
        scan's name, and then the manifest carries the stamp `PEOPLE_UNKNOWN`; a name that is no
        file name is made one, and ends in a hash of what it was. `label` is a stage name, or
        ``<NA>`` where the table has none.

    Raises:
        DataNotFoundError: There is no scan.
        ManifestError: The table is malformed, one of its rows names two scans, a path names two
            people, or one person of a study has two subjects.
    """
    root = Path(root)
    found = list_scans_in(root)
    if not found:
        raise DataNotFoundError(
            root / "**" / "*.nii.gz", hint="name the folder of your scans with --data_dir"
        )
    # From the folder above, so that a scan that is the whole folder has a path too.
    base = Path(os.path.normpath(root.absolute())).parent
    paths = {name: _relative(path, base) for name, path in found.items()}
    rows = pd.DataFrame({"path": paths.values()}, index=pd.Index(paths, name="name"), dtype="str")
    rows = rows.join(_described(root, found))
    origin = complete_from_sidecars(rows[list(ORIGIN)], list(found.values()), root)
    rows = rows.assign(**{name: origin[name] for name in ORIGIN})
    below = pd.Series({name: _below(path, root) for name, path in found.items()})
    rows = _with_people(rows, below)
    _refuse_two_subjects(rows)
    nobody = rows.index[rows["unknown"]]
    if len(nobody):
        _tell_unknown(root, below[nobody], len(rows))
    unsure = len(nobody) > 0 or _tell_shared_names(root, rows, below)
    rated = int(rows["label"].notna().sum())
    people = "" if unsure else f" of {counted(rows['subject'].nunique(), 'person')}"
    logger.info("%s: %s%s, %d rated", root, counted(len(rows), "scan"), people, rated)
    columns = rows.drop(columns=["unknown", "read"]).sort_values("path").to_dict("list")
    stamps = (PEOPLE_UNKNOWN,) if unsure else ()
    return Manifest.from_columns(base, cohort="scans", stamps=stamps, **columns)


def _with_people(rows: pd.DataFrame, below: pd.Series) -> pd.DataFrame:
    """Fill ``subject`` and ``session``; add ``read``, the person named, and ``unknown``."""
    named = {name: read_name(path) for name, path in below.items()}
    person = pd.Series({n: one.person if one else None for n, one in named.items()}, dtype="str")
    visit = pd.Series({n: one.session if one else None for n, one in named.items()}, dtype="str")
    own = pd.Series([safe_name(str(name)) for name in rows.index], rows.index, dtype="str")
    told = rows["subject"].notna()
    subject = rows["subject"].where(told, person)
    unknown = subject.isna()
    # A table that tells the person and no session: the scan's own name tells the scans apart.
    visit = visit.where(~told).fillna(own.where(~unknown, ONLY_SCAN))
    session = rows["session"].where(rows["session"].notna(), visit)
    rows = rows.assign(subject=subject.where(~unknown, own), session=session)
    rows = rows.assign(read=person, unknown=unknown)
    twice = rows.duplicated(["subject", "session"], keep=False) & ~told & ~unknown
    return rows.assign(session=rows["session"].where(~twice, own))


def _refuse_two_subjects(rows: pd.DataFrame) -> None:
    """Refuse a table that makes two people of one: a study's id is nobody else's."""
    certain = rows[[isinstance(one, str) and of_study(one) for one in rows["read"]]]
    for person, scans in certain.groupby("read"):
        subjects = list(scans["subject"].unique())
        if len(subjects) > 1:
            raise ManifestError(
                f"the scans of {person} have two subjects: {subjects[0]} and {subjects[1]}",
                hint=f"give them one subject in {TABLE}",
            )


def _tell_shared_names(root: Path, rows: pd.DataFrame, below: pd.Series) -> bool:
    """Warn of one name in several folders: ``T1_MR1`` in each person's folder names nobody.

    Such scans stay together, so that nobody is divided if it is one person after all.
    """
    read = rows[rows["read"].notna() & (rows["subject"] == rows["read"])]
    read = read[[not of_study(one) for one in read["read"]]]
    places = pd.DataFrame([one.rpartition("/") for one in below[read.index]], columns=[0, 1, 2])
    folders = places.groupby(2)[0].nunique()
    shared = folders[folders > 1]
    if len(shared):
        logger.warning(
            "%s: %s: %s in several folders, such as %.60s in %d: the scans of one name count as "
            "one person, unless a column 'subject' in %s says whom they show",
            *(root, PEOPLE_UNKNOWN, counted(len(shared), "name is", "names are")),
            *(shared.index[0], shared.iloc[0], TABLE),
        )
    return len(shared) > 0


def _tell_unknown(root: Path, below: pd.Series, scans: int) -> None:
    """Warn of scans that name nobody, and of those that look like visits of one person."""
    logger.warning(
        "%s: %s: %d of %s nobody, such as %.60s; each counts as a person of its own, unless a "
        "column 'subject' in %s says whom it shows",
        *(root, PEOPLE_UNKNOWN, len(below), counted(scans, "scan names", "scans name")),
        *(below.iloc[0], TABLE),
    )
    groups = alike_names(below)
    if groups:
        first = " and ".join(groups[0][:2])
        logger.warning(
            "%s: %s several scans of one person by their names, such as %.120s; give them one "
            "'subject' in %s, or one person may be in train and in test",
            *(root, counted(len(groups), "group looks like", "groups look like"), first, TABLE),
        )


def _below(path: Path, root: Path) -> str:
    """Return a scan's path in the folder, without its ending; of the folder itself, its name."""
    relative = _relative(path, root)
    return root.absolute().name if relative == "." else scan_stem(relative)


def safe_name(name: str) -> str:
    """Return `name` if it can be a file's name on every system, else one made from it.

    What is made has letters, digits and ``-_.+`` only, is at most 69 characters long, and ends in
    a hash of `name`, so two names stay two.
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}", name):
        return name
    kept = re.sub(r"[^A-Za-z0-9_.+]+", "-", name).strip("-._+")[:60].strip("-._+")
    code = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{kept or 'scan'}-{code}"


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


def _described(root: Path, found: dict[str, Path]) -> pd.DataFrame:
    """Return ``subject``, ``session`` and `VALUES` of the scans that the table lists, by name."""
    path = find_text_table(root, "scans", ENDINGS)
    columns = ["subject", "session", *VALUES]
    _tell_deeper(root)
    if path is None:
        logger.warning("%s is not there: no scan has a stage", root / TABLE)
        return pd.DataFrame(columns=columns, dtype="str")
    table = read_text_table(path, hint=_HINT)
    column = key_column(table, "name", path, hint=_HINT)
    values = person_values(table, table[column], path)
    for part in ("subject", "session"):
        told = find_column(table, part)
        values[part] = table[told].map(safe_name, na_action="ignore") if told else None
    tell_twins(values["subject"].dropna(), path)
    scan = table[column].map(match_ids(table[column], _aliases(root, found), path))
    _tell_lost(path, table[column], scan, found)
    values = values.set_index(pd.Index(scan, name="name"))[scan.notna().to_numpy()]
    twice = values.index[values.index.duplicated()]
    if len(twice):
        raise ManifestError(
            f"{path}: scan {str(twice[0])[:60]!r} stands in two rows", hint="remove one of them"
        )
    return values[columns]


def _tell_deeper(root: Path) -> None:
    """Name tables that lie too deep to be read."""
    tables = {f"scans{ending}" for ending in ENDINGS}
    places = visible_files(root, skip=(".",))
    deep = [f + name for f, names in places if f for name in names if name.lower() in tables]
    if deep:
        logger.warning(
            "%s: %s not read, such as %s; write one table here, whose names are paths such as "
            "%s/scan.nii.gz",
            *(
                root,
                counted(len(deep), "table in a folder below is", "tables in folders below are"),
            ),
            *(deep[0], deep[0].rpartition("/")[0]),
        )


def _aliases(root: Path, found: dict[str, Path]) -> dict[str, str]:
    """Return what a table may call each scan: its name, path, file name, or that without suffix."""
    called: list[tuple[str, str]] = []
    for name, path in found.items():
        relative = _relative(path, root)
        words = {name, relative, scan_stem(relative), path.name, scan_stem(path.name)}
        called += [(word, name) for word in words]
    count = Counter(word for word, _ in called)
    return {word: name for word, name in called if count[word] == 1}


def _tell_lost(path: Path, names: pd.Series, scan: pd.Series, found: dict[str, Path]) -> None:
    lost = names[scan.isna()]
    if len(lost) == len(names):
        raise ManifestError(
            f"{path}: none of its {len(names)} rows names a scan; the first is "
            f"{str(names.iloc[0])[:60]!r}, a scan is {next(iter(found))[:60]!r}"
            if len(names)
            else f"{path} has no rows",
            hint="name the files as they are called, or remove the table",
        )
    if len(lost):
        logger.warning(
            "%s: %s no scan here, such as %.60r",
            *(path, counted(len(lost), "row names", "rows name"), lost.iloc[0]),
        )
    unlisted = set(found) - set(scan.dropna())
    if unlisted:
        logger.warning(
            "%s: %s no row and no rating, such as %.60r",
            *(path, counted(len(unlisted), "scan has", "scans have"), min(unlisted)),
        )
