"""The published networks of Qiu et al., against their layout written down once more by itself."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_runs import run_config
from torch import nn
from torch.nn import functional

from src.cohorts.people_names import hash_subjects
from src.config import RunConfig
from src.config.options import build_config
from src.data.sessions import MeanImage
from src.errors import CheckpointError, ConfigError
from src.evaluation.open_checkpoint import load_trained, open_trained
from src.maps.attribution import Attribution
from src.models import qiu
from src.models.checkpoint import load_checkpoint, save_checkpoint
from src.models.create import create_model
from src.models.engine import digest
from src.models.qiu import LaidInMni, laid_of, published_blocks
from src.models.registry import MODEL_REGISTRY
from src.models.weights import card_of_file
from src.preprocessing.space.grid import Frame
from src.preprocessing.space.placement import Placement, fit_placement
from src.preprocessing.space.template import template
from src.stages import crossval, evaluate, export, preprocess, train
from src.training import laying

BLOCKS = ((7, 2, 3), (4, 1, 2), (3, 1, 2), (3, 1, 2))  # kernel, stride, pooling; no padding


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
    for number, (_, stride, pool) in enumerate(BLOCKS, start=1):
        block = {name.split(".", 1)[1]: v for name, v in state.items() if f"block{number}." in name}
        x = functional.conv3d(x, block["conv.weight"], None, stride)
        x = functional.max_pool3d(x, pool, 2)
        scale = block["BN.weight"] / torch.sqrt(block["BN.running_var"] + 1e-5)
        shift = block["BN.bias"] - block["BN.running_mean"] * scale
        x = x * scale[:, None, None, None] + shift[:, None, None, None]
        x = torch.where(x > 0, x, 0.01 * x)
    return x


@pytest.fixture
def thin(monkeypatch):
    """Networks of two first channels instead of twenty."""
    monkeypatch.setattr(qiu, "FIRST", 2)


@pytest.fixture
def coarse(monkeypatch):
    """MNI space in voxels of 1.8 mm, with one cell at the end: a sixth of the work."""
    shape, to_mni = (101, 121, 101), qiu.TO_MNI @ np.diag([1.8, 1.8, 1.8, 1.0])
    monkeypatch.setattr(LaidInMni.__init__, "__defaults__", (shape, to_mni))


@pytest.fixture
def folder(tmp_path):
    """Five folders as they are published, with the heads beside the backbones."""
    for fold in range(5):
        own = tmp_path / "weights" / f"CNN_baseline_new_cross{fold}"
        own.mkdir(parents=True)
        torch.save(published(2, fold), own / f"backbone_{50 + fold}.pth")
        torch.save({"dense1.1.weight": torch.zeros(3, 4)}, own / f"ADD_{50 + fold}.pth")
    (tmp_path / "weights" / "CNN_fusion_cross0_fold0").mkdir()
    torch.save(
        {"se2.weight": torch.zeros(3)}, own.parent / "CNN_fusion_cross0_fold0/backbone_1.pth"
    )
    return tmp_path / "weights"


@torch.no_grad()
def test_a_network_computes_what_was_published():
    state = published(3, 0)
    network = nn.Sequential(published_blocks([3])).eval()
    network.load_state_dict({re.sub(r"(block.)", r"\1.networks.0", k): v for k, v in state.items()})
    x = torch.rand(2, 1, 131, 140, 101)
    assert network(x).shape == (2, 24, 2, 2, 1)
    assert torch.allclose(network(x), features_by_hand(x, state), atol=1e-5)
    whole = nn.Sequential(published_blocks([20]))
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
    assert maps.shape == (1, 80, 3, 4, 3)
    grey = (x / x.mean()).clamp(0, 8)
    for fold in range(5):
        own = features_by_hand(grey, published(2, fold))
        assert torch.allclose(maps[:, 16 * fold : 16 * (fold + 1)], own, atol=1e-4)
    assert torch.equal(model.embed(x), maps.flatten(1))  # as published, channel by channel


@torch.no_grad()
def test_networks_are_as_many_and_as_wide_as_their_files(folder, coarse):
    (folder / "CNN_baseline_new_cross3" / "backbone_53.pth").unlink()
    torch.save(published(3, 1), folder / "CNN_baseline_new_cross1" / "backbone_51.pth")
    model = create_model("3d", "qiu2022", 2, weights=folder, freeze_backbone=True).eval()
    assert model.width == (3 * 2 + 3) * 8 * 36
    assert torch.equal(model.features.block1.networks[3].BN.bias, published(2, 4)["block1.BN.bias"])
    alone = folder / "CNN_baseline_new_cross1" / "backbone_51.pth"
    one = create_model("3d", "qiu2022", 2, weights=alone).eval()
    laid_of(model).place(qiu.TO_MNI)
    laid_of(one).place(qiu.TO_MNI)
    x = torch.rand(1, 1, *qiu.SHAPE)
    assert torch.allclose(one.features(x), model.features(x)[:, 16:40], atol=1e-5)


def test_no_weights_make_five_networks_and_lies_about_their_size_do_not_fit(tmp_path):
    assert create_model("3d", "qiu2022", 2, weights="none").width == 5 * 5760
    state = published(2, 0) | {"block1.conv.weight": torch.zeros(1).expand(10**6, 1, 7, 7, 7)}
    made, _ = qiu.as_many_as(state)
    assert len(made.block1.networks[0].conv.weight) == 64
    torch.save(published(2, 0) | {"block1.conv.weight": torch.zeros(3)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="of another shape"):
        create_model("3d", "qiu2022", 2, weights=tmp_path / "net.pth")


def test_folders_that_do_not_fit_are_named(folder, tmp_path):
    def refused(text, **given):
        settings = {"weights": folder, **given}
        with pytest.raises(CheckpointError, match=text) as caught:
            create_model("3d", settings.pop("backbone", "qiu2022"), 2, **settings)
        return caught.value

    assert "qiu2022" in refused("is a folder: simple starts from one", backbone="simple").hint
    state = published(2, 1)
    del state["block3.BN.running_var"]
    state["block3.extra"] = torch.zeros(3)
    torch.save(state, folder / "CNN_baseline_new_cross1" / "backbone_51.pth")
    error = refused("of another network")
    assert "block3.networks.1.BN.running_var" in str(error)
    assert "1.block3.extra" in str(error)
    assert "cross0/backbone_50.pth, CNN_baseline_new_cross1/backbone_51.pth" in error.hint
    torch.save(published(2, 9), folder / "CNN_baseline_new_cross1" / "backbone_80.pth")
    refused("holds several backbone_")
    (folder / "CNN_baseline_new_cross1" / "backbone_80.pth").unlink()
    whole = (folder / "CNN_baseline_new_cross1" / "backbone_51.pth").read_bytes()
    (folder / "CNN_baseline_new_cross1" / "backbone_51.pth").write_bytes(whole[:900])
    refused("backbone_51.pth is truncated")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "FOLDER" in refused("without a backbone_", weights=empty).hint


def test_names_of_data_parallelism_are_read_and_the_card_of_a_folder(folder):
    state = {f"module.{name}": value for name, value in published(2, 0).items()}
    torch.save(state, folder / "CNN_baseline_new_cross0" / "backbone_50.pth")
    model = create_model("3d", "qiu2022", 2, weights=folder)
    own = model.features.block4.networks[0].conv.weight
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


def seen_by(cell, blocks):
    """Return the middle of the voxels that a cell of a block's map depends on, along one axis."""
    first = last = cell
    for kernel, stride, pool in BLOCKS[blocks - 1 :: -1]:
        first, last = 2 * first, 2 * last + pool - 1
        first, last = stride * first, stride * last + kernel - 1
    return (first + last) / 2


