"""Stages as functions: the settings of the command line, and what came out as an object.

Each runs the stage that ``main.py --mode`` runs, writes the same files, and reads them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..cli import run_stage
from ..config import RunConfig
from ..config.options import build_config
from ..errors import AuditFailed, ConfigError
from ..evaluation.results import Results
from ..files import read_json
from ..manifest import Manifest
from ..report.cross_study import FILE as CROSSDATA
from ..runtime import speak_in_notebook
from .in_python import in_python, speaks_python
from .reports import AuditReport, Comparison, CrossStudies, Maps, Stress


@speaks_python
def preprocess(dataset: str = "phantom_2d", **settings: Any) -> Manifest:
    """Make a processed data set, as ``--mode preprocess`` does.

    Args:
        dataset: What ``--dataset`` takes: ``"oasis_2d"``, ``"phantom_3d"``.
        settings: Any other setting by the name of its flag: ``image_size=128``.

    Returns:
        A row for every processed image; ``.root`` is their folder.

    Raises:
        UnknownNameError: A setting is none; the message names the nearest.
        ConfigError: A value is out of range.
        DataNotFoundError: The raw files are not there.

    Example:
        >>> manifest = preprocess("phantom_2d", phantom_subjects=40)
        >>> train, test = create_data_loaders(manifest.root)
    """
    config = _config(dataset=dataset, **settings)
    _run("preprocess", config)
    return Manifest.read(config.data.processed_dir)


@speaks_python
def crossval(dataset: str = "phantom_2d", **settings: Any) -> Results:
    """Score everyone by folds that left them out, as ``--mode crossval`` does.

    Args:
        dataset: A processed data set.
        settings: Any other setting by the name of its flag: ``freeze_backbone=True, folds=5``.

    Returns:
        Out-of-fold scores, with tables and figures.

    Raises:
        UnknownNameError: A setting is none; the message names the nearest.
        ConfigError: A value is out of range, or one fold alone was asked for.
        DataNotFoundError: There is no such processed data set.

    Example:
        >>> crossval("phantom_2d", freeze_backbone=True, folds=5, repeats=2).table()
    """
    config = _config(dataset=dataset, **settings)
    if (config.crossval.fold, config.crossval.repeat) != (None, None):
        raise ConfigError(
            "crossval(fold=..., repeat=...) trains a part, of which there is no result",
            hint="leave them out; job arrays use the command line",
        )
    return _scores(_run("crossval", config))


@speaks_python
def evaluate(dataset: str = "phantom_2d", **settings: Any) -> Results:
    """Score a checkpoint on people it never saw, as ``--mode evaluate`` does.

    Of the data set that it was trained on, these are the test people. Of another one, it is
    everyone: an external validation, with the drift from the validation people of the training.

    Args:
        dataset: A processed data set.
        settings: Any other setting by the name of its flag: ``checkpoint="best_model.pth"``.

    Raises:
        UnknownNameError: A setting is none; the message names the nearest.
        DataNotFoundError: There is no such processed data set.
        CheckpointError: There is no checkpoint, or its images were made otherwise.
        LeakageError: People were trained on, or may have been.

    Example:
        >>> evaluate("oasis_2d", checkpoint="checkpoints/my_kaggle/best_model.pth").table()
    """
    return _scores(_run("evaluate", _config(dataset=dataset, **settings)))


@speaks_python
def gradcam(dataset: str = "phantom_2d", **settings: Any) -> Maps:
    """Make maps of the test people and test them, as ``--mode gradcam`` does.

    `explain` makes a map of one scan. `GradCAM` is the method alone, for a tensor.

    Args:
        dataset: A processed data set; of another than that of the training, everyone is mapped.
        settings: Any other setting by the name of its flag: ``target="demented", graded=20``.

    Returns:
        The verdict on the maps, with tables and figures.

    Raises:
        UnknownNameError: A setting is none, or no method has that name.
        ConfigError: A layer, class or atlas does not fit.
        DataNotFoundError: There is no such processed data set.
        CheckpointError: There is no checkpoint, or its images were made otherwise.
        LeakageError: People were trained on, or may have been.

    Example:
        >>> maps = gradcam("oasis_2d", checkpoint="checkpoints/my_oasis/best_model.pth")
        >>> maps.verdict
        'WARN'
    """
    files = _run("gradcam", _config(dataset=dataset, **settings))
    return Maps(_read(files), files)


@speaks_python
def stress(dataset: str = "phantom_2d", **settings: Any) -> Stress:
    """Ask a model known changes of test people's scans, as ``--mode stress`` does.

    Args:
        dataset: A processed data set; of another than that of the training, everyone is asked.
        settings: Any other setting by the name of its flag: ``changes="disease,noise"``.

    Returns:
        The verdicts, with tables and figures.

    Raises:
        UnknownNameError: A setting is none, or no change has that name.
        DataNotFoundError: There is no such processed data set.
        CheckpointError: There is no checkpoint, or its images were made otherwise.
        ImageError: Images were made of other scans than those that are there.
        LeakageError: People were trained on, or may have been.

    Example:
        >>> answers = stress("phantom_2d", changes="disease,blur")
        >>> answers.table()
    """
    files = _run("stress", _config(dataset=dataset, **settings))
    return Stress(_read(files), files)


@speaks_python
def audit(folder: str | Path | None = None, **settings: Any) -> AuditReport:
    """Check whether a split is honest, as ``--mode audit`` does; a failed one is returned, too.

    Args:
        folder: Any folder with ``train/<class>/`` and ``test/<class>/``, or a processed data set.
            None takes ``dataset=...``.
        settings: Any other setting by the name of its flag: ``against=`` another split, data set
            or checkpoint, whose people are looked for.

    Raises:
        UnknownNameError: A setting is none; the message names the nearest.
        DataNotFoundError: There is no such folder, or no image in it.

    Example:
        >>> audit("downloads/kaggle").verdict
        'FAIL'
    """
    if folder is not None:
        settings["data_dir"] = Path(folder)
    config = _config(**settings)
    fix = ""
    try:
        files = _run("audit", config)
    except AuditFailed as error:
        fix, found = error.hint, config.audit_dir
        files = [path for path in (found / "audit.json", found / "audit.png") if path.is_file()]
    return AuditReport(_read(files), files, in_python(fix))


@speaks_python
def compare(*runs: str | Path, **settings: Any) -> Comparison:
    """Tell scored runs apart on the people that all scored, as ``--mode compare`` does.

    Args:
        runs: Names below ``results``, or folders of results; two or more.
        settings: Any setting by the name of its flag: ``bootstrap=5000``.

    Raises:
        ConfigError: Under two runs, or too few people in common.
        DataNotFoundError: There is no such run; the message names the nearest.

    Example:
        >>> compare("phantom_2d_resnet18", "phantom_2d_efficientnet_lite0").table()
    """
    config = replace(_config(**settings), runs=tuple(str(run) for run in runs))
    files = _run("compare", config)
    return Comparison(_read(files), files)


@speaks_python
def crossdata(*datasets: str | Path, **settings: Any) -> CrossStudies:
    """Test models of one study on the people of others, as ``--mode crossdata`` does.

    Args:
        datasets: Processed data sets, two or more: names below ``data_root``, or folders.
        settings: Any setting by the name of its flag: ``freeze_backbone=True, classes=2``.

    Raises:
        UnknownNameError: A setting is none; the message names the nearest.
        ConfigError: Under two data sets, or some whose images or labels do not go together; or one
            cell alone was asked for.
        DataNotFoundError: There is no such data set.

    Example:
        >>> crossdata("oasis3_2d", "aibl_2d", freeze_backbone=True).matrix()
    """
    config = _config(datasets=tuple(str(name) for name in datasets), **settings)
    if config.crossdata.cell is not None:
        raise ConfigError(
            "crossdata(cell=...) trains a part, of which there is no result",
            hint="leave cell out; job arrays use the command line",
        )
    files = _run("crossdata", config)
    return CrossStudies(_read([path for path in files if path.name == CROSSDATA]), files)


def _config(**settings: Any) -> RunConfig:
    """Return checked settings; a name that is none is told with the nearest."""
    for name, value in settings.items():
        if isinstance(value, dict):
            raise ConfigError(f"setting {name!r} is a dictionary", hint=f"give {name} one value")
    return build_config(RunConfig, settings)


def _run(mode: str, config: RunConfig) -> list[Path]:
    speak_in_notebook()
    return run_stage(mode, config)


def _scores(files: list[Path]) -> Results:
    metrics = next(path for path in files if path.name == "metrics.json")
    return Results(read_json(metrics) | {"files": [str(path) for path in files]})


def _read(files: list[Path]) -> dict[str, Any]:
    content = read_json(next(path for path in files if path.suffix == ".json"))
    assert isinstance(content, dict)
    return content
