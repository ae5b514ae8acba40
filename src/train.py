"""Stage ``train``, and the Trainer: one readable loop that resumes to the same result.

Validation people choose the epoch; test people are never seen while training.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from .api import create_model, open_run_data, reader_workers
from .atomic import atomic_file, write_json
from .audit_checks import refuse_leaks
from .augment import augment, to_unit
from .calibration import fit_calibration
from .checkpoint import hash_subjects, save_checkpoint
from .classifier import Classifier
from .config import RunConfig, TrainConfig
from .conformal import fit_conformal
from .dataset import EvenBatches, MriDataset, make_loader, own_dataset, require_people
from .device import choose_device, choose_precision, make_accelerator, seed_everything
from .errors import ConfigError
from .figures import penalty_figure, training_figure
from .frozen import STRENGTHS, fit_head, gather_people
from .inference import as_predictions, place, predict
from .losses import make_loss
from .metrics import balanced_accuracy, log_loss
from .optimisation import class_weights, make_optimizer
from .options import config_to_dict
from .predictions import Predictions, per_person
from .runtime import progress
from .train_state import HISTORY, History, TrainState

logger = logging.getLogger(__name__)
BEST = "best_model.pth"


def run(config: RunConfig) -> Iterator[Path]:
    """Train on the processed data set that `config` names.

    Yields:
        The best checkpoint, its copy as the newest run's, the history, the resolved config and the
        training curves.
    """
    folder = config.checkpoint_dir / config.run_name
    data = open_run_data(config)
    refuse_leaks(data.manifest, allowed=config.train.allow_leaks)
    seed_everything(config.train.seed)
    model = create_model(
        config.data.model_dim,
        config.backbone,
        config.data.classes,
        weights=config.model.weights,
        dropout=config.model.dropout,
        freeze_backbone=config.model.freeze_backbone,
        ordinal=config.loss == "ordinal",
    )
    loader = make_loader(
        data, config.batch_size, seed=config.train.seed, workers=reader_workers(config.workers)
    )
    settings = config_to_dict(config)
    trainer = Trainer(
        model, loader, None, config.device, config=config.train, run_settings=settings
    )
    yield write_json(config.results_dir / config.run_name / "config.json", settings)
    history = trainer.train(save_dir=folder)
    yield folder / BEST
    yield folder / HISTORY
    newest = config.checkpoint_dir / BEST
    with (folder / BEST).open("rb") as source, atomic_file(newest) as target:
        shutil.copyfileobj(source, target)
    yield newest
    figure = config.results_dir / "figures" / config.run_name / "training_curves.png"
    draw = penalty_figure if "strength" in history else training_figure
    draw(figure, history, title=config.run_name, stamps=data.manifest.stamps)
    yield figure


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

    Attributes:
        validation: After training, the logits of validation people, one row per person.

    Raises:
        ConfigError: A loader is not of this project, or classes and model do not fit.
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
    ) -> None:
        self.model, self.loader, self.config = model, train_loader, config or TrainConfig()
        self.device, reason = choose_device(None if device is None else str(device))
        precision, why = choose_precision(self.config.precision, self.device)
        logger.info("device: %s (%s); precision: %s (%s)", self.device, reason, precision, why)
        self.accelerator = make_accelerator(self.device, precision)
        self.train_data = own_dataset(train_loader)
        self.val_data, self.test_data = self._choose_validation(eval_loader)
        self.run_settings = run_settings or {"train": asdict(self.config)}
        self.validation: Predictions | None = None
        self.loss = self.config.loss or ("ordinal" if model.ordinal else "ce")
        if (self.loss == "ordinal") != model.ordinal:
            raise ConfigError(
                f"loss {self.loss} does not fit the model's head",
                hint="give create_model ordinal=True for the ordinal loss, and only for it",
            )
        for data in (self.train_data, self.val_data):
            require_people(data)
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
            ConfigError: The loss is no longer finite.
        """
        epochs = num_epochs or self.config.epochs
        folder = Path(save_dir) if save_dir else None
        place(self.model, self.device)
        if self.model.frozen:
            return self._fit_frozen(folder)
        loader = self._loader(self.train_data, self.config.seed)
        kind = "pretrained" if self.model.pretrained else "scratch"
        state = TrainState(
            self.model, *make_optimizer(self.model, kind, self.config, epochs, len(loader))
        )
        if self.config.resume:
            state.resume(folder, self._identity(epochs))
        try:
            while state.epoch < epochs and not self._should_stop(state):
                loss = self._train_epoch(state, loader, epochs)
                self._end_epoch(state, loss, epochs, folder)
        except KeyboardInterrupt:
            logger.warning(
                "stopped by hand; %d whole epochs are kept, --resume continues", state.epoch
            )
            raise
        finally:
            state.restore_best()
            self.model.eval()
        self._calibrate(self._validate())
        self._score_test(state.history)
        return state.history

    def _fit_frozen(self, folder: Path | None) -> History:
        """Fit the head to the mean features of each person; no epochs."""
        logger.info("backbone frozen: the head is fitted to the mean features of each person")
        people = gather_people(self.model, [self.train_data, self.val_data], self.device)
        fit = fit_head(
            *(self.model, people),
            loss=self.loss,
            cap=self.config.class_weight_cap,
            seed=self.config.seed,
        )
        self._calibrate(fit.validation)
        said = fit.validation
        score = balanced_accuracy(said.labels, said.predicted, said.num_classes)
        logger.info(
            "penalty %.2g; balanced accuracy of %d people, each left out once, %.3f",
            *(fit.strength, said.n_people, score),
        )
        history: History = {
            "strength": list(STRENGTHS[: len(fit.losses)]),
            "val_loss": fit.losses,
            "best_strength": fit.strength,
            "val_balanced_accuracy": score,
        }
        if folder:
            save_checkpoint(folder / BEST, self._checkpoint(0))
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
            "the epoch is chosen on %d validation people; the test loader is opened once, at last",
            len(set(own.subjects)),
        )
        return own, given

    def _loader(self, data: MriDataset, seed: int | None) -> DataLoader[Any]:
        """Return a loader with the batch size and workers of the training loader."""
        return make_loader(data, self._batch_size(), seed=seed, workers=self.loader.num_workers)

    def _batch_size(self) -> int:
        return self.config.batch_size or -(-len(self.train_data) // len(self.loader))

    def _should_stop(self, state: TrainState) -> bool:
        if not 0 < self.config.patience <= state.waited():
            return False
        logger.info("stopped early: no better epoch in the last %d", self.config.patience)
        return True

    def _train_epoch(self, state: TrainState, loader: DataLoader[Any], epochs: int) -> float:
        """Take one pass over the training people; return the mean loss of an image."""
        epoch, total = state.epoch + 1, 0.0
        # All draws of an epoch come from (seed, epoch): a resumed run repeats them exactly.
        generator = seed_everything(self.config.seed, epoch)
        if isinstance(loader.batch_sampler, EvenBatches):
            loader.batch_sampler.epoch = epoch
        weights = class_weights(self.train_data.class_counts(), self.config.class_weight_cap)
        loss_of = make_loss(
            self.loss, torch.tensor(weights, dtype=torch.float32, device=self.device)
        )
        state.net.train()
        for inputs, labels in progress(loader, desc=f"epoch {epoch}/{epochs}"):
            inputs = self._vary(inputs.to(self.device, non_blocking=True), generator)
            with self.accelerator.autocast():
                logits = state.net(inputs)
            loss = loss_of(logits.float(), labels.to(self.device))
            state.optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(state.net.parameters(), self.config.grad_clip)
            state.optimizer.step()
            state.scheduler.step()
            total += loss.item() * len(labels)
        if not math.isfinite(total):
            raise ConfigError(
                f"the loss is not finite in epoch {epoch}", hint="lower --lr, or --precision fp32"
            )
        return total / len(self.train_data)

    def _vary(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if not self.config.augment:
            return to_unit(inputs)
        return augment(inputs, generator, mirrors=self.train_data.mirrors)

    def _end_epoch(self, state: TrainState, loss: float, epochs: int, folder: Path | None) -> None:
        """Score validation people; record the epoch, and save it."""
        people = self._validate()
        score = balanced_accuracy(people.labels, people.predicted, people.num_classes)
        val_loss = log_loss(people.labels, people.logits)
        row = {
            "epoch": state.epoch + 1,
            "lr": float(state.scheduler.get_last_lr()[0]),
            "train_loss": loss,
            "val_loss": val_loss,
            "val_balanced_accuracy": score,
            "val_accuracy": float(np.mean(people.predicted == people.labels)),
        }
        better = state.record(row)
        logger.info(
            "epoch %d/%d: loss %.3f; validation loss %.3f, balanced accuracy %.3f of %d people%s",
            *(
                state.epoch,
                epochs,
                loss,
                row["val_loss"],
                score,
                people.n_people,
                ", best" * better,
            ),
        )
        if better:
            self._calibrate(people)
        if folder and better:
            save_checkpoint(folder / BEST, self._checkpoint(state.epoch))
        if folder:
            state.save(folder, self._identity(epochs))

    @torch.no_grad()
    def _validate(self) -> Predictions:
        """Return the mean logit of each validation person."""
        self.model.eval()
        parts = []
        for inputs, _ in self._loader(self.val_data, None):
            with self.accelerator.autocast():
                logits = self.model(to_unit(inputs.to(self.device, non_blocking=True)))
            parts.append(logits.float().cpu())
        return per_person(as_predictions(self.val_data, parts))

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

    def _identity(self, epochs: int) -> dict[str, Any]:
        """Return what a resumed run must share with the stopped one for the same result."""
        train = {name: value for name, value in asdict(self.config).items() if name != "resume"}
        return {
            "backbone": self.model.backbone,
            "loss": self.loss,
            "classes": list(self.train_data.scheme.classes),
            "training people": hash_subjects(self.train_data.subjects),
            "preprocessing": self.train_data.settings,
            **train,
            "epochs": epochs,
        }

    def _score_test(self, history: History) -> None:
        """Open the test data, if a test loader was handed in, this one time."""
        if self.test_data is None:
            return
        people = per_person(predict(self.model, self.test_data, self.device))
        history["test"] = {
            "n_people": people.n_people,
            "balanced_accuracy": balanced_accuracy(
                people.labels, people.predicted, people.num_classes
            ),
            "accuracy": float(np.mean(people.predicted == people.labels)),
        }


def _anonymous(people: Predictions | None) -> dict[str, Any] | None:
    """Return labels and logits without names, for the drift of scores on other data."""
    if people is None:
        return None
    return {"labels": people.labels.tolist(), "logits": people.logits.tolist()}
