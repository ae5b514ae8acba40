"""Any BIDS data set, or Clinica's CAPS folder after ``t1-linear``: raw T1-weighted scans.

OASIS-1, OASIS-2, OASIS-3, ADNI and AIBL are such data sets once Clinica has converted them. The
scans are as the scanner made them, or aligned with their skull (CAPS). No image is opened here.

What ``participants.tsv`` and ``sub-*_sessions.tsv`` say of a scan's person: a session's own values
count first. ``participants.tsv`` speaks of one moment, the first visit: a rating, an MMSE or an age
in it is that of the first visit (`bids_visits`), and an age grows with the time since then. A site
or a scanner in it holds for all visits; where no table has one, the json beside the image does. A
rating of a visit without a scan tells what became of a person (``--label conversion``).

Sources: Gorgolewski et al. (2016), Sci Data 3:160044, doi:10.1038/sdata.2016.44; Routier et al.
(2021), Front Neuroinform 15:689675, doi:10.3389/fninf.2021.689675; the BIDS
specification's participants and sessions files; Clinica's ``clinica/converters/*_to_bids``,
github.com/aramis-lab/clinica.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from ..errors import DataNotFoundError, counted
from ..manifest import ORIGIN, Manifest
from .bids_files import T1wFile, list_bids, list_caps
from .bids_tables import SESSIONS, read_participants, read_sessions
from .bids_visits import rated_years, visit_times
from .cells import DAYS_PER_YEAR
from .person_values import VALUES
from .registry import register_cohort
from .sidecars import complete_from_sidecars
from .study_tables import dated

logger = logging.getLogger(__name__)
HOMEPAGE = "https://bids.neuroimaging.io"


def read_ratings(root: str | Path) -> pd.DataFrame:
    """Return the rating of every session that a sessions table names, with a scan or without.

    Args:
        root: As `index_bids` has it.

    Returns:
        A row per rated visit of a person who has scans, with `ratings.COLUMNS`: ``day`` since the
        person's first visit, as the scans' is. Visits whose names tell no time are left out, and
        counted in a line.

    Raises:
        ManifestError: A table is malformed or contradicts itself.
    """
    root = Path(root)
    files, people, _ = _scans_in(root)
    visits = read_sessions(people, _scanned(files), tell=False)
    rows = visits[visits[["label", "diagnosis", "mmse"]].notna().any(axis=1)]
    told = rows.index.to_list()
    table = rows.reset_index()
    table["day"] = (rated_years(files, told, people) * DAYS_PER_YEAR).round()
    return dated(table, people / "sub-*" / SESSIONS)


@register_cohort(
    "bids",
    homepage=HOMEPAGE,
    axes=None,
    side_known=True,
    raw=True,
    ratings=read_ratings,
    rates_apart=False,
)
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
    files, people, kind = _scans_in(root)
    if not files:
        raise DataNotFoundError(
            root / "sub-*" / "[ses-*]" / "anat" / "*_T1w.nii.gz", hint=_hint(root)
        )
    values = describe(root, files, people)
    images = [root / file.path for file in files]
    origin = complete_from_sidecars(values[list(ORIGIN)], images, root)
    values = values.assign(**{name: origin[name] for name in ORIGIN})
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


def _scans_in(root: Path) -> tuple[list[T1wFile], Path, str]:
    """Return the scans, the folder of the people's folders, and which kind of tree it is."""
    if files := list_bids(root):
        return files, root, "BIDS"
    return list_caps(root), root / "subjects", "CAPS"


def _scanned(files: list[T1wFile]) -> dict[str, set[str]]:
    """Return person -> the sessions of the scans."""
    scanned: dict[str, set[str]] = {file.subject: set() for file in files}
    for file in files:
        scanned[file.subject] |= {file.visit} if file.visit else set()
    return scanned


def _hint(root: Path) -> str:
    """Say where a data set may be instead: many lie one folder deeper."""
    below = [path.parent for path in sorted(root.glob("*/sub-*"))[:1] if path.is_dir()]
    if below and below[0].name not in ("derivatives", "sourcedata", "subjects"):
        return f"there are people in {below[0]}: --data_dir {below[0]}"
    return f"name the folder that holds sub-* with --data_dir; see {HOMEPAGE}"


def describe(root: Path, files: list[T1wFile], people: Path) -> pd.DataFrame:
    """Return the values of every file's person at the file's visit.

    Args:
        root: Data set; ``participants.tsv`` lies in it.
        files: Scans.
        people: Folder of the people's folders, which hold their sessions' tables.

    Returns:
        One row per file, in order, with `VALUES`, ``diagnosis`` in the data set's words, and
        ``day`` since the person's first visit, where names tell the time.

    Raises:
        ManifestError: A table is malformed or contradicts itself.
    """
    scanned = _scanned(files)
    persons, visits = read_participants(root, set(scanned)), read_sessions(people, scanned)
    rows = pd.DataFrame({"subject": [f.subject for f in files], "visit": [f.visit for f in files]})
    now = visits.reindex(pd.MultiIndex.from_frame(rows)).set_axis(rows.index)
    then = persons.reindex(rows["subject"]).set_axis(rows.index)
    years, first = visit_times(files, visits.index.tolist(), people)
    values = pd.DataFrame(index=rows.index)
    for name in ("label", "mmse", "etiv", "nwbv"):
        values[name] = now[name].where(now[name].notna(), then[name].where(first))
    for name in ("sex", *ORIGIN):
        values[name] = now[name].where(now[name].notna(), then[name])
    start = then["age_bl"].where(then["age_bl"].notna(), then["age"])
    values["age"] = now["age"].where(now["age"].notna(), start + years)
    _tell_ageless(root, rows[values["age"].isna() & start.notna()])
    # What the table of people says is of the first visit, as a rating is.
    values["diagnosis"] = now["diagnosis"].fillna(then["diagnosis"].where(first))
    values["day"] = (years * DAYS_PER_YEAR).round()
    _tell_diagnoses(root, values["diagnosis"], values["label"])
    return values[[*VALUES, "diagnosis", "day"]]


def _tell_ageless(root: Path, rows: pd.DataFrame) -> None:
    if len(rows):
        logger.warning(
            "%s: %s left without an age: the table of people has one age for each, and the names "
            "of the sessions tell no time, such as %s of %s; give ages in sub-*_sessions.tsv",
            *(root, counted(len(rows), "scan is", "scans are")),
            *(rows["visit"].iloc[0], rows["subject"].iloc[0]),
        )


def _tell_diagnoses(root: Path, diagnosis: pd.Series, label: pd.Series) -> None:
    left = diagnosis[label.isna() & diagnosis.notna()]
    if len(left):
        counts = ", ".join(f"{str(k)[:20]!r} {n}" for k, n in left.value_counts()[:5].items())
        logger.warning(
            "%s: %s a diagnosis and no CDR (%s): no diagnosis is a stage, so there is no rating; "
            "--label diagnosis learns diagnoses",
            *(root, counted(len(left), "scan has", "scans have"), counts),
        )
