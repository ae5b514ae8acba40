"""TensorBoard and MLflow, read back with their own packages."""

import contextlib
import json
import sys

import numpy as np
import pandas as pd
import pytest
from result_examples import evaluate_result
from tiny_runs import run_config, train_once

from src.config import RunConfig
from src.config.options import build_config
from src.errors import ConfigError
from src.stages import evaluate
from src.training import tracking
from src.training.tracking import open_tracker

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]


def scalars_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list] = {}
    for file in sorted(folder.glob("events*")):
        events = EventAccumulator(str(file))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((e.step, e.value) for e in events.Scalars(tag))
    return found


@pytest.fixture(scope="module")
def tracked(processed_2d, tmp_path_factory):
    root = tmp_path_factory.mktemp("tracking")
    asked = {"epochs": 2, "tensorboard": True, "mlflow": f"sqlite:///{root / 'runs.db'}"}
    with contextlib.chdir(root):  # beside a database, MLflow keeps files in ./mlruns
        checkpoint = train_once(processed_2d, root, **asked)
        config = run_config(processed_2d, root, checkpoint=str(checkpoint), **asked)
        written = list(evaluate.run(config))
    return root, config, checkpoint, written


def test_tensorboard_holds_the_history_and_the_scores(tracked):
    root, config, checkpoint, _ = tracked
    history = json.loads((checkpoint.parent / "history.json").read_text(encoding="utf-8"))
    folder = root / "results" / config.run_name
    scalars = scalars_of(folder / "tensorboard")
    assert [step for step, _ in scalars["train/train_loss"]] == history["epoch"]
    for name in ("train_loss", "val_loss", "val_balanced_accuracy", "lr"):
        values = [value for _, value in scalars[f"train/{name}"]]
        assert np.allclose(values, history[name], rtol=1e-5)
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["person"]
    for name, part in (("", "value"), ("_low", "low"), ("_high", "high")):
        ((_, value),) = scalars[f"test/accuracy{name}"]
        assert value == pytest.approx(scores["metrics"]["accuracy"][part], rel=1e-5)
    assert scalars["test/n_people"][0][1] == scores["n_people"]


def test_mlflow_holds_one_run_of_training_and_scores(tracked):
    import mlflow

    root, config, checkpoint, _ = tracked
    client = mlflow.MlflowClient(tracking_uri=config.train.mlflow)
    place = client.get_experiment_by_name("alzheimers-mri").experiment_id
    (run,) = client.search_runs([place])
    history = json.loads((checkpoint.parent / "history.json").read_text(encoding="utf-8"))
    losses = client.get_metric_history(run.info.run_id, "train/train_loss")
    assert [m.step for m in losses] == history["epoch"]
    assert np.allclose([m.value for m in losses], history["train_loss"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == config.run_name
    assert run.data.params["train.epochs"] == "2"
    assert "test/balanced_accuracy_low" in run.data.metrics
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"metrics.json", "history.json", "training_curves.png"} <= kept
    assert not any(name.endswith(".pth") for name in kept)
    memory = json.loads(
        (root / "results" / config.run_name / "mlflow.json").read_text(encoding="utf-8")
    )
    assert memory["run_id"] == run.info.run_id


def test_tracking_does_not_change_the_training(tracked, processed_2d, tmp_path):
    _, _, checkpoint, _ = tracked
    plain = train_once(processed_2d, tmp_path, epochs=2)
    history = [
        json.loads((one.parent / "history.json").read_text(encoding="utf-8"))
        for one in (checkpoint, plain)
    ]
    assert history[0] == history[1]


class Noted:
    """A sink that remembers."""

    def __init__(self):
        self.sent, self.status = [], None

    def scalars(self, values, step):
        self.sent.append((step, dict(values)))

    def keep(self, path):
        self.sent.append(path)

    def close(self, status):
        self.status = status


@pytest.mark.parametrize(
    ("stop", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED"), (None, "FINISHED")]
)
def test_how_a_run_ended_is_told(tmp_path, monkeypatch, stop, status):
    sink = Noted()
    monkeypatch.setattr(tracking, "TensorBoard", lambda folder: sink)
    config = build_config(RunConfig, {"tensorboard": True, "results_dir": str(tmp_path)})
    try:
        with open_tracker(config, "a"):
            if stop:
                raise stop
    except (KeyboardInterrupt, ValueError):
        assert stop is not None
    assert sink.status == status


def test_undefined_scores_are_left_out(tmp_path):
    result = evaluate_result()
    result["person"]["metrics"]["macro_auc"] = {"value": None, "low": None, "high": None}
    sink = Noted()
    tracking.Tracker([sink]).scored(result, [tmp_path / "a.json", tmp_path / "b.pth"])
    (_, values), kept = sink.sent
    assert "test/macro_auc" not in values
    assert values["test/accuracy"] == result["person"]["metrics"]["accuracy"]["value"]
    assert kept == tmp_path / "a.json"


def test_penalties_of_a_frozen_backbone_are_steps():
    sink = Noted()
    history = {"strength": [1.0, 2.0], "val_loss": [0.7, 0.5], "best_strength": 2.0}
    tracking.Tracker([sink]).trained(history, [])
    table = pd.DataFrame([(step, *values.items()) for step, values in sink.sent])
    assert table.to_numpy().tolist() == [
        [0, ("train/val_loss", 0.7)],
        [1, ("train/val_loss", 0.5)],
        [0, ("train/best_strength", 2.0)],
    ]


def test_a_missing_package_and_a_bad_address_are_sentences(tmp_path, monkeypatch):
    bad = build_config(RunConfig, {"mlflow": "nonsense://x", "results_dir": str(tmp_path)})
    with pytest.raises(ConfigError, match="--mlflow nonsense"), open_tracker(bad, "a"):
        pass
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match="needs mlflow"), open_tracker(bad, "a"):
        pass
