"""The command line: every mode on a tiny phantom, and one clear sentence for every wrong input."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import files, refused, words
from tiny_runs import kept_loggers

from src import cli as main
from src.errors import ImageError
from src.files import write_json
from src.manifest import Manifest
from src.runtime import Place
from src.training import processes

pytestmark = pytest.mark.usefixtures("few_pixels")

ROOT = Path(__file__).resolve().parents[1]
RUN = "phantom_3d_simple_2classes"


@pytest.fixture(autouse=True)
def loggers():
    with kept_loggers():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which each stage of a 3D run was called by itself; read only."""
    folder = tmp_path_factory.mktemp("made")
    with kept_loggers():
        for mode in main.FULL:
            given = words(folder, "--dataset", "phantom", "--dim", "3d", "--mode", mode)
            given += ["--graded", "0"] if mode == "gradcam" else []  # full grades its maps below
            assert main.main(given) == 0
    return folder


@pytest.fixture
def copied(made, tmp_path):
    """A copy of `made` to spoil."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.slow
def test_each_stage_leaves_its_files(made):
    places = [
        "data_root/phantom_3d/manifest.csv",
        f"checkpoint_dir/{RUN}/best_model.pth",
        f"checkpoint_dir/{RUN}/history.json",
        f"results_dir/{RUN}/metrics.json",
        f"results_dir/{RUN}/config.json",
        f"results_dir/figures/{RUN}/training_curves.png",
        f"results_dir/gradcam/{RUN}/maps.csv",
    ]
    assert [place for place in places if not (made / place).is_file()] == []


@pytest.mark.slow
def test_full_runs_every_stage_and_ends_with_what_to_look_at(tmp_path, capsys):
    assert main.main(words(tmp_path, "--mode", "full", "--dataset", "phantom_2d")) == 0
    out, err = capsys.readouterr()
    order = [line for line in err.splitlines() if line.startswith("==")]
    stages = [f"== {name}: phantom_2d ==" for name in main.FULL]
    assert order == [*stages, "== report: phantom_2d_efficientnet_lite0_2classes =="]
    listed = [Path(line.strip()) for line in out.splitlines() if line.startswith("  ")]
    run = "phantom_2d_efficientnet_lite0_2classes"
    places = ["data_root/phantom_2d", f"checkpoint_dir/{run}", f"results_dir/{run}"]
    assert {tmp_path / place for place in places} <= set(listed)
    assert len(listed) == len(set(listed)) == 6
    assert all(path.is_dir() for path in listed)
    assert out.splitlines()[1] == "done. What was made lies in:"
    page = tmp_path / "results_dir" / run / "report.html"
    assert out.splitlines()[-1] == f"open {page}"
    assert page.is_file()
    Manifest.read(tmp_path / "data_root" / "phantom_2d").check_disjoint()


@pytest.mark.slow
def test_the_command_works_in_a_process_of_its_own(copied):
    given = words(copied, "--mode", "evaluate", "--dataset", "phantom_3d")
    done = subprocess.run(
        [sys.executable, ROOT / "main.py", *given],
        capture_output=True,
        encoding="utf-8",
        cwd=copied,
    )
    assert done.returncode == 0, done.stderr
    assert "scored on" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_the_settings_written_repeat_the_run(copied):
    first = (copied / "checkpoint_dir" / RUN / "history.json").read_text(encoding="utf-8")
    stored = copied / "config.json"
    shutil.move(copied / "results_dir" / RUN / "config.json", stored)
    places = [f"--{name}={copied / name}" for name in ("data_root", "checkpoint_dir")]
    given = ["--mode", "train", "--config", stored, *places, f"--results_dir={copied / 'again'}"]
    assert main.main([str(word) for word in given]) == 0
    assert (copied / "checkpoint_dir" / RUN / "history.json").read_text(encoding="utf-8") == first


def test_help_imports_no_torch():
    code = (
        "import sys, main\n"
        "print(main.main(['--help']), sorted({'torch', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "--mode" in done.stdout


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--dataset", "osais"], "unknown dataset: 'osais'"),
        (["--backbone", "resnet_18"], "unknown 2d backbone: 'resnet_18'"),
        (["--dataset", "oasis_3d", "--dim", "2d"], "--dataset oasis_3d contradicts --dim 2d"),
        (["--classes", "5"], "argument --classes: invalid choice"),
        (["--epochs", "0"], "--epochs 0 is not in 1 to 10000"),
        (["--epochs", "many"], "argument --epochs: invalid int value"),
        (["--epoch", "3"], "unrecognized arguments: --epoch"),
        (["kaggle_2d"], "'kaggle_2d' is no flag, and only --mode compare takes names of runs"),
        (["--mode", "predikt"], "argument --mode: invalid choice"),
        (["--config", "gone.json"], "not found: gone.json"),
        (["--weight_decay", "inf"], "'weight_decay': inf is not finite"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_written(tmp_path, capsys, given, says):
    assert says in refused(capsys, *words(tmp_path, *given))
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--learning_rate 0.1", "did you mean --lr?"),
        ("--learning-rate=0.1 --model resnet18", "did you mean --lr and --backbone?"),
        ("--batchsize 3", "did you mean --batch_size?"),
        ("--num_epochs 3", "did you mean --epochs?"),
        ("--n_folds 3", "did you mean --folds?"),
        ("--output_dir x", "did you mean --results_dir?"),
        ("--no-augmentt", "did you mean --no-augment?"),
        ("--epoch 3", "did you mean --epochs?"),
        ("--mode eval", "did you mean evaluate?"),
        ("--mode crosval", "did you mean crossval?"),
        ("--loss focl", "did you mean focal?"),
        ("--dataset kaggle", "--dataset kaggle_orig for preprocess and full"),
        ("--backbone resnet34", "did you mean 'resnet50'?"),
        ("--backbone simple", "--backbone efficientnet_lite0, or another of resnet18"),
        ("evaluate", "--mode evaluate"),
        ("kaggle_3d", "--dataset kaggle_3d"),
    ],
)
def test_what_was_probably_meant(tmp_path, capsys, given, meant):
    sentence = refused(capsys, *words(tmp_path), *given.split())
    assert f"fix: {meant}" in sentence
    assert files(tmp_path) == {}


def test_a_flag_that_is_like_none_names_the_help(tmp_path, capsys):
    sentence = refused(capsys, *words(tmp_path), "--xyzzy")
    assert sentence.endswith("fix: python main.py --help-all lists every flag")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("preprocess", "not found: {}/data_root/oasis"),
        ("train", "not found: {}/data_root/oasis_2d"),
        ("evaluate", "no checkpoint of oasis_2d"),
        ("gradcam", "no checkpoint of oasis_2d"),
        ("full", "not found: {}/data_root/oasis"),
    ],
)
def test_missing_data_name_what_makes_them(tmp_path, capsys, mode, says):
    sentence = refused(capsys, *words(tmp_path, "--dataset", "oasis", "--mode", mode))
    assert says.format(tmp_path) in sentence
    assert files(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["evaluate", "gradcam"])
def test_a_checkpoint_of_another_data_set(made, tmp_path, capsys, mode):
    path = made / "checkpoint_dir" / RUN / "best_model.pth"
    given = ["--mode", mode, "--dataset", "phantom_2d", "--checkpoint", path]
    assert "is a 3d model, trained on phantom_3d; the data are 2d" in refused(
        capsys, *words(tmp_path, *given)
    )
    assert files(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["evaluate", "gradcam"])
@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_damaged_checkpoint(copied, capsys, mode, share):
    path = copied / "checkpoint_dir" / RUN / "best_model.pth"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    before = files(copied)
    given = ["--mode", mode, "--dataset", "phantom_3d", "--checkpoint", path]
    assert "truncated or no checkpoint" in refused(capsys, *words(copied, *given))
    assert files(copied) == before


@pytest.mark.slow
def test_a_processed_image_that_is_gone(copied, capsys):
    gone = next((copied / "data_root" / "phantom_3d" / "test").rglob("*.npy"))
    gone.unlink()
    shutil.rmtree(copied / "data_root" / "phantom_3d" / ".cache")  # holds the image still
    before = files(copied)
    sentence = refused(capsys, *words(copied, "--mode", "evaluate", "--dataset", "phantom_3d"))
    assert gone.name in sentence
    assert files(copied) == before


@pytest.mark.slow
def test_resuming_what_never_ran(copied, capsys):
    given = ["--mode", "train", "--dataset", "phantom_3d", "--resume", "--run", "new"]
    assert "nothing to resume" in refused(capsys, *words(copied, *given))
    assert not (copied / "checkpoint_dir" / "new").exists()


@pytest.mark.parametrize(
    ("given", "heading"),
    [
        ("predict", "== predict =="),
        ("compare", "== compare =="),
        ("audit --data_dir there", "== audit: there =="),
        ("export --checkpoint a.pth", "== export: a.pth =="),
        ("report --run mine", "== report: mine =="),
    ],
)
def test_a_heading_names_what_the_stage_is_about(tmp_path, capsys, given, heading):
    assert main.main(words(tmp_path, "--mode", *given.split())) == 2
    assert heading in capsys.readouterr().err.splitlines()


def test_ctrl_c_leaves_with_130_and_one_sentence(tmp_path, capsys, monkeypatch):
    def interrupted(name, config):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "run_stage", interrupted)
    assert main.main(words(tmp_path, "--mode", "train")) == 130
    assert capsys.readouterr().err == "stopped by hand; what was finished is kept\n"


def test_sigterm_leaves_with_143_and_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(main, "run_stage", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert main.main(words(tmp_path, "--mode", "train")) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM; what was finished is kept\n"


def test_the_sentence_says_what_a_stopped_training_kept(tmp_path, capsys, monkeypatch):
    def interrupted(name, config):
        raise KeyboardInterrupt("2 whole epochs are kept, --resume continues")

    monkeypatch.setattr(main, "run_stage", interrupted)
    assert main.main(words(tmp_path, "--mode", "train")) == 130
    expected = "stopped by hand; 2 whole epochs are kept, --resume continues\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("mode", "fix"),
    [
        ("crossval", "a job array"),
        ("preprocess", "--dask ADDRESS"),
        ("evaluate", "leave it out"),
        ("full", "leave it out"),
    ],
)
def test_torchrun_is_for_training(tmp_path, capsys, monkeypatch, mode, fix):
    monkeypatch.setattr(main, "place_in_job", lambda: Place(0, 2, 0, 2))
    sentence = refused(capsys, *words(tmp_path, "--mode", mode))
    assert f"--mode {mode} runs in one process, and 2 were started" in sentence
    assert fix in sentence
    assert files(tmp_path) == {}


def test_an_environment_that_is_half_a_job(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "but not clearly: RANK=''" in refused(capsys, *words(tmp_path, "--mode", "train"))


def test_a_process_that_is_not_the_first_to_end_is_silent(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(main, "place_in_job", lambda: Place(1, 2, 1, 2))
    monkeypatch.setattr(processes, "speaks_first", lambda: False)
    assert main.main(words(tmp_path, "--dataset", "oasis", "--mode", "train")) == 2
    assert capsys.readouterr().err == ""


def test_debug_shows_where_an_input_error_came_from(tmp_path):
    with pytest.raises(FileNotFoundError, match="oasis_2d"):
        main.main(words(tmp_path, "--dataset", "oasis", "--mode", "train", "--debug"))


def test_a_bug_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(main, "run_stage", lambda name, config: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main.main(words(tmp_path))


def _stages_that_fail(failing, error, called):
    """Return a `run_stage` of which the stages in `failing` raise."""

    def run_stage(name, config):
        called.append(name)
        folder = config.results_dir / config.run_name
        if name in failing:
            raise error
        if name == "evaluate":
            return [write_json(folder / "metrics.json", {})]
        return [folder / "report.html"] if name == "report" else []

    return run_stage


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TypeError("unsupported\noperand"), "gradcam failed: TypeError: unsupported operand"),
        (ImageError("no brain", hint="look"), "gradcam failed: no brain"),
    ],
)
def test_full_goes_on_to_the_report_when_a_late_stage_fails(
    tmp_path, capsys, monkeypatch, error, said
):
    called = []
    monkeypatch.setattr(main, "run_stage", _stages_that_fail(("gradcam",), error, called))
    assert main.main(words(tmp_path, "--dataset", "phantom_2d")) == 1
    assert called == [*main.FULL, "report"]
    out, err = capsys.readouterr()
    assert f"{said}; the other stages go on" in err
    assert ("fix: look" in err) == isinstance(error, ImageError)
    assert "done, but for gradcam. What was made lies in:" in out
    assert out.splitlines()[-1].endswith("report.html")
    failed = next(tmp_path.rglob("failed.json"))
    assert json.loads(failed.read_text(encoding="utf-8")) == {
        "gradcam": said.removeprefix("gradcam failed: ")
    }


def test_full_without_any_score_runs_what_is_left_and_says_so(tmp_path, capsys, monkeypatch):
    called = []
    stages = _stages_that_fail(("evaluate",), ImageError("no brain"), called)
    monkeypatch.setattr(main, "run_stage", stages)
    assert main.main(words(tmp_path, "--dataset", "phantom_2d")) == 1
    assert called == [*main.FULL]
    assert "there is no report: nothing was scored" in capsys.readouterr().out


def test_full_with_debug_and_an_early_failure_raise(tmp_path, monkeypatch):
    stages = _stages_that_fail(("gradcam",), ZeroDivisionError(), [])
    monkeypatch.setattr(main, "run_stage", stages)
    with pytest.raises(ZeroDivisionError):
        main.main(words(tmp_path, "--dataset", "phantom_2d", "--debug"))
    monkeypatch.setattr(main, "run_stage", _stages_that_fail(("train",), ZeroDivisionError(), []))
    with pytest.raises(ZeroDivisionError):
        main.main(words(tmp_path, "--dataset", "phantom_2d"))


@pytest.mark.slow
def test_the_stored_settings_are_those_of_the_checkpoint(made):
    stored = json.loads((made / "results_dir" / RUN / "config.json").read_text(encoding="utf-8"))
    content = torch.load(made / "checkpoint_dir" / RUN / "best_model.pth", weights_only=True)
    assert content["config"] == stored
    assert stored["data"]["dataset"] == "phantom"


@pytest.mark.parametrize(
    ("dataset", "file", "likely"),
    [
        ("kaggle_orig", "train/MildDemented/a.nii.gz", "kaggle_nifti"),
        ("kaggle_nifti", "train/MildDemented/a.jpg", "kaggle_orig"),
        ("oasis", "sub-01/anat/sub-01_T1w.nii.gz", "bids"),
        ("bids", "mine/head.nii.gz", "scans"),
    ],
)
def test_a_folder_of_another_cohort_names_that_cohort(tmp_path, capsys, dataset, file, likely):
    raw = tmp_path / "raw"
    (raw / file).parent.mkdir(parents=True)
    (raw / file).touch()
    given = ["--mode", "preprocess", "--dataset", dataset, "--data_dir", raw]
    sentence = refused(capsys, *words(tmp_path / "out", *given))
    command = f"python main.py --mode preprocess --dataset {likely} --dim 2d --data_dir {raw}"
    assert sentence.endswith(f"fix: {raw} looks like {likely}: {command}")


def test_an_error_in_a_cohorts_own_files_keeps_its_fix(tmp_path, capsys):
    raw = tmp_path / "raw"
    for name in ("a_head.nii.gz", "train/Unclear/b.jpg"):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).touch()
    given = ["--mode", "preprocess", "--dataset", "kaggle_orig", "--data_dir", raw]
    sentence = refused(capsys, *words(tmp_path / "out", *given))
    assert "whose name is no stage: train/Unclear" in sentence
    assert "looks like" not in sentence


@pytest.mark.slow
def test_a_processed_folder_of_another_cohort_names_its_data_set(made, tmp_path, capsys):
    given = ["--mode", "train", "--dataset", "oasis_3d"]
    given += ["--data_dir", made / "data_root" / "phantom_3d"]
    sentence = refused(capsys, *words(tmp_path, *given))
    assert "was made from phantom, and --dataset says oasis" in sentence
    assert sentence.endswith("fix: --dataset phantom_3d")
