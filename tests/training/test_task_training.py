"""Trainings of several tasks, whole: bits, unrated people, files, folds."""

import dataclasses
import hashlib
import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_processed
from tiny_runs import run_config, train_once

from src.cohorts.people_names import hash_subjects
from src.config import TrainConfig
from src.data.loaders import create_data_loaders
from src.errors import ConfigError, ManifestError
from src.evaluation import result_files
from src.files import read_json, write_json
from src.manifest import Manifest
from src.models.checkpoint import load_checkpoint
from src.models.create import create_model
from src.predictions import per_person
from src.report.metrics_schema import read_metrics
from src.report.own_results import read_predicted
from src.stages import crossval, evaluate
from src.stages import predict as predict_stage
from src.training.logits import predict
from src.training.task_alone import fit_stage_head, require_judges, validation_loss
from src.training.trainer import Trainer

pytestmark = pytest.mark.slow
QUICK = TrainConfig(epochs=2, batch_size=8, lr=2e-3, patience=0, tasks="stage,age,sex")
TASKS = {"tasks": "stage,age,mmse", "freeze_backbone": True}
PEOPLE = 40


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """40 rated people of two stages, with one slice each; ages follow the stage."""
    folder = tmp_path_factory.mktemp("rated") / "phantom_2d"
    make_processed(folder, "2d", people=(20, 20, 0, 0), images=1)
    made = Manifest.read(folder)
    rng = np.random.default_rng(0)
    n = len(made)
    made.with_columns(sex=rng.choice(["F", "M"], n), mmse=rng.integers(20, 31, n)).write(folder)
    return folder


@pytest.fixture(scope="module")
def folder(rated, tmp_path_factory):
    """The same, and three people without a rating."""
    folder = shutil.copytree(rated, tmp_path_factory.mktemp("all") / "phantom_2d")
    made, rows = Manifest.read(folder), []
    for number, age in enumerate((20, 35, 50)):
        path = folder / "unrated" / f"U{number}.png"
        path.parent.mkdir(exist_ok=True)
        image = cv2.imread(str(folder / made.table["path"][number]), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), image[::-1])
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        name = {"subject": f"U{number}", "session": "MR1", "cohort": "phantom", "slice": 0}
        rows.append(name | {"path": f"unrated/U{number}.png", "age": age, "fingerprint": digest})
    table = pd.concat([made.table, pd.DataFrame(rows)], ignore_index=True)
    Manifest(table, folder).write(folder)
    return folder


def trainer(folder, config=QUICK, freeze=False):
    loader, _ = create_data_loaders(folder, "phantom", "2d", 8, num_classes=2)
    weights = "none"
    model = create_model("2d", None, 2, weights=weights, freeze_backbone=freeze, seed=0)
    return Trainer(model, loader, device="cpu", config=config)


