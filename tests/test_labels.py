"""Stages: from CDR, from folder names, merged into classes."""

import pytest

from src.errors import ConfigError, ManifestError
from src.labels import (
    LABEL_KINDS,
    STAGES,
    class_scheme,
    diagnosis_of,
    is_diagnosis,
    kind_of_classes,
    numbers_of_classes,
    stage_from_cdr,
    stage_from_folder,
)


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


def test_every_kind_of_label_has_schemes_of_its_own():
    assert class_scheme().classes == STAGES
    assert class_scheme(kind="diagnosis").classes == ("CN", "MCI", "AD")
    assert class_scheme(2, "diagnosis").names == {"CN": "CN", "MCI": "MCIorAD", "AD": "MCIorAD"}
    assert class_scheme(kind="conversion").classes == ("Stable", "Converter")
    for kind in LABEL_KINDS:
        for count in numbers_of_classes(kind):
            assert kind_of_classes(class_scheme(count, kind).classes) == kind


def test_a_scheme_refuses_the_labels_of_another_kind_with_its_flag():
    with pytest.raises(ManifestError, match="label 'AD' is none of NonDemented") as error:
        class_scheme(4).index("AD")
    assert "--label diagnosis" in error.value.hint


def test_conversion_has_two_classes_and_says_so():
    with pytest.raises(ConfigError, match="no scheme of 3 classes of --label conversion") as error:
        class_scheme(3, "conversion")
    assert error.value.hint == "ask for 2"


@pytest.mark.parametrize(
    ("text", "diagnosis"),
    [
        *(("CN", "CN"), ("cognitively normal", "CN"), ("Control", "CN"), ("LMCI", "MCI")),
        *(("EMCI", "MCI"), ("AD", "AD"), ("Dementia", "AD"), ("SMC", None), ("FTD", None)),
    ],
)
def test_diagnoses_in_a_study_s_words(text, diagnosis):
    assert diagnosis_of(text) == diagnosis
