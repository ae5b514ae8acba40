"""A training that takes an older one's place says so, and takes its scores away with the model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from src.config import RunConfig
from src.config.options import build_config, config_to_dict
from src.data.run_data import as_made
from src.evaluation.result_files import remove_results
from src.files import write_json
from src.stages.train import _scores_go_with_their_model
from src.training.replaced import replaces

DAY = 1_772_366_400  # 2026-03-01, noon


def _config(root: Path, **train: Any) -> RunConfig:
    places = {"checkpoint_dir": str(root / "checkpoints"), "results_dir": str(root / "results")}
    return build_config(RunConfig, {"train": train, **places})


def _trained(root: Path, **train: Any) -> RunConfig:
    """Leave what a training and its scoring leave; return its settings."""
    config = _config(root, **train)
    best = config.checkpoint_dir / config.run_name / "best_model.pth"
    best.parent.mkdir(parents=True)
    best.write_bytes(b"x")
    os.utime(best, (DAY, DAY))
    results = config.results_dir
    write_json(results / config.run_name / "config.json", config_to_dict(config))
    write_json(results / config.run_name / "metrics.json", {"kind": "evaluate"})
    for place in ("{}/people.csv", "{}/report.html", "{}/metrics.md", "figures/{}/roc.png",
                  "figures/{}/rivals.png", "gradcam/{}/explain.json", "{}/notes.txt"):  # fmt: skip
        path = results / place.format(config.run_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old", encoding="utf-8")
    return config


def _said(config: RunConfig) -> str:
    return replaces(config, config_to_dict(config))


def test_images_that_the_command_does_not_describe_are_no_difference(tmp_path: Path) -> None:
    config = _trained(tmp_path)
    stored = tmp_path / "results" / config.run_name / "config.json"
    settings = config_to_dict(config)
    write_json(stored, settings | {"preprocess": settings["preprocess"] | {"image_size": 160}})
    made = as_made(settings, {"preprocess": settings["preprocess"] | {"image_size": 160}})
    assert replaces(config, made) == "replaces the run of 2026-03-01 (of the same settings)"
    assert "it had image_size 160" in replaces(config, settings)


def test_what_is_replaced_is_named_with_what_differs(tmp_path: Path) -> None:
    assert _said(_config(tmp_path)) == ""
    _trained(tmp_path, seed=1, loss="ordinal")
    other = _config(tmp_path, seed=2, loss="ce")
    assert _said(other) == "replaces the run of 2026-03-01 (it had seed 1, loss ordinal)"
    same = _config(tmp_path, seed=1, loss="ordinal")
    assert _said(same) == "replaces the run of 2026-03-01 (of the same settings)"
    (tmp_path / "results" / same.run_name / "config.json").write_text("{", encoding="utf-8")
    assert _said(same) == "replaces the run of 2026-03-01 (its settings are not known)"


@pytest.mark.parametrize("stopped", [False, True])
def test_scores_of_a_model_that_is_gone_go_with_it(tmp_path: Path, stopped: bool) -> None:
    config = _trained(tmp_path)
    best = config.checkpoint_dir / config.run_name / "best_model.pth"
    try:
        with _scores_go_with_their_model(config):
            best.write_bytes(b"new")
            if stopped:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    left = {path.name for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert left == {"config.json", "notes.txt"}


def test_scores_stay_while_their_model_does(tmp_path: Path) -> None:
    config = _trained(tmp_path)
    with pytest.raises(ValueError, match="x"), _scores_go_with_their_model(config):
        raise ValueError("x")
    assert (tmp_path / "results" / config.run_name / "metrics.json").is_file()


def test_the_scores_of_a_cross_validation_are_of_no_checkpoint(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", {"kind": "crossval"})
    assert not remove_results(tmp_path, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
