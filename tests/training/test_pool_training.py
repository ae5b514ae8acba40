"""Slices weighed end to end: bags, the same bits after a stop, the checkpoint, and its answers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_processed
from tiny_runs import run_config

from src.config import RunConfig, TrainConfig
from src.config.options import build_config
from src.data.dataset import BagBatches, require_slices
from src.data.loaders import create_data_loaders
from src.errors import CheckpointError, ConfigError
from src.evaluation.open_checkpoint import load_trained
from src.inference.ensemble import ensemble_of
from src.models.checkpoint import load_tensors, save_tensors
from src.models.create import create_model
from src.predictions import per_person
from src.stages import evaluate, export, train
from src.training.logits import predict
from src.training.trainer import Trainer

CPU = torch.device("cpu")
QUICK = TrainConfig(epochs=2, batch_size=8, lr=2e-3, patience=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_processed(tmp_path_factory.mktemp("pool") / "phantom_2d", "2d", images=3)


def trainer(folder, pool, *, config=QUICK, freeze=False):
    loaders = create_data_loaders(
        folder, "phantom", "2d", 8, splits=("train", "val"), num_classes=2
    )
    kinds = {"pretrained": False, "freeze_backbone": freeze, "pool": pool}
    return Trainer(
        create_model("2d", "resnet18", 2, **kinds), *loaders, device="cpu", config=config
    )


@pytest.mark.parametrize("batch_size", [8, 16, 4])
def test_an_epoch_shows_every_slice_once_in_bags_of_one_scan(batch_size):
    scans = np.repeat([4, 0, 2], [20, 3, 9])
    batches = BagBatches(scans, batch_size, seed=1)
    orders = []
    for epoch in (1, 2, 1):
        batches.epoch = epoch
        bags = [bag for batch in batches.bags() for bag in batch]
        assert all(len(set(scans[bag])) == 1 for bag in bags)
        assert max(map(len, bags)) <= min(batch_size, 8)
        rows = list(batches)
        assert len(rows) == len(batches)
        assert max(map(len, rows)) <= batch_size
        assert [*map(int, np.concatenate(bags))] == [row for batch in rows for row in batch]
        assert sorted(np.concatenate(bags)) == list(range(len(scans)))
        orders.append(np.concatenate(bags).tolist())
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_bits(folder, tmp_path):
    pool = "attention"
    whole = trainer(folder, pool)
    expected = whole.train(save_dir=tmp_path / "whole")
    stopped = trainer(folder, pool)
    end_epoch = stopped._end_epoch

    def interrupt(*arguments):
        end_epoch(*arguments)
        raise KeyboardInterrupt

    stopped._end_epoch = interrupt
    with pytest.raises(KeyboardInterrupt):
        stopped.train(save_dir=tmp_path / "stopped")
    again = trainer(folder, pool, config=dataclasses.replace(QUICK, resume=True))
    assert again.train(save_dir=tmp_path / "stopped") == expected
    theirs = again.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in whole.model.state_dict().items())
    other = trainer(folder, "mean", config=dataclasses.replace(QUICK, resume=True))
    with pytest.raises(CheckpointError, match="other settings: pool"):
        other.train(save_dir=tmp_path / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pool", "freeze"), [("attention", False), ("attention", True), ("max", True)]
)
def test_a_checkpoint_answers_as_the_model_did_in_every_way_of_asking(
    folder, tmp_path, pool, freeze
):
    trained = trainer(folder, pool, freeze=freeze)
    trained.train(save_dir=tmp_path)
    if trained.model.attention is not None and not freeze:
        assert trained.model.attention.score.weight.abs().max() > 0  # it was learnt
    model, content = load_trained(tmp_path / "best_model.pth")
    assert content["pool"] == model.pooling == pool
    data = trained.train_data.with_split("test")
    said = predict(model, data, CPU)
    assert np.bincount(said.people, said.weights) == pytest.approx(np.ones(said.n_people))
    expected = predict(trained.model.eval(), data, CPU)
    np.testing.assert_allclose(said.weights, expected.weights, atol=1e-6)
    one = said.people == 1
    people = per_person(said)
    np.testing.assert_allclose(people.logits[1], said.weights[one] @ said.logits[one])
    if pool == "attention":  # the weights are the softmax of the scores
        rows = np.flatnonzero(one)
        with torch.no_grad():
            features = model.embed(data.read_rows(rows))
            scores = model.attention(features, data.places[rows]).softmax(dim=0)
        np.testing.assert_allclose(said.weights[one], scores, atol=1e-5)
    asked = ensemble_of([model], CPU, tmp_path)
    images = data.read_rows(np.flatnonzero(one)).float() / 255
    answer = asked.answer(images, tuple(data.rows["slice"][one]))
    np.testing.assert_allclose(answer.logits[0], people.logits[1], atol=1e-4)


@pytest.mark.slow
def test_weights_are_in_the_table_of_images_and_export_is_refused(folder, tmp_path):
    config = run_config(folder, tmp_path, pool="attention", freeze_backbone=True, classes=2)
    list(train.run(config))
    written = {path.name: path for path in evaluate.run(config)}
    table = pd.read_csv(written["predictions.csv"])
    assert table.groupby("subject")["weight"].sum().to_numpy() == pytest.approx(1, abs=1e-5)
    people = pd.read_csv(written["people.csv"]).set_index("subject")
    assert sorted(people.index) == sorted(set(table["subject"]))
    with pytest.raises(ConfigError, match="what each weighs would be lost"):
        list(export.run(config))


@pytest.mark.slow
def test_a_damaged_pool_and_missing_attention_are_sentences(folder, tmp_path):
    trainer(folder, "attention", freeze=True).train(save_dir=tmp_path)
    path = tmp_path / "best_model.pth"
    content = load_tensors(path)
    save_tensors(path, content | {"pool": "median"})
    with pytest.raises(CheckpointError, match="its pool 'median' is none of mean, max, attention"):
        load_trained(path)
    save_tensors(path, {name: value for name, value in content.items() if name != "pool"})
    with pytest.raises(CheckpointError, match="attention"):  # of before there were pools: the mean
        load_trained(path)
    model = content["model"]
    old = {name: value for name, value in model.items() if not name.startswith("attention.")}
    kept = {name: value for name, value in content.items() if name != "pool"}
    save_tensors(path, kept | {"model": old})
    assert load_trained(path)[0].pooling == "mean"


def test_one_slice_a_person_volumes_and_parts_are_refused(folder, tmp_path):
    single = make_processed(tmp_path / "phantom_2d", "2d", images=1)
    with pytest.raises(ConfigError, match=r"each scan in .* has one image") as found:
        trainer(single, "attention")
    assert "--num_slices 16" in found.value.hint
    require_slices(trainer(single, "mean").train_data, "mean")
    with pytest.raises(ConfigError, match="in one process and one part"):
        trainer(folder, "max", config=dataclasses.replace(QUICK, accumulate=2))
    with pytest.raises(ConfigError, match="a volume is one image") as found:
        build_config(RunConfig, {"pool": "attention", "dataset": "phantom_3d"})
    assert found.value.hint.endswith("--dataset phantom_2d")
