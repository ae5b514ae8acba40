"""Weights learnt elsewhere: whose people they know, and how their images were made."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from tiny_runs import run_config, train_once

from src.cohorts.people_names import hash_subjects
from src.config import RunConfig
from src.config.options import build_config
from src.data.run_data import open_run_data
from src.errors import CheckpointError, LeakageError
from src.evaluation.open_checkpoint import open_trained
from src.evaluation.pretrained_people import refuse_pretrained_on
from src.manifest import SAME_PEOPLE
from src.models.checkpoint import load_checkpoint, save_checkpoint
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
    torch.save({"w": torch.zeros(1)}, weights)
    (tmp_path / "net.json").write_text(json.dumps(card), encoding="utf-8")
    return str(weights)


def test_a_test_person_who_was_learnt_from_is_refused(tmp_path, data) -> None:
    tested = list(data.with_split("test").subjects)
    weights = with_card(tmp_path, people=hash_subjects([tested[1], "somebody"]))
    with pytest.raises(LeakageError, match=f"1 of .* who are tested, such as {tested[1]}"):
        refuse_pretrained_on(weights, data, tested, allowed=False)


def test_training_people_may_be_known_and_a_leak_may_be_allowed(tmp_path, data, caplog) -> None:
    tested = list(data.with_split("test").subjects)
    weights = with_card(tmp_path, people=hash_subjects(data.subjects))
    assert refuse_pretrained_on(weights, data, tested, allowed=False).manifest.stamps == ()
    with caplog.at_level(logging.WARNING):
        stamped = refuse_pretrained_on(weights, data, data.subjects, allowed=True)
    assert "allowed, and stamped" in caplog.text
    assert stamped.manifest.stamps == (SAME_PEOPLE,)
    assert stamped.split == data.split
    assert refuse_pretrained_on(weights, stamped, data.subjects, allowed=True) is stamped


@pytest.mark.parametrize(
    ("cohort", "refused"), [("phantom_3d", True), ("oasis", False), ("not known here", False)]
)
def test_a_cohort_that_was_learnt_from(tmp_path, data, cohort: str, refused: bool) -> None:
    weights, tested = with_card(tmp_path, cohorts=[cohort]), data.subjects
    if not refused:
        refuse_pretrained_on(weights, data, tested, allowed=False)
        return
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


@pytest.mark.parametrize(
    ("stage", "more"), [(train, {}), (crossval, {}), (crossval, {"collect": True})]
)
def test_stages_ask_before_they_train(tmp_path, processed_3d, data, stage, more) -> None:
    tested = data.with_split("test").subjects
    weights = with_card(tmp_path, people=hash_subjects(tested))
    torch.save(create_model("3d", "simple", 4).state_dict(), weights)
    places = {"results_dir": tmp_path / "r", "checkpoint_dir": tmp_path / "c"}
    settings = flags(processed_3d) | places | {"weights": weights, **more}
    config = build_config(RunConfig, settings)
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


@pytest.fixture(scope="module")
def first_weights(tmp_path_factory):
    """Weights of a small network; a test writes beside its own copy."""
    path = tmp_path_factory.mktemp("first") / "net.pth"
    torch.save(create_model("3d", "simple", 2).state_dict(), path)
    return path


def started_from(first_weights, folder, **card) -> str:
    """Return a copy of weights with what is said of them beside it."""
    weights = with_card(folder, **card)
    shutil.copyfile(first_weights, weights)
    return weights


def trained(processed, folder, weights: str, **more):
    return train_once(
        *(processed, folder), backbone="simple", weights=weights, freeze_backbone=True, **more
    )


def opened(processed, folder, checkpoint, **more):
    return open_trained(run_config(processed, folder, checkpoint=checkpoint, **more))


@pytest.fixture(scope="module")
def checkpoint(processed_3d, first_weights, tmp_path_factory):
    """A checkpoint of `processed_3d`; read only."""
    folder = tmp_path_factory.mktemp("trained")
    weights = started_from(first_weights, folder, people=hash_subjects(["somebody"]))
    return trained(processed_3d, folder, weights)


@pytest.mark.slow
def test_a_checkpoint_remembers_whom_its_first_weights_had_seen(
    tmp_path, processed_3d, data, checkpoint
) -> None:
    assert opened(processed_3d, tmp_path, checkpoint).data.manifest.stamps == ()
    stored = load_checkpoint(checkpoint)
    assert stored["learnt_from"]["people"] == hash_subjects(["somebody"])
    tested = data.with_split("test").subjects
    stored["learnt_from"]["people"] += hash_subjects(tested[:1])
    path = save_checkpoint(tmp_path / "seen.pth", stored)
    with pytest.raises(LeakageError, match=f"started from was learnt on 1 of .*{tested[0]}"):
        opened(processed_3d, tmp_path, path)
    allowed = opened(processed_3d, tmp_path, path, allow_leaks=True)
    assert allowed.data.manifest.stamps == (SAME_PEOPLE,)
    stored["learnt_from"] = {"preprocessing": {"volume_size": 7}}
    path = save_checkpoint(tmp_path / "other.pth", stored)
    with pytest.raises(CheckpointError, match="started from was learnt on images made otherwise"):
        opened(processed_3d, tmp_path, path)


@pytest.mark.slow
def test_a_checkpoint_as_first_weights_is_asked_whom_it_trained_on(
    tmp_path, processed_3d, checkpoint
) -> None:
    again = load_checkpoint(trained(processed_3d, tmp_path, str(checkpoint)))  # of the same split
    both = sorted([*again["subjects"], *hash_subjects(["somebody"])])
    assert again["learnt_from"]["people"] == both
    config = run_config(processed_3d, tmp_path, weights=str(checkpoint), backbone="simple")
    with pytest.raises(LeakageError, match=r"best_model\.pth was learnt on 16 of 20 people"):
        list(crossval.run(config))


def test_where_a_leak_is_allowed_the_checkpoint_is_stamped(
    tmp_path, processed_3d, data, first_weights
) -> None:
    seen = hash_subjects(data.with_split("test").subjects)
    weights = started_from(first_weights, tmp_path, people=seen)
    checkpoint = trained(processed_3d, tmp_path, weights, allow_leaks=True)
    assert load_checkpoint(checkpoint)["stamps"] == [SAME_PEOPLE]


def test_a_run_is_not_resumed_from_weights_of_which_other_things_are_said(
    tmp_path, processed_3d, data, first_weights
) -> None:
    more = {"backbone": "simple", "weights": started_from(first_weights, tmp_path)}
    train_once(processed_3d, tmp_path, **more)
    with_card(tmp_path, people=hash_subjects(["somebody"]))
    shutil.copyfile(first_weights, more["weights"])
    with pytest.raises(CheckpointError, match="other settings: learnt from"):
        train_once(processed_3d, tmp_path, epochs=1, resume=True, **more)
