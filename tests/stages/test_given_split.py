"""A split from a file, through the stages: preprocess, train, evaluate and cross-validation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import make_processed
from tiny_runs import run_config, train_once

from src.data.split_files import read_split
from src.errors import ConfigError, LeakageError, ManifestError
from src.evaluation.cross_validation import Study
from src.evaluation.open_checkpoint import open_trained
from src.manifest import Manifest
from src.stages import crossval, evaluate, preprocess

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_pixels")]
FROZEN = {"freeze_backbone": True}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("given") / "phantom_2d"
    return make_processed(root, "2d", people=(10, 8, 6, 6), images=1)


@pytest.fixture(scope="module")
def turned(data, tmp_path_factory):
    """A file in which the test people of the data set train; one of them is not in it."""
    table = Manifest.read(data).table.drop_duplicates("subject")
    side = np.where(table["split"] == "test", "train", table["split"])
    rows = table[["subject"]].assign(split=side)
    trained = table["subject"][table["split"] == "train"]
    rows.loc[trained.index[::2], "split"] = "test"
    path = tmp_path_factory.mktemp("file") / "turned.csv"
    rows.iloc[1:].to_csv(path, index=False)
    return path


def test_a_run_scores_the_test_people_of_the_file(data, turned, tmp_path):
    path = train_once(data, tmp_path, split=turned, run="mine", **FROZEN)
    config = run_config(data, tmp_path, checkpoint=path)
    list(evaluate.run(config))  # the file of the training counts, though none is named
    wanted = pd.read_csv(turned)
    tested = pd.read_csv(tmp_path / "results" / "mine" / "people.csv")["subject"]
    assert sorted(tested) == sorted(wanted["subject"][wanted["split"] == "test"])
    written = read_split(tmp_path / "results" / "mine" / "split.csv")
    meant = written.match(wanted["subject"])
    sides = dict(zip(written.rows["name"].map(meant), written.rows["side"], strict=True))
    assert sides == dict(zip(wanted["subject"], wanted["split"], strict=True))
    # Whoever takes the hashes tests the same people.
    hashed = replace(config.data, split=tmp_path / "results" / "mine" / "split.csv")
    assert set(open_trained(replace(config, data=hashed)).data.subjects) == set(tested)


def test_a_file_that_tests_people_of_the_training_is_refused(data, turned, tmp_path):
    path = train_once(data, tmp_path, **FROZEN)
    with pytest.raises(LeakageError, match="was trained or chosen on"):
        open_trained(run_config(data, tmp_path, checkpoint=path, split=turned))


def test_folds_of_a_file_are_the_folds_of_a_study(data, tmp_path):
    first = run_config(data, tmp_path, folds=3, repeats=2, seed=4, run="first", **FROZEN)
    list(crossval.run(first))
    folder = tmp_path / "results" / "first"
    for name in ("folds.csv", "split.csv"):
        again = run_config(data, tmp_path, split=folder / name, run="again", **FROZEN)
        study = Study(again)
        assert study.folds == Study(first).folds
        assert (study.config.crossval.folds, study.config.crossval.repeats) == (3, 2)
        assert study.divide(study.data.manifest, repeats=1) == study.folds[:3]
    list(crossval.run(again))
    assert (tmp_path / "results" / "again" / "split.csv").read_bytes() == (
        folder / "split.csv"
    ).read_bytes()
    with pytest.raises(ConfigError, match=r"--folds 4, and .*split\.csv has 3"):
        Study(run_config(data, tmp_path, split=folder / name, folds=4, **FROZEN))


def test_one_split_is_no_cross_validation(data, turned, tmp_path):
    with pytest.raises(ManifestError, match="divides people once"):
        Study(run_config(data, tmp_path, split=turned, **FROZEN))


def test_people_of_folds_that_name_fewer_are_a_study(data, tmp_path):
    folds = crossval_folds(data, tmp_path)
    left = folds["subject"].iloc[0]
    folds[folds["subject"] != left].to_csv(tmp_path / "fewer.csv", index=False)
    study = Study(run_config(data, tmp_path, split=tmp_path / "fewer.csv", **FROZEN))
    assert left not in set(study.data.subjects)
    assert len(set(study.data.subjects)) == 29


def crossval_folds(data, tmp_path):
    study = Study(run_config(data, tmp_path, folds=3, repeats=1, **FROZEN))
    study.write_folds(tmp_path / "study")
    return pd.read_csv(tmp_path / "study" / "folds.csv")


def test_preprocess_lays_people_where_the_file_says(tmp_path):
    settings = {
        "dataset": "phantom_2d",
        "data_root": tmp_path / "data",
        "phantom_subjects": 12,
        "phantom_voxel": 4.0,
        "num_slices": 2,
        "image_size": 32,
        "workers": 1,
    }
    config = run_config(tmp_path / "data" / "phantom_2d", tmp_path, **settings)
    list(preprocess.run(config))
    before = Manifest.read(tmp_path / "data" / "phantom_2d").people()["split"]
    sides = pd.Series(["test", "train", "val"] * 4)[: len(before) - 1].to_numpy()
    path = tmp_path / "mine.csv"
    pd.DataFrame({"subject": before.index[1:], "split": sides}).to_csv(path, index=False)
    list(preprocess.run(replace(config, data=replace(config.data, split=path))))
    after = Manifest.read(tmp_path / "data" / "phantom_2d")
    people = after.people()["split"]
    assert people[1:].tolist() == sides.tolist()
    assert pd.isna(people.iloc[0])
    alone = after.table[after.table["subject"] == before.index[0]]
    assert alone["path"].str.startswith("no_side/").all()
    assert (after.root / alone["path"].iloc[0]).is_file()
