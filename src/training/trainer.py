"""The Trainer: one readable loop that resumes to the same result, in one process or several.

Validation people choose the epoch; test people are never seen while training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from ..cohorts.people_names import hash_subjects
from ..config import RunConfig, TrainConfig
from ..config.training import require_augment
from ..data.dataset import MriDataset, own_dataset, require_people, require_slices
from ..data.loaders import choose_validation
from ..errors import ConfigError, counted, require_kind
from ..files import write_json
from ..models.calibration import fit_calibration
from ..models.checkpoint import load_checkpoint, save_checkpoint
from ..models.classifier import Classifier, Origin, card_of
from ..models.conformal import fit_conformal
from ..models.device import open_accelerator
from ..models.wrap import as_classifier
from ..predictions import Predictions, per_person
from ..runtime import speak_in_notebook
from .checkpoint_content import BEST, checkpoint_content, content_for_new_scans, run_identity
from .epoch import Passes
from .frozen_head import fit_head, gather_people
from .history import History, LiveCurve
from .laying import lay_in_mni
from .logits import place, predict
from .memory import recompute_activations
from .optimisation import make_optimizer
from .processes import from_main, main_first, others_needed, spread, what_is_kept
from .state import HISTORY, SERIES, TASK_SERIES, TrainState
from .task_alone import fit_stage_head, require_judges, validation_loss
from .task_answers import fit_gap_line, keep_gap_line, line_state
from .task_ridge import fit_task_heads
from .task_step import AllHeads, TaskStep, add_tasks

logger = logging.getLogger(__name__)


class Trainer:
    """Train a classifier, and keep the epoch that validation people score best.

    Of a model whose backbone is frozen, only the head is fitted: to one row per person, training
    and validation people together, each validated by an inner fold that left the person out.

    Args:
        model: From `create_model`, or any network that maps images to logits (`wrap`).
        train_loader: From `create_data_loaders`; its data set knows the validation people.
        eval_loader: A validation loader, or None for the training data's own validation people.
            A test loader is opened once, after training; its score never chooses anything.
        device: ``cuda``, ``mps``, ``cpu`` or None for the best there is.
        config: Settings of the training.
        run_settings: The whole run's config, kept in the checkpoint.
        on_epoch: Called with every finished epoch's row of the history, in process 0.
        accelerator: From `open_accelerator`, in place of `device`. Under ``torchrun``, every
            process trains with its share of each batch, and process 0 writes the files.
        plot: In a notebook, draw the curves anew after every epoch.

    Attributes:
        validation: After training, the logits of validation people, one row per person.

    Raises:
        ConfigError: A loader is not of this project, or classes and model do not fit.
        ManifestError: There are no training or no validation people.
    """

    def __init__(
        self,
        model: nn.Module,
        train_loader: DataLoader[Any],
        eval_loader: DataLoader[Any] | None = None,
        device: str | torch.device | None = None,
        *,
        config: TrainConfig | None = None,
        run_settings: dict[str, Any] | None = None,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
        accelerator: Accelerator | None = None,
        plot: bool = False,
    ) -> None:
        _require_config(config)
        self.train_data = own_dataset(train_loader)
        classes = len(self.train_data.scheme.classes)
        model = as_classifier(model, "Trainer", classes, self.train_data.image_shape)
        self.model, self.config = model, config or TrainConfig()
        model.learnt_from = card_of(model)  # whom it has seen before this training
        self.accelerator = accelerator or open_accelerator(device, self.config.precision)
        self.device = self.accelerator.device
        self.val_data, self.test_data = choose_validation(self.train_data, eval_loader)
        self.run_settings = run_settings or {"train": asdict(self.config)}
        self.validation: Predictions | None = None
        self.on_epoch = LiveCurve() if plot and on_epoch is None else on_epoch
        loss = self.config.loss or ("ordinal" if model.ordinal else "ce")
        _check_fit(model, self.train_data, self.val_data, loss)
        require_augment(self.config.augment, model.frozen)
        _check_pool(model, self.train_data, self.config, self.accelerator.num_processes)
        self.tasks = add_tasks(model, self.train_data, self.config)
        if not self.config.learns_stage:
            require_judges(self.val_data, self.config.beside)
        self.passes = Passes(
            *(self.accelerator, self.config, loss, self.tasks or self.train_data, self.val_data),
            batch_size=self.config.batch_size or -(-len(self.train_data) // len(train_loader)),
            workers=train_loader.num_workers,
            pool=model.pooling,
        )

    def train(self, num_epochs: int | None = None, save_dir: str | Path | None = None) -> History:
        """Train, and leave the model with the weights of its best epoch.

        Args:
            num_epochs: None takes the config's.
            save_dir: Folder for ``best_model.pth``, ``last.pth`` and ``history.json``; None keeps
                the best weights in memory only.

        Returns:
            Lists by epoch (``epoch, lr, train_loss, val_loss``, and where the stage is learnt
            ``val_balanced_accuracy, val_accuracy``), ``best_epoch``, and ``test`` when a test
            loader was given; it draws itself with ``plot()``.

        Raises:
            CheckpointError: ``resume`` was asked for and there is nothing that fits.
            ConfigError: `num_epochs` is none, or the loss is no longer finite.
        """
        epochs = self.config.epochs if num_epochs is None else _whole_number(num_epochs)
        speak_in_notebook()
        folder = Path(save_dir) if save_dir else None
        lay_in_mni(self.model, self.train_data)
        place(self.model, self.device)
        frozen = self.model.frozen
        history = self._fit_head(folder) if frozen else self._run_epochs(epochs, folder)
        if self.test_data is not None:
            people = per_person(predict(self.model, self.test_data, self.device))
            told = ("n_people", "balanced_accuracy", "accuracy")
            history["test"] = {name: getattr(people, name) for name in told}
        return History(history)

    def _fit_head(self, folder: Path | None) -> dict[str, Any]:
        """Fit the head of a frozen backbone to the mean features of each person; no epochs."""
        with main_first(self.accelerator):  # process 0 computes features, the others read them
            people = gather_people(self.model, [self.train_data, self.val_data], self.device)
        loss, cap = self.passes.loss_name, self.config.class_weight_cap
        fit = fit_head(self.model, people, loss=loss, cap=cap, seed=self.config.seed)
        self._calibrate(fit.validation)
        if self.tasks is not None:
            sides = (self.tasks, self.val_data, self.device)
            keep_gap_line(self.model, *fit_task_heads(self.model, *sides, seed=self.config.seed))
        logger.info(
            "penalty %.2g; balanced accuracy of %s, each left out once, %.3f",
            *(fit.strength, counted(fit.validation.n_people, "person")),
            fit.validation.balanced_accuracy,
        )
        if folder and self.accelerator.is_main_process:
            self._save_whole(folder, self._content(0))
            write_json(folder / HISTORY, fit.history)
        self.model.eval()
        return fit.history

    def _run_epochs(self, epochs: int, folder: Path | None) -> dict[str, Any]:
        """Learn, validate and keep, epoch by epoch; leave the model with its best weights."""
        net, state = self._start(epochs)
        if self.config.resume:
            state.resume(folder, self._identity(epochs))
            if folder and self.accelerator.is_main_process:  # a kill may have come before it
                write_json(folder / HISTORY, state.history)
        with others_needed(lambda: state.kept):
            try:
                while state.epoch < epochs and not self._should_stop(state):
                    loss = self.passes.learn(net, state, epochs)
                    self._end_epoch(state, loss, epochs, folder)
            except KeyboardInterrupt as stop:
                raise type(stop)(what_is_kept(state.kept)) from None
            finally:
                state.restore_best()
                self.model.eval()
            self._calibrate(self.passes.validate(self.model))
            if not self.config.learns_stage and self.validation is not None:
                logger.info(
                    "the stage, told from what %s taught: balanced accuracy %.3f of %s",
                    *(" and ".join(self.config.beside), self.validation.balanced_accuracy),
                    counted(self.validation.n_people, "validation person"),
                )
            if self.tasks is not None:
                fit_gap_line(self.model, self.val_data, self.device)
            if folder and self.accelerator.is_main_process:
                # The file of the best epoch itself, so that its weights are those that were scored.
                content = load_checkpoint(folder / BEST)
                content["model"] |= line_state(self.model)
                self._save_whole(folder, content)
        self.accelerator.wait_for_everyone()
        return state.history

    def _start(self, epochs: int) -> tuple[nn.Module, TrainState]:
        """Return what is called in a step, and the state before the first epoch."""
        if self.config.activation_checkpointing:
            recompute_activations(self.model)
        whole = AllHeads(self.model) if self.tasks is not None else self.model
        net = spread(whole, self.accelerator)
        if self.tasks is not None:
            heads, weights = self.model.more_heads, self.config.weights_beside
            stage = self.config.learns_stage
            self.passes.make_step = partial(TaskStep, heads, weights, learns_stage=stage)
        if self.config.compile:
            # Dropout draws what it draws uncompiled, so the flag does not change the result.
            whole.compile(options={"fallback_random": True})
        kind = "pretrained" if self.model.pretrained else "scratch"
        steps = make_optimizer(self.model, kind, self.config, epochs, len(self.passes))
        series = SERIES if self.config.learns_stage else TASK_SERIES
        return net, TrainState(self.model, *steps, series)

    def _should_stop(self, state: TrainState) -> bool:
        if not 0 < self.config.patience <= state.waited():
            return False
        logger.info("stopped early: no better epoch in the last %d", self.config.patience)
        return True

    def _end_epoch(self, state: TrainState, loss: float, epochs: int, folder: Path | None) -> None:
        """Score validation people; record the epoch, save it, and tell of it."""
        main, people = self.accelerator.is_main_process, None
        if self.config.learns_stage:
            people = self.passes.validate(self.model)
        row = from_main(state.row(loss, people or self._loss_of_tasks()), self.accelerator)
        better = state.record(row)
        score = (
            ""
            if people is None
            else (
                f", balanced accuracy {row['val_balanced_accuracy']:.3f} of "
                f"{counted(people.n_people, 'person')}"
            )
        )
        logger.info(
            "epoch %d/%d: loss %.3f; validation loss %.3f%s%s",
            *(state.epoch, epochs, row["train_loss"], row["val_loss"], score, ", best" * better),
        )
        if better:
            self._calibrate(people or self._stage_from_features(state))
        if folder and main:
            if better:
                save_checkpoint(folder / BEST, self._content(state.epoch))
            state.save(folder, self._identity(epochs))
        self.accelerator.wait_for_everyone()
        state.kept = state.epoch if folder else 0  # in every process
        if self.on_epoch is not None and main:
            self.on_epoch(row)

    def _loss_of_tasks(self) -> float:
        sides = (self.model, self.val_data, self.device)
        return validation_loss(*sides, self.config.weights_beside)

    def _stage_from_features(self, state: TrainState) -> Predictions:
        """Fit the stage's head to features that it has not taught; answer validation people.

        Every best epoch has it, so that the checkpoint of a stopped training is whole.
        """
        config = self.config
        fit_stage_head(
            *(self.model, self.train_data, self.device),
            loss=self.passes.loss_name,
            cap=config.class_weight_cap,
            seed=config.seed,
        )
        state.keep_best()
        return self.passes.validate(self.model)

    def _calibrate(self, people: Predictions) -> None:
        """Fit probabilities and prediction sets to validation people; the model carries them."""
        self.validation = people
        calibration = fit_calibration(people, self.config.calibration)
        self.model.calibration = calibration
        self.model.conformal = fit_conformal(calibration.apply(people))

    def _content(self, epoch: int) -> dict[str, Any]:
        content = checkpoint_content(
            *(self.model, self.train_data, self.val_data),
            epoch=epoch,
            settings=self.run_settings,
            validation=self.validation,
        )
        if self.tasks is not None:  # unrated people trained it, too
            everyone = {*self.tasks.subjects, *self.val_data.subjects}
            content["subjects"] = hash_subjects(sorted(everyone))
        return content

    def _save_whole(self, folder: Path, content: dict[str, Any]) -> None:
        """Save the checkpoint with what predictions on new scans need beside the weights."""
        more = content_for_new_scans(self.model, self.train_data, self.val_data, self.device)
        path = save_checkpoint(folder / BEST, content | more)
        kept = {name: value for name, value in (content | more).items() if name != "model"}
        self.model.origin = Origin(path, kept)

    def _identity(self, epochs: int) -> dict[str, Any]:
        # A precision of "auto" depends on the machine.
        resolved = {"precision": self.accelerator.mixed_precision, "epochs": epochs}
        return run_identity(self.model, self.train_data, self.config, **resolved)


def _require_config(config: object) -> None:
    hint = "from src.config import TrainConfig; config=TrainConfig(lr=0.001, epochs=10)"
    if isinstance(config, RunConfig):
        hint = "config=config.train, its part about training"
    kinds = (TrainConfig, type(None))
    require_kind("Trainer(config=...)", config, kinds, "a TrainConfig", hint)


def _whole_number(num_epochs: int) -> int:
    """Return `num_epochs`, which must be 1 or more."""
    hint = "num_epochs=10, or leave it out for the config's"
    kinds = (Integral, type(None))
    require_kind("train(num_epochs=...)", num_epochs, kinds, "a whole number or None", hint)
    if num_epochs < 1:
        raise ConfigError(f"train(num_epochs={num_epochs}) trains nothing", hint=hint)
    return int(num_epochs)


def _check_pool(model: Classifier, train: MriDataset, config: TrainConfig, processes: int) -> None:
    """Check that slices that are weighed can be: a person's are in one process, and one part."""
    require_slices(train, model.pooling)
    if model.pooling == "mean" or model.frozen:
        return
    if processes > 1 or config.accumulate > 1:
        raise ConfigError(
            f"--pool {model.pooling} learns from slices of a person together, in one process and "
            "one part",
            hint="leave torchrun and --accumulate out, or freeze the network: --freeze_backbone",
        )


def _check_fit(model: Classifier, train: MriDataset, val: MriDataset, loss: str) -> None:
    """Check that the model fits the loss and the classes, and that there are people."""
    if (loss == "ordinal") != model.ordinal:
        raise ConfigError(
            f"loss {loss} does not fit the model's head",
            hint="give create_model ordinal=True for the ordinal loss, and only for it",
        )
    for data in (train, val):
        require_people(data)
    classes = train.scheme.classes
    if len(classes) != model.num_classes:
        raise ConfigError(
            f"the model has {model.num_classes} classes, the data {len(classes)}",
            hint="give create_model and create_data_loaders the same num_classes",
        )
