"""How many people of each stage had a scan set aside, in words: in the log and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DOUBTFUL = 0.05  # a smaller p: chance alone rarely makes stages differ so much
BIAS = "an error that goes with the stage is a bias"


def shares_by_stage(found: Mapping[str, Any]) -> str:
    """Return the people with a scan set aside, stage by stage; empty where nobody was rated.

    Args:
        found: What `evaluation.analyses.set_aside.set_aside_by_stage` returned.
    """
    each = [
        f"{stage} {one['aside']} of {one['n']} ({100 * one['value']:.0f} %, "
        f"{100 * one['low']:.0f} to {100 * one['high']:.0f})"
        for stage, one in found["stages"].items()
    ]
    if not each:
        return ""
    p = "" if found["p"] is None else f"; Fisher's exact test p = {_written(found['p'])}"
    return f"people with a scan set aside, by stage, with 95 % intervals: {', '.join(each)}{p}"


def warning_of(found: Mapping[str, Any]) -> str:
    """Return a warning where stages differ by more than chance explains, or nothing."""
    if found["p"] is None or found["p"] >= _DOUBTFUL:
        return ""
    most = max(found["stages"], key=lambda stage: float(found["stages"][stage]["value"]))
    return (
        f"scans of {most} people were set aside more often than others, and chance rarely does "
        f"that (p = {_written(found['p'])}): {BIAS}, so look at these scans before trusting a score"
    )


def _written(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "under 0.001"
