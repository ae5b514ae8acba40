"""Canaries: what the pipeline learns is the planted effect, and not who a person is."""

import numpy as np
import pandas as pd
import pytest

from src.config import PhantomConfig, RunConfig, TrainConfig
from src.config.options import build_config
from src.data.dataset import MriDataset, make_loader
from src.data.loaders import open_dataset
from src.evaluation.evaluator import Evaluator
from src.labels import class_scheme
from src.manifest import Manifest
from src.models.create import create_model
from src.stages.preprocess import run
from src.training.trainer import Trainer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Return a processed phantom of 90 people at 4 mm, 32^3 voxels."""
    root = tmp_path_factory.mktemp("canary")
    settings = {
        "dataset": "phantom_3d",
        "data_root": root,
        "phantom_subjects": 90,
        "phantom_voxel": 4.0,
        "volume_size": 32,
        "workers": 1,
        "test_fraction": 0.4,
    }
    assert PhantomConfig().phantom_effect == 1
    list(run(build_config(RunConfig, settings)))
    return open_dataset(root / "phantom_3d", "3d", class_scheme(2))


def shuffled_by_person(data: MriDataset, seed: int) -> MriDataset:
    """Return the data with labels exchanged among people; a person's sessions keep one label."""
    people = data.manifest.people()["label"]
    labels = np.random.default_rng(seed).permutation(people.to_numpy())
    table = data.manifest.table.copy()
    table["label"] = table["subject"].map(dict(zip(people.index, labels, strict=True)))
    manifest = Manifest(table, data.manifest.root)
    return MriDataset(manifest, "train", data.scheme, data.settings)


def score_of(data: MriDataset, tmp_path, **settings) -> dict:
    model = create_model("3d", "simple", 2)
    config = TrainConfig(**{"epochs": 10, "batch_size": 8, "patience": 0, **settings})
    Trainer(model, make_loader(data, 8, seed=0), None, "cpu", config=config).train()
    loader = make_loader(data.with_split("test"), 8)
    results = Evaluator(model, loader, "cpu", n_bootstrap=200).full_evaluation(tmp_path)
    return results["person"]["metrics"]


def test_the_planted_effect_scores_well_above_chance(phantom, tmp_path):
    metrics = score_of(phantom, tmp_path)
    assert metrics["balanced_accuracy"]["low"] > 0.65
    assert metrics["macro_auc"]["value"] > 0.85


def test_labels_shuffled_by_person_score_at_chance(phantom, tmp_path):
    metrics = score_of(shuffled_by_person(phantom, 1), tmp_path)
    assert metrics["macro_auc"]["low"] <= 0.5 <= metrics["macro_auc"]["high"]
    assert 0.3 < metrics["balanced_accuracy"]["value"] < 0.7


def test_the_canary_falls_when_people_leak(phantom, tmp_path):
    """Train on everyone, val and test people too: shuffled labels then score above chance."""
    shuffled = shuffled_by_person(phantom, 1)
    few = shuffled.manifest.table[lambda table: table["subject"] < "PHAN_0050"]
    copies = few.query("split != 'train'").assign(split="train")
    copies["session"] += "-copy"
    table = pd.concat([few, copies], ignore_index=True)
    leaked = MriDataset(Manifest(table, shuffled.manifest.root), "train", shuffled.scheme, {})
    metrics = score_of(leaked, tmp_path, epochs=20, augment="none")
    assert metrics["macro_auc"]["low"] > 0.6
