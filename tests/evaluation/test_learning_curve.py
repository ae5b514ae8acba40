"""The score over the number of people: nested, the same test people; a flat one claims nothing."""

import json
import logging
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import make_processed
from tiny_runs import run_config

from src.data.splits import Fold, make_folds
from src.evaluation import learning_curve as curves
from src.evaluation.analyses.growth import Point, growth, slope
from src.evaluation.cross_validation import Study
from src.evaluation.fold_training import FoldTraining
from src.evaluation.learning_curve import SHARES, learning_curve, nested_folds
from src.evaluation.metrics.scores import METRICS
from src.files import read_json
from src.models.calibration import Calibration
from src.predictions import Predictions, unweighted
from src.report.documents.result_sections import learning_curve as learning_curve_text
from src.stages import crossval

CLASSES = ("NonDemented", "Demented")
PEOPLE, MEASURES = 240, 40


def _learnt(
    signal: float, *, repeats: int = 2, seed: int = 0, at_most: float = 1.0, people: int = PEOPLE
) -> list[Point]:
    """Return a curve of a ridge regression in 5 folds; more than `at_most` of the people add none.

    The signal is spread over all measures, so a fit to few people finds little of it.
    """
    rng = np.random.default_rng(seed)
    y = (np.arange(people) % 5 < 2).astype(int)  # of unequal classes
    x = rng.normal(size=(people, MEASURES)) + signal * y[:, None] / np.sqrt(MEASURES)
    points = []
    order = [rng.permutation(people) for _ in range(repeats)]
    for share in SHARES:
        said, who, repeat = [], [], []
        for r, fold in ((r, fold) for r in range(repeats) for fold in range(5)):
            test, rest = order[r][fold::5], np.delete(order[r], np.s_[fold::5])
            own = rest[: round(min(share, at_most) * len(rest))]
            centred = x[own] - x[own].mean(0)
            weights = np.linalg.solve(
                centred.T @ centred + 20 * np.eye(MEASURES), centred.T @ y[own]
            )
            score = (x[test] - x[own].mean(0)) @ weights
            said.append(np.stack([-score, score], axis=1))
            who.append(test)
            repeat += [r] * len(test)
        test = np.concatenate(who)
        rows = Predictions(y[test], np.concatenate(said), test.astype(str))
        points.append(Point(share, share * 0.8 * people, rows, None, np.array(repeat)))
    return points


def test_a_planted_signal_grows_and_is_carried_on():
    found = growth(_learnt(2.0), CLASSES, 300)
    values = [point["model"]["macro_auc"]["value"] for point in found["points"]]
    assert values[-1] > values[0] + 0.04
    assert found["late_per_doubling"]["model"]["macro_auc"]["low"] > 0
    assert "if it goes on so, 384 people would add about" in found["sentence"]
    assert found["sd_repeats"]["macro_auc"] > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_chance_is_flat_and_nothing_is_claimed(seed):
    found = growth(_learnt(0.0, seed=seed), CLASSES, 300)
    gain = found["late_per_doubling"]["model"]["macro_auc"]
    assert gain["low"] < 0
    assert found["sentence"].endswith("no growth is shown, so nothing is claimed for more people")
    assert "if it goes on so" not in found["sentence"]


def test_a_curve_that_rose_early_and_is_flat_since_promises_nothing():
    found = growth(_learnt(3.0, at_most=0.4), CLASSES, 300)
    assert found["per_doubling"]["model"]["macro_auc"]["value"] > 0.005
    assert found["late_per_doubling"]["model"]["macro_auc"]["value"] == pytest.approx(0)
    assert "nothing is claimed for more people" in found["sentence"]


def test_a_class_of_few_people_promises_nothing_however_the_curve_rises():
    found = growth(_learnt(6.0, people=20), CLASSES, 300)
    assert found["few_people"]
    assert found["sentence"].endswith(
        "with 8 people of Demented, nothing is claimed for more people"
    )


def test_points_are_the_scores_of_their_answers():
    points = _learnt(1.0)
    found = growth(points, CLASSES, 100)
    for point, own in zip(found["points"], points, strict=True):
        value = METRICS["balanced_accuracy"](unweighted(own.model))[0]
        assert point["model"]["balanced_accuracy"]["value"] == pytest.approx(value)


