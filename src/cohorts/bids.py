"""Any BIDS data set, or Clinica's CAPS folder after ``t1-linear``: raw T1-weighted scans.

OASIS-1, OASIS-2, OASIS-3, ADNI and AIBL are such data sets once Clinica has converted them. The
scans are as the scanner made them, or aligned with their skull (CAPS). No image is opened here.

Source: Gorgolewski et al. (2016), Sci Data 3:160044, doi:10.1038/sdata.2016.44; Routier et al.
(2021), Front Neuroinform 15:689675, doi:10.3389/fninf.2021.689675.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ..errors import DataNotFoundError, counted
from ..manifest import Manifest
from .bids_files import list_bids, list_caps
from .bids_tables import describe
from .registry import register_cohort

logger = logging.getLogger(__name__)

HOMEPAGE = "https://bids.neuroimaging.io"


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
