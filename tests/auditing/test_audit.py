"""Audits of small folders: heads are smooth random stacks on black, as strangers would lay them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.auditing.audit import Audit, audit_folder, format_audit
from src.auditing.files import read_files, read_pictures
from src.auditing.pairs import COPIES, ONE_HEAD, Thresholds, find_pairs, nearest_across
from src.auditing.read import read_set
from src.auditing.search import search_of
from src.config import DataConfig, RunConfig
from src.errors import AuditFailed, DataNotFoundError, ImageError, LeakageError, ManifestError
from src.labels import STAGES
from src.manifest import Manifest
from src.stages.audit import run

SLICES, PEOPLE = 4, 18
SIDES = ("train", "train", "train", "val", "test", "test")


def head(seed: int, slices: int = SLICES) -> np.ndarray:
    """Return 8-bit slices (slices, 78, 66): the shape is everybody's, the detail one head's."""
    noise = np.random.default_rng(seed).normal(size=(slices + 5, 78, 66))
    detail = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.8) for plane in noise])
    detail = sum(detail[i : i + slices] for i in range(6))
    y, x = np.mgrid[-1:1:78j, -1:1:66j]
    wide, high = 0.7 + 0.01 * (seed % 5), 0.82 - 0.01 * (seed % 3)
    inside = (x / wide) ** 2 + (y / high) ** 2 < 1
    shade = 120 + 40 * np.exp(-3 * (x**2 + y**2)) + 25 * detail / detail.std()
    return np.where(inside, np.clip(shade, 20, 250), 0).astype(np.uint8)


HEADS = [head(seed) for seed in range(PEOPLE)]


@pytest.fixture(autouse=True)
def _fewer_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.auditing.pairs._NULL_QUERIES", 72)
    monkeypatch.setattr("src.auditing.pairs._MANY_PARTNERS", 1)


def stage_of(person: int) -> str:
    return STAGES[person // 6]


def side_of(person: int) -> str:
    return SIDES[person % 6]


def save(path: Path, image: np.ndarray, **settings) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **settings)
    return path


def anonymous(root: Path, side=side_of, ending: str = ".png") -> Path:
    """Lay all heads out in class folders under names that say nothing; each person has a side."""
    order = np.random.default_rng(0).permutation(PEOPLE * SLICES)
    for person, slices in enumerate(HEADS):
        for number, image in enumerate(slices):
            name = f"im{order[person * SLICES + number]:03d}{ending}"
            where = side(person) if side is side_of else side(number)
            save(root / where / stage_of(person) / name, image)
    return root


def by_manifest(root: Path, **columns) -> Path:
    """Write a processed folder of the same heads, with its manifest."""
    rows = []
    for person, slices in enumerate(HEADS):
        for number, image in enumerate(slices):
            path = f"{side_of(person)}/{stage_of(person)}/P{person:02d}_MR1_slice{number:02d}.png"
            save(root / path, image)
            rows.append(
                {
                    "subject": f"P{person:02d}",
                    "session": "MR1",
                    "slice": number,
                    "path": path,
                    "label": stage_of(person),
                    "split": side_of(person),
                }
            )
    Manifest(pd.DataFrame(rows).assign(**columns), root).write(root)
    return root


def verdicts(report: dict) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in report["checks"]}


def check_of(report: dict, name: str) -> dict:
    return next(check for check in report["checks"] if check["name"] == name)


def moved_copy(image: np.ndarray) -> np.ndarray:
    """Turn by 3 degrees and brighten."""
    height, width = image.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 3, 1)
    bright = cv2.warpAffine(image, turn, (width, height)).astype(float) * 1.2
    return np.clip(bright, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an anonymous folder that is split by person; read only."""
    return anonymous(tmp_path_factory.mktemp("audit") / "honest")


@pytest.fixture(scope="module")
def passed(honest: Path) -> Audit:
    """Return the audit of the honest folder."""
    return audit_folder(honest, "2d")


