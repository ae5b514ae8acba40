"""One site is tested after the other; ComBat is fitted without it, or to it without its labels."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from conftest import make_processed
from tiny_runs import run_config

from src.errors import ConfigError
from src.evaluation.cross_validation import Study
from src.files import read_json
from src.manifest import Manifest
from src.stages import crossval, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]
SETTINGS = {"freeze_backbone": True}
STUDY = "phantom_2d_efficientnet_lite0_2classes_crossval_hold_out_site"


def give_sites(folder, missing=(), moved=()):
    """Give people one of three sites, unequal ones, in a processed folder."""
    manifest = Manifest.read(folder)
    people = sorted(manifest.table["subject"].unique())
    site = {name: "North" if i % 7 < 3 else "South" if i % 7 < 6 else "\u00c9st <1>"
            for i, name in enumerate(people)}  # fmt: skip
    values = manifest.table["subject"].map(site)
    values = values.mask(manifest.table["subject"].isin(missing))
    later = manifest.table["subject"].isin(moved) & manifest.table.duplicated("subject")
    manifest.with_columns(site=values.mask(later, "Elsewhere")).write(folder)
    return site


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("sites") / "phantom_2d"
    make_processed(root, "2d", people=(22, 9, 6, 5), images=2)
    give_sites(root)
    return root


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    config = run_config(data, tmp_path_factory.mktemp("done"), **SETTINGS, hold_out="site")
    list(crossval.run(config))
    return config.results_dir / STUDY


def test_every_site_is_a_fold_that_names_it(done, data):
    section = read_json(done / "metrics.json")["crossval"]
    assert (section["folds"], section["repeats"], section["hold_out"]) == (3, 1, "site")
    assert [fold["held_out"] for fold in section["per_fold"]] == ["North", "South", "\u00c9st <1>"]
    people = pd.read_csv(done / "people.csv")
    site = Manifest.read(data).people()["site"]
    number = {"North": 0, "South": 1, "\u00c9st <1>": 2}
    assert people["fold"].tolist() == [number[site[name]] for name in people["subject"]]
    text = (done / "metrics.md").read_text(encoding="utf-8")
    assert "one site left out at a time" in text
    assert "North" in text


def test_the_site_as_a_rival_knows_nothing_of_a_new_site(done):
    rivals = {one["name"]: one for one in read_json(done / "metrics.json")["rivals"]}
    assert rivals["site"]["available"]
    assert rivals["site"]["metrics"]["balanced_accuracy"]["value"] < 0.65


def test_harmonised_folds_say_so_and_are_others(data, done, tmp_path):
    config = run_config(data, tmp_path, **SETTINGS, hold_out="site", harmonise="combat")
    list(crossval.run(config))
    folder = config.results_dir / f"{STUDY}_combat"
    results = read_json(folder / "metrics.json")
    assert "transductive" in results["crossval"]["harmonised"]
    both = [pd.read_csv(one / "people.csv") for one in (folder, done)]
    assert both[0]["subject"].tolist() == both[1]["subject"].tolist()
    columns = [name for name in both[0] if name.startswith("p_")] or list(both[0])[-2:]
    assert not np.allclose(both[0][columns], both[1][columns])
    assert not list(config.checkpoint_dir.rglob("*.pth"))
    assert "transductive" in (folder / "metrics.md").read_text(encoding="utf-8")
    notes = {one["name"]: one["note"] for one in results["rivals"]}
    assert "ComBat" in notes["table"]
    assert "ComBat" not in notes["age_sex"]


def test_labels_of_a_held_out_site_change_no_answer_on_it(data, tmp_path):
    """Turn all labels of the first site: what is said of its people stays."""
    said = []
    for turned in (False, True):
        root = tmp_path / str(turned) / "phantom_2d"
        make_processed(root, "2d", people=(22, 9, 6, 5), images=2)
        site = give_sites(root)
        if turned:
            table = Manifest.read(root)
            names = {"NonDemented": "MildDemented"}
            label = table.table["label"]
            new = label.map(names).fillna("NonDemented")
            own = table.table["subject"].map(site) == "North"
            table.with_columns(label=label.mask(own, new)).write(root)
        config = run_config(root, tmp_path / str(turned), **SETTINGS, hold_out="site",
                            harmonise="combat", fold=0)  # fmt: skip
        study = Study(config)
        list(crossval.run(config))
        (fold, seed), *_ = study.jobs()
        unit = study.read(config.results_dir / study.name, fold, seed)
        said.append(pd.DataFrame(unit.people.logits, unit.people.subjects).sort_index())
    pd.testing.assert_frame_equal(said[0], said[1])


def test_people_of_no_site_or_of_two_are_left_out_with_a_count(tmp_path, caplog):
    root = tmp_path / "phantom_2d"
    make_processed(root, "2d", people=(12, 9, 6, 5), images=2)
    names = sorted(Manifest.read(root).table["subject"].unique())
    give_sites(root, missing=names[:3], moved=names[4:5])
    with caplog.at_level(logging.WARNING):
        study = Study(run_config(root, tmp_path, **SETTINGS, hold_out="site"))
    assert "left out: 3 people with no site" in caplog.text
    assert "left out: 1 person with scans of more than one site" in caplog.text
    tested = [name for fold in study.folds for name in fold.test]
    assert sorted(tested) == [name for name in names if name not in (*names[:3], names[4])]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"hold_out": "site", "folds": 4}, "it takes no --folds"),
        ({"hold_out": "site", "repeat": 1}, "is not in 0 to 0"),
        ({"harmonise": "combat", "freeze_backbone": False}, "needs --freeze_backbone"),
        ({"harmonise": "combat", "hold_out": "scanner"}, "goes by site"),
    ],
)
def test_flags_that_do_not_go_together(data, tmp_path, settings, why):
    with pytest.raises(ConfigError, match=why):
        run_config(data, tmp_path, **SETTINGS | settings)


def test_what_cannot_be_divided_is_said(data, tmp_path):
    with pytest.raises(ConfigError, match="fold 3 is not in 0 to 2: there is one for each site"):
        Study(run_config(data, tmp_path, **SETTINGS, hold_out="site", fold=3))
    with pytest.raises(ConfigError, match=r"nobody of .* has a scanner"):
        Study(run_config(data, tmp_path, **SETTINGS, hold_out="scanner"))
    root = tmp_path / "one" / "phantom_2d"
    make_processed(root, "2d", people=(6, 6, 0, 0), images=1)
    Manifest.read(root).with_columns(site="North").write(root)
    with pytest.raises(ConfigError, match="is of one site, North: nobody is left") as error:
        Study(run_config(root, tmp_path, **SETTINGS, hold_out="site"))
    assert error.value.hint == "leave --hold_out site out"
    with pytest.raises(ConfigError, match="nothing to harmonise"):
        Study(run_config(root, tmp_path, **SETTINGS, harmonise="combat"))


def test_training_refuses_what_a_model_would_not_carry(data, tmp_path):
    with pytest.raises(ConfigError, match="for crossval only"):
        list(train.run(run_config(data, tmp_path, **SETTINGS, harmonise="combat")))
