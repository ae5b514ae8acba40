"""Whom maps are made of: each session of the test people, what was said of it, and its map.

Arrays: images ``(n, 1, H, W)`` or ``(1, 1, X, Y, Z)`` float in [0, 1], the n slices or the volume
of one session; maps ``(n, H, W)`` or ``(1, X, Y, Z)`` on their grid; I J K voxels of the stored
scan; K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cohorts.registry import COHORT_REGISTRY
from ..data.dataset import MriDataset
from ..data.sessions import Session, images_of, make_session, placed, plane_of, rows_by_session
from ..errors import ConfigError
from ..evaluation.open_checkpoint import Trained
from ..manifest import PEOPLE_UNKNOWN
from ..predictions import per_person
from ..preprocessing.slices import PLANES
from ..preprocessing.space.grid import PlacedVolume, to_scan_grid
from ..training.logits import inference_batch, predict
from .attribution import DEMENTED, Attribution, in_steps, target_scores


@dataclass(frozen=True, eq=False)
class Case(Session):
    """One session of one person, and what the model said of the person.

    Attributes:
        truth: True class.
        predicted: Most probable class of the person, over all their sessions.
        probabilities: (K,) calibrated, of the person.
        target: What is explained: a class, or `DEMENTED`.
        scores: (n,) how much each image speaks for the target.
        weights: (n,) what each image weighs in the person's answer; None: all the same.
        model: Number of the model that said so, where several explain other people each.
    """

    truth: int
    predicted: int
    probabilities: NDArray[np.float64]
    target: int | str
    scores: NDArray[np.float64]
    weights: NDArray[np.float64] | None = None
    model: int = 0

    @property
    def correct(self) -> bool:
        """Whether the person is predicted right."""
        return self.truth == self.predicted

    @property
    def probability(self) -> float:
        """Calibrated probability of what is explained, 0 to 1."""
        if isinstance(self.target, str):
            return float(self.probabilities[1:].sum())
        return float(self.probabilities[self.target])


def find_cases(trained: Trained, device: torch.device, target: str) -> list[Case]:
    """Score every image of the test people, and settle what is explained of each person.

    Args:
        trained: Model, on `device`, and test people.
        device: Where to compute.
        target: ``"predicted"``, ``"true"``, ``"demented"`` or the name of a class.

    Returns:
        One case per session, by true class and name.

    Raises:
        ConfigError: The checkpoint has no class of that name.
    """
    data, classes = trained.data, trained.data.scheme.classes
    if target not in ("predicted", "true", DEMENTED, *classes):
        raise ConfigError(
            f"--target {target}: this checkpoint has no such class",
            hint=f"one of: {', '.join(('predicted', 'true', DEMENTED, *classes))}",
        )
    images = predict(trained.model, data, device)
    people = trained.model.calibrated(per_person(images))
    number = {subject: i for i, subject in enumerate(people.subjects)}
    cases = []
    for subject, session, order in rows_by_session(data):
        at = number[subject]
        truth, predicted = int(people.labels[at]), int(people.predicted[at])
        named: dict[str, int | str] = {"predicted": predicted, "true": truth, DEMENTED: DEMENTED}
        wanted = named[target] if target in named else classes.index(target)
        scores = _scores(images.logits[order], wanted)
        if _without_height(data):  # such slices make no stack
            order, scores = order[[scores.argmax()]], scores[[scores.argmax()]]
        cases.append(
            Case(
                **vars(make_session(data, subject, session, order)),
                truth=truth,
                predicted=predicted,
                probabilities=people.probabilities[at],
                target=wanted,
                scores=scores,
                weights=None if images.weights is None else images.weights[order],
            )
        )
    return sorted(cases, key=lambda case: (case.truth, case.name))


def _without_height(data: MriDataset) -> bool:
    """Return whether slices are pictures that name nobody, so that none has a place in a head.

    Slices that were cut from a volume have theirs, whoever was scanned.
    """
    cohort = str(data.settings.get("cohort", ""))
    cut = cohort in list(COHORT_REGISTRY) and COHORT_REGISTRY.get(cohort).layout == "volume"
    return PEOPLE_UNKNOWN in data.manifest.stamps and not cut


def _scores(logits: NDArray[np.float64], wanted: int | str) -> NDArray[np.float64]:
    """Return how much each image speaks for what is explained, (n,)."""
    each = wanted if isinstance(wanted, str) else [wanted] * len(logits)
    scores: NDArray[np.float64] = target_scores(torch.from_numpy(logits), each).numpy()
    return scores


@dataclass(frozen=True, eq=False)
class CaseMap:
    """The map of one case, in memory.

    Attributes:
        case: Whose.
        images: Of the case.
        image: The same, placed.
        volume: The map, placed, in shares of its maximum.
        scan: ``(I, J, K)`` the same on the grid of the stored scan.
        strength: That maximum, in units of the explained score.
    """

    case: Case
    images: Tensor
    image: PlacedVolume
    volume: PlacedVolume
    scan: NDArray[np.float32]
    strength: float


def make_map(attribution: Attribution, data: MriDataset, case: Case) -> CaseMap:
    """Explain the images of a case, and lay the map where they lie."""
    images = images_of(data, case)
    shares, strength = in_steps(map_of(attribution, images, case))
    volume = placed(shares, case)
    image = placed(images[:, 0].numpy(), case)
    return CaseMap(case, images, image, volume, to_scan_grid(volume), strength)


def map_of(attribution: Attribution, images: Tensor, case: Case) -> NDArray[np.float32]:
    """Return the maps of a case's images, >= 0, comparable in strength; batch by batch."""
    device = next(attribution.model.parameters()).device
    size = inference_batch("2d" if images.ndim == 4 else "3d", device)
    return np.concatenate(
        [attribution.raw_maps(part, case.target) for part in torch.split(images, size)]
    )


def cell_of(attribution: Attribution, images: Tensor, case: Case) -> tuple[float, ...]:
    """Return how fine the placed map is along X, Y and Z, in its voxels.

    Across slices that is the distance between those explained.
    """
    edges = attribution.resolution(images.shape[2:])
    if not case.slices:
        return edges
    cut, rows, columns = PLANES[plane_of(case.record)]
    gap = float(np.diff(sorted(case.slices)).mean()) if len(case.slices) > 1 else 1.0
    by_axis = {cut: gap, rows: edges[0], columns: edges[1]}
    return tuple(by_axis[axis] for axis in range(3))