def with_one_more(honest: Path, root: Path, image: np.ndarray, ending: str = ".png") -> Path:
    """Return a folder with the files of `honest` and `image` as ``extra`` in test."""
    for path in honest.rglob("*.png"):
        target = root / path.relative_to(honest)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    save(root / f"test/NonDemented/extra{ending}", image)
    return root


@pytest.mark.slow
def test_an_honest_anonymous_folder_passes(passed: Audit) -> None:
    report = passed.report
    assert report["verdict"] == "PASS"
    found = verdicts(report)
    assert found["people"] == found["sessions"] == "NOT KNOWN"
    assert found["near_duplicates"] == found["identical_files"] == found["probe"] == "PASS"
    assert report["schema"] == "audit/1"
    assert (report["n_images"], report["n_people"]) == (PEOPLE * SLICES, None)
    json.dumps(report, allow_nan=False)


@pytest.mark.slow
def test_slices_of_a_person_are_one_unit_without_any_name(passed: Audit) -> None:
    assert passed.report["n_units"] == PEOPLE


@pytest.mark.slow
def test_the_table_for_the_log(passed: Audit) -> None:
    lines = format_audit(passed.report).splitlines()
    assert len(lines) == 2 + len(passed.report["checks"])
    assert "people unknown" in lines[0]
    assert lines[-1] == "  verdict: PASS"


KINDS_OF_COPY = {
    "turned and brightened": moved_copy,
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "shifted": lambda image: np.roll(image, (4, -3), (0, 1)),
    "resized": lambda image: cv2.resize(image, None, fx=2.3, fy=2.3),
    "saved as JPEG": lambda image: image,
}


@pytest.mark.slow
def test_one_turned_and_brightened_copy_is_found_named_and_shown(honest, tmp_path) -> None:
    original = sorted((honest / "train/NonDemented").iterdir())[5]
    image = moved_copy(np.asarray(Image.open(original)))
    audit = audit_folder(with_one_more(honest, tmp_path, image), "2d")
    assert "near_duplicates" in audit.failed
    check = check_of(audit.report, "near_duplicates")
    assert check["numbers"]["images_nearly_identical"] == 1
    assert check["examples"][0].startswith("test/NonDemented/extra.png ~ train/NonDemented/im")
    worst = audit.pairs[0]
    assert worst.paths == ("test/NonDemented/extra.png", f"train/NonDemented/{original.name}")
    assert worst.person == "person not known"
    assert not any(pair.finding == "nearly identical" for pair in audit.pairs[1:])
    assert len({pair.paths[0] for pair in audit.pairs}) == len(audit.pairs)


def test_copies_of_all_kinds_are_found_and_say_how_they_are_turned(honest, tmp_path) -> None:
    originals = {}
    for name, path in zip(
        KINDS_OF_COPY, sorted((honest / "train").rglob("*.png"))[::5], strict=False
    ):
        originals[name] = f"train/{path.parent.name}/{path.name}"
        image = np.ascontiguousarray(KINDS_OF_COPY[name](np.asarray(Image.open(path))))
        ending = "jpg" if name == "saved as JPEG" else "png"
        save(tmp_path / "test" / path.parent.name / f"{name}.{ending}", image)
    audit = audit_folder(with_one_more(honest, tmp_path, head(99, 1)[0]), "2d")
    check = check_of(audit.report, "near_duplicates")
    assert check["numbers"]["images_nearly_identical"] == len(KINDS_OF_COPY)
    found = {Path(pair.paths[0]).stem: pair for pair in audit.pairs}
    assert {name: pair.paths[1] for name, pair in found.items()} == originals
    for name, pair in found.items():
        turned = f", {name}" if name in ("mirrored", "upside down") else ""
        assert pair.finding == f"nearly identical{turned}"


