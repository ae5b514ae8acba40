"""The public API, as a notebook uses it, and its instant import."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import src
from src.api import create_model, open_run_data, reader_workers
from src.config import RunConfig, TrainConfig
from src.errors import CheckpointError, ConfigError, UnknownNameError
from src.options import build_config

ROOT = Path(__file__).resolve().parents[1]


def modules_after(code):
    """Return the names of the modules that a fresh process has imported after `code`."""
    code += "; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_src_imports_neither_torch_nor_pandas():
    assert not modules_after("import src") & {"torch", "pandas", "numpy"}


def test_every_public_name_is_there():
    assert sorted(src._MODULE_OF) == sorted(src.__all__)
    assert all(getattr(src, name).__name__ == name for name in src.__all__)
    assert set(src.__all__) <= set(dir(src))


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'src' has no attribute 'Nothing'"):
        _ = src.Nothing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dim", "backbone"), [("2d", "efficientnet_lite0"), ("3d", "resnet_small")]
)
def test_the_notebook_block(request, tmp_path, dim, backbone):
    from src import (
        Evaluator,
        GradCAM,
        Trainer,
        create_data_loaders,
        create_model,
        get_target_layer,
    )

    folder = request.getfixturevalue(f"processed_{dim}")
    train, test = create_data_loaders(folder, "phantom", dim, batch_size=8, num_workers=0)
    model = create_model(dim, backbone, num_classes=4, pretrained=False, device="cpu")
    history = Trainer(model, train, test, "cpu").train(num_epochs=1, save_dir=tmp_path)
    assert len(history["train_loss"]) == 1
    assert history["test"]["n_people"] == 4
    assert (tmp_path / "best_model.pth").is_file()

    results = Evaluator(model, test, "cpu", n_bootstrap=100).full_evaluation(tmp_path / "scores")
    assert results["person"]["n_people"] == 4
    assert 0 <= results["person"]["metrics"]["accuracy"]["value"] <= 1

    image, _ = test.dataset[0]
    with GradCAM(model, get_target_layer(model, backbone), "cpu") as gradcam:
        cam = gradcam.generate_cam(image.float()[None], target_class=1)
    assert cam.shape == tuple(image.shape[1:])
    assert np.isfinite(cam).all()
    assert cam.min() >= 0
    assert cam.max() <= 1


def test_defaults_of_each_dimension():
    assert create_model("2d").backbone == "efficientnet_lite0"
    assert create_model("3d").backbone == "simple"


def test_pretrained_loads_weights_in_2d_only():
    assert create_model("2d").pretrained
    assert not create_model("2d", pretrained=False).pretrained
    assert not create_model("3d", pretrained=True).pretrained


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("4d",), ConfigError, "'4d' is neither '2d' nor '3d'"),
        (("2d", "simple"), ConfigError, "simple is 3d, the data are 2d"),
        (("3d", "resnet18"), ConfigError, r"--backbone simple, resnet, resnet_small"),
        (("2d", "resnet_18"), UnknownNameError, "did you mean 'resnet18'"),
        (("2d", None, 1), ConfigError, "2 classes or more"),
        (("2d", None, 4, False, "tpu"), ConfigError, "unknown device 'tpu'"),
    ],
)
def test_wrong_arguments(arguments, error, says):
    with pytest.raises(error, match=says):
        create_model(*arguments)


def test_weights_that_are_no_file():
    with pytest.raises(CheckpointError, match="neither imagenet, none nor a file"):
        create_model("2d", weights="imagnet")


def test_a_frozen_backbone_trains_the_head_only():
    model = create_model("3d", freeze_backbone=True)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("gpu", "asked", "expected"), [(False, None, 0), (True, None, 8), (True, 0, 0)]
)
def test_readers_run_beside_a_gpu_only(monkeypatch, gpu, asked, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr("src.api.usable_cores", lambda: 32)
    assert reader_workers(asked) == expected


def test_the_folder_named_wins_over_the_data_root(processed_2d):
    config = build_config(RunConfig, {"dataset": "phantom_2d", "data_dir": processed_2d})
    assert open_run_data(config).manifest.root == processed_2d
    assert open_run_data(config, classes=2, min_age=70).rows["age"].min() >= 70


def test_training_for_no_epochs_is_refused():
    with pytest.raises(ConfigError, match="--epochs 0"):
        TrainConfig(epochs=0)
