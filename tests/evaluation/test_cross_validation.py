"""Cross-validation: everyone is tested once a repeat, folds resume, and nothing leaks."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_processed
from tiny_runs import run_config

from src.data.splits import folds_hash
from src.errors import ConfigError, LeakageError, ManifestError
from src.evaluation import cross_validation, result_files
from src.evaluation.fold_training import FoldTraining
from src.evaluation.metrics.scores import METRICS
from src.evaluation.metrics.significance import corrected_interval
from src.evaluation.out_of_fold import FOLD_METRICS
from src.files import read_json
from src.manifest import Manifest
from src.predictions import Predictions, unweighted
from src.stages import crossval

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"freeze_backbone": True, "folds": 3, "repeats": 2}
STUDY = "phantom_2d_efficientnet_lite0_2classes_crossval"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("crossval") / "phantom_2d"
    return make_processed(root, "2d", people=(12, 9, 6, 5), images=2)


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    """Return the config and the results' folder of a finished study; read only."""
    config = run_config(data, tmp_path_factory.mktemp("done"), **SETTINGS)
    list(crossval.run(config))
    return config, config.results_dir / STUDY


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A folder of 12 people with one slice each, for whole networks; read only."""
    root = tmp_path_factory.mktemp("few") / "phantom_2d"
    return make_processed(root, "2d", people=(6, 6, 0, 0), images=1)


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory):
    """The results' folder of a study of which one fold of each repeat is done; read only."""
    root = tmp_path_factory.mktemp("begun")
    list(crossval.run(run_config(data, root, **SETTINGS, fold=1, run="mine")))
    return root / "results" / "mine"


@pytest.fixture
def mine(begun, tmp_path):
    """A copy of `begun` to go on with, or to spoil."""
    return Path(shutil.copytree(begun, tmp_path / "results" / "mine"))


@pytest.fixture
def undrawn(monkeypatch):
    """Draw nothing: the figures of a study are drawn for `done`."""
    monkeypatch.setattr(result_files, "_write_figures", lambda *_: iter(()))


def read_people(folder):
    return pd.read_csv(folder / "people.csv")


def test_everyone_is_answered_once_in_each_repeat(done):
    people = read_people(done[1])
    assert len(people) == 2 * 32
    for _, repeat in people.groupby("repeat"):
        assert repeat["subject"].nunique() == len(repeat) == 32
    assert sorted(people["fold"].unique()) == [0, 1, 2]


def test_nobody_is_answered_by_a_model_that_learnt_from_them(done):
    folds = pd.read_csv(done[1] / "folds.csv").set_index(["repeat", "subject", "fold"])["side"]
    for row in read_people(done[1]).itertuples():
        assert folds[row.repeat, row.subject, row.fold] == "test"


def test_the_metrics_are_those_of_the_table(done):
    results = read_json(done[1] / "metrics.json")
    people = read_people(done[1])
    classes = results["classes"]
    labels = people["class"].map(classes.index).to_numpy()
    logits = np.log(people[[f"p_{name}" for name in classes]].to_numpy())
    rows = Predictions(labels, logits, people["subject"].to_numpy())
    for name in ("balanced_accuracy", "macro_auc"):
        expected = float(METRICS[name](unweighted(rows))[0])
        assert results["person"]["metrics"][name]["value"] == pytest.approx(expected, abs=1e-3)
    assert results["kind"] == "crossval"
    assert results["split"] == "out-of-fold"
    assert results["person"]["n_people"] == 32
    assert results["person"]["n_rows"] == 64


def test_every_answer_names_stage_and_class(done, data):
    people = read_people(done[1])
    stages = Manifest.read(data).people()["label"]
    assert people["label"].tolist() == stages[people["subject"]].tolist()
    assert ((people["label"] == "NonDemented") == (people["class"] == "NonDemented")).all()


def test_folds_and_their_spread_are_told(done):
    section = read_json(done[1] / "metrics.json")["crossval"]
    people = read_people(done[1])
    assert (section["folds"], section["repeats"], section["seeds"]) == (3, 2, 1)
    assert len(section["per_fold"]) == 6
    assert section["spread"]["balanced_accuracy"]["sd_seeds"] is None
    scores = []
    for _, fold in people.groupby(["repeat", "fold"]):
        right = fold["class"] == fold["predicted"]
        scores.append(right.groupby(fold["class"]).mean().mean())
    told = [fold["metrics"]["balanced_accuracy"] for fold in section["per_fold"]]
    np.testing.assert_allclose(told, scores)
    n_test = 32 / 3
    expected = corrected_interval(scores, 32 - n_test, n_test)
    assert section["corrected"]["balanced_accuracy"] == pytest.approx(expected)
    by_repeat = [
        (r["class"] == r["predicted"]).groupby(r["class"]).mean().mean()
        for _, r in people.groupby("repeat")
    ]
    expected = pytest.approx(np.std(by_repeat, ddof=1))
    assert section["spread"]["balanced_accuracy"]["sd_repeats"] == expected