def test_the_slope_is_that_of_a_line_and_of_one_size_not_defined():
    x = np.log2([10.0, 20.0, 35.0, 80.0])
    y = np.array([[0.3], [-0.1]]) * x + [[0.2], [0.9]]
    assert slope(x, y) == pytest.approx([0.3, -0.1])
    assert np.isnan(slope(np.full(3, 2.0), np.ones((2, 3)))).all()


@pytest.fixture(scope="module")
def stages():
    counts = {"NonDemented": 23, "VeryMildDemented": 14, "MildDemented": 9, "ModerateDemented": 3}
    return pd.Series({f"{s}{n}": s for s, count in counts.items() for n in range(count)})


def _fold(stages: pd.Series) -> Fold:
    table = pd.DataFrame({"label": stages})
    people = SimpleNamespace(people=lambda: table, root="phantoms")
    return make_folds(people, folds=4, repeats=1, val_fraction=0.2, seed=3)[1]


def test_smaller_subsets_lie_inside_larger_ones_and_the_last_is_the_fold(stages):
    fold = _fold(stages)
    nested = nested_folds(fold, stages, 5)
    for small, large in pairwise(nested):
        assert set(small.train) <= set(large.train)
        assert set(small.val) <= set(large.val)
        assert len(small.development) < len(large.development)
    assert nested[-1] == fold
    assert {one.test for one in nested} == {fold.test}
    assert nested == nested_folds(fold, stages[::-1], 5)
    assert nested[0] != nested_folds(fold, stages, 6)[0]


def test_every_stage_gives_its_share_and_none_is_lost(stages):
    fold = _fold(stages)
    whole = stages[list(fold.train)].value_counts()
    for share, one in zip(SHARES, nested_folds(fold, stages, 5), strict=True):
        counts = stages[list(one.train)].value_counts()
        assert set(counts.index) == set(whole.index)
        for stage, count in counts.items():
            assert count == max(round(share * whole[stage]), min(2, whole[stage]))


class _Training:
    """Stands for `FoldTraining`: answers at once, and knows whom it was trained on."""

    def __init__(self, study: Study, most: int = 10**6) -> None:
        self.study, self.most, self.seen = study, most, []

    def fit(self, manifest, fold, seed, *, keep):
        assert not keep
        assert seed == 0
        if len(self.seen) == self.most:
            raise KeyboardInterrupt
        self.seen.append(fold)
        sides = manifest.people().groupby("split").groups
        assert tuple(sorted(sides["train"])) == fold.train
        return _unit(self.study, fold, len(self.seen))


