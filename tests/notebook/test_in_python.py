"""What errors say in a notebook: settings and calls; a flag only in a line for a shell."""

import ast
import re

import cv2
import numpy as np
import pytest
from test_hints import GAP, TEXTS, commands

import src
from src import audit, crossval, evaluate, preprocess
from src.config import RunConfig
from src.config.options import build_config
from src.errors import CheckpointError, DataNotFoundError, MriError
from src.notebook.in_python import CALLED, in_python, speaks_python


@pytest.mark.parametrize(
    ("shell", "python"),
    [
        ("--classes 3, or more people", "classes=3, or more people"),
        ("lower --lr, or --precision fp32", "lower lr, or precision='fp32'"),
        ("raise --val_fraction / --test_fraction", "raise val_fraction / test_fraction"),
        ("leave --resume out to start", "leave resume out to start"),
        ("preprocess without --official_split: it", "preprocess without official_split: it"),
        ("x; --allow_leaks goes on", "x; allow_leaks=True goes on"),
        ("--no-report", "report=False"),
        ("--dim 2d (in Python: 2)", "dim='2d' (in Python: 2)"),
        ("--checkpoint a/b.pth, once", "checkpoint='a/b.pth', once"),
        ("--device cpu", "device='cpu'"),
        ("run --mode preprocess again", "run preprocess(...) again"),
        ("an e-mail -- or --no_flag_of_ours 3", "an e-mail -- or --no_flag_of_ours 3"),
        (
            "python main.py --mode preprocess --dataset kaggle_orig --dim 2d --data_dir 'a b': x",
            "preprocess('kaggle_orig', dim='2d', data_dir='a b'): x",
        ),
        (
            "python main.py --mode audit --dataset phantom_2d --no-keep_memory, or --seed 1",
            "audit(dataset='phantom_2d', keep_memory=False), or seed=1",
        ),
        ("python main.py --mode compare RUN RUN", "compare('RUN', 'RUN')"),
        ("python main.py --mode evaluate writes it", "evaluate(...) writes it"),
        (
            "python main.py --mode train --dataset phantom_2d, or --seed 1",
            "in a shell: python main.py --mode train --dataset phantom_2d, or seed=1",
        ),
        (
            "python main.py --mode evaluate --config c.json --run x",
            "in a shell: python main.py --mode evaluate --config c.json --run x",
        ),
    ],
)
def test_flags_become_settings_and_commands_become_calls(shell, python):
    assert in_python(shell) == python


def test_every_command_of_a_message_becomes_a_call_with_settings_that_are_there():
    made = set()
    for _, text in TEXTS:
        for words in commands(text):
            line = (
                " ".join(["python main.py", *words]).replace(GAP, "x").replace(" a b", " RUN RUN")
            )
            said = in_python(line)
            if said.startswith("in a shell: ") or not words:
                continue
            call = ast.parse(said.replace("...", "").partition(" writes")[0], mode="eval").body
            assert call.func.id in CALLED
            assert callable(getattr(src, call.func.id))
            given = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
            build_config(RunConfig, {k: v for k, v in given.items() if k != "data_dir"})
            made.add(call.func.id)
    assert made >= {"preprocess", "evaluate", "compare"}


def test_no_flag_of_ours_is_left_in_a_message_but_in_a_line_for_a_shell():
    flags = {flag for flag in src.config.flags.flags_of(RunConfig)}
    names = "|".join(flag.name for flag in flags)
    for place, text in TEXTS:
        said = re.sub(r"in a shell: [^,;()]*", "", in_python(text))
        assert not re.search(rf"(?<![\w-])--(no-)?({names})\b(?!-)", said), (place, said)


def test_an_error_that_leaves_a_function_speaks_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        evaluate("phantom_2d", classes=2)
    line = "python main.py --mode train --dataset phantom_2d --classes 2"
    assert caught.value.hint == f"in a shell: {line}, or checkpoint='FILE'"
    with pytest.raises(DataNotFoundError) as caught:
        crossval("phantom_2d")
    assert caught.value.hint == "preprocess('phantom_2d')"


@pytest.mark.slow
def test_what_mends_a_split_works_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(24):
        stage = ("NonDemented", "MildDemented")[number % 2]
        for split in ("train", "test"):
            path = tmp_path / "pictures" / split / stage / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(number).integers(0, 255, (208, 176), np.uint8)
            cv2.imwrite(str(path), image)
    told = audit("pictures")
    assert told.verdict == "FAIL"
    call = told.fix.partition(": it joins")[0]
    assert call.startswith("preprocess('kaggle_orig', dim='2d', data_dir=")
    again = eval(call, {"preprocess": preprocess})
    assert audit(again.root).table().loc["identical_files", "verdict"] != "FAIL"


def test_the_kind_of_an_error_and_the_place_of_a_bug_stay():
    @speaks_python
    def refuse(kind):
        """Say no."""
        raise kind("--lr 3 is wrong")

    with pytest.raises(MriError, match=r"^lr=3 is wrong$"):
        refuse(MriError)
    with pytest.raises(RuntimeError, match=r"^--lr 3 is wrong$"):
        refuse(RuntimeError)
    assert refuse.__doc__ == "Say no."
