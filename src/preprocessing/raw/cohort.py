"""Raw scans of a cohort -> standard scans, before anything else is done to them.

The standard scans stay in ``data/<cohort>_standard/``, with their quality table and a page to look
through; 2D and 3D data sets are made of the same ones.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pandas as pd

from ...config import RunConfig
from ...errors import ConfigError, ManifestError, UnknownNameError, counted
from ...manifest import Manifest
from ..processed import check_file_name, rejected_rows, scan_names
from .dicom_origin import complete_from_headers

logger = logging.getLogger(__name__)


def standard_folder(config: RunConfig) -> Path:
    """Return the folder of the cohort's standard scans."""
    return config.data.data_root / f"{config.data.cohort}_standard"


def standard_scans(
    manifest: Manifest, config: RunConfig, workers: int
) -> tuple[Manifest, pd.DataFrame, set[str]]:
    """Bring every scan to the standard; do again only what changed.

    Args:
        manifest: Raw scans, one row each.
        config: `scan` says which steps are taken, and who is let in all the same.
        workers: Scans at a time.

    Returns:
        The rows whose standard scan can be used, with its path in `standard_folder`, and with site
        and scanner where a DICOM header says them; the others, with the reason; and the names of
        scans that do not say which side is left.

    Raises:
        ConfigError: Results would be written among the raw scans, or a name that is to be let in
            is none.
        ManifestError: A scan was neither made nor set aside.
    """
    from .batch import standardise_all  # loads SimpleITK and the brain model

    manifest = complete_from_headers(manifest)
    folder = standard_folder(config)
    for written in (folder, config.data.processed_dir):
        _refuse_inside(config.data.raw_dir, written)
    names = scan_names(manifest.table)
    sources = {
        check_file_name(name): manifest.root / path
        for name, path in zip(names, manifest.table["path"], strict=True)
    }
    for name in config.scan.names_let_in:
        if name not in sources:
            raise UnknownNameError("scan in --let_in", name, list(sources))
    there = {name: path for name, path in sources.items() if path.exists()}
    made, reasons = standardise_all(there, folder, config.scan, workers=workers, dask=config.dask)
    reasons = reasons | {
        name: f"{sources[name].name} is a link to nothing: download what it points to"
        for name in sources.keys() - there.keys()
    }
    lost = sorted(sources.keys() - made.keys() - reasons.keys())
    if lost:
        raise ManifestError(
            f"{len(lost)} scans were neither made nor set aside, such as {lost[0]}",
            hint="run the same command again: finished scans are kept",
        )
    _tell(reasons, len(sources), folder)
    rejected = rejected_rows(manifest, reasons)
    usable = manifest.where(~names.isin(list(reasons)))
    paths = [_inside(made[name].path, folder) for name in scan_names(usable.table)]
    kept = Manifest(usable.table.assign(path=paths), folder, manifest.stamps)
    return kept, rejected, {name for name, scan in made.items() if not scan.side_known}


def _inside(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _refuse_inside(raw: Path, written: Path) -> None:
    """Refuse to write below the raw folder, where results would be taken for scans."""
    if raw.resolve() in (written.resolve(), *written.resolve().parents):
        raise ConfigError(
            f"{written} lies in the folder of the raw scans, {raw}",
            hint="name another folder with --data_root, or the scans' own with --data_dir",
        )


def _tell(reasons: dict[str, str], scans: int, folder: Path) -> None:
    for name, reason in sorted(reasons.items())[:5]:
        logger.warning("set aside %s: %s", name, reason)
    if reasons:
        usable = any((folder / f"{name}.nii.gz").is_file() for name in reasons)
        logger.warning(
            "set aside: %d of %s; look at %s%s",
            *(len(reasons), counted(scans, "scan"), folder / "montage.html"),
            ", and let one in with --let_in NAME" if usable else "",
        )
