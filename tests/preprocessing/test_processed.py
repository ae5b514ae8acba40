"""Scans and processed rows, against the plain way: group after group, row after row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.cohorts.registry import Cohort
from src.errors import ImageError, ManifestError
from src.files import write_json
from src.manifest import COLUMNS, KEY, Manifest
from src.preprocessing.processed import (
    NO_SIDE,
    _tell_two_stages,
    check_file_name,
    list_scans,
    processed_table,
    rejected_rows,
)
from src.preprocessing.scan import RECORDS, Scan, read_record


def cohort(layout: str) -> Cohort:
    return Cohort("c", lambda root: None, "", None, False, layout)  # type: ignore[arg-type, return-value]


def random_manifest(seed: int, layout: str) -> Manifest:
    """Return people with unequal numbers of sessions and slices, in random order of rows."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(rng.integers(1, 12)):
        for session in rng.choice(["MR1", "MR2", "MR10", None], rng.integers(1, 5), replace=False):
            count = rng.integers(1, 9) if layout == "slice" else 1
            for index in rng.choice(300, count, replace=False):
                rows.append(
                    {
                        "cohort": "c",
                        "subject": rng.choice(["P", "p", "P1"]) + f"_{person}",
                        "session": session,
                        "slice": int(index) if layout == "slice" else None,
                        "path": f"{len(rows)}.png",
                        "label": rng.choice(["NonDemented", "MildDemented"]),
                        "split": rng.choice(["train", "test", None]),
                        "age": rng.choice([70.5, None]),
                    }
                )
    table = pd.DataFrame(rows).drop_duplicates(KEY)
    return Manifest(table.iloc[rng.permutation(len(table))], Path("raw"))


def scans_one_by_one(manifest: Manifest, layout: str) -> list[Scan]:
    scans = []
    for (subject, session), rows in manifest.table.groupby(["subject", "session"], dropna=False):
        rows = rows.sort_values("slice")
        pairs = zip(rows["split"], rows["label"], strict=True)
        scans.append(
            Scan(
                name=check_file_name(f"{subject}_{session}"),
                sources=tuple(manifest.root / path for path in rows["path"]),
                slices=tuple(int(n) for n in rows["slice"]) if layout == "slice" else (),
                folders=tuple(
                    f"{NO_SIDE if pd.isna(side) else side}/{stage}" for side, stage in pairs
                ),
                axes=None,
                dim="2d",
                side_known=cohort(layout).side_known,
            )
        )
    return scans


def rows_one_by_one(out: Path, manifest: Manifest) -> pd.DataFrame:
    rows = []
    by_slice = {tuple(row[KEY[1:]]): row for _, row in manifest.table.iterrows()}
    whole = {(row["subject"], row["session"]): row for _, row in manifest.table.iterrows()}
    for (subject, session), first in whole.items():
        record = read_record(out, f"{subject}_{session}")
        for file in record["files"] if record else ():
            source = by_slice.get((subject, session, file["slice"]), first)
            made = {name: file[name] for name in ("path", "slice", "fingerprint")}
            rows.append(dict(source) | made)
    return pd.DataFrame(rows)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["slice", "volume"])
@pytest.mark.parametrize("seed", range(6))
def test_scans_are_those_of_groups(seed: int, layout: str) -> None:
    manifest = random_manifest(seed, layout)
    found = list_scans(manifest, cohort(layout), "2d")
    assert found == scans_one_by_one(manifest, layout)
    assert all(type(number) is int for scan in found for number in scan.slices)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["slice", "volume"])
@pytest.mark.parametrize("seed", range(6))
def test_rows_are_those_of_records(tmp_path: Path, seed: int, layout: str) -> None:
    """A file has its own slice's row if there is one, else the scan's; some scans have none."""
    manifest, rng = random_manifest(seed, layout), np.random.default_rng(seed)
    for scan in list_scans(manifest, cohort(layout), "2d"):
        cuts = [*scan.slices, 999] if scan.slices else [5, 7]
        if rng.random() < 0.8 or scan.name.endswith("MR1"):
            files = [
                {"path": f"{scan.name}_{n}.png", "slice": n, "fingerprint": f"{scan.name}{n}"}
                for n in cuts
            ]
            write_json(tmp_path / RECORDS / f"{scan.name}.json", {"key": "", "files": files})
    if not (tmp_path / RECORDS).is_dir():
        with pytest.raises(ImageError, match="no scan"):
            processed_table(tmp_path, manifest)
        return
    found = Manifest(processed_table(tmp_path, manifest), tmp_path).table
    pd.testing.assert_frame_equal(
        found, Manifest(rows_one_by_one(tmp_path, manifest), tmp_path).table
    )
    assert tuple(found) == COLUMNS


def test_rejected_rows_carry_their_own_reason() -> None:
    manifest = random_manifest(3, "slice")
    scans = list_scans(manifest, cohort("slice"), "2d")
    reasons = {scan.name: f"why {scan.name}" for scan in scans[::2]}
    rows = rejected_rows(manifest, reasons)
    named = (rows["subject"] + "_" + rows["session"]).dropna()
    assert rows.loc[named.index, "reason"].tolist() == [f"why {name}" for name in named]
    assert len(rows) == sum(
        len(scan.sources) for scan in scans[::2] if not scan.name.endswith("nan")
    )
    assert list(rejected_rows(manifest, {})) == [*COLUMNS, "reason"]


def test_a_name_that_is_no_file_name_is_refused() -> None:
    manifest = Manifest(pd.DataFrame({"subject": ["a/b"], "session": "1", "path": "x"}), Path())
    with pytest.raises(ManifestError, match="cannot be a file name"):
        list_scans(manifest, cohort("volume"), "3d")


def test_one_picture_under_two_stages_is_told(tmp_path: Path, caplog) -> None:
    rows = {
        "subject": ["A", "A", "B", "C"],
        "session": ["1", "2", "1", "1"],
        "path": ["a.png", "b.png", "c.png", "d.png"],
        "label": ["NonDemented", "MildDemented", "MildDemented", None],
        "fingerprint": ["x", "x", "y", "y"],
    }
    _tell_two_stages(Manifest.from_columns(tmp_path, cohort="z", **rows))
    assert "2 images stand under two stages with the same content, such as a.png and b.png" in (
        caplog.text
    )
    caplog.clear()
    rows["fingerprint"] = ["x", "v", "y", "y"]
    _tell_two_stages(Manifest.from_columns(tmp_path, cohort="z", **rows))
    assert caplog.text == ""
