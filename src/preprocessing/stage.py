"""Stage ``preprocess``: raw cohort -> processed files, manifest, settings and rejected scans."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ..atomic import atomic_file, write_json
from ..cohorts import kaggle_jpg, kaggle_nifti, oasis, phantom  # noqa: F401 - they register
from ..cohorts.registry import COHORT_REGISTRY, Cohort
from ..config import RunConfig
from ..errors import ConfigError, DataNotFoundError, ImageError, ManifestError, MriError
from ..manifest import KEY, MANIFEST, PEOPLE_UNKNOWN, REJECTED, SETTINGS, Manifest
from ..options import config_to_dict
from ..runtime import progress, usable_cores
from ..splits import count_people, keep_official_split, split_by_person
from .scan import RECORDS, VERSION, Scan, is_done, make_scan, read_record, remove_scan

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
    raw, removed = _rated(_index(cohort, config), config)
    manifest = _with_split(raw, config)
    scans = _scans(manifest, cohort, config.data.model_dim)
    todo = [scan for scan in scans if not is_done(out, scan, config.preprocess)]
    stale = _recorded(out) - {scan.name for scan in scans}
    if todo or stale:
        (out / MANIFEST).unlink(missing_ok=True)  # no table while its files change
    for name in stale:
        remove_scan(out, name)
    logger.info(
        "%d of %d scans are already processed in %s", len(scans) - len(todo), len(scans), out
    )
    reasons = _process(todo, out, config)
    rejected = pd.concat([*removed, _rejected_rows(manifest, reasons)], ignore_index=True)
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
    return settings


def _index(cohort: Cohort, config: RunConfig) -> Manifest:
    """Make the phantom if it is the phantom; list the raw folder."""
    root = config.data.raw_dir
    if cohort.name == "phantom":
        phantom.make_phantom(root, config.phantom, config.data.seed, _workers(config))
    elif not root.is_dir():
        hint = f"download it from {cohort.homepage} into {root}, or name its folder with --data_dir"
        raise DataNotFoundError(root, hint=hint)
    return cohort.index(root)


def _rated(raw: Manifest, config: RunConfig) -> tuple[Manifest, list[pd.DataFrame]]:
    """Leave out people without a rating and people too young, and say how many."""
    rated, unrated = raw.partition(raw.table["label"].notna(), "not rated (no CDR)")
    kept, young = rated.at_least_age(config.data.min_age)
    for rows, why in ((unrated, "have no CDR"), (young, "are under --min_age or have no age")):
        if len(rows):
            sessions = len(rows.drop_duplicates(["subject", "session"]))
            logger.info("%d of %d sessions %s and are left out", sessions, _sessions(raw), why)
    if not len(kept):
        raise ManifestError(
            f"no rated scan is left in {raw.root}", hint="check the table's CDR column"
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
    return split_by_person(
        manifest, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=data.seed
    )


def _scans(manifest: Manifest, cohort: Cohort, dim: str) -> list[Scan]:
    """Group the rows by session: one volume each, or the slices of one."""
    if dim == "3d" and cohort.layout == "slice" and PEOPLE_UNKNOWN in manifest.stamps:
        raise ConfigError(
            "slices of unknown people cannot be stacked into volumes", hint="--dim 2d"
        )
    scans = []
    for (subject, session), rows in manifest.table.groupby(["subject", "session"], dropna=False):
        rows = rows.sort_values("slice")
        scans.append(
            Scan(
                name=_file_name(f"{subject}_{session}"),
                sources=tuple(manifest.root / path for path in rows["path"]),
                slices=tuple(int(n) for n in rows["slice"]) if cohort.layout == "slice" else (),
                folders=tuple(
                    f"{s}/{c}" for s, c in zip(rows["split"], rows["label"], strict=True)
                ),
                axes=cohort.axes,
                dim=dim,
            )
        )
    return scans


def _file_name(name: str) -> str:
    """Return `name` if it is safe as a file name on every system.

    Raises:
        ManifestError: It holds a separator, a space or another odd character, or is too long.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,119}", name):
        raise ManifestError(
            f"{name[:60]!r} cannot be a file name", hint="rename it: letters, digits, - _ . +"
        )
    return name


def _process(scans: list[Scan], out: Path, config: RunConfig) -> dict[str, str]:
    """Make the scans in parallel; return name -> reason of those rejected."""
    if not scans:
        return {}
    jobs = min(_workers(config), len(scans))
    tasks = (delayed(_named)(out, scan, config.preprocess) for scan in scans)
    results = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)(tasks)
    try:
        done = dict(progress(results, total=len(scans), desc="preprocess"))
    except TerminatedWorkerError:
        raise MriError(
            "a worker process was killed, most often for lack of memory; finished scans are kept",
            hint=f"run the same command with --workers {max(jobs // 2, 1)}",
        ) from None
    return {name: reason for name, reason in done.items() if reason}


def _named(out: Path, scan: Scan, settings: Any) -> tuple[str, str | None]:
    return scan.name, make_scan(out, scan, settings)


def _rejected_rows(manifest: Manifest, reasons: dict[str, str]) -> pd.DataFrame:
    names = manifest.table["subject"] + "_" + manifest.table["session"]
    return manifest.partition(
        ~names.isin(list(reasons)), lambda row: reasons[f"{row['subject']}_{row['session']}"]
    )[1]


def _write_rejected(out: Path, rejected: pd.DataFrame) -> Path:
    with atomic_file(out / REJECTED, "w") as file:
        rejected.to_csv(file, index=False)
    return out / REJECTED


def _write_dataset(
    out: Path, manifest: Manifest, rejected: int, config: RunConfig
) -> Iterator[Path]:
    """Write the settings and, last, the manifest: a data set with a manifest is complete."""
    processed = Manifest(_processed_table(out, manifest), out, manifest.stamps)
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
    yield write_json(out / SETTINGS, _settings(config) | summary)
    yield processed.write(out)


def _processed_table(out: Path, manifest: Manifest) -> pd.DataFrame:
    """Return one row per processed file, with the raw row's columns."""
    rows: list[dict[str, Any]] = []
    by_slice = {tuple(row[KEY[1:]]): row for _, row in manifest.table.iterrows()}
    whole = {(row["subject"], row["session"]): row for _, row in manifest.table.iterrows()}
    for (subject, session), first in whole.items():
        record = read_record(out, f"{subject}_{session}")
        for file in record["files"] if record else ():
            source = by_slice.get((subject, session, file["slice"]), first)
            rows.append(
                dict(source) | {name: file[name] for name in ("path", "slice", "fingerprint")}
            )
    if not rows:
        raise ImageError("no scan could be processed", hint=f"read the reasons in {out / REJECTED}")
    return pd.DataFrame(rows)


def _stop_if_many(reasons: dict[str, str], scans: int, out: Path) -> None:
    """Name the first rejected scans; stop when there are too many of them."""
    for name, reason in sorted(reasons.items())[:5]:
        logger.warning("rejected %s: %s", name, reason)
    if len(reasons) > max(1, _MAX_REJECTED * scans):
        raise ImageError(
            f"{len(reasons)} of {scans} scans cannot be used, more than {_MAX_REJECTED:.0%}",
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
