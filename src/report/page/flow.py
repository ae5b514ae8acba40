"""Who was in the study, who was not, and why: the boxes of a flow diagram of people.

After the flow diagrams of STARD 2015, doi:10.1136/bmj.h5527.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...config.own_files import Column, check_own, in_short, read_table
from ...errors import ManifestError, MriError, counted
from ...manifest import MANIFEST, REJECTED, SETTINGS, Manifest, read_settings
from ..documents.markdown import people
from ..set_aside import BIAS, shares_by_stage, warning_of
from .gather import RunFiles
from .text import shown

_SPLITS = {"train": "Training", "val": "Validation", "test": "Test", "all": "All people"}
_REASONS = 6  # more are added up in one line


@dataclass
class Box:
    """A step: who is left, and who left here.

    Attributes:
        title: Of the step.
        lines: Counts.
        aside: Why people left before the next step, with counts.
        note: What is to be known of those who left.
        parts: Groups that the people of this step were divided into.
    """

    title: str
    lines: list[str]
    aside: list[str] = field(default_factory=list)
    note: str = ""
    parts: list[Box] = field(default_factory=list)


def flow(files: RunFiles) -> tuple[list[Box], str]:
    """Return the boxes from raw scans to scored people, and a note on what is not known."""
    metrics = files.metrics
    assert metrics is not None
    boxes, note = _of_data_set(files)
    used = metrics["people"]
    kind = metrics["kind"]
    parts = [
        Box(_SPLITS.get(split, split), [people(sum(counts.values())), *_each(counts)])
        for split, counts in sorted(used.items(), key=lambda item: list(_SPLITS).index(item[0]))
    ]
    boxes.append(Box("Divided by person", [], parts=parts) if len(parts) > 1 else parts[0])
    n = metrics["person"]["n_people"]
    if kind == "crossval":
        folds = metrics["crossval"]
        times = f"{folds['folds']} folds, {folds['repeats']} times"
        lines = [f"{people(n)}, each tested once a division: {times}"]
    else:
        lines = [f"{people(n)} of {shown(metrics['split'])}, none of whom was trained on"]
        if metrics["stamps"]:
            lines = [f"{people(n)} of {shown(metrics['split'])}"]
    boxes.append(Box("Scored", lines))
    return boxes, note


def _of_data_set(files: RunFiles) -> tuple[list[Box], str]:
    """Return the boxes before the split, from the processed data set where it is there."""
    metrics = files.metrics
    assert metrics is not None
    if files.config is None:
        return [], "Who was set aside is not known: the settings could not be read."
    data = files.config.data
    places = [place for place in (data.data_dir, data.processed_dir) if place]
    folder = next((place for place in places if (place / MANIFEST).is_file()), None)
    if folder is None or folder_name(folder) != metrics["dataset"]:
        return [], "Who was set aside is not known: the processed data set is not where it was."
    try:
        manifest = Manifest.read(folder)
        made = folder / SETTINGS
        settings = read_settings(made) if made.is_file() else {}
        by_stage, warning = _by_stage(settings.get("set_aside"), made)
        reasons, n_aside, aside_people = _set_aside(folder / REJECTED, settings.get("rejected"))
    except MriError as error:
        return [], f"Who was set aside is not known: {shown(error.message, 300)}"
    table = manifest.table
    rated = table[table["label"].notna() & (table["label"] != "")]
    scans = len(table[["subject", "session"]].drop_duplicates())
    everyone = set(table["subject"].astype(str)) | aside_people
    everything = [people(len(everyone)), counted(scans + n_aside, "scan")]
    found = Box("Found", everything, reasons, note=by_stage)
    images = counted(len(table), "image") if len(table) != scans else ""
    of_people = table["subject"].nunique()
    kept = Box(
        "Processed", [people(of_people), ", ".join(filter(None, [counted(scans, "scan"), images]))]
    )
    unrated = of_people - rated["subject"].nunique()
    if unrated:
        kept.aside.append(f"{people(unrated)} without a rating: kept, never scored")
    used = sum(sum(counts.values()) for counts in metrics["people"].values())
    left = rated["subject"].nunique() - used
    if left > 0:
        why = f", younger than {data.min_age:g} years" if data.min_age else ""
        kept.aside.append(f"{people(left)} not used by this run{why}")
    return [found, kept], warning


def _by_stage(found: dict[str, Any] | None, path: Path) -> tuple[str, str]:
    """Return the shares set aside by stage, and a warning where they differ or nothing.

    Both are empty of a data set whose makers did not count them, or had no scan to set aside.
    """
    if not found:
        return "", ""
    try:
        check_own(found, "set_aside")
    except ValueError as error:
        raise ManifestError(f"{path} is damaged: set_aside: {in_short(error)}") from None
    if not any(one["aside"] for one in found["stages"].values()):
        return "", ""
    warning = warning_of(found)
    line = shares_by_stage(found) + ("" if warning else f". {BIAS.capitalize()}")
    return _sentence(line), _sentence(warning)


def _sentence(text: str) -> str:
    return shown(f"{text[0].upper()}{text[1:]}.", 700) if text else ""


def _each(counts: dict[str, int]) -> list[str]:
    return [f"{n} {shown(name)}" for name, n in counts.items()]


def folder_name(folder: Path) -> str:
    """Return the last part of a folder's full path."""
    return folder.resolve().name


def _set_aside(path: Path, rejected: int | None) -> tuple[list[str], int, set[str]]:
    """Return reasons with counts, the number of scans, and the people.

    Raises:
        ManifestError: The table is damaged, or has not as many rows as the settings count.
    """
    if not path.is_file():
        return [], 0, set()
    again = "--mode preprocess writes it again"
    table = read_table(path, {"subject": Column(), "reason": Column()}, hint=again)
    if rejected is not None and len(table) != rejected:
        told = f"{counted(len(table), 'row')}, and {SETTINGS} counts {rejected}"
        raise ManifestError(f"{path} is damaged: it has {told}", hint=again)
    counts = table["reason"].value_counts()
    lines = [f"{n} {_scans(n)}: {shown(reason)}" for reason, n in counts.head(_REASONS).items()]
    rest = int(counts.iloc[_REASONS:].sum())
    if rest:
        lines.append(f"{rest} {_scans(rest)}: other reasons ({REJECTED} names each)")
    return lines, len(table), set(table["subject"].astype(str))


def _scans(n: int) -> str:
    return "scan" if n == 1 else "scans"
