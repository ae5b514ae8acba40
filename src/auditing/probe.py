"""The probe: how often does the nearest training image give the class when labels mean nothing?

Labels are shuffled among people, on both sides at once, so that no anatomy goes with them. A rule
that names the class of the nearest training image is then right by chance, unless the nearest image
is of the same person: what it scores above chance is memory of people.

After Yagis et al. (2021), doi:10.1038/s41598-021-01681-w, who trained networks on random labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from ..labels import LABELS
from .verdicts import FAIL, NOT_KNOWN, PASS, Check

SHUFFLES = 100
#: Above chance: by a point at least, and in one of 1,000 honest splits.
EXCESS, P_ABOVE = 0.01, 0.001


def check_probe(rows: pd.DataFrame, query: Any, partner: Any, seed: int = 0) -> Check:
    """Score the nearest neighbour with true labels and with labels shuffled among units.

    Args:
        rows: ``label`` and ``unit`` of every image.
        query: (Q,) numbers of test images.
        partner: (Q,) the training image nearest to each.
        seed: Seed of the shuffles.
    """
    name = "probe"
    label = rows["label"].map({stage: i for i, stage in enumerate(LABELS)})
    rated = label.notna().to_numpy()
    query, partner = np.asarray(query, np.int64), np.asarray(partner, np.int64)
    both = rated[query] & rated[partner]
    query, partner = query[both], partner[both]
    if not len(query):
        return Check(name, NOT_KNOWN, "there is no test image with a training image to compare")
    unit, of_unit = _units(rows["unit"].to_numpy(), label.to_numpy(dtype=float))
    used = np.unique(unit[np.concatenate([query, partner])])
    counts = np.bincount(of_unit[used])
    if (counts > 0).sum() < 2:
        return Check(name, NOT_KNOWN, "there is one class only")
    same = unit[query] == unit[partner]
    chance = float((counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1)))
    shuffled = _shuffled(unit[query], unit[partner], of_unit, used, seed)
    mean, spread = float(shuffled.mean()), float(shuffled.std(ddof=1))
    p = float(norm.sf((mean - chance) / max(spread / np.sqrt(len(shuffled)), 1e-12)))
    low, high = np.percentile(shuffled, [2.5, 97.5])
    numbers = {
        "test_images": len(query),
        "units": len(used),
        "shuffles": len(shuffled),
        "accuracy_true_labels": float(
            (label.to_numpy()[query] == label.to_numpy()[partner]).mean()
        ),
        "accuracy_shuffled": {"value": mean, "low": float(low), "high": float(high)},
        "chance": chance,
        "p": p,
        "nearest_is_same_unit": float(same.mean()),
    }
    above = p < P_ABOVE and mean - chance >= EXCESS
    who = "people" if rows["known"].all() else "clusters of alike images"
    said = (
        f"labels shuffled among {len(used)} {who}: the nearest training image is right for "
        f"{100 * mean:.1f} % of test images, chance is {100 * chance:.1f} %"
    )
    if above:
        said += f"; it is of the same head for {100 * same.mean():.1f} %"
    return Check(name, FAIL if above else PASS, said, numbers)


def _units(
    unit: npt.NDArray[Any], label: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the number of each image's unit, and the most frequent label of each unit."""
    numbers, names = pd.factorize(unit)
    votes = np.zeros((len(names), len(LABELS)), dtype=np.int64)
    rated = np.isfinite(label)
    np.add.at(votes, (numbers[rated], label[rated].astype(int)), 1)
    return np.asarray(numbers, np.int64), votes.argmax(axis=1)


def _shuffled(
    query: npt.NDArray[np.int64],
    partner: npt.NDArray[np.int64],
    label: npt.NDArray[np.int64],
    used: npt.NDArray[np.int64],
    seed: int,
) -> npt.NDArray[np.float64]:
    """Return the accuracy of each shuffle; neighbours stay, so only labels are drawn anew."""
    rng = np.random.default_rng(seed)
    accuracy = np.zeros(SHUFFLES)
    drawn = label.copy()
    for number in range(SHUFFLES):
        drawn[used] = rng.permutation(label[used])
        accuracy[number] = (drawn[query] == drawn[partner]).mean()
    return accuracy
