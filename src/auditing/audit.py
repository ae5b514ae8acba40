"""The audit of a folder: all nine checks, and what they say together.

Readable files, people on both sides, identical files, near-duplicates, divided sessions,
composition, sites and metadata that give the class away, and the shuffled-label probe. One that
fails makes the verdict FAIL.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ImageError, counted
from .figure import ShownPair, short_name
from .files import Files, read_files, read_pictures
from .metadata import P_LABEL, SKILL, check_metadata
from .pair_checks import check_pairs, shown_pairs
from .pairs import (
    Thresholds,
    choose_asked,
    cluster_heads,
    find_pairs,
    find_thresholds,
    nearest_across,
)
from .probe import EXCESS, P_ABOVE, check_probe
from .read import AuditSet, read_set
from .search import LARGE, Index, search_of
from .table_checks import table_checks
from .verdicts import (
    FAIL,
    MAX_EXAMPLES,
    NOT_KNOWN,
    ONE_SIDE,
    PASS,
    WARN,
    Check,
    people_known,
    sides_of,
    verdict_of,
)

SCHEMA = "audit/1"


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        report: What ``audit.json`` holds.
        pairs: The worst pairs, to be drawn.
        stamps: Warnings that the folder's manifest carries.
    """

    report: dict[str, Any]
    pairs: list[ShownPair] = field(default_factory=list)
    stamps: tuple[str, ...] = ()

    @property
    def failed(self) -> list[str]:
        """Names of the checks that fail."""
        return [c["name"] for c in self.report["checks"] if c["verdict"] == FAIL]


def audit_folder(folder: str | Path, dim: str, *, seed: int = 0) -> Audit:
    """Check a folder's split; every image is read once or twice, none is kept.

    Of more than `audit_search.LARGE` images, `audit_pairs.MOST_ASKED` are looked for on earlier
    sides, volumes by their axial slab, and the findings and ``looked_at`` say so.

    Args:
        folder: A processed folder with its manifest, or one with ``train/<class>/`` and
            ``test/<class>/`` (and ``val/<class>/``); without sides, what needs none is checked.
        dim: ``"2d"`` or ``"3d"``: which files count, where a folder without manifest has both.
        seed: Seed of what is drawn: shuffles, folds, images whose pairs calibrate.

    Raises:
        DataNotFoundError: There is no image.
        ManifestError: The manifest is none, or a folder with images is no class folder.
        ImageError: No file could be read.
    """
    folder = Path(folder)
    started = time.monotonic()
    data = read_set(folder, dim)
    # 14 kB a volume are nothing for 1,000 and too much for 100,000.
    paths = [folder / path for path in data.rows["path"]]
    files = read_files(paths, 1) if len(paths) > LARGE else read_files(paths)
    if (files.facts["damaged"] != "").all():
        raise ImageError(f"of {counted(len(data.rows), 'file')} in {folder}, none can be read")
    rows = _with_facts(data, files)
    search = search_of(folder, rows, files.thumbnails, read_pictures)
    sides = [(side, np.flatnonzero(rows["split"] == side)) for side in sides_of(rows)]
    asked = choose_asked(search, sides, seed)
    thresholds = find_thresholds(search, sum(map(len, asked.values())), seed)
    nearest = nearest_across(search, sides, asked)
    pairs = find_pairs(search, nearest, thresholds)
    if not people_known(rows) and thresholds.heads_told_apart and not search.large:
        clusters = cluster_heads(search, thresholds, pairs)
        rows["unit"] = [f"CLUSTER_{number:05d}" for number in clusters]
    checks = [
        _check_files(data, files),
        *table_checks(rows),
        check_pairs(rows, pairs, thresholds, len(sides)),
        check_metadata(rows, seed),
        _check_probe(rows, nearest, thresholds, seed, large=search.large),
    ]
    looked_at = _looked_at(rows, asked, search.thumbnails.shape[1])
    checks = [_with_coverage(check, looked_at) for check in checks]
    report = _report(data, rows, checks, thresholds) | {"looked_at": looked_at}
    report["seconds"] = time.monotonic() - started
    return Audit(report, shown_pairs(search, rows, pairs), data.stamps)


def format_audit(report: dict[str, Any]) -> str:
    """Return a report as a short table for the log."""
    people = (
        "people unknown" if report["n_people"] is None else counted(report["n_people"], "person")
    )
    images = counted(report["n_images"], "image")
    head = f"{report['folder']}: {images}, {people}, {report['seconds']:.0f} s"
    lines = [f"  {c['verdict']:<10}{c['name']:<17}{c['sentence']}" for c in report["checks"]]
    return "\n".join([head, *lines, f"  verdict: {report['verdict']}"])


