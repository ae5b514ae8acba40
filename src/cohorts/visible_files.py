"""List what a cohort's folder holds, without asking the disk about every file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


def visible_files(root: Path, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder under `root` and the names of the visible files in it, in order of names.

    Linked folders count, as discs may be links, but each once: a link back up ends there. Only
    links are resolved: for a folder that is none, the place of the one above says it.

    Args:
        root: Where to start.
        skip: Beginnings of names of folders that are left out with all that is in them.

    Yields:
        The folder relative to `root` (``"disc1/a/"``; ``""`` for `root`), and names of files.
    """
    seen: set[str] = set()
    waiting = [("", os.path.realpath(root))]
    while waiting:
        folder, real = waiting.pop()
        if real in seen:
            continue
        seen.add(real)
        files: list[str] = []
        below: list[tuple[str, str]] = []
        for entry in _entries(real):
            if not entry.is_dir():
                files += [] if entry.name.startswith(".") else [entry.name]
            elif not entry.name.startswith(skip):
                target = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                below.append((f"{folder}{entry.name}/", target))
        yield folder, files
        waiting += reversed(below)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        logger.warning("%s cannot be read and is left out: %s", folder, error.strerror)
        return []
