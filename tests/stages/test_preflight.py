"""What is wrong with a command is found before any image is opened."""

import errno
import json
import shlex
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from command_line import files, refused, words
from tiny_runs import kept_loggers, run_config, train_once

import src.files
from src import cli
from src.data.image_cache import ImageCache
from src.errors import CheckpointError, MriError
from src.files import FileError
from src.models.checkpoint import load_checkpoint, save_checkpoint
from src.stages import preprocess
from src.stages.preflight import check_before
from src.stages.preprocess import run as make_data


@pytest.fixture(autouse=True)
def loggers():
    with kept_loggers():
        yield


@pytest.fixture
def no_image(monkeypatch):
    """Fail where an image is decoded, or a data set is begun."""
    monkeypatch.setattr(ImageCache, "build", lambda self: pytest.fail("images were decoded"))
    monkeypatch.setattr(ImageCache, "read", lambda self, rows: pytest.fail("images were read"))
    monkeypatch.setattr(preprocess, "run", lambda config: pytest.fail("preprocessing began"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, request):
    return train_once(
        request.getfixturevalue("processed_2d"), tmp_path_factory.mktemp("run"), backbone="resnet18"
    )


WRONG = {
    "no weights": ("--weights gone.pth", "neither imagenet, none nor a file"),
    "foreign weights": ("--weights {foreign}", "is of another network"),
    "no device": ("--device cuda:7", "'cuda:7' is not available"),
    "other backbone": ("--backbone simple", "does not take 2d images"),
    "results are a file": ("--results_dir {foreign}", "is a file"),
}
LATER = {
    "no atlas": ("--atlas gone.nii --atlas_labels gone.txt", "not found: gone.nii"),
    "no checkpoint": ("--checkpoint gone.pth", "no such weight file: gone.pth"),
}
ONLY_FULL = {
    "no layer": ("--layer features.99", "unknown layer"),
    "no class": ("--target Demented", "unknown target of 4 classes"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "wrong"),
    [
        *((mode, name) for mode in ("train", "crossval", "full") for name in WRONG),
        *((mode, name) for mode in ("gradcam", "full") for name in LATER),
        ("evaluate", "no checkpoint"),
        *(("full", name) for name in ONLY_FULL),
    ],
)
def test_it_is_found_before_images_are(processed_2d, tmp_path, capsys, no_image, mode, wrong):
    foreign = tmp_path / "foreign.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, foreign)
    given, says = (WRONG | LATER | ONLY_FULL)[wrong]
    before = files(tmp_path)
    asked = ["--mode", mode, "--dataset", "phantom_2d", "--backbone", "resnet18"]
    asked += ["--data_dir", processed_2d, "--classes", "4"]
    sentence = refused(capsys, *words(tmp_path, *asked), *given.format(foreign=foreign).split())
    assert says in sentence
    assert files(tmp_path) == before


def test_a_folder_without_permission_is_named(processed_2d, tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/tmp123")

    monkeypatch.setattr(src.files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(FileError, match="results cannot be written: there is no permission"):
        check_before(run_config(processed_2d, tmp_path), "train")


def test_columns_of_tables_are_read_before_scans_are(tmp_path, monkeypatch):
    scan = tmp_path / "raw" / "a.nii.gz"
    scan.parent.mkdir()
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6)), np.eye(4)), scan)
    (tmp_path / "raw" / "scans.csv").write_text("title,age\na,70\n", encoding="utf-8")
    monkeypatch.setattr(preprocess, "standard_scans", lambda *_: pytest.fail("scans were read"))
    settings = {"dataset": "scans", "data_root": tmp_path, "data_dir": tmp_path / "raw"}
    config = cli.config_from_args(
        cli.build_parser().parse_args([f"--{k}={v}" for k, v in settings.items()])
    )
    with pytest.raises(MriError, match="has no column 'name'"):
        list(make_data(config))


@pytest.mark.slow
def test_a_checkpoint_that_is_not_there_lists_those_that_are(tmp_path, checkpoint):
    for name in ("a_resnet18", "b_resnet18"):
        (tmp_path / name).mkdir()
        shutil.copy(checkpoint, tmp_path / name)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / "b_resnet81" / "best_model.pth")
    near, other = (tmp_path / name / "best_model.pth" for name in ("b_resnet18", "a_resnet18"))
    assert caught.value.hint == f"--checkpoint {near}; also there: {other}"


@pytest.mark.slow
def test_a_backbone_that_is_not_registered_is_told(processed_2d, tmp_path, checkpoint):
    path = save_checkpoint(
        tmp_path / "mine.pth", load_checkpoint(checkpoint) | {"backbone": "mynet"}
    )
    config = run_config(processed_2d, tmp_path, checkpoint=path)
    with pytest.raises(CheckpointError, match="not registered here: 'mynet'") as caught:
        check_before(config, "evaluate")
    assert "CONTRIBUTING.md" in caught.value.hint


@pytest.mark.slow
def test_a_run_that_was_trained_is_scored_by_the_command_that_compare_names(
    processed_2d, tmp_path, capsys
):
    """The fix is followed to the letter, for a run whose backbone is not the newest."""
    train_once(processed_2d, tmp_path, backbone="resnet18", run="first")
    train_once(processed_2d, tmp_path, backbone="resnet18", run="second")
    for mode in ("compare first second", "report --run first"):
        given = ["--mode", *mode.split(), "--results_dir", tmp_path / "results"]
        sentence = refused(capsys, *given)
        command = sentence.rpartition("fix: ")[2]
        assert command.startswith("python main.py --mode evaluate --config")
    assert cli.main([*shlex.split(command)[2:], "--no-report"]) == 0
    content = json.loads(
        (tmp_path / "results" / "first" / "metrics.json").read_text(encoding="utf-8")
    )
    assert content["checkpoint"] == str(tmp_path / "checkpoints" / "first" / "best_model.pth")


def test_a_mistyped_run_names_the_nearest_and_the_others(processed_2d, tmp_path, capsys):
    for name in ("phantom_2d_resnet18", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").touch()
    given = ["--results_dir", tmp_path, "--mode"]
    for mode, flag in (
        ("compare phantom_2d_resnet81 other", ""),
        ("report --run phantom_2d_resnet81", "--run "),
    ):
        sentence = refused(capsys, *given, *mode.split())
        expected = f"did you mean {flag}phantom_2d_resnet18? Also in {tmp_path}: other"
        assert sentence.endswith(expected)
