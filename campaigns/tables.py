"""Families of tables that people write: of OASIS-1, BIDS, raw scans, atlases."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import openpyxl

from src.cohorts.bids_tables import read_participants, read_sessions
from src.cohorts.oasis_table import read_table
from src.cohorts.scans import index_scans
from src.maps.regions.atlas import read_atlas

from .family import Family
from .mutations import number_in_text
from .scans import save_nifti
from .shapes import header_field, in_gzip, in_zip, table_cells

_PEOPLE = 6
_OASIS: list[list[object]] = [
    ["ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay"],
    *(
        [
            f"OAS1_{n:04d}_MR1",
            "MF"[n % 2],
            "R",
            60 + n,
            3,
            2,
            30 - n,
            n % 2 / 2,
            1500,
            0.75,
            1.2,
            "N/A",
        ]
        for n in range(1, _PEOPLE + 1)
    ),
]


def _csv(rows: list[list[object]], separator: str = ",") -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def _oasis(folder: Path) -> None:
    (folder / "oasis_cross-sectional.csv").write_text(_csv(_OASIS), encoding="utf-8")


def _workbook(folder: Path) -> None:
    book = openpyxl.Workbook()
    for row in _OASIS:
        book.active.append(row)
    target = io.BytesIO()
    book.save(target)
    (folder / "oasis_cross-sectional.xlsx").write_bytes(target.getvalue())


def _bids(folder: Path) -> None:
    rows: list[list[object]] = [["participant_id", "age", "sex", "mmse", "cdr", "diagnosis"]]
    rows += [[f"sub-{n:02d}", 60 + n, "MF"[n % 2], 28, 0.5, "AD"] for n in range(1, _PEOPLE + 1)]
    (folder / "participants.tsv").write_text(_csv(rows, "\t"), encoding="utf-8")
    (folder / "sub-01").mkdir()
    visits: list[list[object]] = [["session_id", "age", "cdr_global"]]
    visits += [["ses-1", 61, 0], ["ses-2", 63, 0.5]]
    path = folder / "sub-01" / "sub-01_sessions.tsv"
    path.write_text(_csv(visits, "\t"), encoding="utf-8")


def _read_bids(folder: Path, name: str) -> object:
    people = {f"sub-{n:02d}" for n in range(1, _PEOPLE + 1)}
    read_sessions(folder, {"sub-01": {"ses-1", "ses-2"}})
    return read_participants(folder, people)


def _scans(folder: Path) -> None:
    rows: list[list[object]] = [["name", "subject", "session", "age", "sex", "cdr", "mmse"]]
    for n in range(1, 4):
        save_nifti(folder, f"p{n}.nii")
        rows.append([f"p{n}.nii", f"P{n}", "1", 70 + n, "F", 0.5, 27])
    (folder / "scans.csv").write_text(_csv(rows), encoding="utf-8")


def _atlas(folder: Path) -> None:
    numbers = np.zeros((24, 28, 24), np.int16)
    numbers[6:12, 6:20, 6:18], numbers[12:18, 6:20, 6:18] = 1, 2
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = (-96, -130, -78)
    nib.save(nib.Nifti1Image(numbers, affine), folder / "atlas.nii.gz")
    (folder / "names.tsv").write_text("index\tname\n1\tleft\n2\tright\n", encoding="utf-8")


FAMILIES = (
    Family(
        "oasis_csv",
        _oasis,
        lambda folder, name: read_table(folder / name),
        ("oasis_cross-sectional.csv",),
        (table_cells, number_in_text),
        share=2,
    ),
    Family(
        "oasis_xlsx",
        _workbook,
        lambda folder, name: read_table(folder / name),
        ("oasis_cross-sectional.xlsx",),
        (in_zip(number_in_text), in_zip(number_in_text)),
        share=2,
    ),
    Family(
        "bids_tables",
        _bids,
        _read_bids,
        ("participants.tsv", "sub-01/sub-01_sessions.tsv"),
        (table_cells, number_in_text),
        share=2,
    ),
    Family(
        "scans_csv",
        _scans,
        lambda folder, name: index_scans(folder),
        ("scans.csv", "scans.csv", "scans.csv", "p1.nii"),
        (table_cells, number_in_text),
        share=2,
    ),
    Family(
        "atlas",
        _atlas,
        lambda folder, name: _read_atlas(folder, name),
        ("names.tsv", "names.tsv", "atlas.nii.gz"),
        (table_cells, number_in_text, in_gzip(header_field(nib.Nifti1Header.template_dtype))),
        share=0.1,
    ),
)


def _read_atlas(folder: Path, name: str) -> object:
    image = folder / name if "atlas" in name else folder / "atlas.nii.gz"
    return read_atlas(image, folder / name if "names" in name else folder / "names.tsv")
