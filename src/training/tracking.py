"""TensorBoard and MLflow, where they are asked for: epochs, scores with intervals, and files.

Both are optional. What a run computes does not depend on them.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..config import RunConfig
from ..config.options import config_to_dict
from ..config.own_files import read_own
from ..errors import ConfigError, ManifestError
from ..files import write_json
from ..optional import optional
from ..runtime import stay_private

logger = logging.getLogger(__name__)
EXPERIMENT = "alzheimers-mri"
#: Where a run of MLflow is remembered, so that scores join the training they are of.
MLFLOW_FILE = "mlflow.json"
_KEPT = (".json", ".csv", ".md", ".png", ".html")  # files that MLflow gets; checkpoints stay here


class Sink(Protocol):
    """Where numbers and files go."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Take numbers of a step."""

    def keep(self, path: Path) -> None:
        """Take a file."""

    def close(self, status: str) -> None:
        """End: ``FINISHED``, ``FAILED`` or ``KILLED``."""


class Tracker:
    """Sends what a stage knows to every sink.

    Args:
        sinks: None, one or two.
        files: What they wrote into the run's folder.
    """

    def __init__(self, sinks: Sequence[Sink], files: Sequence[Path] = ()) -> None:
        self.sinks, self.files = tuple(sinks), tuple(files)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Take one row of the training's history."""
        step = int(row["epoch"])
        self._send({f"train/{name}": row[name] for name in row if name != "epoch"}, step)

    def trained(self, history: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Take the end of a training: its best epoch, or the penalties of a frozen backbone."""
        for step, loss in enumerate(history["val_loss"] if "strength" in history else []):
            self._send({"train/val_loss": loss}, step)
        best = {name: history[name] for name in ("best_epoch", "best_strength") if name in history}
        self._send({f"train/{name}": float(value) for name, value in best.items()}, 0)
        self._keep(files)

    def scored(self, results: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Take the scores of people, each with its interval, beside the majority's."""
        person = results["person"]
        values: dict[str, float] = {"test/n_people": person["n_people"]}
        found = {**person["metrics"], "majority_accuracy": person["majority"]["accuracy"]}
        for name, score in found.items():
            for part, ending in (("value", ""), ("low", "_low"), ("high", "_high")):
                if score.get(part) is not None:
                    values[f"test/{name}{ending}"] = float(score[part])
        self._send(values, 0)
        self._keep(files)

    def _send(self, values: Mapping[str, float], step: int) -> None:
        for sink in self.sinks:
            sink.scalars(values, step)

    def _keep(self, files: Sequence[Path]) -> None:
        for sink in self.sinks:
            for path in files:
                if path.suffix in _KEPT:
                    sink.keep(path)


@contextmanager
def open_tracker(config: RunConfig, name: str) -> Iterator[Tracker]:
    """Open what was asked for, and close it with how the stage ended.

    Args:
        config: Of the run.
        name: Of the run's folder.

    Raises:
        ConfigError: A package is missing, or the MLflow server does not answer.
    """
    folder = config.results_dir / name
    sinks: list[Sink] = []
    files: list[Path] = []
    if config.train.tensorboard:
        sinks.append(TensorBoard(folder / "tensorboard"))
    if config.train.mlflow:
        server = Mlflow(config.train.mlflow, name, folder / MLFLOW_FILE, config_to_dict(config))
        sinks.append(server)
        files.append(folder / MLFLOW_FILE)
    status = "FAILED"
    try:
        yield Tracker(sinks, files)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        for sink in sinks:
            sink.close(status)


class TensorBoard:
    """Event files of a folder: ``tensorboard --logdir results``."""

    def __init__(self, folder: Path) -> None:
        optional("tensorboard", "--tensorboard needs", "tracking")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers of a step."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)  # type: ignore[no-untyped-call]
        self.writer.flush()  # type: ignore[no-untyped-call]

    def keep(self, path: Path) -> None:
        """Leave files where they are: they stand beside the events."""

    def close(self, status: str) -> None:
        """Close the event file; TensorBoard knows no status."""
        self.writer.close()  # type: ignore[no-untyped-call]


class Mlflow:
    """A run of an MLflow server, continued where the run's folder remembers one.

    Args:
        uri: Tracking URI.
        name: Of the run.
        memory: File that remembers the run.
        settings: Nested; each becomes a parameter.
    """

    def __init__(self, uri: str, name: str, memory: Path, settings: dict[str, Any]) -> None:
        stay_private()
        mlflow = optional("mlflow", "--mlflow needs", "tracking")
        try:
            self.client = mlflow.MlflowClient(tracking_uri=uri)
            known = _remembered(memory)
            if known.get("uri") == uri and self._is_there(str(known.get("run_id"))):
                self.run_id = str(known["run_id"])
                self.client.update_run(self.run_id, status="RUNNING")
                return
            found = self.client.get_experiment_by_name(EXPERIMENT)
            place = found.experiment_id if found else self.client.create_experiment(EXPERIMENT)
            self.run_id = self.client.create_run(place, run_name=name).info.run_id
        except Exception as error:
            if not type(error).__module__.startswith(("mlflow", "sqlalchemy", "requests")):
                raise
            text = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"--mlflow {uri}: {text}", hint="sqlite:///mlflow.db, or a server that runs"
            ) from None
        for part, values in settings.items():
            for key, value in (values if isinstance(values, dict) else {"": values}).items():
                self.client.log_param(self.run_id, f"{part}.{key}".rstrip("."), str(value)[:500])
        write_json(memory, {"uri": uri, "run_id": self.run_id, "experiment": EXPERIMENT})

    def _is_there(self, run_id: str) -> bool:
        mlflow = importlib.import_module("mlflow")
        try:
            self.client.get_run(run_id)
        except mlflow.exceptions.MlflowException:
            return False
        return True

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers of a step."""
        for name, value in values.items():
            self.client.log_metric(self.run_id, name, float(value), step=step)

    def keep(self, path: Path) -> None:
        """Upload a file."""
        self.client.log_artifact(self.run_id, str(path))

    def close(self, status: str) -> None:
        """End the run."""
        self.client.set_terminated(self.run_id, status=status)


def _remembered(memory: Path) -> dict[str, Any]:
    """Return the run that a file remembers; nothing where there is none, or it is damaged."""
    if not memory.is_file():
        return {}
    try:
        return read_own(memory, "mlflow", hint="")
    except ManifestError as error:
        logger.warning("%s; a new MLflow run begins", error.message)
        return {}
