"""Maps of everyone in a cross-validation, each by the fold's model that never saw the person."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_processed
from tiny_runs import run_config

from src.data.sessions import images_of, placed
from src.errors import CheckpointError, ConfigError, LeakageError
from src.evaluation.fold_checkpoints import open_folds
from src.evaluation.open_checkpoint import load_trained
from src.files import read_json, write_json
from src.maps import map_run
from src.maps.attribution import Attribution, in_steps
from src.maps.cases import map_of
from src.report.page.gather import gather
from src.report.page.maps import maps_of
from src.stages import crossval, gradcam

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]

FOLDS = {"freeze_backbone": True, "folds": 2, "repeats": 2, "keep_models": True, "run": "mine"}
# So few pixels leave nothing on the deeper layers of a 2D network.
MAPS = {"out_of_fold": True, "run": "mine", "layer": "features.3", "graded": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("people") / "phantom_2d"
    return make_processed(root, "2d", people=(7, 7, 0, 0), images=2)


@pytest.fixture(scope="module")
def root(data, tmp_path_factory):
    """A folder with a cross-validation whose models were kept; read only."""
    folder = tmp_path_factory.mktemp("folds")
    list(crossval.run(run_config(data, folder, **FOLDS)))
    return folder


@pytest.fixture(scope="module")
def written(data, root):
    return {path.name: path for path in gradcam.run(run_config(data, root, **MAPS))}


@pytest.fixture
def mine(root, tmp_path):
    """A copy of `root` to spoil."""
    return shutil.copytree(root, tmp_path / "mine")


def left_out(root):
    """Return the fold of the first repeat that left each person out, by person."""
    folds = pd.read_csv(root / "results" / "mine" / "folds.csv")
    return folds[(folds["repeat"] == 0) & (folds["side"] == "test")].set_index("subject")["fold"]


def test_everyone_has_one_map_of_the_fold_that_left_the_person_out(written, root):
    table, fold = pd.read_csv(written["maps.csv"]), left_out(root)
    assert sorted(table["subject"]) == sorted(fold.index)
    assert len(table) == 14
    assert table["fold"].tolist() == fold[table["subject"]].tolist()
    assert table["fold"].nunique() == 2
    content = read_json(written["explain.json"])
    assert (content["n_models"], content["n_people"], content["n_maps"]) == (2, 14, 14)
    assert content["run"] == "mine"


def test_what_is_explained_is_what_the_cross_validation_answered(written, root):
    people = pd.read_csv(root / "results" / "mine" / "people.csv")
    said = people[people["repeat"] == 0].set_index("subject")
    table = pd.read_csv(written["maps.csv"]).set_index("subject")
    said = said.loc[table.index]
    assert table["predicted"].tolist() == said["predicted"].tolist()
    told = [row[f"p_{row['predicted']}"] for _, row in said.iterrows()]
    assert table["p"].tolist() == pytest.approx(told, abs=1e-4)


@pytest.mark.parametrize("fold", [0, 1])
def test_a_map_is_that_of_its_folds_checkpoint(written, root, data, fold):
    path = root / "checkpoints" / "mine" / f"repeat0_fold{fold}_seed0" / "best_model.pth"
    model, _ = load_trained(path)
    maps = map_run.open_maps(run_config(data, root, **MAPS))
    table = pd.read_csv(written["maps.csv"])
    row = table[(table["fold"] == fold) & (table["maximum"] > 0)].iloc[-1]
    case = next(case for case in maps.cases if case.subject == row["subject"])
    images = images_of(maps.data, case)
    assert set(maps.data.subjects[[*case.rows]]) == {row["subject"]}
    assert len(images) == 2
    made, strength = in_steps(map_of(Attribution(model, "hirescam", "features.3"), images, case))
    stored = np.asarray(nib.load(written["maps.csv"].parent / row["map"]).dataobj)
    assert strength == pytest.approx(row["maximum"], rel=1e-4)
    np.testing.assert_allclose(stored, placed(made, case).data, atol=2e-3)
    with torch.no_grad():
        logits = model(images).double().mean(dim=0, keepdim=True).numpy()
    told = table.set_index("subject").loc[row["subject"], "p"]
    assert case.probability == pytest.approx(told, abs=1e-5)
    assert int(logits.argmax()) == case.predicted


def test_the_first_model_is_graded_on_its_own_people_and_the_figure_says_so(
    data, root, tmp_path, monkeypatch
):
    seen, captions = {}, []
    for name in ("person_figure", "mosaic"):
        monkeypatch.setattr(f"src.maps.people_files.{name}", lambda path, *_, **__: path)

    def grade(explainer, images, *_, training, **__):
        seen.update(explainer=explainer, images=images, training=training)
        return {"verdict": "PASS", "checks": []}

    monkeypatch.setattr("src.maps.explain.grade_maps", grade)
    monkeypatch.setattr(
        "src.stages.gradcam.grade_figure",
        lambda path, grade, name, caption, **_: captions.append(caption) or path,
    )
    folder = shutil.copytree(root, tmp_path / "mine")
    list(gradcam.run(run_config(data, folder, **{**MAPS, "graded": 50})))
    fold = left_out(root)
    assert len(seen["images"]) == (fold == 0).sum()
    assert set(seen["training"].subjects) < set(fold.index[fold == 1])
    first = open_folds(run_config(data, root, **MAPS))[0].model.state_dict()
    for name, value in seen["explainer"].model.state_dict().items():
        assert torch.equal(value, first[name])
    assert "the fold's model that never saw the person" in captions[0]
    assert "Tested: the model of fold 0" in captions[0]


def test_the_report_takes_the_maps_as_those_of_the_cross_validation(written, root):
    files = gather(root / "results" / "mine")
    assert files.explained is not None
    assert len(files.map_rows) == 14
    assert files.notes == ()
    about = maps_of(files, width=200, voxels=20, most=1).about
    assert "14 maps of 14 people. Each person by the fold's model that never saw" in about
    assert "of 2 models; tested: the first" in about


def test_a_person_who_was_trained_on_is_refused(data, mine):
    path = mine / "results" / "mine" / "folds.csv"
    folds = pd.read_csv(path)
    folds.assign(fold=1 - folds["fold"]).to_csv(path, index=False)
    with pytest.raises(LeakageError, match=r"fold0_seed0.* was trained or chosen on 7 of 7 test"):
        list(gradcam.run(run_config(data, mine, **MAPS)))


def test_missing_checkpoints_are_named_with_a_command_that_makes_them(data, mine):
    gone = mine / "checkpoints" / "mine" / "repeat0_fold1_seed0" / "best_model.pth"
    gone.unlink()
    with pytest.raises(CheckpointError, match=r"missing for 1 of 2 folds .*fold1_seed0") as caught:
        list(gradcam.run(run_config(data, mine, **MAPS)))
    config = mine / "results" / "mine" / "config.json"
    assert caught.value.hint == (
        f"python main.py --mode crossval --config {config} --run mine --keep_models"
    )
    settings = read_json(config)
    settings["crossval"]["harmonise"] = "combat"
    write_json(config, settings)
    with pytest.raises(ConfigError, match="with --harmonise, which keeps no checkpoints"):
        list(gradcam.run(run_config(data, mine, **MAPS)))


def test_a_checkpoint_of_other_settings_is_refused(data, mine):
    path = mine / "results" / "mine" / "config.json"
    settings = read_json(path)
    settings["train"]["epochs"] += 1
    write_json(path, settings)
    with pytest.raises(CheckpointError, match="other settings than the results: epochs"):
        open_folds(run_config(data, mine, **MAPS))
    settings["train"] |= {"epochs": settings["train"]["epochs"] - 1, "search": 2, "loss": "ce"}
    write_json(path, settings)  # a search may choose another loss in each fold
    assert len(open_folds(run_config(data, mine, **MAPS))) == 2
    write_json(path, {"train": {}})
    with pytest.raises(CheckpointError, match=r"config.json is damaged"):
        open_folds(run_config(data, mine, **MAPS))


def test_a_run_that_is_no_cross_validation_is_told_apart(data, root):
    with pytest.raises(CheckpointError, match="other holds no cross-validation") as caught:
        list(gradcam.run(run_config(data, root, **{**MAPS, "run": "other"})))
    assert "--run NAME, of mine" in caught.value.hint


@pytest.mark.parametrize("more", [{"checkpoint": "model.pth"}, {"split": "folds.csv"}])
def test_models_and_people_are_those_of_the_cross_validation(data, tmp_path, more):
    with pytest.raises(ConfigError, match=f"it takes no --{next(iter(more))}"):
        run_config(data, tmp_path, **MAPS, **more)
