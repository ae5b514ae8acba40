"""ONNX: another program that follows model.json says what this one says."""

import hashlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from tiny_runs import run_config, train_once

from src.errors import CheckpointError, ConfigError
from src.inference import onnx
from src.stages import evaluate, export

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]


@pytest.fixture(scope="module")
def exported(processed_2d, tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    checkpoint = train_once(processed_2d, root, backbone="resnet18")
    config = run_config(processed_2d, root, backbone="resnet18", checkpoint=str(checkpoint))
    with pytest.MonkeyPatch.context() as patch:  # the fixture's images are no squares
        patch.setattr(export, "image_shape", lambda ensemble: (1, 40, 36))
        files = list(export.run(config))
    return config, files


def session_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_whoever_follows_the_description_gets_the_same_probabilities(exported, processed_2d):
    config, (network, description) = exported
    about = json.loads(description.read_text(encoding="utf-8"))
    list(evaluate.run(config))
    folder = description.parents[1]
    rows = pd.read_csv(folder / "predictions.csv", dtype={"subject": str})
    people = pd.read_csv(folder / "people.csv", dtype={"subject": str}).set_index("subject")
    session = session_of(network)
    name = about["input"]["name"]
    scale, shift = (np.array(about["calibration"][key]) for key in ("scale", "shift"))
    assert people["logit_NonDemented"].std() > 1e-3  # a constant would agree with anything
    for subject, images in rows.groupby("subject"):
        paths = [processed_2d / path for path in images["path"]]
        read = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
        batch = np.stack(read)[:, None].astype(np.float32) / 255
        assert list(batch.shape[1:]) == about["input"]["shape"][1:]
        (logits,) = session.run([about["output"]["name"]], {name: batch})
        calibrated = logits.mean(0) * scale + shift
        p = np.exp(calibrated - calibrated.max())
        p /= p.sum()
        said = people.loc[subject, [f"p_{one}" for one in about["classes"]]].to_numpy(float)
        assert np.abs(p - said).max() < 1e-4


def test_the_description_names_its_network(exported):
    _, (network, description) = exported
    about = json.loads(description.read_text(encoding="utf-8"))
    assert about["sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()
    assert about["equality"]["largest_difference"] <= about["equality"]["tolerance"]
    assert "no basis for a diagnosis" in about["notice"]
    assert not list(network.parent.glob("*.data"))


def test_volumes_are_exported_in_their_own_order(processed_3d, tmp_path, monkeypatch):
    checkpoint = train_once(processed_3d, tmp_path, backbone="simple")
    config = run_config(processed_3d, tmp_path, backbone="simple", checkpoint=str(checkpoint))
    ensemble = export.open_ensemble(config, torch.device("cpu"))
    assert export.image_shape(ensemble) == (1, 128, 128, 128)  # as usual: a hundredth will do
    monkeypatch.setattr(export, "image_shape", lambda ensemble: (1, 24, 28, 24))
    network, description = export.run(config)
    about = json.loads(description.read_text(encoding="utf-8"))
    assert about["input"]["axes"] == ["batch", "channel", "x", "y", "z"]
    for count in (1, 3):
        shape = (count, *about["input"]["shape"][1:])
        images = np.random.default_rng(1).random(shape, np.float32)
        (logits,) = session_of(network).run(None, {"images": images})
        assert logits.shape == (count, 2)
        turned = session_of(network).run(None, {"images": images.swapaxes(2, 4).copy()})[0]
        assert np.abs(turned - logits).max() > 1e-6


def test_a_network_that_says_something_else_is_not_kept(exported, monkeypatch, tmp_path):
    config, (network, _) = exported
    before = network.read_bytes()
    network.unlink()
    monkeypatch.setattr(export, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(CheckpointError, match="differs by nan"):
        list(export.run(config))
    assert not network.is_file()
    network.write_bytes(before)


def test_the_comparison_sees_another_network(exported):
    config, (network, _) = exported
    ensemble = export.open_ensemble(config, torch.device("cpu"))
    module = onnx.Logits(ensemble.members[0]).eval()
    shape = (1, 40, 36)
    content = network.read_bytes()
    assert onnx.largest_difference(content, module, shape) < 1e-4
    with torch.no_grad():
        next(p for p in module.model.parameters() if p.ndim > 1).mul_(1.05)
    assert onnx.largest_difference(content, module, shape) > 1e-4


def test_several_checkpoints_and_a_missing_package_are_sentences(exported, monkeypatch, tmp_path):
    config, _ = exported
    source = Path(config.evaluate.checkpoint).read_bytes()
    for fold in ("a", "b"):
        (tmp_path / fold).mkdir()
        (tmp_path / fold / "best_model.pth").write_bytes(source)
    several = run_config(
        Path(config.data.data_root) / config.data.name, tmp_path, checkpoint=str(tmp_path)
    )
    with pytest.raises(ConfigError, match="one checkpoint"):
        list(export.run(several))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="needs onnxruntime"):
        list(export.run(config))
