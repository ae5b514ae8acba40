"""Stage ``evaluate``: a checkpoint and the test people of its data set -> scores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ..config import RunConfig
from ..config.options import config_to_dict
from ..data.dataset import make_loader
from ..data.split_files import split_rows, write_split
from ..evaluation.evaluator import Evaluator
from ..evaluation.open_checkpoint import open_trained
from ..evaluation.result_files import require_whole
from ..training.tracking import open_tracker
from .preflight import check_before


def run(config: RunConfig) -> Iterator[Path]:
    """Score a checkpoint on the test people of its data set.

    Yields:
        ``metrics.json``, ``predictions.csv``, ``people.csv``, the figures of the run, and
        ``split.csv``.

    Raises:
        CheckpointError: There is no checkpoint, or it does not fit the data.
        LeakageError: Test people were trained on.
    """
    started = time.monotonic()
    check_before(config, "evaluate")
    trained = open_trained(config)
    loader = make_loader(trained.data, config.batch_size)
    evaluator = Evaluator(
        trained.model,
        loader,
        config.device,
        n_bootstrap=config.evaluate.bootstrap,
        permutations=config.evaluate.permute_labels,
        ensemble=config.evaluate.ensemble,
    )
    name = trained.run_name
    folder, figures = config.results_dir / name, config.results_dir / "figures" / name
    context = {
        "run": name,
        "checkpoint": str(trained.path),
        "settings": trained.settings | {"evaluate": config_to_dict(config)["evaluate"]},
    }
    results = evaluator.full_evaluation(
        folder, figure_dir=figures, context=context, trained=trained, started=started
    )
    files = [Path(path) for path in results["files"]]
    with open_tracker(config, name) as tracker:
        tracker.scored(results, files)
    people = trained.data.manifest
    split = write_split(folder, split_rows(people), people.table["subject"])
    yield from (*files, split, *tracker.files)
    require_whole(results)
