"""What version 0.1.0 left on disk still opens: data, caches, checkpoints, folds, results, settings.

The archive holds one run of each kind, of a few phantoms. Most weights of its checkpoint were set
to zero, so that the file is small; scores of it are nonsense, and the same nonsense as then.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import only_read
from matplotlib.image import imread  # 0 to 1
from tiny_runs import kept_loggers

from src import cli
from src.data.loaders import open_dataset
from src.labels import class_scheme
from src.preprocessing.space.grid import read_named_record
from src.training.features import dataset_features

ARCHIVE = Path(__file__).with_name("made_by_0.1.0.tar.xz")
VOLUMES = "phantom_3d_simple"
FOLDS = "phantom_2d_efficientnet_lite0_3classes_crossval"
SMALL = (
    "--phantom_subjects 16 --phantom_voxel 4 --workers 1 --device cpu --bootstrap 100 --no-report"
)
IN_3D = f"--dataset phantom_3d --volume_size 32 --classes 2 --epochs 1 --backbone simple {SMALL}"
IN_2D = (
    "--dataset phantom_2d --num_slices 2 --image_size 32 --classes 3 --freeze_backbone --folds 2 "
    f"--repeats 1 --seeds 1 {SMALL}"
)


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The folder in which version 0.1.0 worked, which is where commands run."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    with kept_loggers():
        yield tmp_path


def run(mode, *words):
    given = only_read(mode, [one for word in words for one in word.split()])
    assert cli.main(["--mode", mode, *given]) == 0


def times(folder, pattern):
    return {path: path.stat().st_mtime_ns for path in folder.rglob(pattern)}


def numbers(path, *left_out):
    """Return a result without what belongs to the machine and the moment."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in left_out}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "name", "read"), [(IN_3D, "phantom_3d", np.load), (IN_2D, "phantom_2d", imread)]
)
def test_scans_come_out_as_they_did(old, words, name, read):
    then = {path: read(path) for path in (old / "data" / name).rglob("*/PHAN_*.[np][pn][yg]")}
    (old / "data" / name).rename(old / "kept")
    run("preprocess", words)
    assert len(then) in (18, 36)
    for path, pixels in then.items():  # a rounding may fall the other way on another processor
        np.testing.assert_allclose(read(path), pixels, atol=0.005)
        differ = np.mean(read(path) != pixels)
        assert differ < 0.01


@pytest.mark.parametrize("name", ["phantom_3d", "phantom_2d"])
def test_a_record_leads_back_to_the_stored_scan(old, name):
    record = read_named_record(old / "data" / name, "PHAN_0001_MR1")
    assert all((old / "data" / name / path).is_file() for path in record.matrices)
    assert {matrix.shape for matrix in record.matrices.values()} == {(4, 4)}


@pytest.mark.parametrize(("name", "dim"), [("phantom_3d", "3d"), ("phantom_2d", "2d")])
def test_the_image_cache_is_read_and_not_built_again(old, name, dim):
    folder = old / "data" / name
    (cache,) = times(folder / ".cache", "*.npy").items()
    data = open_dataset(folder, dim, class_scheme(2))
    assert data[0][0].max() > 0
    assert list(times(folder / ".cache", "*.npy").items()) == [cache]


def test_features_of_a_frozen_backbone_are_read(old, monkeypatch):
    from src.models.create import create_model

    kept = times(old / "data", "efficientnet_lite0_*.npz")
    model = create_model("2d", "efficientnet_lite0", 3, freeze_backbone=True, ordinal=True).eval()
    monkeypatch.setattr(model, "embed", lambda x: pytest.fail("computed again"))
    data = open_dataset(old / "data" / "phantom_2d", "2d", class_scheme(3)).everyone("train")
    assert dataset_features(model, data, "cpu").shape == (len(data), 1280)
    assert times(old / "data", "efficientnet_lite0_*.npz") == kept


@pytest.mark.slow
def test_a_checkpoint_says_what_it_said(old, capfd):
    then = pd.read_csv(old / "results" / VOLUMES / "people.csv").set_index("subject")
    run("evaluate", IN_3D, "--results_dir results_now")
    assert (
        f"{VOLUMES}/best_model.pth has 2 classes, which its name does not tell"
        in capfd.readouterr().err
    )
    (people,) = (old / "results_now").rglob("people.csv")
    now = pd.read_csv(people).set_index("subject")
    logits = ["logit_NonDemented", "logit_Demented"]
    np.testing.assert_allclose(now[logits], then[logits], atol=1e-5)
    assert now["class"].equals(then["class"])
    assert now["set_90"].equals(then["set_90"])


@pytest.mark.slow
def test_a_training_that_ended_is_resumed_to_its_end(old):
    history = (old / "checkpoints" / VOLUMES / "history.json").read_text(encoding="utf-8")
    run("train", IN_3D, f"--run {VOLUMES}", "--resume", "--precision bf16")
    assert (old / "checkpoints" / VOLUMES / "history.json").read_text(encoding="utf-8") == history


@pytest.mark.slow
def test_folds_are_joined_to_the_same_scores(old):
    folder = old / "results" / FOLDS
    moment = ("seconds", "versions", "settings")
    then = numbers(folder / "metrics.json", *moment)
    (folder / "metrics.json").unlink()
    run("crossval", IN_2D, "--collect")
    now = numbers(folder / "metrics.json", *moment)
    assert now.keys() == then.keys()
    for result in (then, now):
        del result["person"]["notes"], result["image"]["notes"]  # sentences may get better
        for rival in result["rivals"]:
            rival.pop("difference", None)  # came later
    known = {rival["name"] for rival in then["rivals"]}
    now["rivals"] = [rival for rival in now["rivals"] if rival["name"] in known]  # others are new
    for part in (
        "person",
        "image",
        "rivals",
        "crossval",
        "calibration",
        "prediction_sets",
        "people",
    ):
        assert plain(now[part]) == plain(then[part]), part


def plain(value):
    """Return a part of a result without its last digits, which differ by processor."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


@pytest.mark.slow
@pytest.mark.parametrize("name", [VOLUMES, FOLDS])
def test_results_make_a_report_and_settings_repeat_a_run(old, name):
    run("report", f"--run {name}")
    assert (old / "results" / name / "report.html").stat().st_size > 10_000
    path = old / "results" / name / "config.json"
    config = cli.config_from_args(cli.build_parser().parse_args(["--config", str(path)]))
    assert (config.data.classes, config.evaluate.bootstrap) == (2 + (name == FOLDS), 100)
