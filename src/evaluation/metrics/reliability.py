"""How far probabilities can be trusted: calibration errors, slope and intercept, as metrics.

Everything but the expected calibration error of the most probable class is about "demented": the
probability of class 1 and up.

Axes: B resamples, n rows (people, or one row of a person per repeat), P people, K classes, M bins.

Sources: Cox (1958), doi:10.1093/biomet/45.3-4.562 (slope and intercept); Van Calster et al. (2019),
doi:10.1186/s12916-019-1466-7 (how to read them); Naeini et al. (2015), doi:10.1609/aaai.v29i1.9602
(expected calibration error).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, logit

from ...predictions import Array, Integers, Predictions, Weighted, as_binary, ratio
from .intervals import Interval, Metric, interval, wilson
from .scores import METRICS

_MOST_BINS, _PEOPLE_PER_BIN = 10, 10
_DRAWS = 200  # for `errors_if_perfect`
_STEPS = 100  # of Newton, at most; 5 to 15 are usual


def ece(sample: Weighted) -> Array:
    """(B,) expected calibration error of the most probable class, 0 to 1.

    Rows are put into M bins by the probability of their predicted class, at its quantiles, M being
    10 or as many as leave 10 people in each. The error is the mean over bins, by weight, of
    ``|share that is right - mean probability|``. Bins are those of the unweighted rows; weights
    change their content only.

    It is above 0 for a perfectly calibrated model, the more so the fewer people there are, and
    resamples are noisier than the sample: compare it with `errors_if_perfect`, not with 0,
    and take its interval from `error_interval`.
    """
    rows = sample.predictions
    confidence = rows.probabilities.max(axis=1)
    return _binned_error(sample, confidence, rows.predicted == rows.labels)


def ece_demented(sample: Weighted) -> Array:
    """(B,) as `ece`, of the probability of class 1 and up: ``|share demented - probability|``."""
    rows = as_binary(sample.predictions)
    return _binned_error(sample, rows.probabilities[:, 1], rows.labels)


def slope(sample: Weighted) -> Array:
    """(B,) factor on the log-odds of "demented" that fits best beside a free intercept.

    1 is right, below 1 over-confident, above 1 under-confident. NaN where logistic regression has
    no finite answer: one class only, or the classes do not overlap.
    """
    x, y = _log_odds(sample.predictions)
    spread = float(x.std()) or 1.0
    values = np.full(len(sample.weights), np.nan)
    fit = _overlaps(sample.weights, x, y)
    values[fit] = _newton(sample.weights[fit], (x - x.mean()) / spread, y)[:, 1] / spread
    return values


def intercept(sample: Weighted) -> Array:
    """(B,) what must be added to the log-odds of "demented" to fit best: calibration in the large.

    0 is right, above 0 means that the probabilities are too low on the whole. NaN where there is
    one class only. The root is bracketed by the log-odds themselves, so Newton cannot run away.
    """
    x, y = _log_odds(sample.predictions)
    weights, total = sample.weights, sample.weights.sum(axis=1)
    with np.errstate(divide="ignore"):
        share = logit(ratio(weights @ y, total))
    share[~np.isfinite(share)] = np.nan
    low, high = share - x.max(), share - x.min()
    value = np.clip(0.0, low, high)
    for _ in range(_STEPS):
        p = expit(x + value[:, None])
        missing = weights @ y - np.einsum("bn,bn->b", weights, p)
        low, high = np.where(missing > 0, value, low), np.where(missing > 0, high, value)
        step = ratio(missing, np.einsum("bn,bn->b", weights, p * (1 - p)))
        inside = (value + step >= low) & (value + step <= high)
        value = np.where(inside, value + step, (low + high) / 2)
        if not (np.abs(missing) > 1e-10 * total).any():
            break
    else:
        value[np.abs(missing) > 1e-10 * total] = np.nan
    return np.asarray(value)


#: Name -> (B,) metric of how far probabilities can be trusted.
CALIBRATION_METRICS: dict[str, Metric] = {
    "ece": ece,
    "ece_demented": ece_demented,
    "brier": METRICS["brier"],
    "log_loss": METRICS["log_loss"],
    "slope": slope,
    "intercept": intercept,
}


def calibration_curve(predictions: Predictions) -> list[dict[str, Any]]:
    """Return the reliability diagram of "demented", one point per bin of `ece_demented`.

    Returns:
        Per bin: ``predicted`` and ``observed``, the mean probability and the share of rows that
        are demented; ``low`` and ``high``, Wilson's interval of that share of ``n_people``.
    """
    rows = as_binary(predictions)
    p = rows.probabilities[:, 1]
    bins, curve = _bins(p, rows.n_people), []
    for b in np.unique(bins):
        own = bins == b
        observed, n_people = float(rows.labels[own].mean()), len(np.unique(rows.people[own]))
        low, high = wilson(observed * n_people, n_people)
        point = {"predicted": float(p[own].mean()), "observed": observed, "low": low, "high": high}
        curve.append({**point, "n_people": n_people})
    return curve


def errors_if_perfect(predictions: Predictions, seed: int = 0) -> dict[str, Array]:
    """Draw what happens from the model's own probabilities, and measure the error that remains.

    It is what a model that is right about its errors would show with these people. One number is
    drawn per person, so rows of one person err together.

    Returns:
        (200,) errors of drawn outcomes, of ``ece`` and of ``ece_demented``.

    Source: Bröcker and Smith (2007), doi:10.1175/WAF993.1.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.random((_DRAWS, predictions.n_people))[:, predictions.people]
    errors = {}
    for name, p in (
        ("ece", predictions.probabilities.max(axis=1)),
        ("ece_demented", as_binary(predictions).probabilities[:, 1]),
    ):
        in_bin = np.eye(_MOST_BINS)[_bins(p, predictions.n_people)]
        errors[name] = np.abs(((drawn < p) - p) @ in_bin).sum(axis=1) / len(p)
    return errors


