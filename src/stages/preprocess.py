"""Stage ``preprocess``: raw cohort -> processed files, manifest, settings and rejected scans."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ..auditing.copies import join_copies
from ..cohorts.folders import how_to_preprocess, likely_cohort
from ..cohorts.phantom import cohort as phantom
from ..cohorts.ratings import Labelled, first_sessions, label_scans
from ..cohorts.registry import COHORT_REGISTRY, Cohort
from ..config import RunConfig
from ..data.class_people import tell_one_class
from ..data.given_split import with_split
from ..data.split_files import read_split
from ..data.splits import keep_official_split, split_by_person
from ..errors import ConfigError, DataNotFoundError, ManifestError, counted
from ..evaluation.analyses.set_aside import set_aside_by_stage
from ..manifest import MANIFEST, PEOPLE_UNKNOWN, Manifest
from ..preprocessing.processed import (
    list_scans,
    process,
    recorded,
    refuse_foreign,
    rejected_rows,
    scan_names,
    sessions_in,
    stop_if_many,
    workers_of,
    write_dataset,
    write_rejected,
)
from ..preprocessing.raw.cohort import standard_scans
from ..preprocessing.scan import is_done, remove_scan
from ..report.set_aside import shares_by_stage, warning_of

logger = logging.getLogger(__name__)


def run(config: RunConfig) -> Iterator[Path]:
    """Make the processed data set that `config` describes; do again only what changed.

    Yields:
        ``manifest.csv``, ``preprocessing.json`` and ``rejected.csv`` of the data set.

    Raises:
        DataNotFoundError: The raw folder is missing or empty.
        ManifestError: The raw folder contradicts itself, or the output folder is someone else's.
        ImageError: More than 5 % of the scans cannot be used.
    """
    out = config.data.processed_dir
    refuse_foreign(out)
    cohort = COHORT_REGISTRY.get(config.data.cohort)
    raw, removed = _kept(*_labelled(_index(cohort, config), cohort, config), cohort, config)
    unusable = [raw.table.iloc[:0]]
    if PEOPLE_UNKNOWN in raw.stamps and cohort.layout == "slice" and not config.data.official_split:
        raw = join_copies(raw, seed=config.data.seed)
    unsided: set[str] = set()
    if cohort.raw:
        raw, aside, unsided = standard_scans(raw, config, workers_of(config))
        unusable.append(aside)
    manifest = _with_split(raw, config)
    packed = config.data.slice_files == "zip"
    scans = list_scans(manifest, cohort, config.data.model_dim, unsided, packed=packed)
    _tell_slice_files(config)
    todo = [scan for scan in scans if not is_done(out, scan, config.preprocess)]
    stale = recorded(out) - {scan.name for scan in scans}
    if todo or stale:
        (out / MANIFEST).unlink(missing_ok=True)  # no table while its files change
    for name in stale:
        remove_scan(out, name)
    logger.info(
        "%d of %s already processed in %s",
        *(len(scans) - len(todo), counted(len(scans), "scan is", "scans are"), out),
    )
    reasons = process(todo, out, config)
    unusable.append(rejected_rows(manifest, reasons))
    rejected = pd.concat([*removed, *unusable], ignore_index=True)
    yield write_rejected(out, rejected)
    stop_if_many(reasons, len(scans), out)
    tell_one_class(manifest)
    bad = scan_names(manifest.table).isin(list(reasons))
    by_stage = set_aside_by_stage(manifest.table[~bad], pd.concat(unusable))
    _tell_by_stage(by_stage)
    yield from write_dataset(out, manifest, len(rejected), config, set_aside=by_stage)


def _tell_slice_files(config: RunConfig) -> None:
    if config.data.model_dim == "2d" and config.data.slice_files == "zip":
        logger.info("the slices of a scan are PNGs in one ZIP; --slice_files png writes them apart")
    elif config.data.model_dim == "2d":
        logger.info("slices are PNGs, a file each; --slice_files zip keeps a scan's in one file")


def _tell_by_stage(found: dict[str, Any]) -> None:
    if any(one["aside"] for one in found["stages"].values()):
        logger.info("%s", shares_by_stage(found))
    if warning := warning_of(found):
        logger.warning("%s", warning)


def _index(cohort: Cohort, config: RunConfig) -> Manifest:
    """Make the phantom if it is the phantom; list the raw folder."""
    root = config.data.raw_dir
    if cohort.name == "phantom":
        phantom.make_phantom(
            *(root, config.phantom, config.data.seed, workers_of(config), config.dask)
        )
    elif not root.is_dir():
        raise DataNotFoundError(root, hint=_where_it_may_be(cohort, config))
    elif not config.data.data_dir and root.name != cohort.name:
        logger.info("%s is read, as there is no folder %s", root, root.with_name(cohort.name))
    try:
        return cohort.index(root)
    except DataNotFoundError as error:  # what is there and malformed is of this cohort
        likely = likely_cohort(root)
        if likely in (None, cohort.name):
            raise
        command = how_to_preprocess(str(likely), root, config.data.model_dim)
        error.hint = f"{root} looks like {likely}: {command}"
        raise


def _where_it_may_be(cohort: Cohort, config: RunConfig) -> str:
    several = [] if config.data.data_dir else config.data.raw_folders
    if several:
        flags = [f"--data_dir {shlex.quote(str(folder))}" for folder in several]
        return f"say which is meant: {' or '.join(flags)}"
    if cohort.raw:
        return "name the folder of the scans with --data_dir"
    into = config.data.raw_dir
    return f"download it from {cohort.homepage} into {into}, or name its folder with --data_dir"


def _labelled(raw: Manifest, cohort: Cohort, config: RunConfig) -> Labelled:
    """Give scans the label asked for; leave out later sessions, where that was asked for."""
    data = config.data
    removed = []
    asked = cohort.rates_apart or data.label == "conversion"
    ratings = cohort.ratings(raw.root) if cohort.ratings and asked else None
    if data.sessions == "first":
        raw, later = first_sessions(raw)
        removed.append(later)
        logger.info("left out (later sessions): %s", counted(len(later), "scan"))
    kept, left = label_scans(
        *(raw, ratings, data.label),
        apart=cohort.rates_apart,
        rating_days=data.rating_days,
        months=data.months,
    )
    return Labelled(kept, [*removed, *left])


def _kept(
    raw: Manifest, removed: list[pd.DataFrame], cohort: Cohort, config: RunConfig
) -> tuple[Manifest, list[pd.DataFrame]]:
    """Leave out people too young and, unless asked or raw, scans without a rating; count them."""
    staying = raw.table["label"].notna() | cohort.raw | config.data.keep_unrated
    rated, unrated = raw.partition(staying, "not rated (no CDR)")
    kept, young = rated.at_least_age(config.data.min_age)
    for rows, why in ((unrated, "no CDR"), (young, "under --min_age, or of unknown age")):
        if len(rows):
            sessions = len(rows.drop_duplicates(["subject", "session"]))
            every = counted(sessions_in(raw), "session")
            logger.info("left out (%s): %d of %s", why, sessions, every)
    if not len(kept):
        raise ManifestError(
            f"no {'' if cohort.raw else 'rated '}scan is left in {raw.root}",
            hint="check the table's CDR column",
        )
    return kept, [*removed, unrated, young]


def _with_split(manifest: Manifest, config: RunConfig) -> Manifest:
    data = config.data
    if data.official_split:
        if data.model_dim == "3d":
            raise ConfigError(
                "--official_split splits the slices of a person, so it has no volumes",
                hint="--dim 2d",
            )
        if manifest.table["split"].isna().any():
            raise ManifestError(
                f"{manifest.root} has no train/ and test/ folders",
                hint="leave --official_split out",
            )
        return keep_official_split(manifest, val_fraction=data.val_fraction, seed=data.seed)
    if data.split is not None:
        return with_split(manifest, read_split(data.split), seed=data.seed)
    divided = split_by_person(
        manifest, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed
    )
    # A session without a rating is on no side, though its person may be: it cannot be scored.
    return divided.with_columns(split=divided.table["split"].where(divided.table["label"].notna()))
