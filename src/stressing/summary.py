"""What answers to known changes come to: response to a dose, flips, what a region is worth.

Every reader, the model and its rivals, is summed up in the same way, with 95 % intervals over
people. A person counts once, with the first session.

Arrays: P people, D doses, B resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..evaluation.metrics.intervals import interval, resample_people, wilson_interval
from ..predictions import ratio
from .acquisition import NUISANCES
from .plan import AGEING, BLIND, DISEASE, NONE, NUISANCE, REGION, YOUNGER

Array = NDArray[np.float64]
Section = dict[str, Any]
#: People under which nothing is told of a mean over them.
FEWEST = 5
USUAL = 1  # of three strengths of a nuisance, the one that its verdict is about
_CHUNK = 100_000


class Reader:
    """What one reader said of every scan and change.

    Args:
        name: Key in the result file.
        title: Name for people.
        table: Columns ``subject``, ``label``, ``kind``, ``change``, ``strength``, ``log_odds``,
            ``stage``, and ``set_size`` where the reader has prediction sets; one row per person
            and change.
        n_bootstrap: Resamples of people.
        seed: Of the resampling.
    """

    def __init__(
        self, name: str, title: str, table: pd.DataFrame, n_bootstrap: int, seed: int
    ) -> None:
        self.name, self.title, self.table = name, title, table
        self.n_bootstrap, self.seed = n_bootstrap, seed
        unchanged = table[table["kind"] == NONE].set_index("subject")
        self.before = unchanged["log_odds"]
        self.stage_before = unchanged["stage"]
        self.labels = unchanged["label"]

    def summed_up(self) -> Section:
        """Return everything that is told of this reader, but its verdicts."""
        return {
            "name": self.name,
            "title": self.title,
            "unchanged": self._unchanged(),
            "disease": [self._curve(DISEASE, name) for name in self._names(DISEASE)],
            "younger": [self._curve(YOUNGER, name) for name in self._names(YOUNGER)],
            "ageing": [self._curve(AGEING, name) for name in self._names(AGEING)],
            "nuisance": [self._nuisance(name) for name in self._names(NUISANCE)],
            "regions": [self._without(REGION, name) for name in self._names(REGION)],
            "blind": [self._without(BLIND, name) for name in self._names(BLIND)],
        }

    def _names(self, kind: str) -> list[str]:
        return list(dict.fromkeys(self.table.loc[self.table["kind"] == kind, "change"]))

    def _unchanged(self) -> Section:
        ill = (self.labels > 0).to_numpy()
        healthy = self.before[~ill]
        return {
            "auc": self._auc(self.before.index.tolist(), self.before.to_numpy()),
            "healthy_called_ill": _share((self.stage_before[~ill] > 0).to_numpy()),
            "ill_called_healthy": _share((self.stage_before[ill] == 0).to_numpy()),
            "sd_healthy": float(healthy.std(ddof=1)) if len(healthy) > 1 else None,
        }

    def _wide(self, kind: str, name: str, column: str) -> pd.DataFrame:
        """Return people x strengths."""
        rows = self.table[(self.table["kind"] == kind) & (self.table["change"] == name)]
        return rows.pivot(index="subject", columns="strength", values=column).dropna()

    def _curve(self, kind: str, name: str) -> Section:
        """Return dose and response of one change, no dose first."""
        odds, stage = (self._wide(kind, name, column) for column in ("log_odds", "stage"))
        n = len(odds)
        section: Section = {"name": name, "n": n, "reason": None}
        if n < FEWEST:
            return section | {"reason": self._why_few(kind, name, n)}
        before = self.before.loc[odds.index].to_numpy()[:, None]
        first = self.stage_before.loc[odds.index].to_numpy()[:, None]
        doses = np.array([0.0, *odds.columns])
        every = np.concatenate([before, odds.to_numpy()], axis=1)
        ill = np.concatenate([first, stage.to_numpy()], axis=1) > 0
        p = 1 / (1 + np.exp(-every))
        sets = self._wide(kind, name, "set_size") if "set_size" in self.table else None
        means = {
            "p": self._over_people(p),
            "log_odds": self._over_people(every),
            "called_ill": [_share(column) for column in ill.T],
        }
        slopes = _slopes(doses, every)
        return section | {
            "doses": [
                {"dose": float(dose), **{key: values[at] for key, values in means.items()}}
                | ({"set_size": self._set_size(sets, at)} if sets is not None else {})
                for at, dose in enumerate(doses)
            ],
            "slope": self._over_people(slopes[:, None])[0],
            "rise": self._over_people((p[:, -1] - p[:, 0])[:, None])[0],
            "monotone": bool((np.diff(p.mean(axis=0)) > -_TOLERANCE).all()),
            "half": _half(doses, ill.mean(axis=0), rising=kind != YOUNGER),
        }

    def _set_size(self, sets: pd.DataFrame, at: int) -> float | None:
        if at == 0:
            rows = self.table[self.table["kind"] == NONE].set_index("subject")["set_size"]
            return float(rows.loc[sets.index].mean())
        return float(sets.iloc[:, at - 1].mean())

    def _nuisance(self, name: str) -> Section:
        one = NUISANCES[name]
        odds, stage = (self._wide(NUISANCE, name, column) for column in ("log_odds", "stage"))
        n = len(odds)
        section: Section = {"name": name, "title": one.title, "unit": one.unit, "n": n}
        section |= {"usual": min(USUAL, len(one.strengths) - 1), "reason": None}
        if n < FEWEST:
            return section | {"reason": self._why_few(NUISANCE, name, n)}
        order = [strength for strength in one.strengths if strength in odds.columns]
        odds, stage = odds[order], stage[order]  # from slight to strong; less gain is stronger
        shift = odds.to_numpy() - self.before.loc[odds.index].to_numpy()[:, None]
        flipped = stage.to_numpy() != self.stage_before.loc[stage.index].to_numpy()[:, None]
        strengths = [
            {
                "strength": float(strength),
                "flips": _share(flipped[:, at]),
                "shift": self._over_people(shift[:, at : at + 1])[0],
                "moved": self._over_people(np.abs(shift[:, at : at + 1]))[0],
            }
            for at, strength in enumerate(odds.columns)
        ]
        return section | {"strengths": strengths}

    def _without(self, kind: str, name: str) -> Section:
        odds = self._wide(kind, name, "log_odds")
        n = len(odds)
        section: Section = {"name": name, "n": n, "reason": None}
        if n < FEWEST:
            return section | {"reason": self._why_few(kind, name, n)}
        people, after = odds.index.tolist(), odds.iloc[:, 0].to_numpy()
        before = self.before.loc[people].to_numpy()
        return section | {
            "auc": self._auc(people, after),
            "lost": self._auc(people, before, after),
            "shift": self._over_people((after - before)[:, None])[0],
        }

    def _why_few(self, kind: str, name: str, n: int) -> str:
        rows = self.table[(self.table["kind"] == kind) & (self.table["change"] == name)]
        told = [reason for reason in rows["reason"] if isinstance(reason, str)]
        if told:
            return max(set(told), key=told.count)
        return f"{n} test people are too few for an interval (at least {FEWEST} are needed)"

    def _over_people(self, values: Array) -> list[Section]:
        """Return the mean over people of each column ``(P, D)``, with intervals."""
        drawn = np.concatenate(
            list(resample_people(len(values), self.n_bootstrap, self.seed, _CHUNK))
        )
        means = drawn @ values / len(values)
        each = zip(values.mean(axis=0), means.T, strict=True)
        return [interval(point, resampled) for point, resampled in each]

    def _auc(self, people: Sequence[str], first: Array, second: Array | None = None) -> Section:
        """Return the AUC of demented, or what it loses from `first` to `second`."""
        truth = (self.labels.loc[list(people)] > 0).to_numpy()
        if truth.all() or not truth.any():
            return dict(_UNKNOWN)
        drawn = np.concatenate(
            [
                np.ones((1, len(truth))),
                *resample_people(len(truth), self.n_bootstrap, self.seed, _CHUNK),
            ]
        )
        found = _aucs(truth, first, drawn)
        if second is not None:
            found = found - _aucs(truth, second, drawn)
        return interval(found[0], found[1:])


_TOLERANCE = 0.01  # of a mean probability that may fall from one dose to the next


def _aucs(truth: NDArray[np.bool_], scores: Array, drawn: Array) -> Array:
    """Return the (B,) AUCs of people drawn ``(B, P)`` times; ties count half."""
    ill, healthy = scores[truth][:, None], scores[~truth][None]
    above = (ill > healthy) + 0.5 * (ill == healthy)
    of_ill, of_healthy = drawn[:, truth], drawn[:, ~truth]
    pairs = of_ill.sum(axis=1) * of_healthy.sum(axis=1)
    return ratio(((of_ill @ above) * of_healthy).sum(axis=1), pairs)


def _share(which: NDArray[np.bool_]) -> Section:
    return wilson_interval(int(which.sum()), len(which)) if len(which) else _UNKNOWN


_UNKNOWN: Section = {"value": None, "low": None, "high": None}


def _slopes(doses: Array, values: Array) -> Array:
    """Return the (P,) least-squares slope of each person's values ``(P, D)`` over the doses."""
    centred = doses - doses.mean()
    return np.asarray(values @ centred / (centred**2).sum())