def test_rivals_have_the_same_people(done):
    rivals = read_json(done[1] / "metrics.json")["rivals"]
    by_name = {rival["name"]: rival for rival in rivals}
    assert by_name["dark_voxels"]["available"]
    assert by_name["dark_voxels"]["n_people"] == 32
    assert not by_name["table"]["available"]


def test_a_second_run_trains_nothing(done, undrawn, monkeypatch):
    config, folder = done
    before = read_people(folder)
    monkeypatch.setattr(FoldTraining, "fit", lambda *a, **k: pytest.fail("trained again"))
    list(crossval.run(config))
    pd.testing.assert_frame_equal(read_people(folder), before)


def test_folds_alone_give_what_all_together_give(done, data, undrawn, tmp_path):
    folder = tmp_path / "results" / STUDY
    shutil.copytree(done[1] / "folds", folder / "folds")
    for repeat, fold in ((0, 1), (1, 2)):  # the last ones
        (folder / "folds" / f"repeat{repeat}_fold{fold}_seed0.json").unlink()
    for repeat, fold in ((0, 1), (1, 2)):
        list(crossval.run(run_config(data, tmp_path, **SETTINGS, fold=fold, repeat=repeat)))
        assert not (folder / "metrics.json").exists()  # two last tasks would both write it
    list(crossval.run(run_config(data, tmp_path, **SETTINGS, collect=True)))
    pd.testing.assert_frame_equal(read_people(folder), read_people(done[1]), rtol=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_what_holds_for_every_fold_is_logged_once(few, undrawn, tmp_path, caplog, frozen):
    with caplog.at_level("INFO"):
        settings = {"freeze_backbone": frozen, "folds": 2, "repeats": 1}
        list(crossval.run(run_config(few, tmp_path, **settings)))
    for start in ("device: cpu", "backbone: efficientnet_lite0"):
        assert sum(text.startswith(start) for text in caplog.messages) == 1
    once = "backbone frozen" if frozen else "learning rate"
    assert sum(text.startswith(once) for text in caplog.messages) == 1
    each = "penalty" if frozen else "epoch 1/1"
    assert sum(text.startswith(each) for text in caplog.messages) == 2


def test_collecting_too_early_says_how_many_are_missing(data, mine, tmp_path):
    with pytest.raises(ManifestError, match="4 of 6 folds are missing"):
        list(crossval.run(run_config(data, tmp_path, **SETTINGS, collect=True, run="mine")))


def test_folds_of_other_settings_are_not_mixed(data, mine, tmp_path):
    with pytest.raises(ConfigError, match="made with other settings: loss"):
        list(crossval.run(run_config(data, tmp_path, **SETTINGS, loss="ce", run="mine")))


def test_tasks_at_the_same_time_give_what_one_after_the_other_gives(done, data, tmp_path):
    shutil.copytree(data, tmp_path / "phantom_2d", ignore=shutil.ignore_patterns(".*"))
    words = "--mode crossval --dataset phantom_2d --freeze_backbone --folds 3 --repeats 2"
    words += " --epochs 1 --classes 2 --weights none --bootstrap 100 --device cpu"
    places = [f"--{n}={tmp_path / n}" for n in ("results_dir", "checkpoint_dir", "cache_dir")]
    command = [sys.executable, "main.py", *words.split(), *places, f"--data_root={tmp_path}"]
    tasks = [
        subprocess.Popen([*command, "--repeat", "0", "--fold", str(fold)], cwd=ROOT)
        for fold in (0, 1)
    ]
    assert [task.wait(240) for task in tasks] == [0, 0]
    folder = tmp_path / "results_dir" / done[1].name
    written = sorted(path.name for path in folder.rglob("*"))
    assert written == [
        *("config.json", "folds", "folds.csv"),
        *("repeat0_fold0_seed0.json", "repeat0_fold1_seed0.json", "split.csv"),
    ]
    assert (folder / "folds.csv").read_bytes() == (done[1] / "folds.csv").read_bytes()
    for name in written[3:-1]:
        alone = read_json(done[1] / "folds" / name)
        assert read_json(folder / "folds" / name) == alone


def test_files_that_tasks_share_are_written_once_and_name_no_task(data, tmp_path):
    places = {"run": "mine", "cache_dir": tmp_path / "a"}
    list(crossval.run(run_config(data, tmp_path, **SETTINGS, **places, fold=1, repeat=0)))
    shared = [tmp_path / "results" / "mine" / name for name in ("folds.csv", "config.json")]
    before = [(path.stat().st_ino, path.read_bytes()) for path in shared]
    places["cache_dir"] = tmp_path / "b"
    list(crossval.run(run_config(data, tmp_path, **SETTINGS, **places, fold=2, repeat=1)))
    assert [(path.stat().st_ino, path.read_bytes()) for path in shared] == before
    told = read_json(shared[1])
    assert told["crossval"] == {
        **{"folds": 3, "repeats": 2, "seeds": 1, "fold": None, "repeat": None},
        **{"collect": False, "hold_out": None, "harmonise": None, "learning_curve": False},
        "keep_models": False,
    }
    assert told["data"]["cache_dir"] is None


def test_folds_that_were_trained_are_not_overwritten_by_others(data, mine, tmp_path):
    path = mine / "folds.csv"
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"folds\.csv was made with other settings: folds"):
        list(crossval.run(run_config(data, tmp_path, **{**SETTINGS, "folds": 4}, run="mine")))
    assert path.read_bytes() == before


