"""Which checkpoint is opened, and when it may not be shown the test people."""

import os
import shutil

import pytest
from tiny_runs import run_config, train_once

from src.cohorts.people_names import hash_subjects
from src.errors import CheckpointError, LeakageError
from src.evaluation.find_checkpoint import find_checkpoint
from src.evaluation.open_checkpoint import open_trained
from src.files import write_json
from src.manifest import SAME_PEOPLE, read_settings
from src.models.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(processed_2d, tmp_path_factory):
    """A checkpoint of `processed_2d`; read only."""
    return train_once(processed_2d, tmp_path_factory.mktemp("run"))


@pytest.fixture
def content(checkpoint):
    return load_checkpoint(checkpoint)


def saved(tmp_path, content, **changed):
    return save_checkpoint(tmp_path / "changed.pth", content | changed)


def open_with(processed, tmp_path, path, **settings):
    return open_trained(run_config(processed, tmp_path, checkpoint=path, **settings))


def placed(tmp_path, source, names):
    """Copy `source` into runs of these names, each a second newer than the one before."""
    for second, name in enumerate(names):
        path = tmp_path / "checkpoints" / name / "best_model.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        os.utime(path, (second, second))
    return tmp_path / "checkpoints"


LITE, SMALL = "phantom_2d_efficientnet_lite0_2classes", "phantom_2d_resnet18_2classes"
BEFORE = LITE.removesuffix("_2classes")


@pytest.mark.slow
def test_the_file_named_is_taken(processed_2d, tmp_path, checkpoint):
    placed(tmp_path, checkpoint, [LITE])
    assert find_checkpoint(run_config(processed_2d, tmp_path, checkpoint=checkpoint)) == checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "settings", "expected"),
    [
        ([SMALL, LITE], {}, LITE),
        ([LITE, SMALL], {}, SMALL),
        ([LITE, SMALL], {"backbone": "efficientnet_lite0"}, LITE),
        (["mine", LITE], {"run": "mine"}, "mine"),
        ([LITE, "phantom_2d_official_resnet18_2classes", "oasis_2d_resnet18_2classes"], {}, LITE),
        ([LITE, ""], {}, ""),
        ([LITE, BEFORE], {}, LITE),
        (["mine", LITE], {"run": "mine", "classes": 3}, "mine"),
    ],
)
def test_the_newest_run_of_the_data_set_unless_told(
    processed_2d, tmp_path, checkpoint, names, settings, expected
):
    folder = placed(tmp_path, checkpoint, names)
    found = find_checkpoint(run_config(processed_2d, tmp_path, **settings))
    assert found == folder / expected / "best_model.pth"


@pytest.mark.slow
def test_the_newest_run_of_another_data_set_is_not_taken(processed_2d, tmp_path, content):
    folder = tmp_path / "checkpoints"
    placed(tmp_path, saved(tmp_path, content), [LITE])
    save_checkpoint(folder / "best_model.pth", content | {"dataset": "oasis_2d"})
    found = find_checkpoint(run_config(processed_2d, tmp_path))
    assert found == folder / LITE / "best_model.pth"