def test_a_split_by_slices_fails_though_files_name_nobody(tmp_path: Path) -> None:
    root = anonymous(tmp_path / "set", side=lambda number: "test" if number == 2 else "train")
    audit = audit_folder(root, "2d")
    assert audit.failed == ["near_duplicates", "probe"]
    probe = check_of(audit.report, "probe")["numbers"]
    assert probe["nearest_is_same_unit"] == 1
    assert probe["accuracy_shuffled"]["value"] == 1
    numbers = check_of(audit.report, "near_duplicates")["numbers"]
    assert numbers["images_of_same_head"] == PEOPLE


def test_the_kind_of_a_pair_follows_from_the_thresholds(tmp_path: Path) -> None:
    """Slice 2 of every head is in test; the others of that head are its nearest in train."""
    root = anonymous(tmp_path, side=lambda number: "test" if number == 2 else "train")
    data = read_set(root, "2d")
    files = read_files([root / path for path in data.rows["path"]])
    search = search_of(root, data.rows, files.thumbnails, read_pictures)
    sides = [(s, np.flatnonzero(data.rows["split"] == s)) for s in ("train", "test")]
    nearest, none = nearest_across(search, sides, dict(sides[1:])), np.zeros(0)
    kinds = {}
    for copy, head_from in ((1.1, 0.4), (1.1, 0.95)):
        pairs = find_pairs(search, nearest, Thresholds(copy, head_from, none, none))
        kinds[copy, head_from] = pairs.groupby("query")["kind"].max().tolist()
    assert COPIES in find_pairs(search, nearest, Thresholds(0.5, 0.4, none, none))["kind"].tolist()
    assert kinds[1.1, 0.4] == [ONE_HEAD] * PEOPLE
    assert kinds[1.1, 0.95] == [""] * PEOPLE  # heads so alike that likeness says nothing


def test_one_head_under_two_names_is_found(tmp_path: Path) -> None:
    """P04 (test) is given the neighbouring slices of P00 (train)."""
    root = by_manifest(tmp_path / "set")
    more = head(0, SLICES + 4)
    for number, image in enumerate(more[2 : 2 + SLICES]):
        save(root / f"test/NonDemented/P04_MR1_slice{number:02d}.png", image)
    audit = audit_folder(root, "2d")
    assert audit.failed == ["near_duplicates"]
    pair = check_of(audit.report, "near_duplicates")["numbers"]["pairs"][0]
    assert "P04" in pair["first"]
    assert "P00" in pair["second"]
    assert pair["person"] == "other person"


