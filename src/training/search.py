"""Settings chosen by a random search that sees training and validation people only.

The first candidate are the settings as they were asked for; the others are drawn. Each is trained,
and validation people choose, as they choose an epoch: the highest balanced accuracy, and among
equals the lowest log-loss. Test people play no part, so the score of what was chosen is that of the
whole procedure.

Source: Bergstra and Bengio (2012), https://jmlr.org/papers/v13/bergstra12a.html.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np

from ..config import RunConfig
from ..errors import ConfigError
from ..predictions import Predictions
from ..runtime import progress
from .optimisation import DEFAULT_LR

logger = logging.getLogger(__name__)
#: Factors of the usual learning rate between which it is drawn, evenly in its logarithm.
LR_FACTORS = (0.1, 4.0)
WEIGHT_DECAYS = (1e-4, 0.3)
DROPOUTS = (0.0, 0.6)
#: Losses of the head of a frozen backbone. Its penalty is chosen inside, without epochs.
HEAD_LOSSES = ("ordinal", "ce")
#: How slices become one answer, of images that have several.
DRAWN_POOLS = ("mean", "attention")


def search(
    config: RunConfig,
    fit: Callable[[RunConfig], Predictions],
    seed: int,
    tried: Sequence[dict[str, Any]] = (),
    kept: Callable[[list[dict[str, Any]]], object] = lambda tried: None,
    *,
    slices: bool = False,
) -> tuple[RunConfig, list[dict[str, Any]]]:
    """Train every candidate and return the best one's settings.

    Args:
        config: As it was asked for, with ``train.search`` candidates.
        fit: Trains with a config, and returns what the model says of validation people.
        seed: Of the draws.
        tried: What an earlier call of the same search had tried; as far as these are the same
            candidates, it is not trained again.
        kept: Called with all that was tried, after each candidate.
        slices: Whether a scan has several images, so that `DRAWN_POOLS` differ.

    Returns:
        The settings to train with, and what was tried: ``settings``, ``balanced_accuracy``,
        ``log_loss``, ``n_people`` and whether it was ``chosen``.
    """
    drawn = list(candidates(config, seed, slices=slices))
    same = takewhile(lambda one: one[0]["settings"] == settings_of(one[1]), zip(tried, drawn))  # noqa: B905
    found = [one for one, _ in same]
    if len(found) < len(tried):
        logger.warning("what an older version tried were other candidates: they are trained again")
    for candidate in progress(drawn[len(found) :], desc="search"):
        said = fit(candidate)
        found.append(
            {
                "settings": settings_of(candidate),
                "balanced_accuracy": said.balanced_accuracy,
                "log_loss": said.log_loss,
                "n_people": said.n_people,
            }
        )
        kept(found)
    ranks = [(one["balanced_accuracy"], -one["log_loss"]) for one in found]
    best = ranks.index(max(ranks))
    logger.info(
        "search: %d candidates; chosen: %s (balanced accuracy of validation people %.3f)",
        *(len(found), in_words(found[best]["settings"]), found[best]["balanced_accuracy"]),
    )
    return drawn[best], [one | {"chosen": place == best} for place, one in enumerate(found)]


def candidates(config: RunConfig, seed: int, *, slices: bool = False) -> Iterator[RunConfig]:
    """Yield the config as it is, then drawn ones; none of them searches again.

    Args:
        config: As `search`.
        seed: As `search`.
        slices: As `search`.

    Raises:
        ConfigError: There are fewer different candidates than were asked for.
    """
    asked = replace(config, train=replace(config.train, search=None))
    count = (config.train.search or 1) - 1
    yield asked
    rng = np.random.default_rng(seed)
    pools = _pools(config) if slices else (config.model.pool,)
    if config.model.freeze_backbone:
        yield from _heads(asked, count, rng, pools)
        return
    usual = _usual_lr(config)
    draw_pool = np.random.default_rng([seed, 1])  # of its own: other draws are as without pools
    for _ in range(count):
        train = replace(
            asked.train,
            lr=float(f"{usual * _log_uniform(rng, *LR_FACTORS):.3g}"),
            weight_decay=float(f"{_log_uniform(rng, *WEIGHT_DECAYS):.3g}"),
        )
        dropout = round(float(rng.uniform(*DROPOUTS)), 2)
        pool = pools[int(draw_pool.integers(len(pools)))]
        yield replace(asked, train=train, model=replace(asked.model, dropout=dropout, pool=pool))


def _pools(config: RunConfig) -> tuple[str, ...]:
    """Return how slices may become one answer: what a run of `config` could be asked for.

    A network that learns weighs the slices of a person in one part of a batch, and for the stage
    alone.
    """
    if config.data.model_dim == "3d":
        return (config.model.pool,)
    learns = not config.model.freeze_backbone
    if learns and (config.train.beside or config.train.accumulate > 1):
        return (config.model.pool,)
    return DRAWN_POOLS


def _heads(
    asked: RunConfig, count: int, rng: np.random.Generator, pools: Sequence[str]
) -> Iterator[RunConfig]:
    """Yield other heads of a frozen backbone, in a drawn order."""
    others = [
        replace(asked, train=replace(asked.train, loss=loss), model=replace(asked.model, pool=pool))
        for pool in pools
        for loss in HEAD_LOSSES
        if (loss, pool) != (asked.loss, asked.model.pool)
    ]
    if count > len(others):
        raise ConfigError(
            f"--search {count + 1}: of a frozen backbone there are {len(others) + 1} candidates",
            hint=f"--search {len(others) + 1}; the penalty of its head is chosen in any case",
        )
    for place in rng.permutation(len(others))[:count]:
        yield others[place]


def _usual_lr(config: RunConfig) -> float:
    """Return the peak learning rate that a training takes by itself, or that was asked for."""
    weights = config.model.weights
    scratch = weights == "none" or (weights is None and config.data.model_dim == "3d")
    return config.train.lr or DEFAULT_LR["scratch" if scratch else "pretrained"]


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Return the values that a search may change."""
    found: dict[str, Any] = {"loss": config.loss}
    if config.data.model_dim == "2d":
        found["pool"] = config.model.pool
    if not config.model.freeze_backbone:
        found |= {
            "lr": config.train.lr,
            "weight_decay": config.train.weight_decay,
            "dropout": config.model.dropout,
        }
    return found


def in_words(settings: dict[str, Any]) -> str:
    """Return settings as a person reads them: ``lr 0.0003, dropout 0.2``."""
    return ", ".join(
        f"{name} {'as usual' if value is None else value}" for name, value in settings.items()
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