@pytest.mark.parametrize(("blocks", "grid"), [(4, (3, 4, 3)), (2, (20, 24, 20))])
def test_maps_come_back_to_what_their_cells_saw(blocks, grid):
    image_to_mni = np.diag([1.5, 1.25, 2.0, 1.0])
    image_to_mni[:3, 3] = (-80, -110, -60)
    laid, shape = LaidInMni(), (110, 150, 80)
    laid.place(image_to_mni)
    cell = np.array(grid) - (2, 3, 1)  # where the volume shows it
    maps = torch.zeros(1, *grid)
    maps[0, *cell] = 1
    back = laid.back(maps, shape)[0]
    centre = np.array(np.unravel_index(int(back.argmax()), shape))
    mm = qiu.TO_MNI @ np.array([*(seen_by(one, blocks) for one in cell), 1])
    assert np.abs((image_to_mni @ np.append(centre, 1) - mm)[:3]).max() < 2.0
    wide = np.diag([2.0, 2.0, 2.0, 1.0])
    wide[:3, 3] = (-200, -200, -200)
    laid.place(wide)
    everywhere = laid.back(torch.ones(1, *grid), (200, 200, 200))[0].numpy()
    mm = np.argwhere(everywhere)[[0, -1]] @ wide[:3, :3].T + wide[:3, 3]
    assert np.abs(mm - [(-91, -126, -72), (90, 91, 109)]).max() <= 2  # zero beyond the box


