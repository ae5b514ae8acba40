"""Whom weights have learnt from: as it is written, joined, and asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src.cohorts.people_names import hash_subjects
from src.errors import CheckpointError
from src.models.checkpoint import save_checkpoint
from src.models.classifier import Classifier, Origin, card_of
from src.models.create import create_model
from src.models.weight_card import (
    WeightCard,
    card_of_checkpoint,
    joined,
    known_to,
    study_known_to,
)
from src.models.weights import card_of_file

CARD = WeightCard(
    cohorts=("adni",),
    people=frozenset(hash_subjects(["OAS1_0061", "sub-07"])),
    drawn_from=("oasis",),
    preprocessing={"volume_size": 32},
    normalisation=(0.25, 0.5),
)
STORED = {
    "dataset": "oasis_2d",
    "preprocessing": {"cohort": "oasis"},
    "subjects": hash_subjects(["OAS1_0002"]),
    "epoch": 3,
}


def model_of(**content: object) -> Classifier:
    model = create_model("3d", "simple", 2)
    model.origin = Origin(Path("a.pth"), STORED | content)
    return model


@pytest.mark.parametrize("card", [CARD, WeightCard()])
def test_what_is_written_is_read(card) -> None:
    assert WeightCard.from_dict(card.to_dict()) == card


def test_a_person_is_known_however_the_name_is_spelled() -> None:
    assert all(known_to(CARD, one) for one in ("OAS1_0061", "sub-OASIS10061", "sub-07"))
    assert not known_to(CARD, "OAS1_0062")


@pytest.mark.parametrize(
    ("name", "cohort", "known"),
    [
        ("adni_2d", "adni", "adni"),  # trained on the whole
        ("oasis_2d", "oasis", None),  # on some: they are told by name
        ("kaggle_2d", "kaggle_orig", "oasis"),  # anybody, under another name
        ("phantom_2d", "phantom", None),
        ("own", None, None),
    ],
)
def test_a_study_is_known_whole_or_under_other_names(name: str, cohort, known) -> None:
    assert study_known_to(CARD, name, cohort) == known


def test_a_checkpoint_has_seen_its_people_and_those_it_started_from() -> None:
    card = card_of_checkpoint(STORED | {"learnt_from": CARD.to_dict()})
    assert known_to(card, "OAS1_0002")
    assert known_to(card, "OAS1_0061")
    assert card.cohorts == ("adni",)
    assert card.drawn_from == ("oasis",)
    with pytest.raises(ValueError, match="'poeple' is none of"):
        card_of_checkpoint(STORED | {"learnt_from": {"poeple": []}})


def test_of_two_cards_the_first_ones_settings_count() -> None:
    other = WeightCard(preprocessing={"volume_size": 9, "n4": True}, normalisation=(0.1, 0.2))
    both = joined(CARD, other)
    assert both.preprocessing == {"volume_size": 32, "n4": True}
    assert both.normalisation == (0.25, 0.5)
    assert both.people == CARD.people


def test_a_model_has_seen_those_of_its_checkpoint() -> None:
    model = model_of()
    model.learnt_from = CARD
    seen = card_of(model)
    assert seen is not None
    assert known_to(seen, "OAS1_0002")
    assert known_to(seen, "sub-07")
    assert card_of(create_model("3d", "simple", 2)) is None


def test_a_frozen_backbone_has_not_seen_those_whom_a_head_was_fitted_to() -> None:
    model = model_of(epoch=0)
    model.freeze_backbone()
    assert card_of(model) is None
    trained = model_of()
    trained.freeze_backbone()
    assert card_of(trained) is not None


def test_a_file_of_ours_tells_of_itself_and_of_what_stands_beside(tmp_path) -> None:
    path = save_checkpoint(tmp_path / "a.pth", STORED | {"model": {"w": torch.ones(2)}})
    assert card_of_file(path) == card_of_checkpoint(STORED)
    (tmp_path / "a.json").write_text('{"cohorts": ["oasis3"]}', encoding="utf-8")
    card = card_of_file(str(path))
    assert card is not None
    assert card.cohorts == ("oasis3",)
    assert known_to(card, "OAS1_0002")
    damaged = STORED | {"model": {"w": torch.ones(2)}, "subjects": ["OAS1_0002"]}
    with pytest.raises(CheckpointError, match="'OAS1_0002', not a hash"):
        card_of_file(save_checkpoint(tmp_path / "a.pth", damaged))
