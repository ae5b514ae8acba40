"""Weights learnt elsewhere: whose people they know, and how their images were made."""

from __future__ import annotations

import json
import logging

import pytest
import torch

from src.cohorts.people_names import hash_subjects
from src.config import RunConfig
from src.config.options import build_config
from src.data.run_data import open_run_data
from src.errors import CheckpointError, LeakageError
from src.evaluation.pretrained_people import refuse_pretrained_on
from src.models.create import create_model
from src.models.engine import digest
from src.stages import crossval, train


@pytest.fixture
def data(processed_3d):
    return open_run_data(build_config(RunConfig, flags(processed_3d)))


def flags(folder):
    return {"dataset": "phantom_3d", "data_dir": folder}


def with_card(tmp_path, **card) -> str:
    weights = tmp_path / "net.pth"
    weights.touch()
    (tmp_path / "net.json").write_text(json.dumps(card), encoding="utf-8")
    return str(weights)


def test_a_test_person_who_was_learnt_from_is_refused(tmp_path, data) -> None:
    tested = list(data.with_split("test").subjects)
    weights = with_card(tmp_path, people=hash_subjects([tested[1], "somebody"]))
    with pytest.raises(LeakageError, match=f"1 of .* who will be tested, such as {tested[1]}"):
        refuse_pretrained_on(weights, data, tested, allowed=False)


def test_training_people_may_be_known_and_a_leak_may_be_allowed(tmp_path, data, caplog) -> None:
    tested = list(data.with_split("test").subjects)
    weights = with_card(tmp_path, people=hash_subjects(data.subjects))
    refuse_pretrained_on(weights, data, tested, allowed=False)
    with caplog.at_level(logging.WARNING):
        refuse_pretrained_on(weights, data, data.subjects, allowed=True)
    assert "the scores are not honest" in caplog.text


@pytest.mark.parametrize(
    ("cohort", "refused"), [("phantom_3d", True), ("oasis", False), ("not known here", False)]
)
def test_a_cohort_that_was_learnt_from(tmp_path, data, cohort: str, refused: bool) -> None:
    weights, tested = with_card(tmp_path, cohorts=[cohort]), data.subjects
    if not refused:
        return refuse_pretrained_on(weights, data, tested, allowed=False)
    with pytest.raises(LeakageError, match="its people are, or may be, those of phantom_3d"):
        refuse_pretrained_on(weights, data, tested, allowed=False)


def test_images_made_otherwise_are_refused(tmp_path, data) -> None:
    size = 32
    data.settings["preprocess"] = {"volume_size": size, "num_slices": 3}
    same = with_card(tmp_path, preprocessing={"volume_size": size})
    refuse_pretrained_on(same, data, data.subjects, allowed=False)
    other = with_card(tmp_path, preprocessing={"volume_size": size + 1})
    with pytest.raises(CheckpointError, match=f"volume_size {size + 1} .here {size}."):
        refuse_pretrained_on(other, data, data.subjects, allowed=True)


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ({"poeple": []}, "'poeple' is none of"),
        ({"people": ["PHAN_0001"]}, "'PHAN_0001', not a hash"),
        ({"cohorts": "oasis3"}, "no list of texts"),
        ({"normalisation": {"mean": 0.2}}, "mean and std"),
        ({"normalisation": {"mean": 0.2, "std": 0}}, "not above 0"),
        ({"preprocessing": 3}, "no object"),
    ],
)
def test_a_card_that_is_none_is_named(tmp_path, data, card, says: str) -> None:
    with pytest.raises(CheckpointError, match=rf"net\.json, .*{says}"):
        refuse_pretrained_on(with_card(tmp_path, **card), data, [], allowed=False)


@pytest.mark.parametrize("weights", [None, "none", "imagenet", "gone.pth"])
def test_nothing_is_asked_without_a_card(data, weights) -> None:
    refuse_pretrained_on(weights, data, data.subjects, allowed=False)


@pytest.mark.parametrize("stage", [train, crossval])
def test_stages_ask_before_they_train(tmp_path, processed_3d, data, stage) -> None:
    tested = data.with_split("test").subjects
    weights = with_card(tmp_path, people=hash_subjects(tested))
    torch.save(create_model("3d", "simple", 4).state_dict(), weights)
    more = {"weights": weights, "results_dir": tmp_path / "r", "checkpoint_dir": tmp_path / "c"}
    config = build_config(RunConfig, flags(processed_3d) | more)
    with pytest.raises(LeakageError, match=r"net\.pth was learnt on"):
        list(stage.run(config))


def test_grey_values_are_normalised_as_the_card_says(tmp_path) -> None:
    first = create_model("3d", "simple", 2)
    weights = with_card(tmp_path, normalisation={"mean": 0.5, "std": 0.125})
    torch.save(first.state_dict(), weights)
    model = create_model("3d", "simple", 2, weights=weights)
    assert model.normalise(torch.tensor([[[[[0.75]]]]])).item() == pytest.approx(2)
    assert digest(model) != digest(first)  # features kept of one are not those of the other
    again = create_model("3d", "simple", 2)
    again.load_state_dict(model.state_dict())
    assert digest(again) == digest(model)
