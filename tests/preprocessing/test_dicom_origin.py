"""Site and scanner of raw DICOM scans come from their headers, after the tables."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from src.manifest import Manifest
from src.preprocessing.raw.dicom_origin import complete_from_headers

pytest.importorskip("pydicom")
pytest.importorskip("SimpleITK")
from test_dicom import SHAPE, series

NAMES = {
    "Manufacturer": "Philips Medical Systems",
    "ManufacturerModelName": "Achieva",
    "MagneticFieldStrength": "3.0",
    "InstitutionName": "South",
}


def test_headers_fill_what_the_table_leaves_open(tmp_path, caplog):
    data = np.random.default_rng(3).integers(1, 900, SHAPE)
    series(tmp_path / "a", data, **NAMES)
    series(tmp_path / "b", data)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (tmp_path / "d.nii.gz").touch()
    raw = Manifest.from_columns(
        tmp_path,
        subject=["a", "b", "c", "d"],
        session="T1w",
        path=["a", "b", "c", "d.nii.gz"],
        site=["North", "North", None, "East"],
    )
    with caplog.at_level(logging.WARNING):
        table = complete_from_headers(raw).table
    assert table["site"].fillna("").tolist() == ["North", "North", "", "East"]
    assert table["scanner"].fillna("").tolist() == ["Achieva", "", "", ""]
    assert table["manufacturer"].fillna("").tolist() == ["Philips", "", "", ""]
    assert table["field_strength"].fillna(0).tolist() == [3, 0, 0, 0]
    assert "site of 1 scan, such as North and South" in caplog.text
