"""Where raw DICOM scans were made, by the header of each one's first file."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ...cohorts.file_kinds import SUFFIXES
from ...cohorts.origin import DICOM_WORDS, completed, no_origin, origin_of_words
from ...errors import DataNotFoundError, ImageError, counted
from ...manifest import ORIGIN, Manifest
from .dicom_headers import dicom_files, read_words

logger = logging.getLogger(__name__)


def complete_from_headers(manifest: Manifest) -> Manifest:
    """Fill where scans were made, as far as tables left it open and DICOM headers say it.

    A header that cannot be read says nothing, and a line tells how many: its scan is read in full
    later, and set aside with the reason.

    Args:
        manifest: Raw scans, one row each.

    Raises:
        ConfigError: There are DICOM scans, and pydicom is not installed.
    """
    paths = [manifest.root / path for path in manifest.table["path"]]
    dicom = [path for path in paths if not path.name.lower().endswith(SUFFIXES)]
    if not dicom:
        return manifest
    said = _all_said(dicom)
    read = no_origin(manifest.table.index)
    for name in ORIGIN:
        values = [said.get(path, {}).get(name) for path in paths]
        read[name] = pd.Series(values, read.index, dtype=read[name].dtype)
    told = manifest.table[list(ORIGIN)]
    filled = completed(told, read, manifest.root, "DICOM headers")
    return manifest.with_columns(**{name: filled[name] for name in ORIGIN})


def _all_said(folders: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    said: dict[Path, dict[str, Any]] = {}
    unread: list[Path] = []
    for folder in folders:
        try:
            files = dicom_files(folder) if folder.is_dir() else [folder]
            words = read_words(files[0], DICOM_WORDS.values()) if files else {}
            said[folder] = origin_of_words(words, DICOM_WORDS)
        except (ImageError, DataNotFoundError, OSError):
            unread.append(folder)
    if unread:
        logger.warning(
            "the header of %s cannot be read, such as that of %s: it says no scanner",
            *(counted(len(unread), "DICOM scan"), unread[0]),
        )
    return said