def _unit(study, fold, seed):
    labels = study.data.manifest.people()["label"].map(study.data.scheme.index)
    truth = labels[list(fold.test)].to_numpy(dtype=np.int64)
    logits = np.random.default_rng(seed).normal(size=(len(truth), 2))
    people = Predictions(truth, logits, np.array(fold.test, dtype=object))
    calibration = Calibration.none(2, "")
    return SimpleNamespace(
        repeat=fold.repeat, fold=fold.fold, seed=0, people=people, calibration=calibration
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("curve") / "phantom_2d"
    return make_processed(root, "2d", people=(30, 16, 11, 7), images=1)


@pytest.fixture
def study(data, tmp_path):
    return Study(run_config(data, tmp_path, freeze_backbone=True, folds=2, repeats=2))


@pytest.fixture
def unmeasured(monkeypatch):
    """The rival is left out: fitting it takes most of the time."""
    monkeypatch.setattr(curves, "_dark_voxels", lambda study: (None, "not measured here"))


def _curve(study, training, folder):
    units = [_unit(study, fold, 100 + fold.fold) for fold in study.folds]
    return learning_curve(study, training, folder, units, 50)


@pytest.mark.usefixtures("unmeasured")
def test_each_fold_is_trained_on_each_share_and_tests_the_same_people(study, tmp_path):
    training = _Training(study)
    found = _curve(study, training, tmp_path)
    assert len(training.seen) == 2 * 2 * (len(SHARES) - 1)
    for fold in study.folds:
        own = [one for one in training.seen if one.name == fold.name]
        assert {one.test for one in own} == {fold.test}
        assert len({one.development for one in own}) == len(SHARES) - 1
    assert found["n_people"] == 64
    assert found["points"][-1]["n_people"] == pytest.approx(32)
    assert found["reason_dark_voxels"] == "not measured here"
    text = learning_curve_text({"learning_curve": found})
    assert text[1][0].startswith("Macro AUC with ")
    assert "Dark voxels: not measured here." in text[1][0]
    assert len(text[2]) == 2 + len(SHARES) + 2


def test_the_rival_learns_from_the_same_people(study, tmp_path, monkeypatch):
    asked = []
    own = curves.rival_predictions

    def watch(measures, labels, divisions, *more):
        asked.extend(divisions)
        return own(measures, labels, divisions, *more)

    monkeypatch.setattr(curves, "rival_predictions", watch)
    training = _Training(study)
    found = _curve(study, training, tmp_path)
    assert "dark_voxels" in found["points"][0]
    theirs = {(one.development, one.test) for one in asked}
    assert {(one.development, one.test) for one in training.seen} < theirs
    assert {(one.development, one.test) for one in study.folds} < theirs


@pytest.mark.usefixtures("unmeasured")
def test_a_stopped_curve_goes_on_and_comes_to_the_same(study, tmp_path):
    whole = _curve(study, _Training(study), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _curve(study, _Training(study, most=5), tmp_path / "stopped")
    rest = _Training(study)
    rest.seen = [None] * 5  # the answers of this stand-in go by their number
    assert _curve(study, rest, tmp_path / "stopped") == whole
    assert len(rest.seen) == 16
    again = _Training(study, most=0)
    assert _curve(study, again, tmp_path / "stopped") == whole


@pytest.mark.usefixtures("unmeasured")
def test_an_edited_answer_is_found_and_trained_again(study, tmp_path, caplog):
    _curve(study, _Training(study), tmp_path)
    path = tmp_path / "learning_curve.json"
    content = read_json(path)
    content["parts"][3]["logits"][1][0] += 1
    path.write_text(json.dumps(content), encoding="utf-8")
    training = _Training(study)
    _curve(study, training, tmp_path)
    assert len(training.seen) == 16
    assert "learning_curve.json is damaged" in caplog.text


@pytest.mark.usefixtures("unmeasured")
def test_answers_of_other_settings_are_not_mixed(study, data, tmp_path, caplog):
    _curve(study, _Training(study), tmp_path)
    settings = {"freeze_backbone": True, "folds": 2, "repeats": 2, "loss": "ce"}
    other = Study(run_config(data, tmp_path, **settings))
    training = _Training(other)
    _curve(other, training, tmp_path)
    assert len(training.seen) == 16
    assert "is of other settings" in caplog.text


@pytest.mark.usefixtures("unmeasured")
def test_networks_that_are_trained_whole_are_counted_first(data, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    whole = Study(run_config(data, tmp_path, folds=2, repeats=1))
    _curve(whole, _Training(whole), tmp_path)
    assert "--learning_curve trains 8 networks" in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("few_pixels")
def test_a_study_writes_its_curve_and_a_second_call_trains_nothing(data, tmp_path, monkeypatch):
    settings = {"freeze_backbone": True, "folds": 2, "repeats": 1, "learning_curve": True}
    config = run_config(data, tmp_path, **settings)
    files = list(crossval.run(config))
    assert "learning_curve.png" in {path.name for path in files}
    folder = tmp_path / "results" / "phantom_2d_efficientnet_lite0_2classes_crossval"
    results = read_json(folder / "metrics.json")
    section = results["learning_curve"]
    for name in ("balanced_accuracy", "macro_auc"):
        assert section["points"][-1]["model"][name] == results["person"]["metrics"][name]
        rival = next(one for one in results["rivals"] if one["name"] == "dark_voxels")
        assert section["points"][-1]["dark_voxels"][name] == rival["metrics"][name]
    assert section["sentence"] in (folder / "metrics.md").read_text(encoding="utf-8")
    monkeypatch.setattr(FoldTraining, "fit", None)  # nothing is trained again
    list(crossval.run(config))
    assert read_json(folder / "metrics.json")["learning_curve"] == section
