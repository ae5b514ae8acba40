"""Any BIDS data set, or Clinica's CAPS folder after ``t1-linear``: raw T1-weighted scans.

OASIS-1, OASIS-2, OASIS-3, ADNI and AIBL are such data sets once Clinica has converted them. The
scans are as the scanner made them, or aligned with their skull (CAPS). No image is opened here.

What ``participants.tsv`` and ``sub-*_sessions.tsv`` say of a scan's person: a session's own values
count first. ``participants.tsv`` speaks of one moment, so a rating or an MMSE in it is that of the
baseline: the session ``ses-M000``, or a person's only session. Clinica names sessions by months
since baseline (``ses-M012``), so an age there grows by them.

Sources: Gorgolewski et al. (2016), Sci Data 3:160044, doi:10.1038/sdata.2016.44; Routier et al.
(2021), Front Neuroinform 15:689675, doi:10.3389/fninf.2021.689675; the BIDS
specification's participants and sessions files; Clinica's ``clinica/converters/*_to_bids``,
github.com/aramis-lab/clinica.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from ..errors import DataNotFoundError, ManifestError, counted
from ..manifest import Manifest
from .bids_files import T1wFile, list_bids, list_caps
from .person_values import VALUES, find_column, person_values, read_text_table
from .registry import register_cohort

logger = logging.getLogger(__name__)
HOMEPAGE = "https://bids.neuroimaging.io"
PARTICIPANTS = "participants.tsv"
_HINT = "a BIDS table is UTF-8 text whose columns are separated by tabs"
_MONTHS = re.compile(r"ses-M(\d{1,3})")
_DIAGNOSIS = ("diagnosis", "diagnosis_bl", "diagnosis_sc", "dx1", "dx", "dx_bl")


@register_cohort("bids", homepage=HOMEPAGE, axes=None, side_known=True, raw=True)
def index_bids(root: str | Path) -> Manifest:
    """List the T1w scans of a BIDS data set or a CAPS folder.

    All runs and acquisitions of a person are listed; they share `subject`, so a split grouped by
    it cannot put one person on both sides.

    Args:
        root: Folder that holds ``sub-*`` (BIDS), or ``subjects/sub-*`` (CAPS).

    Returns:
        One row per scan: `age` in years, `mmse` in points (0 to 30), `label` a stage name, or
        ``<NA>`` where no CDR is known. Unrated means unlabelled, not healthy.

    Raises:
        DataNotFoundError: There is no T1w scan.
        ManifestError: A table is malformed, or files and tables contradict each other.
    """
    root = Path(root)
    files, people, kind = list_bids(root), root, "BIDS"
    if not files:
        files, people, kind = list_caps(root), root / "subjects", "CAPS"
    if not files:
        raise DataNotFoundError(
            root / "sub-*" / "[ses-*]" / "anat" / "*_T1w.nii.gz", hint=_hint(root)
        )
    values = describe(root, files, people)
    logger.info(
        "%s: %s of %s (%d rated)",
        *(kind, counted(len(files), "T1w scan")),
        counted(len({file.subject for file in files}), "person"),
        values["label"].notna().sum(),
    )
    return Manifest.from_columns(
        root,
        cohort="bids",
        subject=[file.subject for file in files],
        session=[file.session for file in files],
        path=[file.path for file in files],
        **{name: values[name] for name in values},
    )


def _hint(root: Path) -> str:
    """Say where a data set may be instead: many lie one folder deeper."""
    below = [path.parent for path in sorted(root.glob("*/sub-*"))[:1] if path.is_dir()]
    if below and below[0].name not in ("derivatives", "sourcedata", "subjects"):
        return f"there are people in {below[0]}: --data_dir {below[0]}"
    return f"name the folder that holds sub-* with --data_dir; see {HOMEPAGE}"


def describe(root: Path, files: list[T1wFile], people: Path) -> pd.DataFrame:
    """Return the values of every file's person at the file's visit.

    Args:
        root: Data set; `PARTICIPANTS` lies in it.
        files: Scans.
        people: Folder of the people's folders, which hold their sessions' tables.

    Returns:
        One row per file, in order, with `VALUES`.

    Raises:
        ManifestError: A table is malformed or contradicts itself.
    """
    subjects = sorted({file.subject for file in files})
    persons = _read_participants(root, set(subjects))
    visits = _read_sessions(people, subjects)
    first = _at_baseline(files, visits)
    rows = pd.DataFrame({"subject": [f.subject for f in files], "visit": [f.visit for f in files]})
    now = visits.reindex(pd.MultiIndex.from_frame(rows)).set_axis(rows.index)
    then = persons.reindex(rows["subject"]).set_axis(rows.index)
    values = pd.DataFrame(index=rows.index)
    for name in ("label", "mmse", "etiv", "nwbv"):
        values[name] = now[name].where(now[name].notna(), then[name].where(first))
    values["sex"] = now["sex"].where(now["sex"].notna(), then["sex"])
    values["age"] = now["age"].where(now["age"].notna(), _age(then, rows["visit"], first))
    _tell_diagnoses(root, now["diagnosis"].fillna(then["diagnosis"]), values["label"])
    return values[list(VALUES)]


def _read_participants(root: Path, subjects: set[str]) -> pd.DataFrame:
    """Return `VALUES`, ``age_bl`` and ``diagnosis``, by subject."""
    path = root / PARTICIPANTS
    if not path.is_file():
        logger.warning("%s is not there: ages, sexes and ratings come from sessions only", path)
        return _nothing().set_axis(pd.Index([], name="subject"))
    table = _read(path, "participant_id")
    who = table["participant_id"].where(
        table["participant_id"].str.startswith("sub-"), "sub-" + table["participant_id"]
    )
    now = person_values(table, who, path)
    bl = person_values(table, who, path, ending="_bl")
    for name in ("label", "mmse"):
        now[name] = now[name].where(now[name].notna(), bl[name])
    now = now.assign(age_bl=bl["age"], diagnosis=_diagnosis(table))
    persons = _one_row_each(now.set_axis(pd.Index(who, name="subject")), path)
    absent, unlisted = persons.index.difference(list(subjects)), subjects - set(persons.index)
    if len(absent):
        have = counted(len(absent), "person has", "people have")
        logger.info("%s: %s no T1w image here", path, have)
    if unlisted:
        logger.warning(
            "%s does not list %s, such as %s",
            *(path, counted(len(unlisted), "person who has images", "people who have images")),
            min(unlisted),
        )
    return persons


def _read_sessions(people: Path, subjects: list[str]) -> pd.DataFrame:
    """Return `VALUES` and ``diagnosis``, by subject and visit."""
    tables = [_nothing().set_axis(pd.MultiIndex.from_tuples([], names=["subject", "visit"]))]
    for subject in subjects:
        path = people / subject / f"{subject}_sessions.tsv"
        if path.is_file():
            table = _read(path, "session_id")
            visit = table["session_id"].where(
                table["session_id"].str.startswith("ses-"), "ses-" + table["session_id"]
            )
            values = person_values(table, visit, path).assign(diagnosis=_diagnosis(table))
            index = pd.MultiIndex.from_product([[subject], visit], names=["subject", "visit"])
            tables.append(_one_row_each(values.set_axis(index), path))
    return pd.concat([one for one in tables if len(one)] or tables)


def _read(path: Path, key: str) -> pd.DataFrame:
    table = read_text_table(path, separator="\t", hint=_HINT)
    column = find_column(table, key)
    if column is None:
        found = ", ".join(str(name)[:40] for name in list(table)[:8])
        raise ManifestError(f"{path} has no column {key!r}; found: {found}", hint=_HINT)
    if table[column].isna().any():
        raise ManifestError(
            f"{path}: {counted(int(table[column].isna().sum()), 'row has', 'rows have')} no {key}"
        )
    return table.rename(columns={column: key})


def _one_row_each(values: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Drop rows that say the same twice, and refuse those that do not."""
    single = values.reset_index().drop_duplicates().set_index(values.index.names)
    twice = single.index[single.index.duplicated()]
    if len(twice):
        name = twice[0] if isinstance(twice[0], str) else " ".join(twice[0])
        raise ManifestError(
            f"{path}: {name[:80]!r} stands in two rows that differ", hint="remove one of them"
        )
    return single


