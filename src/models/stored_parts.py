"""What a checkpoint or a stopped training holds, checked before anything is made of it.

A file of tensors that opens may still be another's or edited: a tensor may be a list, a state of
the optimiser of another size, which ends the process where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..config.tasks import BESIDE
from ..config.training import POOLS
from ..files import LARGEST_WHOLE
from .weight_card import HASH, WeightCard

#: What an optimiser keeps of a parameter as one number; the rest has the parameter's shape.
_ONE_NUMBER = ("step",)
#: Settings of a group without which no step can be made.
_NEEDED = {"lr", "betas", "eps", "weight_decay"}


def check_tensors(state: Any, own: Mapping[str, Tensor] | None = None) -> None:
    """Check that a state dict is one of finite tensors.

    Args:
        state: As it was stored.
        own: The state dict that it shall fill: the same names, shapes and types; None for any.

    Raises:
        ValueError: It is not; the message names the first tensor.
    """
    if not isinstance(state, Mapping) or not state:
        raise ValueError("its weights are no dictionary of tensors")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{name!r:.60} is no tensor")
    if own is not None and own.keys() != state.keys():
        raise ValueError(f"{min(own.keys() ^ state.keys())} is a tensor too many or too few")
    for name, value in state.items():
        if own is not None and (value.shape, value.dtype) != (own[name].shape, own[name].dtype):
            raise ValueError(f"{name} has another shape or type")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} is not finite")


def check_optimizer(state: Any, optimizer: torch.optim.Optimizer) -> None:
    """Check that a state is one of this optimiser: fused AdamW reads what lies behind a short one.

    Args:
        state: As it was stored.
        optimizer: That shall take it.

    Raises:
        ValueError: It is not.
    """
    own = optimizer.state_dict()
    if not isinstance(state, Mapping) or not {"state", "param_groups"} <= state.keys():
        raise ValueError("the optimiser's state is none")
    _check_groups(state["param_groups"], own["param_groups"])
    shapes = [p for group in optimizer.param_groups for p in group["params"]]
    parts = state["state"]
    if not isinstance(parts, Mapping) or set(parts) - set(range(len(shapes))):
        raise ValueError("the optimiser's state is of other weights")
    if parts and len(parts) < len(shapes):
        raise ValueError("the optimiser's state lacks some weights")
    for number, kept in parts.items():
        _check_kept(kept, shapes[number])


def _check_groups(groups: Any, own: list[dict[str, Any]]) -> None:
    if not isinstance(groups, list) or len(groups) != len(own):
        raise ValueError("the optimiser's groups are others")
    for stored, group in zip(groups, own, strict=True):
        if not isinstance(stored, Mapping) or stored.get("params") != group["params"]:
            raise ValueError("the optimiser's groups are of other weights")
        if not stored.keys() >= _NEEDED:
            raise ValueError("a group of the optimiser lacks a setting")
        for name, value in group.items():
            # All but the learning rate, which the schedule moves, is as it was made; another
            # version of torch may have other names.
            if name in stored and name != "lr" and stored[name] != value:
                raise ValueError(f"the optimiser's {name} is another")
        require_finite(stored.get("lr"), "the learning rate")


def _check_kept(kept: Any, parameter: Tensor) -> None:
    if not isinstance(kept, Mapping) or set(kept) != {"step", "exp_avg", "exp_avg_sq"}:
        raise ValueError("the optimiser's state of a weight is not AdamW's")
    for name, value in kept.items():
        shape = torch.Size() if name in _ONE_NUMBER else parameter.shape
        if not isinstance(value, Tensor) or value.shape != shape or value.is_sparse:
            raise ValueError(f"the optimiser's {name} has another shape")
        wanted = torch.float32 if name in _ONE_NUMBER else parameter.dtype
        if value.dtype != wanted or not bool(torch.isfinite(value).all()):
            raise ValueError(f"the optimiser's {name} is not finite, or of another type")
        if name != "exp_avg" and bool((value < 0).any()):
            raise ValueError(f"the optimiser's {name} is under 0")


def require_finite(value: Any, name: str) -> float:
    """Return a number that is finite.

    Raises:
        ValueError: It is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) < 1e300:
        raise ValueError(f"{name} is no finite number")
    return float(value)


