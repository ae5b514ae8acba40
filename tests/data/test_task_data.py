"""Answers beside the stage, and who without a rating may train."""

import numpy as np
import pandas as pd
import pytest
import torch

from src.data.dataset import MriDataset
from src.data.task_data import TaskDataset, unrated_for_training
from src.errors import LeakageError, ManifestError
from src.labels import class_scheme
from src.manifest import SAME_PEOPLE, Manifest


class Cache:
    """Images that are the numbers of their rows."""

    shape = (5, 4)

    def rows(self, paths):
        return np.array([int(str(path)[1:]) for path in paths])

    def read(self, places):
        return np.broadcast_to(np.asarray(places)[:, None, None], (len(places), 5, 4)).copy()


def manifest(tmp_path, people=24):
    """`people` rated ones, two thirds of them training; three who are not rated."""
    table = pd.DataFrame(
        {
            "subject": [f"S{i:02d}" for i in range(people)] + ["U0", "U1", "U2"],
            "session": "MR1",
            "path": [f"p{i}" for i in range(people + 3)],
            "label": [["NonDemented", "MildDemented"][i % 2] for i in range(people)] + [None] * 3,
            "split": [["train", "train", "val", "train", "train", "test"][i % 6]
                      for i in range(people)] + [None] * 3,
            "age": [60.0 + i for i in range(people)] + [20, 30, None],
            "sex": ["F", "M", None][0:3] * (people // 3) + ["M", None, None],
            "mmse": [30 - i % 7 for i in range(people)] + [None] * 3,
            "fingerprint": [f"f{i}" for i in range(people + 3)],
        }
    )  # fmt: skip
    return Manifest(table, tmp_path)


def rated(made):
    return MriDataset(made, "train", class_scheme(2), {}, Cache())


def with_rows(made, rows):
    return Manifest(pd.concat([made.table, pd.DataFrame(rows)], ignore_index=True), made.root)


def test_unrated_people_train_without_a_stage(tmp_path):
    made = manifest(tmp_path)
    data = TaskDataset(rated(made), ("age", "sex"))
    assert list(data.subjects[-2:]) == ["U0", "U1"]  # of U2 nothing is known
    assert len(data) == 16 + 2
    images, answers = data.__getitems__([0, 17, 16])
    assert [int(image.max()) for image in images] == [0, 25, 24]
    nan = float("nan")
    expected = torch.tensor([[0, 60, 0], [-1, 30, nan], [-1, 20, 1]])
    torch.testing.assert_close(answers, expected, equal_nan=True)
    assert data.class_counts().tolist() == rated(made).class_counts().tolist()


def test_nobody_of_the_other_sides_trains_by_a_scan_without_a_rating(tmp_path):
    made = manifest(tmp_path)
    second = {"session": "MR2", "age": 70.0}
    rows = [
        {"subject": name, "path": f"p{30 + i}", **second} for i, name in enumerate(["S02", "S00"])
    ]  # S02 is validated, S00 trains
    found = unrated_for_training(with_rows(made, rows), ("age",))
    assert found.table["subject"].tolist() == ["U0", "U1", "S00"]


def test_a_copy_of_a_test_image_is_refused(tmp_path):
    made = manifest(tmp_path)
    copy = {"subject": "U9", "session": "MR1", "path": "p40", "age": 40.0, "fingerprint": "f5"}
    with pytest.raises(LeakageError, match="p40 of U9, who is not rated"):
        unrated_for_training(with_rows(made, [copy]), ("age",))
    stamped = with_rows(made, [copy]).with_stamps(SAME_PEOPLE)
    assert len(unrated_for_training(stamped, ("age",))) == 3


def test_a_task_that_few_people_answer_is_refused(tmp_path):
    made = manifest(tmp_path)
    few = made.table["mmse"].where(np.arange(len(made)) < 6)
    with pytest.raises(ManifestError, match="--tasks mmse: 4 training people have a known mmse"):
        TaskDataset(rated(made.with_columns(mmse=few)), ("age", "mmse"))
    alike = made.with_columns(mmse=made.table["mmse"].where(made.table["mmse"].isna(), 29))
    with pytest.raises(ManifestError, match="all 16 training people have one mmse"):
        TaskDataset(rated(alike), ("mmse",))


def test_an_mmse_that_no_one_can_have_is_refused(tmp_path):
    made = manifest(tmp_path)
    with pytest.raises(ManifestError, match="MMSE is not in 0 to 30"):
        made.with_columns(mmse=31.0)
