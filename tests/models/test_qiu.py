"""The published networks of Qiu et al., against their layout written down once more by itself."""

import json

import numpy as np
import pytest
import torch
from tiny_runs import run_config
from torch.nn import functional

from src.config import RunConfig
from src.config.options import build_config
from src.errors import CheckpointError, ConfigError
from src.evaluation.open_checkpoint import load_trained
from src.maps.attribution import Attribution
from src.models import qiu
from src.models.create import create_model
from src.models.qiu import LaidInMni, laid_of, published_network
from src.models.registry import MODEL_REGISTRY
from src.models.weights import card_of_file
from src.preprocessing.space.template import template
from src.stages import evaluate, preprocess, train

BLOCKS = ((7, 2, 0, 3), (4, 1, 1, 2), (3, 1, 1, 2), (3, 1, 1, 2))


def published(first, seed):
    """Return a state dict with the names and shapes of a published ``backbone_58.pth``."""
    rng, channels, found = np.random.default_rng(seed), 1, {}
    for number, (kernel, *_) in enumerate(BLOCKS, start=1):
        width, place = first * 2 ** (number - 1), f"block{number}"
        shape = (width, channels, kernel, kernel, kernel)
        weight = rng.normal(size=shape) / np.sqrt(channels * kernel**3)
        found[f"{place}.conv.weight"] = torch.tensor(weight, dtype=torch.float32)
        for part, low in (("weight", 0.5), ("bias", -0.2), ("running_mean", -0.1),
                          ("running_var", 0.5)):  # fmt: skip
            values = low + rng.uniform(size=width)
            found[f"{place}.BN.{part}"] = torch.tensor(values, dtype=torch.float32)
        found[f"{place}.BN.num_batches_tracked"] = torch.tensor(7)
        channels = width
    return found


def features_by_hand(x, state):
    """Return the last map, one function after the other."""
    for number, (_, stride, padding, pool) in enumerate(BLOCKS, start=1):
        block = {name.split(".", 1)[1]: v for name, v in state.items() if f"block{number}." in name}
        x = functional.conv3d(x, block["conv.weight"], None, stride, padding)
        x = functional.max_pool3d(x, pool, 2)
        scale = block["BN.weight"] / torch.sqrt(block["BN.running_var"] + 1e-5)
        shift = block["BN.bias"] - block["BN.running_mean"] * scale
        x = x * scale[:, None, None, None] + shift[:, None, None, None]
        x = torch.where(x > 0, x, 0.01 * x)
    return x


@pytest.fixture
def thin(monkeypatch):
    """Networks of two first channels instead of twenty."""
    whole = published_network
    monkeypatch.setattr(qiu, "published_network", lambda first=2: whole(first))
    monkeypatch.setattr(qiu, "FIRST", 2)


