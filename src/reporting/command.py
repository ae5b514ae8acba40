"""The commands that make a run again."""

from __future__ import annotations

import shlex
from typing import Any

from ..config import RunConfig
from ..options import config_to_dict

_ELSEWHERE = ("checkpoint", "input", "resume", "report")  # said by the mode, or of no result


def commands(config: RunConfig, kind: str) -> list[str]:
    """Return command lines, one per stage.

    Args:
        config: Of the run.
        kind: ``evaluate``, ``crossval`` or ``predict``.
    """
    if kind == "predict":
        places = {"--input": config.predict.input, "--checkpoint": config.evaluate.checkpoint}
        named = [f"{flag} {shlex.quote(str(value))}" for flag, value in places.items() if value]
        return [" ".join(["python main.py --mode predict", *named, *flags(config)])]
    asked = flags(config)
    raw = [] if config.data.cohort == "phantom" else ["--data_dir RAW_FILES"]
    prepare = [flag for flag in asked if not flag.startswith("--data_dir ")] + raw
    stages = ["train", "evaluate", "gradcam"] if kind == "evaluate" else ["crossval"]
    lines = [f"python main.py --mode {stage} {' '.join(asked)}".rstrip() for stage in stages]
    return [f"python main.py --mode preprocess {' '.join(prepare)}".rstrip(), *lines]


def flags(config: RunConfig) -> list[str]:
    """Return the flags in which a run differs from the defaults, quoted for a shell."""
    found: dict[str, str] = {}
    own, usual = _flat(config_to_dict(config)), _flat(config_to_dict(RunConfig()))
    if own["dataset"] == usual["dataset"]:
        found["dataset"] = f"--dataset {own['dataset']}"  # said even where it is the default
    for name, value in own.items():
        if value == usual[name] or value is None or name in _ELSEWHERE:
            continue
        if isinstance(value, bool):
            found[name] = f"--{name}" if value else f"--no-{name}"
        else:
            found[name] = f"--{name} {shlex.quote(str(value))}"
    return list(found.values())


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat
