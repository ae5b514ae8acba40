"""Copies that clusters of near-duplicates miss are one subject before a split is made."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from pictures_of_heads import MOVED, picture, write_set

from src.auditing.copies import join_copies
from src.errors import ManifestError

HEADS = 24


@pytest.mark.parametrize("how", MOVED)
def test_a_copy_takes_its_original_s_name_and_counts_its_slices(tmp_path, caplog, how):
    pictures = [picture(seed) for seed in range(HEADS)]
    manifest = write_set(tmp_path, [*pictures, MOVED[how](picture(5)), picture(99)])
    joined = join_copies(manifest).table
    assert joined["subject"].tolist() == [*(f"C{n:02d}" for n in range(HEADS)), "C05", "C25"]
    assert joined["slice"].tolist() == [*[1] * HEADS, 2, 1]
    assert joined["path"].tolist() == manifest.table["path"].tolist()
    assert "1 cluster of near-duplicates was joined with others" in caplog.text
    assert "25 are left" in caplog.text


def test_whole_clusters_are_joined_and_so_are_copies_of_several_originals(tmp_path, caplog):
    pictures = [picture(seed) for seed in range(HEADS)]
    copies = [MOVED["mirrored"](picture(3)), picture(50), MOVED["turned"](picture(8))]
    manifest = write_set(tmp_path, [*pictures, *copies])
    subject = manifest.table["subject"].replace({"C25": "C24", "C26": "C24"})  # one cluster
    joined = join_copies(manifest.with_columns(subject=subject, slice=range(HEADS + 3)))
    assert set(joined.table["subject"][[3, 8, 24, 25, 26]]) == {"C03"}
    assert joined.table["subject"].nunique() == HEADS - 1
    assert "2 clusters of near-duplicates were joined with others" in caplog.text


def test_copies_of_one_head_are_joined_though_each_has_nearer_ones(tmp_path):
    heads = [picture(seed) for seed in range(10, 34)]
    near = [picture(60) + np.uint8(level) for level in range(4)]
    moved = [MOVED["turned"](one) for one in near]
    labels = [*["NonDemented", "MildDemented"] * 12, *["NonDemented"] * 8]
    manifest = write_set(tmp_path, [*heads, *near, *moved], label=labels)
    assert join_copies(manifest).table["subject"][24:].nunique() == 1


def test_a_set_without_copies_comes_back_as_it_is(tmp_path, caplog):
    manifest = write_set(tmp_path, [picture(seed) for seed in range(HEADS)])
    with caplog.at_level(logging.INFO):
        assert join_copies(manifest) is manifest
    assert "joined" not in caplog.text


def test_a_set_whose_heads_are_all_alike_is_refused(tmp_path):
    alike = [picture(0) + np.uint8(3 * number) for number in range(15)]
    manifest = write_set(tmp_path, [*alike, picture(1)], label="MildDemented")
    with pytest.raises(ManifestError, match=r"15 of its 16 images are so much alike.*\n.*P01_MR1"):
        join_copies(manifest)
