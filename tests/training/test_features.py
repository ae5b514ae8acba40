"""Features of a frozen backbone: computed once, found by content, the same wherever computed."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_processed
from torch import nn

from src.data.augment import to_unit
from src.data.loaders import open_dataset
from src.errors import ConfigError
from src.labels import class_scheme
from src.manifest import Manifest
from src.models import engine
from src.models.create import create_model
from src.training import features as features_module
from src.training.features import dataset_features

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = create_model("2d", "resnet18", 4, pretrained=False, freeze_backbone=True)
    nn.init.normal_(made.head.weight)
    return made.eval()


@pytest.fixture
def data(processed_2d, tmp_path):
    folder = tmp_path / "phantom_2d"
    shutil.copytree(processed_2d, folder, ignore=shutil.ignore_patterns(".features"))
    return open_dataset(folder, "2d", class_scheme(4))


def test_features_are_computed_once_and_found_by_content(model, data, monkeypatch):
    first = dataset_features(model, data, CPU)
    assert first.shape == (len(data), 512)
    monkeypatch.setattr(model, "embed", lambda x: pytest.fail("computed twice"))
    np.testing.assert_array_equal(dataset_features(model, data, CPU), first)
    val = data.with_split("val")
    with pytest.raises(pytest.fail.Exception, match="computed twice"):
        dataset_features(model, val, CPU)


@pytest.mark.slow
def test_other_weights_have_another_cache(model, data):
    dataset_features(model, data, CPU)
    other = create_model("2d", "resnet18", 4, pretrained=False, seed=1).eval()
    assert not np.array_equal(
        dataset_features(other, data, CPU), dataset_features(model, data, CPU)
    )
    assert len(list((data.manifest.root / ".features").iterdir())) == 2


def test_a_damaged_cache_is_made_again(model, data, caplog):
    first = dataset_features(model, data, CPU)
    (cache,) = (data.manifest.root / ".features").iterdir()
    cache.write_bytes(cache.read_bytes()[:1000])
    np.testing.assert_array_equal(dataset_features(model, data, CPU), first)
    assert "is damaged" in caplog.text


@pytest.mark.slow
def test_rows_are_in_the_order_of_the_data(model, data):
    found = dataset_features(model, data, CPU)
    with torch.no_grad():
        expected = [model.embed(to_unit(data[row][0][None]))[0].numpy() for row in range(len(data))]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dask", [None, "tcp://somewhere:8786"])
def test_features_of_many_images_come_from_the_engine(model, data, monkeypatch, dask):
    expected = dataset_features(model, data, CPU)
    shutil.rmtree(data.manifest.root / ".features")
    for threshold, engines in ((len(data) + 1, 0), (len(data), 1)):
        monkeypatch.setattr(engine, "_sessions", engine.OrderedDict())
        monkeypatch.setattr(engine, "WORTH", threshold * np.prod(data.image_shape))
        monkeypatch.setattr(features_module, "_BATCHES", 1)  # the count is of all calls together
        if dask:
            monkeypatch.setattr(features_module, "run_parallel", elsewhere)
        found = dataset_features(model, data, CPU, dask=dask)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())
        assert len(engine._sessions) == engines
        shutil.rmtree(data.manifest.root / ".features")


def test_images_whose_fingerprint_is_not_listed_have_their_own(model, data):
    expected = dataset_features(model, data, CPU)
    root = data.manifest.root
    Manifest(data.manifest.table.assign(fingerprint=None), root).write(root)
    shutil.rmtree(root / ".features")
    bare = open_dataset(root, "2d", class_scheme(4))
    for _ in range(2):
        np.testing.assert_array_equal(dataset_features(model, bare, CPU), expected)


def elsewhere(function, items, *, shared, dask, **_):
    """Stand for a cluster: everything travels, and what is done last comes first."""
    assert dask == "tcp://somewhere:8786"
    sent = pickle.dumps((function, shared))
    for item in reversed(items):
        there, work = pickle.loads(sent)
        yield pickle.loads(pickle.dumps(there(item, work)))


@pytest.mark.slow
@pytest.mark.parametrize("dim", ["2d", "3d"])
def test_a_cluster_computes_the_same_bits(tmp_path, monkeypatch, dim):
    folder = make_processed(tmp_path / "set", dim, images=2)
    data = open_dataset(folder, dim, class_scheme(4))
    torch.manual_seed(0)
    made = create_model(dim, "resnet18" if dim == "2d" else "simple", 4, pretrained=False)
    monkeypatch.setattr(features_module, "_BATCHES", 1)
    here = dataset_features(made, data, CPU)
    shutil.rmtree(folder / ".features")
    monkeypatch.setattr(features_module, "run_parallel", elsewhere)
    there = dataset_features(made, data, CPU, dask="tcp://somewhere:8786")
    np.testing.assert_array_equal(there, here)


def test_a_worker_without_the_device_says_so(model, data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="cuda"):
        dataset_features(model, data, torch.device("cuda"))


@pytest.mark.slow
def test_a_network_can_be_unpacked_in_a_fresh_process(model, data, tmp_path):
    """Its classes are torchvision's, which some installations can import only in our way."""
    work = features_module._Work(model, data.cache, CPU, len(data))
    (tmp_path / "work").write_bytes(pickle.dumps(work))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).model.backbone)"
    command = [sys.executable, "-c", code, str(tmp_path / "work")]
    root = Path(__file__).resolve().parents[2]
    said = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=True)
    assert said.stdout == "resnet18\n"
