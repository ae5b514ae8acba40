"""Ratings of people over time -> one label for every scan, or what became of a person.

A study rates a person at visits that need not be those of a scan. Its table of ratings has a row
per visit, with a scan or without: ``subject``; ``day``, counted from the person's first visit as
the scans' ``day`` is; ``label``, a stage by its global CDR; ``diagnosis``, in the study's words;
``mmse`` in points. What was not asked at a visit is missing.
"""

from __future__ import annotations

import logging
import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..errors import ConfigError, ManifestError, counted
from ..labels import HOW_TO_READ, OUTCOMES, STAGES, diagnosis_of
from ..manifest import Manifest
from .cells import DAYS_PER_YEAR

logger = logging.getLogger(__name__)
COLUMNS = ("subject", "day", "label", "diagnosis", "mmse")
DAYS_PER_MONTH = DAYS_PER_YEAR / 12
#: Days are whole numbers, so the time between two may be off by as much: 6 months are 183 days and
#: 42 months 1278, which lie .75 days under the 36 months that are meant.
_ROUNDED = 1.0
_STABLE, _CONVERTER = OUTCOMES


class Labelled(NamedTuple):
    """Scans with the label asked for, and those that were left out on the way.

    Attributes:
        kept: Scans, labelled where a label is known.
        removed: Rows left out, each with its ``reason``.
    """

    kept: Manifest
    removed: list[pd.DataFrame]


def label_scans(
    scans: Manifest,
    ratings: pd.DataFrame | None,
    kind: str,
    *,
    apart: bool = True,
    rating_days: float = 365,
    months: float = 36,
) -> Labelled:
    """Give scans the kind of label that was asked for.

    Args:
        scans: Of a cohort. Where it rates people apart from scans, these come without labels.
        ratings: With `COLUMNS`; None where there are none but those that scans come with.
        kind: ``"stage"``, the CDR nearest to a scan; ``"diagnosis"``, the diagnosis nearest to it;
            ``"conversion"``, whether a person at CDR 0 at the first scan reached a higher one.
        apart: Whether the rating nearest in time labels a scan (`Cohort.rates_apart`).
        rating_days: Most days between a scan and its rating.
        months: In which a higher CDR counts as a conversion.

    Raises:
        ConfigError: Conversions of a cohort that rates people once.
        ManifestError: No scan has a diagnosis, or nobody can be said to have converted or not.
    """
    rated = scans if ratings is None or not apart else rate_scans(scans, ratings, rating_days)
    if kind == "stage":
        return Labelled(rated, [])
    rated = rated.with_stamps(HOW_TO_READ[kind])
    if kind == "diagnosis":
        return Labelled(_diagnosed(rated), [])
    if ratings is None:
        raise ConfigError(
            f"--label conversion: {scans.table['cohort'].iloc[0]} rates people once",
            hint="use a study with repeated ratings: --dataset oasis2, oasis3, adni or bids",
        )
    more = "more --rating_days"
    if not apart:
        more = "ratings of later visits, whose names tell their time (docs/scans.md)"
    return _converted(rated, ratings, months, hint=f"fewer --months, or {more}")


def rate_scans(scans: Manifest, ratings: pd.DataFrame, rating_days: float) -> Manifest:
    """Give every scan the rating, the MMSE and the diagnosis nearest in time.

    Args:
        scans: With ``day``; a scan whose day is not known stays unrated.
        ratings: With `COLUMNS`.
        rating_days: Most days between the two; of two equally near the earlier counts.

    Returns:
        The scans with ``label``, ``mmse``, ``diagnosis`` and ``rating_days``, the distance of the
        label; where nothing is near enough they are missing.
    """
    table = scans.table
    found = {name: _nearest(table, ratings, name, rating_days) for name in COLUMNS[2:]}
    labels, days = found["label"]
    far = int((table["day"].notna() & labels.isna()).sum())
    if far:
        logger.info(
            "%s: %s no CDR within %g days (--rating_days)",
            *(scans.root, counted(far, "scan has", "scans have"), rating_days),
        )
    mmse = pd.to_numeric(found["mmse"][0])
    return scans.with_columns(
        label=labels,
        rating_days=days,
        diagnosis=table["diagnosis"].where(table["diagnosis"].notna(), found["diagnosis"][0]),
        mmse=table["mmse"].where(table["mmse"].notna(), mmse),
    )


def first_sessions(scans: Manifest) -> tuple[Manifest, pd.DataFrame]:
    """Keep the first visit of every person, by its day, or by its name where no day is known.

    Returns:
        All scans of first visits, and the rows of later ones with the reason.
    """
    table = scans.table
    visit = table["session"].str.split("_").str[0].fillna("")
    keep = pd.Series(True, table.index)
    for _, rows in table.groupby("subject"):
        days = rows["day"]
        if days.notna().all():
            keep[rows.index] = (days == days.min()).to_numpy()
        else:
            keep[rows.index] = (
                visit[rows.index] == min(visit[rows.index], key=_natural)
            ).to_numpy()
    return scans.partition(keep, "a later session (--sessions first)")


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _nearest(
    scans: pd.DataFrame, ratings: pd.DataFrame, name: str, rating_days: float
) -> tuple[pd.Series, pd.Series]:
    """Return the value of a column nearest to each scan, and how many days lie between."""
    known = ratings.dropna(subset=["day", name])
    by_person = {who: rows.sort_values("day") for who, rows in known.groupby("subject")}
    values: list[object] = []
    distances: list[float | None] = []
    for who, day in zip(scans["subject"], scans["day"], strict=True):
        rows = by_person.get(who)
        if rows is None or pd.isna(day):
            values.append(None)
            distances.append(None)
            continue
        apart = np.abs(rows["day"].to_numpy(dtype=np.float64) - float(day))
        place = int(np.argmin(apart))
        near = apart[place] <= rating_days
        values.append(rows[name].iloc[place] if near else None)
        distances.append(float(apart[place]) if near else None)
    return (
        pd.Series(values, scans.index, dtype=ratings[name].dtype),
        pd.Series(distances, scans.index, dtype="Float64"),
    )


def _diagnosed(scans: Manifest) -> Manifest:
    """Label scans by their diagnosis, where it is one that has a class."""
    words = scans.table["diagnosis"]
    named = words.map(diagnosis_of, na_action="ignore").astype("str")
    if named.isna().all():
        raise ManifestError(
            f"--label diagnosis: no scan of {scans.root} has a diagnosis of CN, MCI or AD",
            hint="leave --label out for the CDR, or use a cohort whose tables tell a diagnosis",
        )
    other = words[words.notna() & named.isna()]
    if len(other):
        some = ", ".join(f"{str(k)[:20]!r} {n}" for k, n in other.value_counts()[:5].items())
        logger.warning(
            "%s: %s a diagnosis that is none of CN, MCI, AD (%s): without a label",
            *(scans.root, counted(len(other), "scan has", "scans have"), some),
        )
    return scans.with_columns(label=named)


def _converted(scans: Manifest, ratings: pd.DataFrame, months: float, *, hint: str) -> Labelled:
    """Keep the first scan of people at CDR 0 whose next `months` are known; say what became."""
    firsts, later = first_sessions(scans)
    known = ratings.dropna(subset=["day", "label"])
    by_person = {who: rows for who, rows in known.groupby("subject")}
    table = firsts.table
    outcome = pd.Series(
        [
            _outcome(label, day, by_person.get(who, known.iloc[:0]), months)
            for who, day, label in zip(table["subject"], table["day"], table["label"], strict=True)
        ],
        table.index,
        dtype="str",
    )
    settled = outcome.isin(OUTCOMES)
    kept, out = firsts.partition(settled, lambda _: outcome[~settled].reset_index(drop=True))
    later = later.assign(reason="not the first scan (--label conversion)")
    _tell_outcomes(scans, outcome, table["subject"], months)
    if not len(kept):
        raise ManifestError(
            f"--label conversion: of nobody in {scans.root} it is known whether a higher CDR came "
            f"within {months:g} months",
            hint=hint,
        )
    return Labelled(kept.with_columns(label=outcome[settled].reset_index(drop=True)), [later, out])


def _outcome(label: Any, day: Any, ratings: pd.DataFrame, months: float) -> str:
    """Return what became of a person, or why it is not known.

    A person is a converter whose CDR is above 0 at any visit in the months after the scan, even if
    it is 0 again later; and stable where a visit at the end of them, or after it, still finds 0.
    """
    if pd.isna(label):
        return "not rated at the first scan"
    if label != STAGES[0]:
        return "CDR above 0 at the first scan"
    if pd.isna(day):
        return "when the first scan was is not known"
    since = ratings["day"].to_numpy(dtype=np.float64) - float(day)
    ill = (ratings["label"] != STAGES[0]).to_numpy()
    end = months * DAYS_PER_MONTH
    after = since > 0
    if (ill & after & (since <= end + _ROUNDED)).any():
        return _CONVERTER
    past = after & (since >= end - _ROUNDED)
    if past.any() and not ill[past][np.argmin(since[past])]:
        return _STABLE
    return f"no rating tells of the end of {months:g} months (censored)"


def _tell_outcomes(scans: Manifest, outcome: pd.Series, subject: pd.Series, months: float) -> None:
    people = pd.DataFrame({"who": subject, "what": outcome}).drop_duplicates()
    counts = people["what"].value_counts()
    told = ", ".join(f"{counts.get(name, 0)} {name}" for name in OUTCOMES)
    left = "; ".join(f"{n} {why}" for why, n in counts.items() if why not in OUTCOMES)
    logger.info(
        "%s: within %g months: %s%s",
        *(scans.root, months, told, f"; left out: {left}" if left else ""),
    )
