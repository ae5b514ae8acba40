"""Prediction: every row once, in order, and the model as it was."""

import numpy as np
import pytest
import torch

from src.data.dataset import MriDataset
from src.data.loaders import open_dataset
from src.errors import CheckpointError
from src.labels import class_scheme
from src.models import engine
from src.models.create import create_model
from src.training.logits import inference_batch, place, predict

CPU = torch.device("cpu")


@pytest.fixture
def data(processed_2d) -> MriDataset:
    return open_dataset(processed_2d, "2d", class_scheme(2))


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = create_model("2d", "efficientnet_lite0", 2, pretrained=False)
    torch.nn.init.normal_(made.head.weight)
    return made


def test_rows_are_in_the_order_of_the_data(model, data):
    found = predict(model, data, CPU)
    assert len(found.logits) == len(data)
    assert found.subjects.tolist() == data.subjects.tolist()
    assert found.labels.tolist() == data.labels.tolist()
    with torch.no_grad():
        one_by_one = [model.eval()(data[number][0][None])[0] for number in (0, 7, len(data) - 1)]
    expected = torch.stack(one_by_one).double().numpy()
    assert found.logits[[0, 7, -1]] == pytest.approx(expected, abs=1e-4)


def test_features_behind_the_logits_are_shown_in_order(model, data):
    shown = []
    found = predict(model, data, CPU, shown.append)
    assert found.logits == pytest.approx(predict(model, data, CPU).logits, abs=1e-5)
    features = torch.from_numpy(np.concatenate(shown))
    with torch.no_grad():
        again = model.eval().classify(features)
    assert again.numpy() == pytest.approx(found.logits, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(model, data, training):
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predict(model, data, CPU)
    assert model.training is training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_many_images_are_run_by_the_engine(model, data, monkeypatch):
    expected = predict(model, data, CPU).logits
    monkeypatch.setattr(engine, "_sessions", engine.OrderedDict())
    for threshold, engines in ((len(data) + 1, 0), (len(data), 1)):
        monkeypatch.setattr(engine, "WORTH", threshold * data.image_shape[0] * data.image_shape[1])
        assert predict(model, data, CPU).logits == pytest.approx(expected, abs=1e-4)
        assert len(engine._sessions) == engines


def test_the_mode_comes_back_after_an_error(model, data, monkeypatch):
    monkeypatch.setattr(MriDataset, "read_rows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(model.train(), data, CPU)
    assert model.training


def test_volumes_are_predicted_too(processed_3d):
    data = open_dataset(processed_3d, "3d", class_scheme(4)).with_split("test")
    found = predict(create_model("3d", "simple"), data, CPU)
    assert found.logits.shape == (len(data), 4)


def test_channels_last_changes_the_order_in_memory_only(model):
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    placed = place(model, CPU)
    assert all(torch.equal(value, weights[name]) for name, value in placed.state_dict().items())


@pytest.mark.parametrize("dim", ["2d", "3d"])
def test_a_gpu_takes_larger_batches_than_a_cpu(dim):
    assert inference_batch(dim, torch.device("cuda")) > inference_batch(dim, CPU) >= 1


def test_weights_that_diverged_are_an_error_not_a_score(model, data):
    torch.nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(CheckpointError, match=f"not finite for {len(data)} of {len(data)} images"):
        predict(model, data, CPU)