def test_heads_made_from_one_template_are_no_copies_of_each_other(tmp_path, monkeypatch) -> None:
    """Different people agree so well here that only better agreement says more."""
    monkeypatch.setattr("src.auditing.pairs._MANY_PARTNERS", 8)
    template = head(200, 1)[0].astype(float)
    for person in range(24):
        own = head(300 + person, 1)[0]
        image = np.where(own > 0, template * 0.8 + own * 0.2, 0).astype(np.uint8)
        save(tmp_path / side_of(person) / STAGES[person // 6] / f"{person}.png", image)
    report = audit_folder(tmp_path, "2d").report
    reached = report["thresholds"]["different_people"]["agreement"]
    assert reached["median"] > 0.7
    assert report["thresholds"]["nearly_identical"]["agreement"] > reached["most"]
    assert not check_of(report, "near_duplicates")["numbers"]["heads_told_apart"]
    assert verdicts(report)["near_duplicates"] == "PASS"
    assert verdicts(report)["probe"] == "NOT KNOWN"


@pytest.mark.slow
def test_people_of_a_manifest_on_both_sides_fail(tmp_path: Path) -> None:
    root = by_manifest(tmp_path / "set")
    made = Manifest.read(root)
    table = made.table.copy()
    table.loc[(table["subject"] == "P00") & (table["slice"] == 1), "split"] = "test"
    Manifest(table, root).write(root)
    audit = audit_folder(root, "2d")
    assert audit.failed[:2] == ["people", "near_duplicates"]
    assert audit.pairs[0].person == "same person"


@pytest.mark.slow
def test_identical_pixels_in_another_format_fail(honest: Path, tmp_path: Path) -> None:
    image = np.asarray(Image.open(sorted((honest / "train/NonDemented").iterdir())[5]))
    save(tmp_path / "extra.png", image, compress_level=0)
    root = with_one_more(honest, tmp_path / "set", image)
    (tmp_path / "extra.png").replace(root / "test/NonDemented/extra.png")
    numbers = check_of(audit_folder(root, "2d").report, "identical_files")["numbers"]
    assert numbers["fingerprint_on_both_sides"] == 0
    assert numbers["pixels_on_both_sides"] == 1


@pytest.mark.slow
def test_classes_of_other_sizes_and_jpeg_quality_fail(tmp_path: Path) -> None:
    for person, slices in enumerate(HEADS):
        size = (66 + 4 * (person // 12), 78)  # the last class is wider,
        quality = 95 if person < 6 else 85  # and the first one better kept
        for number, image in enumerate(slices):
            place = tmp_path / side_of(person) / stage_of(person)
            save(
                place / f"{person * SLICES + number}.jpg", cv2.resize(image, size), quality=quality
            )
    audit = audit_folder(tmp_path, "2d")
    assert audit.failed == ["metadata"]
    sentence = check_of(audit.report, "metadata")["sentence"]
    assert "image size" in sentence
    assert "header fields" in sentence


@pytest.mark.slow
def test_damaged_and_odd_images_are_named_and_stop_nothing(honest: Path, tmp_path: Path) -> None:
    root = with_one_more(honest, tmp_path / "set", np.zeros((40, 30), np.uint8))
    save(root / "test/NonDemented/black.png", np.zeros((40, 30), np.uint8))
    save(root / "train/NonDemented/black.png", np.zeros((40, 30), np.uint8))
    whole = honest / "train/NonDemented" / sorted((honest / "train/NonDemented").iterdir())[0].name
    (root / "test/NonDemented/$cut$.png").write_bytes(whole.read_bytes()[:900])
    (root / "test/NonDemented/empty.png").write_bytes(b"")
    colour = np.repeat(head(50, 1)[0][..., None], 3, axis=2)
    save(root / "test/NonDemented/colour.png", colour)
    save(root / "test/NonDemented/deep.png", head(51, 1)[0].astype(np.uint16) * 200)
    report = audit_folder(root, "2d").report
    check = check_of(report, "files")
    assert (check["verdict"], check["numbers"]["damaged"]) == ("WARN", 3)
    assert any("cut" in text for text in check["examples"])
    assert any("empty" in text for text in check["examples"])
    assert any("16 bits" in text for text in check["examples"])
    assert report["verdict"] == "PASS"
    assert check_of(report, "identical_files")["numbers"]["blank"] == 3


def test_files_that_are_gone_or_not_the_manifest_s_are_warned_of(tmp_path: Path) -> None:
    root = by_manifest(tmp_path / "set", fingerprint="0" * 32)
    (root / Manifest.read(root).table["path"][0]).unlink()
    check = check_of(audit_folder(root, "2d").report, "files")
    assert check["verdict"] == "WARN"
    assert check["numbers"] == {"damaged": 1, "not_as_in_manifest": PEOPLE * SLICES - 1}
    assert "not found" in check["examples"][0]


def test_a_folder_without_sides_is_judged_by_its_metadata_only(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for person, slices in enumerate(HEADS):
        for number, image in enumerate(slices):
            save(root / stage_of(person) / f"{person * SLICES + number}.png", image)
    audit = audit_folder(root, "2d")
    found = verdicts(audit.report)
    assert audit.report["verdict"] == "NOT KNOWN"
    assert (found.pop("files"), found.pop("metadata")) == ("PASS", "PASS")
    assert set(found.values()) == {"NOT KNOWN"}
    assert audit.pairs == []
    assert audit.report["n_without_side"] == PEOPLE * SLICES


def test_blank_images_alone_are_no_set_to_compare(tmp_path: Path) -> None:
    for side in ("train", "test"):
        for i in range(3):
            save(tmp_path / side / STAGES[i % 2] / f"{i}.png", np.full((9, 9), i, np.uint8))
    found = verdicts(audit_folder(tmp_path, "2d").report)
    assert found["near_duplicates"] == found["probe"] == "NOT KNOWN"


def volume(seed: int) -> np.ndarray:
    stack = head(seed, 40)[:, ::2, ::2]  # 40 slices of 39 x 33
    return (stack.transpose(2, 1, 0)[:, ::-1] / 255).astype(np.float16)


@pytest.mark.slow
def test_volumes(tmp_path: Path) -> None:
    for person in range(24):
        place = tmp_path / "set" / side_of(person) / STAGES[person // 6]
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"v{person}.npy", volume(person))
    assert audit_folder(tmp_path / "set", "3d").report["verdict"] == "PASS"
    copy = np.clip(volume(0)[::-1].astype(float) * 1.2, 0, 1).astype(np.float16)
    np.save(tmp_path / "set/test/NonDemented/copy.npy", copy)
    audit = audit_folder(tmp_path / "set", "3d")
    assert "near_duplicates" in audit.failed
    assert audit.pairs[0].paths == ("test/NonDemented/copy.npy", "train/NonDemented/v0.npy")


def test_a_volume_that_is_no_volume_is_damaged(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    np.save(tmp_path / "b.npy", np.full((5, 6, 7), np.nan))
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "d.npy", volume(0))
    damaged = read_files([tmp_path / f"{name}.npy" for name in "abcd"]).facts["damaged"]
    assert (damaged != "").tolist() == [True, True, True, False]


def kaggle_names(people: int) -> dict[tuple[int, int], str]:
    """Return (person, slice) -> file stem as the Kaggle set names a class.

    Slices 27 to 32 carry slice and person; the others a running number, slice by slice, people in
    the order of their numbers as text and person 1 last.
    """
    order = [*sorted(range(2, people + 1), key=str), 1]
    running = [(person, number) for number in range(1, 27) for person in order]
    names = {key: f"nonDem{count}" for count, key in enumerate(running)}
    for person in range(1, people + 1):
        for number in range(27, 33):
            names[person, number] = f"{number}" if person == 1 else f"{number} ({person})"
    return names


def test_people_of_the_kaggle_set_are_known_by_its_way_of_counting(tmp_path: Path) -> None:
    for (_, number), name in kaggle_names(3).items():
        side = "train" if number < 27 else "test"
        path = tmp_path / side / "NonDemented" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    data = read_set(tmp_path, "2d")
    assert data.rows["known"].all()
    assert sorted(data.rows["unit"].unique()) == [f"NonDemented_{i:03d}" for i in (1, 2, 3)]
    assert (data.rows["unit"].value_counts() == 32).all()
    (tmp_path / "train/NonDemented/nonDem7.jpg").unlink()
    assert not read_set(tmp_path, "2d").rows["known"].any()


@pytest.mark.parametrize(
    ("stem", "subject", "session"),
    [
        ("OAS1_0028_MR1_mpr-1_100", "OAS1_0028", "MR1_mpr-1"),
        ("OAS2_0001_MR2", "OAS2_0001", "MR2"),
        ("OAS30001_MR_d0129_slice07", "OAS30001", "d0129"),
        ("002_S_0295_bl_12", "002_S_0295", "bl"),
        ("sub-07_ses-b", "sub-07", "ses-b"),
        ("sub-ADNI002S0295_ses-M00_T1w", "002_S_0295", "ses-M00"),
        ("ADNI_002_S_0295_MR_MPR_Br_2006_S13408_I40966", "002_S_0295", "I40966"),
        ("PHAN_0001_MR1_slice25", "PHAN_0001", "MR1"),
    ],
)
def test_ids_in_file_names(tmp_path: Path, stem: str, subject: str, session: str) -> None:
    path = tmp_path / "train/Mild_Dementia" / f"{stem}.png"
    path.parent.mkdir(parents=True)
    path.touch()
    row = read_set(tmp_path, "2d").rows.iloc[0]
    assert (row["subject"], row["session"], row["known"]) == (subject, session, True)
    assert (row["label"], row["split"]) == ("MildDemented", "train")


def test_some_files_without_a_person_leave_people_not_known(tmp_path: Path) -> None:
    for name in ("OAS1_0001_MR1_100", "OAS1_0002_MR1_100", "copy of a slice"):
        save(tmp_path / "train/NonDemented" / f"{name}.png", HEADS[0][0])
    assert read_set(tmp_path, "2d").rows["known"].sum() == 2


def test_folders_of_sides_and_of_kinds(tmp_path: Path) -> None:
    for folder in ("a/Train", "b/validation", "c/TEST", "valid"):
        save(
            tmp_path / folder / "non demented" / f"{folder[0]}.PNG".replace("PNG", "png"),
            HEADS[0][0],
        )
    np.save(tmp_path / "valid/non demented/x.npy", volume(0))
    rows = read_set(tmp_path, "2d").rows.sort_values("path")
    assert rows["split"].tolist() == ["train", "val", "test", "val"]
    assert read_set(tmp_path, "3d").rows["path"].tolist() == ["valid/non demented/x.npy"]


def test_folders_that_cannot_be_audited(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError):
        read_set(tmp_path / "nowhere", "2d")
    with pytest.raises(DataNotFoundError):
        read_set(tmp_path, "2d")
    save(tmp_path / "train/healthy/1.png", HEADS[0][0])
    with pytest.raises(ManifestError, match="healthy"):
        read_set(tmp_path, "2d")
    (tmp_path / "x/train/NonDemented").mkdir(parents=True)
    (tmp_path / "x/train/NonDemented/1.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="of 1 file in"):
        audit_folder(tmp_path / "x", "2d")


def config(folder: Path, results: Path) -> RunConfig:
    return RunConfig(data=DataConfig(dataset="kaggle_2d", data_dir=folder), results_dir=results)


@pytest.mark.slow
def test_the_stage_fails_after_everything_is_written(tmp_path: Path) -> None:
    root = anonymous(tmp_path / "set", side=lambda number: "test" if number == 2 else "train")
    stage = run(config(root, tmp_path / "results"))
    assert [next(stage).name, next(stage).name] == ["audit.json", "audit.png"]
    with pytest.raises(AuditFailed, match="near_duplicates") as error:
        next(stage)
    assert isinstance(error.value, LeakageError)
    assert "audit.json" in error.value.hint


@pytest.mark.slow
def test_a_processed_folder_is_the_default_and_passes(tmp_path: Path) -> None:
    data = DataConfig(dataset="kaggle_2d", data_root=tmp_path)
    with pytest.raises(DataNotFoundError, match="kaggle_2d"):
        list(run(RunConfig(data=data, results_dir=tmp_path)))
    by_manifest(tmp_path / "kaggle_2d")
    written = list(run(RunConfig(data=data, results_dir=tmp_path / "results")))
    place = tmp_path / "results/kaggle_2d/audit"
    assert written == [place / "audit.json", place / "audit.png"]
    report = json.loads(written[0].read_text(encoding="utf-8"))
    eight = ("files", "people", "identical_files", "sessions", "composition")
    eight += ("near_duplicates", "metadata", "probe")
    assert {name: verdicts(report)[name] for name in eight} == dict.fromkeys(eight, "PASS")
    assert report["n_people"] == PEOPLE
    assert report["sides"] == {"train": 36, "val": 12, "test": 24}
    with Image.open(written[1]) as figure:
        assert min(figure.size) > 600


def test_the_real_set_and_its_official_split(real_data: Path) -> None:
    """People from names alone: all 200 are on both sides."""
    if not (real_data / "kaggle").is_dir():
        pytest.skip("the Kaggle set is not on this machine")
    rows = read_set(real_data / "kaggle", "2d").rows
    assert (len(rows), rows["unit"].nunique(), rows["known"].all()) == (6400, 200, True)
    sides = rows.groupby("unit")["split"].nunique()
    assert (sides == 2).all()
