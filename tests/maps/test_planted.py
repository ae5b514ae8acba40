"""The gradcam stage on generated brains: groups, regions and the planted truth, end to end."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from src.cohorts.phantom.truth import planted_change
from src.config import RunConfig
from src.config.options import build_config
from src.data.sessions import images_of, placed
from src.evaluation.open_checkpoint import open_trained
from src.maps import explain, planted
from src.maps.attribution import Attribution
from src.maps.cases import find_cases, map_of
from src.maps.groups import RunningMean
from src.maps.planted import Scorer, _Planted, summarise_phantoms, who_counts
from src.maps.truth import MapScore
from src.preprocessing.space.grid import PlacedVolume, to_scan_grid
from src.preprocessing.space.template import template
from src.stages import crossval, gradcam, preprocess, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]


def config(root, dim, **settings) -> RunConfig:
    small = {
        "dataset": f"phantom_{dim}", "data_root": root / "data", "checkpoint_dir": root / "ck",
        "results_dir": root / "results", "phantom_subjects": 20, "phantom_voxel": 4.0,
        "volume_size": 32, "image_size": 32, "num_slices": 6, "epochs": 1, "weights": "none",
        "bootstrap": 100, "samples": 1, "graded": 0, "device": "cpu", "workers": 1, "classes": 2,
        "test_fraction": 0.4, "backbone": "simple" if dim == "3d" else "resnet18",
    }  # fmt: skip
    return build_config(RunConfig, {**small, **settings})


def make(root, dim, **settings) -> RunConfig:
    made = config(root, dim, **settings)
    list(preprocess.run(made))
    list(train.run(made))
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    make(folder, "3d")
    return folder


@pytest.fixture(scope="module")
def written(root):
    return {path.name: path for path in gradcam.run(config(root, "3d"))}


def test_group_maps_lie_in_template_space_with_their_people(written):
    content = json.loads(written["explain.json"].read_text(encoding="utf-8"))
    folder = written["explain.json"].parent
    assert content["groups"]["available"]
    whole = [row for row in content["groups"]["maps"] if "," not in row["name"]]
    tested = pd.read_csv(written["maps.csv"]).drop_duplicates("subject")["class"].value_counts()
    for row in whole:
        image = nib.load(folder / row["mean"])
        assert np.allclose(image.affine, template().affine)
        assert image.shape == template().t1.shape
        assert (
            row["n_people"] == tested[row["name"]] - len(content["groups"]["empty_maps"])
            or (content["groups"]["empty_maps"])
        )
    placement = np.array(content["groups"]["placement"]["matrix"])
    # The phantom's own frame starts at MNI (-86, -119, -81) mm, and is not scaled.
    assert placement[:3, 3] == pytest.approx([-86, -119, -81], abs=4)
    assert np.diag(placement)[:3] == pytest.approx([1, 1, 1], abs=0.05)


def test_regions_are_told_for_everyone_and_each_class(written):
    table = pd.read_csv(written["regions.csv"])
    assert set(table["class"]) == {"all", "NonDemented", "Demented"}
    assert {"lateral ventricles", "hippocampi", "outside the brain"} <= set(table["region"])
    everyone = table[table["class"] == "all"].set_index("region")
    inside = everyone.drop("outside the brain")
    assert inside["share"].sum() == pytest.approx(1, abs=0.02)
    assert written["regions.png"].is_file()


def truth_as_map(trained, case):
    """Return the case's planted change as a map on its processed grid."""
    change = planted_change(trained.data.settings, case.subject).change
    ones = placed(images_of(trained.data, case)[:, 0].numpy(), case)
    stored = PlacedVolume(change, np.eye(4), case.record.frame)
    to = ones.to_stored
    values = ndimage.affine_transform(stored.data, to[:3, :3], to[:3, 3], ones.data.shape, order=1)
    return ones.replaced(values)


def own_score(trained, case, volume):
    """Return the score of a map as if it were the run's own."""
    attribution, images = Attribution(trained.model), images_of(trained.data, case)
    scores = Scorer(attribution, trained.data).scores(case, images, to_scan_grid(volume))
    return scores["hirescam", "+".join(attribution.layers)]


def test_the_planted_change_itself_scores_best_and_its_place_is_kept(root):
    trained = open_trained(config(root, "3d"))
    case = next(case for case in find_cases(trained, torch.device("cpu"), "true") if case.truth)
    truth = truth_as_map(trained, case)
    best = own_score(trained, case, truth)
    assert best.pointing
    assert best.auc > 0.9
    away = truth.replaced(np.roll(truth.data, 8, axis=1))
    moved = own_score(trained, case, away)
    assert not moved.pointing
    assert moved.auc < best.auc - 0.1


