"""What a training run is at the end of an epoch: saved whole, resumed to the same bits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..errors import CheckpointError
from ..files import write_json
from ..models.checkpoint import load_tensors, save_tensors
from ..predictions import Predictions

logger = logging.getLogger(__name__)
LAST, HISTORY = "last.pth", "history.json"
SERIES = ("epoch", "lr", "train_loss", "val_loss", "val_balanced_accuracy", "val_accuracy")
History = dict[str, Any]


class TrainState:
    """Network, optimiser, schedule, history and the best weights so far.

    Random numbers need no place here: every epoch draws from its own seed.

    Attributes:
        history: A list per name of `SERIES`, and ``best_epoch`` (0 before the first).
        best: State dict of the best epoch on the CPU, or None before the first.
        kept: Whole epochs that are in the folder of the run.
    """

    def __init__(
        self, net: nn.Module, optimizer: torch.optim.Optimizer, scheduler: LambdaLR
    ) -> None:
        self.net, self.optimizer, self.scheduler = net, optimizer, scheduler
        self.history: History = {name: [] for name in SERIES} | {"best_epoch": 0}
        self.best: dict[str, torch.Tensor] | None = None
        self.kept = 0

    @property
    def epoch(self) -> int:
        """Number of whole epochs done."""
        return len(self.history["epoch"])

    def row(self, loss: float, people: Predictions) -> dict[str, float]:
        """Return the next epoch's row of the history: a value per name of `SERIES`.

        Args:
            loss: Mean loss of the training images.
            people: What the network says of validation people now.
        """
        return {
            "epoch": self.epoch + 1,
            "lr": float(self.scheduler.get_last_lr()[0]),
            "train_loss": loss,
            "val_loss": people.log_loss,
            "val_balanced_accuracy": people.balanced_accuracy,
            "val_accuracy": people.accuracy,
        }

    def record(self, row: dict[str, float]) -> bool:
        """Append an epoch; return whether it is the best, and keep its weights if so.

        Better is a higher balanced accuracy of validation people; among equals, a lower loss.
        """
        best, better = self.history["best_epoch"], True
        if best:
            score, loss = (
                self.history[name][best - 1] for name in ("val_balanced_accuracy", "val_loss")
            )
            better = (row["val_balanced_accuracy"], -row["val_loss"]) > (score, -loss)
        for name in SERIES:
            self.history[name].append(row[name])
        if better:
            self.history["best_epoch"] = self.epoch
            self.best = {
                name: value.detach().cpu().clone() for name, value in self.net.state_dict().items()
            }
        return better

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
        stored = last.get("identity", {})
        different = sorted(name for name in identity if identity[name] != stored.get(name))
        if different:
            raise CheckpointError(
                f"{folder / LAST} was trained with other settings: {', '.join(different)}",
                hint="repeat the stopped command with --resume added, or start anew without it",
            )
        self.net.load_state_dict(last["net"])
        self.optimizer.load_state_dict(last["optimizer"])
        self.scheduler.load_state_dict(last["scheduler"])
        self.history, self.best = last["history"], last["best"]
        self.kept = self.epoch
        logger.info("resumed after epoch %d", self.epoch)
