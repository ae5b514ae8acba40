"""How a scan is told from what a model has seen, and the grid that training scans share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_runs import run_config, train_once

from src.data.augment import to_unit
from src.data.run_data import open_run_data
from src.errors import CheckpointError, ImageError
from src.models.checkpoint import load_checkpoint
from src.training import compared_people
from src.training.changes import CHANGES
from src.training.likeness import NEIGHBOUR, Changed, Reference, coarse_image
from src.training.shared_grid import TrainingFrame, training_frame

RNG = np.random.default_rng(0)


def reference(people=40, width=7, known=30):
    features = RNG.normal(size=(people, width)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    mean = RNG.random((8, 28, 28)).astype(np.float32)
    return Reference(features, mean, np.linspace(0.1, 0.4, known), np.linspace(0.5, 0.9, known))


def test_distance_and_p_values_are_those_counted_by_hand():
    known = reference()
    row = RNG.normal(size=(3, 7)).astype(np.float32)
    images = torch.from_numpy(RNG.random((3, 1, 40, 44)).astype(np.float32))
    said = known.judge(row, images)
    mean = row.mean(axis=0) / np.linalg.norm(row.mean(axis=0))
    apart = sorted(np.linalg.norm(known.features - mean, axis=1))
    assert said.distance == pytest.approx(apart[NEIGHBOUR - 1], abs=1e-5)
    assert said.p_distance == pytest.approx((1 + (known.distances >= said.distance).sum()) / 31)
    coarse = coarse_image(images)
    r = np.corrcoef(coarse.ravel(), known.mean.ravel())[0, 1]
    assert said.similarity == pytest.approx(r, abs=1e-5)
    assert said.p_similarity == pytest.approx(1 / 31)  # noise is less alike than everybody
    assert said.unlike
    assert said.error_rate == pytest.approx(2 / 31)
    assert said.n_people == 30


def test_people_like_those_known_are_flagged_at_the_rate_told():
    values = np.sort(RNG.random(99))
    known = Reference(
        np.eye(9, 3, dtype=np.float32), np.zeros((8, 28, 28), np.float32), values, values
    )
    limit = known.judge(np.ones((1, 3), np.float32), torch.rand(1, 1, 32, 36)).limit
    new = RNG.random(4000)
    p = (1 + (values[None] >= new[:, None]).sum(axis=1)) / 100
    assert abs((p <= limit).mean() - limit) < 0.03


def test_a_stored_reference_is_not_trusted():
    known = reference()
    stored = known.to_dict()
    back = Reference.from_dict(stored, 7)
    np.testing.assert_allclose(back.features, known.features, atol=1e-3)
    broken = [
        {},
        None,
        stored | {"features": torch.ones(3)},
        stored | {"features": torch.full((9, 7), float("nan"))},
        stored | {"distances": [1.0]},
        stored | {"mean": torch.ones(2, 2)},
    ]
    for content in broken:
        with pytest.raises(CheckpointError, match="damaged"):
            Reference.from_dict(content, 7)
    with pytest.raises(CheckpointError):
        Reference.from_dict(stored, 8)
    with pytest.raises(ImageError, match="axes"):
        known.judge(np.ones((1, 7), np.float32), torch.rand(1, 1, 32, 32, 32))


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [True, False])
def test_training_describes_its_people_without_names(processed_2d, tmp_path, frozen):
    path = train_once(processed_2d, tmp_path, backbone="resnet18", freeze_backbone=frozen)
    content = load_checkpoint(path)
    assert "frame" in content
    stored = content["reference"]
    data = open_run_data(run_config(processed_2d, tmp_path))
    people = len(set(data.subjects)) + (len(set(data.with_split("val").subjects)) if frozen else 0)
    if stored is None:
        assert people < NEIGHBOUR + 2
        return
    known = Reference.from_dict(stored, 512)
    assert len(known.features) == people
    np.testing.assert_allclose(np.linalg.norm(known.features, axis=1), 1, atol=2e-3)
    assert not any(name in str(stored) for name in set(data.subjects))


def test_the_shared_grid_survives_its_checkpoint(processed_3d, tmp_path):
    data = open_run_data(run_config(processed_3d, tmp_path))
    stored = training_frame(data)
    if "reason" in stored:
        with pytest.raises(ImageError, match=r"\w"):
            TrainingFrame.from_dict(stored)
        return
    frame = TrainingFrame.from_dict(stored)
    assert frame.mean.shape == frame.covered.shape
    assert frame.mean.max() <= 1
    for change in (
        {"shape": [1, 2]},
        {"step": [0, 1, 1]},
        {"mean": torch.ones(2)},
        {"affine": "x"},
    ):
        with pytest.raises(CheckpointError, match="damaged"):
            TrainingFrame.from_dict(stored | change)


class Straight(torch.nn.Module):
    """A model whose features are six numbers of an image, and that has learnt nobody."""

    def __init__(self, frozen=True):
        super().__init__()
        self.frozen, self.dim = frozen, "2d"

    def embed(self, images):
        images = images.float() / (255 if images.dtype == torch.uint8 else 1)
        return torch.nn.functional.adaptive_avg_pool2d(images, (3, 2)).flatten(1) - 0.35

    def classify(self, features):
        return features[:, :2]


def compared(monkeypatch, processed, frozen=True):
    model = Straight(frozen)
    monkeypatch.setattr(
        compared_people,
        "dataset_features",
        lambda model, data, device: model.embed(to_unit(data.read_rows(range(len(data))))).numpy(),
    )
    train = open_run_data(run_config(processed, processed.parent))
    val = train.with_split("val")
    found = compared_people.compare_people(model, train, val, torch.device("cpu"), None)
    return (*found, train, val)


def test_nobody_is_compared_with_himself(monkeypatch, processed_2d):
    look, known, train, val = compared(monkeypatch, processed_2d)
    people = len({*train.subjects, *val.subjects})
    assert len(known.features) == len(known.distances) == people
    apart = np.sqrt(np.maximum(2 - 2 * known.features @ known.features.T, 0))
    others = np.sort(apart + 9 * np.eye(people), axis=1)[:, NEIGHBOUR - 1]
    np.testing.assert_allclose(known.distances, np.sort(others), atol=2e-3)
    with_himself = np.sort(apart, axis=1)[:, NEIGHBOUR - 1]
    assert (np.sort(with_himself) < known.distances - 1e-4).any()
    assert look is not None
    assert set(known.changed) == set(CHANGES)
    assert not known.arrived


def test_a_model_that_knows_its_people_by_heart_is_tried_on_others(monkeypatch, processed_2d):
    _, known, train, val = compared(monkeypatch, processed_2d, frozen=False)
    assert len(known.features) == len(set(train.subjects))
    assert len(known.distances) == len(set(val.subjects))


def test_a_scan_is_like_changed_people_as_far_as_one_in_twenty_of_them():
    known = reference()
    row, images = RNG.normal(size=(1, 7)).astype(np.float32), torch.rand(3, 1, 40, 44)
    plain = known.judge(row, images)
    further, less = np.full(40, 0.1), np.full(40, 1.0)  # of 40 people
    changed = {}
    for n_far, n_unlike in ((3, 3), (3, 1), (1, 3)):
        further[:], less[:] = 0.1, 1.0
        further[-n_far:], less[:n_unlike] = plain.distance + 0.01, plain.similarity - 0.01
        name = f"{n_far} as far, {n_unlike} as unlike"
        changed[name] = Changed(further.copy(), less.copy(), 1, (0.9, 0.7), 0.3)
    changed["by a guess"] = replace(changed["3 as far, 3 as unlike"], accuracy=(0.9, 0.3))
    said = replace(known, changed=changed).judge(row, images)
    assert said.like_changed == {"3 as far, 3 as unlike"}


def test_changed_people_come_back_and_an_older_reference_opens():
    changed = {"blurred": Changed(np.array([0.2, 0.7]), np.array([0.8, 0.9]), 3, (0.9, 0.65), 0.5)}
    stored = replace(reference(), arrived=True, changed=changed).to_dict()
    back = Reference.from_dict(stored, 7)
    assert back.arrived
    assert back.changed["blurred"].to_dict() == changed["blurred"].to_dict()
    older = {name: value for name, value in stored.items() if name not in ("arrived", "changed")}
    assert not Reference.from_dict(older, 7).arrived
    assert Reference.from_dict(older, 7).changed == {}
    for damage in ({"blurred": {}}, {"blurred": None}, [1]):
        with pytest.raises(CheckpointError, match="damaged"):
            Reference.from_dict(stored | {"changed": damage}, 7)
    content = changed["blurred"].to_dict()
    damages = [{"distances": []}, {"distances": [float("nan")]}, {"accuracy": [1.0]}]
    for part in [
        *damages,
        {"similarities": []},
        {"similarities": None},
        {"chance": None},
        {"chance": float("nan")},
    ]:
        with pytest.raises(CheckpointError, match="damaged"):
            Reference.from_dict(stored | {"changed": {"blurred": content | part}}, 7)
