"""Stage ``report``: one page of a run, for those who will not open a terminal.

It reads files only; no model is loaded and nothing is scored again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from ..config import RunConfig, name_run
from ..report.page.gather import classes_in, gather
from ..report.page.page import write_page

logger = logging.getLogger(__name__)
REPORT = "report.html"


def run(config: RunConfig) -> Iterator[Path]:
    """Write ``results/<run>/report.html`` of a run that was scored, or that answered new scans.

    Yields:
        The page.

    Raises:
        DataNotFoundError: The run has neither.
        ResultError: ``metrics.json`` breaks its contract.
        ManifestError: Another file is damaged.
        ImageError: A picture or a volume is damaged.
    """
    yield build_report(_folder(config))


def _folder(config: RunConfig) -> Path:
    """Return the run's folder; if nothing is there, the one it had when no name told the classes.

    What is there may be of other classes, and the log says so; the page does too.
    """
    own = config.results_dir / config.run_name
    before = config.results_dir / name_run(config.data.name, config.backbone)
    asked = config.data.num_classes
    if config.run:
        return own
    there = classes_in(own)
    if there is None and classes_in(before) == asked:
        logger.info("%s is of %d classes, which its name does not tell", before, asked)
        return before
    if there not in (None, asked):
        logger.warning("%s is of %d classes, not %d", own, there, asked)
    return own


def build_report(folder: str | Path, target: str | Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        folder: ``results/<run>``, with ``metrics.json`` or ``predict/predictions.json``.
        target: HTML file; None takes ``report.html`` in `folder`.

    Returns:
        The file written: self-contained, under 5 MB, with no request to anywhere.

    Raises:
        DataNotFoundError: Nothing was scored or predicted there.
        ResultError: ``metrics.json`` breaks its contract.
        ManifestError: Another file is damaged.
        ImageError: A picture or a volume is damaged.
    """
    folder = Path(folder)
    return write_page(gather(folder), folder / REPORT if target is None else Path(target))
