"""The gradcam stage: test people only, maps in the scan's space, figures, tables, one JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import VOLUME
from tiny_runs import run_config, train_once

from src.data.augment import to_unit
from src.data.sessions import images_of, placed
from src.errors import CheckpointError, ConfigError
from src.evaluation.open_checkpoint import open_trained
from src.manifest import PEOPLE_UNKNOWN, Manifest
from src.maps.attribution import Attribution
from src.maps.cases import cell_of, find_cases, map_of
from src.maps.explain import choose_graded
from src.models.calibration import Calibration
from src.stages.gradcam import run

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["2d", "3d"])
def processed(request):
    return request.getfixturevalue(f"processed_{request.param}")


@pytest.fixture(scope="module")
def root(processed, tmp_path_factory):
    """A folder with a trained run."""
    folder = tmp_path_factory.mktemp("run")
    train_once(processed, folder)
    return folder


@pytest.fixture(scope="module")
def written(processed, root):
    # So few pixels leave nothing on the deeper layers of a 2D network.
    layer = "features.3" if processed.name.endswith("2d") else "AUTO"
    config = run_config(processed, root, samples=2, graded=2, layer=layer)
    return {path.name: path for path in run(config)}


@pytest.fixture(scope="module")
def trained(processed, root):
    return open_trained(run_config(processed, root))


def test_every_file_is_there_and_the_json_comes_last(written):
    of_classes = [
        f"{name}{end}" for name in ("NonDemented", "Demented") for end in (".png", "_slices.png")
    ]
    assert list(written) == [*of_classes, "maps.csv", "grade.png", "explain.json"]
    for name in (name for name in written if name.endswith(".png")):
        assert min(cv2.imread(str(written[name])).shape[:2]) > 200


def test_the_json_says_what_was_done_and_what_could_not_be(written, processed):
    content = json.loads(written["explain.json"].read_text(encoding="utf-8"))
    assert content["schema"] == "explain/1"
    assert content["method"] == "hirescam"
    assert content["n_people"] == len(
        Manifest.read(processed).in_split("test").table["subject"].unique()
    )
    assert content["phantom"] is None  # people of no generated cohort
    assert content["groups"] == content["regions"]
    assert "too little of a brain" in content["groups"]["reason"]
    assert content["grade"]["verdict"] in ("PASS", "WARN", "FAIL")
    assert content["settings"]["explain"]["samples"] == 2


def test_every_test_person_has_a_row_and_its_maps(written, processed):
    rows = Manifest.read(processed).in_split("test").table
    table = pd.read_csv(written["maps.csv"])
    assert sorted(table["subject"]) == sorted(rows["subject"].unique())
    folder, filled = written["maps.csv"].parent, table[table["maximum"] > 0]
    assert len(filled)
    for row in filled.to_dict("records"):
        own, scan = nib.load(folder / row["map"]), nib.load(folder / row["map_in_scan"])
        data = own.get_fdata()
        peak = nib.affines.apply_affine(own.affine, np.unravel_index(data.argmax(), data.shape))
        assert data.max() == pytest.approx(1)
        assert peak == pytest.approx([row[f"peak_{axis}"] for axis in "xyz"], abs=1e-4)
        there = nib.affines.apply_affine(np.linalg.inv(scan.affine), peak).round().astype(int)
        assert scan.get_fdata()[tuple(there)] == pytest.approx(1, abs=0.05)
        assert np.diag(scan.affine)[:3].tolist() == [-2, 1, 3]
        assert scan.shape == ((36, 40, 3) if len(rows) > len(table) else VOLUME)


def test_only_the_first_people_of_each_class_are_drawn(processed, root, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "src.maps.people_files.person_figure",
        lambda path, people, *_, **__: drawn.update({path.stem: [p.title for p in people]}) or path,
    )
    list(run(run_config(processed, root, samples=2, graded=0)))
    assert drawn == {"NonDemented": ["PHAN_0003"], "Demented": ["PHAN_1003", "PHAN_2003"]}


def test_what_an_earlier_run_left_is_removed(processed, root, monkeypatch):
    for name in ("person_figure", "mosaic"):
        monkeypatch.setattr(f"src.maps.people_files.{name}", lambda path, *_, **__: path)
    config = run_config(processed, root, samples=1, graded=0)
    folder = next(iter(run(config))).parent
    (folder / "Gone.png").write_text("old", encoding="utf-8")
    (folder / "maps" / "old_map.nii.gz").write_text("old", encoding="utf-8")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    names = {path.name for path in run(config)}
    assert not (folder / "Gone.png").exists()
    assert not (folder / "maps" / "old_map.nii.gz").exists()
    assert (folder / "notes.txt").exists()
    assert "grade.png" not in names  # none was asked for


def test_a_failed_grade_is_told_on_every_figure(processed, root, monkeypatch):
    stamps = []
    monkeypatch.setattr("src.maps.explain.grade_maps", lambda *_, **__: {"verdict": "FAIL"})
    monkeypatch.setattr("src.stages.gradcam.grade_figure", lambda path, *_, **__: path)
    for name in ("person_figure", "mosaic"):
        monkeypatch.setattr(
            f"src.maps.people_files.{name}",
            lambda path, *_, stamps=(), seen=stamps, **__: seen.append(stamps) or path,
        )
    list(run(run_config(processed, root, graded=1)))
    assert len(stamps) == 4
    assert all("FAIL" in " ".join(each) for each in stamps)


@pytest.mark.parametrize("target", ["predicted", "true", "demented", "NonDemented"])
def test_what_is_asked_for_is_explained(trained, target):
    cases = find_cases(trained, CPU, target)
    expected = {"demented": "demented", "NonDemented": 0}
    for case in cases:
        own = {"predicted": case.predicted, "true": case.truth}
        assert case.target == {**expected, **own}[target]
    demented = find_cases(trained, CPU, "demented")
    assert [case.probability for case in demented] == pytest.approx(
        [1 - case.probabilities[0] for case in demented]
    )


def test_a_class_that_the_checkpoint_does_not_know_is_refused(trained):
    with pytest.raises(ConfigError, match="no such class"):
        find_cases(trained, CPU, "VeryMildDemented")


def test_slices_of_a_person_compare_in_strength(processed_2d, tmp_path):
    """A stack is divided by one maximum: each slice by its own would invent strength."""
    train_once(processed_2d, tmp_path)
    trained = open_trained(run_config(processed_2d, tmp_path))
    attribution = Attribution(trained.model)
    case = find_cases(trained, CPU, "predicted")[0]
    images = images_of(trained.data, case)
    maps = map_of(attribution, images, case)
    alone = [attribution.raw_maps(image[None], case.target)[0] for image in images]
    assert maps == pytest.approx(np.stack(alone), rel=1e-3, abs=1e-6)
    stack = placed(maps, case)
    assert stack.data.shape == (36, 40, 3)
    assert stack.data[:, :, 1] == pytest.approx(maps[1].T[:, ::-1])
    assert cell_of(attribution, images, case)[2] == 1


def test_scores_say_which_slice_speaks_most(trained):
    for case in find_cases(trained, CPU, "true"):
        with torch.no_grad():
            images = torch.stack([trained.data[row][0] for row in case.rows])
            logits = trained.model(to_unit(images)).double()
        assert case.scores == pytest.approx(logits[:, case.truth].numpy(), abs=1e-4)


@pytest.mark.parametrize(("cohort", "slices"), [("kaggle_orig", 1), ("scans", 3)])
def test_pictures_of_unknown_people_are_not_stacked_and_cut_slices_are(trained, cohort, slices):
    data = trained.data
    stamped = replace(data.manifest, stamps=(PEOPLE_UNKNOWN,))
    data = type(data)(stamped, "test", data.scheme, {**data.settings, "cohort": cohort})
    cases = find_cases(replace(trained, data=data), CPU, "predicted")
    most = max(len(case.rows) for case in find_cases(trained, CPU, "predicted"))  # 1 volume in 3D
    assert {len(case.rows) for case in cases} == {min(slices, most)}


def test_the_graded_are_dealt_over_the_classes(trained):
    cases = find_cases(trained, CPU, "predicted")
    chosen = choose_graded(cases, 2)
    assert [case.truth for case in chosen] == [0, 1]
    assert [case.subject for case in chosen] == ["PHAN_0003", "PHAN_1003"]
    assert len(choose_graded(cases, 99)) == len(cases)
    assert choose_graded(cases, 0) == []


def test_the_probability_told_is_the_calibrated_one(trained):
    before = np.array([case.probability for case in find_cases(trained, CPU, "predicted")])
    model = trained.model
    kept = model.calibration
    model.calibration = Calibration("temperature", (0.5, 0.5), (0.0, 0.0), 40, "")
    try:
        after = np.array([case.probability for case in find_cases(trained, CPU, "predicted")])
    finally:
        model.calibration = kept
    odds = np.log(before / (1 - before)) / 2
    np.testing.assert_allclose(after, 1 / (1 + np.exp(-odds)), atol=1e-6)


def test_untrained_weights_are_never_explained(processed_2d, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint of phantom_2d"):
        list(run(run_config(processed_2d, tmp_path)))
    assert not (tmp_path / "results").exists()
