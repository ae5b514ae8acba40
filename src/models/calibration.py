"""Probabilities that can be taken at their word: scaled as validation people taught.

A network's probabilities are often too close to 0 or 1. One temperature, or a scale and a shift
per class, is fitted on validation people and kept in the checkpoint; it is never fitted on the
people it is judged on (`evaluation.analyses.calibration`).

Axes: n rows (people, or one row of a person per repeat), K classes.

Source: Guo et al. (2017), arXiv:1706.04599.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from ..errors import CheckpointError, counted
from ..files import LARGEST_WHOLE
from ..predictions import FEW_PEOPLE, Array, Predictions

Method = Literal["none", "temperature", "vector"]
METHODS: tuple[Method, ...] = get_args(Method)
#: Temperatures and scales are searched from 1/20 to 20.
LARGEST_SCALE = 20.0
#: Vector scaling has 2 K parameters: fewer people of a class cannot tell them.
PEOPLE_FOR_VECTOR = 20
_RIDGE = 0.1  # log-loss of one person that a scale off by its own size, or a shift of 1, costs
_LARGEST_SHIFT = 1e6


@dataclass(frozen=True)
class Calibration:
    """How logits become logits whose probabilities can be trusted: ``logits * scale + shift``.

    Attributes:
        method: What was fitted in the end, which may be less than what was asked for.
        scale: (K,) factors; one over the temperature where there is one.
        shift: (K,) added log-odds; 0 for a temperature.
        n_people: Validation people it was fitted on; 0 where nothing was fitted.
        reason: Why it is not what was asked for, or what to beware of; empty where all is well.
    """

    method: Method
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    n_people: int
    reason: str

    @classmethod
    def none(cls, num_classes: int, reason: str) -> Calibration:
        """Return the calibration that changes nothing, and why it is so."""
        return cls("none", (1.0,) * num_classes, (0.0,) * num_classes, 0, reason)

    @property
    def temperature(self) -> float | None:
        """What logits are divided by; None for vector scaling, which has no single one."""
        return None if self.method == "vector" else 1 / self.scale[0]

    def apply(self, predictions: Predictions) -> Predictions:
        """Return the same rows with calibrated logits; averages over rows commute with it."""
        if predictions.num_classes != len(self.scale):
            raise ValueError(f"{len(self.scale)} scales for {predictions.num_classes} classes")
        logits = predictions.logits * np.array(self.scale) + np.array(self.shift)
        return replace(predictions, logits=logits)

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads, in plain values."""
        return {**asdict(self), "scale": list(self.scale), "shift": list(self.shift)}

    @classmethod
    def from_dict(cls, content: Any, num_classes: int) -> Calibration:
        """Read what `to_dict` wrote for a model of `num_classes`; a file is not trusted.

        Raises:
            CheckpointError: A value is missing, unknown, of another type or out of range.
        """
        found: dict[str, Any] = content if isinstance(content, dict) else {}
        scale, shift = found.get("scale", ()), found.get("shift", ())
        sound = (
            found.keys() == cls.__dataclass_fields__.keys()
            and isinstance(found["method"], str)
            and found["method"] in METHODS
            and _are_numbers(scale, num_classes, 0.999 / LARGEST_SCALE, 1.001 * LARGEST_SCALE)
            and _are_numbers(shift, num_classes, -_LARGEST_SHIFT, _LARGEST_SHIFT)
            and _fits_method(found["method"], scale, shift)
            and type(found["n_people"]) is int
            and 0 <= found["n_people"] < LARGEST_WHOLE
            and isinstance(found["reason"], str)
        )
        if not sound:
            raise CheckpointError(
                f"the stored calibration is damaged or not one of {num_classes} classes",
                hint="train again, or copy the checkpoint again",
            )
        numbers = (tuple(map(float, scale)), tuple(map(float, shift)))
        return cls(found["method"], *numbers, found["n_people"], found["reason"])


