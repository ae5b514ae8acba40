"""Families of the command line: flags with wild values, and settings files. No stage is run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

from src import cli
from src.config import RunConfig
from src.config.options import config_to_dict

from .family import Family
from .mutations import number_in_text
from .shapes import json_branch

_VALUES = (
    *("", " ", "0", "-1", "1", "nan", "inf", "-inf", "1e309", "1e-400", "9" * 400, "0x10", "1_0"),
    *(
        "true",
        "None",
        "2d",
        "3d",
        "oasis",
        "phantom_2d",
        "cuda:99",
        "cpu",
        "../..",
        "/",
        "/dev/zero",
    ),
    *(
        "a" * 5000,
        "a\x00b",
        "\udcff",
        "é",
        "\x1b[31m",
        "--mode",
        "-",
        "%s",
        "{}",
        "1,2",
        "[1]",
        "~",
    ),
    *("resnet18", "simple", "gradcam", "wce", "tcp://x:1", "4", "0.5", "1.0", "0.999", "100000000"),
)


def _no_stages(given: list[str]) -> None:
    """Run `main` with stages that do nothing.

    Raises:
        SystemExit: The status, where it is none of success.
    """
    kept = cli.run_stage, cli.run_full
    cli.run_stage = lambda name, config: []
    cli.run_full = lambda config, *, debug=False: 0
    try:
        status = cli.main(given)
    finally:
        cli.run_stage, cli.run_full = kept
    if status:
        sys.exit(status)


def wild_flags(rng: Random, data: bytes) -> bytes:
    """Give up to four flags, most of them known, with values of which many are wrong."""
    parser = cli.build_parser()
    actions = {flag: action for action in parser._actions for flag in action.option_strings}
    known = sorted(actions)
    given = ["--mode", rng.choice([*cli.STAGES, "full", "full", "train"])]
    for _ in range(rng.choice((1, 1, 2, 4))):
        flag = rng.choice(known)
        if rng.random() < 0.1:
            flag = rng.choice((flag.replace("_", "-"), flag[:-1], flag + "s", "--" + "x" * 300))
        action = actions.get(flag)
        if action is not None and action.nargs == 0 and rng.random() < 0.8:
            given.append(flag)
            continue
        joined = rng.random() < 0.5
        value = rng.choice(_VALUES)
        if action is not None and action.choices and rng.random() < 0.7:
            value = str(rng.choice(list(action.choices)))
        given += [f"{flag}={value}"] if joined else [flag, value][: rng.choice((1, 2, 2))]
    if rng.random() < 0.1:
        given += [rng.choice(_VALUES)]
    return json.dumps(given).encode("utf-8", "surrogatepass")


def _read_words(folder: Path, name: str) -> None:
    _no_stages(json.loads((folder / name).read_text("utf-8", "surrogatepass")))


def _read_settings(folder: Path, name: str) -> None:
    _no_stages(["--mode", "train", "--config", str(folder / name)])


def _words(folder: Path) -> None:
    (folder / "words.json").write_text('["--mode", "train"]', encoding="utf-8")


def _settings(folder: Path) -> None:
    text = json.dumps(config_to_dict(RunConfig()), default=str)
    (folder / "config.json").write_text(text, encoding="utf-8")


FAMILIES = (
    # Here the file is only what keeps the words: it is never damaged itself.
    Family(
        "flags",
        _words,
        _read_words,
        ("words.json",),
        (wild_flags,),
        share=2,
        places=False,
        known_only=True,
    ),
    Family(
        "settings_file",
        _settings,
        _read_settings,
        ("config.json",),
        (json_branch, json_branch, number_in_text),
        share=2,
    ),
)