def test_the_run_of_several_methods_gives_what_each_gives_alone(root):
    trained = open_trained(config(root, "3d"))
    attribution = Attribution(trained.model)
    cases = find_cases(trained, torch.device("cpu"), "true")
    first = {case.subject: case for case in cases if case.truth}
    ill = list(first.values())[:2]
    right = [type(case)(**{**vars(case), "predicted": case.truth}) for case in ill]
    scores = {}
    for case in right:
        images = images_of(trained.data, case)
        scan = to_scan_grid(placed(map_of(attribution, images, case), case))
        scores[case.name] = Scorer(attribution, trained.data).scores(case, images, scan)
    options = {"n_bootstrap": 100, "seed": 0}
    found = summarise_phantoms(attribution, trained.data, right, scores, **options)
    again = Attribution(trained.model, "gradcam")
    each = []
    for case in right:
        images = images_of(trained.data, case)
        scan = to_scan_grid(placed(map_of(again, images, case), case))
        own = Scorer(again, trained.data).scores(case, images, scan)
        each.append(own["gradcam", "+".join(again.layers)])
    row = next(row for row in found["methods"] if row["method"] == "gradcam")
    assert row["auc"]["value"] == pytest.approx(np.mean([one.auc for one in each]), abs=5e-3)
    assert found["methods"][0]["own"]
    centre = next(row for row in found["methods"] if row["method"] == "centre")
    assert centre["layers"] == "no model"
    assert centre["auc"]["value"] > 0.55  # the planted places are not at the surface
    key = ("hirescam", "+".join(attribution.layers))
    values = [scores[case.name][key].energy_ratio for case in right]
    assert found["methods"][0]["energy_ratio"]["value"] == pytest.approx(np.mean(values))
    assert isinstance(each[0], MapScore)


def test_only_the_rightly_classified_ill_count_and_in_a_control_everyone(root):
    trained = open_trained(config(root, "3d"))
    cases = find_cases(trained, torch.device("cpu"), "true")
    settings = trained.data.settings
    chosen, planted = who_counts(cases, settings)
    assert planted
    assert all(case.correct and case.truth for case in chosen)
    control = {**settings, "phantom": {**settings["phantom"], "phantom_effect": 0.0}}
    chosen, planted = who_counts(cases, control)
    assert not planted
    assert len(chosen) == len({case.subject for case in cases})
    assert who_counts(cases, {"cohort": "oasis"}) == ([], False)


def test_stacked_slices_reach_template_space_and_a_control_is_scored(tmp_path):
    made = make(tmp_path, "2d", phantom_effect=0.0)
    written = {path.name: path for path in gradcam.run(made)}
    content = json.loads(written["explain.json"].read_text(encoding="utf-8"))
    row = pd.read_csv(written["maps.csv"]).iloc[0]
    scan = nib.load(written["maps.csv"].parent / row["map_in_scan"])
    raw = next((tmp_path / "data" / "phantom").rglob(f"{row['subject']}_MR1*.img"))
    assert scan.shape == nib.load(raw).shape[:3]
    assert np.allclose(scan.affine, nib.load(raw).affine)
    assert content["groups"]["available"], content["groups"]["reason"]
    found = content["phantom"]
    assert (found["planted"], found["who"]) == (False, "everyone")
    assert sum(row["own"] for row in found["methods"]) == 1
    assert {row["method"] for row in found["methods"]} == {
        "gradcam", "gradcam++", "layercam", "hirescam", "centre", "edges",
    }  # fmt: skip
    assert {row["n_people"] for row in found["methods"]} == {content["n_people"]}
    reason = "nothing was planted in these people"
    assert explain._own_score(found) == {"available": False, "reason": reason}


