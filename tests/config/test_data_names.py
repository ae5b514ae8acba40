"""Names of data sets: what the user called the study, its split and its labels."""

import pytest

from src.config import DataConfig, RunConfig, dataset_flags, kind_of_dataset, people_of_dataset
from src.config.options import build_config
from src.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "name", "flags"),
    [
        ({"dataset": "oasis_3d"}, "oasis_3d", "--dataset oasis_3d"),
        (
            {"dataset": "adni_3d", "label": "diagnosis"},
            "adni_3d_diagnosis",
            "--dataset adni_3d --label diagnosis",
        ),
        (
            {"dataset": "bids", "dim": "3d", "study": "aibl"},
            "aibl_3d",
            "--dataset bids_3d --study aibl",
        ),
        (
            {"dataset": "bids_2d", "study": "aibl", "label": "conversion"},
            "aibl_2d_conversion",
            "--dataset bids_2d --study aibl --label conversion",
        ),
        (
            {"dataset": "kaggle_2d", "official_split": True},
            "kaggle_2d_official",
            "--dataset kaggle_2d --official_split",
        ),
    ],
)
def test_a_name_and_the_flags_that_choose_it(settings, name, flags):
    config = DataConfig(**settings)
    assert config.name == name
    assert dataset_flags(name, config.cohort) == flags
    assert kind_of_dataset(name) == settings.get("label", "stage")


def test_split_and_labels_are_no_part_of_whose_images_they_are():
    assert people_of_dataset("adni_3d_diagnosis") == people_of_dataset("adni_3d")
    assert people_of_dataset("kaggle_2d_official") == "kaggle_2d"
    assert people_of_dataset("aibl_2d") != people_of_dataset("oasis3_2d")


def test_classes_are_as_many_as_the_kind_of_label_has():
    assert DataConfig().num_classes == 4
    assert DataConfig(label="diagnosis").num_classes == 3
    assert DataConfig(label="conversion").num_classes == 2
    assert build_config(RunConfig, {"label": "diagnosis"}).run_name == (
        "phantom_2d_diagnosis_efficientnet_lite0"
    )
    two = build_config(RunConfig, {"label": "diagnosis", "classes": 2})
    assert two.run_name == "phantom_2d_diagnosis_efficientnet_lite0_2classes"
    with pytest.raises(ConfigError, match="of --label conversion"):
        DataConfig(label="conversion", classes=3)


@pytest.mark.parametrize("name", ["a/b", "", "a_b", "x" * 41, "oasis", "kaggle"])
def test_a_study_is_called_plainly_and_not_as_a_cohort(name):
    with pytest.raises(ConfigError, match="--study"):
        DataConfig(dataset="bids_2d", study=name)


def test_several_studies_have_one_name_and_one_dimension():
    config = DataConfig(datasets=("x/kaggle_nifti_3d", "b_3d"))
    assert (config.name, config.model_dim) == ("kaggle-nifti-b_3d", "3d")
    long = DataConfig(datasets=tuple(f"study{n}abcdefgh_2d" for n in range(9)))
    assert long.name.startswith("9-studies-")
    with pytest.raises(ConfigError, match="are slices and"):
        DataConfig(datasets=("a_2d", "b_3d"))
