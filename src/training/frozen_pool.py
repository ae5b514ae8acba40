"""What slices weigh on a frozen backbone: learnt by gated attention, or all on the largest.

Which slices tell a person's class is asked of heads that never saw the person: each is fitted to
the mean features of other people, and scores the slices of those it left out. Attention learns from
these scores which slices to heed, from a few principal components of the features and the slice's
place. The head is then fitted again, to features weighted so. A head's scores of the people it was
fitted to would not do: with more features than people they are right in every slice.

`max` keeps the head of mean features, and moves its threshold: the most demented of many slices
looks demented in everyone.

Arrays: n slices of P people in S scans; F features, R components, H hidden units, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from ..models.classifier import OrdinalHead
from ..models.pooling import GatedAttention, slice_weights, standardised
from ..predictions import Predictions, as_binary
from .frozen_people import People
from .optimisation import make_loss
from .penalty_path import PenaltyPath, inner_folds

#: Penalties of the squared weights of the attention that are tried.
PENALTIES = (1.0, 0.1)
#: Principal components of the features that attention sees.
COMPONENTS = 16
_STEPS = 40  # of L-BFGS


class SliceWeigher:
    """Finds what the slices of some people weigh.

    Args:
        people: Everyone whose label may be looked at; with scans and places.
        learnt: ``(P,)`` classes that heads learn.
        weights: Of these classes.
        loss: ``ce``, ``focal`` or ``ordinal``.
        strength: Penalty of the heads that score the slices of people they left out.
    """

    def __init__(
        self,
        people: People,
        learnt: NDArray[np.int64],
        weights: NDArray[np.float64],
        loss: str,
        strength: float,
    ) -> None:
        self.people, self.learnt, self.weights, self.loss = people, learnt, weights, loss
        self.strength, self.means = strength, people.means
        self._said: dict[tuple[bytes, int], NDArray[np.float64]] = {}  # the same for all penalties
        assert people.scans is not None
        self.scans = people.scans

    def weigh(
        self, chosen: NDArray[np.int64], penalty: float, seed: int
    ) -> tuple[People, dict[str, Tensor]]:
        """Return everyone with the weights that some people teach, and the attention's state.

        Args:
            chosen: Whose labels may be looked at.
            penalty: Of the attention's weights.
            seed: Of the folds that take turns in scoring, and of the first weights.
        """
        key = chosen.tobytes(), seed
        if key not in self._said:
            self._said[key] = self._said_of_others(chosen, seed)
        said = self._said[key]
        attention = self._attention(chosen, said, penalty, seed)
        with torch.no_grad():
            scores = attention.score_of(self._components, self._places).numpy()
        weights = slice_weights("attention", said, self.scans, self.people.person, scores)
        return replace(self.people, weights=weights), self._for_features(attention).state_dict()

    def _said_of_others(self, chosen: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
        """Return logits (n, K) of the chosen people's slices by heads that left the person out.

        Those of other people are 0: their labels may not be looked at, and nobody asks.
        """
        said = np.zeros((len(self.people.images), len(self.weights)))
        for fit, left in inner_folds(self.learnt[chosen], seed):
            some = chosen[fit]
            path = PenaltyPath(self.means[some], self.learnt[some], self.weights, self.loss)
            (head,) = path.heads([self.strength])
            rows = np.flatnonzero(np.isin(self.people.person, chosen[left]))
            with torch.no_grad():
                said[rows] = head(torch.from_numpy(self.people.images[rows]).double()).numpy()
        return said

    def _attention(
        self, chosen: NDArray[np.int64], said: NDArray[np.float64], penalty: float, seed: int
    ) -> GatedAttention:
        """Return attention over components, under which pooled logits fit the labels best.

        The logits may be scaled and shifted on the way, as heads of strong penalties are timid.
        """
        rows = np.flatnonzero(np.isin(self.people.person, chosen))
        scan = torch.from_numpy(np.unique(self.scans[rows], return_inverse=True)[1])
        person = torch.from_numpy(np.searchsorted(chosen, self.people.person[rows]))
        person_of_scan = torch.zeros(int(scan.max()) + 1, dtype=torch.long)
        person_of_scan[scan] = person
        inputs, places = self._components[rows], self._places[rows]
        logits, labels = torch.from_numpy(said[rows]), torch.from_numpy(self.learnt[chosen])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            attention = GatedAttention(inputs.shape[1]).double()
        scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
        shift = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
        loss_of = make_loss(self.loss, torch.tensor(self.weights))
        learnt = [one for one in attention.parameters() if one.ndim > 1]
        solver = torch.optim.LBFGS(
            [*attention.parameters(), scale, shift], max_iter=_STEPS, tolerance_grad=1e-6,
            tolerance_change=1e-9, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def objective() -> Tensor:
            solver.zero_grad()
            weight = _softmax(attention.score_of(inputs, places), scan)
            of_scans = _sum(weight[:, None] * logits, scan, len(person_of_scan))
            of_people = _sum(of_scans, person_of_scan, len(chosen))
            of_people = of_people / torch.bincount(person_of_scan)[:, None]
            value: Tensor = loss_of(of_people * scale.exp() + shift, labels)
            value = value + penalty / 2 * sum(one.square().sum() for one in learnt)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        solver.step(objective)  # type: ignore[no-untyped-call]
        return attention

    def _for_features(self, attention: GatedAttention) -> GatedAttention:
        """Return attention over components as the same over features."""
        turn, centre = self._turn
        whole = GatedAttention(self.people.images.shape[1])
        weight = attention.features.weight.detach() @ turn
        state = attention.state_dict() | {
            "features.weight": weight,
            "features.bias": attention.features.bias.detach() - weight @ centre,
        }
        whole.load_state_dict(state)
        return whole

    @cached_property
    def _turn(self) -> tuple[Tensor, Tensor]:
        """Standardised features -> components: (R, F), and the mean (F,) that is taken off first.

        Components have the same variance over the slices of everyone, and 1 together: the penalty
        then holds down what is learnt from many features more than what is learnt from the place.
        They know no labels.
        """
        rows = self._standardised
        centre = rows.mean(dim=0)
        centred = rows - centre
        count = min(COMPONENTS, *centred.shape)
        width = centred.shape[1]
        values, vectors = eigh(
            (centred.T @ centred / len(centred)).numpy(), subset_by_index=(width - count, width - 1)
        )
        kept = values > 1e-6 * values[-1]
        turn = (vectors[:, kept] / np.sqrt(values[kept] * kept.sum())).T
        return torch.from_numpy(turn).double(), centre.double()

    @cached_property
    def _standardised(self) -> Tensor:
        return standardised(torch.from_numpy(self.people.images))

    @cached_property
    def _components(self) -> Tensor:
        turn, centre = self._turn
        return (self._standardised.double() - centre) @ turn.T

    @cached_property
    def _places(self) -> Tensor:
        assert self.people.places is not None
        return torch.from_numpy(self.people.places)


def levelled(
    head: nn.Module,
    people: People,
    chosen: NDArray[np.int64],
    learnt: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> nn.Module:
    """Move a head's log-odds of "demented" to where the pooled answers on people fit best.

    Args:
        head: Linear or ordinal, of mean features; changed where people are pooled by ``max``.
        people: All of them.
        chosen: Whose labels may be looked at.
        learnt: ``(P,)`` classes that the head learnt.
        weights: Of these classes.
    """
    if people.pool != "max":
        return head
    demented = (learnt[chosen] > 0).astype(np.int64)
    said = as_binary(Predictions(demented, people.mean_logits(head, chosen), chosen)).logits
    odds, weight = said[:, 1] - said[:, 0], weights[learnt[chosen]]
    sign = 2 * demented - 1

    def loss(shift: float) -> float:
        return float(weight @ np.logaddexp(0, -sign * (odds + shift)))

    most = float(np.abs(odds).max()) + 10
    shift = float(minimize_scalar(loss, bounds=(-most, most), method="bounded").x)
    with torch.no_grad():
        if isinstance(head, OrdinalHead):
            head.first.sub_(shift)
        else:
            head.get_parameter("bias")[1:].add_(shift)
    return head


def _softmax(scores: Tensor, group: Tensor) -> Tensor:
    """Return the softmax (n,) of scores (n,) within each group."""
    count = int(group.max()) + 1
    largest = scores.new_full((count,), -torch.inf).scatter_reduce(0, group, scores, "amax")
    raised = torch.exp(scores - largest.detach()[group])
    return raised / _sum(raised, group, count)[group]


def _sum(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Return the sums over each of `count` groups."""
    return values.new_zeros((count, *values.shape[1:])).index_add(0, group, values)
