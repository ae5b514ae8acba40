"""The benchmark of whole cohorts on 200 scans: what it makes is what it says; nothing is timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import cohort
from benchmarks.cohort_files import VOLUME_BYTES, make_cohort
from src.errors import MriError

ROWS = 200


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort")
    found = make_cohort(root, ROWS)
    assert found["apparent_gb"] > 420 * VOLUME_BYTES / 1e9  # raw images, as OASIS-1 has them
    assert found["allocated_mb"] < 5  # of which hardly a block of each is there
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "found"),
    [
        ("index, OASIS layout", "220 sessions"),
        ("index, NIfTI in class folders", "200 volumes"),
        ("list scans", "200 scans"),
        ("which scans are done", "200 of 200 are done"),
        ("processed table from records", "200 rows"),
        ("read manifest", "200 rows"),
        ("write manifest", "0 MB"),
        ("check that sides are disjoint", "no leak"),
        ("leak checks of train", "PASS"),
        ("cache, 50 batches (2D)", "120 images in 8 batches"),
    ],
)
def test_stages_meet_the_whole_cohort(made: Path, stage: str, found: str) -> None:
    clock = cohort.Clock()
    assert cohort.STAGES_OF_COHORT[stage](made, ROWS, clock)["found"] == found
    assert clock.seconds > 0


def test_an_epoch_reads_the_bytes_of_its_images(made: Path) -> None:
    if not Path("/proc/self/io").is_file():
        pytest.skip("only Linux counts the bytes that are read")
    stage = cohort.STAGES_OF_COHORT["cache, 50 batches (2D)"]
    stage(made, ROWS, cohort.Clock())  # the first imports what it needs, and reads that
    found = stage(made, ROWS, cohort.Clock())
    assert found["bytes_of_images"] == 120 * 60 * 60  # 120 training images, each once
    assert found["bytes_of_images"] <= found["bytes_read"] < 1.001 * found["bytes_of_images"]


@pytest.mark.parametrize(
    ("stage", "total"),
    [
        ("open train, val, test (3D)", ROWS),
        ("open train, val, test (2D)", ROWS),
        ("one fold's sides", ROWS),
    ],
)
def test_sides_hold_everyone(made: Path, stage: str, total: int) -> None:
    said = cohort.STAGES_OF_COHORT[stage](made, ROWS, cohort.Clock())["found"]
    assert sum(map(int, said.split(" + "))) == total


@pytest.mark.slow
def test_a_table_of_stages_in_processes_of_their_own(tmp_path: Path, capsys) -> None:
    report = cohort.run(ROWS, tmp_path, tmp_path, ["read manifest"])
    assert json.loads((tmp_path / "cohort.json").read_text(encoding="utf-8")) == report
    assert report["stages"]["read manifest"]["peak_mb"] > 50
    assert "read manifest" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["cohort.json"]  # the cohort is removed


@pytest.mark.slow
def test_a_stage_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(MriError, match=r"(?s)'read manifest' failed.*manifest.csv"):
        cohort.call("read manifest", tmp_path, ROWS)
