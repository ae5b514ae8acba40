"""Every flag and extra that a message of the code names is there, and every command parses."""

import argparse
import ast
import re
import tomllib
from pathlib import Path

import pytest

from src.cli import build_parser
from src.config import config_from_args
from src.errors import ImageError, in_one_line

ROOT = Path(__file__).parents[1]
PARSER = build_parser()
ACTIONS = {flag: action for action in PARSER._actions for flag in action.option_strings}
#: Of other programs that a message names.
FOREIGN = {"--nproc_per_node", "--break-system-packages"}
#: Stands for what the code puts in while it runs; the name of its flag says what that may be.
GAP = "\N{WHITE SQUARE}"
FILLED = {"--dataset": "phantom_2d", "--classes": "3", "--mode": "evaluate", "--dim": "2d"}
FILLED |= {"--backbone": "resnet18", "--folds": "5", "--bootstrap": "3000"}


def texts(file):
    """Return the strings of a module that are no docstrings, as (line, text with gaps)."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in ast.walk(node) if part is not node}  # fmt: skip
    inside |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append((node.lineno, node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else GAP for p in node.values]
            found.append((node.lineno, "".join(parts)))
    return found


def all_texts():
    files = sorted((ROOT / "src").rglob("*.py"))
    return [(f"{f.relative_to(ROOT)}:{line}", text) for f in files for line, text in texts(f)]


def flags(text):
    """Return the flags that a text names; ``--permute_labels,`` and ``--dim=2d`` as well."""
    return [flag for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", text) if flag[-1] != "-"]


def known(flag):
    return (
        flag in FOREIGN
        or flag in ACTIONS
        or flag.replace("-", "_").replace("__", "--", 1) in ACTIONS
    )


def commands(text):
    """Return the words after ``python main.py`` of each command in a text, gaps filled in."""
    found = []
    for said in re.findall(r"python main\.py((?: [^\s,;()]+)*)", text):
        rest, words = said.split(), []
        while rest and rest[0].startswith("--"):
            flag = rest.pop(0)
            words.append(flag)
            action = ACTIONS.get(flag)
            takes = isinstance(action, (argparse._StoreAction,)) and action.nargs != 0
            if takes and rest:
                value = rest.pop(0)
                words.append(FILLED.get(flag, "x") if GAP in value else value.strip("'\""))
        if words[:2] == ["--mode", "compare"]:
            words += ["a", "b"]
        found.append(words)
    return found


TEXTS = all_texts()
COMMANDS = sorted(
    {(place, " ".join(words)) for place, text in TEXTS for words in commands(text) if words}
)


def test_every_flag_that_a_message_names_is_a_flag():
    wrong = [(place, flag) for place, text in TEXTS for flag in flags(text) if not known(flag)]
    assert wrong == []
    assert sum(bool(flags(text)) for _, text in TEXTS) > 60


@pytest.mark.parametrize(("place", "command"), COMMANDS)
def test_every_command_that_a_message_names_parses(place, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("{}", encoding="utf-8")  # of --config
    config_from_args(PARSER.parse_args(command.split()))


def test_every_extra_that_a_message_names_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {name for _, text in TEXTS for name in re.findall(r"\[(\w+)\]\"?'?$", text)}
    called = {
        node.args[2].value
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "optional"
        if len(node.args) > 2 and isinstance(node.args[2], ast.Constant)
    }
    assert (named | called) <= {*project["optional-dependencies"]}
    assert called >= {"scans", "export"}


def test_what_is_wrong_would_be_found():
    assert flags("python main.py --mode train --learning_rate 1") == ["--mode", "--learning_rate"]
    assert not known("--learning_rate")
    (words,) = commands(f"python main.py --mode evaluate --dataset {GAP}, or another")
    assert words == ["--mode", "evaluate", "--dataset", "phantom_2d"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ImageError("a is damaged", hint="copy it again"), "a is damaged; fix: copy it again"),
        (ImageError("a is damaged"), "a is damaged"),
        (FileNotFoundError(2, "gone", "a"), "[Errno 2] gone: 'a'"),
    ],
)
def test_a_reason_in_a_table_is_one_line_with_its_fix(error, line):
    assert in_one_line(error) == line
