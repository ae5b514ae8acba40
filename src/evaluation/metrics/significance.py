"""Statistics that tell two models apart on the same people. Pure functions.

Every difference is A minus B, with a 95 % interval and a two-sided p. Where no variance can be
estimated there is no interval, and no p unless the difference is 0 (then p is 1).

Axes: B resamples, P people, J folds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm, rankdata
from scipy.stats import t as student

from ...predictions import Array, Predictions, Weighted, unweighted
from .intervals import Interval, Metric, interval, resample_people

#: More people than this is no plan for a study.
MOST_PEOPLE = 10_000_000
_NO_VARIANCE = 1e-24  # under this, the spread of numbers of size 1 is rounding
_CHUNK = 1_000_000  # weights held at once (8 MB)


def delong(
    labels_binary: npt.ArrayLike, score_a: npt.ArrayLike, score_b: npt.ArrayLike
) -> dict[str, Any]:
    """Compare two areas under the ROC curve of the same people.

    Source: DeLong et al. (1988), doi:10.2307/2531595, by the mid-ranks of Sun & Xu (2014),
    doi:10.1109/LSP.2014.2337313.

    Args:
        labels_binary: (P,) 0 or 1, one row per person.
        score_a: (P,) higher means more likely 1.
        score_b: (P,) the same of the other model; any scale.

    Returns:
        Intervals ``auc_a``, ``auc_b`` and ``difference``; ``z`` and ``p``.
    """
    first, second = _components(labels_binary, score_a), _components(labels_binary, score_b)
    between = [a - b for a, b in zip(first, second, strict=True)]
    value, error = _mean(first[0]) - _mean(second[0]), _standard_error(between)
    difference = _around(value, error, norm.ppf(0.975))
    z = value / error if error else None
    p = 2 * float(norm.sf(abs(z))) if z is not None else _p_without_variance(difference["value"])
    return {
        "auc_a": _auc_interval(first),
        "auc_b": _auc_interval(second),
        "difference": difference,
        "z": z,
        "p": p,
    }


def delong_interval(labels_binary: npt.ArrayLike, score: npt.ArrayLike) -> Interval:
    """Return the area under the ROC curve with DeLong's interval, cut at 0 and 1.

    Perfect separation leaves no variance to estimate, and so no interval.

    Source: DeLong et al. (1988), doi:10.2307/2531595.
    """
    return _auc_interval(_components(labels_binary, score))


def mcnemar(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> dict[str, Any]:
    """Compare two shares of people with a right answer, by those whom one model alone has right.

    Source: McNemar (1947), doi:10.1007/BF02295996, with the exact binomial p.

    Args:
        correct_a: (P,) whether model A is right, one row per person.
        correct_b: (P,) the same of model B.

    Returns:
        Counts ``only_a`` and ``only_b``, and ``p``, 1 where there is no such person.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": p}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values adjusted for their number; None stays None and is not counted.

    Source: Holm (1979), https://www.jstor.org/stable/4615733.
    """
    known = np.array([p for p in p_values if p is not None], dtype=float)
    order = known.argsort()
    stepped = known[order] * np.arange(len(known), 0, -1)
    adjusted = np.empty_like(known)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    found = iter(adjusted)
    return [None if p is None else float(next(found)) for p in p_values]


def nadeau_bengio(
    differences: npt.ArrayLike, n_train: float, n_test: float
) -> dict[str, float | None]:
    """Test the mean of fold-wise differences, whose training people overlap from fold to fold.

    Source: Nadeau & Bengio (2003), doi:10.1023/A:1024068626366: the variance of the mean is
    (1/J + n_test/n_train) times the variance of the J differences, with J - 1 degrees of freedom.

    Args:
        differences: (J,) score of A minus score of B in each fold of each repeat.
        n_train: People who train in a fold.
        n_test: People who are tested in a fold.

    Returns:
        ``mean``, ``low``, ``high``, ``t`` and ``p``.
    """
    values = np.asarray(differences, dtype=float)
    found, error = _corrected(values, n_train, n_test)
    mean = found["value"]
    t = mean / error if error else None
    p = _p_without_variance(mean) if t is None else 2 * float(student.sf(abs(t), len(values) - 1))
    if len(values) < 2:
        p = None
    return {"mean": mean, "low": found["low"], "high": found["high"], "t": t, "p": p}


def corrected_interval(values: npt.ArrayLike, n_train: float, n_test: float) -> Interval:
    """Return the mean of J fold scores with an interval by the variance of `nadeau_bengio`.

    It knows no limits of the score: near the end of a scale it can reach beyond.
    """
    return _corrected(np.asarray(values, dtype=float), n_train, n_test)[0]


def paired_bootstrap(
    a: Predictions,
    b: Predictions,
    metrics: dict[str, Metric],
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Resample people, the same ones in both models, and compare metrics.

    All rows of a person are drawn together; the two models may have different numbers of rows of a
    person. p is twice the smaller share of resamples on either side of 0, counting the estimate as
    one more (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585), and at most 1.

    Args:
        a: Rows of model A.
        b: Rows of model B, of the same people in any order.
        metrics: Name -> (B,) metric.
        n_bootstrap: Resamples of people.
        seed: Same seed, same people drawn.

    Returns:
        Name -> ``value``, ``low``, ``high`` and ``p`` of A minus B.

    Raises:
        ValueError: `a` and `b` are not of the same people.
    """
    names = np.unique(a.subjects)
    if not np.array_equal(names, np.unique(b.subjects)):
        raise ValueError("a and b are not of the same people")
    sides = [(rows, np.searchsorted(names, rows.subjects)) for rows in (a, b)]
    resampled: dict[str, list[Array]] = {name: [np.empty(0)] for name in metrics}
    wanted = n_bootstrap if len(names) > 1 else 0
    chunk = max(1, _CHUNK // (len(a.labels) + len(b.labels)))
    for drawn in resample_people(len(names), wanted, seed, chunk):
        first, second = (Weighted(rows, drawn[:, person]) for rows, person in sides)
        for name, metric in metrics.items():
            resampled[name].append(metric(first) - metric(second))
    return {
        name: _judge(
            float(metric(unweighted(a))[0] - metric(unweighted(b))[0]),
            np.concatenate(resampled[name]),
        )
        for name, metric in metrics.items()
    }


def people_needed(
    difference: float | None,
    standard_error: float | None,
    n_people: int,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int | None:
    """Return how many people it takes to tell a difference from 0, were it the one seen here.

    The standard error is taken to shrink with the square root of the number of people.

    Args:
        difference: As observed.
        standard_error: Of `difference`, on `n_people`.
        n_people: People of the observation.
        power: Wanted probability to find the difference.
        alpha: Two-sided level of the test.

    Returns:
        People, or None where no number below `MOST_PEOPLE` is enough or nothing is known.
    """
    if not difference or not standard_error:
        return None
    z = float(norm.ppf(1 - alpha / 2) + norm.ppf(power)) * standard_error / abs(difference)
    needed = n_people * z * z
    return math.ceil(needed) if needed <= MOST_PEOPLE else None


def _components(labels: npt.ArrayLike, score: npt.ArrayLike) -> tuple[Array, Array]:
    """Return for each positive the share of negatives it beats, and for each negative the reverse.

    Half for a tie. Both are empty when either class is: there is no curve.
    """
    positive = np.asarray(labels) > 0
    values = np.asarray(score, dtype=float)
    above, below = values[positive], values[~positive]
    m, n = len(above), len(below)
    if not m or not n:
        return np.empty(0), np.empty(0)
    together = rankdata(np.concatenate([above, below]))
    return (together[:m] - rankdata(above)) / n, 1 - (together[m:] - rankdata(below)) / m


def _standard_error(components: Sequence[Array]) -> float | None:
    """Return the root of the sum of both classes' variances of the mean; None where it is 0."""
    if min(map(len, components)) < 2:
        return None
    variance = sum(float(part.var(ddof=1)) / len(part) for part in components)
    return math.sqrt(variance) if variance > _NO_VARIANCE else None


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan


def _auc_interval(components: tuple[Array, Array]) -> Interval:
    found = _around(_mean(components[0]), _standard_error(components), norm.ppf(0.975))
    if found["low"] is not None:
        found |= {"low": max(found["low"], 0.0), "high": min(found["high"], 1.0)}
    return found


def _around(value: float, error: float | None, quantile: float) -> Interval:
    """Return `value` with `quantile` standard errors on both sides."""
    if not math.isfinite(value) or error is None:
        return interval(value, np.empty(0))
    half = float(quantile) * error
    return {"value": value, "low": value - half, "high": value + half}


def _p_without_variance(value: float | None) -> float | None:
    return 1.0 if value is not None and abs(value) < math.sqrt(_NO_VARIANCE) else None


def _corrected(values: Array, n_train: float, n_test: float) -> tuple[Interval, float | None]:
    """Return the mean of fold values with its interval, and its corrected standard error."""
    j, mean = len(values), _mean(values)
    variance = float(values.var(ddof=1)) if j > 1 else 0.0
    error = None
    if variance > _NO_VARIANCE:
        error = math.sqrt((1 / j + n_test / n_train) * variance)
    return _around(mean, error, student.ppf(0.975, j - 1) if j > 1 else 0.0), error


def _judge(value: float, resampled: Array) -> dict[str, Any]:
    """Return a difference with its percentile interval and p."""
    found: dict[str, Any] = interval(value, resampled)
    defined = resampled[np.isfinite(resampled)].round(12)  # equal models differ by rounding only
    p = None
    if found["value"] is not None and defined.size:
        smaller = min((defined <= 0).sum(), (defined >= 0).sum())
        p = min(1.0, 2 * (1 + int(smaller)) / (1 + defined.size))
    return found | {"p": p}
