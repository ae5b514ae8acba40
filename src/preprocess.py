"""Stage ``preprocess``: raw cohort -> processed files, manifest, settings and rejected scans."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from .atomic import atomic_file, write_json
from .cohorts.folders import how_to_preprocess, likely_cohort
from .cohorts.phantom import cohort as phantom
from .cohorts.registry import COHORT_REGISTRY, Cohort
from .config import RunConfig
from .config.options import config_to_dict
from .errors import ConfigError, DataNotFoundError, ImageError, ManifestError, counted
from .manifest import MANIFEST, REJECTED, SETTINGS, Manifest, count_people
from .parallel import run_parallel
from .preprocessing.scan import RECORDS, VERSION, Scan, is_done, make_once, remove_scan
from .preprocessing.tables import list_scans, processed_table, rejected_rows
from .runtime import usable_cores
from .scans.cohort import standard_scans
from .splits import keep_official_split, split_by_person

logger = logging.getLogger(__name__)
_MAX_REJECTED = 0.05


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
    _refuse_foreign(out)
    cohort = COHORT_REGISTRY.get(config.data.cohort)
    raw, removed = _kept(_index(cohort, config), cohort, config)
    if cohort.raw:
        raw, aside = standard_scans(raw, config, _workers(config))
        removed.append(aside)
    manifest = _with_split(raw, config)
    scans = list_scans(manifest, cohort, config.data.model_dim)
    todo = [scan for scan in scans if not is_done(out, scan, config.preprocess)]
    stale = _recorded(out) - {scan.name for scan in scans}
    if todo or stale:
        (out / MANIFEST).unlink(missing_ok=True)  # no table while its files change
    for name in stale:
        remove_scan(out, name)
    logger.info(
        "%d of %s already processed in %s",
        *(len(scans) - len(todo), counted(len(scans), "scan is", "scans are"), out),
    )
    reasons = _process(todo, out, config)
    rejected = pd.concat([*removed, rejected_rows(manifest, reasons)], ignore_index=True)
    yield _write_rejected(out, rejected)
    _stop_if_many(reasons, len(scans), out)
    yield from _write_dataset(out, manifest, len(rejected), config)


def _settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that change a processed data set, as they stand in its JSON file."""
    parts = config_to_dict(config)
    split = ("val_fraction", "test_fraction", "seed", "official_split", "min_age")
    settings: dict[str, Any] = {
        "version": VERSION,
        "cohort": config.data.cohort,
        "dataset": config.data.name,
        "dim": config.data.model_dim,
        "preprocess": parts["preprocess"],
        "split": {name: parts["data"][name] for name in split},
    }
    if config.data.cohort == "phantom":
        settings["phantom"] = parts["phantom"]
    if COHORT_REGISTRY.get(config.data.cohort).raw:
        settings["scan"] = parts["scan"]
    return settings


def _index(cohort: Cohort, config: RunConfig) -> Manifest:
    """Make the phantom if it is the phantom; list the raw folder."""
    root = config.data.raw_dir
    if cohort.name == "phantom":
        phantom.make_phantom(root, config.phantom, config.data.seed, _workers(config), config.dask)
    elif not root.is_dir():
        hint = f"download it from {cohort.homepage} into {root}, or name its folder with --data_dir"
        if cohort.raw:
            hint = "name the folder of the scans with --data_dir"
        raise DataNotFoundError(root, hint=hint)
    try:
        return cohort.index(root)
    except (DataNotFoundError, ManifestError) as error:
        likely = likely_cohort(root)
        if likely in (None, cohort.name):
            raise
        command = how_to_preprocess(str(likely), root, config.data.model_dim)
        error.hint = f"{root} looks like {likely}: {command}"
        raise


