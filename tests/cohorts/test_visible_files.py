"""Listing a folder: the files that ``os.walk`` finds, links once, hidden ones never."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from src.cohorts.folders import visible_files


def walked(root: Path, skip: tuple[str, ...] = ()) -> list[tuple[str, list[str]]]:
    """The plain way: resolve every folder."""
    found, seen = [], set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith(skip))
        relative = Path(folder).relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        found.append((prefix, sorted(name for name in names if not name.startswith("."))))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_folders_and_files_are_those_of_a_walk(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    folders = [tmp_path]
    for number in range(25):
        above = folders[rng.integers(len(folders))]
        place = above / f"{rng.choice(['a', 'B', '.h', '__MACOSX'])}{number}"
        kind = rng.choice(["folder", "file", "link", "dead link"], p=[0.4, 0.3, 0.25, 0.05])
        if kind == "folder":
            place.mkdir()
            folders.append(place)
        elif kind == "file":
            place.touch()
        else:
            target = folders[rng.integers(len(folders))] if kind == "link" else tmp_path / "none"
            place.symlink_to(target, target_is_directory=True)
    for skip in ((), (".", "__MACOSX")):
        assert list(visible_files(tmp_path, skip)) == walked(tmp_path, skip)


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, caplog, monkeypatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open.img").touch()
    scan = os.scandir

    def closed(folder: str):  # a mode would not stop the superuser
        if folder.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", closed)
    with caplog.at_level(logging.WARNING):
        assert list(visible_files(tmp_path)) == [("", ["open.img"]), ("closed/", [])]
    assert "closed cannot be read and is left out: Permission denied" in caplog.text
