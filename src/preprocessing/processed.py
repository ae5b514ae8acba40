"""A processed data set: the manifest's rows as scans, their files, and its manifest at last."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..cohorts.pictures import PICTURES, jpeg_quality
from ..cohorts.registry import COHORT_REGISTRY, Cohort
from ..config import RunConfig
from ..config.options import config_to_dict
from ..errors import ConfigError, ImageError, ManifestError, counted
from ..files import atomic_file, read_bytes, write_json
from ..manifest import PEOPLE_UNKNOWN, REJECTED, SETTINGS, Manifest, count_people
from ..parallel import run_parallel
from ..runtime import usable_cores
from .notes import tell_notes
from .scan import RECORDS, VERSION, Scan, make_once, read_record

logger = logging.getLogger(__name__)
#: Folders of people who were never rated, kept for prediction or for other tasks; and of those whom
#: a split file puts on no side.
UNRATED, NO_SIDE = "unrated", "no_side"
_MAX_REJECTED = 0.05
_LOOKED_AT = 20  # pictures whose coding is read


def scan_names(table: pd.DataFrame) -> pd.Series:
    """Return ``<subject>_<session>`` of every row, which names its scan's files."""
    return table["subject"] + "_" + table["session"]


def list_scans(
    manifest: Manifest,
    cohort: Cohort,
    dim: str,
    unsided: Collection[str] = (),
    *,
    packed: bool = False,
) -> list[Scan]:
    """Group the rows by session: one volume each, or the slices of one.

    Args:
        manifest: Of the cohort, with its split.
        cohort: What it declares.
        dim: ``"2d"`` or ``"3d"``.
        unsided: Names of scans whose raw file did not say which side is left.
        packed: Whether the slices of a scan go into one ZIP.
    """
    if dim == "3d" and cohort.layout == "slice" and PEOPLE_UNKNOWN in manifest.stamps:
        raise ConfigError(
            "slices of unknown people cannot be stacked into volumes", hint="--dim 2d"
        )
    table = manifest.table.sort_values(["subject", "session", "slice"], kind="stable")
    names = [f"{s}_{v}" for s, v in zip(table["subject"], table["session"], strict=True)]
    sources = [manifest.root / path for path in table["path"]]
    folders = [
        UNRATED if pd.isna(stage) else f"{NO_SIDE if pd.isna(side) else side}/{stage}"
        for side, stage in zip(table["split"], table["label"], strict=True)
    ]
    slices = table["slice"].tolist() if cohort.layout == "slice" else []
    starts = np.flatnonzero(~table.duplicated(["subject", "session"])).tolist()
    return [
        Scan(
            name=check_file_name(names[start]),
            sources=tuple(sources[start:end]),
            slices=tuple(slices[start:end]),
            folders=tuple(folders[start:end]),
            axes=cohort.axes,
            dim=dim,
            side_known=cohort.side_known and names[start] not in unsided,
            packed=packed and dim == "2d",
        )
        for start, end in pairwise([*starts, len(table)])
    ]