def _kept(raw: Manifest, cohort: Cohort, config: RunConfig) -> tuple[Manifest, list[pd.DataFrame]]:
    """Leave out people too young and, unless scans are raw, those without a rating; count them."""
    staying = raw.table["label"].notna() | cohort.raw
    rated, unrated = raw.partition(staying, "not rated (no CDR)")
    kept, young = rated.at_least_age(config.data.min_age)
    for rows, why in ((unrated, "no CDR"), (young, "under --min_age, or of unknown age")):
        if len(rows):
            sessions = len(rows.drop_duplicates(["subject", "session"]))
            every = counted(_sessions(raw), "session")
            logger.info("left out (%s): %d of %s", why, sessions, every)
    if not len(kept):
        raise ManifestError(
            f"no {'' if cohort.raw else 'rated '}scan is left in {raw.root}",
            hint="check the table's CDR column",
        )
    return kept, [unrated, young]


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
    divided = split_by_person(
        manifest, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed
    )
    # A session without a rating is on no side, though its person may be: it cannot be scored.
    return divided.with_columns(split=divided.table["split"].where(divided.table["label"].notna()))


def _process(scans: list[Scan], out: Path, config: RunConfig) -> dict[str, str]:
    """Make the scans in parallel; return name -> reason of those rejected."""
    make = partial(make_once, out=out, settings=config.preprocess)
    results = run_parallel(
        *(make, scans),
        workers=_workers(config),
        dask=config.dask,
        desc="preprocess",
        folder=out / RECORDS,
        name=lambda scan: scan.name,
    )
    reasons = {name: reason for name, reason in results if reason}
    lost = sorted({scan.name for scan in scans} - reasons.keys() - _recorded(out))
    if lost:  # on a network file system whose view lags behind
        raise ManifestError(
            f"{out} shows no record of {counted(len(lost), 'scan')} just made, such as {lost[0]}",
            hint="run the same command again: finished scans are kept",
        )
    return reasons


def _write_rejected(out: Path, rejected: pd.DataFrame) -> Path:
    with atomic_file(out / REJECTED, "w") as file:
        rejected.to_csv(file, index=False)
    return out / REJECTED


def _write_dataset(
    out: Path, manifest: Manifest, rejected: int, config: RunConfig
) -> Iterator[Path]:
    """Write the settings and, last, the manifest: a data set with a manifest is complete."""
    processed = Manifest(processed_table(out, manifest), out, manifest.stamps)
    processed.check_disjoint()
    people = count_people(processed)
    logger.info("people per stage and split:\n%s", people.to_string())
    for stamp in manifest.stamps:
        logger.warning("every result of this data set is stamped: %s", stamp)
    summary = {
        "people": people.to_dict("index"),
        "stamps": list(manifest.stamps),
        "rejected": rejected,
        "side_known": COHORT_REGISTRY.get(config.data.cohort).side_known,
    }
    if COHORT_REGISTRY.get(config.data.cohort).raw:
        summary["unrated_scans"] = _sessions(manifest.where(manifest.table["label"].isna()))
    yield write_json(out / SETTINGS, _settings(config) | summary)
    yield processed.write(out)


def _stop_if_many(reasons: dict[str, str], scans: int, out: Path) -> None:
    """Name the first rejected scans; stop when there are too many of them."""
    for name, reason in sorted(reasons.items())[:5]:
        logger.warning("rejected %s: %s", name, reason)
    if len(reasons) > max(1, _MAX_REJECTED * scans):
        raise ImageError(
            f"{len(reasons)} of {counted(scans, 'scan')} cannot be used, more than "
            f"{_MAX_REJECTED:.0%}",
            hint=f"read the reasons in {out / REJECTED}, mend or remove those files, run again",
        )


def _refuse_foreign(out: Path) -> None:
    """Refuse to write into a folder that this stage did not make."""
    if out.exists() and any(out.iterdir()) and not (out / RECORDS).is_dir():
        raise ManifestError(
            f"{out} holds files that preprocessing did not make", hint="move it, or set --data_root"
        )


def _recorded(out: Path) -> set[str]:
    return {path.stem for path in (out / RECORDS).glob("*.json")}


def _sessions(manifest: Manifest) -> int:
    return len(manifest.table.drop_duplicates(["subject", "session"]))


def _workers(config: RunConfig) -> int:
    return config.workers or usable_cores()
