"""Settings and flags: names, defaults, ranges, and the way back from a file."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from src import cli as main
from src.config import (
    BACKBONES,
    DEFAULT_BACKBONE,
    DataConfig,
    RunConfig,
    TrainConfig,
    config_from_args,
)
from src.config.options import build_config, config_to_dict
from src.config.training import IN_MNI
from src.errors import ConfigError, DataNotFoundError, MriError, UnknownNameError
from src.models import create  # noqa: F401 - each network registers itself
from src.models.registry import MODEL_REGISTRY

# A flag that is renamed breaks commands in other people's scripts and notes: change with care.
FLAGS = """
    accumulate activation_checkpointing against allow_leaks atlas atlas_labels augment backbone
    batch_size bootstrap brain cache_dir calibrate_on
    calibration cell changes checkpoint checkpoint_dir
    class_weight_cap classes collect compile config convention crop dask
    data_dir data_root dataset datasets debug
    device dim doses dropout ensemble epochs
    field fold folds freeze_backbone grad_clip graded harmonise
    help help_all hold_out
    image_size input keep_memory keep_models keep_unrated label layer learning_curve let_in loss
    lr maps
    method min_age mode
    months n4 num_slices
    official_split out_of_fold patience people pool
    permute_labels phantom_cause phantom_effect phantom_subjects phantom_variety phantom_voxel
    precision
    rating_days raw_dir register repeat repeats report results_dir
    resume run runs samples search seed seeds
    sessions slice_axis split study
    slice_files target task_weights tasks tensorboard mlflow test_fraction val_fraction
    volume_size warmup_epochs
    weight_decay weights workers
