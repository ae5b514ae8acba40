"""Ratings over time: nearest to a scan, first visits, what became of people."""

import numpy as np
import pandas as pd
import pytest

from src.cohorts.ratings import first_sessions, label_scans, rate_scans
from src.errors import ConfigError, ManifestError
from src.labels import HOW_TO_READ
from src.manifest import Manifest


def scans(*rows, **more):
    """Scans of (subject, day)."""
    return Manifest.from_columns(
        "raw",
        cohort="made",
        subject=[who for who, _ in rows],
        session=[f"d{day}" for _, day in rows],
        path=[f"{who}_{day}.nii" for who, day in rows],
        day=[day for _, day in rows],
        **more,
    )


def ratings(*rows):
    """Ratings of (subject, day, stage, diagnosis)."""
    table = pd.DataFrame(rows, columns=["subject", "day", "label", "diagnosis"])
    return table.assign(mmse=28.0).astype({"label": "str", "diagnosis": "str"})


H, V, M = "NonDemented", "VeryMildDemented", "MildDemented"


def test_a_scan_takes_the_nearest_rating_and_keeps_its_distance():
    rated = rate_scans(
        scans(("a", 100), ("b", 0), ("c", 0)),
        ratings(("a", 0, H, "CN"), ("a", 130, V, None), ("b", 400, M, "AD")),
        365,
    ).table
    assert rated["label"].tolist()[0] == V
    assert rated["label"].isna().tolist() == [False, True, True]
    assert rated["rating_days"].tolist()[0] == 30
    assert rated["rating_days"].isna().tolist() == [False, True, True]
    assert rated["diagnosis"].tolist()[0] == "CN"  # nearest visit that has one
    assert rated["mmse"].tolist()[0] == 28


def test_a_scan_whose_day_is_not_known_stays_unrated():
    rated = rate_scans(scans(("a", None)), ratings(("a", 0, H, None)), 365).table
    assert rated["label"].isna().all()


def test_diagnoses_are_labels_of_their_own_kind():
    kept = label_scans(
        scans(("a", 0), ("b", 0), ("c", 0), diagnosis=["LMCI", "Dementia", "SMC"]),
        None,
        "diagnosis",
    ).kept
    assert kept.stamps == (HOW_TO_READ["diagnosis"],)
    found = kept.table
    assert found["label"].tolist()[:2] == ["MCI", "AD"]
    assert found["label"].isna().tolist() == [False, False, True]
    with pytest.raises(ManifestError, match="no scan of raw has a diagnosis"):
        label_scans(scans(("a", 0)), None, "diagnosis")


def test_a_manifest_never_mixes_kinds_of_labels():
    with pytest.raises(ManifestError, match="another kind"):
        scans(("a", 0), ("b", 0), label=[H, "AD"])


def test_conversion_keeps_who_is_known_to_have_converted_or_not():
    people = ("back", "early", "ill", "late", "long", "none", "stays")
    found = label_scans(
        scans(*((who, 10) for who in people), ("stays", 900)),
        ratings(
            *((who, 0, H, None) for who in people if who not in ("ill", "none")),
            ("ill", 0, V, None),
            ("back", 400, V, None),
            ("back", 1300, H, None),
            ("early", 700, H, None),  # 23 months of 36
            ("late", 1000, H, None),
            ("late", 1300, M, None),  # after the window: nobody knows when
            ("long", 1000, V, None),
            ("stays", 1107, H, None),
        ),
        "conversion",
        months=36,
    )
    kept = found.kept.table
    assert dict(zip(kept["subject"], kept["label"], strict=True)) == {
        "back": "Converter",
        "long": "Converter",
        "stays": "Stable",
    }
    reasons = pd.concat(found.removed).set_index("subject")["reason"]
    assert reasons["stays"] == "not the first scan (--label conversion)"
    assert "censored" in reasons["early"]
    assert "censored" in reasons["late"]
    assert reasons["ill"] == "CDR above 0 at the first scan"
    assert reasons["none"] == "not rated at the first scan"


def test_months_move_the_window():
    made = scans(("a", 0))
    told = ratings(("a", 0, H, None), ("a", 800, V, None), ("a", 1200, V, None))
    assert label_scans(made, told, "conversion", months=36).kept.table["label"][0] == "Converter"
    with pytest.raises(ManifestError, match="of nobody"):
        label_scans(made, told, "conversion", months=24)


def test_conversion_needs_repeated_ratings():
    with pytest.raises(ConfigError, match="made rates people once"):
        label_scans(scans(("a", 0)), None, "conversion")


def test_first_sessions_are_told_by_day_or_else_by_name():
    made = Manifest.from_columns(
        "raw",
        cohort="made",
        subject=["a", "a", "a", "b", "b"],
        session=["ses-2_run-1", "ses-10", "ses-2_run-2", "MR2", "MR1"],
        path=list("vwxyz"),
        day=[np.nan, np.nan, np.nan, 0, 30],
    )
    kept, later = first_sessions(made)
    assert kept.table["path"].tolist() == ["v", "x", "y"]
    assert later["reason"].unique().tolist() == ["a later session (--sessions first)"]
