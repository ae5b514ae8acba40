"""The Trainer: one readable loop that resumes to the same result, in one process or several.

Validation people choose the epoch; test people are never seen while training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from ..atomic import write_json
from ..config import RunConfig, TrainConfig
from ..data.dataset import MriDataset, own_dataset, require_people
from ..errors import ConfigError, counted, require_kind
from ..models.calibration import fit_calibration
from ..models.checkpoint import hash_subjects, load_checkpoint, save_checkpoint
from ..models.classifier import Classifier, require_classifier
from ..models.conformal import fit_conformal
from ..models.device import open_accelerator
from ..predictions import Predictions, per_person
from .epoch import Passes
from .frozen_head import STRENGTHS, fit_head, gather_people
from .likeness import fit_reference
from .logits import place, predict
from .memory import recompute_activations
from .optimisation import make_optimizer
from .processes import from_main, main_first, others_needed, spread, what_is_kept
from .shared_grid import training_frame
from .state import HISTORY, SERIES, History, TrainState

logger = logging.getLogger(__name__)
BEST = "best_model.pth"
#: Settings that a resumed run may change: they do not change its result.
FREE = ("resume", "compile", "activation_checkpointing", "tensorboard", "mlflow")


class Trainer:
    """Train a classifier, and keep the epoch that validation people score best.

    Of a model whose backbone is frozen, only the head is fitted: to one row per person, training
    and validation people together, each validated by an inner fold that left the person out.

    Args:
        model: From `create_model`.
        train_loader: From `create_data_loaders`; its data set knows the validation people.
        eval_loader: A validation loader, or None for the training data's own validation people.
            A test loader is opened once, after training; its score never chooses anything.
        device: ``cuda``, ``mps``, ``cpu`` or None for the best there is.
        config: Settings of the training.
        run_settings: The whole run's config, kept in the checkpoint.
        on_epoch: Called with every finished epoch's row of the history, in process 0.
        accelerator: From `open_accelerator`, in place of `device`. Under ``torchrun``, every
            process trains with its share of each batch, and process 0 writes the files.

    Attributes:
        validation: After training, the logits of validation people, one row per person.

    Raises:
        ConfigError: Model, loader or config is not of this project, or they do not fit.
        ManifestError: There are no training or no validation people.
    """

    def __init__(
        self,
        model: Classifier,
        train_loader: DataLoader[Any],
        eval_loader: DataLoader[Any] | None = None,
        device: str | torch.device | None = None,
        *,
        config: TrainConfig | None = None,
        run_settings: dict[str, Any] | None = None,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        require_classifier(model, "Trainer")
        kinds = (TrainConfig, type(None))
        hint = "from src.config import TrainConfig; config=TrainConfig(lr=0.001, epochs=10)"
        if isinstance(config, RunConfig):
            hint = "config=config.train, its part about training"
        require_kind("Trainer(config=...)", config, kinds, "a TrainConfig", hint)
        self.train_data = own_dataset(train_loader)
        self.model, self.loader, self.config = model, train_loader, config or TrainConfig()
        self.accelerator = accelerator or open_accelerator(device, self.config.precision)
        self.device = self.accelerator.device
        self.val_data, self.test_data = self._choose_validation(eval_loader)
        self.run_settings = run_settings or {"train": asdict(self.config)}
        self.validation: Predictions | None = None
        self.on_epoch = on_epoch
        self.loss = self.config.loss or ("ordinal" if model.ordinal else "ce")
        if (self.loss == "ordinal") != model.ordinal:
            raise ConfigError(
                f"loss {self.loss} does not fit the model's head",
                hint="give create_model ordinal=True for the ordinal loss, and only for it",
            )
        for data in (self.train_data, self.val_data):
            require_people(data)
        self.passes = Passes(
            *(self.accelerator, self.config, self.loss, self.train_data, self.val_data),
            batch_size=self.config.batch_size or -(-len(self.train_data) // len(self.loader)),
            workers=self.loader.num_workers,
        )
        classes = self.train_data.scheme.classes
        if len(classes) != model.num_classes:
            raise ConfigError(
                f"the model has {model.num_classes} classes, the data {len(classes)}",
                hint="give create_model and create_data_loaders the same num_classes",
            )

    def train(self, num_epochs: int | None = None, save_dir: str | Path | None = None) -> History:
        """Train, and leave the model with the weights of its best epoch.

        Args:
            num_epochs: None takes the config's.
            save_dir: Folder for ``best_model.pth``, ``last.pth`` and ``history.json``; None keeps
                the best weights in memory only.

        Returns:
            Lists by epoch (``epoch, lr, train_loss, val_loss, val_balanced_accuracy,
            val_accuracy``), ``best_epoch``, and ``test`` when a test loader was given.

        Raises:
            CheckpointError: ``resume`` was asked for and there is nothing that fits.
            ConfigError: `num_epochs` is none, or the loss is no longer finite.
        """
        hint = "num_epochs=10, or leave it out for the config's"
        kinds = (Integral, type(None))
        require_kind("train(num_epochs=...)", num_epochs, kinds, "a whole number or None", hint)
        if num_epochs is not None and num_epochs < 1:
            raise ConfigError(f"train(num_epochs={num_epochs}) trains nothing", hint=hint)
        epochs = self.config.epochs if num_epochs is None else int(num_epochs)
        folder = Path(save_dir) if save_dir else None
        place(self.model, self.device)
        if self.model.frozen:
            return self._fit_frozen(folder)
        if self.config.activation_checkpointing:
            recompute_activations(self.model)
        net = spread(self.model, self.accelerator)
        if self.config.compile:
            # Dropout draws what it draws uncompiled, so the flag does not change the result.
            self.model.compile(options={"fallback_random": True})
        kind = "pretrained" if self.model.pretrained else "scratch"
        steps = make_optimizer(self.model, kind, self.config, epochs, len(self.passes))
        state = TrainState(self.model, *steps)
        if self.config.resume:
            state.resume(folder, self._identity(epochs))
        with others_needed(lambda: state.kept):
            try:
                while state.epoch < epochs and not self._should_stop(state):
                    loss = self.passes.learn(net, state, epochs)
                    self._end_epoch(state, loss, epochs, folder)
                    if self.on_epoch is not None and self.accelerator.is_main_process:
                        self.on_epoch({name: state.history[name][-1] for name in SERIES})
            except KeyboardInterrupt as stop:
                raise type(stop)(what_is_kept(state.kept)) from None
            finally:
                state.restore_best()
                self.model.eval()
            self._calibrate(self.passes.validate(self.model))
            if folder and self.accelerator.is_main_process:
                # The file of the best epoch itself, so that its weights are those that were scored.
                self._save_whole(folder, load_checkpoint(folder / BEST))
        self.accelerator.wait_for_everyone()
        self._score_test(state.history)
        return state.history

    def _fit_frozen(self, folder: Path | None) -> History:
        """Fit the head to the mean features of each person; no epochs."""
        with main_first(self.accelerator):  # process 0 computes features, the others read them
            people = gather_people(self.model, [self.train_data, self.val_data], self.device)
        fit = fit_head(
            *(self.model, people),
            loss=self.loss,
            cap=self.config.class_weight_cap,
            seed=self.config.seed,
        )
        self._calibrate(fit.validation)
        said = fit.validation
        score = said.balanced_accuracy
        logger.info(
            "penalty %.2g; balanced accuracy of %s, each left out once, %.3f",
            *(fit.strength, counted(said.n_people, "person"), score),
        )
        history: History = {
            "strength": list(STRENGTHS[: len(fit.losses)]),
            "val_loss": fit.losses,
            "best_strength": fit.strength,
            "val_balanced_accuracy": score,
        }
        if folder and self.accelerator.is_main_process:
            self._save_whole(folder, self._checkpoint(0))
            write_json(folder / HISTORY, history)
        self.model.eval()
        self._score_test(history)
        return history

    def _calibrate(self, people: Predictions) -> None:
        """Fit probabilities and prediction sets to validation people; the model carries them."""
        self.validation = people
        calibration = fit_calibration(people, self.config.calibration)
        self.model.calibration = calibration
        self.model.conformal = fit_conformal(calibration.apply(people))

    def _choose_validation(
        self, eval_loader: DataLoader[Any] | None
    ) -> tuple[MriDataset, MriDataset | None]:
        """Return the validation data and, if a test loader was handed in, the test data."""
        own = self.train_data.with_split("val")
        if eval_loader is None:
            return own, None
        given = own_dataset(eval_loader)
        if given.split != "test":
            return given, None
        logger.info(
            "the epoch is chosen on %s; the test loader is opened once, at last",
            counted(len(set(own.subjects)), "validation person"),
        )
        return own, given

    def _should_stop(self, state: TrainState) -> bool:
        if not 0 < self.config.patience <= state.waited():
            return False
        waited = counted(self.config.patience, "epoch")
        logger.info("stopped early: no better score in the last %s", waited)
        return True

    def _end_epoch(self, state: TrainState, loss: float, epochs: int, folder: Path | None) -> None:
        """Score validation people; record the epoch, and save it."""
        people = self.passes.validate(self.model)
        score = people.balanced_accuracy
        row = {
            "epoch": state.epoch + 1,
            "lr": float(state.scheduler.get_last_lr()[0]),
            "train_loss": loss,
            "val_loss": people.log_loss,
            "val_balanced_accuracy": score,
            "val_accuracy": float(np.mean(people.predicted == people.labels)),
        }
        better = state.record(from_main(row, self.accelerator))
        logger.info(
            "epoch %d/%d: loss %.3f; validation loss %.3f, balanced accuracy %.3f of %s%s",
            *(
                state.epoch,
                epochs,
                loss,
                row["val_loss"],
                score,
                counted(people.n_people, "person"),
                ", best" * better,
            ),
        )
        if better:
            self._calibrate(people)
        if folder and self.accelerator.is_main_process:
            if better:
                save_checkpoint(folder / BEST, self._checkpoint(state.epoch))
            state.save(folder, self._identity(epochs))
        self.accelerator.wait_for_everyone()
        state.kept = state.epoch if folder else 0  # in every process

    def _checkpoint(self, epoch: int) -> dict[str, Any]:
        """Return what evaluation needs, and nothing that names a person."""
        data = self.train_data
        return {
            "model": self.model.state_dict(),
            "epoch": epoch,
            "config": self.run_settings,
            "preprocessing": data.settings,
            "classes": list(data.scheme.classes),
            "backbone": self.model.backbone,
            "dim": self.model.dim,
            "ordinal": self.model.ordinal,
            "calibration": self.model.calibration.to_dict() if self.model.calibration else None,
            "conformal": self.model.conformal.to_dict() if self.model.conformal else None,
            "validation": _anonymous(self.validation),
            "dataset": data.name,
            "train_counts": data.people_per_class().tolist(),
            "subjects": hash_subjects([*data.subjects, *self.val_data.subjects]),
            "stamps": list(data.manifest.stamps),
        }

    def _save_whole(self, folder: Path, content: dict[str, Any]) -> None:
        """Save the checkpoint with what predictions on new scans need beside the weights."""
        look = fit_reference(self.model, self.train_data, self.val_data, self.device)
        whole = {
            "reference": look.to_dict() if look else None,
            "frame": training_frame(self.train_data),
        }
        save_checkpoint(folder / BEST, content | whole)

    def _identity(self, epochs: int) -> dict[str, Any]:
        """Return what a resumed run must share with the stopped one for the same result."""
        train = {name: value for name, value in asdict(self.config).items() if name not in FREE}
        return {
            "backbone": self.model.backbone,
            "loss": self.loss,
            "classes": list(self.train_data.scheme.classes),
            "training people": hash_subjects(self.train_data.subjects),
            "preprocessing": self.train_data.settings,
            **train,
            "precision": self.accelerator.mixed_precision,  # "auto" depends on the machine
            "epochs": epochs,
        }

    def _score_test(self, history: History) -> None:
        """Open the test data, if a test loader was handed in, this one time."""
        if self.test_data is None:
            return
        people = per_person(predict(self.model, self.test_data, self.device))
        history["test"] = {
            "n_people": people.n_people,
            "balanced_accuracy": people.balanced_accuracy,
            "accuracy": float(np.mean(people.predicted == people.labels)),
        }


def _anonymous(people: Predictions | None) -> dict[str, Any] | None:
    """Return labels and logits without names, for the drift of scores on other data."""
    if people is None:
        return None
    return {"labels": people.labels.tolist(), "logits": people.logits.tolist()}