def test_a_damaged_fold_is_named(data, mine, tmp_path):
    path = mine / "folds" / "repeat0_fold1_seed0.json"
    path.write_text(path.read_text(encoding="utf-8")[:200], encoding="utf-8")
    with pytest.raises(ManifestError, match=r"repeat0_fold1_seed0.json is damaged"):
        list(crossval.run(run_config(data, tmp_path, **SETTINGS, fold=1, run="mine")))


def test_a_split_with_the_same_people_is_refused(data, tmp_path):
    folder = tmp_path / "phantom_2d"
    shutil.copytree(data, folder)
    settings = read_json(folder / "preprocessing.json")
    stamped = settings | {"stamps": ["same people in train and test"]}
    (folder / "preprocessing.json").write_text(json.dumps(stamped), encoding="utf-8")
    with pytest.raises(LeakageError, match="same people on both sides"):
        list(crossval.run(run_config(folder, tmp_path, **SETTINGS)))


def test_networks_are_trained_in_each_fold_and_seeds_differ(few, tmp_path):
    config = run_config(few, tmp_path, folds=2, repeats=1, seeds=2, batch_size=4)
    list(crossval.run(config))
    results = tmp_path / "results" / STUDY
    people = read_people(results)
    assert len(people) == 12 * 2
    by_seed = {seed: rows["logit_Demented"].to_numpy() for seed, rows in people.groupby("seed")}
    assert not np.allclose(by_seed[0], by_seed[1])
    section = read_json(results / "metrics.json")["crossval"]
    assert section["spread"]["macro_auc"]["sd_seeds"] is not None
    kept = sorted(p.name for p in (tmp_path / "checkpoints").rglob("*.pth"))
    assert kept == ["best_model.pth"] * 4


def test_heads_are_kept_where_that_is_asked_and_made_later_if_need_be(data, done, tmp_path):
    assert not list(done[0].checkpoint_dir.rglob("*.pth"))
    shutil.copytree(done[1], tmp_path / "results" / STUDY)
    before = (tmp_path / "results" / STUDY / "people.csv").read_bytes()
    list(crossval.run(run_config(data, tmp_path, **SETTINGS, keep_models=True)))
    kept = sorted((tmp_path / "checkpoints" / STUDY).rglob("*.pth"))
    assert [path.parent.name for path in kept] == [f"repeat0_fold{k}_seed0" for k in range(3)]
    assert (tmp_path / "results" / STUDY / "people.csv").read_bytes() == before
    with pytest.raises(ConfigError, match="no --keep_models"):
        run_config(data, tmp_path, **SETTINGS, keep_models=True, harmonise="combat")


def test_shuffled_labels_are_trained_again_and_kept(data, tmp_path, request):
    settings = {**SETTINGS, "folds": 2, "repeats": 1, "permute_labels": 2}
    config = run_config(data, tmp_path, **settings)
    list(crossval.run(config))
    folder = tmp_path / "results" / STUDY
    section = read_json(folder / "metrics.json")["permutation"]
    assert section["n"] == 2
    assert set(section["null"]) == set(FOLD_METRICS)
    null, seen = section["null"]["macro_auc"], section["observed"]["macro_auc"]
    assert len(null) == 2
    p = (1 + sum(value >= seen for value in null)) / 3
    assert section["p"]["macro_auc"] == pytest.approx(p)
    kept = read_json(folder / "permutation.json")["null"]
    request.getfixturevalue("undrawn")
    list(crossval.run(run_config(data, tmp_path, **{**settings, "permute_labels": 3})))
    assert read_json(folder / "permutation.json")["null"][:2] == kept


def test_the_hash_names_the_folds(done, data):
    section = read_json(done[1] / "metrics.json")["crossval"]
    study = cross_validation.Study(done[0])
    assert section["folds_hash"] == folds_hash(study.folds)
    assert len(Manifest.read(data)) == 64


def test_folds_of_an_older_version_are_not_mixed(data, mine, tmp_path, monkeypatch):
    monkeypatch.setattr(cross_validation, "VERSION", cross_validation.VERSION + 1)
    with pytest.raises(ConfigError, match="other settings: version"):
        list(crossval.run(run_config(data, tmp_path, **SETTINGS, fold=1, run="mine")))
