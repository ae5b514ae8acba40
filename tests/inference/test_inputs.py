"""Whom a new scan shows, by its name, and whether the model has met that person."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from src.cohorts.people_names import hash_subjects
from src.inference.answers import TRAINED_ON, seen_in_training
from src.inference.ensemble import Ensemble
from src.inference.inputs import Input, find_inputs


@pytest.mark.parametrize(
    ("path", "subject", "session"),
    [
        ("OAS1_0061_MR1.nii.gz", "OAS1_0061", "MR1"),
        ("OAS1_0061_MR1/mri/T1.mgz", "OAS1_0061", "MR1"),
        ("sub-OAS30010_ses-d0068_T1w.nii", "OAS30010", "ses-d0068"),
        ("OAS1_0028_MR1_mpr-1_100.jpg", "OAS1_0028", "MR1_mpr-1"),
        ("002_S_0295/MP-RAGE/2006-04-18/I13722/a.nii", "002_S_0295", "I13722"),
        ("head.nii.gz", None, None),
    ],
)
@pytest.mark.parametrize("whole_folder", [False, True])
def test_a_name_tells_the_person(tmp_path, path, subject, session, whole_folder):
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    (one,) = find_inputs(tmp_path if whole_folder else file)
    assert (one.subject, one.session) == (subject, session)


@pytest.mark.parametrize(
    ("session", "visit"),
    [
        (None, None),
        ("MR1", "MR1"),
        ("MR1_mpr-2", "MR1"),
        ("ses-1_acq-mprage_run-2", "ses-1"),
        ("run-2", ""),
        ("T1w", ""),
        ("ses-1_ce-gadolinium", "ses-1_ce-gadolinium"),
        ("d0068", "d0068"),
        ("I13722", "I13722"),
    ],
)
def test_repeated_scans_are_of_one_visit(session, visit):
    assert Input("a", "scan", (Path("a.nii"),), "P1", session).visit == visit


@pytest.mark.parametrize(
    ("trained", "asked", "known"),
    [
        ("OAS1_0061", "OAS1_0061", True),
        ("sub-OAS30010", "OAS30010", True),
        ("sub-ADNI002S0295", "002_S_0295", True),
        ("OAS1_0061", "OAS1_0062", False),
    ],
)
def test_a_person_is_known_however_the_name_is_spelt(trained, asked, known):
    member = SimpleNamespace(content={"subjects": hash_subjects([trained, "P7"])})
    assert Ensemble([member], None, Path("x")).trained_on(asked) is known


def test_a_person_whom_the_first_weights_had_seen_is_known():
    seen = {"subjects": [], "learnt_from": {"people": hash_subjects(["OAS1_0061"])}}
    ensemble = Ensemble([SimpleNamespace(content=seen)], None, Path("x"))
    assert ensemble.trained_on("sub-OASIS10061")
    assert not ensemble.trained_on("OAS1_0062")


def test_the_console_says_who_was_trained_on():
    answers = [{"name": "a", "flags": [TRAINED_ON]}, {"name": "b", "flags": []}]
    assert seen_in_training(answers).startswith("1 of 2 scans are of a person on whom the model")
    assert "such as a:" in seen_in_training(answers)
    assert seen_in_training(answers[1:]) == ""
