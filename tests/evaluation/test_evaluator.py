"""The Evaluator: people first, files that parse, and scores that others compute alike."""

import copy
import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_processed
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from tiny_runs import run_config, train_once

from src.data.dataset import make_loader
from src.data.loaders import create_data_loaders, open_dataset
from src.errors import CheckpointError, ConfigError, ManifestError, MriError
from src.evaluation import judge
from src.evaluation.evaluator import Evaluator
from src.evaluation.result_files import require_whole
from src.evaluation.scored_runs import read_run
from src.labels import class_scheme
from src.manifest import Manifest, read_settings
from src.models.calibration import Calibration
from src.models.create import create_model
from src.report.metrics_schema import read_metrics
from src.report.page.gather import gather
from src.report.page.people import people_of
from src.stages import evaluate

pytestmark = pytest.mark.slow

STAMP = "people unknown"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = create_model("2d", "efficientnet_lite0", 2, pretrained=False)
    torch.nn.init.normal_(made.head.weight)
    return made.eval()


@pytest.fixture(scope="module")
def stamped(processed_2d, tmp_path_factory):
    """`processed_2d` with a stamp in its settings; read only."""
    folder = tmp_path_factory.mktemp("stamped") / "phantom_2d"
    shutil.copytree(processed_2d, folder)
    settings = read_settings(folder / "preprocessing.json") | {"stamps": [STAMP]}
    (folder / "preprocessing.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def results(model, stamped, tmp_path_factory):
    """Return the folder, and what the evaluation of the stamped data set returned; read only."""
    folder = tmp_path_factory.mktemp("results")
    (loader,) = create_data_loaders(stamped, "phantom", splits=("test",), num_classes=2)
    return folder, Evaluator(model, loader, "cpu", n_bootstrap=100).full_evaluation(folder)


def test_the_files_are_those_returned(results):
    folder, found = results
    names = {path.rsplit("/", 1)[1] for path in found["files"]}
    assert names >= {
        *("metrics.json", "metrics.md", "model_card.md", "claim_2024.md", "tripod_ai.md"),
        *("predictions.csv", "people.csv", "confusion_matrix.png", "rivals.png"),
    }
    assert sorted(str(path) for path in folder.rglob("*.*")) == sorted(found["files"])


def test_metrics_json_holds_what_is_returned(results):
    folder, found = results
    stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert stored == {name: value for name, value in found.items() if name != "files"}
    assert stored["split"] == "test"
    assert stored["classes"] == ["NonDemented", "Demented"]
    assert (stored["person"]["n_people"], stored["image"]["n_rows"]) == (4, 12)


def test_a_part_that_fails_takes_nothing_from_the_others(
    model, stamped, tmp_path, monkeypatch, caplog
):
    def broken(*_, **__):
        raise TypeError("no\nsuch thing")

    monkeypatch.setattr(judge, "retest_report", broken)
    (loader,) = create_data_loaders(stamped, "phantom", splits=("test",), num_classes=2)
    found = Evaluator(model, loader, "cpu", n_bootstrap=100).full_evaluation(tmp_path)
    stored = read_metrics(tmp_path / "metrics.json")
    assert list(stored["failed"]) == ["retest"]
    assert stored["failed"]["retest"].startswith("TypeError: no such thing (test_evaluator.py:")
    assert stored["retest"]["reason"] == f"it failed: {stored['failed']['retest']}"
    assert "retest failed: TypeError: no such thing" in caplog.text
    assert (tmp_path / "people.csv").is_file()
    with pytest.raises(MriError, match="retest failed: TypeError: no such thing"):
        require_whole(found)
    require_whole({"failed": {}})


def test_the_model_is_compared_with_every_rival_on_the_same_people(results):
    scored = [rival for rival in results[1]["rivals"] if rival["available"]]
    assert scored
    own = results[1]["person"]["metrics"]["balanced_accuracy"]["value"]
    for rival in scored:
        difference = rival["difference"]["balanced_accuracy"]
        theirs = rival["metrics"]["balanced_accuracy"]["value"]
        assert difference["value"] == pytest.approx(own - theirs)
        assert difference["low"] <= difference["high"]


def test_stamps_of_the_data_are_stamps_of_the_result(results):
    assert results[1]["stamps"] == [STAMP]


def test_a_person_counts_with_the_mean_logit(results):
    folder, _ = results
    people = pd.read_csv(folder / "people.csv").set_index("subject")
    images = pd.read_csv(folder / "predictions.csv")
    odds = np.log(images["p_Demented"] / images["p_NonDemented"])
    means = odds.groupby(images["subject"]).mean()
    found = people["logit_Demented"] - people["logit_NonDemented"]
    np.testing.assert_allclose(found.sort_index(), means, rtol=1e-3, atol=1e-4)
    assert (people["predicted"] == "Demented").equals(found > 0)


def test_probabilities_are_the_softmax_of_the_logits(results):
    table = pd.read_csv(results[0] / "people.csv")  # the model was not calibrated
    logits = table[["logit_NonDemented", "logit_Demented"]].to_numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = table[["p_NonDemented", "p_Demented"]].to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_probabilities_are_calibrated_as_the_model_carries_it(model, processed_2d, tmp_path):
    calibrated = copy.copy(model)
    calibrated.calibration = Calibration("temperature", (0.5, 0.5), (0.0, 0.0), 40, "")
    (loader,) = create_data_loaders(processed_2d, "phantom", splits=("test",), num_classes=2)
    Evaluator(calibrated, loader, "cpu", n_bootstrap=100).full_evaluation(tmp_path)
    table = pd.read_csv(tmp_path / "people.csv")
    odds = table["logit_Demented"] - table["logit_NonDemented"]
    np.testing.assert_allclose(table["p_Demented"], 1 / (1 + np.exp(-odds / 2)), atol=1e-4)


def test_people_of_another_study_are_scored_with_the_drift(processed_2d, tmp_path):
    path = train_once(processed_2d, tmp_path)
    other = make_processed(tmp_path / "other_2d", people=(8, 6, 0, 0), seed=5)
    table = Manifest.read(other).table
    renamed = table.assign(subject="OTHER_" + table["subject"])
    Manifest(renamed, other).write(other)
    config = run_config(
        other, tmp_path, dataset="phantom_2d", data_dir=other, checkpoint=path, run="abroad"
    )
    settings = read_settings(other / "preprocessing.json") | {"dataset": "other_2d"}
    (other / "preprocessing.json").write_text(json.dumps(settings), encoding="utf-8")
    list(evaluate.run(config))
    found = json.loads(
        (tmp_path / "results" / "abroad" / "metrics.json").read_text(encoding="utf-8")
    )
    assert found["person"]["n_people"] == 14  # everyone, none of them trained on
    assert found["external"]["trained_on"] == "phantom_2d"
    assert found["external"]["n_validation"] == 4
    moved = found["external"]["drift"]["macro_auc"]
    here = found["person"]["metrics"]["macro_auc"]["value"]
    assert moved["here"]["value"] == pytest.approx(here)
    difference = moved["here"]["value"] - moved["validation"]["value"]
    assert moved["difference"]["value"] == pytest.approx(difference)


def test_predictions_stand_beside_the_manifest_rows(results, stamped):
    rows = Manifest.read(stamped).in_split("test").table
    table = pd.read_csv(results[0] / "predictions.csv")
    for name in ("subject", "path", "label", "slice"):
        assert table[name].tolist() == rows[name].tolist()


@pytest.mark.parametrize("name", ["people.csv", "predictions.csv"])
def test_label_is_the_manifest_s_stage_and_class_the_scheme_s(results, stamped, name):
    table = pd.read_csv(results[0] / name)
    stages = Manifest.read(stamped).people()["label"]
    assert table["label"].tolist() == stages[table["subject"]].tolist()
    scheme = class_scheme(2)
    assert table["class"].tolist() == [scheme.classes[scheme.index(s)] for s in table["label"]]
    assert set(table["label"]) > set(table["class"]) - {"Demented"}  # two things, not one


@pytest.mark.parametrize("before", [False, True])
def test_people_are_read_back_with_and_without_their_stages(results, tmp_path, before):
    folder = shutil.copytree(results[0], tmp_path / "run")
    if before:  # until 0.1 people.csv held classes only
        table = pd.read_csv(folder / "people.csv").drop(columns="label")
        table.to_csv(folder / "people.csv", index=False)
    rows = read_run(folder, "run").rows
    table = pd.read_csv(folder / "people.csv")
    assert [results[1]["classes"][k] for k in rows.labels] == table["class"].tolist()
    (person, *_) = people_of(gather(folder), {}).rows
    assert person.truth == table.set_index("subject")["class"][person.name]


@pytest.mark.parametrize(
    ("metric", "oracle"),
    [("accuracy", accuracy_score), ("balanced_accuracy", balanced_accuracy_score)],
)
def test_scores_agree_with_scikit_learn(results, metric, oracle):
    folder, found = results
    people = pd.read_csv(folder / "people.csv")
    expected = oracle(people["class"], people["predicted"])
    assert found["person"]["metrics"][metric]["value"] == pytest.approx(expected)


def test_figures_are_pictures(results):
    for path in results[0].rglob("*.png"):
        assert min(cv2.imread(str(path)).shape[:2]) > 200


def test_the_order_of_the_loader_does_not_matter(model, processed_2d, tmp_path):
    data = open_dataset(processed_2d, "2d", class_scheme(2)).with_split("test")
    found = []
    for seed, size in ((None, 12), (3, 5)):
        loader = make_loader(data, size, seed=seed)
        evaluator = Evaluator(model, loader, "cpu", n_bootstrap=100)
        found.append(evaluator.full_evaluation(tmp_path / str(seed)))
    assert found[0]["person"] == found[1]["person"]
    assert found[0]["image"] == found[1]["image"]


def test_the_majority_is_that_of_the_training_people(results):
    assert results[1]["person"]["majority"]["class"] == "Demented"  # 8 against 4 people


def test_other_classes_are_refused(model, processed_2d):
    (loader,) = create_data_loaders(processed_2d, "phantom", splits=("test",), num_classes=3)
    with pytest.raises(ConfigError, match="2 classes, the data 3"):
        Evaluator(model, loader, "cpu")


def test_an_empty_split_is_refused(model, processed_2d):
    older = open_dataset(processed_2d, "2d", class_scheme(2), min_age=79)
    data = older.with_split("test")
    with pytest.raises(ManifestError, match="no test people"):
        Evaluator(model, torch.utils.data.DataLoader(data), "cpu")


def test_the_stage_scores_a_checkpoint_and_says_which(processed_2d, tmp_path):
    path = train_once(processed_2d, tmp_path)
    written = list(evaluate.run(run_config(processed_2d, tmp_path)))
    assert all(file.is_file() for file in written)
    metrics = json.loads(written[0].read_text(encoding="utf-8"))
    name = "phantom_2d_efficientnet_lite0_2classes"
    assert written[0] == tmp_path / "results" / name / "metrics.json"
    assert (metrics["run"], metrics["dataset"]) == (name, "phantom_2d")
    assert metrics["checkpoint"] in (str(path), str(path.parents[1] / "best_model.pth"))


def test_the_stage_writes_nothing_without_a_checkpoint(processed_2d, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        list(evaluate.run(run_config(processed_2d, tmp_path)))
    assert not (tmp_path / "results").exists()