def test_everyone_of_a_cross_validation_is_held_against_the_truth(root, monkeypatch):
    def everyone(cases, _):  # also those whom one epoch gets wrong
        return list({case.subject: case for case in cases}.values()), True

    for module in (explain, planted):
        monkeypatch.setattr(module, "who_counts", everyone)
    folds = {"run": "folds", "folds": 2, "repeats": 1, "repeat": 0}
    list(crossval.run(config(root, "3d", **folds)))
    asked = config(root, "3d", run="folds", out_of_fold=True)
    written = {path.name: path for path in gradcam.run(asked)}
    people = pd.read_csv(written["maps.csv"]).drop_duplicates("subject")
    content = json.loads(written["explain.json"].read_text(encoding="utf-8"))
    assert content["n_people"] == len(people) == 20
    assert people["fold"].nunique() == 2
    assert {row["n_people"] for row in content["phantom"]["methods"]} == {20}
    full = people[people["maximum"] > 0]["class"].value_counts()
    groups = {row["name"]: row["n_people"] for row in content["groups"]["maps"]}
    assert {name: groups[name] for name in full.index} == full.to_dict()
    regions = pd.read_csv(written["regions.csv"])
    assert set(regions.loc[regions["class"] == "all", "n_people"]) == {full.sum()}


def test_what_slices_weigh_is_held_against_the_change_that_each_holds(tmp_path):
    frozen = {"pool": "attention", "freeze_backbone": True}
    made = make(tmp_path, "2d", **frozen)
    trained = open_trained(made)
    cases = find_cases(trained, torch.device("cpu"), "true")
    whole = {case.subject: 0.0 for case in cases}
    for case in cases:
        assert len(case.weights) == len(case.slices) == 6
        whole[case.subject] += case.weights.sum()
    assert list(whole.values()) == pytest.approx([1] * len(whole))
    case = next(case for case in cases if case.truth)
    found = _Planted(trained.data, case, images_of(trained.data, case)).of_slices(case)
    change = planted_change(trained.data.settings, case.subject).change
    direct = change.sum(axis=(0, 1))[list(case.slices)]  # stored as X Y Z, cut along Z
    assert direct.argmax() not in (0, 5)
    np.testing.assert_allclose(found / found.max(), direct / direct.max(), atol=0.1)
    written = {path.name: path for path in gradcam.run(made)}
    section = json.loads(written["explain.json"].read_text(encoding="utf-8"))["phantom"]
    assert section["available"], section["reason"]
    assert section["slices"]["sentence"].startswith("Slices that hold the planted change")
    assert 0 <= section["slices"]["auc"]["value"] <= 1


def test_the_grade_hears_of_the_better_map_without_a_model():
    def row(method, layers, ratio):
        return {"method": method, "layers": layers, "own": method == "ig", "energy_ratio": ratio}

    rows = [row("ig", "image", 3.0), row("centre", "no model", 1.2), row("edges", "no model", 1.4)]
    methods = [one | {"energy_ratio": {"value": one["energy_ratio"]}} for one in rows]
    found = explain._own_score({"available": True, "planted": True, "methods": methods})
    assert found["method"] == "ig"
    assert found["rival"] == {"method": "edges", "energy_ratio": 1.4}


def test_a_users_atlas_names_the_regions(root, tmp_path, monkeypatch):
    monkeypatch.setattr(explain, "who_counts", lambda *_: ([], True))  # nobody is scored here,
    monkeypatch.setattr(gradcam, "against_truth", lambda *_: None)
    monkeypatch.setattr(gradcam, "write_people", lambda *_: ())  # and nobody drawn
    brain, affine = template().t1 > 0, template().affine
    labels = np.where(brain, 3, 0).astype(np.int16)
    labels[: labels.shape[0] // 2][brain[: labels.shape[0] // 2]] = 7
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "halves.nii.gz")
    (tmp_path / "names.txt").write_text("3 one side\n7 the other\n", encoding="utf-8")
    files = {"atlas": tmp_path / "halves.nii.gz", "atlas_labels": tmp_path / "names.txt"}
    written = {path.name: path for path in gradcam.run(config(root, "3d", **files))}
    table = pd.read_csv(written["regions.csv"])
    assert {"one side", "the other", "outside the brain"} <= set(table["region"])


def test_a_map_goes_to_the_scan_and_the_template_at_one_place(root):
    """A blob in the right front: in RAS+ mm it is right and front in both."""
    trained = open_trained(config(root, "3d"))
    case = find_cases(trained, torch.device("cpu"), "true")[0]
    image = placed(images_of(trained.data, case)[:, 0].numpy(), case)
    blob = np.zeros_like(image.data)
    blob[20:23, 22:25, 14:17] = 1
    scan = to_scan_grid(image.replaced(blob))
    at = [axis.mean() for axis in np.nonzero(scan > 0.5)]
    ras = nib.affines.apply_affine(case.record.frame.to_ras, at)
    expected = nib.affines.apply_affine(image.to_ras, [21, 23, 15])
    assert ras == pytest.approx(expected, abs=4)
    assert RunningMean("x", (1, 2, 3)).n_people == 0
