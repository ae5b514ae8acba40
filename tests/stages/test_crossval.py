"""What cross-validation refuses before a fold is trained."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from pictures_of_heads import MOVED, picture, write_set

from src.auditing import pairs
from src.data.splits import make_folds
from src.errors import AuditFailed, ManifestError
from src.labels import class_scheme
from src.manifest import PEOPLE_UNKNOWN
from src.stages.crossval import _check_people

HEADS = 30


@pytest.fixture(autouse=True)
def told_and_quick(caplog, monkeypatch):
    """Align two partners of each image, not eight."""
    monkeypatch.setattr(pairs, "_MANY_PARTNERS", 2)
    caplog.set_level(logging.INFO)


def study(manifest, *, allow_leaks=False):
    """Return a study of 3 folds, as the check asks for it."""
    folds = make_folds(manifest, folds=3, repeats=1, val_fraction=0.2, seed=0)
    config = SimpleNamespace(
        train=SimpleNamespace(allow_leaks=allow_leaks),
        data=SimpleNamespace(seed=0),
        model=SimpleNamespace(weights=None),
    )
    data = SimpleNamespace(manifest=manifest, scheme=class_scheme(2))
    return SimpleNamespace(data=data, folds=folds, config=config)


def copied(root, *stamps):
    """Write a set that holds every third head twice, once mirrored: some fold parts such a pair."""
    heads = [picture(seed) for seed in range(HEADS)]
    pictures = [*heads, *(MOVED["mirrored"](one) for one in heads[::3])]
    labels = [
        ("NonDemented", "MildDemented")[seed % 2] for seed in [*range(HEADS), *range(0, HEADS, 3)]
    ]
    return write_set(root, pictures, label=labels, split="train").with_stamps(*stamps)


def test_copies_of_unknown_people_in_a_fold_are_refused(tmp_path, caplog):
    manifest = copied(tmp_path, PEOPLE_UNKNOWN)
    with pytest.raises(AuditFailed, match="images show a head of an earlier side"):
        _check_people(study(manifest))
    assert "the first of 3 folds is looked at before training" in caplog.text
    _check_people(study(manifest, allow_leaks=True))
    assert "near_duplicates FAIL" in caplog.text


def test_people_who_are_known_are_told_apart_by_name(tmp_path, caplog):
    _check_people(study(copied(tmp_path)))
    assert "no leak found by 3 cheap checks" in caplog.text
    assert "validation says nothing" not in caplog.text


def test_a_fold_may_differ_in_age_by_chance(tmp_path, caplog):
    chosen = study(copied(tmp_path))
    table = chosen.data.manifest.table
    first = table["subject"].isin(chosen.folds[0].test)
    chosen.data.manifest = chosen.data.manifest.with_columns(
        age=first.map({True: 20.0, False: 80.0})
    )
    _check_people(chosen)
    assert "FAIL" not in caplog.text


def test_one_class_leaves_nothing_to_tell_apart(tmp_path):
    manifest = write_set(
        tmp_path, [picture(seed) for seed in range(9)], label="NonDemented", split="train"
    )
    with pytest.raises(ManifestError, match="one class leaves nothing to tell apart"):
        _check_people(study(manifest))


def test_a_class_without_people_is_told_once_and_not_of_sides(tmp_path, caplog):
    chosen = study(copied(tmp_path))
    chosen.data.scheme = class_scheme(4)
    _check_people(chosen)
    told = [r.message for r in caplog.records if "person is" in r.message]
    assert len(told) == 1
    assert "no training person is VeryMildDemented or ModerateDemented" in told[0]
