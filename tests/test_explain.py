"""The gradcam stage: test people only, a figure per class, a table of what is shown."""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_runs import run_config, train_once

from src.augment import to_unit
from src.calibration import Calibration
from src.errors import CheckpointError
from src.explain import choose_people, explain_people, run
from src.labels import class_scheme
from src.loaders import open_dataset
from src.manifest import Manifest
from src.trained import open_trained

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["2d", "3d"])
def processed(request):
    return request.getfixturevalue(f"processed_{request.param}")


@pytest.fixture(scope="module")
def root(processed, tmp_path_factory):
    """A folder with a trained run; its results are written once."""
    folder = tmp_path_factory.mktemp("run")
    train_once(processed, folder)
    return folder


@pytest.fixture(scope="module")
def written(processed, root):
    return {path.name: path for path in run(run_config(processed, root, samples=2))}


@pytest.fixture(scope="module")
def trained(processed, root):
    return open_trained(run_config(processed, root))


def test_one_figure_per_class_with_test_people_and_a_table(written):
    assert sorted(written) == ["Demented.png", "NonDemented.png", "maps.csv"]
    for name in ("Demented.png", "NonDemented.png"):
        assert min(cv2.imread(str(written[name])).shape[:2]) > 200


def test_the_table_names_test_people_only(written, processed):
    rows = Manifest.read(processed).in_split("test").table
    table = pd.read_csv(written["maps.csv"])
    assert set(table["subject"]) <= set(rows["subject"])
    assert set(table["path"]) <= set(rows["path"])
    assert table["subject"].is_unique


def test_the_first_people_of_each_class_are_shown(written):
    table = pd.read_csv(written["maps.csv"])
    shown = table.groupby("class")["subject"].apply(list).to_dict()
    assert shown == {"NonDemented": ["PHAN_0003"], "Demented": ["PHAN_1003", "PHAN_2003"]}


def test_people_are_chosen_from_the_split_at_hand(processed_2d):
    data = open_dataset(processed_2d, "2d", class_scheme(4)).with_split("test")
    chosen = choose_people(data, 5)
    assert list(chosen) == [f"PHAN_{stage}003" for stage in range(4)]
    for subject, numbers in chosen.items():
        assert set(data.subjects[numbers]) == {subject}
        assert len(numbers) == 3


def test_maps_have_the_size_of_the_image_and_lie_in_0_to_1(trained):
    table = explain_people(trained, choose_people(trained.data, 1), CPU, "predicted")
    for row in table.to_dict("records"):
        assert row["cam"].shape == row["image"].shape == tuple(trained.data[0][0].shape[1:])
        assert row["cam"].min() >= 0
        assert row["cam"].max() <= 1


@pytest.mark.parametrize("target", ["predicted", "true"])
def test_the_class_asked_for_is_explained(trained, target):
    table = explain_people(trained, choose_people(trained.data, 4), CPU, target)
    expected = table["predicted"] if target == "predicted" else table["class"]
    assert table["explained"].tolist() == expected.tolist()
    assert set(table["class"]) == {"NonDemented", "Demented"}


def test_the_image_shown_speaks_most_for_the_class(trained):
    chosen = choose_people(trained.data, 1)
    table = explain_people(trained, chosen, CPU, "true")
    for row in table.to_dict("records"):
        numbers = chosen[row["subject"]]
        k = trained.data.scheme.classes.index(row["explained"])
        with torch.no_grad():
            images = torch.stack([trained.data[n][0] for n in numbers])
            logits = trained.model(to_unit(images)).double()
        best = numbers[int(logits.log_softmax(1)[:, k].argmax())]
        assert row["path"] == trained.data.rows["path"].iloc[best]
        mean = logits.mean(0).softmax(0)[k].item()
        assert row["p"] == pytest.approx(mean, abs=1e-4)
        assert np.isfinite(row["cam"]).all()


def test_untrained_weights_are_never_explained(processed_2d, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint of phantom_2d"):
        list(run(run_config(processed_2d, tmp_path)))
    assert not (tmp_path / "results").exists()


def test_the_probability_told_is_the_calibrated_one(trained):
    chosen = choose_people(trained.data, 1)
    before = explain_people(trained, chosen, CPU, "predicted")["p"].to_numpy()
    model = trained.model
    kept = model.calibration
    model.calibration = Calibration("temperature", (0.5, 0.5), (0.0, 0.0), 40, "")
    try:
        after = explain_people(trained, chosen, CPU, "predicted")["p"].to_numpy()
    finally:
        model.calibration = kept
    odds = np.log(before / (1 - before)) / 2
    np.testing.assert_allclose(after, 1 / (1 + np.exp(-odds)), atol=1e-6)
