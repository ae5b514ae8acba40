"""Stage ``evaluate``, and the Evaluator: the one place that opens the test people.

Every score is per person first (mean logit over a person's images), then per image, each with n
people, a 95 % interval and the majority class beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import DataLoader

from .atomic import atomic_file, write_json
from .classifier import Classifier
from .config import RunConfig
from .dataset import own_dataset, require_people
from .device import choose_device
from .errors import ConfigError
from .figures import confusion_figure, roc_figure
from .inference import place, predict
from .metrics import format_table, score
from .predictions import Predictions, per_person
from .trained import open_trained

logger = logging.getLogger(__name__)


def run(config: RunConfig) -> Iterator[Path]:
    """Score a checkpoint on the test people of its data set.

    Yields:
        ``metrics.json``, ``predictions.csv``, ``people.csv`` and the figures of the run.

    Raises:
        CheckpointError: There is no checkpoint, or it does not fit the data.
        LeakageError: Test people were trained on.
    """
    trained = open_trained(config)
    loader: DataLoader[Any] = DataLoader(trained.data, batch_size=config.batch_size)
    evaluator = Evaluator(
        trained.model, loader, config.device, n_bootstrap=config.evaluate.bootstrap
    )
    name = trained.run_name
    folder, figures = config.results_dir / name, config.results_dir / "figures" / name
    context = {"run": name, "dataset": trained.data.name, "checkpoint": str(trained.path)}
    results = evaluator.full_evaluation(folder, figure_dir=figures, context=context)
    yield from (Path(path) for path in results["files"])


class Evaluator:
    """Score a model on one split, per person and per image.

    Args:
        model: A trained classifier.
        test_loader: From `create_data_loaders`; its order does not matter.
        device: ``cuda``, ``mps``, ``cpu`` or None for the best there is.
        n_bootstrap: Resamples of people behind each interval.
    """

    def __init__(
        self,
        model: Classifier,
        test_loader: DataLoader[Any],
        device: str | torch.device | None = None,
        *,
        n_bootstrap: int = 2000,
    ) -> None:
        self.data = own_dataset(test_loader)
        require_people(self.data)
        self.device, reason = choose_device(None if device is None else str(device))
        logger.info("device: %s (%s)", self.device, reason)
        self.model = place(model, self.device)
        self.n_bootstrap = n_bootstrap
        classes = self.data.scheme.classes
        if len(classes) != model.num_classes:
            raise ConfigError(
                f"the model has {model.num_classes} classes, the data {len(classes)}",
                hint="give create_model and create_data_loaders the same num_classes",
            )

    def full_evaluation(
        self,
        save_dir: str | Path,
        *,
        figure_dir: Path | None = None,
        context: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Score, and write every table and figure.

        Args:
            save_dir: Folder for ``metrics.json``, ``predictions.csv`` (per image) and
                ``people.csv`` (per person).
            figure_dir: Folder for figures; None takes ``save_dir/figures``.
            context: Kept in ``metrics.json``: run, data set, checkpoint.

        Returns:
            What ``metrics.json`` holds (``person``, ``image``, ``classes``, ``stamps``), and
            ``files``, the paths written.
        """
        folder = Path(save_dir)
        classes, stamps = self.data.scheme.classes, self.data.manifest.stamps
        images = predict(self.model, self.data, self.device)
        people = per_person(images)
        counts = self.data.with_split("train").people_per_class()
        results: dict[str, Any] = {
            **(context or {}),
            "split": self.data.split,
            "classes": list(classes),
            "stamps": list(stamps),
            "person": score(people, classes, counts, self.n_bootstrap),
            "image": score(images, classes, counts, self.n_bootstrap),
        }
        for stamp in stamps:
            logger.warning("STAMPED: %s", stamp)
        logger.info(
            "per person, %s split:\n%s", self.data.split, format_table(results["person"], classes)
        )
        files = [write_json(folder / "metrics.json", results)]
        files += self._write_tables(folder, images, people)
        files += self._write_figures(figure_dir or folder / "figures", people, results["person"])
        return results | {"files": [str(path) for path in files]}

    def _write_tables(self, folder: Path, images: Predictions, people: Predictions) -> list[Path]:
        """Write the manifest with probabilities, and one row per person."""
        by_image = pd.concat([self.data.rows, self._columns(images)], axis=1)
        classes = self.data.scheme.classes
        truth = [classes[label] for label in people.labels]
        first = pd.DataFrame({"subject": people.subjects, "class": truth})
        by_person = pd.concat([first, self._columns(people)], axis=1)
        paths = [folder / "predictions.csv", folder / "people.csv"]
        for path, table in zip(paths, (by_image, by_person), strict=True):
            with atomic_file(path, "w") as file:
                table.to_csv(file, index=False, float_format="%.6g")
        return paths

    def _columns(self, predictions: Predictions) -> pd.DataFrame:
        classes = self.data.scheme.classes
        columns: dict[str, Any] = {"predicted": [classes[k] for k in predictions.predicted]}
        columns |= {f"p_{name}": predictions.probabilities[:, k] for k, name in enumerate(classes)}
        columns |= {f"logit_{name}": predictions.logits[:, k] for k, name in enumerate(classes)}
        return pd.DataFrame(columns)

    def _write_figures(
        self, folder: Path, people: Predictions, result: dict[str, Any]
    ) -> list[Path]:
        classes, stamps = self.data.scheme.classes, self.data.manifest.stamps
        title = f"{self.data.name}, {people.n_people} {self.data.split} people"
        paths = [folder / "confusion_matrix.png", folder / "roc.png"]
        confusion_figure(paths[0], result["confusion"], classes, title=title, stamps=stamps)
        roc_figure(
            *(paths[1], people.labels, people.probabilities, classes, result["per_class"]),
            title=title,
            stamps=stamps,
        )
        return paths