@pytest.fixture
def coarse(monkeypatch):
    """MNI space in voxels of 2 mm: an eighth of the work."""
    shape, to_mni = tuple(n // 2 for n in qiu.SHAPE), qiu.TO_MNI @ np.diag([2.0, 2.0, 2.0, 1.0])
    monkeypatch.setattr(LaidInMni.__init__, "__defaults__", (shape, to_mni))


@pytest.fixture
def folder(tmp_path):
    """Five folders as they are published, with the heads beside the backbones."""
    for fold in range(5):
        own = tmp_path / "weights" / f"CNN_baseline_new_cross{fold}"
        own.mkdir(parents=True)
        torch.save(published(2, fold), own / f"backbone_{50 + fold}.pth")
        torch.save({"dense1.1.weight": torch.zeros(3, 4)}, own / f"ADD_{50 + fold}.pth")
    return tmp_path / "weights"


@torch.no_grad()
def test_a_network_computes_what_was_published():
    state = published(3, 0)
    network = published_network(3).eval()
    network.load_state_dict(state)
    x = torch.rand(2, 1, 74, 81, 70)
    assert torch.allclose(network(x), features_by_hand(x, state), atol=1e-5)
    whole = published_network().eval()
    assert sum(p.numel() for p in whole.parameters()) == sum(
        20 * 2**k * (c * kernel**3 + 2)
        for k, (c, (kernel, *_)) in enumerate(zip((1, 20, 40, 80), BLOCKS, strict=True))
    )


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.usefixtures("thin")
def test_five_folders_make_five_views_of_5760_features_each(folder):
    model = create_model("3d", "qiu2022", 2, weights=folder, freeze_backbone=True).eval()
    assert model.width == 5 * 16 * 36  # of 20 first channels: 5 * 5,760
    laid_of(model).place(qiu.TO_MNI)
    x = torch.zeros(1, 1, *qiu.SHAPE)
    x[0, 0, 30:150, 40:180, 20:150] = torch.rand(120, 140, 130)
    maps = model.features(model.normalise(x))
    assert maps.shape == (1, 80, 5, 6, 5)
    grey = (x / x.mean()).clamp(0, 8)
    for fold in range(5):
        own = features_by_hand(grey, published(2, fold))
        assert torch.allclose(maps[:, 16 * fold : 16 * (fold + 1)], own, atol=1e-4)
    cells = model.embed(x).reshape(1, 80, 3, 4, 3)
    assert torch.allclose(cells[0, :, 0, 0, 0], maps[0, :, :2, :2, :2].mean(dim=(1, 2, 3)))


@pytest.mark.usefixtures("thin")
def test_folders_that_do_not_fit_are_named(folder, tmp_path):
    def refused(text, **given):
        settings = {"weights": folder, **given}
        with pytest.raises(CheckpointError, match=text) as caught:
            create_model("3d", settings.pop("backbone", "qiu2022"), 2, **settings)
        return caught.value

    refused("of another network", backbone="simple")
    (folder / "CNN_baseline_new_cross4" / "backbone_54.pth").rename(folder / "x.pth")
    refused("4 of the 5 published networks")
    (folder / "x.pth").rename(folder / "CNN_baseline_new_cross4" / "backbone_54.pth")
    state = published(2, 1)
    del state["block3.BN.running_var"]
    state["block3.extra"] = torch.zeros(3)
    torch.save(state, folder / "CNN_baseline_new_cross1" / "backbone_51.pth")
    said = str(refused("of another network"))
    assert "maps.networks.1.block3.BN.running_var" in said
    assert "1.block3.extra" in said
    torch.save(published(2, 9), folder / "CNN_baseline_new_cross1" / "backbone_80.pth")
    refused("holds several backbone_")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "qiu2022" in refused("without a backbone_", weights=empty).hint


@pytest.mark.usefixtures("thin")
def test_names_of_data_parallelism_are_read_and_the_card_of_a_folder(folder):
    state = {f"module.{name}": value for name, value in published(2, 0).items()}
    torch.save(state, folder / "CNN_baseline_new_cross0" / "backbone_50.pth")
    model = create_model("3d", "qiu2022", 2, weights=folder)
    own = model.features.maps.networks[0].block4.conv.weight
    assert torch.equal(own, published(2, 0)["block4.conv.weight"])
    assert card_of_file(folder) is None
    (folder / "weights.json").write_text(json.dumps({"cohorts": ["nacc"]}), encoding="utf-8")
    assert card_of_file(folder).cohorts == ("nacc",)


def test_a_mark_lies_where_it_lay_in_mm():
    """A point 40 mm to the right, 20 mm behind and 10 mm above the origin."""
    image_to_mni = np.diag([1.5, 1.25, 2.0, 1.0])
    image_to_mni[:3, 3] = (-80, -110, -60)
    place = np.linalg.inv(image_to_mni) @ np.array([40, -20, 10, 1])
    x = torch.zeros(1, 1, 110, 150, 80)
    assert np.allclose(place[:3], place[:3].round())
    x[0, 0, *place[:3].round().astype(int)] = 1
    laid = LaidInMni()
    with pytest.raises(ConfigError, match="does not know yet"):
        laid(x)
    laid.place(image_to_mni)
    peak = np.unravel_index(int(laid(x)[0, 0].argmax()), laid.shape)
    assert peak == (90 - 40, 126 - 20, 72 + 10)  # FSL's grid: the first index grows to the left
    assert laid(torch.ones_like(x))[0, 0, 0, 0, 0] == 0  # outside of the volume

    maps = torch.zeros(1, 5, 6, 5)
    maps[0, 1, 4, 3] = 1
    back = laid.back(maps, x.shape[2:])[0]
    centre = np.array(np.unravel_index(int(back.argmax()), back.shape))
    step = np.array(laid.shape) / np.array([5, 6, 5])
    mm = qiu.TO_MNI @ np.append((np.array([1, 4, 3]) + 0.5) * step - 0.5, 1)
    assert np.abs((image_to_mni @ np.append(centre, 1) - mm)[:3]).max() < 2.0


def test_the_template_stays_the_template():
    laid = LaidInMni(tuple(n // 2 for n in qiu.SHAPE), qiu.TO_MNI @ np.diag([2.0, 2.0, 2.0, 1.0]))
    laid.place(template().affine)
    shown = laid(torch.tensor(template().t1)[None, None])[0, 0].numpy()
    index = np.argwhere(shown > 0.5)[::500]
    mm = index @ laid.to_mni[:3, :3].T + laid.to_mni[:3, 3]
    there = (mm - template().affine[:3, 3]) / 2
    near = template().t1[tuple(there.round().astype(int).T)]
    assert np.corrcoef(near, shown[tuple(index.T)])[0, 1] > 0.95


def test_it_is_asked_for_by_name_and_made_for_volumes():
    entry = MODEL_REGISTRY.get("qiu2022")
    assert (entry.dim, entry.per_channel) == ("3d", 36)
    with pytest.raises(ConfigError, match="does not take 2d"):
        build_config(RunConfig, {"dataset": "phantom_2d", "backbone": "qiu2022"})
    config = build_config(RunConfig, {"dataset": "phantom_3d", "backbone": "qiu2022"})
    assert config.backbone == "qiu2022"


@pytest.mark.slow
@pytest.mark.usefixtures("thin", "coarse", "few_pixels")
def test_phantoms_are_laid_into_mni_space_trained_and_explained(tmp_path):
    made = {"data_root": tmp_path, "phantom_subjects": 16, "phantom_voxel": 4, "volume_size": 48}
    made |= {"results_dir": tmp_path / "results", "workers": 1}
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    for place, field in ((cut, "brain"), (whole, "whole")):
        own = {"dataset": "phantom_3d", **made, "data_root": place, "field": field}
        list(preprocess.run(build_config(RunConfig, own)))
    settings = {"backbone": "qiu2022", "freeze_backbone": True, "graded": 0}
    with pytest.raises(ConfigError, match="cut to each person's brain") as caught:
        list(train.run(run_config(cut / "phantom_3d", tmp_path, **settings)))
    assert "--field whole" in caught.value.hint
    config = run_config(whole / "phantom_3d", tmp_path, **settings)
    files = list(train.run(config))
    checkpoint = next(path for path in files if path.name == "best_model.pth")
    model = load_trained(checkpoint)[0]
    laid = laid_of(model)
    image = np.load(next((whole / "phantom_3d").rglob("test/**/*.npy")))
    shown = laid(torch.from_numpy(image)[None, None])[0, 0].numpy()
    grid = np.argwhere(np.ones(shown.shape)) @ laid.to_mni[:3, :3].T + laid.to_mni[:3, 3]
    at = ((grid - template().affine[:3, 3]) / 2).round().astype(int)
    inside = ((at >= 0) & (at < template().t1.shape)).all(axis=1)
    at = np.clip(at, 0, np.array(template().t1.shape) - 1)
    true = np.where(inside, template().t1[tuple(at.T)], 0)
    assert np.corrcoef(true, shown.ravel())[0, 1] > 0.8
    maps = Attribution(model).maps(torch.from_numpy(image)[None, None], 1)
    assert maps.shape == (1, *image.shape)
    list(evaluate.run(config))
