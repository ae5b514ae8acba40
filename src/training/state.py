"""What a training run is at the end of an epoch: saved whole, resumed to the same bits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..config.own_files import in_short
from ..errors import CheckpointError
from ..files import LARGEST_WHOLE, write_json
from ..models.checkpoint import load_tensors, save_tensors
from ..models.stored_parts import check_optimizer, check_tensors, require_finite
from ..predictions import Predictions

logger = logging.getLogger(__name__)
LAST, HISTORY = "last.pth", "history.json"
#: What is told of an epoch of any network, and of one that learns the stage.
TASK_SERIES = ("epoch", "lr", "train_loss", "val_loss")
SERIES = (*TASK_SERIES, "val_balanced_accuracy", "val_accuracy")


class TrainState:
    """Network, optimiser, schedule, history and the best weights so far.

    Random numbers need no place here: every epoch draws from its own seed.

    Args:
        net: Network.
        optimizer: Of its weights.
        scheduler: Of the optimiser.
        series: `SERIES`, or `TASK_SERIES` of a network that does not learn the stage.

    Attributes:
        history: A list per name of `series`, and ``best_epoch`` (0 before the first).
        best: State dict of the best epoch on the CPU, or None before the first.
        kept: Whole epochs that are in the folder of the run.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: LambdaLR,
        series: tuple[str, ...] = SERIES,
    ) -> None:
        self.net, self.optimizer, self.scheduler = net, optimizer, scheduler
        self.series = series
        self.history: dict[str, Any] = {name: [] for name in series} | {"best_epoch": 0}
        self.best: dict[str, torch.Tensor] | None = None
        self.kept = 0

    @property
    def epoch(self) -> int:
        """Number of whole epochs done."""
        return len(self.history["epoch"])

    def row(self, loss: float, people: Predictions | float) -> dict[str, float]:
        """Return the next epoch's row of the history: a value per name of its series.

        Args:
            loss: Mean loss of the training images.
            people: What the network says of the stage of validation people now; of a network that
                does not learn it, the loss of its tasks.
        """
        row = {
            "epoch": self.epoch + 1,
            "lr": float(self.scheduler.get_last_lr()[0]),
            "train_loss": loss,
        }
        if not isinstance(people, Predictions):
            return row | {"val_loss": people}
        return row | {
            "val_loss": people.log_loss,
            "val_balanced_accuracy": people.balanced_accuracy,
            "val_accuracy": people.accuracy,
        }

    def record(self, row: dict[str, float]) -> bool:
        """Append an epoch; return whether it is the best, and keep its weights if so.

        Better is a higher balanced accuracy of validation people, where the stage is learnt; among
        equals, a lower loss.
        """
        best, better = self.history["best_epoch"], True
        if best:
            better = rank(row) > rank({name: self.history[name][best - 1] for name in self.series})
        for name in self.series:
            self.history[name].append(row[name])
        if better:
            self.history["best_epoch"] = self.epoch
            self.keep_best()
        return better

    def keep_best(self) -> None:
        """Keep the weights as they are now as those of the best epoch."""
        self.best = {
            name: value.detach().cpu().clone() for name, value in self.net.state_dict().items()
        }

    def waited(self) -> int:
        """Return how many epochs have passed since the best one."""
        return self.epoch - int(self.history["best_epoch"])

    def restore_best(self) -> None:
        """Put the best epoch's weights into the network, if there is one."""
        if self.best is not None:
            self.net.load_state_dict(self.best)

    def save(self, folder: Path, identity: dict[str, Any]) -> None:
        """Write ``last.pth`` and ``history.json``.

        Args:
            folder: Of the run.
            identity: What a run that resumes from here must share with this one.
        """
        last = {
            "identity": identity,
            "history": self.history,
            "best": self.best,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }
        save_tensors(folder / LAST, last)
        write_json(folder / HISTORY, self.history)
        self.kept = self.epoch

    def resume(self, folder: Path | None, identity: dict[str, Any]) -> None:
        """Take up the run that `save` left in `folder`.

        Raises:
            CheckpointError: There is none, or it was trained with other settings or people.
        """
        if folder is None or not (folder / LAST).is_file():
            raise CheckpointError(
                f"nothing to resume in {folder}",
                hint="leave --resume out to start the run; one that has another name: --run NAME",
            )
        last = load_tensors(folder / LAST)
        stored = last.get("identity")
        if not isinstance(stored, dict):
            raise _damaged(folder / LAST, "it does not say what was trained")
        different = sorted(name for name in identity if identity[name] != stored.get(name))
        if different:
            raise CheckpointError(
                f"{folder / LAST} was trained with other settings: {', '.join(different)}",
                hint="repeat the stopped command with --resume added, or start anew without it",
            )
        try:
            self._check(last)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise _damaged(folder / LAST, in_short(error)) from None
        self.net.load_state_dict(last["net"])
        self.optimizer.load_state_dict(last["optimizer"])
        self.scheduler.load_state_dict(last["scheduler"])
        self.history, self.best = last["history"], last["best"]
        self.kept = self.epoch
        logger.info("resumed after epoch %d", self.epoch)

    def _check(self, last: dict[str, Any]) -> None:
        """Check every part against what is about to be trained, before any of it is taken.

        Raises:
            ValueError: Or TypeError or LookupError: a part is missing or damaged.
        """
        own = self.net.state_dict()
        check_tensors(last["net"], own)
        check_optimizer(last["optimizer"], self.optimizer)
        epochs, best = _check_history(last["history"], self.series)
        if (last["best"] is None) != (best == 0):
            raise ValueError("the best epoch and its weights do not fit each other")
        if last["best"] is not None:
            check_tensors(last["best"], own)
        schedule, planned = last["scheduler"], self.scheduler.state_dict()
        for name, value in schedule.items():
            if name not in planned or type(value) is not type(planned[name]):
                raise ValueError(f"the schedule's {name:.40} is another")
        steps = schedule["last_epoch"]
        if type(steps) is not int or not epochs <= steps < LARGEST_WHOLE:
            raise ValueError("the schedule is at no step")
        rates = schedule["_last_lr"]
        if [require_finite(rate, "the learning rate") for rate in rates] != [
            group["lr"] for group in last["optimizer"]["param_groups"]
        ]:
            raise ValueError("the learning rates are not the schedule's")
        for name in ("base_lrs", "lr_lambdas"):
            if schedule[name] != planned[name]:
                raise ValueError(f"the schedule's {name} is another")


def rank(row: Mapping[str, float]) -> tuple[float, float]:
    """Return what tells epochs apart by validation people; the best has the highest."""
    return row.get("val_balanced_accuracy", 0.0), -row.get("val_loss", 0.0)


def _check_history(history: Any, series: tuple[str, ...]) -> tuple[int, int]:
    """Return how many epochs a history has, and the best one; 0 where it has none."""
    if not isinstance(history, dict) or history.keys() != {*series, "best_epoch"}:
        raise ValueError("the history has other columns")
    epochs, best = history["epoch"], history["best_epoch"]
    if epochs != list(range(1, len(epochs) + 1)) or not epochs:
        raise ValueError("the epochs of the history are not 1, 2, 3 ...")
    for name in series:
        if not isinstance(history[name], list) or len(history[name]) != len(epochs):
            raise ValueError(f"{name} is not a number for each epoch")
        for value in history[name]:
            require_finite(value, name)
    if type(best) is not int or not 0 <= best <= len(epochs):
        raise ValueError("the best epoch is none of those done")
    return len(epochs), best


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged: {why}", hint="leave --resume out to train from the start"
    )
