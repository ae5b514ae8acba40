"""A search sees validation people only, tries what it says, and goes on where it was stopped."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from conftest import make_processed
from tiny_runs import run_config

from src.config.options import build_config
from src.config.run import RunConfig
from src.errors import ConfigError, ManifestError
from src.evaluation import fold_training
from src.evaluation.out_of_fold import Unit
from src.labels import class_scheme
from src.models.checkpoint import load_checkpoint
from src.predictions import Predictions
from src.report.documents.result_sections import crossval as crossval_words
from src.report.documents.run_facts import pooled_by
from src.stages import crossval, train
from src.training import search as search_module
from src.training.search import (
    DROPOUTS,
    LR_FACTORS,
    WEIGHT_DECAYS,
    candidates,
    search,
    settings_of,
)


def config_of(**settings):
    return build_config(RunConfig, {"dataset": "phantom_2d", "search": 6, **settings})


def said(right, of=10, sure=1.0):
    """Return answers on people of two classes, `right` of each right."""
    labels = [0] * of + [1] * of
    logits = [[0.0, 0.0] for _ in labels]
    for row, label in enumerate(labels):
        logits[row][label if row % of < right else 1 - label] = sure
    return Predictions(labels, logits, [f"p{row}" for row in range(len(labels))])


def test_the_first_candidate_is_what_was_asked_for_and_the_others_differ():
    config = config_of(lr=0.002, dropout=0.3)
    drawn = list(candidates(config, 0))
    assert len(drawn) == 6
    assert {one.train.search for one in drawn} == {None}
    assert (drawn[0].train.lr, drawn[0].model.dropout) == (0.002, 0.3)
    rates = [one.train.lr for one in drawn[1:]]
    assert len(set(rates)) == 5
    low, high = (0.002 * factor for factor in LR_FACTORS)
    assert all(low * 0.99 <= rate <= high * 1.01 for rate in rates)
    assert all(WEIGHT_DECAYS[0] <= one.train.weight_decay <= WEIGHT_DECAYS[1] for one in drawn[1:])
    assert all(DROPOUTS[0] <= one.model.dropout <= DROPOUTS[1] for one in drawn[1:])
    again, other = list(candidates(config, 0)), list(candidates(config, 1))
    assert again == drawn
    assert other[1:] != drawn[1:]
    assert drawn[1].data == config.data


@pytest.mark.parametrize(("weights", "usual"), [("none", 5e-4), (None, 3e-4)])
def test_without_a_rate_the_usual_one_is_varied(weights, usual):
    rates = [one.train.lr for one in list(candidates(config_of(weights=weights), 0))[1:]]
    assert all(usual * 0.099 <= rate <= usual * 4.01 for rate in rates)
    assert math.prod(rates) != 0


def test_validation_people_choose_and_equals_go_by_the_log_loss():
    config, answers = config_of(search=4), [said(6), said(8, sure=5.0), said(8), said(7)]
    order = list(answers)
    chosen, tried = search(config, lambda one: order.pop(0), 0)
    assert [one["chosen"] for one in tried] == [False, False, True, False]
    assert [one["balanced_accuracy"] for one in tried] == pytest.approx([0.6, 0.8, 0.8, 0.7])
    assert chosen == list(candidates(config, 0))[2]
    assert tried[0]["n_people"] == 20


def test_what_was_tried_is_not_tried_again():
    config, kept = config_of(search=3), []
    first = []

    def stopped(one):
        if first:
            raise KeyboardInterrupt
        first.append(one)
        return said(9)

    with pytest.raises(KeyboardInterrupt):
        search(config, stopped, 0, kept=lambda tried: kept.append(list(tried)))
    rest = []
    chosen, tried = search(config, lambda one: rest.append(one) or said(6), 0, tried=kept[-1])
    assert len(rest) == 2
    assert rest == list(candidates(config, 0))[1:]
    assert [one["chosen"] for one in tried] == [True, False, False]
    assert chosen.train.lr == config.train.lr


def test_heads_of_a_frozen_backbone_differ_in_their_loss():
    drawn = list(candidates(config_of(search=2, freeze_backbone=True), 0))
    assert [one.loss for one in drawn] == ["ordinal", "ce"]
    with pytest.raises(ConfigError, match="there are 2 candidates") as caught:
        list(candidates(config_of(search=3, freeze_backbone=True), 0))
    assert "--search 2" in caught.value.hint
    assert next(candidates(config_of(search=2, freeze_backbone=True, loss="ce"), 0)).loss == "ce"


def test_slices_are_pooled_as_drawn_and_nothing_else_changes():
    config = config_of(search=9)
    drawn, plain = (list(candidates(config, 0, slices=one)) for one in (True, False))
    pools = [one.model.pool for one in drawn]
    assert pools[0] == "mean"
    assert set(pools[1:]) == {"mean", "attention"}
    assert {one.model.pool for one in plain} == {"mean"}
    assert [one.train for one in drawn] == [one.train for one in plain]
    assert [one.model.dropout for one in drawn] == [one.model.dropout for one in plain]
    assert settings_of(drawn[0])["pool"] == "mean"


@pytest.mark.parametrize(
    "settings",
    [
        {"dataset": "phantom_3d"},
        {"tasks": "stage,age"},
        {"accumulate": 2},
        {"dataset": "phantom_3d", "freeze_backbone": True, "search": 2},
    ],
)
def test_what_cannot_weigh_slices_is_not_drawn(settings):
    drawn = candidates(config_of(**settings), 0, slices=True)
    assert {one.model.pool for one in drawn} == {"mean"}


def test_heads_of_a_frozen_backbone_differ_in_their_pool_too():
    frozen = {"freeze_backbone": True, "tasks": "stage,age"}
    drawn = list(candidates(config_of(search=4, **frozen), 0, slices=True))
    assert (drawn[0].loss, drawn[0].model.pool) == ("ordinal", "mean")
    assert len({(one.loss, one.model.pool) for one in drawn}) == 4
    with pytest.raises(ConfigError, match="there are 4 candidates"):
        list(candidates(config_of(search=5, **frozen), 0, slices=True))
    asked = list(candidates(config_of(search=5, pool="max", **frozen), 0, slices=True))
    assert [one.model.pool for one in asked].count("max") == 1


def test_what_an_older_version_tried_is_no_other_candidate(caplog):
    config, fits = config_of(search=3), []
    _, tried = search(config, lambda one: said(9), 0, slices=True)
    older = [one | {"settings": {**one["settings"], "pool": "mean"}} for one in tried]
    changed = [one["settings"]["pool"] for one in tried].index("attention")
    search(config, lambda one: fits.append(one) or said(9), 0, tried=older, slices=True)
    assert len(fits) == 3 - changed
    assert "other candidates" in caplog.text


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    root = tmp_path_factory.mktemp("search") / "phantom_2d"
    return make_processed(root, "2d", people=(12, 10, 0, 0), images=1)


@pytest.mark.slow
def test_train_searches_keeps_what_it_tried_and_goes_on(few, tmp_path, monkeypatch):
    config = run_config(few, tmp_path, search=3, epochs=1, run="mine")
    files = list(train.run(config))
    path = tmp_path / "checkpoints" / "mine" / "search.json"
    assert path in files
    stored = json.loads(path.read_text("utf-8"))
    tried = stored["tried"]
    assert len(tried) == 3
    best = next(one for one in tried if one["chosen"])
    kept = load_checkpoint(path.parent / "best_model.pth")["config"]
    assert kept["train"]["lr"] == best["settings"]["lr"]
    assert kept["model"]["dropout"] == best["settings"]["dropout"]
    assert kept["train"]["search"] == 3

    # Stopped after the first candidate: --resume trains the two others, and the same is chosen.
    path.write_text(json.dumps(stored | {"tried": tried[:1]}), encoding="utf-8")
    (path.parent / "last.pth").unlink()
    seen = []
    whole = search_module.progress
    monkeypatch.setattr(search_module, "progress", lambda todo, **more: seen.extend(todo) or todo)
    list(train.run(run_config(few, tmp_path, search=3, epochs=1, run="mine", resume=True)))
    monkeypatch.setattr(search_module, "progress", whole)
    assert len(seen) == 2
    assert json.loads(path.read_text("utf-8"))["tried"] == tried

    path.write_text(json.dumps(stored | {"tried": [{"settings": 3}]}), encoding="utf-8")
    with pytest.raises(ManifestError, match="damaged"):
        list(train.run(run_config(few, tmp_path, search=3, epochs=1, run="mine", resume=True)))


@pytest.mark.slow
def test_every_fold_searches_inside_itself_and_tells_what_it_tried(few, tmp_path, few_pixels):
    settings = {"freeze_backbone": True, "folds": 2, "repeats": 1, "search": 2}
    config = run_config(few, tmp_path, run="cv", ensemble=True, **settings)
    list(crossval.run(config))
    results = json.loads((tmp_path / "results" / "cv" / "metrics.json").read_text("utf-8"))
    searched = results["crossval"]["search"]
    assert [(one["fold"], len(one["tried"])) for one in searched] == [(0, 2), (1, 2)]
    for one in searched:
        assert [tried["settings"]["loss"] for tried in one["tried"]] == ["ordinal", "ce"]
        assert sum(tried["chosen"] for tried in one["tried"]) == 1
        # Validation people only: with the fold's training people, all but those it tests.
        assert {tried["n_people"] for tried in one["tried"]} == {11}
    assert results["ensemble"]["members"] == ["dark_voxels", "tissue_maps"]
    text = "\n".join(line for block in crossval_words(results) for line in block)
    assert "0 / 1 / 0" in text
    assert "those of search and training together" in text
    path = tmp_path / "results" / "cv" / "folds" / "repeat0_fold0_seed0.json"
    content = json.loads(path.read_text("utf-8"))
    content["search"][0]["chosen"] = content["search"][1]["chosen"] = True
    with pytest.raises(ValueError, match="or several"):
        Unit.from_dict(content, class_scheme(2))


@pytest.mark.slow
def test_folds_that_weigh_slices_are_joined_with_folds_that_do_not(
    tmp_path, few_pixels, monkeypatch
):
    folder = make_processed(tmp_path / "phantom_2d", "2d", people=(9, 8, 0, 0), images=3)
    folds = []

    def first_by_mean_second_by_max(config, fit, seed, **more):
        assert more == {"slices": True}
        pool = ("mean", "max")[len(folds)]  # of the largest slice, weights are far from equal
        folds.append(pool)
        train = dataclasses.replace(config.train, search=None)
        model = dataclasses.replace(config.model, pool=pool)
        one = dataclasses.replace(config, train=train, model=model)
        people = fit(one)
        score = {"balanced_accuracy": people.balanced_accuracy, "log_loss": people.log_loss}
        told = {"settings": settings_of(one), "n_people": people.n_people, "chosen": True}
        return one, [told | score]

    monkeypatch.setattr(fold_training, "search", first_by_mean_second_by_max)
    settings = {"freeze_backbone": True, "folds": 2, "repeats": 1, "search": 4}
    config = run_config(folder, tmp_path, run="cv", **settings)
    list(crossval.run(config))
    results = tmp_path / "results" / "cv"
    images = pd.read_csv(results / "predictions.csv").set_index("subject")
    people = pd.read_csv(results / "people.csv").set_index("subject")
    assert images["weight"].groupby("subject").sum().to_numpy() == pytest.approx(1, abs=1e-4)
    for name, own in images.groupby("subject"):
        equal = np.allclose(own["weight"], 1 / 3, atol=1e-5)
        assert equal == (people.loc[name, "fold"] == 0)
        # The weighted mean of logits, up to a number that all classes share, is the person's.
        log_odds = np.log(own["p_Demented"] / own["p_NonDemented"])
        said = np.log(people.loc[name, "p_Demented"] / people.loc[name, "p_NonDemented"])
        assert (log_odds * own["weight"]).sum() == pytest.approx(said, abs=0.01)
    metrics = json.loads((results / "metrics.json").read_text("utf-8"))
    words = pooled_by(metrics)
    assert words == (
        "as the search of each of 2 trainings chose: the logit of a person's most demented slice "
        "in 1; mean logit over a person's images in 1"
    )
    assert words in (results / "metrics.md").read_text("utf-8")