def _at_baseline(files: list[T1wFile], visits: pd.DataFrame) -> pd.Series:
    """Return whether each file's visit is what ``participants.tsv`` speaks of."""
    known = {(file.subject, file.visit) for file in files} | set(visits.index)
    count = Counter(subject for subject, _ in known)
    answers = []
    for file in files:
        months = _months(file.visit)
        answers.append(count[file.subject] == 1 if months is None else months == 0)
    return pd.Series(answers, dtype=bool)


def _months(visit: str | None) -> int | None:
    match = _MONTHS.fullmatch(visit or "")
    return int(match[1]) if match else None


def _age(then: pd.DataFrame, visits: pd.Series, first: pd.Series) -> pd.Series:
    """Return the age at the visit, in years, by the age in ``participants.tsv``."""
    years = visits.map(_months).astype("float64") / 12
    start = then["age_bl"].where(then["age_bl"].notna(), then["age"])
    later = then["age"].where(then["age"].notna(), then["age_bl"].where(first))
    return (start + years).where(years.notna(), later)


def _diagnosis(table: pd.DataFrame) -> pd.Series:
    columns = [found for name in _DIAGNOSIS if (found := find_column(table, name))]
    return table[columns[0]] if columns else pd.Series(None, table.index, dtype="str")


def _tell_diagnoses(root: Path, diagnosis: pd.Series, label: pd.Series) -> None:
    left = diagnosis[label.isna() & diagnosis.notna()]
    if len(left):
        counts = ", ".join(f"{str(k)[:20]!r} {n}" for k, n in left.value_counts()[:5].items())
        logger.warning(
            "%s: %s a diagnosis and no CDR (%s): no diagnosis is a stage, so there is no rating",
            *(root, counted(len(left), "scan has", "scans have"), counts),
        )


def _nothing() -> pd.DataFrame:
    columns = {name: "str" if name in ("label", "sex") else "float64" for name in VALUES}
    kinds = columns | {"age_bl": "float64", "diagnosis": "str"}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
