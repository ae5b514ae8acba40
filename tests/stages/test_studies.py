"""Studies with ratings over time, from the download to processed data sets."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest
from bids_trees import tsv
from oasis_discs import config
from study_trees import head, oasis2

from src.manifest import Manifest
from src.stages.preprocess import run

pytest.importorskip("SimpleITK")
AS_IT_IS = {"dataset": "oasis2", "n4": False, "brain": "none", "register": False}


def study(root: Path) -> Path:
    """Write six people with one scan each; the first has a second one, and all a later visit."""
    sessions: dict[str, tuple[int, object]] = {"OAS2_0001_MR2": (800, 1)}
    for number in range(1, 7):
        sessions[f"OAS2_{number:04d}_MR1"] = (0, 0.5 if number == 6 else 0)
        ill = number < 3
        sessions[f"OAS2_{number:04d}_MR9"] = (1000 if ill else 1200, 0.5 if ill else 0)
    oasis2(root, sessions)
    return root


@pytest.mark.slow
def test_oasis_2_becomes_two_data_sets_of_one_reading(tmp_path, caplog):
    study(tmp_path / "data" / "oasis2")
    list(run(config(tmp_path, **AS_IT_IS)))
    made = Manifest.read(tmp_path / "data" / "oasis2_2d")
    made.check_disjoint()
    sessions = made.table.drop_duplicates(["subject", "session"]).set_index(["subject", "session"])
    assert len(sessions) == 7
    assert len(made) == 7 * 4
    assert sessions.loc[("OAS2_0001", "MR2"), ["label", "day", "age"]].tolist() == [
        *("MildDemented", 800, 72),
    ]
    assert set(sessions["rating_days"]) == {0}
    assert sessions.loc["OAS2_0001", "split"].nunique() == 1
    standard = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "data" / "oasis2_standard").glob("*.nii.gz")
    }
    with caplog.at_level(logging.INFO):
        list(run(config(tmp_path, **AS_IT_IS, label="conversion")))
    assert "3 Stable, 2 Converter; left out: 1 CDR above 0 at the first scan" in caplog.text
    made = Manifest.read(tmp_path / "data" / "oasis2_2d_conversion")
    assert made.table.drop_duplicates("subject").set_index("subject")["label"].to_dict() == {
        **dict.fromkeys(("OAS2_0001", "OAS2_0002"), "Converter"),
        **dict.fromkeys(("OAS2_0003", "OAS2_0004", "OAS2_0005"), "Stable"),
    }
    rejected = pd.read_csv(tmp_path / "data" / "oasis2_2d_conversion" / "rejected.csv")
    assert sorted(rejected["reason"]) == [
        "CDR above 0 at the first scan",
        "not the first scan (--label conversion)",
    ]
    assert {path: path.stat().st_mtime_ns for path in standard} == standard  # nothing read again


@pytest.mark.slow
def test_conversions_of_bids_count_visits_without_a_scan(tmp_path):
    root = tmp_path / "data" / "bids"
    for number in range(1, 7):
        who = f"sub-{number:02d}"
        head(root / who / "ses-M000" / "anat" / f"{who}_ses-M000_T1w.nii.gz", number)
        later = "ses-M024 1" if number < 3 else "ses-M036 0"
        rows = ["session_id cdr_global age", f"ses-M000 {0.5 * (number == 6)} 70"]
        tsv(root / who / f"{who}_sessions.tsv", [*rows, f"{later} 72"])
    list(run(config(tmp_path, **{**AS_IT_IS, "dataset": "bids"}, label="conversion")))
    made = Manifest.read(tmp_path / "data" / "bids_2d_conversion").table
    assert made.drop_duplicates("subject").set_index("subject")["label"].to_dict() == {
        **dict.fromkeys(("sub-01", "sub-02"), "Converter"),
        **dict.fromkeys(("sub-03", "sub-04", "sub-05"), "Stable"),
    }
