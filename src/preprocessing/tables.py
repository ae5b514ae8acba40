"""The manifest's rows as scans to process, and processed files as the rows of a manifest."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..cohorts.registry import Cohort
from ..errors import ConfigError, ImageError, ManifestError
from ..manifest import PEOPLE_UNKNOWN, REJECTED, Manifest
from .scan import Scan, read_record

#: Folder of people who were never rated: they are kept for prediction.
UNRATED = "unrated"


def scan_names(table: pd.DataFrame) -> pd.Series:
    """Return ``<subject>_<session>`` of every row, which names its scan's files."""
    return table["subject"] + "_" + table["session"]


def list_scans(manifest: Manifest, cohort: Cohort, dim: str) -> list[Scan]:
    """Group the rows by session: one volume each, or the slices of one."""
    if dim == "3d" and cohort.layout == "slice" and PEOPLE_UNKNOWN in manifest.stamps:
        raise ConfigError(
            "slices of unknown people cannot be stacked into volumes", hint="--dim 2d"
        )
    table = manifest.table.sort_values(["subject", "session", "slice"], kind="stable")
    names = [f"{s}_{v}" for s, v in zip(table["subject"], table["session"], strict=True)]
    sources = [manifest.root / path for path in table["path"]]
    folders = [
        UNRATED if pd.isna(stage) else f"{side}/{stage}"
        for side, stage in zip(table["split"], table["label"], strict=True)
    ]
    slices = table["slice"].tolist() if cohort.layout == "slice" else []
    starts = np.flatnonzero(~table.duplicated(["subject", "session"])).tolist()
    return [
        Scan(
            name=check_file_name(names[start]),
            sources=tuple(sources[start:end]),
            slices=tuple(slices[start:end]),
            folders=tuple(folders[start:end]),
            axes=cohort.axes,
            dim=dim,
        )
        for start, end in pairwise([*starts, len(table)])
    ]


def check_file_name(name: str) -> str:
    """Return `name` if it is safe as a file name on every system.

    Raises:
        ManifestError: It holds a separator, a space or another odd character, or is too long.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,119}", name):
        raise ManifestError(
            f"{name[:60]!r} cannot be a file name", hint="rename it: letters, digits, - _ . +"
        )
    return name


def rejected_rows(manifest: Manifest, reasons: dict[str, str]) -> pd.DataFrame:
    """Return the rows of scans that were rejected, with the reason."""
    rejected = scan_names(manifest.table).isin(list(reasons))
    return manifest.partition(~rejected, lambda rows: scan_names(rows).map(reasons))[1]


def processed_table(out: Path, manifest: Manifest) -> pd.DataFrame:
    """Return one row per processed file, with the raw row's columns."""
    table = manifest.table
    scans = list(zip(table["subject"], table["session"], strict=True))
    row_of_scan = {scan: row for row, scan in enumerate(scans)}
    row_of_slice = {
        (*scan, index): row
        for row, (scan, index) in enumerate(zip(scans, table["slice"], strict=True))
    }
    rows: list[int] = []
    files: list[dict[str, Any]] = []
    for scan, row in row_of_scan.items():
        record = read_record(out, f"{scan[0]}_{scan[1]}")
        for file in record["files"] if record else ():
            rows.append(row_of_slice.get((*scan, file["slice"]), row))
            files.append({name: file[name] for name in ("path", "slice", "fingerprint")})
    if not rows:
        raise ImageError("no scan could be processed", hint=f"read the reasons in {out / REJECTED}")
    made = pd.DataFrame(files)
    return table.iloc[rows].reset_index(drop=True).assign(**{name: made[name] for name in made})
