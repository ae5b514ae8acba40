"""95 % intervals: resampled people for any metric, Wilson's for a share of people.

All rows of a person are drawn together, so an interval speaks of people, whatever their rows are:
sessions, slices, or one out-of-fold answer per repeat.

Axes: B resamples, n rows, P people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ...predictions import Array, Predictions, Weighted, unweighted

#: (B,) or (B, K) values of a metric for B sets of row weights.
Metric = Callable[[Weighted], Array]
#: ``value``, ``low`` and ``high``; None where undefined.
Interval = dict[str, Any]
_Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution
_CHUNK = 1_000_000  # weights held at once (8 MB); arrays larger than the cache are slower too


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion, for n > 0.

    Source: Wilson (1927), doi:10.1080/01621459.1927.10502953.
    """
    share, z2 = successes / n, _Z95**2 / n
    centre, half = share + z2 / 2, _Z95 * np.sqrt((share * (1 - share) + z2 / 4) / n)
    return max(float(centre - half) / (1 + z2), 0.0), min(float(centre + half) / (1 + z2), 1.0)


def resample_people(n_people: int, n_bootstrap: int, seed: int, chunk: int) -> Iterator[Array]:
    """Yield (at most `chunk`, P) weights: how often each person was drawn, with replacement."""
    rng = np.random.default_rng(seed)
    for start in range(0, n_bootstrap, chunk):
        b = min(chunk, n_bootstrap - start)
        drawn = rng.integers(n_people, size=(b, n_people)) + n_people * np.arange(b)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=b * n_people)
        yield counts.reshape(b, n_people).astype(np.float64)


def estimate_and_resample(
    predictions: Predictions, groups: Sequence[dict[str, Metric]], n_bootstrap: int, seed: int
) -> dict[str, tuple[Array, Array]]:
    """Return name -> (estimate, resampled values (B, ...)); B is 0 for a single person."""
    found = {
        name: [metric(unweighted(predictions))]
        for group in groups
        for name, metric in group.items()
    }
    chunk = max(1, _CHUNK // len(predictions.labels))
    wanted = n_bootstrap if predictions.n_people > 1 else 0
    for drawn in resample_people(predictions.n_people, wanted, seed, chunk):
        sample = Weighted(predictions, drawn[:, predictions.people])
        for group in groups:
            for name, metric in group.items():
                found[name].append(metric(sample))
    stacked = {name: np.concatenate(values) for name, values in found.items()}
    return {name: (values[0], values[1:]) for name, values in stacked.items()}


def interval(point: Any, resampled: Array) -> Interval:
    """Return value, low and high: the 2.5 and 97.5 % percentiles of the defined resamples."""
    if not np.isfinite(point):
        return {"value": None, "low": None, "high": None}
    defined = resampled[np.isfinite(resampled)]
    if not defined.size:
        return {"value": float(point), "low": None, "high": None}
    low, high = np.percentile(defined, [2.5, 97.5])
    return {"value": float(point), "low": float(low), "high": float(high)}


def wilson_interval(successes: int, n: int) -> Interval:
    """Return a proportion with Wilson's interval."""
    low, high = wilson(successes, n)
    return {"value": successes / n, "low": low, "high": high}
