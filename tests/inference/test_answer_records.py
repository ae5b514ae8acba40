"""Answers that are kept: when they hold, and when a scan is answered again."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from src.config import RunConfig
from src.config.options import build_config
from src.inference.answer_records import AnswerRecords, GivenAnswer
from src.inference.answers import no_answer
from src.inference.inputs import Input

CLASSES = ("Non", "VeryMild", "Mild")
A_SCAN = Input("a", "scan", (Path("a.nii"),), "P1", "MR1")
ANSWER = no_answer(A_SCAN, "", 1) | {
    **{"stage": "Non", "outside": False, "reasons": [], "prediction_set": ["Non"]},
    "probabilities": dict(zip(CLASSES, (0.6, 0.15, 0.25), strict=True)),
}
GIVEN = GivenAnswer(ANSWER, np.array([[1.0, -0.5, 0.25]]), was_raw=True)


class Place:
    """A folder with scan, checkpoint and one kept answer."""

    def __init__(self, root):
        self.root, self.folder = root, root / "predict"
        self.scan, self.checkpoint = root / "a.nii", root / "best.pth"
        self.scan.write_bytes(b"scan one")
        self.checkpoint.write_bytes(b"weights")
        self.item = Input("a", "scan", (self.scan,), "P1", "MR1")
        self.map = self.folder / "maps" / "a.png"
        self.map.parent.mkdir(parents=True)
        self.map.write_bytes(b"map")
        self.records().write(self.item, GIVEN, [self.map])

    def records(self, versions=(("torch", "2"),), **settings):
        member = SimpleNamespace(path=self.checkpoint)
        ensemble = SimpleNamespace(members=[member], classes=CLASSES)
        config = build_config(RunConfig, {"device": "cpu", **settings})
        return AnswerRecords(self.folder, ensemble, config, dict(versions))

    def holds(self, item=None, **more):
        return "a" in self.records(**more).read([item or self.item])


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def rewrite(path: Path, content: bytes) -> None:
    """Change a file's bytes, not its size and time."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_answer_is_given_as_it_was(place):
    again = place.records().read([place.item])["a"]
    assert again.answer == GIVEN.answer
    assert again.logits.tolist() == GIVEN.logits.tolist()
    assert again.was_raw is True


def test_what_does_not_matter_changes_nothing(place):
    assert place.holds(workers=3, run="other", let_in="b", seed=5)


def test_another_scan_under_the_same_name_is_answered_again(place):
    rewrite(place.scan, b"scan two")
    assert not place.holds()


def test_another_checkpoint_answers_again(place):
    rewrite(place.checkpoint, b"WEIGHTS")
    assert not place.holds()


@pytest.mark.parametrize(
    "changed",
    [
        {"let_in": "a"},
        {"n4": False},
        {"maps": False},
        {"method": "occlusion"},
        {"versions": (("torch", "3"),)},
    ],
)
def test_other_settings_answer_again(place, changed):
    assert not place.holds(**changed)


def test_another_person_is_asked_about_again(place):
    assert not place.holds(Input("a", "scan", (place.scan,), "P2", "MR1"))


def test_a_header_and_a_file_of_a_series_count(place, tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    for name in ("1.dcm", "2.dcm"):
        (series / name).write_bytes(b"one slice")
    for name in ("b.img", "b.hdr"):
        (tmp_path / name).write_bytes(b"bytes")
    for item, file in (
        (Input("b", "scan", (tmp_path / "b.img",)), tmp_path / "b.hdr"),
        (Input("c", "scan", (series,)), series / "2.dcm"),
    ):
        given = replace(GIVEN, answer=ANSWER | {"name": item.name})
        place.records().write(item, given, [])
        assert item.name in place.records().read([item])
        rewrite(file, file.read_bytes().upper())
        assert item.name not in place.records().read([item])


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"key": 3}', b"\xff\xfe"])
def test_a_damaged_record_is_no_answer(place, left):
    (place.folder / "answers" / "a.json").write_bytes(left)
    assert not place.holds()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"probabilities": {**ANSWER["probabilities"], "Non": 5}}, "Non is 5"),
        ({"probabilities": {**ANSWER["probabilities"], "Non": 0.1}}, "add up to 0.5"),
        ({"stage": "Sane"}, "of classes other than"),
        ({"stage": None}, "a part of the answer"),
        ({"name": "b"}, "it is of b"),
        ({"n_images": "many"}, "n_images"),
    ],
)
def test_a_changed_answer_is_made_again_and_it_is_said(place, change, why, caplog):
    path = place.folder / "answers" / "a.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"answer": ANSWER | change}), encoding="utf-8")
    assert not place.holds()
    assert "a.json" in caplog.text
    assert why in caplog.text


def test_a_removed_map_and_a_removed_scan_are_noticed(place):
    place.map.unlink()
    assert not place.holds()
    place.map.write_bytes(b"map")
    assert place.holds()
    place.scan.unlink()
    assert not place.holds()


def test_only_what_still_holds_is_kept(place):
    others = ("answers/b.json", "answers/.b.json.x1", "maps/b.png", "maps/.a.png.x2")
    for name in others:
        (place.folder / name).write_bytes(b"{}")
    place.records().remove_others(["a"])
    left = {p.relative_to(place.folder).as_posix() for p in place.folder.rglob("*") if p.is_file()}
    assert left == {"answers/a.json", "maps/a.png"}
    place.records().remove_others([])
    assert [p for p in place.folder.rglob("*") if p.is_file()] == []