def _half(doses: Array, shares: Array, *, rising: bool) -> float | None:
    """Return the dose at which half of the people have changed sides, linear between doses."""
    level = 0.5 - shares if rising else shares - 0.5
    over = np.flatnonzero(level <= 0)
    if not len(over):
        return None
    at = int(over[0])
    if at == 0:
        return 0.0
    share = level[at - 1] / (level[at - 1] - level[at])
    return float(doses[at - 1] + share * (doses[at] - doses[at - 1]))


def retest_sd(table: pd.DataFrame) -> Section | None:
    """Return how far unchanged scans of one person lie apart: standard deviation of log-odds.

    Args:
        table: Rows of unchanged scans, of the model.
    """
    several = table.groupby("subject")["log_odds"].agg(["count", "var"])
    several = several[several["count"] > 1]
    if several.empty:
        return None
    return {"n": len(several), "sd": float(np.sqrt(several["var"].mean()))}


def worth(reader: Mapping[str, Any], whole: str) -> dict[str, float]:
    """Return the dose of disease that moves log-odds as far as each nuisance at its usual strength.

    Args:
        reader: From `Reader.summed_up`.
        whole: Name of the disease that is compared with.
    """
    curve = next((one for one in reader["disease"] if one["name"] == whole), None)
    if curve is None or curve["reason"] or not curve["slope"]["value"]:
        return {}
    slope = abs(curve["slope"]["value"])
    return {
        one["name"]: one["strengths"][one["usual"]]["moved"]["value"] / slope
        for one in reader["nuisance"]
        if not one["reason"]
    }