def weights_of(training, **kept):
    training.train(**kept)
    return {name: value.clone() for name, value in training.model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def test_a_resumed_training_of_several_tasks_has_the_same_bits(folder, tmp_path):
    expected = weights_of(trainer(folder), save_dir=tmp_path / "whole")
    stopped, ended = trainer(folder), []

    def stop(row):
        ended.append(row)
        raise KeyboardInterrupt

    stopped.on_epoch = stop
    with pytest.raises(KeyboardInterrupt):
        stopped.train(save_dir=tmp_path / "parts")
    resumed = trainer(folder, dataclasses.replace(QUICK, resume=True))
    assert same(weights_of(resumed, save_dir=tmp_path / "parts"), expected)
    assert len(ended) == 1
    kept = load_checkpoint(tmp_path / "parts" / "best_model.pth")
    assert same(kept["model"], expected)
    assert not torch.equal(kept["model"]["more_heads.log_variances"], torch.zeros(3))


AGE = dataclasses.replace(QUICK, tasks="age", epochs=4)


def test_without_the_stage_no_rating_teaches_the_backbone(folder):
    plain, mixed = trainer(folder, AGE), trainer(folder, AGE)
    known = mixed.tasks.labels >= 0
    mixed.tasks.labels[known] = np.random.default_rng(0).permutation(mixed.tasks.labels[known])
    mixed.train_data.labels = mixed.tasks.labels[known]
    first, second = (weights_of(one) for one in (plain, mixed))
    assert same(*({k: v for k, v in w.items() if k[:4] != "head"} for w in (first, second)))
    assert not torch.equal(first["head.weight"], second["head.weight"])
    assert len(plain.tasks) == len(plain.train_data) + 3  # unrated people train


def test_without_the_stage_the_tasks_choose_the_epoch_and_the_head_is_fitted(folder, tmp_path):
    training = trainer(folder, AGE)
    history = training.train(save_dir=tmp_path)
    losses = history["val_loss"]
    assert losses[history["best_epoch"] - 1] == min(losses)
    assert "val_balanced_accuracy" not in history
    assert f"validation loss {min(losses):.2f}" in repr(history)
    model, val = training.model, training.val_data
    said = predict(model, val, training.device)
    kept = load_checkpoint(tmp_path / "best_model.pth")
    assert same(kept["model"], model.state_dict())
    np.testing.assert_allclose(kept["validation"]["logits"], per_person(said).logits, atol=1e-5)
    # The head is the penalised fit to the features of rated training people.
    before = model.head.weight.clone()
    torch.nn.init.zeros_(model.head.weight)
    given = {"loss": "ce", "cap": AGE.class_weight_cap, "seed": AGE.seed}
    fit_stage_head(model, training.train_data, training.device, **given)
    assert before.abs().max() > 0
    torch.testing.assert_close(model.head.weight, before)
    assert validation_loss(model, val, training.device, None) == pytest.approx(min(losses), 1e-5)


def test_a_resumed_training_without_the_stage_has_the_same_bits(folder, tmp_path):
    expected = weights_of(trainer(folder, AGE), save_dir=tmp_path / "whole")
    stopped = trainer(folder, AGE)
    stopped.on_epoch = lambda row: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        stopped.train(save_dir=tmp_path / "parts")
    left = load_checkpoint(tmp_path / "parts" / "best_model.pth")
    assert left["calibration"] is not None  # a stopped training answers the stage, too
    resumed = trainer(folder, dataclasses.replace(AGE, resume=True))
    assert same(weights_of(resumed, save_dir=tmp_path / "parts"), expected)


def test_validation_people_without_an_age_cannot_choose(folder):
    training = trainer(folder, AGE)
    training.val_data.rows["age"] = pd.NA
    with pytest.raises(ManifestError, match="--tasks age: no validation person has a known age"):
        require_judges(training.val_data, ("age",))


@pytest.mark.usefixtures("few_pixels")
def test_a_brain_age_run_is_scored_and_says_what_its_stage_is_worth(folder, tmp_path):
    train_once(folder, tmp_path, run="age", tasks="age")
    list(evaluate.run(run_config(folder, tmp_path, run="age")))
    results = tmp_path / "results" / "age"
    section = read_metrics(results / "metrics.json")["tasks"]
    assert [one["name"] for one in section["tasks"]] == ["age"]
    text = (results / "metrics.md").read_text(encoding="utf-8")
    assert "## Learnt without the stage" in text
    assert "which learnt age and not the stage" in text


def test_the_stage_alone_is_learnt_as_if_nobody_else_were_there(rated, folder):
    config = dataclasses.replace(QUICK, tasks="stage", epochs=1)
    alone = weights_of(trainer(rated, config))
    assert not any(name.startswith("more_heads") for name in alone)
    assert same(weights_of(trainer(folder, config)), alone)


def test_no_task_changes_the_stage_of_a_frozen_backbone(folder, tmp_path):
    alone = weights_of(trainer(folder, dataclasses.replace(QUICK, tasks="stage"), freeze=True))
    training = trainer(folder, freeze=True)
    together = weights_of(training, save_dir=tmp_path)
    assert all(torch.equal(value, together[name]) for name, value in alone.items())
    assert training.model.task_heads.line[2] == 30  # those left out: 20 of training, 10 validate
    content = load_checkpoint(tmp_path / "best_model.pth")
    assert set(hash_subjects(["U0", "U1", "U2"])) <= set(content["subjects"])
    assert content["train_counts"] == [10, 10]


def test_too_few_answers_are_refused_before_anything_is_trained(folder):
    table = Manifest.read(folder).with_columns(mmse=None)
    loader, _ = create_data_loaders(folder, "phantom", "2d", 8, num_classes=2)
    loader.dataset.manifest = table
    loader.dataset.rows = table.in_split("train").table
    model, config = create_model("2d", None, 2, weights="none"), TrainConfig(tasks="stage,mmse")
    with pytest.raises(ManifestError, match="--tasks mmse: 0 training people have a known mmse"):
        Trainer(model, loader, config=config, device="cpu")


@pytest.mark.usefixtures("few_pixels")
def test_a_scored_run_tells_age_and_mmse_of_everyone(folder, tmp_path):
    train_once(folder, tmp_path, run="mine", **TASKS)
    list(evaluate.run(run_config(folder, tmp_path, run="mine", freeze_backbone=True)))
    results = tmp_path / "results" / "mine"
    people = pd.read_csv(results / "people.csv")
    images = pd.read_csv(results / "predictions.csv").set_index("subject")
    ages = images.loc[people["subject"], "age"].to_numpy()
    np.testing.assert_allclose(people["age_gap"], people["age_predicted"] - ages, atol=1e-3)
    assert people["mmse_predicted"].between(0, 30).all()
    np.testing.assert_allclose(
        images.loc[people["subject"], "age_predicted"], people["age_predicted"], atol=1e-3
    )  # one slice a person
    section = read_metrics(results / "metrics.json")["tasks"]
    age, mmse = section["tasks"]
    mae = (people["age_predicted"] - ages).abs().mean()
    assert age["metrics"]["mae"]["value"] == pytest.approx(mae, abs=1e-3)
    assert [rival["name"] for rival in mmse["rivals"]] == ["mean", "dark_voxels"]
    for number, group in enumerate(age["gap"]["groups"]):
        own = people[people["label"] == ["NonDemented", "VeryMildDemented"][number]]
        value = group["corrected"]["value"]
        assert value == pytest.approx(own["age_gap_corrected"].mean(), abs=1e-3)
    assert (tmp_path / "results" / "figures" / "mine" / "brain_age_gap.png").is_file()
    assert "the backbone is frozen" in (results / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("few_pixels")
def test_a_processed_data_set_is_told_the_ages_of_evaluate(folder, tmp_path):
    path = train_once(folder, tmp_path, run="mine", **TASKS)
    list(evaluate.run(run_config(folder, tmp_path, run="mine", freeze_backbone=True)))
    people = pd.read_csv(tmp_path / "results" / "mine" / "people.csv").set_index("subject")
    asked = {"input": folder, "checkpoint": path, "maps": False, "workers": 1, "report": False}
    *_, written = predict_stage.run(run_config(folder, tmp_path, run="new", **asked))
    content = read_predicted(written)
    assert content["model"]["tasks"] == ["age", "mmse"]
    told = {one["subject"]: one["tasks"] for one in content["answers"] if not one["outside"]}
    both = sorted(set(told) & set(people.index))
    assert len(both) > 5
    for name in both:
        for column in ("age_predicted", "age_gap", "age_gap_corrected", "mmse_predicted"):
            assert told[name][column] == pytest.approx(people.loc[name, column], abs=0.02)


def test_folds_answer_the_tasks_of_people_whom_they_never_saw(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(result_files, "_write_figures", lambda *_: iter(()))
    config = run_config(folder, tmp_path, folds=3, repeats=2, run="cv", **TASKS)
    list(crossval.run(config))
    results = tmp_path / "results" / "cv"
    people = pd.read_csv(results / "people.csv")
    assert people["age_predicted"].notna().sum() == 2 * PEOPLE
    unit = results / "folds" / "repeat1_fold2_seed0.json"
    content = read_json(unit)
    told = dict(zip(content["images"]["subjects"], content["tasks"]["values"], strict=True))
    own = people[(people["repeat"] == 1) & (people["fold"] == 2)]
    for row in own.itertuples():
        assert row.age_predicted == pytest.approx(told[row.subject][0], abs=1e-3)
    section = json.loads((results / "metrics.json").read_text(encoding="utf-8"))["tasks"]
    assert section["tasks"][0]["n_people"] == PEOPLE
    assert len(section["tasks"][0]["points"]) == PEOPLE

    # A damaged fold, and one of other tasks, are refused.
    write_json(unit, content | {"tasks": content["tasks"] | {"values": [[1, 2]]}})
    with pytest.raises(ManifestError, match="is damaged"):
        list(crossval.run(config))
    write_json(unit, content)
    other = run_config(folder, tmp_path, folds=3, repeats=2, run="cv", freeze_backbone=True)
    with pytest.raises(ConfigError, match="made with other settings: answers of tasks, task_w"):
        list(crossval.run(other))
