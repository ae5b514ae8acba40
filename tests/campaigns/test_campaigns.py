"""The campaigns find what is planted, and find nothing where nothing is."""

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from random import Random

import numpy as np
import pytest

from campaigns import __main__ as campaigns
from campaigns import commands, kill, runs, shapes
from campaigns.attempts import Ended, Surroundings, faults_of
from campaigns.children import run_inputs
from campaigns.family import Family
from campaigns.mutations import PLACES, mutate, replace_place
from campaigns.same_files import Expected, half_files
from campaigns.scans import FAMILIES as SCANS
from campaigns.verdicts import BAD, GOOD, Verdict, judge
from src.errors import ImageError, MriError
from src.runtime import keep_memory


def make(folder):
    (folder / "a.bin").write_bytes(bytes(range(256)))


def family(read, **more):
    return Family("planted", make, read, ("a.bin",), **more)


def reader(fault):
    """Return a reader that has a fault for a file that was changed, and none for a valid one."""

    def read(folder, name):
        path = folder / name
        if not path.is_file() or path.read_bytes() != bytes(range(256)):
            fault(folder)

    return read


def verdicts(read, tmp_path, numbers=range(3), **more):
    rows = list(run_inputs(family(read, **more), 0, list(numbers), tmp_path / "kept"))
    return [verdict for _, _, verdict in rows]


def slip(folder):
    raise KeyError("planted")


def refuse(folder):
    raise ImageError("this is no image")


def leave(folder):
    (folder / "half").write_bytes(b"x")
    raise ImageError("this is no image")


def hog(folder):
    refuse(np.ones(200 << 20, np.uint8).tobytes()[:0] or folder)


def too_much(folder):
    np.ones(1 << 45, np.uint8)


def die(folder):
    os.kill(os.getpid(), signal.SIGKILL)


def say_nothing(folder):
    raise MriError("")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (slip, "traceback"),
        (refuse, "refused"),
        (leave, "leftover"),
        (hog, "memory"),
        (too_much, "memory"),
        (die, "crash"),
        (say_nothing, "traceback"),
        (lambda folder: None, "accepted"),
    ],
)
def test_a_planted_fault_is_found(tmp_path, fault, kind):
    if fault is hog:  # a process that kept so much before
        keep_memory()
        np.ones(400 << 20, np.uint8)
    assert [one.kind for one in verdicts(reader(fault), tmp_path)] == [kind] * 3


def test_a_hang_is_found(tmp_path):
    verdict = judge(lambda: time.sleep(5), tmp_path, None, patience=0.05)
    assert verdict.kind == "hang"


def test_a_fault_says_where_in_the_program_it_was_raised(tmp_path):
    from src.preprocessing.io import write_nifti

    verdict = judge(lambda: write_nifti("no path", None, None), tmp_path, None)
    assert verdict.kind == "traceback"
    assert verdict.where.startswith("src/preprocessing/io.py:")
    assert "AttributeError" in verdict.said


def test_whole_files_may_stay_where_a_stage_goes_on_from_them(tmp_path):
    assert [v.kind for v in verdicts(reader(leave), tmp_path, resumes=True)] == ["refused"] * 3


def test_an_input_that_finds_a_fault_is_kept_and_made_again(tmp_path):
    list(run_inputs(family(reader(slip), places=False), 7, [4], tmp_path / "a"))
    list(run_inputs(family(reader(slip), places=False), 7, [4], tmp_path / "b"))
    first, second = (tmp_path / one / "planted_4" for one in "ab")
    assert (first / "a.bin").read_bytes() == (second / "a.bin").read_bytes() != bytes(range(256))
    told = json.loads((first / "input.json").read_text("utf-8"))
    assert (told["seed"], told["number"], told["kind"]) == (7, 4, "traceback")


def test_another_seed_makes_other_inputs():
    changed = {mutate(Random(f"{seed}"), bytes(900), SCANS[0])[0] for seed in range(20)}
    assert len(changed) > 10


def test_without_a_valid_input_there_is_no_campaign(tmp_path):
    broken = family(lambda folder, name: slip(folder))
    with pytest.raises(RuntimeError, match="no valid input"):
        list(run_inputs(broken, 0, [0], tmp_path))


def test_every_place_is_put_in_a_files_place(tmp_path):
    seen = Counter()
    for seed in range(200):
        path = tmp_path / f"{seed}"
        path.write_bytes(b"x")
        seen[replace_place(Random(seed), path)[1]] += 1
    assert len(seen) == len(PLACES) + 1


def test_a_field_of_a_header_is_changed_and_nothing_else():
    fields = np.dtype([("a", "<i2", 3), ("b", "<f4")])
    data = bytes(fields.itemsize) + b"voxels"
    for seed in range(30):
        changed = shapes.header_field(fields)(Random(seed), data)
        assert len(changed) == len(data)
        assert changed.endswith(b"voxels")


def test_what_a_gzip_holds_is_changed():
    data = gzip.compress(bytes(64))
    changed = shapes.in_gzip(lambda rng, inside: inside + b"!")(Random(0), data)
    assert gzip.decompress(changed) == bytes(64) + b"!"


