"""How a scan is told from what a model has seen, and the grid that training scans share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_runs import run_config, train_once

from src.data.run_data import open_run_data
from src.errors import CheckpointError, ImageError
from src.models.checkpoint import load_checkpoint
from src.training.likeness import NEIGHBOUR, Reference, coarse_image
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
