"""Which mode reads which flag: the table against the code of the stages, and the refusals."""

import argparse
import re

import pytest
from command_line import refused
from config_reads import reads_from

from src import cli
from src.config import RunConfig, config_from_args
from src.config.flags import flags_of
from src.config.modes import COMMON, EVERY, FULL, MODES
from src.config.options import config_to_dict
from src.errors import ConfigError
from src.files import write_json

FLAGS = {flag.name: flag for flag in flags_of(RunConfig)}
#: Flags that name what a run is: every mode takes them, though not each needs all.
IDENTITY = {
    *("dataset", "dim", "data_root", "classes", "official_split", "seed", "backbone", "run"),
    *("device", "checkpoint_dir", "results_dir"),
}
_IMAGES = ("num_slices", "slice_axis", "image_size", "volume_size", "field")
#: Settings that a stage's code reads, but of a file and not of its own command:
#: preprocessing.json or a checkpoint says how images were made, a report reads config.json.
OF_A_FILE = {
    **{mode: set(_IMAGES) for mode in ("train", "crossval", "crossdata", "predict")},
    "export": {*_IMAGES, "let_in"},
    "gradcam": {name for name in FLAGS if name.startswith("phantom_")},
    "stress": {*_IMAGES, "n4", "brain", "register", "crop", "let_in"},
    "report": set(FLAGS),
}
#: Named in order to be left out: a cross-validation resumes by itself and is not tracked.
LEFT_OUT = {
    "crossval": {"resume", "tensorboard", "mlflow"},
    # Read of a cross-validation, whose one data set and parts several studies and cells replace.
    "crossdata": {
        *("resume", "tensorboard", "mlflow", "repeats", "repeat", "fold", "seeds", "keep_models"),
        *("tasks", "task_weights"),
        *("hold_out", "harmonise", "split"),
        *("dataset", "dim", "study", "label", "official_split", "data_dir", "split"),
        *("hold_out", "harmonise"),
    },
}
#: What names one data set: several are named by --datasets.
OF_ONE_DATASET = {"dataset", "dim", "official_split"}


@pytest.fixture(scope="module")
def read():
    """What each stage reads, and where; a check before it (`preflight`) is no use."""
    found = {}
    for mode in MODES:
        places = reads_from((f"src.stages.{mode}", "run"))
        found[mode] = {
            name
            for name, where in places.items()
            if any(not place.startswith("src.stages.preflight.") for place in where)
        }
    return found


@pytest.mark.parametrize("mode", MODES)
def test_what_a_stage_reads_is_a_flag_of_its_mode(read, mode):
    declared = {flag.name for flag in FLAGS.values() if mode in flag.modes}
    elsewhere = OF_A_FILE.get(mode, set()) | LEFT_OUT.get(mode, set())
    assert read[mode] - declared - elsewhere == set()


@pytest.mark.parametrize("mode", MODES)
def test_what_a_mode_takes_is_read_by_its_stage_or_names_a_run(read, mode):
    declared = {flag.name for flag in FLAGS.values() if mode in flag.modes}
    of_cli = {"keep_memory", "report"}  # read by the command line itself, around the stage
    assert declared - read[mode] - IDENTITY - of_cli == set()


def test_the_code_is_followed_far_enough(read):
    assert {"dropout", "workers", "val_fraction"} <= read["crossval"]
    assert {"tensorboard", "batch_size", "data_root"} <= read["evaluate"]
    assert read["compare"] == {"results_dir", "bootstrap", "seed"}
    assert "epochs" not in read["evaluate"] | read["predict"] | read["audit"]


def test_every_flag_is_of_known_modes():
    for flag in FLAGS.values():
        assert flag.modes, flag.name
        assert set(flag.modes) <= {*MODES, "full"}, flag.name
        assert ("full" in flag.modes) == bool({*flag.modes} & {*FULL}), flag.name


def test_flags_that_name_a_run_are_taken_by_every_mode_but_compare():
    for name in IDENTITY:
        without = {"compare", "crossdata"} if name in OF_ONE_DATASET else {"compare"}
        assert set(FLAGS[name].modes) >= set(EVERY) - without, name


@pytest.mark.parametrize(
    ("given", "flag", "modes"),
    [
        ("--mode evaluate --epochs 3", "epochs", "train, crossval, crossdata or full"),
        ("--mode audit --folds 3", "folds", "crossval or crossdata"),
        ("--folds 3", "folds", "crossval"),
        ("--mode train --no-report", "report", "evaluate, crossval, crossdata, predict or full"),
        ("--mode predict --data_dir x", "data_dir", "preprocess, train, evaluate, gradcam"),
        ("--mode train --doses 3", "doses", "stress"),
        ("--mode full --input x", "input", "predict"),
    ],
)
def test_a_flag_that_a_mode_does_not_read_is_refused_by_name(capsys, given, flag, modes):
    sentence = refused(capsys, *given.split())
    assert f"does not read --{flag}\n" in sentence
    assert f"fix: leave --{flag} out, or use --mode {modes}" in sentence


@pytest.mark.parametrize("mode", [*MODES, "full"])
def test_the_settings_of_a_run_are_taken_by_every_mode(tmp_path, mode):
    file = write_json(tmp_path / "config.json", config_to_dict(RunConfig()))
    words = ["--mode", mode, "--config", str(file)]
    assert config_from_args(cli.build_parser().parse_args(words)) == RunConfig()


def test_a_value_given_without_a_mode_is_not_refused():
    assert config_from_args(argparse.Namespace(config=None, folds=3)).crossval.folds == 3


@pytest.mark.parametrize("mode", [*MODES, "full"])
def test_the_help_of_a_mode_lists_its_flags_and_no_other(capsys, mode):
    assert cli.main(["--mode", mode, "--help"]) == 0
    said = capsys.readouterr().out
    listed = set(re.findall(r"^  --(\w+)", said, re.M)) - {"mode", "debug", "config", "help"}
    assert listed == {name for name, flag in FLAGS.items() if mode in flag.modes}
    assert ("RUN" in said.split("options:")[0]) == (mode == "compare")


def test_the_help_of_everything_lists_every_flag(capsys):
    assert cli.main(["--help-all"]) == 0
    said = capsys.readouterr().out
    assert set(re.findall(r"^  --(\w+)", said, re.M)) >= set(FLAGS)
    assert "(1 to 10000; default: 30)" in " ".join(said.split())


def test_the_short_help_fits_a_screen_and_names_every_mode(capsys):
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 75
    assert max(map(len, lines)) <= 80
    assert {line.split()[0] for line in lines if re.match(r"  [a-z]", line)} >= {*MODES, "full"}
    assert set(re.findall(r"^  --(\w+)", "\n".join(lines), re.M)) == set(COMMON)
    examples = [line.split()[2:] for line in lines if line.startswith("   ") and "main.py" in line]
    assert len(examples) == len(MODES) + 1
    for words in examples:  # each is a command that the parser takes
        config_from_args(cli.build_parser().parse_args(words))


def test_every_range_holds_its_default_and_is_checked():
    for flag in FLAGS.values():
        if flag.within is None:
            continue
        assert flag.kind in (int, float), flag.name
        if flag.default is not None:
            flag.within.check(flag.name, flag.default)
        with pytest.raises(ConfigError, match=f"--{flag.name} "):
            flag.within.check(flag.name, flag.within.low - 1)


def test_every_number_has_a_range():
    bare = [f.name for f in FLAGS.values() if f.kind in (int, float) and not f.within]
    assert bare == ["classes"]  # which has choices
