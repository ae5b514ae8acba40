"""Models asked in a notebook: the same numbers as the stage, whatever the scan is given as."""

import json
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_processed
from PIL import Image
from tiny_runs import run_config

import src
from src import explain, load_model, predict
from src.config import RunConfig
from src.config.options import build_config
from src.errors import CheckpointError, ConfigError, DataNotFoundError, ImageError
from src.models.checkpoint import load_checkpoint, save_checkpoint
from src.models.create import create_model
from src.notebook.given import take
from src.stages import predict as stage
from src.stages import preprocess, train

COLUMNS = ["stage", "p_NonDemented", "p_Demented", "outside", "distance", "similarity"]


def settings(root):
    return build_config(
        RunConfig,
        {
            "dataset": "phantom_3d", "phantom_subjects": 24, "phantom_voxel": 4.0, "epochs": 1,
            "volume_size": 32, "classes": 2, "device": "cpu", "workers": 1,
            "data_root": root / "data", "checkpoint_dir": root / "ck", "results_dir": root / "res",
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with phantoms and a model of their volumes, and the model."""
    root = tmp_path_factory.mktemp("answers")
    list(preprocess.run(settings(root)))
    list(train.run(settings(root)))
    return root, load_model(root / "ck/phantom_3d_simple_2classes")


@pytest.fixture(scope="module")
def scan(trained):
    return min((trained[0] / "data").rglob("*masked_gfc.img"))


@pytest.mark.slow
def test_a_scan_gets_the_stages_numbers_whatever_it_is_given_as(trained, scan):
    root, model = trained
    config = build_config(
        RunConfig,
        {"input": scan, "device": "cpu", "maps": False, "results_dir": root / "res", "workers": 1,
         "checkpoint": root / "ck/best_model.pth"},
    )  # fmt: skip
    *_, written = stage.run(config)
    (said,) = json.loads(written.read_text(encoding="utf-8"))["answers"]
    image = nib.load(scan)
    header = np.asarray(image.dataobj).squeeze()
    for given, more in (
        (scan, {}),
        (str(scan), {}),
        (image, {}),
        ([image], {}),
        (header, {"affine": image.affine}),
        (torch.from_numpy(header.astype(np.int32)), {"affine": image.affine}),
    ):
        (row,) = predict(model, given, device="cpu", **more).to_dict("records")
        if not more:  # an array has an affine, which Analyze headers are not trusted with
            assert row["p_Demented"] == said["probabilities"]["Demented"]
            assert row["distance"] == said["distance"]
        assert row["flags"] is not None
    assert predict([model, model], scan).loc[scan.stem, "n_checkpoints"] == 2


@pytest.mark.slow
def test_processed_images_get_the_numbers_of_their_data_set(trained):
    root, model = trained
    table = predict(model, root / "data/phantom_3d", device="cpu")
    manifest = src.Manifest.read(root / "data/phantom_3d")
    row = manifest.table.iloc[3]
    array = np.load(manifest.root / row["path"])
    wanted = table.loc[f"{row['subject']}_{row['session']}", COLUMNS]
    for one in (array, torch.from_numpy(array), array[None], array[None, None]):
        found = predict(model, one, device="cpu")[COLUMNS].iloc[0]
        pd.testing.assert_series_equal(found, wanted, check_names=False)
    several = predict(model, [array, array * np.float16(0.5)])
    assert several.index.tolist() == ["image_0", "image_1"]


@pytest.mark.slow
def test_a_map_is_of_the_scan_and_shows_itself(trained, scan):
    _, model = trained
    found = explain(model, scan, "Demented", device="cpu")
    assert found.map.shape == found.images.shape == (32, 32, 32)
    assert 0 <= found.map.min() <= found.map.max() <= 1
    assert found.nifti.shape == nib.load(scan).shape[:3]
    assert found._repr_png_()[:4] == b"\x89PNG"
    alone = explain(model, found.images, "Demented", device="cpu")
    np.testing.assert_allclose(alone.map, found.map, atol=1e-3)
    assert alone.figure is alone.nifti is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (np.zeros((5, 5)), ImageError, r"\[5, 5\] is none of this model's images, .* 32 x 32 x 32"),
        (np.zeros((32, 32, 32, 3)), ImageError, r"last axis is colour: array\[\.\.\., 0\]"),
        (np.full((32, 32, 32), 9.0), ImageError, r"lie in \[0, 1\]; found 9 to 9"),
        (np.full((32, 32, 32), np.nan), ImageError, "NaN or infinity"),
        (np.zeros((32, 32, 32), np.uint16), ImageError, r"found uint16"),
        (np.zeros((2, 32, 32, 32)), ImageError, r"\[2, 32, 32, 32\] is none"),
        ([], ConfigError, "the list is empty"),
        (5, ConfigError, "found int"),
        (pd.DataFrame({"path": ["a"]}), ConfigError, "column of paths"),
        ("no such scan.nii", DataNotFoundError, "not found: no such scan.nii"),
    ],
)
def test_what_is_no_image_is_told_in_a_sentence(trained, given, kind, said):
    with pytest.raises(kind, match=said) as told:
        predict(trained[1], given)
    assert "--" not in str(told.value)


@pytest.mark.slow
def test_a_scan_that_cannot_be_used_is_a_row_with_its_reason(trained, scan, tmp_path):
    (tmp_path / "x.nii").write_bytes(b"no scan")
    table = predict(trained[1], [tmp_path / "x.nii", scan])
    assert table["stage"].tolist()[0] == ""
    assert "x.nii" in table.loc["x", "reasons"]
    with pytest.raises(ImageError, match=r"x\.nii"):
        predict(trained[1], tmp_path / "x.nii")


def test_a_model_that_was_never_saved_is_refused():
    with pytest.raises(ConfigError, match="was not saved"):
        predict(create_model("3d", "simple", 2), np.zeros((32, 32, 32)))
    for wrong in (5, torch.nn.Linear(2, 2), [], None):
        with pytest.raises(ConfigError, match=r"predict\(model"):
            predict(wrong, "x")


@pytest.mark.slow
def test_explain_takes_one_scan_and_a_class_of_the_model(trained, scan):
    model = trained[1]
    with pytest.raises(ConfigError, match="'Demnted' is no class"):
        explain(model, scan, "Demnted")
    with pytest.raises(ConfigError, match="takes one scan, found 2"):
        explain(model, [scan, scan])


@pytest.mark.slow
def test_load_model_tells_what_lies_at_a_path(trained, tmp_path):
    root, model = trained
    assert model.origin.content["dataset"] == "phantom_3d"
    assert "phantom_3d" in model._repr_html_()
    for name in ("a", "b"):
        content = load_checkpoint(root / "ck/best_model.pth")
        save_checkpoint(tmp_path / name / "best_model.pth", content)
    with pytest.raises(CheckpointError, match="holds 2 checkpoints"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="no such weight file"):
        load_model(tmp_path / "none.pth")
    with pytest.raises(ConfigError, match="path of a checkpoint"):
        load_model(model)


@pytest.mark.slow
def test_a_picture_is_the_same_as_a_file_and_in_memory(tmp_path):
    data = make_processed(tmp_path / "phantom_2d")
    for name in ("manifest.csv", "preprocessing.json"):
        (data / name).unlink()
    for path in list(data.glob(".scans/*")):
        path.unlink()
    (data / ".scans").rmdir()
    config = run_config(data, tmp_path, backbone="efficientnet_lite0", freeze_backbone=True)
    list(train.run(config))
    model = load_model(tmp_path / "checkpoints/best_model.pth")
    path = min((data / "test").rglob("*.png"))
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    rows = [
        predict(model, one, device="cpu")[COLUMNS].iloc[0].tolist()
        for one in (path, Image.open(path), Image.fromarray(grey), grey, grey[None])
    ]
    assert all(row == rows[0] for row in rows)


def test_things_keep_their_order_and_get_names_of_their_own(tmp_path):
    (tmp_path / "in").mkdir()
    picture = Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5))
    for name in ("in/b.png", "b.png"):
        picture.save(tmp_path / name)
    things = [tmp_path / "in/b.png", picture, tmp_path / "b.png", np.zeros((4, 5), np.uint8)]
    found = take(things, tmp_path, (4, 5))
    assert [one.item.name for one in found] == ["b", "image_1", "b_2", "image_3"]
    assert [one.images is None for one in found] == [True, True, True, False]
    assert Path(found[1].item.source).is_file()


def test_scaled_and_wide_scans_keep_their_values(tmp_path):
    data = np.random.default_rng(0).integers(0, 900, (5, 6, 7)).astype(np.int16)
    scaled = nib.Nifti1Image(data, np.diag([2, 3, 4, 1]))
    scaled.header.set_slope_inter(0.37, 5)
    nib.save(scaled, tmp_path / "a.nii")
    stored = nib.load(tmp_path / "a.nii")
    for one in (stored, nib.MGHImage(data, np.eye(4)), nib.Nifti2Image(data.astype(float), None)):
        (given,) = take(one, tmp_path, (4, 5))
        again = nib.load(given.item.source)
        assert type(again) is type(one)
        np.testing.assert_array_equal(np.asarray(again.dataobj), np.asarray(one.dataobj))
    (given,) = take(data.astype(np.int64), tmp_path, (4, 5), affine=np.eye(4))
    np.testing.assert_array_equal(np.asarray(nib.load(given.item.source).dataobj), data)
    with pytest.raises(ConfigError, match="not a 4 x 4 matrix"):
        take(data, tmp_path, (4, 5), affine=np.eye(3))


@pytest.mark.slow
def test_an_image_that_was_loaded_keeps_its_name_and_its_leak(trained, scan):
    root, model = trained
    known = set(src.Manifest.read(root / "data/phantom_3d").in_split("train").table["subject"])
    path = next(
        one
        for one in sorted((root / "data").rglob("*masked_gfc.img"))
        if any(name in one.name for name in known)
    )
    here, there = (predict(model, one, device="cpu") for one in (path, nib.load(path)))
    assert "trained or chosen" in there["flags"].iloc[0]
    pd.testing.assert_frame_equal(here, there)


@pytest.mark.slow
def test_a_map_may_be_of_dementia_and_its_figure_tells_the_answer(trained, scan):
    found = explain(trained[1], scan, "demented", device="cpu")
    assert found.target == "demented"
    assert found.map.max() <= 1