@pytest.mark.usefixtures("coarse")
def test_grey_values_of_a_slab_are_those_of_the_whole_head():
    """Divided by its own mean over the box, most of a slab would lie above 8."""
    low, high = 34, 50  # 32 mm
    whole, t1 = LaidInMni(), template().t1
    whole.place(template().affine)
    affine = template().affine.copy()
    affine[2, 3] += 2 * low
    slab = t1[:, :, low:high]
    mean = MeanImage(
        slab.astype(float), np.ones(slab.shape, bool), slab > 0, Frame(slab.shape, affine, affine)
    )
    share = laying._share_shown(mean, Placement(np.eye(4), 1.0))
    assert share == pytest.approx(slab.sum() / t1.sum(), rel=0.05)
    part, grey = LaidInMni(), qiu.ByMean()
    part.place(affine)
    expected = grey(whole(torch.tensor(t1)[None, None]))
    laid = part(torch.tensor(slab.copy())[None, None])
    inside = laid > 0
    assert (grey(laid)[inside] >= 8).float().mean() > 0.5
    grey.shown.fill_(share)
    there = torch.zeros_like(inside)
    there[..., round(low / 0.9) + 2 : round(high / 0.9) - 4] = (
        True  # not where interpolation meets the end
    )
    there &= inside
    assert torch.allclose(grey(laid)[there], expected[there], rtol=0.05, atol=0.01)


@pytest.mark.usefixtures("thin")
def test_features_are_known_by_the_place_and_weights_start_without_one(tmp_path):
    model = create_model("3d", "qiu2022", 2)
    before = digest(model)
    laid_of(model).place(qiu.TO_MNI)
    placed = digest(model)
    qiu.grey_of(model).shown.fill_(0.4)
    assert len({before, placed, digest(model)}) == 3
    torch.save({"model": model.state_dict()}, tmp_path / "own.pth")
    again = create_model("3d", "qiu2022", 2, weights=tmp_path / "own.pth")
    assert torch.equal(again.head.weight, model.head.weight)
    assert not laid_of(again).placed


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
def test_phantoms_are_laid_into_mni_space_trained_and_explained(tmp_path, monkeypatch):
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
    assert np.corrcoef(true, shown.ravel())[0, 1] > 0.9
    mark = torch.zeros(1, 1, *image.shape)
    mark[0, 0, 3 * image.shape[0] // 4, image.shape[1] // 2, image.shape[2] // 2] = 1  # right
    assert int(laid(mark)[0, 0].argmax()) // shown[0].size < 50  # FSL's first half is the right
    assert float(qiu.grey_of(model).shown) == pytest.approx(1, abs=0.01)
    maps = Attribution(model).maps(torch.from_numpy(image)[None, None], 1)
    assert maps.shape == (1, *image.shape)
    list(evaluate.run(config))
    with pytest.raises(ConfigError, match="lays volumes into MNI space"):
        list(export.run(config))
    # Of another study, whose frame is its own, the place that was trained with does not count.
    content = load_checkpoint(checkpoint)
    content |= {"dataset": "oasis_3d", "subjects": hash_subjects(["OAS1_0001"])}
    content["preprocessing"] = {**content["preprocessing"], "cohort": "oasis"}
    content["model"]["features.laid.to_image"] += 7
    other = save_checkpoint(tmp_path / "other.pth", content)
    asked = replace(config, evaluate=replace(config.evaluate, checkpoint=other))
    anew = laid_of(open_trained(asked).model).to_image
    assert torch.allclose(anew, laid.to_image, atol=0.5)  # voxels, of 4 mm
    fitted = []
    monkeypatch.setattr(laying, "fit_placement", lambda *a: fitted.append(a) or fit_placement(*a))
    folds = replace(config, crossval=replace(config.crossval, folds=2, repeats=2))
    assert any(path.name == "people.csv" for path in crossval.run(folds))
    assert len(fitted) == 1  # once for all folds