def check_file_name(name: str) -> str:
    """Return `name` if it is safe as a file name on every system.

    Raises:
        ManifestError: It holds a separator, a space or another odd character, or is too long.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,119}", name):
        raise ManifestError(
            f"{name[:60]!r} cannot be a file name", hint="rename it: letters, digits, - _ . +"
        )
    return name


def rejected_rows(manifest: Manifest, reasons: dict[str, str]) -> pd.DataFrame:
    """Return the rows of scans that were rejected, with the reason."""
    rejected = scan_names(manifest.table).isin(list(reasons))
    return manifest.partition(~rejected, lambda rows: scan_names(rows).map(reasons))[1]


def processed_table(out: Path, manifest: Manifest) -> pd.DataFrame:
    """Return one row per processed file, with the raw row's columns."""
    table = manifest.table
    scans = list(zip(table["subject"], table["session"], strict=True))
    row_of_scan = {scan: row for row, scan in enumerate(scans)}
    row_of_slice = {
        (*scan, index): row
        for row, (scan, index) in enumerate(zip(scans, table["slice"], strict=True))
    }
    rows: list[int] = []
    files: list[dict[str, Any]] = []
    for scan, row in row_of_scan.items():
        record = read_record(out, f"{scan[0]}_{scan[1]}")
        for file in record["files"] if record else ():
            rows.append(row_of_slice.get((*scan, file["slice"]), row))
            files.append({name: file[name] for name in ("path", "slice", "fingerprint")})
    if not rows:
        raise ImageError("no scan could be processed", hint=f"read the reasons in {out / REJECTED}")
    made = pd.DataFrame(files)
    return table.iloc[rows].reset_index(drop=True).assign(**{name: made[name] for name in made})


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Return the settings that change a processed data set, as they stand in its JSON file."""
    parts = config_to_dict(config)
    split = (
        "val_fraction",
        "test_fraction",
        "seed",
        "official_split",
        "min_age",
        "sessions",
        "split",
    )
    cohort = COHORT_REGISTRY.get(config.data.cohort)
    rated: tuple[str, ...] = ("months",) if config.data.label == "conversion" else ()
    if cohort.ratings and cohort.rates_apart:
        rated = ("rating_days", "months")
    settings: dict[str, Any] = {
        "version": VERSION,
        "cohort": config.data.cohort,
        "dataset": config.data.name,
        "dim": config.data.model_dim,
        "label": config.data.label,
        "preprocess": parts["preprocess"],
        "split": {name: parts["data"][name] for name in (*split, *rated)},
    }
    if config.data.cohort == "phantom":
        settings["phantom"] = parts["phantom"]
    if cohort.raw:
        settings["scan"] = parts["scan"]
    return settings


def process(scans: list[Scan], out: Path, config: RunConfig) -> dict[str, str]:
    """Make the scans in parallel; return name -> reason of those rejected."""
    make = partial(make_once, out=out, settings=config.preprocess)
    results = run_parallel(
        *(make, scans),
        workers=workers_of(config),
        dask=config.dask,
        desc="preprocess",
        folder=out / RECORDS,
        name=lambda scan: scan.name,
    )
    reasons = {name: reason for name, reason in results if reason}
    lost = sorted({scan.name for scan in scans} - reasons.keys() - recorded(out))
    if lost:  # on a network file system whose view lags behind
        raise ManifestError(
            f"{out} shows no record of {counted(len(lost), 'scan')} just made, such as {lost[0]}",
            hint="run the same command again: finished scans are kept",
        )
    made = [scan.name for scan in scans if scan.name not in reasons]
    records = {name: read_record(out, name) or {} for name in made}
    tell_notes({name: one.get("notes", ()) for name, one in records.items()}, len(made))
    return reasons


def write_rejected(out: Path, rejected: pd.DataFrame) -> Path:
    """Write ``rejected.csv``: every scan that was left out, and why."""
    with atomic_file(out / REJECTED, "w") as file:
        rejected.to_csv(file, index=False)
    return out / REJECTED


def write_dataset(
    out: Path, manifest: Manifest, rejected: int, config: RunConfig, set_aside: dict[str, Any]
) -> Iterator[Path]:
    """Write the settings and, last, the manifest: a data set with a manifest is complete.

    `set_aside` is what `evaluation.analyses.set_aside` found; it is kept for the report.
    """
    processed = Manifest(processed_table(out, manifest), out, manifest.stamps)
    processed.check_disjoint()
    _tell_two_stages(processed)
    people = count_people(processed)
    logger.info("people per stage and split:\n%s", people.to_string())
    for stamp in manifest.stamps:
        logger.warning("every result of this data set is stamped: %s", stamp)
    summary = {
        "people": people.to_dict("index"),
        "stamps": list(manifest.stamps),
        "rejected": rejected,
        "set_aside": set_aside,
        "side_known": COHORT_REGISTRY.get(config.data.cohort).side_known,
        "jpeg_quality": _jpeg_quality(manifest),
    }
    if COHORT_REGISTRY.get(config.data.cohort).raw or config.data.keep_unrated:
        summary["unrated_scans"] = sessions_in(manifest.where(manifest.table["label"].isna()))
    yield write_json(out / SETTINGS, settings_of(config) | summary)
    yield processed.write(out)


def _jpeg_quality(raw: Manifest) -> int | None:
    """Return the quality with which the raw pictures were coded; None where some are no JPEG."""
    paths = raw.table["path"]
    if not paths.str.lower().str.endswith(PICTURES).all():
        return None
    chosen = paths.iloc[:: -(-len(paths) // _LOOKED_AT)]
    found = [jpeg_quality(read_bytes(raw.root / path)) for path in chosen]
    known = [quality for quality in found if quality is not None]
    return int(np.median(known)) if len(known) == len(found) else None


def _tell_two_stages(processed: Manifest) -> None:
    """Warn of images whose content stands under two stages: one of the two labels is wrong."""
    rated = processed.table.dropna(subset=["label"])
    wrong = rated[rated.groupby("fingerprint")["label"].transform("nunique") > 1]
    if len(wrong):
        pair = wrong[wrong["fingerprint"] == wrong["fingerprint"].iloc[0]].drop_duplicates("label")
        logger.warning(
            "%s under two stages with the same content, such as %s and %s: one of the labels is "
            "wrong; correct its folder or table, or remove both",
            *(counted(len(wrong), "image stands", "images stand"), *pair["path"].iloc[:2]),
        )


def stop_if_many(reasons: dict[str, str], scans: int, out: Path) -> None:
    """Name the first rejected scans; stop when there are too many of them."""
    for name, reason in sorted(reasons.items())[:5]:
        logger.warning("rejected %s: %s", name, reason)
    if len(reasons) > max(1, _MAX_REJECTED * scans):
        raise ImageError(
            f"{len(reasons)} of {counted(scans, 'scan')} cannot be used, more than "
            f"{_MAX_REJECTED:.0%}",
            hint=f"read the reasons in {out / REJECTED}, mend or remove those files, run again",
        )


def refuse_foreign(out: Path) -> None:
    """Refuse to write into a folder that this stage did not make."""
    if out.exists() and any(out.iterdir()) and not (out / RECORDS).is_dir():
        raise ManifestError(
            f"{out} holds files that preprocessing did not make", hint="move it, or set --data_root"
        )


def recorded(out: Path) -> set[str]:
    """Return the names of the scans that have a record in the folder."""
    return {path.stem for path in (out / RECORDS).glob("*.json")}


def sessions_in(manifest: Manifest) -> int:
    """Return how many sessions a manifest lists."""
    return len(manifest.table.drop_duplicates(["subject", "session"]))


def workers_of(config: RunConfig) -> int:
    """Return how many processes preprocess: ``--workers``, or every core."""
    return config.workers or usable_cores()
