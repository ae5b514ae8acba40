"""Folders ``train/<class>/`` and ``test/<class>/`` that have no manifest."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd

from ..cohorts.folders import how_to_preprocess, likely_cohort, no_stage
from ..cohorts.kaggle_names import people_by_name
from ..cohorts.near_duplicates import near_duplicate_clusters
from ..cohorts.people_names import Named, read_name
from ..config import DATASETS, DataConfig, dataset_flags, people_of_dataset
from ..errors import DataNotFoundError, ManifestError, counted
from ..files import read_bytes
from ..labels import stage_from_folder
from ..manifest import MANIFEST, PEOPLE_UNKNOWN, SPLITS, Manifest
from .image_file import fingerprint
from .splits import cut_validation

logger = logging.getLogger(__name__)
_SUFFIXES = {"2d": (".png", ".jpg", ".jpeg"), "3d": (".npy",)}
_FOLDER_SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_MOST_COMPARED = 8192  # images: of more, every open would take minutes
_SLICE = re.compile(r"_slice(\d+)$")


def read_class_folders(folder: str | Path, dim: str, seed: int = 0) -> Manifest:
    """List ``train/<class>/``, ``test/<class>/`` (and ``val/<class>/``) as a manifest.

    People are read from ids in names such as ``OAS1_0061_MR1_slice07.png``, or from the counting
    names of the complete Kaggle set; other names leave people unknown, which the manifest is
    stamped with. Without ``val/``, a part of the training people becomes validation; of unknown
    people near-duplicates count as one.

    Raises:
        DataNotFoundError: No image lies in such folders.
        ManifestError: A class folder is none of the four stages, or a path names two people.
    """
    folder = Path(folder)
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*/*/*")):
        if path.suffix.lower() in _SUFFIXES[dim] and path.parts[-3].lower() in _FOLDER_SPLITS:
            rows.append(_row(folder, path))
    if not rows:
        raise DataNotFoundError(folder / MANIFEST, hint=how_to_make(folder, dim))
    if all(row["unknown"] for row in rows):
        rows = _recover_counted(folder, rows)
    unknown = sum(row.pop("unknown") for row in rows)
    manifest = Manifest.from_columns(
        folder,
        stamps=(PEOPLE_UNKNOWN,) if unknown else (),
        **{name: [row[name] for row in rows] for name in rows[0]},
    )
    if unknown:
        names = counted(len(rows), "file name")
        logger.warning("%d of %s in %s name no person", unknown, names, folder)
    if not (manifest.table["split"] == "val").any():
        guessed = dim == "2d" and unknown and len(rows) <= _MOST_COMPARED
        by = _by_likely_person(manifest) if guessed else manifest
        cut = cut_validation(by, fraction=0.15, seed=seed)
        manifest = manifest.with_columns(split=cut.table["split"])
    return manifest


def _by_likely_person(manifest: Manifest) -> Manifest:
    """Return the rows by who is cut off together: near-duplicates, so validation is no copy.

    A stage whose images all look like one person's is cut image by image; so are people by name.
    """
    table = manifest.table
    paths = [manifest.root / path for path in table["path"]]
    clusters = pd.Series(near_duplicate_clusters(paths, table["label"].tolist()), table.index)
    several = clusters.groupby(table["label"]).transform("nunique") >= 3
    alone = table["subject"] == table["path"]
    subject = table["subject"].where(~(several & alone), "cluster " + clusters.astype("str"))
    return manifest.with_columns(subject=subject, session=table["path"])


def _recover_counted(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tell people apart where every class counts its files as the Kaggle set does.

    Copies of files are left out then; else all rows come back as they are.
    """
    paths, stages = [row["path"] for row in rows], [row["label"] for row in rows]
    try:
        people = people_by_name(folder, paths, stages)
    except ManifestError:  # another set's names: its people stay unknown, which is stamped
        return rows
    return [
        rows[i] | {"subject": subject, "session": "MR1", "slice": number, "unknown": False}
        for i, (subject, number) in people.items()
    ]


def _row(folder: Path, path: Path) -> dict[str, Any]:
    stage, relative = stage_from_folder(path.parts[-2]), path.relative_to(folder).as_posix()
    if stage is None:
        raise no_stage(folder, [relative.rpartition("/")[0]])
    named = read_name(path.relative_to(folder).with_suffix("").as_posix())
    number = _SLICE.search(path.stem) if named else None
    return {
        "subject": named.person if named else relative,
        "session": _session(named, path.stem, numbered=number is not None) if named else None,
        "slice": int(number[1]) if number else None,
        "path": relative,
        "label": stage,
        "split": _FOLDER_SPLITS[path.parts[-3].lower()],
        "fingerprint": fingerprint(read_bytes(path)),
        "unknown": named is None,
    }


def _session(named: Named, stem: str, *, numbered: bool) -> str | None:
    """Return the session told; without a slice's number the name tells a person's images apart."""
    return named.session if numbered else stem.removeprefix(f"{named.person}_")


def how_to_make(folder: Path, dim: str) -> str:
    """Return the command that makes a processed folder of this name."""
    if people_of_dataset(folder.name) in DATASETS:
        return f"python main.py --mode preprocess {dataset_flags(folder.name)}"
    cohort = likely_cohort(folder)
    if cohort is not None:  # raw files: the processed ones are made elsewhere
        made = DataConfig(dataset=cohort, dim=dim).processed_dir
        return f"{how_to_preprocess(cohort, folder, dim)}, then open {made}"
    return f"name a folder with {MANIFEST}, or with {' / '.join(SPLITS)} and class folders in them"
