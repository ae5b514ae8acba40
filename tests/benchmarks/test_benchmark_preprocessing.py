"""The benchmark of preprocessing on small scans; nothing here is timed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import ellipsoid, save_analyze
from scipy import ndimage

from benchmarks import preprocessing
from benchmarks.preprocessing import OURS
from src.errors import MriError

SHAPE = (44, 52, 40)


def write_brains(root, *_):
    """Stand in for `make_phantom`, whose template takes seconds to load."""
    for seed in range(3):
        noise = np.random.default_rng(seed).standard_normal(SHAPE)
        texture = 1 + 2 * ndimage.gaussian_filter(noise, 2)
        save_analyze(
            root / f"{seed}.img", (ellipsoid(SHAPE, 0.3) * texture).clip(0).astype(np.int16)
        )


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(preprocessing, "make_phantom", write_brains)
    for name, value in (("SLICES", 6), ("IMAGE", 48), ("CUBE", 64), ("WORKERS", 1)):
        monkeypatch.setattr(preprocessing, name, value)


@pytest.mark.slow
def test_whole_benchmark_on_small_scans(small, tmp_path, capsys):
    found = preprocessing.run(scans=11, rounds=1, voxel=4.0, out=tmp_path)
    assert json.loads((tmp_path / "preprocessing.json").read_text(encoding="utf-8")) == found
    printed = capsys.readouterr().out
    for dim, files in (("2d", 66), ("3d", 11)):
        result = found["dims"][dim]
        assert f"{dim}, 11 scans" in printed
        assert result["agreement"]["files"] == files
        assert result["agreement"]["correlation"] > 0.98
        assert result["times_ours"][OURS] == {"median": 1, "low": 1, "high": 1}
        assert all(memory > 0 for memory in result["peak_mb"].values())


def test_images_that_are_not_alike_are_refused(small, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).random(SHAPE)
    monkeypatch.setattr(preprocessing, "scaled_brain", lambda path: noise)
    with pytest.raises(MriError, match="plain 2d images are not like ours"):
        preprocessing.run(scans=9, rounds=1, voxel=4.0, out=tmp_path)
