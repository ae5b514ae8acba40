"""How the answers on a person's slices become one: their mean, the largest, or gated attention.

A person's logits are a weighted mean of the logits of the person's slices; `max` and `attention`
say with which weights. Slices are weighed within a scan, and scans of one person weigh the same.

Arrays: n rows (slices) of S scans; B rows of a batch in G bags; F features, K classes, H hidden
units; a place is where a slice lies in its scan, 0 (first) to 1 (last).

Source: Ilse et al. (2018), Attention-based deep multiple instance learning, arXiv:1802.04712.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..predictions import Array, Integers, Predictions, as_binary

#: Hidden units: few, as people are few.
HIDDEN = 16
#: Waves of a slice's place: sines and cosines of one and of two half turns over the scan.
_TURNS = (1, 2)
#: Scores are this many times a sum of H gated units, so that they move as fast as logits do.
_SHARPNESS = 10.0


class GatedAttention(nn.Module):
    """Score of a slice, ``w . (tanh(V h) * sigmoid(U h))``; softmax over a scan gives weights.

    ``h`` are the slice's features, standardised within the slice, and its place as waves. It begins
    with a score of 0 everywhere, which is the mean over slices.

    Args:
        width: F.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.features = nn.Linear(width, 2 * HIDDEN)  # V and U, with their biases
        self.place = nn.Linear(2 * len(_TURNS), 2 * HIDDEN, bias=False)
        self.score = nn.Linear(HIDDEN, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, embedding: Tensor, place: Tensor) -> Tensor:
        """Return the scores ``(B,)`` of embeddings ``(B, F)`` at places ``(B,)``."""
        return self.score_of(standardised(embedding), place)

    def score_of(self, inputs: Tensor, place: Tensor) -> Tensor:
        """Return the scores ``(B,)`` of features ``(B, F)`` that are standardised already."""
        waves = place_waves(place.to(inputs.dtype))
        value, gate = (self.features(inputs) + self.place(waves)).chunk(2, dim=1)
        score: Tensor = self.score(torch.tanh(value) * torch.sigmoid(gate))[:, 0]
        return _SHARPNESS * score


def standardised(embedding: Tensor) -> Tensor:
    """Return embeddings ``(B, F)``, each with mean 0 and variance 1 over its features."""
    return functional.layer_norm(embedding, embedding.shape[1:])


def place_waves(place: Tensor) -> Tensor:
    """Return ``(B, 4)`` sines and cosines of places ``(B,)``."""
    angles = [math.pi * turns * place for turns in _TURNS]
    return torch.stack([wave(one) for one in angles for wave in (torch.sin, torch.cos)], dim=1)


@dataclass(frozen=True)
class Bags:
    """Slices of a batch, bag after bag: each some slices of one scan.

    Attributes:
        sizes: Slices in each of G bags.
        place: ``(B,)`` of every slice.
    """

    sizes: tuple[int, ...]
    place: Tensor

    def first(self) -> list[int]:
        """Return the row of each bag's first slice."""
        return [sum(self.sizes[:number]) for number in range(len(self.sizes))]


def pooled(logits: Tensor, scores: Tensor | None, bags: Bags) -> Tensor:
    """Return the logits ``(G, K)`` of bags, for training.

    Args:
        logits: ``(B, K)`` of the slices.
        scores: ``(B,)``; None takes the slice with the largest log-odds of "demented".
        bags: Which slices belong together.
    """
    sizes = list(bags.sizes)
    parts = torch.split(logits, sizes)
    if scores is None:
        odds = torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]
        best = [int(part.argmax()) for part in torch.split(odds, sizes)]
        return torch.stack([part[one] for part, one in zip(parts, best, strict=True)])
    weights = [part.softmax(dim=0) for part in torch.split(scores, sizes)]
    return torch.stack([one @ part for one, part in zip(weights, parts, strict=True)])


def slice_weights(
    pool: str, logits: Array, scans: Integers, people: Integers, scores: Array | None = None
) -> Array | None:
    """Return what each slice weighs in its person's answer: shares, summing to 1 per person.

    Args:
        pool: ``"mean"``, ``"max"`` or ``"attention"``.
        logits: (n, K).
        scans: (n,) number of each row's scan, 0 to S - 1.
        people: (n,) number of each row's person, from 0.
        scores: (n,) of `GatedAttention`; needed for ``"attention"`` only.

    Returns:
        (n,), or None of the mean: all the same.
    """
    if pool == "mean":
        return None
    count = int(scans.max()) + 1
    if pool == "max":
        rows = Predictions(np.zeros(len(logits), np.int64), logits, scans)
        odds = as_binary(rows).logits
        order = np.lexsort((odds[:, 0] - odds[:, 1], scans))  # the first of equals
        weights = np.zeros(len(logits))
        weights[order[np.unique(scans[order], return_index=True)[1]]] = 1
    else:
        assert scores is not None
        largest = np.full(count, -np.inf)
        np.maximum.at(largest, scans, scores)
        raised = np.exp(scores - largest[scans])
        weights = raised / np.bincount(scans, raised, minlength=count)[scans]
    person_of_scan = np.zeros(count, dtype=np.int64)
    person_of_scan[scans] = people
    return np.asarray(weights / np.bincount(person_of_scan)[people])


def slice_places(scans: Integers, numbers: Sequence[int | None] | NDArray[np.float64]) -> Array:
    """Return the place (n,) of each slice in its scan, 0 to 1; .5 of a slice that is alone.

    Args:
        scans: (n,) number of each row's scan, from 0.
        numbers: (n,) slice numbers; where one of a scan is missing, its slices are taken to lie
            in the order given.
    """
    found = np.array([np.nan if one is None else one for one in numbers], dtype=np.float64)
    count = int(scans.max()) + 1
    missing = np.bincount(scans, np.isnan(found), minlength=count)[scans] > 0
    found[missing] = np.flatnonzero(missing)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, scans, found)
    np.maximum.at(high, scans, found)
    span = (high - low)[scans]
    middle = np.full(len(found), 0.5)
    return np.asarray(np.divide(found - low[scans], span, out=middle, where=span > 0))
