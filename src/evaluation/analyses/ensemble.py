"""Does the network add anything to what needs none? The increment, for the image.

The rivals of the image and the network answer together: the mean of their calibrated
log-probabilities, each with the same weight. Beside it stands the mean of the rivals alone, on the
same people. A weighting that is learnt did not help on few hundred people, so none is.

Rows are people, or people in each repeat; ``K`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...data.splits import Division
from ...errors import counted
from ...models.calibration import fit_calibration
from ...predictions import Predictions, take_rows
from ..metrics.scores import METRICS, score
from ..metrics.significance import paired_bootstrap
from .increment import two_decimals
from .rivals import RIVALS, deal, rival_predictions

#: Rivals of the image that answer beside the network: the shares of fluid, and where tissue is.
MEMBERS = ("dark_voxels", "tissue_maps")
COMPARED = ("balanced_accuracy", "macro_auc", "auc_demented")
_OF_SENTENCE = "macro_auc"


def ensemble(
    network: Predictions,
    rivals: Mapping[str, Predictions],
    covariates: Mapping[str, pd.DataFrame],
    labels: pd.Series,
    divisions: Sequence[Division],
    classes: Sequence[str],
    train_counts: Sequence[int],
    n_bootstrap: int = 2000,
    seed: int = 0,
    site: pd.Series | None = None,
) -> dict[str, Any]:
    """Compare the mean of the rivals with the mean of rivals and network.

    A rival's temperature is fitted inside each division, to development people whom inner folds of
    them left out; the network's was, by validation people.

    Args:
        network: Calibrated answers.
        rivals: Name -> answers of the same people, of those that could be fitted.
        covariates: Name -> what the rival sees, indexed by subject.
        labels: Class index, indexed by subject.
        divisions: Development and test subjects of each fold, in the order of the rivals' rows.
        classes: K names, mildest first.
        train_counts: (K,) people of each class in training.
        n_bootstrap: Resamples of people.
        seed: Same seed, same intervals.
        site: As in `rival_predictions`.

    Returns:
        ``available``; if not, the ``reason``; else the ``members`` beside the network,
        ``n_people``, ``without`` and ``with`` (`COMPARED`, with intervals), ``difference``
        (with - without, with ``p``) and a ``sentence``.
    """
    members = [name for name in MEMBERS if name in rivals]
    if not members:
        return {"available": False, "reason": "no rival of the image could be fitted"}
    parts = [
        calibrated_rival(rivals[name], covariates[name], labels, divisions, site)
        for name in members
    ]
    without = _mean(parts)
    both = _mean([*parts, _in_order(network, without)])
    apart = paired_bootstrap(
        both, without, {name: METRICS[name] for name in COMPARED}, n_bootstrap, seed
    )
    found = {"without": without, "with": both}
    scored = {
        side: score(rows, classes, train_counts, n_bootstrap, seed)["metrics"]
        for side, rows in found.items()
    }
    titles = [rival.title for rival in RIVALS if rival.name in members]
    return {
        "available": True,
        "members": members,
        "n_people": both.n_people,
        **{side: {name: one[name] for name in COMPARED} for side, one in scored.items()},
        "difference": apart,
        "sentence": _sentence(titles, scored, apart[_OF_SENTENCE], both.n_people),
    }


def calibrated_rival(
    rows: Predictions,
    covariates: pd.DataFrame,
    labels: pd.Series,
    divisions: Sequence[Division],
    site: pd.Series | None = None,
) -> Predictions:
    """Return a rival's answers, each division's by a temperature of its development people."""
    logits, start = rows.logits.copy(), 0
    for division in divisions:
        own = slice(start, start + len(division.test))
        start = own.stop
        people = np.array(division.development)
        inner = _left_out(people, labels.loc[people].to_numpy(dtype=np.int64))
        if not inner:
            continue
        said = rival_predictions(covariates, labels, inner, rows.num_classes, site)
        fitted = fit_calibration(said, "temperature")
        logits[own] = fitted.apply(take_rows(rows, np.arange(own.start, own.stop))).logits
    return Predictions(rows.labels, logits, rows.subjects)


def _left_out(people: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> list[Division]:
    """Return inner divisions; a person whose class the rest lacks answers in none."""
    part = deal(y)
    found = []
    for fold in np.unique(part):
        rest = part != fold
        held = ~rest & np.isin(y, y[rest])
        if held.any() and rest.any():
            found.append(Division(tuple(people[rest]), tuple(people[held])))
    return found


def _mean(parts: Sequence[Predictions]) -> Predictions:
    """Return the mean of log-probabilities, row by row."""
    logits = np.mean([part.log_probabilities for part in parts], axis=0)
    return Predictions(parts[0].labels, logits, parts[0].subjects)


def _in_order(rows: Predictions, wanted: Predictions) -> Predictions:
    """Return rows in the order of others; a person's repeats stay in theirs."""
    place = pd.MultiIndex.from_arrays(_named(rows))
    return take_rows(rows, place.get_indexer(pd.MultiIndex.from_arrays(_named(wanted))))


def _named(rows: Predictions) -> list[Any]:
    names = pd.Series(rows.subjects.astype(str))
    return [names.to_numpy(), names.groupby(names).cumcount().to_numpy()]


def _sentence(
    titles: Sequence[str], scored: Mapping[str, Any], apart: Mapping[str, Any], n_people: int
) -> str:
    alone, both = (scored[side][_OF_SENTENCE]["value"] for side in ("without", "with"))
    told = f"{' and '.join(titles)} together"
    if alone is None or both is None or apart["low"] is None:
        return f"What the network adds to {told} cannot be estimated in these people."
    ends = f"({two_decimals(apart['low'])} to {two_decimals(apart['high'])})"
    gain = f"{two_decimals(apart['value'])} macro AUC {ends} in {counted(n_people, 'person')}"
    if apart["low"] > 0:
        return f"Beside {told} ({two_decimals(alone)}) the network adds {gain}."
    if apart["high"] < 0:
        return f"Beside {told} ({two_decimals(alone)}) the network takes away: {gain}."
    return f"Beside {told} ({two_decimals(alone)}) the network adds nothing that is shown: {gain}."
