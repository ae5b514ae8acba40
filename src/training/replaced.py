"""The run that a training replaces: said before it is gone, so that nobody looks for it in vain.

Runs have the same name where only a seed, a loss or other settings differ.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..files import read_json
from .checkpoint_content import BEST

_PARTS = ("data", "preprocess", "model", "train")
_PLACES = {"data_root", "data_dir", "cache_dir"}  # the same data lies elsewhere
_MOST = 4  # settings named


def replaces(config: RunConfig, settings: dict[str, Any]) -> str:
    """Return which run a training is going to replace; empty where there is none.

    Args:
        config: Where the runs lie, and what this one is called.
        settings: Of the training, as its ``config.json`` will have them.

    Returns:
        ``replaces the run of 2026-03-01 (it had seed 1, loss ordinal)``.
    """
    best = config.checkpoint_dir / config.run_name / BEST
    if not best.is_file():
        return ""
    day = date.fromtimestamp(best.stat().st_mtime).isoformat()
    before = _read(config.results_dir / config.run_name / "config.json")
    if before is None:
        return f"replaces the run of {day} (its settings are not known)"
    now = _flat(settings)
    differ = [f"{k} {_said(v)}" for k, v in _flat(before).items() if k in now and v != now[k]]
    more = f" and {len(differ) - _MOST} more" if len(differ) > _MOST else ""
    had = f"it had {', '.join(differ[:_MOST])}{more}" if differ else "of the same settings"
    return f"replaces the run of {day} ({had})"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that make another model, by their flags."""
    parts = (settings.get(part) for part in _PARTS)
    every = (pair for part in parts if isinstance(part, dict) for pair in part.items())
    return {name: value for name, value in every if name not in _PLACES}


def _said(value: Any) -> str:
    return "not given" if value is None else str(value)