def test_a_pngs_header_is_changed_with_its_sum():
    import zlib

    head = struct.pack(">IIBBBBB", 4, 5, 8, 0, 0, 0, 0)
    sum_of = struct.pack(">I", zlib.crc32(b"IHDR" + head))
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + sum_of
    for seed in range(20):
        made = shapes.png_chunk(Random(seed), data)
        if len(made) == len(data):
            assert made[-4:] == struct.pack(">I", zlib.crc32(made[12:-4]))


def test_json_stays_json():
    content = {"a": [1, {"b": "c"}], "d": None}
    for seed in range(50):
        made = shapes.json_branch(Random(seed), json.dumps(content).encode())
        if not made.startswith(b"[[["):
            json.loads(made.decode("utf-8", "surrogatepass"))


def test_a_file_that_two_unbroken_runs_write_alike_must_be_the_same(tmp_path):
    for name, seconds in (("a", 1), ("b", 2), ("c", 3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").write_text(
            json.dumps({"seconds": seconds, "score": 1}), encoding="utf-8"
        )
        (tmp_path / name / "y.csv").write_text("1,2\n", encoding="utf-8")
    expected = Expected(tmp_path / "a", tmp_path / "b")
    assert expected.free == ["x.json"]
    assert list(expected.wrong(tmp_path / "c")) == []
    (tmp_path / "c" / "x.json").write_text(json.dumps({"seconds": 3, "score": 2}), encoding="utf-8")
    (tmp_path / "c" / "y.csv").write_text("1,3\n", encoding="utf-8")
    (tmp_path / "c" / ".x.json.0.part").write_text("", encoding="utf-8")
    found = "; ".join(expected.wrong(tmp_path / "c"))
    assert "x.json differs in .score" in found
    assert "y.csv differs in 1" in found
    assert "part is left over" in found


def test_half_files_are_found(tmp_path):
    (tmp_path / "whole.json").write_text("{}", encoding="utf-8")
    (tmp_path / "half.json").write_text("{", encoding="utf-8")
    (tmp_path / "half.nii.gz").write_bytes(gzip.compress(bytes(999))[:-3])
    (tmp_path / "half.pth").write_bytes(b"PK\x03\x04")
    (tmp_path / "half.png").write_bytes(b"\x89PNG")
    assert list(half_files(tmp_path)) == ["half.json", "half.nii.gz", "half.png", "half.pth"]


@pytest.mark.parametrize(
    ("ended", "wrong"),
    [
        (Ended(0, "done"), ""),
        (Ended(2, "error: no such file\n  fix: look"), ""),
        (Ended(2, "usage"), "status 2 with 0 sentences"),
        (Ended(1, "Traceback (most recent call last)\nKeyError: 1"), "traceback: KeyError: 1"),
        (Ended(-9, ""), "status -9"),
        (Ended(None, ""), "hang"),
    ],
)
def test_an_attempt_ends_well_or_with_one_sentence(ended, wrong):
    found = faults_of(ended, Surroundings())
    assert found == [] if not wrong else found[0].startswith(wrong)


def test_names_of_families_stages_and_kinds_are_checked():
    for name in campaigns.CAMPAIGNS:
        assert campaigns.main([name, "--only", "nothing"]) == 2


@pytest.mark.slow
def test_a_short_campaign_attacks_every_family(tmp_path):
    """Faults that are known stand in docs/reliability.md; here, the campaign itself must work.

    It runs in a process of its own: a child that is forked from one in which other tests have left
    threads may wait for them for ever.
    """
    short = "import sys, pathlib\nfrom campaigns import fuzz\n"
    short += "fuzz.RESULTS = pathlib.Path(sys.argv[1])\nfuzz.run(100, 0)"
    ended = subprocess.run(
        [sys.executable, "-c", short, str(tmp_path)], cwd=commands.ROOT, check=False,
        env=commands.environment(), capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    totals = json.loads((tmp_path / "fuzz" / "totals.json").read_text("utf-8"))
    named = {row["family"] for row in totals["families"]}
    assert set(runs.NAMES) < named
    assert len(named) > 30
    for row in totals["families"]:
        assert sum(row[kind] for kind in (*GOOD, *BAD)) == row["inputs"] > 0
        assert row["hang"] == 0, row
    assert "nifti1" in ended.stdout


@pytest.mark.slow
def test_a_killed_stage_ends_as_an_unbroken_one(tmp_path, monkeypatch):
    monkeypatch.setattr(kill, "RESULTS", tmp_path)
    assert kill.run(2, 0, ["preprocess"]) == 0
    rows = json.loads((tmp_path / "kill" / "totals.json").read_text("utf-8"))["kills"]
    assert [row["stage"] for row in rows] == ["preprocess"] * 2


def test_totals_lie_where_git_does_not_look():
    assert commands.RESULTS.is_relative_to(commands.ROOT / "results")


def test_verdicts_of_one_cause_share_a_signature():
    one, other = (Verdict("traceback", f"KeyError: {n}", "src/a.py:1") for n in (1, 2))
    assert one.signature == other.signature
