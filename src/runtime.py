"""Logging, progress bars and the environment: the only module that reads ``os.environ``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import _TqdmLoggingHandler

T = TypeVar("T")


def configure_logging(level: int = logging.INFO) -> None:
    """Send records of this project to stderr, one plain line each, around progress bars."""
    handler = _TqdmLoggingHandler()
    handler.stream = sys.stderr
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("main", "debug", "src"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def progress(items: Iterable[T], *, total: int | None = None, desc: str = "") -> Iterable[T]:
    """Return `items` behind a progress bar on stderr that redraws at most once a second."""
    bar: Iterable[T] = tqdm(
        items, total=total, desc=desc, mininterval=1.0, dynamic_ncols=True, file=sys.stderr
    )
    return bar


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def world_size() -> int:
    """Return how many processes ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def weight_cache() -> Path:
    """Return the folder that torchvision's weight files are kept in (``TORCH_HOME``)."""
    home = os.environ.get("TORCH_HOME")
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return (Path(home) if home else Path(cache) / "torch") / "hub" / "checkpoints"
