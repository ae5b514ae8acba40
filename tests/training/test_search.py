"""A search sees validation people only, tries what it says, and goes on where it was stopped."""

import json
import math

import pytest
from conftest import make_processed
from tiny_runs import run_config

from src.config.options import build_config
from src.config.run import RunConfig
from src.errors import ConfigError, ManifestError
from src.evaluation.out_of_fold import Unit
from src.labels import class_scheme
from src.models.checkpoint import load_checkpoint
from src.predictions import Predictions
from src.report.documents.result_sections import crossval as crossval_words
from src.stages import crossval, train
from src.training import search as search_module
from src.training.search import DROPOUTS, LR_FACTORS, WEIGHT_DECAYS, candidates, search


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
