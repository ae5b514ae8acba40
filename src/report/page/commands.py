"""The commands that make a run again."""

from __future__ import annotations

import shlex
from typing import Any

from ...config import RunConfig
from ...config.flags import read_by
from ...config.options import config_to_dict

_WIDTH = 88
_ELSEWHERE = (
    "checkpoint",
    "input",
    "resume",
    "report",
    "workers",
)  # said by the mode, or of no result


def commands(config: RunConfig, kind: str) -> list[str]:
    """Return command lines, one per stage.

    Args:
        config: Of the run.
        kind: ``evaluate``, ``crossval``, ``crossdata`` or ``predict``.
    """
    if kind == "crossdata":
        return [_line("crossdata", flags(config, "crossdata"))]
    if kind == "predict":
        places = {"--input": config.predict.input, "--checkpoint": config.evaluate.checkpoint}
        named = [f"{flag} {shlex.quote(str(value))}" for flag, value in places.items() if value]
        return [_line("predict", [*named, *flags(config, "predict")])]
    raw = [] if config.data.cohort == "phantom" else ["--data_dir RAW_FILES"]
    asked = flags(config, "preprocess")
    prepare = [flag for flag in asked if not flag.startswith("--data_dir ")] + raw
    stages = ["train", "evaluate", "gradcam"] if kind == "evaluate" else ["crossval"]
    return [_line("preprocess", prepare), *(_line(one, flags(config, one)) for one in stages)]


def _line(stage: str, words: list[str]) -> str:
    """Return a command whose lines are not too long for paper; no flag is broken."""
    lines = [f"python main.py --mode {stage}"]
    for word in words:
        if len(lines[-1]) + len(word) > _WIDTH:
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(lines)


def flags(config: RunConfig, mode: str) -> list[str]:
    """Return the flags in which a run differs from the defaults, quoted for a shell.

    Args:
        config: Of the run.
        mode: Whose flags are returned.
    """
    found, read = {}, read_by(mode, RunConfig)
    own, usual = _flat(config_to_dict(config)), _flat(config_to_dict(RunConfig()))
    if own["dataset"] == usual["dataset"] and "dataset" in read:
        found["dataset"] = f"--dataset {own['dataset']}"  # said even where it is the default
    for name, value in own.items():
        if value == usual[name] or value is None or name in _ELSEWHERE or name not in read:
            continue
        if isinstance(value, list):
            found[name] = f"--{name} {' '.join(shlex.quote(str(one)) for one in value)}"
        elif isinstance(value, bool):
            found[name] = f"--{name}" if value else f"--no-{name}"
        else:
            found[name] = f"--{name} {shlex.quote(str(value))}"
    return list(found.values())


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat
