"""Does the site give the class away, or the scanner, and are the sides of the same sites?

Where one hospital sends the healthy and another the ill, a network can answer to the scanner. For
each column of `ORIGIN` alone, the others are told from the first class (CDR 0) by the share that
they have among the other people of the same site. People are divided into folds, by class, and only
people of one fold are compared.

Axes: B resamples, F folds, L levels (the sites, or the scanners), classes: first, others.

Source: Glocker et al. (2019), arXiv:1910.04597, for networks that tell the scanner of harmonised
images; the area under the curve as a share of pairs: Hanley and McNeil (1982),
doi:10.1148/radiology.143.1.7063747.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..labels import labels_like
from ..manifest import ORIGIN
from ..report.canvas import plain
from .composition import P_DIFFERENT, SHARE_APART
from .verdicts import NOT_KNOWN, PASS, WARN, Check, people_known, sides_of

#: A site gives the class away when the interval of its AUC begins above this; guessing gives .5.
TELLS = 0.55
#: People whom each of the two sides of an AUC needs.
FEW = 10
_FOLDS, _RESAMPLES = 5, 1000
_TITLES = {"field_strength": "field strength"}
_NO_ORIGIN = "no image has a site, a scanner, a manufacturer or a field strength"
_HINT = "--mode crossval --hold_out site scores people of sites that a model never saw"
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def check_site(rows: pd.DataFrame, seed: int = 0) -> Check:
    """Warn where the origin of a scan tells its class, and where sides are of other sites.

    Of a person with several scans the first label and the first site count.

    Args:
        rows: ``unit, label, split, path, known``, and `ORIGIN` where it is known.
        seed: Of folds and resamples.
    """
    name = "site"
    origin = rows.reindex(columns=list(ORIGIN))
    if origin.isna().all(axis=None):
        return Check(name, NOT_KNOWN, _NO_ORIGIN)
    if not people_known(rows) and (rows["unit"] == rows["path"]).all():
        return Check(name, NOT_KNOWN, "people are not known, and images are no independent draws")
    table = rows[["unit", "label", "split"]].join(origin)
    units = table.groupby("unit", sort=True)[["label", *ORIGIN]].first().dropna(subset=["label"])
    varied = [one for one in ORIGIN if units[one].nunique() > 1]
    if not varied:
        only = next(one for one in ORIGIN if origin[one].notna().any())
        value = plain(_text(origin[only].dropna().iloc[0]), 40)
        return Check(name, NOT_KNOWN, f"there is one {_title(only)} only: {value}")
    first = labels_like(units["label"].unique())[0]
    other = (units["label"] != first).to_numpy()
    found = {one: _told_by(units[one], other, seed) for one in varied}
    sides = {one: _sides_apart(table, one) for one in varied}
    numbers = {"units": len(units), "first_class": first, "attributes": found, "sides": sides}
    return _judged(name, numbers, units)


def _judged(name: str, numbers: dict[str, Any], units: pd.DataFrame) -> Check:
    found, first = numbers["attributes"], numbers["first_class"]
    telling = [one for one, values in found.items() if values["gives_away"]]
    said = [
        f"{_title(one)} alone tells {first} from the others: AUC {_interval(found[one])} over "
        f"{found[one]['people']} people, guessing gives .5"
        for one in telling
    ]
    apart = [
        f"the {_title(one)}s of {side} are not those of train (p {values['p']:.1g}, "
        f"{values['largest_share_apart']:.2f} apart)"
        for one, sides in numbers["sides"].items()
        for side, values in sides.items()
        if values["differ"]
    ]
    examples = [_by_level(units, one, first) for one in telling]
    if said or apart:
        hint = [_HINT] if said and "site" in found else []
        return Check(name, WARN, "; ".join([*said, *apart, *hint]), numbers, examples)
    scored = {one: values for one, values in found.items() if values["available"]}
    if not scored:
        reason = next(iter(found.values()))["reason"]
        return Check(name, NOT_KNOWN, reason, numbers)
    told = ", ".join(f"{_title(one)} AUC {_interval(values)}" for one, values in scored.items())
    new = sorted({side for s in numbers["sides"].values() for side in s if s[side]["none_shared"]})
    more = f"; {' and '.join(new)}: of other sites or scanners than train" if new else ""
    return Check(name, PASS, f"none tells the class: {told}{more}", numbers)


def _title(name: str) -> str:
    return _TITLES.get(name, name)


def _interval(values: dict[str, Any]) -> str:
    return f"{values['auc']:.2f} ({values['low']:.2f} to {values['high']:.2f})"


def _text(value: Any) -> str:
    return f"{value:g} T" if isinstance(value, float) else str(value)


def _by_level(units: pd.DataFrame, name: str, first: str) -> str:
    """Return how many of the largest levels' people are not of the first class."""
    groups = (units["label"] != first).groupby(units[name])
    shares = pd.DataFrame({"ill": groups.sum(), "all": groups.size()})
    shares = shares.sort_values("all", ascending=False, kind="stable").head(4)
    told = (f"{plain(_text(level), 30)} {row['ill']} of {row['all']}"
            for level, row in shares.iterrows())  # fmt: skip
    return f"not {first}, by {_title(name)}: {', '.join(told)}"


