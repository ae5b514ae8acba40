"""What is said about a run without results: the command that scores it."""

from __future__ import annotations

import shlex

import pytest

from src.cli import build_parser
from src.config import RunConfig, config_from_args
from src.config.options import build_config, config_to_dict
from src.errors import DataNotFoundError
from src.evaluation.scored_runs import find_run
from src.files import write_json
from src.report.find_run import how_to_have

FOLDS = {
    "evaluate": None,
    "crossval": "repeat,fold,subject,side\n0,0,P1,train\n",
    "crossdata": "name,subject,side\na_to_b,P1,train\n",
}


def stopped(root, mode: str) -> None:
    """Write what a run of this mode leaves before it has results."""
    settings = {"datasets": ("a_2d", "b_2d")} if mode == "crossdata" else {}
    config = config_to_dict(build_config(RunConfig, settings))
    write_json(root / "mine" / "config.json", config)
    if FOLDS[mode] is not None:
        (root / "mine" / "folds.csv").write_text(FOLDS[mode], encoding="utf-8")


@pytest.mark.parametrize("mode", FOLDS)
def test_the_command_is_that_of_the_run(tmp_path, mode) -> None:
    stopped(tmp_path, mode)
    words = shlex.split(how_to_have(tmp_path, "mine", []))
    assert words[2:4] == ["--mode", mode]
    config = config_from_args(build_parser().parse_args(words[2:]))
    assert config.run == "mine"
    assert len(config.data.datasets) == (2 if mode == "crossdata" else 0)


def test_studies_tried_on_each_other_are_no_run_to_compare(tmp_path) -> None:
    stopped(tmp_path, "crossdata")
    with pytest.raises(DataNotFoundError) as error:
        find_run(tmp_path, "mine")
    assert error.value.hint.endswith("itself: python main.py --mode report --run mine")