""".split()  # noqa: SIM905 - one name a line would fill a page


def parse(*words):
    """Return the config of a command line."""
    parser = main.build_parser()
    return config_from_args(parser.parse_args([main._underscored(word) for word in words]))


def test_the_flags_are_frozen():
    actions = main.build_parser()._actions
    assert sorted(action.dest for action in actions) == sorted(FLAGS)


def test_every_flag_has_a_help():
    silent = [action.dest for action in main.build_parser()._actions if not action.help]
    assert silent == []


def test_every_setting_is_a_flag():
    nested = config_to_dict(RunConfig())
    names = {key for value in nested.values() if isinstance(value, dict) for key in value}
    names |= {key for key, value in nested.items() if not isinstance(value, dict)}
    assert names == set(FLAGS) - {"config", "mode", "debug", "runs", "help", "help_all"}


@pytest.mark.parametrize("word", ["--batch-size", "--batch_size"])
def test_hyphens_and_underscores_name_the_same_flag(word):
    assert parse(word, "7").train.batch_size == 7
    assert parse(f"{word}=8").train.batch_size == 8


@pytest.mark.parametrize("word", ["--no-freeze-backbone", "--no_freeze_backbone"])
def test_a_switch_is_turned_off_with_no(word):
    assert not parse("--freeze_backbone", word).model.freeze_backbone


@pytest.mark.parametrize("word", ["--no-augment", "--no_augment"])
def test_augmentation_can_be_turned_off(word):
    assert parse().train.augment == "mild"
    assert parse("--augment", "none").train.augment == "none"
    assert parse(word).train.augment == "none"  # as older commands say it
    assert parse("--augment").train.augment == "mild"


@pytest.mark.parametrize(("before", "now"), [(True, "mild"), (False, "none")])
def test_augmentation_of_older_settings_was_on_or_off(before, now):
    assert build_config(RunConfig, {"train": {"augment": before}}).train.augment == now
    assert TrainConfig(augment=before) == TrainConfig(augment=now)
    assert TrainConfig(augment=now).identity["augment"] is before
    assert TrainConfig(augment="scanner").identity["augment"] == "scanner"


def test_changes_of_images_that_a_frozen_backbone_never_sees_are_refused():
    with pytest.raises(ConfigError, match="no use with --freeze_backbone") as refusal:
        parse("--freeze_backbone", "--augment", "scanner")
    assert "--no-freeze_backbone" in refusal.value.hint
    assert parse("--freeze_backbone", "--augment", "mild").model.freeze_backbone


def test_values_keep_their_hyphens():
    assert parse("--run", "try-1").run == "try-1"
    assert parse("--run=try-1").run == "try-1"


def test_one_seed_is_that_of_data_and_of_training():
    config = parse("--seed", "3")
    assert (config.data.seed, config.train.seed) == (3, 3)


def test_file_goes_over_defaults_and_flags_go_over_the_file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"train": {"epochs": 3, "lr": 0.5}, "classes": 2}), encoding="utf-8")
    config = parse("--config", str(path), "--lr", "0.25")
    assert config.data.classes == 2
    assert config.train.epochs == 3
    assert config.train.lr == 0.25
    assert config.train.patience == RunConfig().train.patience


def test_a_switch_in_the_file_can_be_turned_off_by_a_flag(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"resume": true}', encoding="utf-8")
    assert parse("--config", str(path)).train.resume
    assert not parse("--config", str(path), "--no-resume").train.resume


def test_a_config_comes_back_from_its_json():
    config = parse("--dataset", "oasis_3d", "--lr", "0.1", "--run", "x", "--data_dir", "/raw")
    assert build_config(RunConfig, json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"folds": 1}, "--folds 1 is not in 2 to 100"),
        ({"repeats": 0}, "--repeats 0"),
        ({"seeds": 101}, "--seeds 101"),
        ({"fold": 5}, "--fold 5 is not in 0 to 4"),
        ({"repeat": -1}, "--repeat -1"),
        ({"collect": True, "fold": 1}, "takes no --fold"),
        ({"permute_labels": -1}, "--permute_labels -1"),
        ({"epochs": 0}, "--epochs 0 is not in 1 to 10000"),
        ({"epochs": 10_001}, "--epochs 10001"),
        ({"batch_size": 0}, "--batch_size 0"),
        ({"batch_size": 4097}, "--batch_size 4097"),
        ({"lr": 0}, "--lr 0 is not between"),
        ({"lr": 10}, "--lr 10"),
        ({"weight_decay": -0.1}, "--weight_decay -0.1 is under 0"),
        ({"warmup_epochs": -1}, "--warmup_epochs -1 is under 0"),
        ({"patience": -1}, "--patience -1 is under 0"),
        ({"grad_clip": 0}, "--grad_clip 0 is not above 0"),
        ({"class_weight_cap": 0.5}, "--class_weight_cap 0.5 is under 1"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 2**32}, "--seed 4294967296"),
        ({"classes": 5}, "5 is none of 4, 3, 2"),
        ({"min_age": -1}, "--min_age -1"),
        ({"min_age": 126}, "--min_age 126"),
        ({"val_fraction": 0}, "--val_fraction 0"),
        ({"val_fraction": 0.5}, "--val_fraction 0.5"),
        ({"test_fraction": 0}, "--test_fraction 0"),
        ({"test_fraction": 0.5}, "--test_fraction 0.5"),
        ({"phantom_subjects": 7}, "--phantom_subjects 7"),
        ({"phantom_subjects": 9001}, "--phantom_subjects 9001"),
        ({"phantom_voxel": 0.9}, "--phantom_voxel 0.9"),
        ({"phantom_voxel": 4.1}, "--phantom_voxel 4.1"),
        ({"phantom_effect": -0.1}, "--phantom_effect -0.1"),
        ({"phantom_effect": 1.1}, "--phantom_effect 1.1"),
        ({"num_slices": 0}, "--num_slices 0"),
        ({"num_slices": 513}, "--num_slices 513"),
        ({"image_size": 31}, "--image_size 31"),
        ({"image_size": 1025}, "--image_size 1025"),
        ({"volume_size": 31}, "--volume_size 31"),
        ({"volume_size": 513}, "--volume_size 513"),
        ({"dropout": -0.1}, "--dropout -0.1"),
        ({"dropout": 1}, "--dropout 1"),
        ({"bootstrap": 99}, "--bootstrap 99"),
        ({"bootstrap": 100_001}, "--bootstrap 100001"),
        ({"samples": 0}, "--samples 0"),
        ({"samples": 101}, "--samples 101"),
        ({"graded": -1}, "--graded -1"),
        ({"target": "best"}, "unknown target: 'best'"),
        ({"atlas": "a.nii"}, "--atlas and --atlas_labels belong together"),
        ({"workers": 0}, "--workers 0"),
        ({"workers": 1025}, "--workers 1025"),
        ({"run": "a/b"}, "--run 'a/b' is no plain folder name"),
        ({"run": "a\\b"}, "no plain folder name"),
        ({"run": ".."}, "no plain folder name"),
        ({"dim": "4d"}, "'dim': '4d' is none of 2d, 3d"),
        ({"dataset": "oasis_3d", "dim": "2d"}, "oasis_3d contradicts --dim 2d"),
        ({"backbone": "simple"}, "simple does not take 2d images"),
        ({"dataset": "oasis_3d", "backbone": "resnet18"}, "resnet18 does not take 3d images"),
        ({"dataset": "oasis", "official_split": True}, "oasis has no official split"),
    ],
)
def test_what_is_out_of_range_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says) as caught:
        build_config(RunConfig, settings)
    assert caught.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": float("nan")},
        {"weight_decay": float("inf")},
        {"min_age": float("nan")},
        {"grad_clip": float("nan")},
    ],
)
def test_numbers_that_are_not_finite_are_refused(settings):
    with pytest.raises(ConfigError, match="is not finite"):
        build_config(RunConfig, settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epochs": "3"}, "'epochs': '3' is no int"),
        ({"epochs": None}, "'epochs': None is no int"),
        ({"epochs": True}, "'epochs': True is no int"),
        ({"epochs": 2.5}, "'epochs': 2.5 is no int"),
        ({"augment": 1}, "'augment': 1 is no str"),
        ({"augment": "strong"}, "none of none, mild, scanner"),
        ({"data_root": 3}, "'data_root': 3 is no Path"),
        ({"dataset": ["oasis"]}, "is no str"),
        ({"slice_axis": "diagonal"}, "none of axial, coronal, sagittal"),
        ({"precision": "fp16"}, "none of auto, fp32, bf16"),
        ({"method": "grad-cam"}, "none of gradcam"),
    ],
)
def test_values_of_another_kind_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        build_config(RunConfig, settings)


def test_whole_numbers_are_numbers():
    assert build_config(RunConfig, {"lr": 1, "batch_size": None}).train.lr == 1.0


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"train": {"zzz": 1}}, "choose one of"),
        ({"train": 3}, "did you mean"),
        ({"evaluate": 3}, "choose one of"),
    ],
)
def test_an_unknown_setting_is_refused(settings, hint):
    with pytest.raises(UnknownNameError, match="unknown setting") as caught:
        build_config(RunConfig, settings)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (None, DataNotFoundError, "results/<run>/config.json"),
        ("{", ConfigError, "is not JSON"),
        ("[1]", ConfigError, "holds no settings"),
    ],
)
def test_a_file_that_holds_no_settings(tmp_path, content, kind, says):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(kind, match=says):
        config_from_args(argparse.Namespace(config=path))


def test_an_unknown_dataset_is_answered_with_the_nearest():
    with pytest.raises(MriError, match=r"unknown dataset: 'osais_2d'.*\n.*did you mean 'oasis_2d'"):
        DataConfig(dataset="osais_2d")


def test_the_backbones_of_the_help_are_the_registered_ones():
    for dim, names in BACKBONES.items():
        known = [n for n in MODEL_REGISTRY if n not in IN_MNI]
        registered = [n for n in known if MODEL_REGISTRY.get(n).dim == dim]
        assert sorted(names) == sorted(registered)
        assert DEFAULT_BACKBONE[dim] in names


def test_the_cohorts_of_the_help_are_the_registered_ones():
    # In a process of its own: a cohort that registers itself here is added to COHORTS.
    code = "from src.config import COHORTS; named = sorted(COHORTS); import src.cohorts.registry; "
    code += "assert named == sorted(src.cohorts.registry.COHORT_REGISTRY), named"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "cohort", "dim", "name"),
    [
        ({"dataset": "oasis"}, "oasis", "2d", "oasis_2d"),
        ({"dataset": "oasis", "dim": "3d"}, "oasis", "3d", "oasis_3d"),
        ({"dataset": "kaggle_2d"}, "kaggle_orig", "2d", "kaggle_2d"),
        ({"dataset": "kaggle_nifti_3d", "dim": "3d"}, "kaggle_nifti", "3d", "kaggle_nifti_3d"),
        (
            {"dataset": "kaggle_orig", "official_split": True},
            *("kaggle_orig", "2d", "kaggle_2d_official"),
        ),
    ],
)
def test_names_of_data_sets(settings, cohort, dim, name):
    data = DataConfig(**settings)
    assert (data.cohort, data.model_dim, data.name) == (cohort, dim, name)
    assert data.processed_dir == Path("data") / name
    assert data.raw_dir == Path("data") / cohort


@pytest.mark.parametrize(
    ("folders", "dataset", "found"),
    [
        (["Kaggle"], "kaggle_2d", "Kaggle"),
        (["KAGGLE_orig", "kaggle_2d"], "kaggle_orig", "KAGGLE_orig"),
        (["Kaggle", "kaggle_orig"], "kaggle_orig", "kaggle_orig"),
        (["Kaggle", "Kaggle_Orig"], "kaggle_orig", "kaggle_orig"),  # not there: nothing is guessed
        (["OASIS"], "oasis_3d", "OASIS"),
        (["Phantom"], "phantom", "phantom"),
        ([], "oasis", "oasis"),
    ],
)
def test_the_raw_folder_may_be_called_in_another_case(tmp_path, folders, dataset, found):
    for folder in folders:
        (tmp_path / folder).mkdir()
    (tmp_path / "SCANS").touch()
    assert DataConfig(dataset=dataset, data_root=tmp_path).raw_dir == tmp_path / found
    assert DataConfig(dataset="scans", data_root=tmp_path).raw_folders == []
    assert DataConfig(dataset=dataset, data_dir=Path("x")).raw_dir == Path("x")


def test_defaults_follow_the_dimension():
    flat = build_config(RunConfig, {"dataset": "oasis_2d"})
    deep = build_config(RunConfig, {"dataset": "oasis_3d"})
    assert (flat.batch_size, flat.backbone) == (32, "efficientnet_lite0")
    assert (deep.batch_size, deep.backbone) == (4, "simple")
    assert deep.run_name == "oasis_3d_simple"
    assert build_config(RunConfig, {"run": "mine"}).run_name == "mine"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"classes": 4}, "kaggle_2d_efficientnet_lite0"),
        ({"classes": 3}, "kaggle_2d_efficientnet_lite0_3classes"),
        ({"classes": 2, "backbone": "resnet18"}, "kaggle_2d_resnet18_2classes"),
        (
            {"classes": 2, "official_split": True},
            "kaggle_2d_official_efficientnet_lite0_2classes",
        ),
        ({"classes": 2, "run": "mine"}, "mine"),
    ],
)
def test_runs_of_other_classes_have_other_names(settings, name):
    assert build_config(RunConfig, {"dataset": "kaggle_2d", **settings}).run_name == name
