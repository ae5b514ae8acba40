"""One number of many columns: a ridge that is answered for by people it did not see.

Maps have more cells than there are people, so a regression of every cell would fit anything. A
ridge gives each person one score of the stage, and the score is then a rival's only column.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...predictions import Array, Integers

#: Penalties to choose from, as multiples of the mean squared singular value of the people.
PENALTIES = tuple(10.0**power for power in range(-3, 4))


def map_score(x: Array, y: Integers, x_test: Array, part: Integers) -> tuple[Array, Array]:
    """Return a score of the stage for people who were fitted to, and for others.

    Cells are not standardised: one in which nobody's tissue varies says nothing. Classes weigh the
    same. The penalty has the least squared error in the parts; the scores of `x` are those that
    the rest of the parts gave, or what comes after would take a fit for an answer.

    Args:
        x: ``(n, F)`` of development people, no value missing.
        y: ``(n,)`` class index.
        x_test: ``(m, F)`` of others.
        part: ``(n,)`` inner fold of each development person.

    Returns:
        ``(n, 1)``, NaN of people whose class the rest of the parts lack; and ``(m, 1)``.
    """
    if len(np.unique(y)) < 2:
        return np.zeros((len(x), 1)), np.zeros((len(x_test), 1))
    middle = x.mean(axis=0)
    x, x_test = x - middle, x_test - middle
    # The same people in as many columns as there are people: a ridge does not see the difference.
    values, vectors = np.linalg.eigh(x @ x.T)
    kept = values > 1e-9 * max(float(values[-1]), 1e-12)
    basis = vectors[:, kept] / np.sqrt(values[kept])
    x, x_test = x @ (x.T @ basis), x_test @ (x.T @ basis)
    penalties = np.array(PENALTIES) * values[kept].sum() / len(y)
    said = np.full((len(y), len(penalties)), np.nan)
    for fold in np.unique(part):
        rest = part != fold
        held = ~rest & np.isin(y, y[rest])
        if held.any():
            said[held] = _ridge(x[rest], y[rest], x[held], penalties)
    known = np.isfinite(said[:, 0])
    if not known.any():
        return np.zeros((len(y), 1)), np.zeros((len(x_test), 1))
    centred = y - np.unique(y).mean()
    weight = (1 / np.bincount(y)[y])[known]
    losses = weight @ (said[known] - centred[known, None]) ** 2
    best = int(np.argmin(losses))
    return said[:, [best]], _ridge(x, y, x_test, penalties[[best]])


def _ridge(x: Array, y: Integers, x_test: Array, penalties: NDArray[np.float64]) -> Array:
    """Return the ``(m, P)`` scores under each penalty; those of the mean person are zero.

    Without an intercept: that of the others moves away from the one held out, and a score that
    says nothing would tell the classes apart, the wrong way round.
    """
    root = np.sqrt(1 / np.bincount(y)[y])
    root /= np.sqrt((root**2).mean())
    share = root**2 / (root**2).sum()
    middle = share @ x
    scaled = root[:, None] * (x - middle)
    told = root * (y - np.unique(y).mean())
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    along = vectors.T @ (scaled.T @ told)
    weights = vectors @ (along[:, None] / (np.maximum(values, 0)[:, None] + penalties))
    scores: Array = (x_test - middle) @ weights
    return scores