def fit_calibration(validation: Predictions, method: str = "temperature") -> Calibration:
    """Fit the scale (and shift) with the least log-loss on validation people.

    The rows of one person count together as one person. Where the people cannot tell a parameter,
    a simpler calibration is returned, and its `reason` says why.

    Args:
        validation: Rows of people that were not trained on, one or several of each.
        method: ``none``, ``temperature`` or ``vector``.
    """
    if method not in METHODS:
        raise ValueError(f"{method!r} is none of {', '.join(METHODS)}")
    reason = "no calibration was asked for" if method == "none" else _why_none(validation)
    if reason:
        return Calibration.none(validation.num_classes, reason)
    found = _fit_temperature(validation)
    if method == "temperature":
        return found
    of_class = [validation.people[validation.labels == k] for k in range(validation.num_classes)]
    fewest = min(len(np.unique(people)) for people in of_class)
    if fewest < PEOPLE_FOR_VECTOR:
        why = (
            f"vector scaling needs {PEOPLE_FOR_VECTOR} validation people of every class and one "
            f"has {fewest}, so one temperature was fitted"
        )
        return replace(found, reason="; ".join(filter(None, [why, found.reason])))
    return _fit_vector(validation, found)


def _why_none(rows: Predictions) -> str:
    """Return why nothing can be fitted on these people; empty where something can."""
    if rows.n_people < FEW_PEOPLE:
        return (
            f"{counted(rows.n_people, 'validation person')}; under {FEW_PEOPLE}, nothing is fitted"
        )
    if len(np.unique(rows.labels)) < 2:
        return "the validation people are all of one class"
    if (rows.predicted == rows.labels).all():  # the larger the scale, the better, without end
        return "every validation person is recognised, so how rare errors are cannot be told"
    return ""


def _person_weights(rows: Predictions) -> Array:
    """(n,) weights that sum to 1 over all rows and are the same in total for every person."""
    weights: Array = 1 / np.bincount(rows.people)[rows.people] / rows.n_people
    return weights


def _loss(calibration: Calibration, rows: Predictions, weights: Array) -> tuple[float, Array]:
    """Return the mean log-loss of people, and its gradient (n, K) by the calibrated logits."""
    log_p = calibration.apply(rows).log_probabilities
    truth = np.eye(rows.num_classes)[rows.labels]
    return -float(weights @ (truth * log_p).sum(axis=1)), weights[:, None] * (np.exp(log_p) - truth)


def _fit_temperature(rows: Predictions) -> Calibration:
    """Search the temperature between its limits; the log-loss has one minimum."""
    weights, k, limit = _person_weights(rows), rows.num_classes, math.log(LARGEST_SCALE)

    def scaled(log_t: float) -> Calibration:
        scale = (math.exp(-float(log_t)),) * k
        return Calibration("temperature", scale, (0.0,) * k, rows.n_people, "")

    best = minimize_scalar(
        lambda log_t: _loss(scaled(log_t), rows, weights)[0],
        bounds=(-limit, limit),
        method="bounded",
        options={"xatol": 1e-7},
    ).x
    reason = "the temperature is at the limit of its search" if abs(best) > limit - 1e-3 else ""
    return replace(scaled(best), reason=reason)


def _fit_vector(rows: Predictions, start: Calibration) -> Calibration:
    """Fit a scale and a shift per class; a light ridge keeps them near `start` and finite."""
    weights, k, factor = _person_weights(rows), rows.num_classes, start.scale[0]
    ridge = _RIDGE / rows.n_people

    def unpack(values: Array) -> Calibration:
        scale, shift = map(float, values[:k] * factor), map(float, values[k:])
        return Calibration("vector", tuple(scale), tuple(shift), rows.n_people, start.reason)

    def objective(values: Array) -> tuple[float, Array]:
        loss, by_logit = _loss(unpack(values), rows, weights)
        away = values - np.repeat([1.0, 0.0], k)
        by_scale = (by_logit * rows.logits).sum(axis=0) * factor
        gradient = np.concatenate([by_scale, by_logit.sum(axis=0)]) + 2 * ridge * away
        return loss + ridge * float(away @ away), gradient

    limits = (1 / LARGEST_SCALE / factor, LARGEST_SCALE / factor)
    best = minimize(
        objective,
        np.repeat([1.0, 0.0], k),
        jac=True,
        method="L-BFGS-B",
        bounds=[limits] * k + [(None, None)] * k,
        options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 1000},
    )
    return unpack(best.x)


def _are_numbers(values: Any, count: int, low: float, high: float) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == count
        and all(type(value) in (int, float) and low <= value <= high for value in values)
    )


def _fits_method(method: Method, scale: Sequence[float], shift: Sequence[float]) -> bool:
    """Return whether the numbers are of the method's kind."""
    if method == "vector":
        return True
    return len({*scale}) == 1 and not any(shift) and (method == "temperature" or scale[0] == 1)