def error_interval(point: Any, resampled: Array, if_perfect: Array) -> Interval:
    """Return `ece` or `ece_demented` with a 95 % interval of the error in endlessly many people.

    Resamples add the noise of drawing to that of the sample, so their own percentiles lie too high
    and may leave the estimate out. They are mirrored at the estimate, which takes the bias off; and
    an estimate that is usual for a perfect model (`errors_if_perfect`) does not exclude 0. In
    simulations of 45 to 235 people, 85 to 98 % of such intervals hold the truth.

    Source: Davison and Hinkley (1997), section 5.2, doi:10.1017/CBO9780511802843.
    """
    found = interval(point, resampled)
    if found["low"] is None:
        return found
    value, below, above = found["value"], found["low"], found["high"]
    usual = value <= np.percentile(if_perfect, 97.5)
    found["low"] = 0.0 if usual else min(max(2 * value - above, 0.0), value)
    found["high"] = min(max(2 * value - below, value), 1.0)
    return found


def _bins(values: Array, n_people: int) -> Integers:
    """(n,) bin of each row, 0 to M-1, cut at quantiles: equal values share a bin."""
    values = values.round(12)  # equal values that differ by rounding errors
    m = min(max(n_people // _PEOPLE_PER_BIN, 1), _MOST_BINS)
    edges = np.quantile(values, np.linspace(0, 1, m + 1)[1:-1])
    bins: Integers = np.searchsorted(edges, values, side="left")
    return bins


def _binned_error(sample: Weighted, p: Array, happened: Any) -> Array:
    in_bin = np.eye(_MOST_BINS)[_bins(p, sample.predictions.n_people)]
    excess = sample.weights @ (in_bin * (happened - p)[:, None])
    return ratio(np.abs(excess).sum(axis=1), sample.weights.sum(axis=1))


def _log_odds(predictions: Predictions) -> tuple[Array, Array]:
    """Return (n,) log-odds of "demented", and (n,) truth, 0 or 1."""
    rows = as_binary(predictions)
    odds = (rows.logits[:, 1] - rows.logits[:, 0]).round(9)  # rounding errors are no overlap
    return odds, rows.labels.astype(np.float64)


def _overlaps(weights: Array, x: Array, y: Array) -> Any:
    """(B,) whether the classes overlap in `x`; the best slope is infinite else, the search endless.

    Source: Albert and Anderson (1984), doi:10.1093/biomet/71.1.1.
    """
    drawn = [(weights > 0) & (y == c) for c in (0, 1)]
    highest = [np.where(own, x, -np.inf).max(axis=1) for own in drawn]
    lowest = [np.where(own, x, np.inf).min(axis=1) for own in drawn]
    return (highest[0] > lowest[1]) & (highest[1] > lowest[0])


def _newton(weights: Array, x: Array, y: Array) -> Array:
    """(B, 2) intercept and slope of B weighted logistic regressions; NaN where one does not end."""
    beta = np.zeros((len(weights), 2))
    moving = np.arange(len(weights))
    for _ in range(_STEPS):
        p = expit(beta[moving, :1] + beta[moving, 1:] * x)
        step = _newton_step(weights[moving], x, y - p, p * (1 - p))
        beta[moving] += step
        moving = moving[~(np.abs(step) <= 1e-8 * (1 + np.abs(beta[moving]))).all(axis=1)]
        if not len(moving):
            break
    beta[moving] = np.nan
    return beta


def _newton_step(weights: Array, x: Array, missing: Array, variance: Array) -> Array:
    """(B, 2) gradient divided by the 2 x 2 information; NaN where that is singular."""
    gradient, information = weights * missing, weights * variance
    g0, g1 = gradient.sum(axis=1), gradient @ x
    h00, h01, h11 = information.sum(axis=1), information @ x, information @ x**2
    steps = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0], axis=1)
    return ratio(steps, np.broadcast_to((h00 * h11 - h01**2)[:, None], steps.shape))