def check_parts(content: Mapping[str, Any]) -> None:
    """Check lists, counts and names of a checkpoint whose parts have their types.

    Raises:
        ValueError: A part cannot be what training wrote.
    """
    classes, counts = content["classes"], content["train_counts"]
    if not all(isinstance(name, str) and name for name in classes) or len(classes) < 2:
        raise ValueError("its classes are no names")
    if len(set(classes)) < len(classes):
        raise ValueError("two of its classes have the same name")
    whole = all(type(count) is int and 0 <= count < LARGEST_WHOLE for count in counts)
    if len(counts) != len(classes) or not whole:
        raise ValueError("train_counts is not a number of people for each class")
    if not all(isinstance(name, str) and HASH.fullmatch(name) for name in content["subjects"]):
        raise ValueError("subjects are no hashes")
    if type(content.get("epoch")) is not int or content["epoch"] < 0:
        raise ValueError("its epoch is no whole number")
    parts = ("data", "model", "train", "preprocess")
    if not all(isinstance(content["config"].get(part, {}), dict) for part in parts):
        raise ValueError("its settings are none")
    made = content["preprocessing"].get("preprocess")
    if made is not None and not isinstance(made, dict):
        raise ValueError("its preprocessing is none")
    stamps = content.get("stamps", [])
    if not isinstance(stamps, list) or not all(isinstance(one, str) for one in stamps):
        raise ValueError("its stamps are no texts")
    if content["dim"] not in ("2d", "3d"):
        raise ValueError("its images are neither slices nor volumes")
    _check_pool(content.get("pool", "mean"), content["dim"])  # before others, there was the mean
    _check_network(content.get("network"))
    _check_seen(content.get("learnt_from"))
    _check_tasks(content.get("tasks"))
    check_tensors(content["model"])


def _check_seen(card: Any) -> None:
    """Check what is said of whom the first weights had seen, if it is."""
    if card is None:
        return
    try:
        WeightCard.from_dict(card)
    except ValueError as error:
        raise ValueError(f"of whom its first weights had seen, {error}") from None


def _check_pool(pool: Any, dim: str) -> None:
    """Check how slices become one answer."""
    if not isinstance(pool, str) or pool not in POOLS:
        raise ValueError(f"its pool {pool!r:.60} is none of {', '.join(POOLS)}")
    if pool != "mean" and dim == "3d":
        raise ValueError(f"its pool {pool} weighs slices, and its images are volumes")


def _check_tasks(tasks: Any) -> None:
    """Check the names of tasks beside the stage; older checkpoints have none."""
    if tasks is None:
        return
    if not isinstance(tasks, list) or tasks != [name for name in BESIDE if name in tasks]:
        raise ValueError(f"its tasks are none of {', '.join(BESIDE)}, or in another order")


def _check_network(spec: Any) -> None:
    """Check how a network of the user's own is wrapped (`wrap`), if it is one."""
    if spec is None:
        return
    numbers = (int, float)
    if not isinstance(spec, dict) or not {"channels", "mean", "std", "size"} <= spec.keys():
        raise ValueError("its own network is not described")
    for name in ("made_by", "target_layer"):
        if not isinstance(spec.get(name), str | None):
            raise ValueError(f"its network's {name} is no text")
    lists = [spec[name] for name in ("mean", "std", "size")]
    if not all(isinstance(one, list) and len(one) <= 3 for one in lists):
        raise ValueError("its network's mean, std or size is no short list")
    if not all(isinstance(value, numbers) for one in lists for value in one):
        raise ValueError("its network's mean, std or size holds no numbers")
