"""The audit of a large set: parts give what the whole gives, and what was not looked at is told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src.auditing import pairs as audit_pairs
from src.auditing import search as audit_search
from src.auditing.audit import audit_folder
from src.auditing.metadata import _most_frequent
from src.auditing.pairs import choose_asked
from src.auditing.search import Search
from src.labels import STAGES
from src.manifest import Manifest


@pytest.fixture(autouse=True)
def few_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Align two partners of each image, not eight, which takes a quarter of the time."""
    monkeypatch.setattr(audit_pairs, "_MANY_PARTNERS", 2)


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 7)).astype(np.uint8)
    return cv2.resize(noise, (60, 72), interpolation=cv2.INTER_CUBIC)


def search_of_noise(n: int = 90, planes: int = 1) -> Search:
    thumbnails = np.random.default_rng(5).integers(0, 256, (n, planes, 2, 52, 44), dtype=np.uint8)
    thumbnails[7] = 9  # a blank image
    people = np.array([f"P{number // 3}" for number in range(n)])
    return Search(thumbnails, lambda number: [], people)


@pytest.mark.slow
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("planes", [1, 3])
def test_parts_find_what_the_whole_finds(monkeypatch, planes: int, others: bool) -> None:
    query, pool = np.arange(60, 90), np.arange(70)  # some ask for themselves
    monkeypatch.setattr(audit_search, "_CHUNK", 13)
    whole = search_of_noise(planes=planes).nearest(query, pool, 5, others=others)
    monkeypatch.setattr(audit_search, "_HEADS", 89)
    monkeypatch.setattr(audit_search, "LARGE", 89)  # all heads but the blank one, in another order
    monkeypatch.setattr(audit_search, "_PART", 4)  # fewer than are asked for
    search = search_of_noise(planes=planes)
    assert search.large
    parts = search.nearest(query, pool, 5, others=others)
    np.testing.assert_allclose(parts.likeness, whole.likeness, atol=1e-5)
    assert (parts.partners == whole.partners).all()
    assert (parts.variant == whole.variant).all()
    assert 7 not in parts.partners
    assert not (parts.partners == parts.query[:, None]).any()
    if others:
        assert not (parts.partners // 3 == parts.query[:, None] // 3).any()


def test_nothing_to_ask_or_to_find(monkeypatch) -> None:
    monkeypatch.setattr(audit_search, "LARGE", 10)
    search, some, none = search_of_noise(), np.arange(3), np.zeros(0, dtype=np.int64)
    assert search.nearest(none, some, 2).partners.shape == (0, 2)
    assert search.nearest(some, none, 2).partners.shape == (3, 0)


def test_images_of_a_large_set_are_drawn_from_all_later_sides(monkeypatch) -> None:
    sides = [("train", np.arange(40)), ("val", np.arange(40, 60)), ("test", np.arange(60, 90))]
    search = search_of_noise()
    every = choose_asked(search, sides, 0)
    assert [len(images) for images in every.values()] == [20, 30]
    monkeypatch.setattr(audit_search, "LARGE", 89)
    monkeypatch.setattr(audit_pairs, "MOST_ASKED", 25)
    asked, again, other = (choose_asked(search, sides, seed) for seed in (0, 0, 1))
    assert sum(map(len, asked.values())) == 25
    for side, images in asked.items():
        assert set(images) < set(every[side])
        assert len(images) > 5
        assert (images == again[side]).all()
    assert not np.array_equal(asked["test"], other["test"])


def make_set(root: Path, copies: int = 0) -> Path:
    """Write 40 pictures of as many people; the last `copies` are a training picture, saved anew."""
    rows = []
    for number in range(40):
        side = "train" if number < 20 else "test"
        path = f"{side}/{STAGES[number % 2]}/P{number}_MR1_slice01.png"
        pixels = picture(number - 20 if number >= 40 - copies else number)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        content = cv2.imencode(".png", np.clip(pixels, 3, 250))[1].tobytes()
        if number >= 40 - copies:
            content = cv2.imencode(".png", pixels)[1].tobytes()
        (root / path).write_bytes(content)
        name = hashlib.blake2b(content, digest_size=16).hexdigest()
        rows.append(
            {"subject": f"P{number}", "session": "MR1", "slice": 1, "path": path, "split": side}
            | {"label": STAGES[number % 2], "fingerprint": name}
        )
    Manifest(pd.DataFrame(rows), root).write(root)
    return root


def pairs_of(report: dict) -> dict:
    return next(check for check in report["checks"] if check["name"] == "near_duplicates")


@pytest.mark.slow
def test_the_finding_tells_how_many_were_looked_for(tmp_path: Path, monkeypatch) -> None:
    root = make_set(tmp_path / "clean")
    small = audit_folder(root, "2d").report
    assert small["looked_at"] == {
        "files_read": 40,
        "images_asked": 20,
        "of_images": 20,
        "planes": 1,
    }
    assert "looked for" not in pairs_of(small)["sentence"]
    monkeypatch.setattr(audit_search, "LARGE", 30)
    monkeypatch.setattr(audit_pairs, "MOST_ASKED", 15)
    large = audit_folder(root, "2d").report
    assert large["looked_at"] == {
        "files_read": 40,
        "images_asked": 15,
        "of_images": 20,
        "planes": 1,
    }
    assert pairs_of(large)["verdict"] == "PASS"
    assert pairs_of(large)["sentence"].endswith(
        "; 15 of 20 images of later sides were looked for among all earlier ones, "
        "so of the others up to 20 % may"
    )
    leaky = audit_folder(make_set(tmp_path / "leaky", copies=19), "2d").report
    assert pairs_of(leaky)["verdict"] == "FAIL"
    assert pairs_of(leaky)["numbers"]["images_compared"] == 15
    assert "15 of 20 images of later sides" in pairs_of(leaky)["sentence"]


def test_volumes_of_a_large_set_are_seen_from_above_alone(tmp_path: Path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(9):
        path = f"{'train' if number < 6 else 'test'}/P{number}.npy"
        (tmp_path / path).parent.mkdir(exist_ok=True)
        np.save(tmp_path / path, rng.random((16, 19, 17)).astype(np.float16))
        rows.append({"subject": f"P{number}", "path": path, "label": STAGES[0]})
    table = pd.DataFrame(rows).assign(split=["train"] * 6 + ["test"] * 3)
    Manifest(table, tmp_path).write(tmp_path)
    assert audit_folder(tmp_path, "3d").report["looked_at"]["planes"] == 3
    monkeypatch.setattr("src.auditing.audit.LARGE", 8)
    monkeypatch.setattr(audit_search, "LARGE", 8)
    report = audit_folder(tmp_path, "3d").report
    assert report["looked_at"] == {"files_read": 9, "images_asked": 3, "of_images": 3, "planes": 1}


@pytest.mark.slow
def test_people_of_a_large_set_without_names_are_not_guessed(tmp_path: Path, monkeypatch) -> None:
    root = make_set(tmp_path / "anonymous", copies=15)
    (root / "manifest.csv").unlink()
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        path.rename(path.with_name(f"scan {number}.png"))
    assert audit_folder(root, "2d").report["n_units"] == 25  # copies are one head
    monkeypatch.setattr(audit_search, "LARGE", 30)
    report = audit_folder(root, "2d").report
    probe = next(check for check in report["checks"] if check["name"] == "probe")
    assert probe["verdict"] == "NOT KNOWN"
    assert report["n_units"] == 40


@pytest.mark.parametrize("seed", range(5))
def test_label_of_a_person_is_the_most_frequent_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    read = pd.DataFrame({"unit": rng.integers(0, 12, 60), "label": rng.choice(STAGES, 60)})
    plain = read.groupby("unit")["label"].agg(lambda values: values.mode().iloc[0])
    pd.testing.assert_series_equal(_most_frequent(read), plain, check_dtype=False)
