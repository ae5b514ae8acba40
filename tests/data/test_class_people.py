"""One class is refused; a class without people on a side is told before training."""

import logging

import cv2
import numpy as np
import pytest

from src.data.class_people import require_classes, tell_one_class
from src.data.loaders import create_data_loaders
from src.errors import ManifestError
from src.labels import STAGES, class_scheme
from src.manifest import Manifest


def split(root="set", **sides):
    """Return a manifest of one person for each (side, stage number)."""
    rows = [(side, STAGES[n]) for side, stages in sides.items() for n in stages]
    return Manifest.from_columns(
        root,
        subject=[f"P{i}" for i in range(len(rows))],
        path=[f"{i}.png" for i in range(len(rows))],
        split=[side for side, _ in rows],
        label=[stage for _, stage in rows],
    )


@pytest.mark.parametrize("test", [[0], [0, 1, 2]])
def test_one_training_class_is_refused_with_those_that_are_missing(test):
    with pytest.raises(ManifestError, match=r"are NonDemented.*nobody is VeryMildDemented, Mild"):
        require_classes(split(train=[0, 0], val=[0], test=test), class_scheme(4))


@pytest.mark.parametrize(
    ("made", "fix"),
    [
        ([], "put images of other people into {}/train/NonDemented"),
        (["manifest.csv"], "to the training side of {}/manifest.csv"),
        (["manifest.csv", "preprocessing.json"], "to the raw data, then preprocess again"),
    ],
)
@pytest.mark.parametrize("classes", [4, 3, 2])
def test_the_fix_is_the_one_for_the_way_the_folder_was_made(tmp_path, made, fix, classes):
    for name in made:
        (tmp_path / name).touch()
    with pytest.raises(ManifestError) as raised:
        require_classes(split(tmp_path, train=[1, 1], val=[1]), class_scheme(classes))
    assert raised.value.hint.endswith(fix.format(tmp_path))


def test_a_class_without_training_people_is_told_with_the_flag_that_helps(caplog):
    require_classes(split(train=[0, 1, 2], val=[0, 1, 2], test=[0, 1, 2, 3]), class_scheme(4))
    assert "no training person is ModerateDemented" in caplog.text
    assert "--classes 3 joins it" in caplog.text


def test_a_class_without_validation_people_is_told_and_goes_on(caplog):
    require_classes(split(train=[0, 1, 2, 3], val=[0, 1, 2], test=[0, 1, 2, 3]), class_scheme(4))
    assert [r.message for r in caplog.records] == [
        "no validation person is ModerateDemented: validation says nothing of it"
    ]


@pytest.mark.parametrize("splits", [("train", "test"), ("test",)])
def test_loaders_for_training_are_refused_too(tmp_path, splits):
    for side, count in (("train", 4), ("test", 2)):
        (tmp_path / side / "MildDemented").mkdir(parents=True)
        for number in range(count):
            pixels = np.full((26, 22), 40 * number + len(side), np.uint8)
            path = tmp_path / side / "MildDemented" / f"OAS1_{count}00{number}_MR1.png"
            cv2.imwrite(str(path), pixels)
    if "train" in splits:
        with pytest.raises(ManifestError, match="one class leaves nothing to tell apart"):
            create_data_loaders(tmp_path, splits=splits)
    else:
        assert len(create_data_loaders(tmp_path, splits=splits)[0].dataset) == 2


def test_preprocess_tells_one_class(caplog):
    with caplog.at_level(logging.WARNING):
        tell_one_class(split(train=[1, 1], test=[1]))
    assert "3 rated people are VeryMildDemented, and nobody NonDemented" in caplog.text