def test_a_checkpoint_whose_name_does_not_tell_its_classes_is_found_by_them(
    processed_2d, tmp_path, checkpoint, caplog
):
    caplog.set_level("INFO")
    folder = placed(tmp_path, checkpoint, [BEFORE, BEFORE.replace("lite0", "b0")])
    asked = run_config(processed_2d, tmp_path, backbone="efficientnet_lite0")
    assert find_checkpoint(asked) == folder / BEFORE / "best_model.pth"
    assert [record.message for record in caplog.records] == [
        f"{folder / BEFORE / 'best_model.pth'} has 2 classes, which its name does not tell"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("name", [LITE, BEFORE, "phantom_2d_efficientnet_lite0_3classes"])
def test_a_checkpoint_of_other_classes_is_named_and_not_taken(
    processed_2d, tmp_path, checkpoint, name, classes
):
    folder = placed(tmp_path, checkpoint, [name, ""])
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(run_config(processed_2d, tmp_path, classes=classes))
    there = folder / name / "best_model.pth"
    assert f"has {classes} classes; {there} has 2" in caught.value.message
    assert caught.value.hint.startswith("--classes 2, or python main.py --mode train")


@pytest.mark.slow
def test_only_checkpoints_of_such_images_are_named(processed_2d, tmp_path, checkpoint, content):
    folder = placed(tmp_path, checkpoint, ["mine"])
    save_checkpoint(folder / "deep" / "best_model.pth", content | {"dim": "3d"})
    (folder / "broken").mkdir()
    (folder / "broken" / "best_model.pth").write_bytes(b"cut short")
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(run_config(processed_2d, tmp_path, run="other"))
    assert f"or --checkpoint {folder / 'mine' / 'best_model.pth'}" in caught.value.hint
    assert "deep" not in caught.value.hint
    assert "broken" not in caught.value.hint


@pytest.mark.parametrize("settings", [{}, {"backbone": "resnet18"}, {"run": "other"}])
def test_without_a_checkpoint_the_command_is_named(processed_2d, tmp_path, checkpoint, settings):
    placed(tmp_path, checkpoint, [LITE] if settings else [])
    with pytest.raises(CheckpointError, match="no checkpoint of phantom_2d under") as caught:
        find_checkpoint(run_config(processed_2d, tmp_path, **settings))
    assert "--mode train --dataset phantom_2d" in caught.value.hint


def test_a_checkpoint_opens_with_its_classes_and_test_people(processed_2d, tmp_path, checkpoint):
    trained = open_with(processed_2d, tmp_path, checkpoint, classes=4)
    assert trained.model.num_classes == 2
    assert not trained.model.training
    assert trained.data.split == "test"
    assert set(trained.data.labels) == {0, 1}
    assert trained.run_name == LITE


@pytest.mark.parametrize(("stored", "asked", "name"), [(None, "new", "new"), ("own", None, "own")])
def test_results_go_where_the_run_is_named(processed_2d, tmp_path, content, stored, asked, name):
    path = saved(tmp_path, content, config={"run": stored})
    assert open_with(processed_2d, tmp_path, path, run=asked).run_name == name


@pytest.mark.slow
def test_runs_of_other_classes_do_not_overwrite_each_other(processed_2d, tmp_path, checkpoint):
    assert checkpoint.parent.name == LITE
    two = train_once(processed_2d, tmp_path, classes=2)
    before = two.read_bytes()
    four = train_once(processed_2d, tmp_path, classes=4)
    assert four.parent.name == BEFORE
    assert two.read_bytes() == before
    for classes, path in ((2, two), (4, four)):
        asked = run_config(processed_2d, tmp_path, classes=classes, backbone="efficientnet_lite0")
        assert find_checkpoint(asked) == path
        assert open_trained(asked).run_name == path.parent.name == asked.run_name


def test_the_age_limit_of_the_training_holds_in_the_test(processed_2d, tmp_path, content):
    path = saved(tmp_path, content, config={"data": {"min_age": 70.0}})
    trained = open_with(processed_2d, tmp_path, path)
    assert trained.data.rows["age"].min() >= 70


def test_people_of_another_study_are_all_shown(processed_2d, tmp_path, content):
    path = saved(tmp_path, content, dataset="oasis_2d", subjects=hash_subjects(["OAS1_0001"]))
    trained = open_with(processed_2d, tmp_path, path)
    assert trained.external
    assert trained.trained_on == "oasis_2d"
    assert len(set(trained.data.subjects)) == 20
    assert trained.run_name == "oasis_2d_efficientnet_lite0_2classes_on_phantom_2d"
    assert trained.train_counts == content["train_counts"] == [4, 8]
    assert trained.validation.n_people == 4


def test_people_of_the_training_are_no_external_test(processed_2d, tmp_path, content):
    path = saved(tmp_path, content, dataset="oasis_2d")
    with pytest.raises(LeakageError, match="trained or chosen on 16 of 20 test people"):
        open_with(processed_2d, tmp_path, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trained_on", "here", "says"),
    [
        ("kaggle_2d", "oasis_2d", "kaggle_orig and oasis are, or may be, of the same people"),
        ("oasis_2d", "kaggle_2d", "kaggle_orig and oasis are, or may be, of the same people"),
        ("kaggle_nifti_2d", "kaggle_2d", "kaggle_nifti and kaggle_orig are"),
        ("kaggle_2d", "kaggle_2d_official", "another split of the same people"),
    ],
)
def test_data_of_the_same_origin_are_no_external_test(
    processed_2d, tmp_path, content, trained_on, here, says
):
    folder = tmp_path / here
    shutil.copytree(processed_2d, folder)
    settings = read_settings(folder / "preprocessing.json") | {"dataset": here}
    (folder / "preprocessing.json").write_text(str(settings).replace("'", '"'), encoding="utf-8")
    path = saved(tmp_path, content, dataset=trained_on, subjects=[])
    with pytest.raises(LeakageError, match=says):
        open_with(folder, tmp_path, path, dataset="phantom_2d", data_dir=folder)


@pytest.mark.slow
def test_two_studies_of_one_open_cohort_are_external(processed_2d, tmp_path, content):
    folder = tmp_path / "aibl_2d"
    shutil.copytree(processed_2d, folder)
    settings = read_settings(folder / "preprocessing.json") | {"dataset": "aibl_2d"}
    write_json(folder / "preprocessing.json", settings | {"cohort": "bids"})
    made = content["preprocessing"] | {"cohort": "bids"}
    asked = {"dataset": "bids_2d", "study": "aibl", "data_dir": folder}
    path = saved(tmp_path, content, dataset="mine_2d", subjects=[], preprocessing=made)
    assert open_with(folder, tmp_path, path, **asked).external
    for twin in ("aibl_2d_diagnosis", "aibl_2d_conversion"):
        path = saved(tmp_path, content, dataset=twin, subjects=[], preprocessing=made)
        with pytest.raises(LeakageError, match="another split of the same people"):
            open_with(folder, tmp_path, path, **asked)


def test_a_model_of_another_kind_of_label_is_refused(processed_2d, tmp_path, content):
    path = saved(tmp_path, content, classes=["CN", "MCIorAD"], dataset="adni_2d_diagnosis")
    with pytest.raises(CheckpointError, match="tells CN, MCIorAD; these people are") as error:
        open_with(processed_2d, tmp_path, path)
    assert "--label diagnosis" in error.value.hint


def test_a_checkpoint_of_another_dimension(processed_2d, tmp_path, content):
    path = saved(tmp_path, content, dim="3d")
    with pytest.raises(
        CheckpointError, match="is a 3d model, trained on phantom_2d; the data are 2d"
    ):
        open_with(processed_2d, tmp_path, path)


def test_weights_of_another_backbone(processed_2d, tmp_path, content):
    path = saved(tmp_path, content, backbone="efficientnet_b0")
    with pytest.raises(CheckpointError, match="fits another model"):
        open_with(processed_2d, tmp_path, path)


def test_images_made_otherwise_name_the_settings(processed_2d, tmp_path, content):
    made = {"slice_axis": "coronal", "image_size": 128}
    path = saved(tmp_path, content, preprocessing={"preprocess": made})
    with pytest.raises(CheckpointError, match="otherwise: image_size, slice_axis differ"):
        open_with(processed_2d, tmp_path, path)


def test_people_trained_on_are_not_test_people(processed_2d, tmp_path, content):
    known = hash_subjects(["PHAN_0003", "PHAN_1003"])  # of the test split, by number % 4
    path = saved(tmp_path, content, subjects=content["subjects"] + known)
    with pytest.raises(LeakageError, match="on 2 of 4 test people, such as PHAN_0003"):
        open_with(processed_2d, tmp_path, path)


@pytest.mark.slow
def test_a_data_set_stamped_with_the_same_people_passes(processed_2d, tmp_path, content):
    folder = tmp_path / "phantom_2d"
    shutil.copytree(processed_2d, folder)
    settings = read_settings(folder / "preprocessing.json") | {"stamps": [SAME_PEOPLE]}
    (folder / "preprocessing.json").write_text(str(settings).replace("'", '"'), encoding="utf-8")
    path = saved(tmp_path, content, subjects=hash_subjects(["PHAN_0003"]))
    assert open_with(folder, tmp_path, path).data.manifest.stamps == (SAME_PEOPLE,)
