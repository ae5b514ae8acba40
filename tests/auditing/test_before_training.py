"""What is looked at before training: names where people are known, pixels where they are not."""

from __future__ import annotations

import logging

import pytest
from pictures_of_heads import MOVED, picture, write_set

from src.auditing import before_training, pairs
from src.auditing.before_training import look_for_copies, refuse_leaks
from src.auditing.verdicts import NOT_KNOWN
from src.errors import AuditFailed
from src.manifest import PEOPLE_UNKNOWN, SAME_PEOPLE

TRAIN, VAL, TEST = 20, 6, 8


def split_set(root, *stamps, leak=True):
    """Write a split; its last test image is a mirrored one of train, or of somebody else."""
    last = MOVED["mirrored"](picture(3 if leak else 77))
    pictures = [*(picture(seed) for seed in range(TRAIN + VAL + TEST - 1)), last]
    split = [*["train"] * TRAIN, *["val"] * VAL, *["test"] * TEST]
    return write_set(root, pictures, split=split).with_stamps(*stamps)


@pytest.fixture(autouse=True)
def told_and_quick(caplog, monkeypatch):
    """Align two partners of each image, not eight."""
    monkeypatch.setattr(pairs, "_MANY_PARTNERS", 2)
    caplog.set_level(logging.INFO)


def test_a_copy_of_unknown_people_on_two_sides_is_refused(tmp_path):
    with pytest.raises(
        AuditFailed, match=r"not honest: 1 of 14 images show a head of an earlier"
    ) as raised:
        refuse_leaks(split_set(tmp_path, PEOPLE_UNKNOWN), allowed=False)
    assert str(raised.value).endswith("or --allow_leaks to train anyway")


@pytest.mark.parametrize(
    ("stamps", "allowed"),
    [((PEOPLE_UNKNOWN,), True), ((PEOPLE_UNKNOWN, SAME_PEOPLE), False)],
)
def test_a_known_leak_is_let_pass(tmp_path, caplog, stamps, allowed):
    refuse_leaks(split_set(tmp_path, *stamps), allowed=allowed)
    assert ("near_duplicates FAIL" in caplog.text) == allowed  # of the stamped it is not asked


def test_where_people_are_known_their_names_tell(tmp_path, caplog):
    refuse_leaks(split_set(tmp_path), allowed=False)
    assert "audit: no leak found by 5 cheap checks" in caplog.text
    assert "FAIL" not in caplog.text


def test_an_honest_split_of_unknown_people_says_that_its_pixels_were_looked_at(tmp_path, caplog):
    refuse_leaks(split_set(tmp_path, PEOPLE_UNKNOWN, leak=False), allowed=False)
    assert "people are unknown; no image of one side shows a head of another" in caplog.text


def test_of_many_images_some_are_looked_for_and_the_sentence_says_how_many(tmp_path, monkeypatch):
    manifest = split_set(tmp_path)
    monkeypatch.setattr(before_training, "ASKED", 13)
    found = look_for_copies(manifest)
    assert found.sentence.endswith("(13 of 14 images of val and test looked for)")
    assert found.numbers["images_compared"] == 13


@pytest.mark.parametrize(("large", "said"), [(33, "among 34 images: --mode audit"), (34, "show")])
def test_of_a_large_set_it_is_said_that_nothing_was_looked_for(tmp_path, monkeypatch, large, said):
    monkeypatch.setattr(before_training, "LARGE", large)
    check = look_for_copies(split_set(tmp_path))
    assert said in check.sentence
    assert "looked for)" not in check.sentence  # of all, no share is told
    assert (check.verdict == NOT_KNOWN) == (large == 33)


def test_one_side_alone_is_not_known(tmp_path):
    manifest = write_set(tmp_path, [picture(seed) for seed in range(5)], split="train")
    assert look_for_copies(manifest).verdict == NOT_KNOWN
