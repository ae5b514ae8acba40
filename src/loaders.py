"""Open a processed folder, check it against leaks, and make loaders of its splits."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from .cohorts.folders import how_to_preprocess, likely_cohort
from .cohorts.kaggle_names import people_of_classes
from .config import DATASETS, DataConfig
from .config.data import dataset_flags
from .dataset import MriDataset
from .errors import ConfigError, DataNotFoundError, LeakageError, ManifestError, counted
from .image_cache import ImageCache
from .image_file import fingerprint
from .labels import ClassScheme, stage_from_folder
from .manifest import (
    MANIFEST,
    PEOPLE_UNKNOWN,
    SAME_PEOPLE,
    SETTINGS,
    SPLITS,
    Manifest,
    read_settings,
)
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
#: ``<subject>_<session>`` or ``<subject>_<session>_slice07``, as preprocessing names its files.
_NAMED = re.compile(r"(?P<subject>.+?)_(?P<session>MR\d+.*?|ses-[^_]+)(?:_slice(?P<slice>\d+))?$")


def open_dataset(
    folder: str | Path,
    dim: str,
    scheme: ClassScheme,
    *,
    min_age: float = 0,
    seed: int = 0,
    allow_leaks: bool = False,
    cache_dir: str | Path | None = None,
) -> MriDataset:
    """Open the training split of a processed folder; its other splits follow from it.

    Args:
        folder: Holds ``manifest.csv``, or ``train/<class>/`` and ``test/<class>/``.
        dim: ``"2d"`` or ``"3d"``.
        scheme: How stages become classes.
        min_age: Leave out people younger than this, in years.
        seed: Seed of the validation part, when the folder has no manifest.
        allow_leaks: Stamp a split with a person or a file on two sides, and open it.
        cache_dir: Folder of the image cache; None takes ``.cache`` in `folder`.

    Raises:
        DataNotFoundError: The folder is missing or has no images.
        ConfigError: The folder holds slices and volumes were asked for, or the reverse.
        LeakageError: A person or a file stands on two sides, and `allow_leaks` is off.
    """
    folder = Path(folder)
    cache_dir = Path(cache_dir) if cache_dir else None
    if not folder.is_dir():
        raise DataNotFoundError(folder, hint=_how_to_make(folder, dim))
    settings: dict[str, Any] = {}
    if (folder / SETTINGS).is_file():
        settings = read_settings(folder / SETTINGS)
    if (folder / MANIFEST).is_file():
        manifest = Manifest.read(folder)
    elif settings or (folder / ".scans").is_dir():
        raise DataNotFoundError(folder / MANIFEST, hint=_how_to_make(folder, dim))
    else:
        manifest = read_class_folders(folder, dim, seed)
    stored = settings.get(
        "dim", "3d" if manifest.table["path"].str.endswith(".npy").any() else "2d"
    )
    if stored != dim:
        raise ConfigError(
            f"{folder} holds {stored} images, not {dim}",
            hint=f"--dim {stored} (in Python: model_dim={stored!r})",
        )
    try:
        manifest.check_disjoint()
    except LeakageError as error:
        if not allow_leaks:
            raise
        logger.warning("%s; allowed, and stamped", error.message)
        manifest = manifest.with_stamps(SAME_PEOPLE)
    cache = ImageCache(manifest, cache_dir)  # of everyone, whoever is left out below
    kept, removed = manifest.at_least_age(min_age)
    if len(removed):
        people = removed["subject"].nunique()
        logger.info("--min_age %g leaves out %s", min_age, counted(people, "person"))
    return MriDataset(kept, "train", scheme, settings, cache)


def read_class_folders(folder: str | Path, dim: str, seed: int = 0) -> Manifest:
    """List ``train/<class>/``, ``test/<class>/`` (and ``val/<class>/``) as a manifest.

    People are read from names such as ``OAS1_0061_MR1_slice07.png``, or from the counting names of
    the complete Kaggle set; other names leave people unknown, which the manifest is stamped with.
    Without ``val/``, a part of the training people becomes validation.

    Raises:
        DataNotFoundError: No image lies in such folders.
        ManifestError: A class folder is none of the four stages.
    """
    folder = Path(folder)
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*/*/*")):
        if path.suffix.lower() in _SUFFIXES[dim] and path.parts[-3].lower() in _FOLDER_SPLITS:
            rows.append(_row(folder, path))
    if not rows:
        raise DataNotFoundError(folder / MANIFEST, hint=_how_to_make(folder, dim))
    if all(row["unknown"] for row in rows):
        _recover_counted(rows)
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
        manifest = cut_validation(manifest, fraction=0.15, seed=seed)
    return manifest


def _recover_counted(rows: list[dict[str, Any]]) -> None:
    """Tell people apart in place where every class counts its files as the Kaggle set does."""
    stages, stems = [row["label"] for row in rows], [Path(row["path"]).stem for row in rows]
    try:
        people = people_of_classes(stages, stems)
    except ManifestError:  # another set's names: its people stay unknown, which is stamped
        return
    for row, (subject, number) in zip(rows, people, strict=True):
        row.update(subject=subject, session="MR1", slice=number, unknown=False)


def _row(folder: Path, path: Path) -> dict[str, Any]:
    stage = stage_from_folder(path.parts[-2])
    if stage is None:
        raise ManifestError(
            f"{path.parent} is no class folder",
            hint="name it NonDemented, VeryMildDemented, MildDemented or ModerateDemented",
        )
    match = _NAMED.fullmatch(path.stem)
    relative = path.relative_to(folder).as_posix()
    return {
        "subject": match["subject"] if match else relative,
        "session": match["session"] if match else None,
        "slice": int(match["slice"]) if match and match["slice"] else None,
        "path": relative,
        "label": stage,
        "split": _FOLDER_SPLITS[path.parts[-3].lower()],
        "fingerprint": fingerprint(path.read_bytes()),
        "unknown": match is None,
    }


def _how_to_make(folder: Path, dim: str) -> str:
    if folder.name.removesuffix("_official") in DATASETS:
        return f"python main.py --mode preprocess {dataset_flags(folder.name)}"
    cohort = likely_cohort(folder)
    if cohort is not None:  # raw files: the processed ones are made elsewhere
        made = DataConfig(dataset=cohort, dim=dim).processed_dir
        return f"{how_to_preprocess(cohort, folder, dim)}, then open {made}"
    return f"name a folder with {MANIFEST}, or with {' / '.join(SPLITS)} and class folders in them"