def _with_facts(data: AuditSet, files: Files) -> pd.DataFrame:
    """Return the rows with what the files themselves say; fingerprints are the files' own."""
    facts = files.facts.set_axis(data.rows.index)
    rows = data.rows.drop(columns=[name for name in facts if name in data.rows])
    return pd.concat([rows, facts], axis=1).reset_index(drop=True)


def _check_files(data: AuditSet, files: Files) -> Check:
    """Warn of files that cannot be read, or are not those that the manifest describes."""
    facts = files.facts
    paths = data.rows["path"].reset_index(drop=True)
    broken = facts["damaged"] != ""
    stated = data.rows["fingerprint"].reset_index(drop=True)
    changed = stated.notna() & ~broken & (stated != facts["fingerprint"])
    numbers = {"damaged": int(broken.sum()), "not_as_in_manifest": int(changed.sum())}
    examples = [f"{short_name(paths[i])}: {facts['damaged'][i]}" for i in np.flatnonzero(broken)]
    examples += [f"{short_name(paths[i])}: changed" for i in np.flatnonzero(changed)]
    if not examples:
        return Check("files", PASS, f"all {len(facts)} files can be read", numbers)
    said = f"{numbers['damaged']} of {len(facts)} files cannot be read and are left out"
    if numbers["not_as_in_manifest"]:
        said += f", {numbers['not_as_in_manifest']} are not those that the manifest describes"
    return Check("files", WARN, said, numbers, examples[:MAX_EXAMPLES])


def _looked_at(rows: pd.DataFrame, asked: dict[str, Index], planes: int) -> dict[str, int]:
    """Return how many files were read, and how many later images were looked for, of how many."""
    later = sum(int((rows["split"] == side).sum()) for side in asked)
    sought = sum(map(len, asked.values()))
    return {"files_read": len(rows), "images_asked": sought, "of_images": later, "planes": planes}


def _with_coverage(check: Check, looked_at: dict[str, int]) -> Check:
    """Say of a check that rests on some images how many of all they are."""
    asked, every = looked_at["images_asked"], looked_at["of_images"]
    if asked == every or check.name not in ("near_duplicates", "probe"):
        return check
    if check.verdict == NOT_KNOWN:
        return check
    said = f"{check.sentence}; {asked} of {every} images of later sides were looked for"
    if check.name == "near_duplicates":
        said += " among all earlier ones"
    if check.name == "near_duplicates" and check.verdict == PASS:
        said += f", so of the others up to {300 / asked:.2g} % may"
    return replace(check, sentence=said)


def _check_probe(
    rows: pd.DataFrame, nearest: dict[Any, Any], thresholds: Thresholds, seed: int, *, large: bool
) -> Check:
    found = nearest.get(("train", "test"))
    if found is None or not found.partners.shape[1]:
        return Check("probe", NOT_KNOWN, ONE_SIDE)
    if not people_known(rows) and not thresholds.heads_told_apart:
        said = "people are not known, and heads are too much alike to be told apart by their pixels"
        return Check("probe", NOT_KNOWN, said)
    if not people_known(rows) and large:
        said = f"people are not known, and {len(rows)} images are too many to tell by their pixels"
        return Check("probe", NOT_KNOWN, said)
    return check_probe(rows, found.query, found.partners[:, 0], seed)


def _report(
    data: AuditSet, rows: pd.DataFrame, checks: list[Check], thresholds: Thresholds
) -> dict[str, Any]:
    named = rows.loc[rows["known"], "subject"]
    return {
        "schema": SCHEMA,
        "folder": str(data.root),
        "verdict": verdict_of(checks),
        "n_images": len(rows),
        "n_people": int(named.nunique()) if people_known(rows) else None,
        "n_units": int(rows["unit"].nunique()),
        "people": data.people,
        "sides": {side: int((rows["split"] == side).sum()) for side in sides_of(rows)},
        "n_without_side": int(rows["split"].isna().sum()),
        "stamps": list(data.stamps),
        "checks": [check.to_dict() for check in checks],
        "thresholds": {
            "nearly_identical": {"agreement": thresholds.copy},
            "same_head": {"likeness": thresholds.head if thresholds.heads_told_apart else None},
            "different_people": {
                "likeness": _spread(thresholds.null_likeness),
                "agreement": _spread(thresholds.null_agreement),
            },
            "metadata": {"skill": SKILL, "p": P_LABEL},
            "probe": {"excess": EXCESS, "p": P_ABOVE},
        },
    }


def _spread(values: Any) -> dict[str, float] | None:
    """Return what different people reach with their most similar image of somebody else."""
    if not len(values):
        return None
    median, high, most = np.quantile(values, [0.5, 0.9, 1])
    return {"median": float(median), "ninth_decile": float(high), "most": float(most)}
