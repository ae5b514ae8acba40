"""Stages: from CDR, from folder names, merged into classes."""

import pytest

from src.errors import ConfigError, ManifestError
from src.labels import STAGES, class_scheme, is_diagnosis, stage_from_cdr, stage_from_folder


@pytest.mark.parametrize(("cdr", "stage"), [(0, 0), (0.5, 1), (1, 2), (2, 3), (3, 3), ("0.5", 1)])
def test_stage_of_a_rating(cdr, stage):
    assert stage_from_cdr(cdr) == STAGES[stage]


@pytest.mark.parametrize("cdr", [float("nan"), "", -1, 0.25, 4, "mild"])
def test_what_is_no_rating_is_never_healthy(cdr):
    with pytest.raises(ManifestError, match="not on the scale"):
        stage_from_cdr(cdr)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("Non Demented", 0),
        ("NonDemented", 0),
        ("non-dem", 0),
        ("Very mild Dementia", 1),
        ("VeryMildDemented", 1),
        ("very_mild_demented", 1),
        ("Mild Dementia", 2),
        ("mildDem", 2),
        ("Moderate Dementia", 3),
        ("No Impairment", 0),
        ("no_impairment", 0),
        ("Very Mild Impairment", 1),
        ("VeryMildImpairment", 1),
        ("Mild Impairment", 2),
        ("MODERATE-IMPAIRMENT", 3),
    ],
)
def test_folder_names_of_the_kaggle_sets(name, stage):
    assert stage_from_folder(name) == STAGES[stage]


@pytest.mark.parametrize(
    "name",
    [
        *("", "Demented", "Healthy", "mild", "severe dementia", "train", "no", "Impairment"),
        *("Mild Cognitive Impairment", "AD", "MCI", "CN"),
    ],
)
def test_other_folder_names_are_no_stage(name):
    assert stage_from_folder(name) is None


@pytest.mark.parametrize(
    "name", ["AD", "MCI", "cn", "EMCI", "L-MCI", "NC", "Alzheimer's", "Normal"]
)
def test_diagnoses_are_known_as_such(name):
    assert is_diagnosis(name)


@pytest.mark.parametrize("name", [*STAGES, "Mild Impairment", "train", "", "Adam", "0.5"])
def test_stages_are_no_diagnoses(name):
    assert not is_diagnosis(name)


@pytest.mark.parametrize(
    ("count", "indices"), [(4, [0, 1, 2, 3]), (3, [0, 1, 2, 2]), (2, [0, 1, 1, 1])]
)
def test_schemes_merge_the_later_stages(count, indices):
    scheme = class_scheme(count)
    assert [scheme.index(stage) for stage in STAGES] == indices
    assert len(scheme.classes) == count
    assert scheme.names["ModerateDemented"] == scheme.classes[-1]


def test_another_number_of_classes_is_refused():
    with pytest.raises(ConfigError, match="no scheme of 5 classes"):
        class_scheme(5)
