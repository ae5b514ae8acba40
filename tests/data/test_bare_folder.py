"""Class folders without a manifest: who is cut off together, and whose copies are left out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from src.data.bare_folder import _by_likely_person, read_class_folders
from src.manifest import PEOPLE_UNKNOWN, Manifest

STAGES = ("NonDemented", "MildDemented")


def head(person: int, number: int) -> np.ndarray:
    """Return slice `number` of a person: nearly the same picture as the next (72, 60)."""
    noise = np.random.default_rng(person).integers(0, 200, (9, 7)).astype(np.uint8)
    large = cv2.resize(noise, (64, 76), interpolation=cv2.INTER_CUBIC)
    return large[number % 3 :, number % 2 :][:72, :60]


def write(root, side, stage, name, pixels):
    path = root / side / stage / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path.relative_to(root).as_posix()


def set_of_unknown(root, people=6, slices=4):
    """Write names that tell nobody; return path -> person."""
    person_of = {}
    for person in range(2 * people):
        for number in range(slices):
            name = f"{person * 7 % 12}_{number}.png"
            stage = STAGES[person % 2]
            person_of[write(root, "train", stage, name, head(person, number))] = person
    for stage in STAGES:
        write(root, "test", stage, f"held{stage}.png", head(80 + len(stage), 0))
    return person_of


@pytest.mark.parametrize("seed", range(3))
def test_validation_holds_whole_heads_where_people_are_unknown(tmp_path, seed):
    person_of = set_of_unknown(tmp_path)
    manifest = read_class_folders(tmp_path, "2d", seed)
    table = manifest.table[manifest.table["split"] != "test"]
    sides = table.groupby(table["path"].map(person_of))["split"].agg(set)
    assert (sides.map(len) == 1).all()
    assert [*sides].count({"val"}) == 2  # of each class one of six
    assert manifest.stamps == (PEOPLE_UNKNOWN,)
    assert manifest.table["subject"].tolist() == manifest.table["path"].tolist()


def manifest_of(root, heads, subjects=None):
    paths = [write(root, "train", STAGES[0], f"{i}.png", one) for i, one in enumerate(heads)]
    subject = subjects or paths
    return Manifest.from_columns(
        root, subject=subject, session=paths, path=paths, label=STAGES[0], split="train"
    )


@pytest.mark.parametrize(("people", "units"), [(1, 6), (2, 12), (3, 3), (4, 4)])
def test_a_stage_of_fewer_than_three_heads_is_cut_image_by_image(tmp_path, people, units):
    heads = [head(person, number) for person in range(people) for number in range(6)]
    cut = _by_likely_person(manifest_of(tmp_path, heads))
    assert cut.table["subject"].nunique() == units


def test_who_is_named_stays_who_they_are(tmp_path):
    heads = [head(person, number) for person in range(4) for number in range(2)]
    named = ["OAS1_0001", "OAS1_0002"]
    paths = [f"train/{STAGES[0]}/{i}.png" for i in range(2, 8)]
    subject = _by_likely_person(manifest_of(tmp_path, heads, [*named, *paths])).table["subject"]
    assert subject[:2].tolist() == named
    assert subject[2:].nunique() == 3
    assert subject[2:].str.startswith("cluster ").all()


@pytest.mark.parametrize("same", [True, False])
def test_a_copy_in_a_raw_kaggle_folder_does_not_cost_its_people(tmp_path, caplog, same):
    """One person of 32 slices: six in test by number, the rest counted in train."""
    for number in range(1, 33):
        side, name = (
            ("train", f"nonDem{number - 1}.png") if number < 27 else ("test", f"{number}.png")
        )
        write(tmp_path, side, STAGES[0], name, head(0, 0) + np.uint8(number))
    shown = head(0, 0) + np.uint8(27 if same else 40)
    write(tmp_path, "test", STAGES[0], "27 (1).png", shown)
    manifest = read_class_folders(tmp_path, "2d")
    if same:
        assert set(manifest.table["subject"]) == {"NonDemented_001"}
        assert len(manifest) == 32
        assert "left out 1 copy of other files, such as test/NonDemented/27 (1).png" in caplog.text
    else:
        assert manifest.stamps == (PEOPLE_UNKNOWN,)
        assert len(manifest) == 33