def _told_by(levels: pd.Series, other: npt.NDArray[np.bool_], seed: int) -> dict[str, Any]:
    """Return the AUC of guessing by one column, with an interval of resampled people."""
    known = levels.notna().to_numpy()
    codes = pd.factorize(levels[known].astype(str), sort=True)[0].astype(np.int64)
    ill, count = other[known], int(codes.max()) + 1
    found = {"people": len(ill), "levels": count, "gives_away": False}
    if min(int(ill.sum()), int((~ill).sum())) < FEW:
        reason = f"fewer than {FEW} people of known {_title(str(levels.name))} on a side"
        return found | {"available": False, "reason": reason}
    cells = _cells(codes, ill, count, np.random.default_rng(seed))
    scores = _scores(cells)
    rng = np.random.default_rng([seed, 1])
    drawn: Floats = np.stack(
        [
            rng.multinomial(int(part.sum()), part.ravel() / part.sum(), _RESAMPLES).reshape(
                -1, *part.shape
            )
            for part in np.moveaxis(cells, -1, 0)
        ],
        axis=-1,
    ).astype(np.float64)
    auc = float(_auc(cells[None], scores)[0])
    low, high = np.quantile(_auc(drawn, scores), [0.025, 0.975])
    return found | {
        **{"available": True, "auc": auc, "low": float(low), "high": float(high)},
        "gives_away": bool(low > TELLS),
    }


def _cells(
    codes: Integers, ill: npt.NDArray[np.bool_], count: int, rng: np.random.Generator
) -> Floats:
    """Return (F, L, 2) people of each fold, level and class; classes are dealt out over folds.

    Levels are not: folds in which each had its share of everyone would repeat what was learnt.
    """
    cells = np.zeros((_FOLDS, count, 2))
    for side in (False, True):
        members = rng.permutation(np.flatnonzero(ill == side))
        fold = np.arange(len(members)) % _FOLDS
        np.add.at(cells[..., int(side)], (fold, codes[members]), 1)
    return cells


def _scores(cells: Floats) -> Floats:
    """Return (F, L): the share of others at a level among people of the other folds.

    The share among everyone counts as one more person, so that few people say little.
    """
    rest = cells.sum(axis=0) - cells
    base = rest[..., 1].sum(axis=1) / rest.sum(axis=(1, 2))
    scores: Floats = (rest[..., 1] + base[:, None]) / (rest.sum(axis=2) + 1)
    return scores


def _auc(cells: Floats, scores: Floats) -> Floats:
    """Return (B,): of pairs of one fold, the share whose other has the higher score.

    Args:
        cells: (B, F, L, 2) people.
        scores: (F, L).
    """
    order = np.argsort(scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    by_score = np.take_along_axis(cells, order[None, :, :, None], axis=2)
    first, others = by_score[..., 0], by_score[..., 1]
    below = np.cumsum(first, axis=2)
    won = np.zeros(len(cells))
    for fold, values in enumerate(ranked):  # of equal scores half of the pairs are won
        start = np.searchsorted(values, values, side="left")
        end = np.searchsorted(values, values, side="right") - 1
        padded = np.concatenate([np.zeros((len(cells), 1)), below[:, fold]], axis=1)
        won += (others[:, fold] * (padded[:, start] + padded[:, end + 1]) / 2).sum(axis=1)
    pairs = (first.sum(axis=2) * others.sum(axis=2)).sum(axis=1)
    share: Floats = won / np.maximum(pairs, 1)
    return share


def _sides_apart(table: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return side -> whether its people are of other levels than those of train."""
    known = table.dropna(subset=["split", name]).drop_duplicates(["unit", "split"])
    if "train" not in sides_of(known):
        return {}
    size = known.groupby(name)["unit"].nunique()
    small = known[name].isin(size.index[size < FEW])
    level = known[name].astype(str).mask(small, "another")
    counts = pd.crosstab(level, known["split"])
    own = set(known.loc[known["split"] == "train", name])
    return {
        side: _compared(
            counts[["train", side]].to_numpy(),
            none_shared=not own & set(known.loc[known["split"] == side, name]),
        )
        for side in sides_of(known)[1:]
    }


def _compared(counts: Integers, *, none_shared: bool) -> dict[str, Any]:
    """Compare two sides (L, 2): by Fisher's test of four numbers, else by chi-squared."""
    from scipy.stats import chi2_contingency, fisher_exact

    counts = counts[counts.sum(axis=1) > 0]
    shares = counts / counts.sum(axis=0)
    apart = float(np.abs(shares[:, 0] - shares[:, 1]).max())
    if len(counts) < 2:
        p = 1.0
    elif len(counts) == 2:
        p = float(fisher_exact(counts).pvalue)
    else:
        p = float(chi2_contingency(counts).pvalue)
    differ = p < P_DIFFERENT and apart >= SHARE_APART and not none_shared
    found = {"p": p, "largest_share_apart": apart, "none_shared": none_shared}
    return found | {"differ": bool(differ)}
